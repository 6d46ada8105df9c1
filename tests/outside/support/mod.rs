//! What the tests share: volumes and mounts that clean up after themselves, commands, patterns.

mod loop_device;
mod pattern;
mod shell;
mod turn;
mod volume;

pub(crate) use loop_device::{FileSystem, LoopDevice};
pub(crate) use pattern::{Random, aligned, pattern, read_direct};
pub(crate) use shell::{redoubt, script, shell};
pub(crate) use turn::{fuse, fuse_alone, root, root_alone};
pub(crate) use volume::{Mounted, TempVolume, disk_usage, remove_mount, temp_directory};

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a MiB.
pub(crate) const MIB: u64 = 1 << 20;

/// Ends the writing of a test's threads also where the test fails: a scope waits for its threads.
pub(crate) struct SetWhenDropped<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until `reached` is true; panics with `what` after `seconds`.
pub(crate) fn await_that(what: &str, seconds: u64, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !reached() {
        assert!(Instant::now() < deadline, "{what}: not in {seconds} s");
        std::thread::sleep(Duration::from_millis(50));
    }
}
