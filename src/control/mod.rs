//! The control socket `VOLUME/control.sock`: how other processes talk to the one that serves a
//! volume. One JSON object a line, each way.
//!
//! ```text
//! -> {"command":"status"}
//! <- {"schema":1,"command":"status","volume":{...}}
//! -> {"command":"resize","bytes":21474836480}
//! <- {"schema":1,"command":"resize","size":21474836480}
//! -> {"command":"scrub","order":"start","rate":null}
//! <- {"schema":1,"command":"scrub","running":{...},...}  at once: whoever waits asks again
//! -> {"command":"replace-node","node":"b2","directory":"/disk9/node"}
//! <- {"schema":1,"command":"replace-node","node":"b2","directory":"/disk9/node"}  it is being filled
//! -> {"command":"abort-replacement","node":"b2"}
//! <- {"schema":1,"command":"abort-replacement","node":"b2","directory":"/disk9/node"}
//! -> {"command":"drain-node","node":"b2"}
//! <- {"schema":1,"command":"drain-node","node":"b2"}  groups leave it: `status` tells how far that is
//! -> {"command":"rebalance"}
//! <- {"schema":1,"command":"rebalance"}               the same
//! -> {"command":"fault","action":"list"}               see `fault`
//! <- {"schema":1,"command":"fault","faults":[],"corrupted":0}
//! -> {"command":"unmount"}
//! <- {"schema":1,"command":"unmount","pid":4711}      once everything is flushed and unmounted
//! <- {"schema":1,"error":{"code":2,"message":"..."}}  to what cannot be done
//! ```

pub(crate) mod client;
pub(crate) mod fault;
pub(crate) mod server;

use self::fault::{FaultReply, FaultRequest};
use crate::exit::{Exit, Refusal};
use crate::report::{SCHEMA, VolumeReport};
use crate::scrub_report::ScrubReport;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read};
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Name of the socket in the volume's directory.
pub(crate) const SOCKET_NAME: &str = "control.sock";

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// How the volume is.
    Status,
    /// Give the disk another size.
    Resize {
        /// Bytes of the disk.
        bytes: u64,
    },
    /// Read and compare every copy, and mend what is bad; or say how far that is.
    Scrub {
        /// What to do.
        #[serde(default)]
        order: ScrubOrder,
        /// Bytes a second that are read at most; of a start and of going on.
        rate: Option<NonZeroU64>,
    },
    /// Fill a new directory that is to take a node's place.
    ReplaceNode {
        /// The node's name.
        node: String,
        /// The directory, absolute.
        directory: PathBuf,
    },
    /// Call that off.
    AbortReplacement {
        /// The node's name.
        node: String,
    },
    /// Have all groups leave a node.
    DrainNode {
        /// The node's name.
        node: String,
    },
    /// Have all groups spread over all nodes.
    Rebalance,
    /// Have something happen to nodes.
    Fault(FaultRequest),
    /// Flush, unmount, end.
    Unmount,
}

/// What to do about scrubs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ScrubOrder {
    /// Start one.
    #[default]
    Start,
    /// Say how it is.
    Status,
    /// Have the one under way wait.
    Pause,
    /// Have it go on.
    Resume,
    /// End it where it is.
    Cancel,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// How the volume is.
    Status {
        /// All of it.
        volume: Box<VolumeReport>,
    },
    /// The disk has another size.
    Resize {
        /// Bytes of the disk.
        size: u64,
    },
    /// How the volume's scrubs are, now that it was done.
    Scrub(Box<ScrubReport>),
    /// The directory is being filled.
    ReplaceNode {
        /// The node's name.
        node: String,
        /// The directory.
        directory: PathBuf,
    },
    /// It was called off, and the directory removed.
    AbortReplacement {
        /// The node's name.
        node: String,
        /// The directory.
        directory: PathBuf,
    },
    /// Groups are leaving the node.
    DrainNode {
        /// The node's name.
        node: String,
    },
    /// Groups are on their way.
    Rebalance,
    /// Faults were begun, named or ended.
    Fault(FaultReply),
    /// Everything is flushed and unmounted; the process is about to end.
    Unmount {
        /// The process.
        pid: u32,
    },
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// Exit code for the command that asked.
    pub code: u8,
    /// What, why, and what to do.
    pub message: String,
}

impl From<&anyhow::Error> for Problem {
    fn from(error: &anyhow::Error) -> Problem {
        Problem {
            code: crate::exit::code_of(error).0,
            message: format!("{error:#}"),
        }
    }
}

impl From<Problem> for anyhow::Error {
    fn from(problem: Problem) -> anyhow::Error {
        Refusal::error(Exit(problem.code), problem.message)
    }
}

/// A line of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// It was not done.
    Error {
        /// Version of the JSON.
        schema: u32,
        /// Why.
        error: Problem,
    },
    /// It was done.
    Done {
        /// Version of the JSON.
        schema: u32,
        /// What.
        #[serde(flatten)]
        reply: Reply,
    },
}

impl From<anyhow::Result<Reply>> for Answer {
    fn from(result: anyhow::Result<Reply>) -> Answer {
        match result {
            Ok(reply) => Answer::Done {
                schema: SCHEMA,
                reply,
            },
            Err(error) => Answer::Error {
                schema: SCHEMA,
                error: Problem::from(&error),
            },
        }
    }
}

/// Reads a line of at most `limit` bytes, without its end. `None` where the stream ends.
///
/// # Errors
/// What the stream says; `InvalidData` when the line is longer.
pub(crate) fn read_line(stream: &mut impl BufRead, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    stream.take(limit as u64 + 1).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > limit {
        let message = format!("a line is longer than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    } else if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(line))
}

/// A path to the socket that is short enough for a socket address (108 bytes), however deep the
/// volume lies: it goes through an open handle of the volume's directory.
struct SocketPath {
    directory: OwnedFd,
}

impl SocketPath {
    fn of(volume: &Path) -> io::Result<SocketPath> {
        let directory = std::fs::File::open(volume)?.into();
        Ok(SocketPath { directory })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/self/fd/{}/{SOCKET_NAME}",
            self.directory.as_raw_fd()
        ))
    }
}
