//! What a process does to itself before it opens a volume and serves its disk. All of it is best
//! effort: without the rights for it the disk works, only a machine out of memory may stall.

use log::{info, warn};
use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// From linux/prctl.h; libc has no name for it.
const PR_SET_IO_FLUSHER: libc::c_int = 57;

/// Prepares the calling process; call it on the main thread before any other thread exists,
/// because threads inherit the first step from the thread that starts them.
///
/// A file system on this disk may need the disk to write pages out before memory is free again. So
/// this process must neither wait for such a write itself when it allocates (`PR_SET_IO_FLUSHER`),
/// nor have its own pages swapped out (`mlockall`).
pub fn prepare() {
    if let Err(error) = set_io_flusher() {
        info!("running without PR_SET_IO_FLUSHER ({error}): it needs CAP_SYS_RESOURCE");
    }
    if let Err(error) = lock_memory() {
        info!("memory is not locked ({error}): it needs an unlimited RLIMIT_MEMLOCK");
    }
}

/// Lets the calling process keep as many files open as it may without more rights. The nodes of a
/// volume keep the extents of their logs open as far as the soft limit lets them, and that is
/// commonly 1024: too few for a large volume. Call it before the volume is opened.
pub fn raise_open_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!("the limit of open files stays as it is ({error}): a large volume may be slow");
    }
}

#[expect(unsafe_code, reason = "prctl(2) has no safe wrapper for this option")]
fn set_io_flusher() -> nix::Result<()> {
    let unused: libc::c_ulong = 0;
    let on: libc::c_ulong = 1;
    // SAFETY: PR_SET_IO_FLUSHER takes four integers and touches no memory of this process.
    let result = unsafe { libc::prctl(PR_SET_IO_FLUSHER, on, unused, unused, unused) };
    Errno::result(result).map(drop)
}

/// Locks what is touched from now on. Under a limit this would make later allocations fail
/// instead, so the limit is lifted first, and without that nothing is locked.
fn lock_memory() -> nix::Result<()> {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if soft != RLIM_INFINITY {
        setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)?;
    }
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_process_can_allocate_more_than_an_ordinary_limit_lets_it_lock() {
        prepare();
        let bytes = vec![0_u8; 64 << 20];
        assert_eq!(bytes[bytes.len() - 1], 0);
        prepare();
    }

    #[test]
    fn the_soft_limit_of_open_files_rises_to_the_hard_one() {
        raise_open_file_limit();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }
}
