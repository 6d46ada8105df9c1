//! A disk in memory, and mounts that are gone when a test ends, however it ends.

use nix::mount::{MntFlags, umount2};
use parking_lot::Mutex;
use redoubt_mount::disk::{Disk, DiskBytes, Done};
use redoubt_mount::options::MountOptions;
use redoubt_mount::session::{MountRequest, Mounted, Unmounter, mount};
use redoubt_volume::error::IoFailure;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tempfile::TempDir;

/// Granularity of holes.
const BLOCK: usize = 16 << 10;

/// Bytes of the test disk: not a multiple of 1 MiB, so that large requests cross its end.
pub(crate) const DISK_BYTES: u64 = (8 << 20) + (16 << 10);

/// A disk in memory that counts what it is asked; it answers on a thread of its own.
pub(crate) struct MemoryDisk {
    size: AtomicU64,
    content: Mutex<Content>,
    pub(crate) durable_writes: AtomicUsize,
    pub(crate) volatile_writes: AtomicUsize,
    pub(crate) flushes: AtomicUsize,
    pub(crate) discards: AtomicUsize,
    failure: Mutex<Option<IoFailure>>,
}

struct Content {
    bytes: Vec<u8>,
    live: Vec<bool>,
}

impl MemoryDisk {
    pub(crate) fn new() -> Arc<MemoryDisk> {
        Arc::new(MemoryDisk {
            size: AtomicU64::new(DISK_BYTES),
            content: Mutex::new(Content {
                bytes: vec![0; DISK_BYTES as usize],
                live: vec![false; DISK_BYTES as usize / BLOCK],
            }),
            durable_writes: AtomicUsize::new(0),
            volatile_writes: AtomicUsize::new(0),
            flushes: AtomicUsize::new(0),
            discards: AtomicUsize::new(0),
            failure: Mutex::new(None),
        })
    }

    pub(crate) fn grow(&self, bytes: u64) {
        let mut content = self.content.lock();
        content.bytes.resize(bytes as usize, 0);
        content.live.resize(bytes as usize / BLOCK, false);
        self.size.store(bytes, Ordering::SeqCst);
    }

    /// Lets every request from now on fail, or none.
    pub(crate) fn fail(&self, failure: Option<IoFailure>) {
        *self.failure.lock() = failure;
    }

    pub(crate) fn bytes(&self, range: Range<usize>) -> Vec<u8> {
        self.content.lock().bytes[range].to_vec()
    }

    fn answer<T: Send + 'static>(&self, value: T, done: Done<T>) {
        let result = self.failure.lock().map_or(Ok(value), Err);
        std::thread::spawn(move || done(result));
    }
}

impl Disk for MemoryDisk {
    fn disk_bytes(&self) -> u64 {
        self.size.load(Ordering::SeqCst)
    }

    fn write(&self, offset: u64, data: &[u8], durable: bool, done: Done<()>) {
        let (start, end) = (offset as usize, offset as usize + data.len());
        if self.failure.lock().is_none() {
            let mut content = self.content.lock();
            content.bytes[start..end].copy_from_slice(data);
            content.live[start / BLOCK..end.div_ceil(BLOCK)].fill(true);
        }
        let counter = if durable {
            &self.durable_writes
        } else {
            &self.volatile_writes
        };
        counter.fetch_add(1, Ordering::SeqCst);
        self.answer((), done);
    }

    fn read(&self, offset: u64, length: usize, _may_block: bool, done: Done<DiskBytes>) {
        let bytes = self.bytes(offset as usize..offset as usize + length);
        self.answer(DiskBytes::new(bytes), done);
    }

    fn flush(&self, done: Done<()>) {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.answer((), done);
    }

    fn discard(&self, offset: u64, length: u64, done: Done<()>) {
        let (start, end) = (offset as usize, (offset + length) as usize);
        let mut content = self.content.lock();
        content.bytes[start..end].fill(0);
        let whole = start.div_ceil(BLOCK)..end / BLOCK;
        if !whole.is_empty() {
            content.live[whole].fill(false);
        }
        self.discards.fetch_add(1, Ordering::SeqCst);
        self.answer((), done);
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>, IoFailure> {
        let live = &self.content.lock().live;
        let first = offset as usize / BLOCK;
        let found = (first..live.len()).find(|block| live[*block]);
        Ok(found.map(|block| offset.max((block * BLOCK) as u64)))
    }

    fn next_hole(&self, offset: u64) -> Result<u64, IoFailure> {
        let live = &self.content.lock().live;
        let first = offset as usize / BLOCK;
        let found = (first..live.len()).find(|block| !live[*block]);
        Ok(found.map_or(self.disk_bytes(), |block| {
            offset.max((block * BLOCK) as u64)
        }))
    }

    fn live_bytes(&self) -> u64 {
        let live = &self.content.lock().live;
        (live.iter().filter(|live| **live).count() * BLOCK) as u64
    }

    fn status_json(&self) -> String {
        format!("{{\"disk_bytes\":{}}}\n", self.disk_bytes())
    }
}

/// Whether FUSE can be used here; says loudly when a test is skipped for the lack of it.
pub(crate) fn fuse_or_skip() -> bool {
    let usable = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_ok();
    if !usable {
        eprintln!("SKIPPED: /dev/fuse cannot be opened, so nothing was tested");
    }
    usable
}

/// Unmounts a path when it is dropped, whatever is there and however often.
pub(crate) struct Cleanup(pub(crate) PathBuf);

impl Drop for Cleanup {
    fn drop(&mut self) {
        while umount2(&self.0, MntFlags::MNT_DETACH).is_ok() {}
    }
}

/// A mounted disk in a temporary directory. Fields are dropped in order: the mount goes first.
pub(crate) struct TestMount {
    _cleanup: Cleanup,
    pub(crate) mounted: Option<Mounted>,
    pub(crate) unmounter: Unmounter,
    pub(crate) point: PathBuf,
    pub(crate) disk: Arc<MemoryDisk>,
    _directory: TempDir,
}

impl TestMount {
    /// Mounts on a directory.
    pub(crate) fn directory(options: &str) -> TestMount {
        TestMount::new(options, |point| std::fs::create_dir(point).unwrap())
    }

    /// Mounts on a regular file.
    pub(crate) fn file(options: &str) -> TestMount {
        TestMount::new(options, |point| std::fs::write(point, "below").unwrap())
    }

    fn new(options: &str, make: impl FnOnce(&Path)) -> TestMount {
        let directory = TempDir::new().unwrap();
        let point = directory.path().join("mount point");
        make(&point);
        let cleanup = Cleanup(point.clone());
        let disk = MemoryDisk::new();
        let mounted = mount(disk.clone(), &request(&point, options)).unwrap();
        TestMount {
            _cleanup: cleanup,
            unmounter: mounted.unmounter(),
            mounted: Some(mounted),
            point,
            disk,
            _directory: directory,
        }
    }

    /// Path of the disk in a directory mount.
    pub(crate) fn disk_path(&self) -> PathBuf {
        self.point.join("disk")
    }

    /// Opens the disk for reading and writing, with more flags of open(2).
    pub(crate) fn open(&self, flags: i32) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(self.disk_path())
            .unwrap()
    }
}

/// What to mount where.
pub(crate) fn request(point: &Path, options: &str) -> MountRequest {
    MountRequest {
        source_name: "/test volume".to_owned(),
        mountpoint: point.to_owned(),
        options: MountOptions::parse([options]).unwrap(),
    }
}
