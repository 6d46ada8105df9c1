//! The production files in which threads meet, compiled once more over locks of shuttle, which
//! decides at each of them who runs next. They are taken as they are: this crate calls itself
//! `parking_lot` and gives them its own [`Mutex`] and [`Condvar`], and threads of shuttle.
//!
//! Shuttle sees the locks only: atomics are sequentially consistent and no points of decision.

// The unit tests inside those files need real threads and files.
#![cfg(not(test))]

extern crate self as parking_lot;

pub mod io;
mod locks;
pub mod scenarios;
pub mod volume;

pub use locks::{Condvar, Mutex, MutexGuard};

// What the files below know of the volume besides threads.
use redoubt_volume::{ids, limits, segment};

#[path = "../../../mount/src/door.rs"]
#[allow(dead_code, reason = "a scenario does not read")]
mod door;

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
