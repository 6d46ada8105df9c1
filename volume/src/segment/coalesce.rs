//! Folding: a block whose chain has grown long is materialized and written as a local image at
//! the LSN of the newest record in it, so that the cost of a read stays bounded.

use crate::format::checksum::page_checksums;
use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::geometry::{BLOCK_BYTES, PAGES_PER_BLOCK};
use crate::ids::{GroupBlock, GroupId};
use crate::limits;
use crate::lsn::Lsn;
use crate::page::PageBuf;
use crate::page_run::PageRun;
use crate::planted::{Bug, is_planted};
use crate::segment::append::Then;
use crate::segment::effect::DiskError;
use crate::segment::node::{Node, Operation, Parked};
use std::collections::{HashSet, VecDeque};

/// Folds under way at a time: enough to keep up, few enough to stay in the background.
const FOLDS_AT_ONCE: usize = 4;

/// Blocks to be folded.
#[derive(Debug, Default)]
pub(super) struct Folding {
    queue: VecDeque<(GroupId, GroupBlock)>,
    /// In the queue or under way.
    known: HashSet<(GroupId, GroupBlock)>,
    under_way: HashSet<(GroupId, GroupBlock)>,
}

impl Folding {
    /// An image of the block was taken into the index.
    pub(super) fn finished(&mut self, group: GroupId, block: GroupBlock) {
        if self.under_way.remove(&(group, block)) {
            self.known.remove(&(group, block));
        }
    }
}

impl Node {
    /// Notes a block whose chain is too long. What does not fit the queue is found again at the
    /// block's next write.
    pub(super) fn want_fold(&mut self, group: GroupId, block: GroupBlock, chain: usize) {
        let room = self.folding.queue.len() < limits::COALESCE_QUEUE;
        if chain > limits::CHAIN_FRAGMENTS && room && self.folding.known.insert((group, block)) {
            self.folding.queue.push_back((group, block));
        }
    }

    pub(super) fn fold_next(&mut self) {
        while self.folding.under_way.len() < FOLDS_AT_ONCE {
            let Some((group, block)) = self.folding.queue.pop_front() else {
                return;
            };
            self.folding.under_way.insert((group, block));
            self.fold(group, block);
        }
    }

    /// Reads the block to be folded. Not in an incomplete segment: what it has of the block is not
    /// all there is.
    pub(super) fn fold(&mut self, group: GroupId, block: GroupBlock) {
        if !self
            .segments
            .get(&group)
            .is_some_and(|segment| segment.complete)
        {
            return self.folding.finished(group, block);
        }
        let found = match self.index.lookup(group, block, 1) {
            Ok(found) => found,
            Err(leaf) => return self.load_leaf(leaf, Parked::Fold(group, block)),
        };
        let Some(lsn) = found.iter().map(|(_, fragment)| fragment.lsn).max() else {
            return self.folding.finished(group, block);
        };
        // From here to the image's arrival in the index a discard may overtake it.
        self.rewrites_in_flight += 1;
        let run = PageRun::of_blocks(block, 1);
        let folded = found.len() - usize::from(is_planted(Bug::FoldLosesNewest));
        self.materialize(run, &found[..folded], Operation::Fold { group, block, lsn });
    }

    pub(super) fn on_folded(
        &mut self,
        group: GroupId,
        block: GroupBlock,
        lsn: Lsn,
        result: Result<PageBuf, DiskError>,
    ) {
        match result {
            Ok(pages) => {
                let content = pages.share();
                let mut record = RecordHeader::bare(RecordKind::Image, lsn, group, block);
                record.end = BLOCK_BYTES as u16;
                record.payload_pages = PAGES_PER_BLOCK as u16;
                record.checksums = page_checksums(content.bytes());
                self.enqueue_local(vec![(record, content)], Then::Folded);
            }
            Err(_) => {
                self.folding.finished(group, block);
                self.rewrite_done();
            }
        }
    }
}
