//! Frames to the nodes, and what their acknowledgements prove.
//!
//! Boxcar without waiting (SIGMOD'18 §2.2): the first record is sent at once, and while a batch
//! is on its way the next one fills.

use super::pending::PendingRecord;
use super::{Answer, Writer};
use crate::config::SEGMENTS;
use crate::format::log_frame::{Frame, FrameStamp, payload_pages_limit};
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::lsn::Lsn;
use crate::message::{Request, Room};
use crate::page::PAGE_BYTES;
use crate::planted::{Bug, is_planted};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The records of a batch for one set of nodes.
type Batch = Vec<PendingRecord>;

/// The nodes that hold groups, and those that are to take places among them.
type Receivers = ([NodeId; SEGMENTS], [Option<NodeId>; SEGMENTS]);

impl Writer {
    /// Sends what is unsent, one frame for each set of nodes, as long as few enough batches are
    /// on their way.
    pub(super) fn send_frames(&mut self) {
        while self.is_open() && self.may_send_batch() {
            let batch = self.next_batch();
            let Some(last) = batch.last() else { return };
            self.batches.push_back(last.record.lsn);
            self.pending.mark_sent(batch.len());
            if let [members] = self.placements[..] {
                let replaced = |node: &NodeId| self.replacing.contains_key(node);
                let successors = members.map(|node| {
                    let is_replaced = Some(node).filter(replaced);
                    is_replaced.map(|node| self.config.successor(node))
                });
                self.send_batch((members, successors), batch);
                continue;
            }
            let mut sets: BTreeMap<Receivers, Batch> = BTreeMap::new();
            for pending in batch {
                if let Some(view) = self.groups.get(&pending.record.group) {
                    let receivers = (view.members, view.successors());
                    sets.entry(receivers).or_default().push(pending);
                }
            }
            sets.into_iter()
                .for_each(|(receivers, batch)| self.send_batch(receivers, batch));
        }
    }

    /// Whether a batch is due: with one on its way only one that is worth a sync of its own.
    fn may_send_batch(&self) -> bool {
        let under_way = self.batches.len();
        let longest = payload_pages_limit(self.config.extent_bytes) * PAGE_BYTES;
        let is_large = self.pending.unsent_bytes() >= limits::NEXT_BATCH_BYTES.min(longest);
        under_way == 0 || under_way < limits::BATCHES_IN_FLIGHT && is_large
    }

    fn send_batch(&mut self, (members, successors): Receivers, batch: Batch) {
        let frame = self.frame(batch);
        for node in members.into_iter().chain(successors.into_iter().flatten()) {
            self.send_frame(node, Arc::clone(&frame));
        }
    }

    /// The oldest unsent records that one frame may carry.
    fn next_batch(&self) -> Batch {
        let page_limit = payload_pages_limit(self.config.extent_bytes);
        let mut pages = 0;
        let fits = |pending: &&PendingRecord| {
            pages += pending.pages.page_count();
            pages <= page_limit
        };
        self.pending
            .unsent()
            .take(limits::FRAME_RECORDS)
            .take_while(fits)
            .cloned()
            .collect()
    }

    fn frame(&mut self, batch: Batch) -> Arc<Frame> {
        self.announced = self.vdl;
        let stamp = FrameStamp {
            epoch: self.epoch,
            vdl: self.vdl,
            wall_time_ns: self.wall_time_ns,
        };
        let parts = batch
            .into_iter()
            .map(|pending| (pending.record, pending.pages))
            .collect();
        Arc::new(Frame::new(stamp, parts))
    }

    /// Sends a frame to a node that takes frames. One that has too much outstanding is left
    /// behind, to catch up from its peers, not from the writer's memory.
    fn send_frame(&mut self, node: NodeId, frame: Arc<Frame>) {
        let view = &mut self.nodes[node.index()];
        if !view.is_streaming() {
            return;
        }
        if view.outstanding_bytes as usize > limits::NODE_QUEUE_BYTES {
            return self.leave_behind(node);
        }
        view.outstanding_bytes += frame.bytes() as u64;
        view.room.take(frame.bytes() as u64);
        self.health.frame_sent(self.now, node, frame.bytes() as u64);
        self.send(node, Request::Append { frame });
    }

    /// Gives a node that joins everything that was sent and is not yet durable.
    pub(super) fn resend_pending(&mut self, node: NodeId) {
        let page_limit = payload_pages_limit(self.config.extent_bytes);
        let groups = &self.groups;
        let held = self.pending.sent().filter(|pending| {
            groups
                .get(&pending.record.group)
                .is_some_and(|view| view.is_held_by(node))
        });
        let mut batches: Vec<Batch> = vec![Vec::new()];
        let mut pages = 0;
        for pending in held {
            pages += pending.pages.page_count();
            let current = batches.last().map_or(0, Vec::len);
            if pages > page_limit || current == limits::FRAME_RECORDS {
                pages = pending.pages.page_count();
                batches.push(Vec::new());
            }
            if let Some(batch) = batches.last_mut() {
                batch.push(pending.clone());
            }
        }
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            let frame = self.frame(batch);
            self.send_frame(node, frame);
        }
    }

    pub(super) fn on_room(&mut self, from: NodeId, room: Room) {
        let view = &mut self.nodes[from.index()];
        let was_full = view.is_full;
        view.on_room(self.now, room);
        if was_full {
            // That frames wait for room says nothing of the disk's speed.
            self.health.frames_restarted(self.now, from);
        }
    }

    /// A node has everything up to these SCLs on stable storage.
    pub(super) fn on_acked(&mut self, from: NodeId, scls: &[(GroupId, Lsn)], bytes: u64) {
        let view = &mut self.nodes[from.index()];
        view.outstanding_bytes = view.outstanding_bytes.saturating_sub(bytes);
        self.health.frame_acked(self.now, from, bytes);
        let mut is_more = false;
        for (group, scl) in scls {
            is_more |= self.on_scl(from, *group, *scl);
        }
        // The same records again take a recovery no further.
        if is_more {
            self.recovery_progress();
        }
        self.advance();
    }

    /// Takes an SCL into account unless the segment is being filled: what it said before that
    /// does not count. Whether it proves more than was known.
    pub(super) fn on_scl(&mut self, from: NodeId, group: GroupId, scl: Lsn) -> bool {
        let counts = !self.catch_up.is_filling(from, group);
        let view = counts.then(|| self.groups.get_mut(&group)).flatten();
        view.is_some_and(|view| view.on_scl(from, scl))
    }

    /// A segment says that it is complete, with this SCL, unless it is being filled.
    pub(super) fn on_complete(&mut self, from: NodeId, group: GroupId, scl: Lsn) {
        if !self.catch_up.is_filling(from, group)
            && let Some(view) = self.groups.get_mut(&group)
        {
            view.on_complete(from, scl);
            self.nodes[from.index()].incomplete.remove(&group);
        }
    }

    /// Moves VCL and VDL over every record that its group's PGCL covers. VCL is the lowest LSN
    /// that is not durable, minus one: not the minimum of the PGCLs.
    pub(super) fn advance(&mut self) {
        let mut vdl = self.vdl;
        while let Some(record) = self.pending.after(self.vcl) {
            let durable = self
                .groups
                .get(&record.group)
                .map_or(Lsn::NONE, |group| group.pgcl());
            let durable = match is_planted(Bug::LowestPgclIsVcl) {
                true => self.lowest_pgcl(),
                false => durable,
            };
            if record.lsn > durable {
                break;
            }
            self.vcl = record.lsn;
            if record.is_consistency_point() || is_planted(Bug::HalfTransactionIsDurable) {
                vdl = record.lsn;
            }
        }
        while self.batches.front().is_some_and(|last| *last <= self.vcl) {
            self.batches.pop_front();
        }
        if vdl > self.vdl {
            self.vdl = vdl;
            self.on_vdl();
        }
    }

    /// A planted bug's answer to what is durable.
    fn lowest_pgcl(&self) -> Lsn {
        let lowest = self.groups.values().map(|group| group.pgcl()).min();
        lowest.unwrap_or(Lsn::NONE)
    }

    /// The VDL has moved: what it passed is served by the nodes from now on.
    fn on_vdl(&mut self) {
        while let Some(record) = self.pending.pop_durable(self.vdl) {
            if let Some(group) = self.groups.get_mut(&record.group) {
                group.tip = record.lsn;
            }
        }
        while self
            .waiting
            .front()
            .is_some_and(|(lsn, ..)| *lsn <= self.vdl)
        {
            if let Some((_, ticket, _)) = self.waiting.pop_front() {
                self.complete(ticket, Ok(Answer::Done));
            }
        }
    }
}
