//! The production files in which threads meet, compiled once more over locks of shuttle, which
//! decides at each of them who runs next. They are taken as they are: this crate calls itself
//! `parking_lot` and gives them its own [`Mutex`] and [`Condvar`].
//!
//! Shuttle sees the locks only: atomics are sequentially consistent and no points of decision.

extern crate self as parking_lot;

mod locks;
pub mod scenarios;

pub use locks::{Condvar, Mutex, MutexGuard};

#[path = "../../../mount/src/door.rs"]
#[allow(dead_code, reason = "a scenario does not read")]
mod door;
#[path = "../../../volume/src/io/work_queue.rs"]
mod work_queue;

/// The kernel's device as [`door`] sees it.
mod fuse_device {
    use std::os::fd::OwnedFd;

    /// A device that is there is connected.
    pub(crate) fn is_connected(_: &OwnedFd) -> bool {
        true
    }

    pub(crate) fn has_request(_: &OwnedFd) -> bool {
        false
    }
}
