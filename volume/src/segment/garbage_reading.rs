//! What collection reads of an extent: all of it where frames are short, and of a long frame its header
//! and what is live.
//!
//! A disk that reads what is thrown away writes the less meanwhile: 700 MB/s read beside it in pieces
//! of 2 MiB took a third to a half of what one disk could write, and 100 MB/s in pieces of 16 KiB
//! nothing (docs/performance.md). Whether a record is live is asked again when its payload is there.

use crate::format::index_page::Location;
use crate::format::log_frame::payload_pages_limit;
use crate::limits;
use crate::page::{PageBuf, Pages, pages_for};
use crate::segment::effect::DiskError;
use crate::segment::node::{Node, Operation};

/// Pages read where a long frame may begin: its header, or some short frames.
pub(super) const HEADER_PAGES: usize = 8;
/// A frame of a smaller part of the longest is read as a whole, with those that follow it.
const SHORT_FRAME_PART: usize = 8;
/// Dead pages that are read rather than a run begun anew: a solid-state disk reads that much in the
/// time of one more access.
const GAP_PAGES: u32 = 8;
/// Runs that a node has read at a time: what requests wait behind.
const RUNS_AT_ONCE: usize = 8;

/// Pages of an extent that lie together.
#[derive(Debug)]
struct Run {
    page: u32,
    pages: u32,
    bytes: Option<Pages>,
}

impl Run {
    fn end(&self) -> u32 {
        self.page + self.pages
    }
}

/// The live payload of a frame whose dead payload is not read.
#[derive(Debug, Default)]
pub(super) struct Scattered {
    /// Records of the frame that were looked at for it.
    pub(super) planned: usize,
    runs: Vec<Run>,
    /// So many of the first runs were asked for.
    asked: usize,
    /// Of these have not come yet.
    waiting: usize,
    has_failed: bool,
}

impl Scattered {
    /// A live record's payload lies here.
    pub(super) fn add(&mut self, at: Location) {
        let end = at.page + at.pages;
        match self.runs.last_mut() {
            Some(last) if last.page <= at.page && at.page <= last.end() + GAP_PAGES => {
                last.pages = end.max(last.end()) - last.page;
            }
            _ => self.runs.push(Run {
                page: at.page,
                pages: at.pages,
                bytes: None,
            }),
        }
    }

    /// Pages of all runs.
    fn pages(&self) -> usize {
        self.runs.iter().map(|run| run.pages as usize).sum()
    }

    /// Whether all that is to be read is there.
    fn is_there(&self) -> bool {
        self.asked == self.runs.len() && self.waiting == 0
    }

    /// The next run to ask for, while few are on their way.
    fn next_run(&mut self) -> Option<(usize, u32, u32)> {
        let run = self.runs.get(self.asked)?;
        if self.waiting == RUNS_AT_ONCE || self.has_failed {
            return None;
        }
        self.asked += 1;
        self.waiting += 1;
        Some((self.asked - 1, run.page, run.pages))
    }

    /// A run has come, or cannot be read.
    fn has_come(&mut self, number: usize, result: Result<PageBuf, DiskError>) {
        self.waiting -= 1;
        match (result, self.runs.get_mut(number)) {
            (Ok(pages), Some(run)) => run.bytes = Some(pages.share()),
            _ => self.has_failed = true,
        }
    }

    /// The pages at a place, if they were read.
    pub(super) fn payload(&self, at: Location) -> Option<Pages> {
        let covers = |run: &&Run| run.page <= at.page && at.page + at.pages <= run.end();
        let run = self.runs.iter().find(covers)?;
        let bytes = run.bytes.as_ref()?;
        Some(bytes.slice((at.page - run.page) as usize, at.pages as usize))
    }
}

/// How the payload of a frame that goes on behind what was read is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// All that is live of it is there.
    There,
    /// What is live of it is to be read.
    InRuns,
    /// It is to be read as a whole.
    Whole,
}

/// How a frame of so many pages is read, with so much of it live.
pub(super) fn way_to_payload(frame_pages: usize, live: &Scattered) -> Payload {
    if live.pages() * 2 > frame_pages {
        Payload::Whole
    } else if live.is_there() {
        Payload::There
    } else {
        Payload::InRuns
    }
}

/// Whether a frame is read as a whole without a look at its records, in extents of so many bytes.
pub(super) fn is_short(frame_pages: usize, extent_bytes: u32) -> bool {
    frame_pages < payload_pages_limit(extent_bytes) / SHORT_FRAME_PART
}

/// Pages that are read where frames are short, in extents of so many bytes.
pub(super) fn chunk_pages(extent_bytes: u32) -> usize {
    pages_for(limits::CLEANING_CHUNK_BYTES.min(extent_bytes as usize / 8))
}

impl Node {
    /// Reads what the victim needs next: scattered payload, or its next pages.
    pub(super) fn read_of_victim(&mut self) {
        let Some(mut victim) = self.cleaning.victim.take() else {
            return;
        };
        // Without a file the extent is not there any more.
        let Some(slot) = self.log.slot_of(victim.extent) else {
            return;
        };
        let extent = victim.extent;
        let place = |page, pages| Location {
            extent,
            page,
            pages,
        };
        self.cleaning.reading = true;
        if let Some(scattered) = &mut victim.scattered {
            while let Some((number, page, pages)) = scattered.next_run() {
                self.read_location(Operation::CleaningRun(number), slot, place(page, pages));
            }
        } else {
            let pages = victim
                .next_pages
                .min((victim.end_page - victim.page) as usize);
            let chunk = place(victim.page, pages as u32);
            self.read_location(Operation::CleaningChunk, slot, chunk);
        }
        self.cleaning.victim = Some(victim);
    }

    pub(super) fn on_cleaning_chunk(&mut self, result: Result<PageBuf, DiskError>) {
        self.cleaning.reading = false;
        if let Some(victim) = &mut self.cleaning.victim {
            match result {
                Ok(pages) => victim.chunk = Some((victim.page, pages.share())),
                Err(_) => self.victim_is_unreadable(),
            }
            self.continue_cleaning();
        }
    }

    pub(super) fn on_cleaning_run(&mut self, number: usize, result: Result<PageBuf, DiskError>) {
        let victim = self.cleaning.victim.as_mut();
        let Some(scattered) = victim.and_then(|victim| victim.scattered.as_mut()) else {
            return;
        };
        scattered.has_come(number, result);
        if scattered.is_there() || scattered.has_failed && scattered.waiting == 0 {
            self.cleaning.reading = false;
            if scattered.has_failed {
                self.victim_is_unreadable();
            }
            self.continue_cleaning();
        } else {
            self.read_of_victim();
        }
    }

    /// Nothing more is read of it, and it is kept.
    fn victim_is_unreadable(&mut self) {
        self.checksum_errors += 1;
        if let Some(victim) = &mut self.cleaning.victim {
            victim.damaged = true;
            victim.scattered = None;
            victim.page = victim.end_page;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ExtentSequence;
    use crate::page::PAGE_BYTES;

    fn at(page: u32, pages: u32) -> Location {
        Location {
            extent: ExtentSequence(1),
            page,
            pages,
        }
    }

    fn scattered(places: &[Location]) -> Scattered {
        let mut scattered = Scattered::default();
        places.iter().for_each(|place| scattered.add(*place));
        scattered
    }

    fn runs(scattered: &Scattered) -> Vec<(u32, u32)> {
        scattered
            .runs
            .iter()
            .map(|run| (run.page, run.pages))
            .collect()
    }

    #[test]
    fn neighbours_are_read_together() {
        let far = 14 + 4 + GAP_PAGES + 1;
        let places = [at(10, 4), at(14, 4), at(far, 1), at(far + 1 + GAP_PAGES, 4)];
        let two = scattered(&places);
        assert_eq!(runs(&two), [(10, 8), (far, 5 + GAP_PAGES)]);
    }

    #[test]
    fn records_in_no_order_are_read_all_the_same() {
        let places = [at(100, 4), at(10, 4), at(100, 4), at(101, 1)];
        let three = scattered(&places);
        assert_eq!(runs(&three), [(100, 4), (10, 4), (100, 4)]);
    }

    #[test]
    fn little_is_read_scattered_and_much_as_a_whole() {
        let nothing = scattered(&[]);
        assert_eq!(way_to_payload(100, &nothing), Payload::There);
        let half = scattered(&[at(0, 50)]);
        assert_eq!(way_to_payload(100, &half), Payload::InRuns);
        let more = scattered(&[at(0, 51)]);
        assert_eq!(way_to_payload(100, &more), Payload::Whole);
    }

    #[test]
    fn payload_is_found_in_its_run() {
        let mut scattered = scattered(&[at(10, 4), at(50, 2)]);
        assert!(!scattered.is_there());
        assert_eq!(scattered.next_run(), Some((0, 10, 4)));
        assert_eq!(scattered.next_run(), Some((1, 50, 2)));
        assert_eq!(scattered.next_run(), None);
        let mut bytes = PageBuf::zeroed(2);
        bytes.bytes_mut()[PAGE_BYTES] = 7;
        scattered.has_come(1, Ok(bytes));
        let second = scattered.payload(at(51, 1)).unwrap();
        assert_eq!((second.page_count(), second.bytes()[0]), (1, 7));
        assert!(scattered.payload(at(10, 4)).is_none(), "not read yet");
        assert!(
            scattered.payload(at(51, 2)).is_none(),
            "goes on behind the run"
        );
        assert!(scattered.payload(at(30, 1)).is_none());
        assert!(!scattered.is_there());
        scattered.has_come(0, Ok(PageBuf::zeroed(4)));
        assert!(scattered.is_there());
    }

    #[test]
    fn few_runs_are_on_their_way() {
        let places: Vec<_> = (0..20).map(|number| at(number * 100, 1)).collect();
        let mut scattered = scattered(&places);
        let mut asked = Vec::new();
        while !scattered.is_there() {
            asked.extend(std::iter::from_fn(|| scattered.next_run()).map(|run| run.1));
            assert!(scattered.waiting <= RUNS_AT_ONCE);
            scattered.has_come(asked.len() - scattered.waiting, Ok(PageBuf::zeroed(1)));
        }
        assert!(asked.into_iter().eq(places.iter().map(|place| place.page)));
    }

    #[test]
    fn behind_a_failure_nothing_more_is_asked_for() {
        let places: Vec<_> = (0..20).map(|number| at(number * 100, 1)).collect();
        let mut scattered = scattered(&places);
        let on_their_way = std::iter::from_fn(|| scattered.next_run()).count();
        scattered.has_come(0, Err(DiskError::Failed));
        assert_eq!(scattered.next_run(), None);
        assert_eq!(scattered.waiting, on_their_way - 1);
    }
}
