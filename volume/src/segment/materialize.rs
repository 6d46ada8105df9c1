//! Turns records into pages of blocks: the only place that does. Plans which pages of the log to read,
//! checks them, and puts their bytes where they belong. Pure.

use crate::format::checksum::checksum;
use crate::format::index_page::Fragment;
use crate::geometry::PAGES_PER_BLOCK;
use crate::ids::{ExtentSequence, ExtentSlot};
use crate::page::{PAGE_BYTES, PageBuf, pages_for};
use crate::page_run::PageRun;
use crate::planted::{Bug, is_planted};
use crate::segment::coverage::{Uncovered, byte_range, recency};
use crate::segment::effect::{DiskError, PlanPiece, ReadPlan};
use std::ops::Range;

const PAGE: u32 = PAGE_BYTES as u32;

/// How to build a run of pages out of `fragments`, each with its block counted from the first of
/// the run, ascending by block. `slot_of` names the file of an extent; `None` when a
/// fragment lies in an extent that there is not.
///
/// Each byte is taken from the newest fragment that gives it, and no page is read that gives none.
/// A piece gives either whole pages or a part of one page. Pieces ascend by their place in the
/// result.
pub fn plan(
    run: PageRun,
    fragments: &[(u32, Fragment)],
    slot_of: impl Fn(ExtentSequence) -> Option<ExtentSlot>,
) -> Option<ReadPlan> {
    let mut pieces = Vec::with_capacity(fragments.len());
    for of_block in fragments.chunk_by(|one, next| one.0 == next.0) {
        if of_block[0].0 < run.blocks() {
            plan_block(run, of_block, &slot_of, &mut pieces)?;
        }
    }
    pieces.sort_unstable_by_key(|piece| piece.start);
    let pages = run.pages;
    Some(ReadPlan { pages, pieces })
}

/// Appends the pieces of one block.
fn plan_block(
    run: PageRun,
    fragments: &[(u32, Fragment)],
    slot_of: impl Fn(ExtentSequence) -> Option<ExtentSlot>,
    pieces: &mut Vec<PlanPiece>,
) -> Option<()> {
    let mut newest_first: Vec<&(u32, Fragment)> = fragments.iter().collect();
    newest_first.sort_unstable_by_key(|(_, fragment)| std::cmp::Reverse(recency(fragment)));
    let mut uncovered = Uncovered::range(run.bytes_in(fragments[0].0));
    for (block, fragment) in newest_first {
        let slot = slot_of(fragment.extent)?;
        uncovered.take(byte_range(fragment), |bytes| {
            split_at_pages(bytes, |bytes| {
                pieces.push(piece(run, *block, slot, fragment, bytes))
            });
        });
        if uncovered.is_empty() {
            break;
        }
    }
    Some(())
}

/// Cuts a run of bytes into a part of its first page, whole pages, and a part of its last page.
fn split_at_pages(bytes: Range<u32>, mut given: impl FnMut(Range<u32>)) {
    let whole_start = bytes.start.next_multiple_of(PAGE).min(bytes.end);
    let whole_end = (bytes.end / PAGE * PAGE).max(whole_start);
    for part in [
        bytes.start..whole_start,
        whole_start..whole_end,
        whole_end..bytes.end,
    ] {
        if !part.is_empty() {
            given(part);
        }
    }
}

/// The piece of `fragment` that gives `bytes` of its block.
fn piece(
    run: PageRun,
    block: u32,
    slot: ExtentSlot,
    fragment: &Fragment,
    bytes: Range<u32>,
) -> PlanPiece {
    let first_page = bytes.start / PAGE;
    let pages = bytes.end.div_ceil(PAGE) - first_page;
    let in_payload = first_page - fragment.first_page();
    let mut checksums = [0; PAGES_PER_BLOCK];
    for (page, sum) in checksums.iter_mut().take(pages as usize).enumerate() {
        *sum = fragment.checksums[in_payload as usize + page];
    }
    let start = run.position_of(block, bytes.start);
    PlanPiece {
        slot,
        file_page: fragment.page.saturating_add(in_payload),
        pages,
        result_page: start / PAGE,
        start,
        end: run.position_of(block, bytes.end),
        checksums,
    }
}

/// Checks the pages that were read for a piece.
///
/// # Errors
/// [`DiskError::Damaged`] when a page does not check or is missing.
pub fn check(piece: &PlanPiece, bytes: &[u8]) -> Result<(), DiskError> {
    let (pages, rest) = bytes.as_chunks::<PAGE_BYTES>();
    let mut sums = piece.checksums.iter().zip(pages);
    let good = pages.len() == piece.pages as usize
        && rest.is_empty()
        && sums.all(|(sum, page)| checksum(page) == *sum);
    if good || is_planted(Bug::ChecksumNotVerified) {
        Ok(())
    } else {
        Err(DiskError::Damaged)
    }
}

/// Checks the pages that were read for a piece, and copies the bytes that it gives to the result.
///
/// # Errors
/// [`DiskError::Damaged`] when a page does not check or is missing.
pub fn place(piece: &PlanPiece, bytes: &[u8], result: &mut [u8]) -> Result<(), DiskError> {
    check(piece, bytes)?;
    let first = piece.result_page * PAGE;
    let [from, to] = [piece.start - first, piece.end - first].map(|byte| byte as usize);
    result[piece.start as usize..piece.end as usize].copy_from_slice(&bytes[from..to]);
    Ok(())
}

/// Carries a plan out, one piece after the other. `read` appends so many pages of a file, from a
/// page on, to what it is given.
///
/// # Errors
/// What `read` says, or [`DiskError::Damaged`] when a page does not check.
pub fn assemble(
    plan: &ReadPlan,
    mut read: impl FnMut(ExtentSlot, u32, usize, &mut PageBuf) -> Result<(), DiskError>,
) -> Result<PageBuf, DiskError> {
    let mut result = PageBuf::with_capacity(plan.pages as usize);
    let mut partial = PageBuf::with_capacity(1);
    for piece in &plan.pieces {
        let pages = piece.pages as usize;
        if piece.gives_whole_pages() {
            // They come behind everything that there is: pieces ascend.
            result.grow_to(piece.result_page as usize);
            read(piece.slot, piece.file_page, pages, &mut result)?;
            check(piece, &result.bytes()[piece.start as usize..])?;
        } else {
            partial.clear();
            read(piece.slot, piece.file_page, pages, &mut partial)?;
            result.grow_to(pages_for(piece.end as usize));
            place(piece, partial.bytes(), result.bytes_mut())?;
        }
    }
    result.grow_to(plan.pages as usize);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::checksum::page_checksums;
    use crate::geometry::BLOCK_BYTES;
    use crate::lsn::Lsn;
    use proptest::prelude::*;

    const BLOCK: PageRun = PageRun { first: 0, pages: 4 };

    /// A log in one extent: page after page.
    #[derive(Default)]
    struct Log {
        bytes: Vec<u8>,
        pages_read: usize,
    }

    impl Log {
        /// Writes a payload whose page padding is not zero, so that a stray copy shows.
        fn append(&mut self, lsn: u8, block: u32, start: u16, end: u16) -> (u32, Fragment) {
            let mut fragment = Fragment {
                lsn: Lsn(lsn.into()),
                extent: ExtentSequence(5),
                page: (self.bytes.len() / PAGE_BYTES) as u32,
                start,
                end,
                block: block as u8,
                checksums: [0; 4],
            };
            let mut payload = vec![0xee; fragment.pages() as usize * PAGE_BYTES];
            let first = fragment.first_page() as usize * PAGE_BYTES;
            payload[usize::from(start) - first..usize::from(end) - first].fill(lsn);
            fragment.checksums = page_checksums(&payload);
            self.bytes.extend(payload);
            (block, fragment)
        }

        fn assemble(&mut self, plan: &ReadPlan) -> Result<PageBuf, DiskError> {
            assemble(plan, |slot, page, pages, target| {
                assert_eq!(slot, ExtentSlot(8));
                self.pages_read += pages;
                let from = page as usize * PAGE_BYTES;
                target.extend_padded(&self.bytes[from..from + pages * PAGE_BYTES]);
                Ok(())
            })
        }
    }

    fn slot_of(extent: ExtentSequence) -> Option<ExtentSlot> {
        (extent == ExtentSequence(5)).then_some(ExtentSlot(8))
    }

    proptest! {
        #[test]
        fn each_byte_comes_from_its_newest_record(
            records in prop::collection::vec(
                (0..3_u32, 0..16384_u16, 1..16384_u16, any::<bool>()),
                0..24,
            ),
            first in 0..12_u32,
            pages in 1..13_u32,
        ) {
            let mut log = Log::default();
            let mut expected = vec![0_u8; 3 * BLOCK_BYTES];
            let mut fragments = Vec::new();
            for (lsn, (block, start, length, image)) in (1..).zip(records) {
                let end = start.saturating_add(length).min(16384);
                let (start, end) = if image { (0, 16384) } else { (start, end) };
                let at = block as usize * BLOCK_BYTES;
                expected[at + usize::from(start)..at + usize::from(end)].fill(lsn);
                fragments.push(log.append(lsn, block, start, end));
            }
            fragments.sort_by_key(|(block, _)| *block);
            let run = PageRun { first, pages: pages.min(12 - first) };
            let skipped = run.first_block().0;
            fragments.retain(|(block, _)| *block >= skipped);
            fragments.iter_mut().for_each(|(block, _)| *block -= skipped);
            let plan = plan(run, &fragments, slot_of).unwrap();
            for piece in &plan.pieces {
                let whole = piece.gives_whole_pages();
                prop_assert!(whole || piece.pages == 1);
                prop_assert!(piece.start < piece.end);
            }
            for pair in plan.pieces.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
            }
            let result = log.assemble(&plan).unwrap();
            let start = first as usize * PAGE_BYTES;
            prop_assert_eq!(result.bytes(), &expected[start..start + run.pages as usize * PAGE_BYTES]);
        }
    }

    #[test]
    fn pages_that_give_nothing_are_not_read() {
        let mut log = Log::default();
        let fragments = [
            log.append(1, 0, 0, 16384),
            log.append(2, 0, 4096, 8192),
            log.append(3, 0, 12000, 12288),
        ];
        let plan = plan(BLOCK, &fragments, slot_of).unwrap();
        log.assemble(&plan).unwrap();
        let pieces: Vec<_> = plan
            .pieces
            .iter()
            .map(|piece| (piece.file_page, piece.pages))
            .collect();
        assert_eq!(pieces, [(0, 1), (4, 1), (2, 1), (5, 1), (3, 1)]);
        assert_eq!(log.pages_read, 5);
    }

    #[test]
    fn a_part_of_a_block_reads_only_its_own_pages() {
        let mut log = Log::default();
        let fragments = [log.append(1, 0, 0, 16384), log.append(2, 0, 5000, 6000)];
        let third = PageRun { first: 2, pages: 1 };
        let plan = plan(third, &fragments, slot_of).unwrap();
        let result = log.assemble(&plan).unwrap();
        assert_eq!(result.bytes(), [1; PAGE_BYTES]);
        assert_eq!(log.pages_read, 1);
    }

    #[test]
    fn damage_is_seen_in_whole_and_in_partial_pages() {
        for end in [16384, 100] {
            let mut log = Log::default();
            let fragments = [log.append(1, 0, 0, end)];
            let plan = plan(BLOCK, &fragments, slot_of).unwrap();
            log.bytes[4000] ^= 1;
            assert_eq!(log.assemble(&plan).unwrap_err(), DiskError::Damaged);
            let short = &log.bytes[..100];
            assert_eq!(check(&plan.pieces[0], short), Err(DiskError::Damaged));
        }
        let fragments = [Log::default().append(1, 0, 0, 100)];
        let nowhere = plan(BLOCK, &fragments, |_| None);
        assert!(nowhere.is_none());
    }
}
