//! From a read plan to as few reads as possible, and from what they read to checked blocks.

use super::node_directory::NodeDirectory;
use super::transfer::{Job, ReadSpan};
use crate::geometry::PAGES_PER_BLOCK;
use crate::ids::ExtentSlot;
use crate::page::{PAGE_BYTES, PageBuf};
use crate::segment::effect::{DiskError, PlanPiece, ReadPlan};
use crate::segment::materialize::{check, place};
use std::io;

/// Buffer that becomes the result.
const RESULT: usize = 0;
/// Buffer for pages of which only a part is wanted.
const SCRATCH: usize = 1;

/// The reads of a plan.
#[derive(Debug)]
pub(super) struct PlannedRead {
    plan: ReadPlan,
    /// Where the pages of each piece go.
    places: Vec<Place>,
    scratch_pages: usize,
}

/// A place in one of the two buffers, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    buffer: usize,
    page: usize,
}

/// Pieces that are one read: neighbours in the file and in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    slot: ExtentSlot,
    file_page: u64,
    place: Place,
    pages: usize,
}

impl PlannedRead {
    /// Lays the pieces out: whole pages straight in the result, parts of pages in scratch memory.
    ///
    /// # Errors
    /// [`DiskError::Damaged`] when a piece does not fit in the result.
    pub(super) fn new(plan: ReadPlan) -> Result<PlannedRead, DiskError> {
        if !plan.pieces.iter().all(|piece| fits(piece, plan.pages)) {
            return Err(DiskError::Damaged);
        }
        let mut scratch_pages = 0;
        let places = plan.pieces.iter().map(|piece| {
            if piece.gives_whole_pages() {
                return Place {
                    buffer: RESULT,
                    page: piece.result_page as usize,
                };
            }
            let page = scratch_pages;
            scratch_pages += piece.pages as usize;
            Place {
                buffer: SCRATCH,
                page,
            }
        });
        Ok(PlannedRead {
            places: places.collect(),
            scratch_pages,
            plan,
        })
    }

    /// The job that reads everything.
    ///
    /// # Errors
    /// When an extent cannot be opened.
    pub(super) fn job(&self, directory: &NodeDirectory) -> io::Result<Job> {
        let span = |run: Run| {
            Ok(ReadSpan {
                file: directory.extent(run.slot)?.file().clone(),
                offset: run.file_page * PAGE_BYTES as u64,
                buffer: run.place.buffer,
                first_page: run.place.page,
                pages: run.pages,
            })
        };
        Ok(Job::Read {
            spans: self
                .runs()
                .into_iter()
                .map(span)
                .collect::<io::Result<_>>()?,
            buffers: vec![
                PageBuf::zeroed(self.plan.pages as usize),
                PageBuf::zeroed(self.scratch_pages),
            ],
        })
    }

    fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::with_capacity(self.places.len());
        for (piece, place) in self.plan.pieces.iter().zip(&self.places) {
            match runs.last_mut() {
                Some(last) if last.is_followed_by(piece, *place) => {
                    last.pages += piece.pages as usize;
                }
                _ => runs.push(Run {
                    slot: piece.slot,
                    file_page: piece.file_page.into(),
                    place: *place,
                    pages: piece.pages as usize,
                }),
            }
        }
        runs
    }

    /// The result, from what the job has read: every page checked.
    ///
    /// # Errors
    /// [`DiskError::Damaged`] when a page does not check.
    pub(super) fn finish(&self, buffers: Vec<PageBuf>) -> Result<PageBuf, DiskError> {
        let mut buffers = buffers.into_iter();
        let mut result = buffers.next().unwrap_or_default();
        let scratch = buffers.next().unwrap_or_default();
        for (piece, place_of) in self.plan.pieces.iter().zip(&self.places) {
            let start = place_of.page * PAGE_BYTES;
            let pages = start..start + piece.pages as usize * PAGE_BYTES;
            if place_of.buffer == RESULT {
                check(piece, &result.bytes()[pages])?;
            } else {
                place(piece, &scratch.bytes()[pages], result.bytes_mut())?;
            }
        }
        Ok(result)
    }
}

impl Run {
    fn is_followed_by(&self, piece: &PlanPiece, place: Place) -> bool {
        self.slot == piece.slot
            && self.file_page + self.pages as u64 == u64::from(piece.file_page)
            && self.place.buffer == place.buffer
            && self.place.page + self.pages == place.page
    }
}

/// Whether a piece is possible at all and lies in a result of so many pages.
fn fits(piece: &PlanPiece, result_pages: u32) -> bool {
    let (first, pages) = (u64::from(piece.result_page), u64::from(piece.pages));
    let page_bytes = PAGE_BYTES as u64;
    (1..=PAGES_PER_BLOCK as u64).contains(&pages)
        && first + pages <= u64::from(result_pages)
        && piece.start < piece.end
        && first * page_bytes <= u64::from(piece.start)
        && u64::from(piece.end) <= (first + pages) * page_bytes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::format::checksum::page_checksums;

    /// A piece that gives bytes `start..end` of the result from pages with this content.
    pub(in super::super) fn piece(
        slot: u32,
        file_page: u32,
        content: &[u8],
        start: u32,
        end: u32,
    ) -> PlanPiece {
        PlanPiece {
            slot: ExtentSlot(slot),
            file_page,
            pages: (content.len() / PAGE_BYTES) as u32,
            result_page: start / PAGE_BYTES as u32,
            start,
            end,
            checksums: page_checksums(content),
        }
    }

    fn runs_of(pieces: Vec<PlanPiece>) -> Vec<(u64, usize, usize, usize)> {
        let read = PlannedRead::new(ReadPlan { pages: 16, pieces }).unwrap();
        let runs = read.runs().into_iter();
        runs.map(|run| (run.file_page, run.place.buffer, run.place.page, run.pages))
            .collect()
    }

    #[test]
    fn neighbours_in_file_and_result_are_one_read() {
        let block = [1; 4 * PAGE_BYTES];
        let pieces = vec![
            piece(0, 10, &block, 0, 16384),
            piece(0, 14, &block, 16384, 32768),
            piece(1, 18, &block, 32768, 49152),
        ];
        assert_eq!(runs_of(pieces), [(10, RESULT, 0, 8), (18, RESULT, 8, 4)]);
    }

    #[test]
    fn parts_of_pages_are_read_beside_the_result() {
        let page = [1; PAGE_BYTES];
        let pieces = vec![
            piece(0, 10, &page, 100, 4096),
            piece(0, 11, &page, 4096, 5000),
            piece(0, 12, &page, 8192, 12288),
        ];
        let expected = [(10, SCRATCH, 0, 2), (12, RESULT, 2, 1)];
        assert_eq!(runs_of(pieces), expected);
    }

    #[test]
    fn a_piece_outside_the_result_is_refused() {
        let page = [1; PAGE_BYTES];
        let good = piece(0, 10, &page, 0, 4096);
        for bad in [
            PlanPiece { pages: 0, ..good },
            PlanPiece { pages: 5, ..good },
            PlanPiece {
                result_page: 4,
                ..good
            },
            PlanPiece {
                result_page: u32::MAX,
                ..good
            },
            PlanPiece { end: 0, ..good },
            PlanPiece { end: 4097, ..good },
        ] {
            let plan = ReadPlan {
                pages: 4,
                pieces: vec![bad],
            };
            assert_eq!(PlannedRead::new(plan).unwrap_err(), DiskError::Damaged);
        }
    }
}
