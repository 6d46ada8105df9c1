//! Replaying the tail of a node's log, frame by frame.
//!
//! Each byte of an extent is read once, in runs that grow.

use crate::format::checkpoint_root::CheckpointRoot;
use crate::format::index_page::{LEAF_BLOCKS, Location, LogPoint};
use crate::format::log_frame::{DecodedFrame, FrameError};
use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::ids::{ExtentSequence, ExtentSlot};
use crate::limits;
use crate::lsn::Lsn;
use crate::page::{PAGE_BYTES, PageBuf, pages_for};
use crate::planted::{Bug, is_planted};
use crate::segment::append::payload_of;
use crate::segment::catch_up::kept_by;
use crate::segment::lsn_chain::{Segment, TailEntry};
use crate::segment::node::Node;
use crate::segment::plausible;
use crate::segment::recovery::{LogReader, OpenError};
use std::collections::BTreeSet;

/// How far behind a place where none begins a good frame is looked for: more than the longest frame
/// that may have been there.
pub(super) const FRAME_SEARCH_PAGES: u32 = (2 * limits::FRAME_PAYLOAD_BYTES / PAGE_BYTES) as u32;

/// Pages that are read at once, at most, unless a frame needs more.
const READ_PAGES: usize = (2 << 20) / PAGE_BYTES;

/// The scan of a log's tail, frame by frame.
pub(super) struct Replay {
    point: LogPoint,
    pub(super) next_number: u64,
    local_from_frame: u64,
    /// Behind the last good frame.
    pub(super) end: Option<LogPoint>,
    pub(super) low: Lsn,
    pub(super) bytes: u64,
    /// Files in which good frames were found.
    pub(super) slots: BTreeSet<ExtentSlot>,
}

impl Replay {
    pub(super) fn new(root: &CheckpointRoot) -> Replay {
        Replay {
            point: root.replay_from,
            next_number: root.replay_frame,
            local_from_frame: root.local_from_frame,
            end: None,
            low: Lsn::MAX,
            bytes: 0,
            slots: BTreeSet::new(),
        }
    }

    /// Scans extent by extent, in the order of their numbers, until no good frame follows.
    pub(super) fn run(&mut self, node: &mut Node, reader: &dyn LogReader) -> Result<(), OpenError> {
        let used = node.log.extents();
        if self.point.extent.0 == 0 {
            self.point.extent = used.first().map_or(ExtentSequence(0), |extent| extent.0);
        }
        for (extent, slot, bytes) in used {
            if extent < self.point.extent {
                continue;
            }
            if extent > self.point.extent {
                self.point = LogPoint { extent, page: 0 };
            }
            self.scan_extent(node, reader, slot, pages_for(bytes as usize) as u32)?;
        }
        Ok(())
    }

    fn scan_extent(
        &mut self,
        node: &mut Node,
        reader: &dyn LogReader,
        slot: ExtentSlot,
        end_page: u32,
    ) -> Result<(), OpenError> {
        let mut window = Window::new(reader, slot, end_page);
        // After something bad, how far a frame that was appended later could begin.
        let mut search_end = None;
        if self.end.is_none() {
            self.end = Some(self.point);
        }
        while self.point.page < search_end.unwrap_or(end_page).min(end_page) {
            match self.frame_at_point(node, &mut window)? {
                Some(frame) => {
                    // A good frame behind a bad one: that one was not torn, it was there.
                    if search_end.take().is_some() || frame.identity.number > self.next_number {
                        node.distrust_tail();
                    }
                    self.take_in(node, &frame);
                    self.slots.insert(slot);
                }
                None => {
                    search_end.get_or_insert(self.point.page + FRAME_SEARCH_PAGES);
                    self.point.page += 1;
                }
            }
        }
        Ok(())
    }

    fn take_in(&mut self, node: &mut Node, frame: &DecodedFrame) {
        let locals = frame.identity.number >= self.local_from_frame;
        self.low = self.low.min(node.replay_frame(frame, self.point, locals));
        self.next_number = frame.identity.number + 1;
        self.bytes += (frame.pages() * PAGE_BYTES) as u64;
        self.point.page += frame.pages() as u32;
        self.end = Some(self.point);
    }

    /// The good frame that begins at the point, if one does.
    fn frame_at_point(
        &self,
        node: &Node,
        window: &mut Window<'_>,
    ) -> Result<Option<DecodedFrame>, OpenError> {
        let Some(frame) = window.header_at(self.point.page)? else {
            return Ok(None);
        };
        let placed = node.is_own(&frame)
            && (is_planted(Bug::ChecksumWithoutAddress)
                || frame.identity.extent == self.point.extent
                    && frame.identity.page == self.point.page
                    && frame.identity.number >= self.next_number)
            && plausible::frame(node.config(), &frame);
        if !placed {
            return Ok(None);
        }
        let bytes = window.from(self.point.page, frame.pages())?;
        let payload = bytes.get(frame.header_pages() * PAGE_BYTES..);
        let checks = payload.is_some_and(|payload| {
            is_planted(Bug::TornFrameAccepted) || frame.payload_checks(payload)
        });
        Ok(checks.then_some(frame))
    }
}

/// Some pages of an extent in memory; it only moves forward.
pub(super) struct Window<'a> {
    reader: &'a dyn LogReader,
    slot: ExtentSlot,
    /// Pages of the extent.
    end_page: u32,
    /// The page of the extent that is the first in memory.
    first: u32,
    pages: PageBuf,
    /// Pages that were read at once last.
    stride: usize,
}

impl<'a> Window<'a> {
    pub(super) fn new(reader: &'a dyn LogReader, slot: ExtentSlot, end_page: u32) -> Window<'a> {
        Window {
            reader,
            slot,
            end_page,
            first: 0,
            pages: PageBuf::default(),
            stride: 0,
        }
    }

    /// The header of the frame that begins at the page, if one does, wherever it belongs.
    ///
    /// # Errors
    /// [`OpenError::Log`] when the disk does not give what it takes to know.
    pub(super) fn header_at(&mut self, page: u32) -> Result<Option<DecodedFrame>, OpenError> {
        match DecodedFrame::decode(self.from(page, 1)?) {
            Err(FrameError::NeedsPages(pages)) => {
                Ok(DecodedFrame::decode(self.from(page, pages)?).ok())
            }
            decoded => Ok(decoded.ok()),
        }
    }

    /// What lies from `page` on: so many pages, or fewer where the extent ends.
    fn from(&mut self, page: u32, pages: usize) -> Result<&[u8], OpenError> {
        let pages = pages.min((self.end_page - page) as usize);
        if (page - self.first) as usize + pages > self.pages.page_count() {
            self.read_on(page, pages)?;
        }
        let start = (page - self.first) as usize;
        Ok(&self.pages.bytes()[start * PAGE_BYTES..][..pages * PAGE_BYTES])
    }

    /// Forgets what lies before `page`, and reads on until at least so many pages from there are in
    /// memory: twice as many as last time.
    fn read_on(&mut self, page: u32, pages: usize) -> Result<(), OpenError> {
        self.pages.drop_first((page - self.first) as usize);
        self.first = page;
        let held = self.pages.page_count();
        let next = page + held as u32;
        let left = (self.end_page - next) as usize;
        let ahead = (2 * self.stride).min(READ_PAGES);
        self.stride = (pages - held).max(ahead).min(left);
        let offset = u64::from(next) * PAGE_BYTES as u64;
        self.reader
            .read(self.slot, offset, self.stride, &mut self.pages)
            .map_err(|_| OpenError::Log)
    }
}

impl Node {
    /// Takes one frame of the tail in, as its append once did.
    fn replay_frame(&mut self, frame: &DecodedFrame, point: LogPoint, locals: bool) -> Lsn {
        let payload_at = point.page + frame.header_pages() as u32;
        let mut low = Lsn::MAX;
        for record in &frame.records {
            let payload = payload_of(record, point, payload_at);
            if record.kind == RecordKind::Discard && is_planted(Bug::DiscardForgottenOnReplay) {
                continue;
            }
            if record.is_local() {
                if locals {
                    self.replay_local(record, payload);
                }
                continue;
            }
            let segment = self.segments.get(&record.group);
            if segment.is_some_and(|segment| record.lsn <= segment.applied) {
                continue;
            }
            low = low.min(record.lsn);
            if !self.superblock.list.annuls(record.lsn) {
                if self.tail_damaged {
                    // The records before it may have been in what is lost.
                    let unproven = || Segment::new(Lsn::NONE, false);
                    self.segments.entry(record.group).or_insert_with(unproven);
                }
                let number = frame.identity.number;
                let entry = TailEntry {
                    record: *record,
                    payload,
                    frame: point,
                    frame_number: number,
                };
                self.take_in_record(entry);
                self.apply(record.group);
            }
        }
        self.announce(frame.stamp.vdl);
        low
    }

    /// A frame of the tail was there and does not check. It may have held anything, also a node's
    /// own records: no segment is proven to be complete, also none that is completed later in the
    /// log, since a copy builds on what the segment had.
    fn distrust_tail(&mut self) {
        if is_planted(Bug::DamageTakenForEnd) {
            return;
        }
        self.tail_damaged = true;
        self.segments.values_mut().for_each(Segment::spoil);
    }

    fn replay_local(&mut self, record: &RecordHeader, payload: Location) {
        match record.kind {
            RecordKind::Image | RecordKind::Delta | RecordKind::Discard => {
                self.apply_local(record, payload);
            }
            RecordKind::Incomplete => {
                let base = record.lsn;
                self.released.remove(&record.group);
                self.announce(base);
                let segment = self
                    .segments
                    .entry(record.group)
                    .or_insert_with(|| Segment::new(base, false));
                segment.restart(base, kept_by(record));
                if self.tail_damaged {
                    // The copy may have built on what is lost.
                    segment.spoil();
                }
                self.apply(record.group);
            }
            RecordKind::Complete => {
                if let Some(segment) = self.segments.get_mut(&record.group) {
                    segment.complete_unless_spoiled();
                }
            }
            RecordKind::Filled => {
                if let Some(segment) = self.segments.get_mut(&record.group) {
                    segment.fill(record.block.0 / LEAF_BLOCKS, record.lsn);
                }
            }
            RecordKind::Released => self.let_go(record.group),
            RecordKind::IndexLeaf | RecordKind::IndexDirectory | RecordKind::CheckpointRoot => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::effect::DiskError;
    use std::cell::RefCell;

    const PAGES: u32 = 1300;

    /// A file whose pages begin with their number; counts how often each is read.
    struct Numbered(RefCell<Vec<u32>>);

    impl LogReader for Numbered {
        fn extents(&self) -> Result<Vec<(ExtentSlot, u64)>, DiskError> {
            Ok(Vec::new())
        }

        fn read(
            &self,
            _: ExtentSlot,
            offset: u64,
            pages: usize,
            target: &mut PageBuf,
        ) -> Result<(), DiskError> {
            let first = offset as usize / PAGE_BYTES;
            for page in first..first + pages {
                self.0.borrow_mut()[page] += 1;
                target.extend_padded(&(page as u32).to_le_bytes());
            }
            Ok(())
        }

        fn sync_found(&mut self) -> Result<(), DiskError> {
            Ok(())
        }

        fn sync(&mut self, _: ExtentSlot) -> Result<(), DiskError> {
            Ok(())
        }
    }

    #[test]
    fn a_window_reads_every_page_once_and_none_behind_the_end() {
        let file = Numbered(RefCell::new(vec![0; PAGES as usize]));
        let mut window = Window::new(&file, ExtentSlot(0), PAGES);
        let mut page = 0;
        for step in (1..60).cycle() {
            if page >= PAGES {
                break;
            }
            for wanted in [1, step] {
                let bytes = window.from(page, wanted as usize).unwrap();
                let expected = wanted.min(PAGES - page) as usize;
                assert_eq!(bytes.len(), expected * PAGE_BYTES);
                assert_eq!(bytes[..4], page.to_le_bytes());
            }
            page += step;
        }
        assert!(file.0.borrow().iter().all(|times| *times == 1));
    }

    #[test]
    fn a_window_may_begin_anywhere_and_hold_more_than_it_reads_at_once() {
        let file = Numbered(RefCell::new(vec![0; PAGES as usize]));
        let mut window = Window::new(&file, ExtentSlot(0), PAGES);
        let mut ask = |page: u32, pages: usize| {
            let bytes = window.from(page, pages).unwrap();
            assert_eq!(bytes[..4], page.to_le_bytes());
            bytes.len() / PAGE_BYTES
        };
        assert_eq!(ask(100, 1), 1);
        assert_eq!(ask(101, READ_PAGES + 90), READ_PAGES + 90);
        assert_eq!(ask(600, READ_PAGES + 100), READ_PAGES + 100);
        assert_eq!(ask(PAGES - 3, 8), 3, "the extent ends there");
        let times = file.0.into_inner();
        assert!(times[100..].iter().all(|times| *times <= 1));
        assert!(times[..100].iter().all(|times| *times == 0));
    }

    #[test]
    fn the_first_look_reads_a_single_page() {
        let file = Numbered(RefCell::new(vec![0; PAGES as usize]));
        let mut window = Window::new(&file, ExtentSlot(0), PAGES);
        assert!(window.header_at(0).unwrap().is_none());
        assert_eq!(file.0.borrow().iter().sum::<u32>(), 1);
    }
}
