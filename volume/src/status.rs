//! What a running volume says of itself: plain data, for people and for JSON.

use crate::geometry::BLOCK_BYTES;
use crate::ids::{DiskBlock, GroupId, VolumeEpoch, VolumeId};
use crate::limits;
use crate::lsn::Lsn;
use std::num::NonZeroU64;
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

/// State of one node as the writer sees it. Where several are true it is the one that is told
/// last here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// Holds everything and is kept up to date.
    Up,
    /// Holds everything, and answers far more slowly than the others.
    Slow,
    /// Is behind and catching up from what it has.
    Lagging,
    /// Had nothing and is being filled.
    Rebuilding,
    /// Its file system has no space: it takes no writes, and keeps what it has.
    Full,
    /// A write, a sync or what it holds failed: it counts nowhere until it is made anew.
    Failed,
    /// Its directory is not there, or cannot be reached.
    Missing,
    /// Every group has left it: it is out of service for good.
    Drained,
}

impl NodeState {
    /// All of them.
    pub const ALL: [NodeState; 8] = [
        NodeState::Up,
        NodeState::Slow,
        NodeState::Lagging,
        NodeState::Rebuilding,
        NodeState::Full,
        NodeState::Failed,
        NodeState::Missing,
        NodeState::Drained,
    ];

    /// The state's word in status and JSON.
    pub fn word(self) -> &'static str {
        match self {
            NodeState::Up => "up",
            NodeState::Slow => "slow",
            NodeState::Lagging => "lagging",
            NodeState::Rebuilding => "rebuilding",
            NodeState::Full => "full",
            NodeState::Failed => "failed",
            NodeState::Missing => "missing",
            NodeState::Drained => "drained",
        }
    }

    /// Whether the node holds everything that is durable.
    pub fn is_whole(self) -> bool {
        matches!(self, NodeState::Up | NodeState::Slow)
    }

    /// Whether nothing is wrong with the node.
    pub fn is_as_wanted(self) -> bool {
        matches!(self, NodeState::Up | NodeState::Drained)
    }

    /// What the state means where nothing more is known.
    pub fn meaning(self) -> &'static str {
        match self {
            NodeState::Up => "it holds everything",
            NodeState::Slow => "it answers far more slowly than the others",
            NodeState::Lagging => "it missed some writes and is given them by the others",
            NodeState::Rebuilding => "it had nothing and is filled by the others",
            NodeState::Full => "the file system of its directory is full",
            NodeState::Failed => "its disk failed",
            NodeState::Missing => "its directory is not there",
            NodeState::Drained => "nothing is on it any more: its directory can be deleted",
        }
    }

    /// What to do about a node in this state for which a reason is known.
    pub fn action_for(self, reason: Option<&str>) -> Option<&'static str> {
        match reason {
            Some(OUTBID) => Some(
                "if no other mount of the volume is left, unmount this one and mount it again: a new \
                 one is promised more",
            ),
            Some(KEPT_OUT) => Some(
                "bring other nodes back, until four are there, or the directory that was to take its \
                 place, and mount the volume again",
            ),
            _ => self.action(),
        }
    }

    /// What to do about it, if there is anything to be done.
    pub fn action(self) -> Option<&'static str> {
        match self {
            NodeState::Up | NodeState::Lagging | NodeState::Rebuilding | NodeState::Drained => None,
            NodeState::Slow => Some(
                "none needed: reads go to the others and writes do not wait for it; if it stays \
                 slow, look at its disk and at what else uses it",
            ),
            NodeState::Full => Some(
                "make space on its file system, or discard data: it goes on by itself and keeps \
                 what it has",
            ),
            NodeState::Failed => Some(
                "look at its disk: it is made anew by itself where three others hold everything \
                 and its disk can be written",
            ),
            NodeState::Missing => {
                Some("bring the directory back, or its parent, so that it can be made anew there")
            }
        }
    }
}

/// Why a node counts for nothing though it is there.
pub const KEPT_OUT: &str =
    "another directory may have its place, which four other nodes must rule out first";

/// Why a node is missing that has promised another writer more.
pub const OUTBID: &str = "another writer has taken the volume over";

/// What was mended on one node since the volume was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairFigures {
    /// Blocks that were found damaged, or wrong.
    pub damaged_blocks: u64,
    /// Blocks that were written anew from a proven copy.
    pub repaired_blocks: u64,
}

/// How far filling a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RebuildFigures {
    /// Bytes of blocks that the node holds of what it is to hold.
    pub done_bytes: u64,
    /// Bytes of blocks that it is to hold, about.
    pub total_bytes: u64,
    /// Smoothed.
    pub bytes_per_second: u64,
    /// How long it takes yet, if that can be said.
    pub time_left: Option<Duration>,
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
    /// Pieces of nodes' metadata that did not check: superblocks, and what an open reads of the log.
    pub metadata_damaged: u64,
    /// Of these, those that are right now.
    pub metadata_repaired: u64,
}

/// Where a scrub is: the leaf that it looks at next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubPlace {
    /// The group.
    pub group: GroupId,
    /// The leaf.
    pub leaf: u32,
}

/// How a scrub begins, or goes on in another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubStart {
    /// Where.
    pub place: ScrubPlace,
    /// What was found before that.
    pub report: ScrubReport,
    /// Bytes a second that are read at most, of all copies together.
    pub rate: Option<NonZeroU64>,
    /// Whether it waits until it is told to go on.
    pub is_paused: bool,
}

/// A scrub under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubProgress {
    /// Where it is and what it has found: another process can go on with it.
    pub at: ScrubStart,
    /// Groups that it is through with.
    pub groups_done: u64,
    /// Groups that have anything in them.
    pub groups: u64,
    /// Bytes a second that it allows itself now; `None`: as many as the disks give.
    pub allowance: Option<u64>,
}

/// A scrub that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubResult {
    /// Which of this process: they are counted from 1. Zero: of an earlier process.
    pub number: u64,
    /// When, in seconds since 1970.
    pub ended_s: u64,
    /// What it found.
    pub report: ScrubReport,
}

/// What is known of a volume's scrubs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ScrubStatus {
    /// The number of the one that began last in this process.
    pub number: u64,
    /// The one under way.
    pub running: Option<ScrubProgress>,
    /// When that began, in seconds since 1970.
    pub began_s: u64,
    /// Bytes of copies that it has read.
    pub read_bytes: u64,
    /// Bytes of copies that there are to read, about.
    pub expected_bytes: u64,
    /// Bytes a second that it read lately.
    pub rate: u64,
    /// The last one that ended.
    pub last: Option<ScrubResult>,
    /// When the next one begins by itself, in seconds since 1970.
    pub next_s: Option<u64>,
}

impl ScrubStatus {
    /// Percent that the one under way is through with: 100 only when it has ended.
    pub fn percent(&self) -> u64 {
        let done = self.read_bytes.saturating_mul(100) / self.expected_bytes.max(1);
        done.min(99)
    }

    /// How long the one under way takes from now on at its present rate.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.expected_bytes.saturating_sub(self.read_bytes);
        let is_going = self.running.is_some_and(|running| !running.at.is_paused);
        (is_going && self.rate > 0).then(|| Duration::from_secs(left.div_ceil(self.rate)))
    }
}

/// Bytes of the disk of which no copy can be proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataError {
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// The known blocks of which no copy can be proved: reading them fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataErrors {
    /// Ascending; neighbours are one.
    pub known: Vec<DataError>,
    /// Blocks that were met beyond those, since the last scrub began.
    pub more: u64,
}

impl DataErrors {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.more == 0
    }

    /// Notes a block, behind those that are known.
    pub fn add(&mut self, block: DiskBlock) {
        let (offset, length) = (block.0 * BLOCK_BYTES as u64, BLOCK_BYTES as u64);
        let room = limits::DATA_ERRORS - self.known.len().min(limits::DATA_ERRORS);
        match self.known.last_mut() {
            Some(last) if last.offset + last.length == offset => last.length += length,
            _ if room > 0 => self.known.push(DataError { offset, length }),
            _ => self.more += 1,
        }
    }
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
    /// What to do about it, if there is anything to be done.
    pub action: Option<String>,
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
    /// How far it is filled, while it is.
    pub rebuild: Option<RebuildFigures>,
    /// The directory that is to take its place.
    pub successor: Option<SuccessorStatus>,
}

/// A directory that is being filled to take a node's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessorStatus {
    /// The directory.
    pub path: PathBuf,
    /// Its state.
    pub state: NodeState,
    /// What is wrong with it, if anything: one sentence.
    pub reason: Option<String>,
    /// How far it is filled, while it is.
    pub rebuild: Option<RebuildFigures>,
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
    /// What is wrong and what to do, when not every node is up: one sentence each.
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
    /// Its scrubs.
    pub scrub: ScrubStatus,
    /// Segments that have moved to other nodes, and all that move, while they do.
    pub relocation: Option<(u64, u64)>,
    /// What cannot be read any more.
    pub data_errors: DataErrors,
}
