//! The blocks of which no copy can be proved: what scrubs and failed reads have met, until a
//! write, a repair or a later look makes them good.

use super::Writer;
use crate::format::redo_record::RecordHeader;
use crate::geometry::BLOCK_BYTES;
use crate::ids::{DiskBlock, GroupBlock, GroupId};
use crate::limits;
use crate::message::LeafDigests;
use crate::page_run::PageRun;
use crate::status::DataErrors;
use std::collections::BTreeSet;

/// The list.
#[derive(Debug, Default)]
pub(super) struct Unprovable {
    blocks: BTreeSet<(GroupId, GroupBlock)>,
    /// Met beyond what the list holds.
    more: u64,
}

impl Unprovable {
    pub(super) fn add(&mut self, group: GroupId, block: GroupBlock) {
        if self.blocks.len() < limits::DATA_ERRORS {
            self.blocks.insert((group, block));
        } else if !self.blocks.contains(&(group, block)) {
            self.more += 1;
        }
    }

    /// A record makes so many blocks new.
    pub(super) fn clear_blocks(&mut self, record: &RecordHeader, blocks: u32) {
        let first = record.block.0;
        self.clear(record.group, first..first.saturating_add(blocks));
    }

    /// These blocks have content that can be proved, or none.
    pub(super) fn clear(&mut self, group: GroupId, blocks: std::ops::Range<u32>) {
        if self.blocks.is_empty() {
            return;
        }
        let range = (group, GroupBlock(blocks.start))..(group, GroupBlock(blocks.end));
        let good: Vec<_> = self.blocks.range(range).copied().collect();
        good.iter().for_each(|block| {
            self.blocks.remove(block);
        });
    }

    /// The whole blocks of a run of pages were read.
    pub(super) fn clear_run(&mut self, group: GroupId, run: PageRun) {
        self.clear(group, run.whole_blocks());
    }

    /// What a node can prove of a leaf.
    pub(super) fn clear_proven(&mut self, group: GroupId, leaf: &LeafDigests) {
        for digest in leaf.blocks.iter().filter(|digest| digest.content.is_some()) {
            self.clear(group, digest.block.0..digest.block.0 + 1);
        }
    }

    /// A scrub begins, which meets everything again.
    pub(super) fn count_anew(&mut self) {
        self.more = 0;
    }
}

impl Writer {
    /// What is known to be lost, by its place on the disk.
    pub fn data_errors(&self) -> DataErrors {
        let geometry = &self.config.geometry;
        let places = self.unprovable.blocks.iter();
        let mut blocks: Vec<DiskBlock> = places
            .map(|(group, block)| geometry.disk_block(*group, *block))
            .collect();
        blocks.sort_unstable();
        let mut errors = DataErrors::default();
        blocks.into_iter().for_each(|block| errors.add(block));
        errors.more = self.unprovable.more;
        errors
    }

    /// What an earlier process knew to be lost.
    pub fn note_data_errors(&mut self, errors: &DataErrors) {
        let block_bytes = BLOCK_BYTES as u64;
        for error in &errors.known {
            let first = error.offset / block_bytes;
            let blocks = (error.length / block_bytes).min(limits::DATA_ERRORS as u64);
            for block in first..first.saturating_add(blocks) {
                if block < self.disk_bytes().div_ceil(block_bytes) {
                    let place = self.config.geometry.locate(DiskBlock(block));
                    self.unprovable.add(place.0, place.1);
                }
            }
        }
        self.unprovable.more += errors.more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_bounded_and_what_is_good_again_leaves_it() {
        let mut list = Unprovable::default();
        let most = limits::DATA_ERRORS as u32;
        (0..most + 5).for_each(|block| list.add(GroupId(1), GroupBlock(block)));
        list.add(GroupId(1), GroupBlock(0));
        assert_eq!((list.blocks.len(), list.more), (limits::DATA_ERRORS, 5));
        list.clear(GroupId(1), 3..10);
        list.clear(GroupId(0), 0..100);
        assert_eq!(list.blocks.len(), limits::DATA_ERRORS - 7);
        assert!(!list.blocks.contains(&(GroupId(1), GroupBlock(9))));
        // Half a block that was read proves nothing of the other half.
        let run = PageRun {
            first: 81,
            pages: 8,
        };
        list.clear_run(GroupId(1), run);
        assert!(list.blocks.contains(&(GroupId(1), GroupBlock(20))));
        assert!(!list.blocks.contains(&(GroupId(1), GroupBlock(21))));
        assert!(list.blocks.contains(&(GroupId(1), GroupBlock(22))));
    }
}
