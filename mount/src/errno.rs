//! What a program sees of a failed request.

use fuser::Errno;
use redoubt_volume::error::IoFailure;

/// The error number of a failure.
pub(crate) fn errno(failure: IoFailure) -> Errno {
    match failure {
        IoFailure::NoSpace => Errno::ENOSPC,
        IoFailure::ReadOnly => Errno::EROFS,
        // A closed volume is EIO and not ENODEV: databases handle EIO of a file, few handle that
        // a file's device went away. Ranges are cut to the disk before they get this far, so one
        // that lies outside it is a fault, not the caller's doing.
        IoFailure::QuorumLost
        | IoFailure::Unreadable
        | IoFailure::TooManyWaiting
        | IoFailure::Cancelled
        | IoFailure::Busy
        | IoFailure::Closed
        | IoFailure::OutOfBounds => Errno::EIO,
    }
}
