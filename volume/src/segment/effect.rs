//! What a node asks of its disk, and what the disk answers. Plain data: drivers make it real.

use crate::geometry::PAGES_PER_BLOCK;
use crate::ids::{ExtentSlot, NodeId};
use crate::message::{PeerMessage, Reply};
use crate::page::{PageBuf, Pages};

/// Ties a completion to its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub u64);

/// What a node wants done. Effects of one node may be carried out in any order and side by side;
/// a node that needs an order waits for the completion. Only its appends have an order, in which they
/// are asked for: whoever hands them on keeps it.
#[derive(Debug)]
pub enum NodeEffect {
    /// Write at `offset` of the extent file, and sync it before completing. The next append of the node
    /// is begun when this one is synced, and not at all when this one fails.
    Append {
        /// Named in the completion.
        operation: OperationId,
        /// The extent file.
        slot: ExtentSlot,
        /// Bytes from the file's start, a multiple of the page size.
        offset: u64,
        /// Written one after the other.
        parts: Vec<Pages>,
        /// Every page of the range was written and synced before, at the latest by the append before
        /// this one: no metadata changes, so one flush of a shared device covers it.
        overwrites: bool,
    },
    /// Write one slot of the superblock file and sync it before completing.
    WriteSuperblock {
        /// Named in the completion.
        operation: OperationId,
        /// Slot, 0 or 1.
        slot: usize,
        /// The whole slot.
        bytes: Pages,
    },
    /// Make the extent file (if it is not there) and allocate it up to `bytes`; sync file and
    /// folder before completing.
    Allocate {
        /// Named in the completion.
        operation: OperationId,
        /// The extent file.
        slot: ExtentSlot,
        /// Bytes from the file's start.
        bytes: u64,
    },
    /// Delete the extent file. No completion.
    Remove {
        /// The extent file.
        slot: ExtentSlot,
    },
    /// Read raw pages.
    Read {
        /// Named in the completion.
        operation: OperationId,
        /// The extent file.
        slot: ExtentSlot,
        /// Bytes from the file's start.
        offset: u64,
        /// Pages to read; reading past the end of the file gives zeros.
        pages: usize,
    },
    /// Read both slots of the superblock file.
    ReadSuperblock {
        /// Named in the completion.
        operation: OperationId,
    },
    /// Read and materialize pages.
    Materialize {
        /// Named in the completion.
        operation: OperationId,
        /// What to read and where to put it.
        plan: ReadPlan,
    },
    /// Answer the writer.
    Send(Reply),
    /// Call [`crate::segment::node::Node::on_idle`] when nothing is more urgent: there is work that
    /// nobody waits for.
    Idle,
    /// Tell another node.
    Tell {
        /// Whom.
        to: NodeId,
        /// What.
        message: PeerMessage,
    },
}

impl NodeEffect {
    /// Whether the disk tells when it is done.
    pub fn completes(&self) -> bool {
        !matches!(
            self,
            NodeEffect::Remove { .. }
                | NodeEffect::Send(_)
                | NodeEffect::Tell { .. }
                | NodeEffect::Idle
        )
    }
}

/// How to build a run of pages: pages of the log, and the bytes that each gives.
#[derive(Debug, Default)]
pub struct ReadPlan {
    /// Pages of the result; what no piece gives is zero.
    pub pages: u32,
    /// Disjoint in the bytes that they give.
    pub pieces: Vec<PlanPiece>,
}

/// Some pages of one fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanPiece {
    /// The extent file.
    pub slot: ExtentSlot,
    /// First page to read, in the file.
    pub file_page: u32,
    /// Pages to read.
    pub pages: u32,
    /// Page of the result that the first one belongs to.
    pub result_page: u32,
    /// First byte of the result that the piece gives.
    pub start: u32,
    /// End of these bytes.
    pub end: u32,
    /// Checksums of the pages read.
    pub checksums: [u32; PAGES_PER_BLOCK],
}

impl PlanPiece {
    /// Whether it gives every byte of the pages that it reads: these may be read in place.
    pub fn gives_whole_pages(&self) -> bool {
        let first = self.result_page * crate::page::PAGE_BYTES as u32;
        self.start == first && self.end == first + self.pages * crate::page::PAGE_BYTES as u32
    }
}

/// Why the disk did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No space left (ENOSPC, EDQUOT). Of `Allocate` only; a write that meets it has failed.
    Full,
    /// Anything else.
    Failed,
    /// The bytes read do not check.
    Damaged,
}

/// What the disk did.
#[derive(Debug)]
pub enum DiskCompletion {
    /// Of `Append`, `WriteSuperblock` and `Allocate`.
    Done {
        /// Of the effect.
        operation: OperationId,
        /// How it went.
        result: Result<(), DiskError>,
    },
    /// Of `Read` and `ReadSuperblock`.
    Read {
        /// Of the effect.
        operation: OperationId,
        /// The pages.
        result: Result<PageBuf, DiskError>,
    },
    /// Of `Materialize`: the result, every page of the log that it came from checked.
    Materialized {
        /// Of the effect.
        operation: OperationId,
        /// The pages.
        result: Result<PageBuf, DiskError>,
    },
}
