//! What a running volume says of itself: plain data, for people and for JSON.

use crate::ids::{VolumeEpoch, VolumeId};
use crate::lsn::Lsn;
use std::path::PathBuf;
use std::time::Duration;

/// Health of a volume (DESIGN §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// Six of six everywhere.
    Healthy,
    /// Fewer than six somewhere, four or more everywhere: reads and writes go on.
    Degraded,
    /// Three left of some group: reads go on, writes wait.
    ReadOnly,
    /// Fewer than three left of some group.
    Unreadable,
    /// Not mounted.
    Offline,
}

impl VolumeState {
    /// The state's word in status and JSON.
    pub fn word(self) -> &'static str {
        match self {
            VolumeState::Healthy => "healthy",
            VolumeState::Degraded => "degraded",
            VolumeState::ReadOnly => "read-only",
            VolumeState::Unreadable => "unreadable",
            VolumeState::Offline => "offline",
        }
    }
}

/// State of one node as the writer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Holds everything and is kept up to date.
    Up,
    /// Is behind and catching up from what it has.
    Lagging,
    /// Had nothing and is being filled.
    Rebuilding,
    /// Not reachable, fenced or not admitted.
    Down,
}

impl NodeState {
    /// The state's word in status and JSON.
    pub fn word(self) -> &'static str {
        match self {
            NodeState::Up => "up",
            NodeState::Lagging => "lagging",
            NodeState::Rebuilding => "rebuilding",
            NodeState::Down => "down",
        }
    }
}

/// What was mended on one node since the volume was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairFigures {
    /// Blocks that were found damaged, or wrong.
    pub damaged_blocks: u64,
    /// Blocks that were written anew from a proven copy.
    pub repaired_blocks: u64,
}

/// What a scrub found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Blocks that exist.
    pub blocks: u64,
    /// Copies of them that were read.
    pub copies: u64,
    /// Copies that did not check.
    pub damaged: u64,
    /// Copies that checked, and were not what most of the others are.
    pub differing: u64,
    /// Of both, those that are right now.
    pub repaired: u64,
    /// Segments that had lost changes, and are filled anew.
    pub refilled: u64,
    /// Copies that are still bad, blocks of which nobody can say which copy is right, and leaves
    /// that nobody could be asked about.
    pub unresolved: u64,
    /// Blocks that could not be compared, since they were being changed.
    pub changing: u64,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its name, such as `b2`.
    pub name: String,
    /// Letter of its zone.
    pub zone: char,
    /// Its directory.
    pub path: PathBuf,
    /// Its state.
    pub state: NodeState,
    /// What is wrong with it, if anything: one sentence.
    pub reason: Option<String>,
    /// The highest SCL of its segments.
    pub scl: Lsn,
    /// Bytes of log files on its disk.
    pub log_bytes: u64,
    /// Bytes of its log that are needed.
    pub live_bytes: u64,
    /// Reads of its disk that failed since the volume was opened.
    pub read_errors: u64,
    /// Writes and syncs of its disk that failed since then.
    pub write_errors: u64,
    /// Pages that did not check since then.
    pub checksum_errors: u64,
    /// What was mended of its copies.
    pub repairs: RepairFigures,
}

/// The whole volume.
#[derive(Clone, Debug)]
pub struct VolumeStatus {
    /// Identity.
    pub id: VolumeId,
    /// Its directory.
    pub path: PathBuf,
    /// Bytes of the disk.
    pub disk_bytes: u64,
    /// Health.
    pub state: VolumeState,
    /// What the state means and what to do, when it is not healthy: one sentence each.
    pub explanation: Option<(String, String)>,
    /// The writer's epoch.
    pub epoch: VolumeEpoch,
    /// Groups that exist (were written).
    pub groups: u64,
    /// Volume complete LSN.
    pub vcl: Lsn,
    /// Volume durable LSN.
    pub vdl: Lsn,
    /// How long the recovery of this open took.
    pub recovery: Duration,
    /// User bytes written since the volume was opened.
    pub written_bytes: u64,
    /// Bytes of blocks that exist.
    pub live_bytes: u64,
    /// Bytes of log files of all nodes.
    pub log_bytes: u64,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
}
