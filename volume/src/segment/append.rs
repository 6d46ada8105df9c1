//! The foreground of a node: place a frame, append it, sync it, take in its records, acknowledge.
//!
//! Two appends at a time, which the disk carries out one after the other: a frame is written only
//! after the one before it was synced. So after a crash only the last frame can be torn, and a bad
//! frame before a good one was damaged later. The second one is there so that the disk goes on while
//! what the first one means is made of it.

use crate::format::index_page::{Location, LogPoint};
use crate::format::log_frame::{Frame, FrameIdentity, FrameStamp, payload_pages_limit};
use crate::format::redo_record::{RecordHeader, RecordKind, flags};
use crate::ids::{GroupId, NodeId};
use crate::kept::Kept;
use crate::limits;
use crate::lsn::Lsn;
use crate::message::{Reply, RequestId};
use crate::page::{PAGE_BYTES, PageBuf, Pages};
use crate::planted::{Bug, is_planted};
use crate::segment::catch_up::PutFrame;
use crate::segment::effect::NodeEffect;
use crate::segment::hot_log::{PADDING_PAGES, Placement};
use crate::segment::lsn_chain::{Segment, TailEntry};
use crate::segment::node::{Node, Operation};
use crate::segment::promise::Answer;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};

/// What follows when a frame is on stable storage.
#[derive(Debug)]
pub(super) enum Then {
    /// A writer's frame: acknowledge.
    Acknowledge,
    /// Marks.
    Local,
    /// A folded block.
    Folded,
    /// Records moved by garbage collection.
    Moved,
    /// Index pages of a checkpoint.
    Checkpoint,
    /// Segments are marked incomplete; what they keep.
    CatchUpBegun(RequestId, Vec<(GroupId, Kept)>),
    /// Blocks written anew; the last frame names its request and how many they are.
    Repaired(Option<(RequestId, u32)>),
    /// Copied leaves.
    LeavesPut(PutFrame),
    /// A segment is marked complete.
    Completed(GroupId, RequestId),
    /// Records that a peer gave, of a group; who has more of them.
    Gossiped(GroupId, Option<NodeId>),
    /// Segments are let go.
    Released(Vec<GroupId>),
}

#[derive(Debug)]
struct Queued {
    frame: Arc<Frame>,
    then: Then,
}

impl Queued {
    fn is_of_writer(&self) -> bool {
        matches!(self.then, Then::Acknowledge)
    }

    fn is_gossip(&self) -> bool {
        matches!(self.then, Then::Gossiped(..))
    }

    /// Whether it is the node's own. Copied leaves may come into the log at any time: whatever makes
    /// room may pass them.
    fn is_housekeeping(&self) -> bool {
        !self.is_of_writer() && !self.is_gossip() && !matches!(self.then, Then::LeavesPut(_))
    }

    /// Whether it is part of collecting garbage: moves, checkpoints and the discards that these
    /// need in the log before them; or leaves a whole group to be collected.
    fn makes_room(&self) -> bool {
        let is_discard = |record: &RecordHeader| record.kind == RecordKind::Discard;
        match self.then {
            Then::Moved | Then::Folded | Then::Checkpoint | Then::Released(_) => true,
            Then::Local => self.frame.records.iter().all(is_discard),
            _ => false,
        }
    }
}

#[derive(Debug)]
struct InFlight {
    queued: Queued,
    point: LogPoint,
    number: u64,
    is_synced: bool,
}

/// Frames on their way into the log.
#[derive(Debug)]
pub(super) struct AppendQueue {
    waiting: VecDeque<Queued>,
    /// In the order of their numbers.
    in_flight: VecDeque<InFlight>,
    next_number: u64,
    waiting_bytes: u64,
}

impl AppendQueue {
    pub(super) fn new() -> AppendQueue {
        AppendQueue {
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_number: 1,
            waiting_bytes: 0,
        }
    }

    pub(super) fn is_appending(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Bytes of the frames that wait.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// A frame waits for room and none is under way.
    pub(super) fn starved(&self) -> bool {
        !self.is_appending() && !self.waiting.is_empty()
    }

    /// Number of the next frame.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    pub(super) fn resume(&mut self, next_number: u64) {
        self.next_number = next_number;
    }

    /// Where the oldest frame under way begins.
    pub(super) fn in_flight_point(&self) -> Option<(LogPoint, u64)> {
        self.in_flight
            .front()
            .map(|in_flight| (in_flight.point, in_flight.number))
    }

    /// Whether nothing waits or is under way.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_appending() && self.waiting.is_empty()
    }

    /// Whether what a peer gave waits or is under way.
    pub(super) fn holds_gossip(&self) -> bool {
        let under_way = self.in_flight.iter().map(|frame| &frame.queued);
        self.waiting.iter().chain(under_way).any(Queued::is_gossip)
    }

    pub(super) fn drop_frames_of_others(&mut self) {
        self.waiting
            .retain(|queued| !queued.is_of_writer() && !queued.is_gossip());
        self.waiting_bytes = self
            .waiting
            .iter()
            .map(|queued| queued.frame.bytes() as u64)
            .sum();
    }
}

impl Node {
    /// A writer's frame: refused whole unless every record is one that this node may take.
    pub(super) fn on_append(&mut self, frame: Arc<Frame>) {
        if self.may_take(&frame) {
            self.enqueue(frame, Then::Acknowledge);
        } else {
            self.send(Reply::Refused {
                promised: self.superblock.promised,
            });
        }
    }

    fn may_take(&self, frame: &Frame) -> bool {
        self.is_admitted() && frame.records.iter().all(|record| self.takes(record))
    }

    /// Whether a record is one of the volume's, and of a group that the node holds.
    pub(super) fn takes(&self, record: &RecordHeader) -> bool {
        let config = self.config();
        let end = record.block.0.checked_add(record.blocks);
        record.kind.changes_blocks()
            && !record.is_local()
            && (self.segments.contains_key(&record.group)
                || config.may_hold(self.superblock.node, record.group))
            && end.is_some_and(|end| end <= config.geometry.group_blocks)
            && !self.superblock.list.annuls(record.lsn)
    }

    /// Queues a frame of the node's own.
    pub(super) fn enqueue_local(&mut self, parts: Vec<(RecordHeader, Pages)>, then: Then) {
        let stamp = FrameStamp {
            epoch: self.superblock.promised,
            vdl: self.announced,
            wall_time_ns: 0,
        };
        let local = |(mut record, pages): (RecordHeader, Pages)| {
            record.flags |= flags::LOCAL;
            (record, pages)
        };
        let frame = Frame::new(stamp, parts.into_iter().map(local).collect());
        self.enqueue(Arc::new(frame), then);
    }

    /// Records of the node's own, cut into what frames can hold.
    pub(super) fn frames_of(
        &self,
        parts: Vec<(RecordHeader, Pages)>,
    ) -> Vec<Vec<(RecordHeader, Pages)>> {
        let page_limit = payload_pages_limit(self.config().extent_bytes);
        let (mut frames, mut pages) = (vec![Vec::new()], 0);
        for part in parts {
            let count = part.1.page_count();
            let last = frames.last().map_or(0, Vec::len);
            if pages + count > page_limit || last == limits::FRAME_RECORDS {
                pages = 0;
                frames.push(Vec::new());
            }
            pages += count;
            frames.last_mut().expect("there is always one").push(part);
        }
        frames.retain(|frame| !frame.is_empty());
        frames
    }

    pub(super) fn enqueue(&mut self, frame: Arc<Frame>, then: Then) {
        self.append.waiting_bytes += frame.bytes() as u64;
        self.append.waiting.push_back(Queued { frame, then });
    }

    /// Starts the next appends, if few enough are under way and there is room.
    pub(super) fn append_next(&mut self) {
        while self.may_append()
            && let Some((queued, placement)) = self.place_next()
        {
            self.begin_append(queued, placement);
        }
    }

    /// Whether another append may begin. A promise that waits for those under way is not to be put
    /// off by more, and a new extent is begun when nothing is under way: what is freed or collected is
    /// judged by where the oldest frame under way lies.
    fn may_append(&self) -> bool {
        let under_way = self.append.in_flight.len();
        let promises = self.superblock_writer.postponed_promise.is_some();
        let next = self.append.waiting.front();
        let stays = |queued: &Queued| self.log.goes_on_with(queued.frame.pages() as u32);
        under_way == 0
            || under_way < limits::APPENDS_IN_FLIGHT && !promises && next.is_some_and(stays)
    }

    fn begin_append(&mut self, queued: Queued, placement: Placement) {
        self.append.waiting_bytes -= queued.frame.bytes() as u64;
        let number = self.append.next_number;
        self.append.next_number += 1;
        let identity = FrameIdentity {
            volume: self.config().volume,
            node: self.superblock.node,
            incarnation: self.superblock.incarnation,
            extent: placement.point.extent,
            page: placement.point.page,
            number,
        };
        let mut parts = Vec::with_capacity(1 + queued.frame.payload.len());
        parts.push(queued.frame.header_for(&identity));
        parts.extend(queued.frame.payload.iter().cloned());
        if placement.padding > 0 {
            parts.push(zeros().slice(0, placement.padding as usize));
        }
        let operation = self.begin(Operation::Append(number));
        self.append.in_flight.push_back(InFlight {
            queued,
            point: placement.point,
            number,
            is_synced: false,
        });
        self.push_effect(NodeEffect::Append {
            operation,
            slot: placement.slot,
            offset: u64::from(placement.point.page) * PAGE_BYTES as u64,
            parts,
            overwrites: placement.overwrites,
        });
        if is_planted(Bug::AckBeforeSync) {
            self.on_appended(number);
        }
    }

    /// Takes the next frame that has a place out of the queue. When the writer's have none, what
    /// makes room goes before them: it would have come into the log first had they come later.
    fn place_next(&mut self) -> Option<(Queued, Placement)> {
        self.drop_gossip_without_space();
        let waiting = &self.append.waiting;
        let front = waiting.front()?;
        let pages = front.frame.pages() as u32;
        let with_reserve = front.frame.bytes() as u64 + self.housekeeping_reserve();
        // A frame that was admitted is kept out of the reserve only while that can give room.
        let fits = !front.is_of_writer() || self.log.room() >= with_reserve || !self.can_win_room();
        if let Some(placement) = fits.then(|| self.log.place(pages)).flatten() {
            return Some((self.append.waiting.pop_front()?, placement));
        }
        if self.append.is_appending() {
            return None;
        }
        let local = waiting.iter().position(Queued::is_housekeeping)?;
        let queued = waiting.get(local).filter(|queued| queued.makes_room())?;
        let placement = self.log.place(queued.frame.pages() as u32)?;
        Some((self.append.waiting.remove(local)?, placement))
    }

    /// What a peer gave must not stand before what was admitted, in a log that cannot grow.
    fn drop_gossip_without_space(&mut self) {
        while self.log.is_full()
            && let Some(gossip) = self
                .append
                .waiting
                .pop_front_if(|queued| queued.is_gossip())
        {
            self.append.waiting_bytes -= gossip.frame.bytes() as u64;
        }
    }

    /// A frame is on stable storage. What it means is taken in behind that of the ones before it.
    pub(super) fn on_appended(&mut self, number: u64) {
        let mut under_way = self.append.in_flight.iter_mut();
        if let Some(synced) = under_way.find(|frame| frame.number == number) {
            synced.is_synced = true;
        }
        while let Some(frame) = self.append.in_flight.pop_front_if(|frame| frame.is_synced) {
            self.take_appended(frame);
        }
        if !self.append.is_appending()
            && let Some(epoch) = self.superblock_writer.postponed_promise.take()
        {
            self.on_promise(epoch);
        }
    }

    fn take_appended(&mut self, appended: InFlight) {
        let InFlight {
            queued,
            point,
            number,
            ..
        } = appended;
        let Queued { frame, then } = queued;
        if !matches!(then, Then::Checkpoint) {
            self.checkpoint.log_bytes += frame.bytes() as u64;
        }
        match then {
            Then::Acknowledge => {
                self.cleaning.spent += frame.bytes() as u64;
                self.cleaning.on_foreground(self.now, frame.bytes() as u64);
                self.take_in(&frame, point, number, frame.bytes() as u64);
            }
            Then::Local => self.take_in_local(&frame, point),
            Then::Folded => {
                self.take_in_local(&frame, point);
                self.rewrite_done();
            }
            Then::Moved => {
                self.take_in_local(&frame, point);
                self.cleaning.moves_done();
                self.rewrite_done();
            }
            Then::Repaired(last) => {
                self.take_in_local(&frame, point);
                self.on_repaired(last);
            }
            Then::Checkpoint => self.on_checkpoint_pages(&frame, point),
            Then::CatchUpBegun(copy, kept) => {
                self.superblock.fresh = false;
                self.write_superblock(Answer::CatchUpBegun(copy, kept));
            }
            Then::LeavesPut(put) => {
                // Room is allocated ahead of copied leaves as ahead of the writer's records, and what
                // they take is no failure of collection either.
                self.cleaning.spent += frame.bytes() as u64;
                self.cleaning.on_foreground(self.now, frame.bytes() as u64);
                self.take_in_local(&frame, point);
                self.on_leaves_put(put);
            }
            Then::Completed(group, copy) => self.on_completed(group, copy),
            Then::Released(groups) => self.send(Reply::Released { groups }),
            Then::Gossiped(group, more) => {
                self.cleaning.spent += frame.bytes() as u64;
                self.take_in(&frame, point, number, 0);
                self.gossip_appended(group, more);
            }
        }
    }

    /// Takes the records of a frame into their segments, and acknowledges so many bytes of the
    /// writer's.
    fn take_in(&mut self, frame: &Frame, point: LogPoint, number: u64, bytes: u64) {
        let payload_at = point.page + frame.header_pages() as u32;
        let mut groups = BTreeSet::new();
        for record in &frame.records {
            let payload = payload_of(record, point, payload_at);
            let entry = TailEntry {
                record: *record,
                payload,
                frame: point,
                frame_number: number,
            };
            self.take_in_record(entry);
            groups.insert(record.group);
        }
        groups.iter().for_each(|group| self.gossip.note(*group));
        self.hear(frame.stamp.vdl);
        let acked = |group: &GroupId| {
            let segment = self
                .segments
                .get(group)
                .filter(|segment| segment.complete)?;
            Some((*group, segment.scl))
        };
        let reply = Reply::Acked {
            incarnation: self.superblock.incarnation,
            epoch: frame.stamp.epoch,
            scls: groups.iter().filter_map(acked).collect(),
            bytes,
            room: self.room(),
        };
        self.send(reply);
    }

    /// Takes one durable record into its segment. Of a group that the node has never seen it has
    /// everything up to nothing, which is complete.
    pub(super) fn take_in_record(&mut self, entry: TailEntry) {
        let group = entry.record.group;
        if self.released.contains(&group) {
            return;
        }
        self.replay_low = self.replay_low.min(entry.record.lsn);
        self.tails.insert(group);
        let segment = self
            .segments
            .entry(group)
            .or_insert_with(|| Segment::new(Lsn::NONE, true));
        segment.insert(entry);
    }

    /// Takes moved, folded or copied records into the index.
    fn take_in_local(&mut self, frame: &Frame, point: LogPoint) {
        let payload_at = point.page + frame.header_pages() as u32;
        for record in frame
            .records
            .iter()
            .filter(|record| record.kind.changes_blocks())
        {
            self.apply_local(record, payload_of(record, point, payload_at));
        }
        for record in frame
            .records
            .iter()
            .filter(|record| record.kind == RecordKind::Image)
        {
            self.folding.finished(record.group, record.block);
        }
    }
}

/// Where a record's payload lies when its frame's payload begins at page `payload_at`.
pub(super) fn payload_of(record: &RecordHeader, point: LogPoint, payload_at: u32) -> Location {
    Location {
        extent: point.extent,
        page: payload_at + record.payload_page,
        pages: u32::from(record.payload_pages),
    }
}

/// As many zeros as are ever written behind a frame; one copy for all nodes.
fn zeros() -> &'static Pages {
    static ZEROS: OnceLock<Pages> = OnceLock::new();
    ZEROS.get_or_init(|| PageBuf::zeroed(PADDING_PAGES as usize).share())
}
