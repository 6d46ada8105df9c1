//! Why a mount or an unmount failed: what, why, and what to do.

use std::io;
use std::path::PathBuf;

/// Why a disk could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// There is nothing to mount on.
    #[error(
        "cannot mount on {0}: it does not exist; create it first, for example with 'mkdir {0}'"
    )]
    Missing(PathBuf),
    /// The directory holds something.
    #[error(
        "cannot mount on {0}: the directory is not empty, and a mount would hide what is in it; choose an empty one"
    )]
    NotEmpty(PathBuf),
    /// Neither a directory nor a regular file.
    #[error(
        "cannot mount on {0}: it is neither a directory nor a regular file; choose an empty directory"
    )]
    WrongKind(PathBuf),
    /// Something is mounted there.
    #[error(
        "cannot mount on {path}: {source_name} (type {file_system_type}) is mounted there already; unmount it first with 'umount {path}', or choose another place"
    )]
    Busy {
        /// The mount point.
        path: PathBuf,
        /// Source of what is mounted.
        source_name: String,
        /// Type of what is mounted.
        file_system_type: String,
    },
    /// The mount point cannot be examined.
    #[error("cannot mount on {path}: {source}; check the path and its permissions")]
    Unusable {
        /// The mount point.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No FUSE here.
    #[error(
        "cannot open /dev/fuse: {0}; load FUSE with 'modprobe fuse', or give the container '--device /dev/fuse --cap-add SYS_ADMIN'"
    )]
    NoDevice(io::Error),
    /// mount(2) failed.
    #[error(
        "the kernel refused the mount on {path}: {source}; mounting needs root with CAP_SYS_ADMIN, or an ordinary user with fusermount3"
    )]
    Refused {
        /// The mount point.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `fusermount3` did not mount.
    #[error(
        "fusermount3 did not mount: {0}; install the package fuse3, check /etc/fuse.conf, or mount as root"
    )]
    Helper(String),
    /// The kernel and this process did not come to terms.
    #[error("the FUSE session did not start: {0}; the system log may say more")]
    Session(io::Error),
}

/// Why a disk could not be unmounted.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    /// Files are open there.
    #[error(
        "cannot unmount {0}: it is in use; close what uses it ('fuser -vm {0}' lists it), or detach it lazily"
    )]
    Busy(PathBuf),
    /// Something else was mounted over it.
    #[error(
        "cannot unmount {0}: something else is mounted on top of it; unmount that first with 'umount {0}'"
    )]
    Covered(PathBuf),
    /// The system refused.
    #[error("cannot unmount {path}: {source}; try 'umount {path}' as root")]
    Refused {
        /// The mount point.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
