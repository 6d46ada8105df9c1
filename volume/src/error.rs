//! Public errors: typed where a caller branches, prose where a person reads.

use std::path::PathBuf;

/// Why an I/O request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IoFailure {
    /// The range does not lie on the disk.
    #[error("the range lies outside the disk")]
    OutOfBounds,
    /// Fewer than four nodes have room; nothing of the request was admitted.
    #[error("fewer than four nodes have space left")]
    NoSpace,
    /// The quorum was lost for longer than the volume waits.
    #[error("fewer than four nodes of a group answer")]
    QuorumLost,
    /// No copy of the data could be read.
    #[error("no copy of the data could be read")]
    Unreadable,
    /// The volume was opened for reading only.
    #[error("the volume is open for reading only")]
    ReadOnly,
    /// Another change of the volume is on its way.
    #[error("another change of the volume is on its way; ask again when it is done")]
    Busy,
    /// More requests wait than memory is given to ([`crate::limits::PARKED_BYTES`]).
    #[error("too many requests wait already")]
    TooManyWaiting,
    /// It was ended before it was through, by whoever asked for that.
    #[error("it was cancelled")]
    Cancelled,
    /// The volume is being closed.
    #[error("the volume is closed")]
    Closed,
}

/// Why a volume could not be created, opened or changed: what, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The directory holds no volume.
    #[error(
        "{0} is not a Redoubt volume: it has no file 'redoubt.volume'; name a directory made by 'redoubt create'"
    )]
    NotAVolume(PathBuf),
    /// There is something already.
    #[error(
        "{0} exists already and is not empty; choose another name, or remove it with 'redoubt destroy'"
    )]
    Exists(PathBuf),
    /// A size, node list or option that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Another process has it.
    #[error(
        "the volume is in use by process {pid}: only one process may have it open; unmount it there, or end that process first"
    )]
    Locked {
        /// The process that holds the lock, 0 if it did not say.
        pid: u32,
    },
    /// Made by a newer program.
    #[error(
        "{path} has format version {version}, newer than this program knows; use the newer program (nothing was changed)"
    )]
    Newer {
        /// The node directory.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// Too few nodes to know or to settle what is durable. It says which, and why.
    #[error("the volume cannot be opened: {0}; bring back the directories that are missing")]
    TooFewNodes(String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        source: std::io::Error,
    },
    /// A request of an open volume failed.
    #[error(transparent)]
    Request(#[from] IoFailure),
}

impl VolumeError {
    /// An operating-system error with what was tried.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> VolumeError {
        VolumeError::Io {
            what: what.into(),
            source,
        }
    }
}
