//! Ends a run before its time, so that mounts and files are cleaned up.

use anyhow::{Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// As root: mounts are made in a namespace of their own, which ends with the last of its processes,
/// so that no SIGKILL leaves a mount. Before there is a second thread.
///
/// # Errors
/// As the operating system says.
pub(crate) fn hide_mounts() -> Result<()> {
    if unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    }
    Ok(())
}

/// Has SIGINT, SIGTERM and SIGHUP end the run. Before there is a second thread.
///
/// # Errors
/// As the operating system says.
pub(crate) fn listen() -> Result<()> {
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    let signals: SigSet = signals.into_iter().collect();
    signals.thread_block()?;
    std::thread::Builder::new().spawn(move || {
        if signals.wait().is_ok() {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    })?;
    Ok(())
}

/// Whether the run shall end.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// # Errors
/// When the run shall end.
pub(crate) fn check() -> Result<()> {
    ensure!(!is_interrupted(), "it was interrupted");
    Ok(())
}
