//! Everything that writer and nodes say to each other, and nodes among themselves. Every request carries the epoch of its
//! writer; a node refuses what is older than its promise (DESIGN §7.2).
//!
//! In the embedded driver messages are passed by value in one process, payload by reference
//! count. A frame already has its wire encoding (`format::log_frame`).

use crate::config::VolumeConfig;
use crate::format::log_frame::Frame;
use crate::format::redo_record::RecordHeader;
use crate::ids::{GroupBlock, GroupId, Incarnation, VolumeEpoch};
use crate::kept::Kept;
use crate::lsn::{Lsn, TruncationList};
use crate::page::Pages;
use crate::page_run::PageRun;
use std::sync::Arc;

/// Ties an answer to its question. Never given out twice, since the epoch is part of it: the
/// answer to a question of an earlier writer is never taken for one to a later writer's. Of two
/// requests the later one has the greater id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// Epoch of the writer that asks.
    pub epoch: VolumeEpoch,
    /// Rises with every question.
    pub number: u64,
}

/// A block copied to a segment that catches up.
#[derive(Clone, Debug)]
pub struct CopiedBlock {
    /// The block.
    pub block: GroupBlock,
    /// LSN of the newest record in it.
    pub lsn: Lsn,
    /// Its content, four pages; `None`: unchanged since the LSN that the copy began from.
    pub content: Option<Pages>,
}

/// A run of a segment's leaves as of one moment: these blocks exist, all others do not.
#[derive(Clone, Debug)]
pub struct LeafCopy {
    /// First leaf of the run.
    pub first_leaf: u32,
    /// First leaf behind it.
    pub end_leaf: u32,
    /// The blocks that exist.
    pub blocks: Vec<CopiedBlock>,
}

/// A block of a node, and whether the node can prove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDigest {
    /// The block.
    pub block: GroupBlock,
    /// Its version: LSN of the newest record in it.
    pub lsn: Lsn,
    /// Checksum of its content; `None` when that is damaged.
    pub content: Option<u32>,
}

/// The blocks of one leaf on one node as of one moment: these exist, all others do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafDigests {
    /// Last record of the group that the node's index had taken in.
    pub applied: Lsn,
    /// The leaf's own page did not check where it lies: it is being written anew.
    pub index_damaged: bool,
    /// Ascending by block.
    pub blocks: Vec<BlockDigest>,
    /// The next leaf of the group that the node has anything in.
    pub next_leaf: Option<u32>,
}

/// What a node found of its own metadata: superblock, checkpoint, directories of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataDigest {
    /// Pieces that were read.
    pub pieces: u64,
    /// Those that did not check, and are being written anew.
    pub damaged: u64,
}

/// From the writer to a node.
#[derive(Clone, Debug)]
pub enum Request {
    /// Promise the epoch and report (recovery, step 2).
    Promise {
        /// Above every one seen.
        epoch: VolumeEpoch,
    },
    /// Hold this list instead of your own, and this configuration (step 4).
    HoldList {
        /// The promised epoch; that of the list is the same.
        epoch: VolumeEpoch,
        /// All ranges.
        list: TruncationList,
        /// The volume's configuration.
        config: VolumeConfig,
        /// The node is to take a place that another directory has by that configuration: it takes
        /// frames all the same, from this writer, who counts them for nothing.
        as_successor: bool,
    },
    /// Append, sync, acknowledge.
    Append {
        /// Carries epoch and VDL in its stamp.
        frame: Arc<Frame>,
    },
    /// The VDL has moved and no frame is due that would say so.
    Announce {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// The VDL.
        vdl: Lsn,
    },
    /// Hold this configuration.
    Configure {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// A higher version.
        config: VolumeConfig,
    },
    /// Materialize pages as of `vdl`.
    Read {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// Named in the answer.
        id: RequestId,
        /// The group.
        group: GroupId,
        /// The pages.
        run: PageRun,
        /// The read point.
        vdl: Lsn,
        /// The group's last record at or below it: the segment's SCL must reach it.
        tip: Lsn,
    },
    /// Which blocks of a leaf exist as of `vdl`, and which leaf comes next.
    Presence {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// Named in the answer.
        id: RequestId,
        /// The group.
        group: GroupId,
        /// The leaf.
        leaf: u32,
        /// The read point.
        vdl: Lsn,
    },
    /// Records of the group's chain that are not yet in the index (recovery, step 5).
    Fetch {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// Named in the answer.
        id: RequestId,
        /// The group.
        group: GroupId,
        /// From the record after this one
        after: Lsn,
        /// to this one.
        upto: Lsn,
    },
    /// A leaf for a segment that catches up; when it does not exist, how far nothing does.
    FetchLeaves {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// Named in the answer.
        id: RequestId,
        /// The group.
        group: GroupId,
        /// The leaf.
        leaf: u32,
        /// The receiver has what is at or below this.
        since: Lsn,
        /// The state must be as of this LSN or later.
        base: Lsn,
    },
    /// Read every block of a leaf, and say which are damaged.
    Examine {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// Named in the answer.
        id: RequestId,
        /// The group.
        group: GroupId,
        /// The leaf.
        leaf: u32,
        /// Everything up to here is durable: what the node has of it is taken in first.
        vdl: Lsn,
    },
    /// Read what an open would read, and write anew what does not check.
    ExamineMetadata {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// Named in the answer.
        id: RequestId,
    },
    /// Blocks with their versions, as of now, for a node whose own are damaged.
    FetchBlocks {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// Named in the answer.
        id: RequestId,
        /// The group.
        group: GroupId,
        /// Blocks of one leaf, none twice.
        blocks: Vec<GroupBlock>,
    },
    /// Write these blocks anew, each if its newest record is the one that the copy names: the same
    /// version has the same content, so nothing newer can be undone.
    Repair {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// Named in the answer.
        id: RequestId,
        /// The group.
        group: GroupId,
        /// Blocks of one leaf, with content, none twice.
        blocks: Vec<CopiedBlock>,
    },
    /// These segments are incomplete until they are told otherwise; each will be complete as of
    /// the LSN beside it. What the segment had is kept, for blocks that did not change.
    BeginCatchUp {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// Names the copy that begins. One that is not newer than the copy that a segment is
        /// being made by came late, and changes nothing.
        copy: RequestId,
        /// Nothing that the segments have is trusted: everything is copied.
        anew: bool,
        /// Groups and their bases.
        groups: Vec<(GroupId, Lsn)>,
    },
    /// A run of leaves from a peer.
    PutLeaves {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// Named in the answer.
        id: RequestId,
        /// The copy that it is a part of.
        copy: RequestId,
        /// The group.
        group: GroupId,
        /// The LSN that the segment will be complete as of.
        base: Lsn,
        /// The segment has said of all leaves before this one that they are held.
        filled: u32,
        /// The run.
        leaves: LeafCopy,
    },
    /// These groups are on other nodes, durably: what the node has of them is let go. Not what it
    /// holds, or is about to, by its configuration: then this came late.
    Release {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// The groups.
        groups: Vec<GroupId>,
    },
    /// Everything was put: the segment is complete as of `base`.
    CompleteGroup {
        /// Epoch of the writer.
        epoch: VolumeEpoch,
        /// The copy that has ended.
        copy: RequestId,
        /// The group.
        group: GroupId,
        /// Its base.
        base: Lsn,
    },
}

impl Request {
    /// The epoch of the writer that asks.
    pub fn epoch(&self) -> VolumeEpoch {
        match self {
            Request::Append { frame } => frame.stamp.epoch,
            Request::Promise { epoch }
            | Request::HoldList { epoch, .. }
            | Request::Announce { epoch, .. }
            | Request::Configure { epoch, .. }
            | Request::Read { epoch, .. }
            | Request::Presence { epoch, .. }
            | Request::Fetch { epoch, .. }
            | Request::FetchLeaves { epoch, .. }
            | Request::Examine { epoch, .. }
            | Request::ExamineMetadata { epoch, .. }
            | Request::FetchBlocks { epoch, .. }
            | Request::Repair { epoch, .. }
            | Request::BeginCatchUp { epoch, .. }
            | Request::Release { epoch, .. }
            | Request::PutLeaves { epoch, .. }
            | Request::CompleteGroup { epoch, .. } => *epoch,
        }
    }
}

/// A record in a node's tail: above what its index has taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailRecord {
    /// Its LSN.
    pub lsn: Lsn,
    /// Its group.
    pub group: GroupId,
    /// The record before it in the volume.
    pub previous_in_volume: Lsn,
    /// The record before it in the group.
    pub previous_in_group: Lsn,
    /// Whether it is a consistency point.
    pub is_consistency_point: bool,
}

/// A segment's state in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// The group.
    pub group: GroupId,
    /// Segment complete LSN.
    pub scl: Lsn,
    /// Last record that the index has taken in.
    pub applied: Lsn,
    /// Whether everything up to `scl` is held.
    pub complete: bool,
}

/// What a node says of itself when it has promised (recovery, step 3).
#[derive(Clone, Debug)]
pub struct Report {
    /// The promised epoch.
    pub epoch: VolumeEpoch,
    /// The life of its directory.
    pub incarnation: Incarnation,
    /// The ranges that it holds.
    pub list: TruncationList,
    /// Its configuration.
    pub config: VolumeConfig,
    /// The highest VDL announced to it.
    pub announced: Lsn,
    /// Whether it has not yet marked what it lacks (`Superblock::fresh`).
    pub fresh: bool,
    /// Its segments.
    pub segments: Vec<SegmentReport>,
    /// The records above the announced VDL or behind a gap, ascending by LSN.
    pub tail: Vec<TailRecord>,
    /// Whether its tail had a bad frame that was not the last: "had it, bad" (law 5).
    pub tail_damaged: bool,
    /// The lowest LSN that another open of the node could meet in its log again.
    pub replay_low: Lsn,
}

impl Report {
    /// Whether the node's index has what `list` annuls. Only what four hold is ever announced, but
    /// for a volume that three nodes alone opened: when the other three were opened later, without
    /// them, the volume may have gone on from less (DESIGN §7.6).
    pub fn is_abandoned_by(&self, list: &TruncationList) -> bool {
        let mut segments = self.segments.iter();
        segments.any(|segment| list.annuls(segment.applied))
    }
}

/// Why a node does not answer a request with what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeFailure {
    /// It holds less than the read point needs.
    #[error("the segment is behind the read point")]
    Behind,
    /// It had the data, and what the disk gave back does not check (or could not be read).
    #[error("the data is damaged on this node")]
    Damaged,
    /// The node is fenced after a failed write or sync, or has no such segment.
    #[error("the node is out of service")]
    OutOfService,
}

/// What a node can surely append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes of frames.
    pub bytes: u64,
    /// Bytes of frames of discards, which may take more: they are what makes room.
    pub for_discards: u64,
    /// Whether there may be more.
    pub space: Space,
}

impl Room {
    /// Takes away what was appended.
    pub fn take(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.for_discards = self.for_discards.saturating_sub(bytes);
    }
}

/// Whether a node can be expected to have more room soon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Space {
    /// The file system below gives what the log needs.
    #[default]
    Ample,
    /// The file system below is full; there is garbage, and collection is at it.
    Short,
    /// The file system below is full, and so is the log, with what is needed.
    Full,
}

/// From a node to the writer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The request's epoch is older than the promise.
    Refused {
        /// The promised epoch.
        promised: VolumeEpoch,
    },
    /// Promised, durably.
    Promised(Box<Report>),
    /// The list is held, durably; what it annuls is gone.
    ListHeld {
        /// Epoch of the list.
        epoch: VolumeEpoch,
        /// SCLs of all segments.
        scls: Vec<(GroupId, Lsn)>,
        /// What the node can surely append.
        room: Room,
    },
    /// The configuration is held, durably.
    Configured {
        /// Its version.
        version: u64,
    },
    /// Everything received so far of these groups up to these points is on stable storage.
    Acked {
        /// Life of the directory that keeps it.
        incarnation: Incarnation,
        /// Epoch of the writer it is said to.
        epoch: VolumeEpoch,
        /// SCLs of the groups that moved.
        scls: Vec<(GroupId, Lsn)>,
        /// Frame bytes that this ack answers.
        bytes: u64,
        /// What the node can surely append.
        room: Room,
    },
    /// The node's room changed.
    Room(Room),
    /// Answer to `Read`.
    Pages {
        /// Of the request.
        id: RequestId,
        /// The pages of the run.
        result: Result<crate::page::PageBuf, NodeFailure>,
    },
    /// Answer to `Presence`: bit per block of the leaf, and the next leaf that has any.
    Present {
        /// Of the request.
        id: RequestId,
        /// Bits and next leaf.
        result: Result<(u64, Option<u32>), NodeFailure>,
    },
    /// Answer to `Fetch`, in chain order.
    Records {
        /// Of the request.
        id: RequestId,
        /// Records with their payload.
        result: Result<Vec<(RecordHeader, Pages)>, NodeFailure>,
    },
    /// Answer to `FetchLeaves`: the leaf, or an empty run up to the next one that exists.
    Leaves {
        /// Of the request.
        id: RequestId,
        /// With the first leaf: how many the group has.
        count: Option<u32>,
        /// The run.
        result: Result<LeafCopy, NodeFailure>,
    },
    /// Answer to `Examine`.
    Examined {
        /// Of the request.
        id: RequestId,
        /// What the leaf holds.
        result: Result<LeafDigests, NodeFailure>,
    },
    /// Answer to `ExamineMetadata`.
    MetadataExamined {
        /// Of the request.
        id: RequestId,
        /// What was found.
        result: Result<MetadataDigest, NodeFailure>,
    },
    /// Answer to `FetchBlocks`: those of the blocks that exist here and check.
    Blocks {
        /// Of the request.
        id: RequestId,
        /// The blocks, with content.
        result: Result<Vec<CopiedBlock>, NodeFailure>,
    },
    /// Answer to `Repair`.
    Repaired {
        /// Of the request.
        id: RequestId,
        /// Blocks that were written anew, durably.
        blocks: u32,
    },
    /// The catch-up has begun, durably.
    CatchUpBegun {
        /// Of the request.
        copy: RequestId,
        /// What the segments have that need not be copied, where that is anything.
        kept: Vec<(GroupId, Kept)>,
    },
    /// The run of leaves is held, durably.
    LeavesHeld {
        /// Of the request.
        id: RequestId,
    },
    /// The segment is complete, durably.
    GroupCompleted {
        /// The copy that made it complete.
        copy: RequestId,
        /// The group.
        group: GroupId,
        /// Its SCL.
        scl: Lsn,
    },
    /// Nothing is left of these groups, durably.
    Released {
        /// Of the request.
        groups: Vec<GroupId>,
    },
    /// An index page of the segment does not check: it is incomplete from now on.
    SegmentDamaged {
        /// The group.
        group: GroupId,
    },
    /// The node has fenced itself: a write or sync failed (law 6), or its index has what the
    /// volume has annulled.
    Fenced,
}

/// From a node to another one that holds the same groups. What a node says carries the epoch of the
/// list that it holds; who holds another list does not listen (DESIGN §7.7).
#[derive(Clone, Debug)]
pub enum PeerMessage {
    /// How far the sender's segments are.
    Digest {
        /// Epoch of the sender's list.
        epoch: VolumeEpoch,
        /// SCLs of complete segments.
        scls: Vec<(GroupId, Lsn)>,
    },
    /// Asks for the records of a group's chain behind this one.
    Pull {
        /// Epoch of the sender's list.
        epoch: VolumeEpoch,
        /// The group.
        group: GroupId,
        /// The end of the sender's chain.
        after: Lsn,
    },
    /// Answers `Pull`, in chain order; with none the log does not have the first of them any more.
    Records {
        /// Epoch of the sender's list.
        epoch: VolumeEpoch,
        /// The group.
        group: GroupId,
        /// Records with their payload.
        records: Vec<(RecordHeader, Pages)>,
        /// Whether that is all that the sender can give.
        is_all: bool,
    },
}

impl PeerMessage {
    /// Epoch of the list that the sender holds.
    pub fn epoch(&self) -> VolumeEpoch {
        match self {
            PeerMessage::Digest { epoch, .. }
            | PeerMessage::Pull { epoch, .. }
            | PeerMessage::Records { epoch, .. } => *epoch,
        }
    }
}
