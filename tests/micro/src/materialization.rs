//! Building a block out of a chain of eight records of 2 KiB: what reading a block costs that a
//! database writes in such pieces, besides what the disk takes. A chain of twelve is folded.

use crate::random::Random;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use redoubt_volume::format::checksum::page_checksums;
use redoubt_volume::format::index_page::Fragment;
use redoubt_volume::geometry::BLOCK_BYTES;
use redoubt_volume::ids::{ExtentSequence, ExtentSlot, GroupBlock};
use redoubt_volume::lsn::Lsn;
use redoubt_volume::page::{PAGE_BYTES, PageBuf, Pages};
use redoubt_volume::page_run::PageRun;
use redoubt_volume::segment::materialize::{assemble, plan};

/// Records of the chain.
const RECORDS: usize = 8;
/// Bytes that each of them changes.
const RECORD_BYTES: usize = BLOCK_BYTES / RECORDS;

const EXTENT: ExtentSequence = ExtentSequence(5);
const SLOT: ExtentSlot = ExtentSlot(8);

/// A block's chain, and the log that holds its payload.
struct Chain {
    log: Pages,
    fragments: Vec<(u32, Fragment)>,
}

impl Chain {
    /// The records in any order, each with a page of its own in the log.
    fn new() -> Chain {
        let mut random = Random::new(RECORDS as u64);
        let log = random.pages(RECORDS);
        let places = random.shuffled(RECORDS as u32);
        let fragment = |(page, place)| (0, fragment(&log, page, place as usize));
        let fragments = places.into_iter().enumerate().map(fragment).collect();
        Chain { log, fragments }
    }

    fn materialize(&self) -> PageBuf {
        let run = PageRun::of_blocks(GroupBlock(0), 1);
        let slot_of = |extent| (extent == EXTENT).then_some(SLOT);
        let plan = plan(run, black_box(&self.fragments), slot_of).expect("one extent");
        let block = assemble(&plan, |_, page, pages, target| {
            let first = page as usize;
            target.extend_from_pages(&self.log.pages()[first..first + pages]);
            Ok(())
        });
        block.expect("pages that check")
    }

    /// The bytes of each record are where they belong.
    fn check(&self, block: &PageBuf) {
        assert_eq!(block.bytes().len(), BLOCK_BYTES);
        for (_, fragment) in &self.fragments {
            let [start, end] = [fragment.start, fragment.end].map(usize::from);
            let payload = fragment.page as usize * PAGE_BYTES + start % PAGE_BYTES;
            let given = &self.log.bytes()[payload..payload + RECORD_BYTES];
            assert!(block.bytes()[start..end] == *given);
        }
    }
}

/// The record whose payload is a page of the log, of one of the eighths of the block.
fn fragment(log: &Pages, page: usize, eighth: usize) -> Fragment {
    let start = eighth * RECORD_BYTES;
    Fragment {
        lsn: Lsn(1 + page as u64),
        extent: EXTENT,
        page: page as u32,
        start: start as u16,
        end: (start + RECORD_BYTES) as u16,
        block: 0,
        checksums: page_checksums(log.slice(page, 1).bytes()),
    }
}

#[divan::bench]
fn chain_of_eight(bencher: Bencher) {
    let chain = Chain::new();
    chain.check(&chain.materialize());
    bencher
        .counter(BytesCount::new(BLOCK_BYTES))
        .bench(|| chain.materialize());
}
