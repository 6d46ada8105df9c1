//! A run of pages of one group: what a read asks of a segment. A read of 4 KiB needs only the
//! records that overlap those 4 KiB (DESIGN §5). Pure.

use crate::geometry::{BLOCK_BYTES, PAGES_PER_BLOCK};
use crate::ids::GroupBlock;
use crate::page::PAGE_BYTES;
use std::ops::Range;

const PAGES: u32 = PAGES_PER_BLOCK as u32;

/// Neighbouring pages of a group, counted from the group's first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// The first page.
    pub first: u32,
    /// How many.
    pub pages: u32,
}

impl PageRun {
    /// Whole blocks. A run that would end behind the last page that can be counted ends there.
    pub fn of_blocks(first: GroupBlock, blocks: u32) -> PageRun {
        let first = first.0.saturating_mul(PAGES);
        let pages = blocks.saturating_mul(PAGES).min(u32::MAX - first);
        PageRun { first, pages }
    }

    /// The block that the first page belongs to.
    pub fn first_block(&self) -> GroupBlock {
        GroupBlock(self.first / PAGES)
    }

    /// Blocks that the run touches.
    pub fn blocks(&self) -> u32 {
        self.end().div_ceil(PAGES) - self.first_block().0
    }

    /// The run cut where a block begins.
    pub fn by_block(&self) -> impl Iterator<Item = PageRun> + use<> {
        let (first, end) = (self.first, self.end());
        let blocks = first / PAGES..end.div_ceil(PAGES);
        blocks.map(move |block| {
            let from = first.max(block * PAGES);
            let pages = end.min((block + 1) * PAGES) - from;
            PageRun { first: from, pages }
        })
    }

    /// The blocks that the run asks for all of.
    pub fn whole_blocks(&self) -> Range<u32> {
        let first = self.first.div_ceil(PAGES);
        first..(self.end() / PAGES).max(first)
    }

    /// Whether the run lies in a group of so many blocks.
    pub fn is_inside(&self, group_blocks: u32) -> bool {
        let end = self.first.checked_add(self.pages);
        end.is_some_and(|end| end <= group_blocks * PAGES)
    }

    /// The bytes of a block (counted from the first block) that the run asks for; empty when none.
    pub fn bytes_in(&self, block: u32) -> Range<u32> {
        let block_start = block.saturating_mul(PAGES);
        let skipped = self.skipped_pages();
        let first = skipped.saturating_sub(block_start).min(PAGES);
        let end = (skipped + self.pages)
            .saturating_sub(block_start)
            .min(PAGES);
        first * PAGE_BYTES as u32..end * PAGE_BYTES as u32
    }

    /// Where a byte of a block (counted from the first block) lies in the run. The byte must be
    /// one that the run asks for, or the end of such bytes.
    pub fn position_of(&self, block: u32, byte: u32) -> u32 {
        block * BLOCK_BYTES as u32 + byte - self.skipped_pages() * PAGE_BYTES as u32
    }

    /// Bytes of the run.
    pub fn bytes(&self) -> usize {
        self.pages as usize * PAGE_BYTES
    }

    /// Bytes of the first block before the run.
    pub fn skipped_bytes(&self) -> usize {
        self.skipped_pages() as usize * PAGE_BYTES
    }

    /// Pages of the first block before the run.
    fn skipped_pages(&self) -> u32 {
        self.first % PAGES
    }

    fn end(&self) -> u32 {
        self.first.saturating_add(self.pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_knows_its_bytes_of_each_block() {
        let run = PageRun { first: 6, pages: 8 };
        assert_eq!((run.first_block(), run.blocks()), (GroupBlock(1), 3));
        assert_eq!(run.whole_blocks(), 2..3);
        let cut: Vec<_> = run.by_block().map(|run| (run.first, run.pages)).collect();
        assert_eq!(cut, [(6, 2), (8, 4), (12, 2)]);
        let bytes = [0, 1, 2, 3].map(|block| run.bytes_in(block));
        assert_eq!(bytes, [8192..16384, 0..16384, 0..8192, 0..0]);
        assert_eq!(run.position_of(0, 8192), 0);
        assert_eq!(run.position_of(1, 5), 8197);
        assert_eq!(run.position_of(2, 8192), 8 * 4096);
    }

    #[test]
    fn a_run_that_is_not_possible_is_not_inside() {
        assert!(PageRun::of_blocks(GroupBlock(3), 2).is_inside(5));
        assert!(!PageRun::of_blocks(GroupBlock(3), 3).is_inside(5));
        assert!(!PageRun::of_blocks(GroupBlock(u32::MAX), u32::MAX).is_inside(5));
        let wraps = PageRun {
            first: u32::MAX,
            pages: 2,
        };
        assert!(!wraps.is_inside(5));
    }
}
