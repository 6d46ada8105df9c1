//! The block index of a node with 2 GiB of blocks, in random order: a write and a read of a
//! database each meet another leaf than the one before. At six megabytes it is larger than the
//! caches near a processor, and so it is meant: the memory is what it waits for in use, too.

use crate::random::Random;
use crate::write::{BLOCKS, GROUP};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use redoubt_volume::config::SEGMENTS;
use redoubt_volume::format::index_page::{Fragment, LEAF_BLOCKS};
use redoubt_volume::geometry::{BLOCK_BYTES, PAGES_PER_BLOCK};
use redoubt_volume::ids::{ExtentSequence, GroupBlock};
use redoubt_volume::limits;
use redoubt_volume::lsn::Lsn;
use redoubt_volume::page::PAGE_BYTES;
use redoubt_volume::segment::block_index::BlockIndex;
use redoubt_volume::segment::extent_usage::ExtentUsage;

/// Pages of a log extent.
const EXTENT_PAGES: u64 = limits::EXTENT_BYTES as u64 / PAGE_BYTES as u64;

/// An index and what it refers to.
struct Subject {
    index: BlockIndex,
    usage: ExtentUsage,
}

impl Subject {
    fn empty() -> Subject {
        Subject {
            index: BlockIndex::new(limits::INDEX_BYTES / SEGMENTS),
            usage: ExtentUsage::default(),
        }
    }

    /// With an image of each block.
    fn full(order: &[u32]) -> Subject {
        let mut subject = Subject::empty();
        subject.insert(order, Lsn(1));
        subject
    }

    /// Puts an image of each block in; the first record has this LSN.
    fn insert(&mut self, order: &[u32], first: Lsn) {
        for (lsn, block) in (first.0..).zip(order) {
            let (block, image) = (GroupBlock(*block), image(Lsn(lsn)));
            self.index
                .insert(GROUP, block, black_box(image), &mut self.usage);
        }
    }

    /// Looks each block up, one at a time.
    fn look_up(&mut self, order: &[u32]) {
        for block in order {
            let found = self.index.lookup(GROUP, GroupBlock(black_box(*block)), 1);
            black_box(found.expect("all leaves are in memory"));
        }
    }

    /// The index has of each block the image that was put in, and nothing else.
    fn check(&mut self, order: &[u32], first: Lsn) {
        for (lsn, block) in (first.0..).zip(order) {
            let expected = Fragment {
                block: (*block % LEAF_BLOCKS) as u8,
                ..image(Lsn(lsn))
            };
            let found = self.index.lookup(GROUP, GroupBlock(*block), 1);
            assert_eq!(found, Ok(vec![(0, expected)]));
        }
        let live_bytes = order.len() * BLOCK_BYTES;
        assert_eq!(self.usage.total(), live_bytes as u64);
        assert_eq!(self.usage.overdrawn(), 0);
    }
}

/// What a record with this LSN says of its block, where payloads lie one behind the other.
fn image(lsn: Lsn) -> Fragment {
    let page = lsn.0 * PAGES_PER_BLOCK as u64;
    Fragment {
        lsn,
        extent: ExtentSequence((1 + page / EXTENT_PAGES) as u32),
        page: (page % EXTENT_PAGES) as u32,
        start: 0,
        end: BLOCK_BYTES as u16,
        block: 0,
        checksums: [lsn.0 as u32; PAGES_PER_BLOCK],
    }
}

/// The blocks in the order in which they are met.
fn order(seed: u64) -> Vec<u32> {
    Random::new(seed).shuffled(BLOCKS)
}

#[divan::bench]
fn insert(bencher: Bencher) {
    let order = order(1);
    Subject::full(&order).check(&order, Lsn(1));
    bencher
        .counter(ItemsCount::new(BLOCKS))
        .with_inputs(Subject::empty)
        .bench_refs(|subject| subject.insert(&order, Lsn(1)));
}

#[divan::bench]
fn overwrite(bencher: Bencher) {
    let (earlier, later) = (order(1), order(2));
    let first = Lsn(1).plus(u64::from(BLOCKS));
    let full = || Subject::full(&earlier);
    let mut once = full();
    once.insert(&later, first);
    once.check(&later, first);
    bencher
        .counter(ItemsCount::new(BLOCKS))
        .with_inputs(full)
        .bench_refs(|subject| subject.insert(&later, first));
}

#[divan::bench]
fn look_up(bencher: Bencher) {
    let (written, read) = (order(1), order(2));
    let mut subject = Subject::full(&written);
    subject.check(&written, Lsn(1));
    bencher
        .counter(ItemsCount::new(BLOCKS))
        .bench_local(|| subject.look_up(&read));
}
