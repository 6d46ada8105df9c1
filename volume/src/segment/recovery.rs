//! Opening a node from its own directory: superblock, checkpoint, then the tail of the log.
//!
//! The cost is what was logged since the last checkpoint, not the size of the volume. Nothing is
//! cut here: a node reports its tail, and only the volume's recovery decides (law 5).

use crate::format::checkpoint_root::{CheckpointRoot, ExtentState, decode_root};
use crate::format::index_page::{LEAF_BLOCKS, Location, LogPoint};
use crate::format::log_frame::DecodedFrame;
use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::format::superblock::{RootPart, Superblock};
use crate::ids::{ExtentSequence, ExtentSlot};
use crate::limits;
use crate::lsn::Lsn;
use crate::page::{PAGE_BYTES, PageBuf, Pages, pages_for};
use crate::planted::{Bug, is_planted};
use crate::segment::append::payload_of;
use crate::segment::catch_up::kept_by;
use crate::segment::effect::DiskError;
use crate::segment::lsn_chain::{Segment, TailEntry};
use crate::segment::node::Node;
use crate::segment::plausible;
use crate::segment::tombstone::Tombstones;
use std::collections::{BTreeMap, BTreeSet};

/// Pages read at a time when the tail is scanned: holds the longest frame.
const SCAN_PAGES: usize = 2 * limits::FRAME_PAYLOAD_BYTES / PAGE_BYTES;

/// Reading a node's log files while it is being opened.
pub trait LogReader {
    /// The extent files and their lengths in bytes.
    ///
    /// # Errors
    /// [`DiskError`] when the disk does not list them: no answer is not the answer "none".
    fn extents(&self) -> Result<Vec<(ExtentSlot, u64)>, DiskError>;

    /// Reads pages from a byte offset on; what lies past the file's end reads as zeros.
    ///
    /// # Errors
    /// [`DiskError`] when the disk does not give them.
    fn read(&self, slot: ExtentSlot, offset: u64, pages: usize) -> Result<PageBuf, DiskError>;

    /// Puts the superblock and the names of all files on stable storage, as they were found.
    ///
    /// # Errors
    /// [`DiskError`] when the disk does not.
    fn sync_found(&mut self) -> Result<(), DiskError>;

    /// Puts what the file holds on stable storage.
    ///
    /// # Errors
    /// [`DiskError`] when the disk does not.
    fn sync(&mut self, slot: ExtentSlot) -> Result<(), DiskError>;
}

/// Why a node's directory cannot be used: it must be rebuilt from its peers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A number in the superblock cannot be.
    #[error("its superblock contradicts itself")]
    Superblock,
    /// The checkpoint's root does not check.
    #[error("the index checkpoint is damaged")]
    Checkpoint,
    /// A directory page of the index does not check.
    #[error("the index is damaged")]
    Index,
    /// The disk does not give the log.
    #[error("the log cannot be read")]
    Log,
}

impl Node {
    /// Opens a node. `superblock` is the newest of its superblock file.
    ///
    /// # Errors
    /// [`OpenError`] when its directory is too damaged to prove anything.
    pub fn open(
        superblock: Superblock,
        reader: &mut dyn LogReader,
        index_bytes: usize,
    ) -> Result<Node, OpenError> {
        if !plausible::superblock(&superblock) {
            return Err(OpenError::Superblock);
        }
        // A process that died before its sync left a superblock that counts from now on, and may
        // have left files whose names a power cut takes, with all that is appended to them.
        if !is_planted(Bug::ReplayNotSynced) {
            reader.sync_found().map_err(|_| OpenError::Log)?;
        }
        let mut node = Node::new(superblock, index_bytes);
        let root = node.read_root(reader)?;
        node.adopt_checkpoint(&root, reader)?;
        node.adopt_extents(&root, reader)?;
        let mut replay = Replay::new(&root);
        // Discards met in the replay must not be overtaken by older local records behind them.
        node.rewrites_in_flight = 1;
        replay.run(&mut node, reader)?;
        // What was found may have been written by a process that died before its sync. It is
        // counted from now on, so it must be there after the next power cut, too (law 1).
        for slot in replay
            .slots
            .into_iter()
            .filter(|_| !is_planted(Bug::ReplayNotSynced))
        {
            reader.sync(slot).map_err(|_| OpenError::Log)?;
        }
        node.rewrites_in_flight = 0;
        node.tombstones = Tombstones::default();
        node.replay_low = replay.low;
        node.append.resume(replay.next_number);
        node.checkpoint.resume(root.number);
        node.checkpoint.log_bytes = replay.bytes;
        if let Some(end) = replay.end {
            node.log.resume(end);
        }
        Ok(node)
    }

    fn read_root(&self, reader: &dyn LogReader) -> Result<CheckpointRoot, OpenError> {
        let parts = &self.superblock.checkpoint;
        if parts.is_empty() {
            return Ok(CheckpointRoot {
                local_from_frame: 1,
                replay_frame: 1,
                ..Default::default()
            });
        }
        let mut bytes = PageBuf::default();
        for part in parts {
            bytes.extend_padded(self.read_root_part(reader, part)?.bytes());
        }
        decode_root(&self.index_identity(), bytes.bytes())
            .filter(|root| plausible::root(self.config(), root))
            .ok_or(OpenError::Checkpoint)
    }

    /// A part of the root with its frame before it, which proves that this is the part meant and
    /// not what an older extent in the same file left there.
    fn read_root_part(&self, reader: &dyn LogReader, part: &RootPart) -> Result<Pages, OpenError> {
        let page = part.at.page.checked_sub(1).ok_or(OpenError::Checkpoint)?;
        let location = Location {
            page,
            pages: part.at.pages + 1,
            ..part.at
        };
        let pages = read_at(reader, part.slot, location)?.share();
        let frame = DecodedFrame::decode(pages.bytes()).map_err(|_| OpenError::Checkpoint)?;
        let payload = pages.slice(1, part.at.pages as usize);
        let is_meant = self.is_own(&frame)
            && frame.identity.extent == part.at.extent
            && frame.identity.page == page
            && frame.payload_pages == part.at.pages
            && frame.payload_checks(payload.bytes());
        is_meant.then_some(payload).ok_or(OpenError::Checkpoint)
    }

    /// The extent that a file of so many bytes holds, as its first good frame tells. When the very
    /// first does not check it may have been there all the same: those behind it are asked.
    fn extent_in(
        &self,
        reader: &dyn LogReader,
        slot: ExtentSlot,
        bytes: u64,
    ) -> Option<ExtentSequence> {
        let longest = SCAN_PAGES.min(pages_for(bytes as usize));
        [1, longest].into_iter().find_map(|count| {
            let pages = reader.read(slot, 0, count).ok()?;
            let mut frames = (0..count).filter_map(|page| {
                let frame = DecodedFrame::decode(&pages.bytes()[page * PAGE_BYTES..]).ok()?;
                let placed = self.is_own(&frame)
                    && frame.identity.page as usize == page
                    && plausible::frame(self.config(), &frame);
                placed.then_some(frame.identity.extent)
            });
            frames.next()
        })
    }

    fn is_own(&self, frame: &DecodedFrame) -> bool {
        frame.identity.volume == self.config().volume
            && frame.identity.node == self.superblock.node
            && frame.identity.incarnation == self.superblock.incarnation
    }

    fn adopt_checkpoint(
        &mut self,
        root: &CheckpointRoot,
        reader: &dyn LogReader,
    ) -> Result<(), OpenError> {
        self.announced = root.announced;
        for state in &root.groups {
            let mut segment = Segment::new(state.applied, state.complete);
            segment.keep(state.kept);
            self.segments.insert(state.group, segment);
        }
        let slots: BTreeMap<ExtentSequence, ExtentSlot> = root
            .extents
            .iter()
            .map(|state| (state.sequence, state.slot))
            .collect();
        for state in root.extents.iter().filter(|state| state.sequence.0 != 0) {
            self.usage.add(state.sequence, state.live_bytes);
        }
        // The root was encoded before its own place was known.
        for part in &self.superblock.checkpoint {
            self.usage.add(part.at.extent, part.at.bytes());
        }
        let identity = self.index_identity();
        for (group, number, page) in &root.directories {
            let slot = slots.get(&page.at.extent).ok_or(OpenError::Index)?;
            let bytes = read_at(reader, *slot, page.at)?;
            self.index
                .load_directory(
                    &identity,
                    *group,
                    *number,
                    *page,
                    root.announced,
                    bytes.bytes(),
                )
                .map_err(|_| OpenError::Index)?;
        }
        Ok(())
    }

    /// Tells the log which files there are. A file that the checkpoint names as in use still is;
    /// one that was free, or is new, may hold an extent of the tail.
    fn adopt_extents(
        &mut self,
        root: &CheckpointRoot,
        reader: &dyn LogReader,
    ) -> Result<(), OpenError> {
        let known: BTreeMap<ExtentSlot, ExtentState> = root
            .extents
            .iter()
            .map(|state| (state.slot, *state))
            .collect();
        let newest = root
            .extents
            .iter()
            .map(|state| state.sequence)
            .max()
            .unwrap_or_default();
        for state in &root.extents {
            self.log.retire(state.slot);
        }
        let files = reader.extents().map_err(|_| OpenError::Log)?;
        let is_there = |state: &ExtentState| files.iter().any(|(slot, _)| *slot == state.slot);
        if !root
            .extents
            .iter()
            .filter(|state| state.sequence.0 != 0)
            .all(is_there)
        {
            return Err(OpenError::Log);
        }
        for (slot, bytes) in files {
            let mut state = known.get(&slot).copied();
            if state.is_none_or(|state| state.sequence.0 == 0) {
                let tail = self
                    .extent_in(reader, slot, bytes)
                    .filter(|extent| *extent > newest);
                let written_pages = state.map_or(0, |state| state.written_pages);
                state = Some(ExtentState {
                    slot,
                    sequence: tail.unwrap_or_default(),
                    live_bytes: 0,
                    written_pages,
                });
            }
            self.log.adopt(slot, bytes, state);
        }
        Ok(())
    }

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

fn read_at(
    reader: &dyn LogReader,
    slot: ExtentSlot,
    location: Location,
) -> Result<PageBuf, OpenError> {
    let offset = u64::from(location.page) * PAGE_BYTES as u64;
    reader
        .read(slot, offset, location.pages as usize)
        .map_err(|_| OpenError::Log)
}

/// The scan of a log's tail, frame by frame.
struct Replay {
    point: LogPoint,
    next_number: u64,
    local_from_frame: u64,
    /// Behind the last good frame.
    end: Option<LogPoint>,
    low: Lsn,
    bytes: u64,
    /// Files in which good frames were found.
    slots: BTreeSet<ExtentSlot>,
}

/// Some pages of an extent in memory.
struct Window {
    first: u32,
    pages: PageBuf,
}

impl Replay {
    fn new(root: &CheckpointRoot) -> Replay {
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
    fn run(&mut self, node: &mut Node, reader: &dyn LogReader) -> Result<(), OpenError> {
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
        let mut window = Window {
            first: 0,
            pages: PageBuf::default(),
        };
        // After something bad, how far a frame that was appended later could begin.
        let mut search_end = None;
        if self.end.is_none() {
            self.end = Some(self.point);
        }
        while self.point.page < search_end.unwrap_or(end_page).min(end_page) {
            window.slide(reader, slot, self.point, end_page)?;
            match self.frame_at(node, &window) {
                Some(frame) => {
                    // A good frame behind a bad one: that one was not torn, it was there.
                    if search_end.take().is_some() || frame.identity.number > self.next_number {
                        node.distrust_tail();
                    }
                    let locals = frame.identity.number >= self.local_from_frame;
                    self.low = self.low.min(node.replay_frame(&frame, self.point, locals));
                    self.next_number = frame.identity.number + 1;
                    self.bytes += (frame.pages() * PAGE_BYTES) as u64;
                    self.point.page += frame.pages() as u32;
                    self.end = Some(self.point);
                    self.slots.insert(slot);
                }
                None => {
                    search_end.get_or_insert(self.point.page + SCAN_PAGES as u32);
                    self.point.page += 1;
                }
            }
        }
        Ok(())
    }

    /// The good frame that begins at the point, if one does.
    fn frame_at(&self, node: &Node, window: &Window) -> Option<DecodedFrame> {
        let bytes = window.from(self.point.page);
        let frame = DecodedFrame::decode(bytes).ok()?;
        let placed = node.is_own(&frame)
            && (is_planted(Bug::ChecksumWithoutAddress)
                || frame.identity.extent == self.point.extent
                    && frame.identity.page == self.point.page
                    && frame.identity.number >= self.next_number)
            && plausible::frame(node.config(), &frame);
        let payload = bytes.get(frame.header_pages() * PAGE_BYTES..)?;
        let checks = is_planted(Bug::TornFrameAccepted) || frame.payload_checks(payload);
        (placed && checks).then_some(frame)
    }
}

impl Window {
    /// Makes sure that the longest frame that may begin at the point is in memory.
    fn slide(
        &mut self,
        reader: &dyn LogReader,
        slot: ExtentSlot,
        point: LogPoint,
        end_page: u32,
    ) -> Result<(), OpenError> {
        let longest = (SCAN_PAGES as u32 / 2 + 32).min(end_page - point.page);
        let have = self.first + self.pages.page_count() as u32;
        if point.page >= self.first && point.page + longest <= have {
            return Ok(());
        }
        let pages = SCAN_PAGES.min((end_page - point.page) as usize);
        let location = Location {
            extent: point.extent,
            page: point.page,
            pages: pages as u32,
        };
        self.pages = read_at(reader, slot, location)?;
        self.first = point.page;
        Ok(())
    }

    fn from(&self, page: u32) -> &[u8] {
        &self.pages.bytes()[(page - self.first) as usize * PAGE_BYTES..]
    }
}
