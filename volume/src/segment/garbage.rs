//! Garbage collection: an extent that is mostly dead has its live records moved, and its file is
//! used again.
//!
//! An extent is freed only when a checkpoint that no longer names it is durable, nothing above
//! the applied point lies in it, and no read is under way in it. The live bytes counted since the
//! node was opened are exact, and none may be left. Those of an extent that was there before are a
//! hint, and all are when a page of the index was lost: such an extent is freed only after a pass over
//! it has found every record dead or moved it.

use crate::format::index_page::{Location, LogPoint};
use crate::format::log_frame::{DecodedFrame, FrameError, record_checks};
use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::ids::{ExtentSequence, GroupId};
use crate::limits;
use crate::page::{PAGE_BYTES, Pages};
use crate::planted::{Bug, is_planted};
use crate::segment::append::{Then, payload_of};
use crate::segment::apply::fragment_of;
use crate::segment::block_index::MissingLeaf;
use crate::segment::effect::NodeEffect;
use crate::segment::garbage_reading::{
    HEADER_PAGES, Payload, Scattered, chunk_pages, is_short, way_to_payload,
};
use crate::segment::garbage_worth::Prospect;
use crate::segment::node::{Node, Parked};
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// A page of the index that was live where the pass found it.
type IndexPage = (RecordKind, GroupId, u32, Location);

/// Frames of moved records that may be on their way while the next chunk is read.
const MOVES_AHEAD: u64 = 2;

/// The extent being emptied.
#[derive(Debug)]
pub(super) struct Victim {
    pub(super) extent: ExtentSequence,
    /// The next page to look at.
    pub(super) page: u32,
    pub(super) end_page: u32,
    /// What was read last: its first page, the bytes.
    pub(super) chunk: Option<(u32, Pages)>,
    /// Pages that the next read has.
    pub(super) next_pages: usize,
    /// What is live of the frame at `page`, when that goes on behind the chunk.
    pub(super) scattered: Option<Scattered>,
    /// Records of the frame at `page` that are done.
    records_done: usize,
    moves: Vec<(RecordHeader, Pages)>,
    index_pages: Vec<IndexPage>,
    /// A live record did not check, or a stretch was no frame: it must not be freed.
    pub(super) damaged: bool,
    /// Where the stretch began that was no frame and was passed over.
    skipped_from: Option<u32>,
    /// That stretch was read a second time: it is no frame.
    looked_twice: bool,
}

impl Victim {
    /// A pass over an extent of so many pages.
    fn new(extent: ExtentSequence, end_page: u32) -> Victim {
        Victim {
            extent,
            page: 0,
            end_page,
            chunk: None,
            next_pages: HEADER_PAGES,
            scattered: None,
            records_done: 0,
            moves: Vec::new(),
            index_pages: Vec::new(),
            damaged: false,
            skipped_from: None,
            looked_twice: false,
        }
    }

    /// The payload at a place, if it was read.
    fn payload(&self, at: Location) -> Option<Pages> {
        let in_chunk = self.chunk.as_ref().and_then(|(first, chunk)| {
            let first = at.page.checked_sub(*first)? as usize;
            let count = at.pages as usize;
            (first + count <= chunk.page_count()).then(|| chunk.slice(first, count))
        });
        in_chunk.or_else(|| self.scattered.as_ref()?.payload(at))
    }

    /// A stretch without frames at an extent's end is what was never written, or what the disk gave
    /// in the place of frames that are there: it is read once more before the extent counts as
    /// looked through.
    fn looks_again(&mut self) -> bool {
        match self.skipped_from.take() {
            Some(page) if !self.looked_twice && !self.damaged => {
                self.looked_twice = true;
                self.page = page;
                self.records_done = 0;
                true
            }
            _ => false,
        }
    }
}

/// What must be over before an extent that a pass went through holds nothing live.
#[derive(Debug)]
pub(super) struct Proof {
    /// So many frames of moves are taken in.
    pub(super) moves: u64,
    /// None of these pages of the index lies there any more.
    index_pages: Vec<IndexPage>,
}

/// Garbage collection of one node.
#[derive(Debug, Default)]
pub(super) struct Cleaning {
    pub(super) victim: Option<Victim>,
    pub(super) reading: bool,
    parked: bool,
    /// Frames of moved records begun and taken in since the node was opened, in order.
    pub(super) moves_begun: u64,
    pub(super) moves_done: u64,
    /// Extents that a pass has proved dead, but for these pages of the index, which the next
    /// checkpoint writes elsewhere.
    pub(super) proven: BTreeMap<ExtentSequence, Proof>,
    /// Extents with damage: kept, since they may hold what nobody else can prove.
    pub(super) quarantined: BTreeSet<ExtentSequence>,
    /// Foreground bytes not yet matched by collection.
    credit: u64,
    /// Bytes that the writer has appended since collection began anew.
    pub(super) spent: u64,
    /// The most room that there would have been without those after a checkpoint, and how many
    /// checkpoints gave no more.
    pub(super) most_room: u64,
    pub(super) fruitless: u32,
    /// Where things were at the last of those.
    pub(super) seen: Prospect,
    pub(super) last_foreground: Instant,
}

impl Cleaning {
    /// Damage was mended: extents that it kept may hold nothing live any more.
    pub(super) fn look_again(&mut self) {
        self.quarantined.clear();
    }

    pub(super) fn moves_done(&mut self) {
        self.moves_done += 1;
    }

    /// The writer has appended or asked for so many bytes.
    pub(super) fn on_foreground(&mut self, now: Instant, bytes: u64) {
        self.last_foreground = now;
        self.credit = (self.credit + bytes).min(4 * limits::CLEANING_CHUNK_BYTES as u64);
    }
}

impl Node {
    /// Takes garbage collection one bounded step further.
    pub(super) fn clean_next(&mut self) {
        let moving = self.cleaning.moves_begun - self.cleaning.moves_done;
        if self.cleaning.reading || self.cleaning.parked || moving > MOVES_AHEAD {
            return;
        }
        if self.is_fruitless() {
            return;
        }
        if self.cleaning.was_in_vain() {
            self.cleaning.begin_anew();
        }
        if self.is_starving() {
            self.hasten_checkpoint();
        }
        if self.cleaning.victim.is_none() && !self.choose_victim() {
            return self.settle_space();
        }
        let chunk = limits::CLEANING_CHUNK_BYTES as u64;
        if self.cleaning.credit < chunk && !self.is_quiet() && !self.is_starving() {
            return;
        }
        self.read_of_victim();
    }

    /// Dead extents are free only when a checkpoint no longer names them: asks for one, if there
    /// are any.
    fn hasten_checkpoint(&mut self) {
        if self.checkpoint.is_idle() && !self.checkpoint.wanted {
            let start = self.log.position().unwrap_or_default();
            self.checkpoint.wanted = !self.retirable(start).is_empty();
        }
    }

    /// With nothing to move: lets a checkpoint retire what is dead, and gives files back.
    fn settle_space(&mut self) {
        if !self.is_quiet() && !self.is_starving() {
            return;
        }
        let crowded = self.log.used_bytes() > self.rest_bytes() || self.is_starving();
        if crowded && self.checkpoint.is_idle() {
            let start = self.replay_start().0;
            self.checkpoint.wanted |= !self.retirable(start).is_empty() || self.can_prove(start);
        }
        let ahead = limits::QUIET_AHEAD_BYTES + self.reserves();
        while self.is_quiet()
            && let Some(slot) = self.log.shed(ahead)
        {
            self.push_effect(NodeEffect::Remove { slot });
        }
    }

    /// Chooses the sealed extent with the least live share, if collection is due.
    fn choose_victim(&mut self) -> bool {
        let live = self.usage.total();
        // Just before the log may grow no further: what is older by then is more dead.
        let busy_bytes = 2 * live + 4 * self.log.extent_bytes();
        let due = if self.is_quiet() {
            self.rest_bytes()
        } else {
            busy_bytes
        };
        if self.log.used_bytes() <= due && !self.is_starving() {
            return false;
        }
        let mut best = self.best_victim();
        if best.is_none() && self.may_seal() {
            self.log.seal();
            best = self.best_victim();
        }
        let Some((extent, bytes)) = best else {
            return false;
        };
        let end_page = (bytes / PAGE_BYTES as u64) as u32;
        self.cleaning.victim = Some(Victim::new(extent, end_page));
        true
    }

    /// Looks through the chunk; stops when a leaf must be loaded, and comes back here.
    pub(super) fn continue_cleaning(&mut self) {
        self.cleaning.parked = false;
        let Some(mut victim) = self.cleaning.victim.take() else {
            return;
        };
        let began_at = victim.page;
        let missing = self.look_through(&mut victim);
        let passed = u64::from(victim.page - began_at) * PAGE_BYTES as u64;
        self.cleaning.credit = self.cleaning.credit.saturating_sub(passed);
        // Also before anything is awaited: a discard that comes meanwhile must find them under way.
        let moves = std::mem::take(&mut victim.moves);
        self.append_moves(moves);
        if let Err(leaf) = missing {
            self.cleaning.parked = true;
            self.cleaning.victim = Some(victim);
            return self.load_leaf(leaf, Parked::Cleaning);
        }
        if victim.scattered.is_some() {
            self.cleaning.victim = Some(victim);
            return self.read_of_victim();
        }
        victim.chunk = None;
        let at_end = victim.page >= victim.end_page && !victim.looks_again();
        self.cleaning.victim = Some(victim);
        if at_end {
            self.finish_victim();
        }
    }

    fn append_moves(&mut self, moves: Vec<(RecordHeader, Pages)>) {
        for frame in self.frames_of(moves) {
            self.cleaning.moves_begun += 1;
            self.rewrites_in_flight += 1;
            self.enqueue_local(frame, Then::Moved);
        }
    }

    /// Goes frame by frame through the chunk and collects what is live.
    fn look_through(&mut self, victim: &mut Victim) -> Result<(), MissingLeaf> {
        let Some((first, chunk)) = victim.chunk.clone() else {
            return Ok(());
        };
        let extent_bytes = self.config().extent_bytes;
        let end = first + chunk.page_count() as u32;
        while victim.page < end {
            let bytes = &chunk.bytes()[(victim.page - first) as usize * PAGE_BYTES..];
            match DecodedFrame::decode(bytes) {
                Ok(frame) if self.belongs(&frame, victim) => {
                    let goes_on = victim.page + frame.pages() as u32 > end && end < victim.end_page;
                    if goes_on && !self.gather(victim, &frame)? {
                        return Ok(());
                    }
                    self.look_at_frame(victim, &frame)?;
                    victim.damaged |= victim.skipped_from.is_some();
                    victim.records_done = 0;
                    victim.page += frame.pages() as u32;
                    victim.scattered = None;
                    victim.next_pages = match is_short(frame.pages(), extent_bytes) {
                        true => chunk_pages(extent_bytes),
                        false => HEADER_PAGES,
                    };
                }
                Err(FrameError::NeedsPages(pages)) if end < victim.end_page => {
                    victim.next_pages = pages.max(HEADER_PAGES);
                    return Ok(());
                }
                // Frames follow each other without a gap: one behind a gap means damage before it.
                other => {
                    // It was written whole, as its checksums say, and cannot be understood.
                    victim.damaged |= matches!(other, Err(FrameError::Contradiction));
                    victim.skipped_from.get_or_insert(victim.page);
                    victim.page += 1;
                    victim.next_pages = chunk_pages(extent_bytes);
                }
            }
        }
        Ok(())
    }

    fn belongs(&self, frame: &DecodedFrame, victim: &Victim) -> bool {
        frame.identity.volume == self.config().volume
            && frame.identity.node == self.superblock.node
            && frame.identity.incarnation == self.superblock.incarnation
            && frame.identity.extent == victim.extent
            && frame.identity.page == victim.page
    }

    /// Whether what is live of a frame that goes on behind the chunk is there. If not, what is to be
    /// read next is noted.
    fn gather(&mut self, victim: &mut Victim, frame: &DecodedFrame) -> Result<bool, MissingLeaf> {
        let (pages, extent_bytes) = (frame.pages(), self.config().extent_bytes);
        let is_cut_short = victim.page + pages as u32 > victim.end_page;
        // In a log that cannot grow room counts more: what lies together is moved in fewer frames.
        let as_a_whole = is_short(pages, extent_bytes) || is_cut_short || self.log.is_full();
        if victim.scattered.is_none() && as_a_whole {
            victim.next_pages = pages.max(chunk_pages(extent_bytes));
            return Ok(false);
        }
        let mut live = victim.scattered.take().unwrap_or_default();
        let planned = self.plan(victim, frame, &mut live);
        let payload = way_to_payload(pages, &live);
        if payload == Payload::Whole {
            victim.next_pages = pages;
            return Ok(false);
        }
        victim.scattered = Some(live);
        planned?;
        Ok(payload == Payload::There)
    }

    /// Notes where the live records of a frame lie.
    fn plan(
        &mut self,
        victim: &Victim,
        frame: &DecodedFrame,
        live: &mut Scattered,
    ) -> Result<(), MissingLeaf> {
        for record in &frame.records[live.planned..] {
            let at = place_of(record, victim, frame);
            if self.is_live(record, at)? {
                live.add(at);
            }
            live.planned += 1;
        }
        Ok(())
    }

    fn look_at_frame(
        &mut self,
        victim: &mut Victim,
        frame: &DecodedFrame,
    ) -> Result<(), MissingLeaf> {
        for record in &frame.records[victim.records_done..] {
            let location = place_of(record, victim, frame);
            if self.is_index_page_at(record, location) {
                let page = (record.kind, record.group, record.block.0, location);
                victim.index_pages.push(page);
            } else if self.is_live(record, location)? && !is_planted(Bug::GarbageFreesLive) {
                let payload = victim.payload(location);
                if let Some(payload) = payload.filter(|it| record_checks(record, it.bytes())) {
                    // What is moved is little, and must not keep the whole chunk until it is synced.
                    victim.moves.push((moved(record), payload.apart()));
                } else {
                    self.checksum_errors += 1;
                    victim.damaged = true;
                }
            }
            victim.records_done += 1;
        }
        Ok(())
    }

    /// Whether the index still refers to a record's payload at this place.
    fn is_live(&mut self, record: &RecordHeader, at: Location) -> Result<bool, MissingLeaf> {
        match record.kind {
            RecordKind::Image | RecordKind::Delta => {
                self.index
                    .is_live(record.group, record.block, &fragment_of(record, at))
            }
            _ => Ok(false),
        }
    }

    /// Whether a page of the index lies here. It is not moved: the next checkpoint writes it
    /// again, elsewhere.
    fn is_index_page_at(&mut self, record: &RecordHeader, at: Location) -> bool {
        match record.kind {
            RecordKind::IndexLeaf => {
                self.index
                    .relocate_leaf_if_at(record.group, record.block.0, at)
            }
            RecordKind::IndexDirectory => {
                self.index
                    .relocate_directory_if_at(record.group, record.block.0, at)
            }
            _ => false,
        }
    }

    fn finish_victim(&mut self) {
        let Some(victim) = self.cleaning.victim.take() else {
            return;
        };
        if victim.damaged {
            log::warn!("{:?} has damage: its extent is kept", victim.extent);
            self.cleaning.quarantined.insert(victim.extent);
        } else {
            let proof = Proof {
                moves: self.cleaning.moves_begun,
                index_pages: victim.index_pages,
            };
            self.cleaning.proven.insert(victim.extent, proof);
        }
    }

    /// Sealed extents before `start` that hold nothing live.
    pub(super) fn retirable(&mut self, start: LogPoint) -> Vec<ExtentSequence> {
        let proven = self.proven_dead();
        let root = &self.superblock.checkpoint;
        let dead = self.log.sealed().filter(|(extent, _, inherited)| {
            let victim = self
                .cleaning
                .victim
                .as_ref()
                .is_some_and(|v| v.extent == *extent);
            // A pass sees nothing of what the disk does not give it: exact counts decide.
            let is_hint = *inherited || self.usage.has_lost_track();
            let counts_none = !inherited && self.usage.get(*extent) == 0;
            let is_dead = counts_none || is_hint && proven.contains(extent);
            *extent < start.extent
                && !victim
                && !root.iter().any(|part| part.at.extent == *extent)
                && is_dead
        });
        dead.map(|(extent, ..)| extent).collect()
    }

    /// Extents in which a pass found nothing live, or has moved it, and no page of the index lies.
    fn proven_dead(&mut self) -> BTreeSet<ExtentSequence> {
        let index = &mut self.index;
        let mut proven = BTreeSet::new();
        for (extent, proof) in &self.cleaning.proven {
            let lies_there = |page: &IndexPage| match page.0 {
                RecordKind::IndexLeaf => index.relocate_leaf_if_at(page.1, page.2, page.3),
                _ => index.relocate_directory_if_at(page.1, page.2, page.3),
            };
            // Every page is asked, so that all of them are written again.
            let live_pages = proof
                .index_pages
                .iter()
                .map(lies_there)
                .filter(|live| *live)
                .count();
            if live_pages == 0 && proof.moves <= self.cleaning.moves_done {
                proven.insert(*extent);
            }
        }
        proven
    }

    /// Frees an extent that the durable checkpoint no longer names, unless it is being read.
    pub(super) fn release(&mut self, extent: ExtentSequence) {
        if !self.is_pinned(extent) {
            self.usage.remove(extent);
            self.cleaning.proven.remove(&extent);
            self.log.free(extent);
        }
    }
}

/// Where the payload of a record of the frame lies that the pass is at.
fn place_of(record: &RecordHeader, victim: &Victim, frame: &DecodedFrame) -> Location {
    let point = LogPoint {
        extent: victim.extent,
        page: victim.page,
    };
    payload_of(record, point, point.page + frame.header_pages() as u32)
}

/// The record as it is written again.
fn moved(record: &RecordHeader) -> RecordHeader {
    let mut moved = *record;
    moved.previous_in_volume = crate::lsn::Lsn::NONE;
    moved.previous_in_group = crate::lsn::Lsn::NONE;
    moved.previous_of_block = crate::lsn::Lsn::NONE;
    moved.flags = 0;
    moved
}
