//! What is mounted: a disk of bytes whose requests are answered by callback.

use redoubt_volume::error::IoFailure;

/// Called once with the result of a request, on any thread, perhaps before the call that started
/// the request returns; never with a lock held, because it may start another request.
pub type Done<T> = Box<dyn FnOnce(Result<T, IoFailure>) + Send>;

/// Bytes that were read, in whatever the disk keeps them: they are handed to the kernel from
/// there, without a copy.
pub struct DiskBytes(Box<dyn AsRef<[u8]> + Send>);

impl DiskBytes {
    /// Wraps a buffer.
    pub fn new(bytes: impl AsRef<[u8]> + Send + 'static) -> DiskBytes {
        DiskBytes(Box::new(bytes))
    }
}

impl AsRef<[u8]> for DiskBytes {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

/// A disk: any byte range inside it can be read, written and discarded; many requests may be
/// under way at once.
pub trait Disk: Send + Sync + 'static {
    /// Bytes of the disk; it may grow while it is mounted, it never shrinks.
    fn disk_bytes(&self) -> u64;

    /// Writes `data` at byte `offset`; the data is copied before the call returns. `durable`:
    /// `done` is called only when this write is on stable storage.
    fn write(&self, offset: u64, data: &[u8], durable: bool, done: Done<()>);

    /// Reads exactly `length` bytes at byte `offset`; what was never written is zeros.
    /// `may_block`: the calling thread has nothing better to do than to wait for the disk.
    fn read(&self, offset: u64, length: usize, may_block: bool, done: Done<DiskBytes>);

    /// Calls `done` when every write and discard that was acknowledged before is durable.
    fn flush(&self, done: Done<()>);

    /// Makes a byte range read as zeros and frees what it held; any range, O(1) in its length.
    fn discard(&self, offset: u64, length: u64, done: Done<()>);

    /// The first byte at or after `offset` that may hold data, `None` if only a hole follows.
    ///
    /// # Errors
    /// An [`IoFailure`] if the index cannot be read.
    fn next_data(&self, offset: u64) -> Result<Option<u64>, IoFailure>;

    /// The first byte at or after `offset` that lies in a hole; the disk's end if there is none.
    ///
    /// # Errors
    /// An [`IoFailure`] if the index cannot be read.
    fn next_hole(&self, offset: u64) -> Result<u64, IoFailure>;

    /// Bytes of blocks that exist.
    fn live_bytes(&self) -> u64;

    /// The content of `.redoubt/status`.
    fn status_json(&self) -> String;
}
