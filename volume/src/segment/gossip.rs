//! Nodes fill gaps from each other's logs, without the writer (SIGMOD'17 §2.3; DESIGN §7.7).
//!
//! A node that has taken in something tells it to the other members of the group, one a round: how far
//! its segment is. Who has less asks for the records that it lacks, and so does a node that has a
//! record but not the one before it. A peer gives what its log still has: its tail, and what its index
//! took in not long ago. What no log reaches comes as blocks, by the writer (`catch_up`).
//!
//! Only nodes that hold the list of the same epoch, and have promised no other, talk to each other: what
//! one of them has the list of the other does not annul. What is given is appended and synced like a
//! writer's frame before it counts, and the writer is told.

use crate::format::log_frame::{Frame, FrameStamp, payload_pages_limit};
use crate::format::redo_record::RecordHeader;
use crate::ids::{GroupId, NodeId, VolumeEpoch};
use crate::limits;
use crate::lsn::Lsn;
use crate::message::{PeerMessage, Reply};
use crate::page::{PageBuf, Pages};
use crate::planted::{Bug, is_planted};
use crate::segment::append::Then;
use crate::segment::effect::{DiskError, NodeEffect};
use crate::segment::lsn_chain::TailEntry;
use crate::segment::node::{Node, Operation};
use crate::segment::recent::Recent;
use crate::segment::serve::{Serving, with_payload};
use crate::time::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node's side of it.
#[derive(Debug, Default)]
pub(super) struct Gossip {
    /// What the index took in not long ago.
    pub(super) recent: Recent,
    /// Whose turn it is among the others of a group.
    turn: usize,
    due: Instant,
    /// Records were asked for then, and are not yet taken in.
    asked: Option<Instant>,
    /// Answers that are being read from the log.
    serving: usize,
    /// Groups that took in something, and to how many members that is still to be told.
    news: BTreeMap<GroupId, usize>,
}

impl Gossip {
    /// A segment has taken in records of a frame.
    pub(super) fn note(&mut self, group: GroupId) {
        if self.news.len() < limits::GOSSIP_GROUPS || self.news.contains_key(&group) {
            self.news.insert(group, crate::config::SEGMENTS - 1);
        }
    }

    /// The group has left the node.
    pub(super) fn forget(&mut self, group: GroupId) {
        self.recent.forget(group);
        self.news.remove(&group);
    }

    fn may_ask(&self, now: Instant) -> bool {
        let waits = |since: Instant| now.since(since) < limits::GOSSIP_PATIENCE;
        !self.asked.is_some_and(waits)
    }
}

impl Node {
    /// A round, when it is time: asks for what is missing, and tells a peer what is new.
    pub(super) fn gossip_next(&mut self) {
        if self.now < self.gossip.due || !self.may_gossip() {
            return;
        }
        self.gossip.due = self.now.plus(limits::GOSSIP_EVERY);
        self.gossip.turn = self.gossip.turn.wrapping_add(1);
        if let Some((group, after)) = self.first_gap()
            && let Some(peer) = self.peer_of(group)
        {
            self.ask(peer, group, after);
        }
        self.tell_news();
    }

    /// Whether what the node has is known to be the volume's, and is its own to give.
    fn may_gossip(&self) -> bool {
        let superblock = &self.superblock;
        let entry = &self.config().nodes[superblock.node.index()];
        superblock.list.epoch == superblock.promised
            && !superblock.fresh
            && entry.incarnation == superblock.incarnation
    }

    /// A segment that has a record but not the one before it, and where its chain ends.
    fn first_gap(&self) -> Option<(GroupId, Lsn)> {
        let mut groups = self.tails.iter();
        groups.find_map(|group| {
            let segment = self.segments.get(group)?;
            (segment.complete && segment.has_gap()).then_some((*group, segment.scl))
        })
    }

    /// Whose turn it is of the others that hold a group.
    fn peer_of(&self, group: GroupId) -> Option<NodeId> {
        let members = self.config().members(group);
        let others = members.into_iter().filter(|node| *node != self.id());
        let others: Vec<NodeId> = others.collect();
        others.get(self.gossip.turn % others.len().max(1)).copied()
    }

    fn tell_news(&mut self) {
        let Some(first) = self.gossip.news.keys().next().copied() else {
            return;
        };
        let Some(to) = self.peer_of(first) else {
            return;
        };
        let news = self.gossip.news.keys().copied();
        let shared: Vec<GroupId> = news
            .filter(|group| self.config().holds(to, *group))
            .collect();
        let digest = shared.iter().filter_map(|group| {
            let segment = self.segments.get(group)?;
            segment.complete.then_some((*group, segment.scl))
        });
        let (epoch, scls) = (self.superblock.list.epoch, digest.collect());
        self.tell(to, PeerMessage::Digest { epoch, scls });
        for group in shared {
            if let Some(left) = self.gossip.news.get_mut(&group) {
                *left -= 1;
                if *left == 0 {
                    self.gossip.news.remove(&group);
                }
            }
        }
    }

    fn tell(&mut self, to: NodeId, message: PeerMessage) {
        self.push_effect(NodeEffect::Tell { to, message });
    }

    /// Asks, unless the node has what it takes in yet: it may lack no more than that, and a disk that
    /// does not come along must not be given more.
    fn ask(&mut self, peer: NodeId, group: GroupId, after: Lsn) {
        if self.gossip.may_ask(self.now) && self.append.is_idle() {
            self.gossip.asked = Some(self.now);
            let epoch = self.superblock.list.epoch;
            self.tell(
                peer,
                PeerMessage::Pull {
                    epoch,
                    group,
                    after,
                },
            );
        }
    }

    /// A peer says something.
    pub fn on_peer(&mut self, now: Instant, from: NodeId, message: PeerMessage) {
        self.now = now;
        let is_ours =
            message.epoch() == self.superblock.list.epoch || is_planted(Bug::GossipFromAnyEpoch);
        if self.fenced || !self.may_gossip() || !is_ours {
            return;
        }
        match message {
            PeerMessage::Digest { epoch: _, scls } => self.on_digest(from, &scls),
            PeerMessage::Pull {
                epoch: _,
                group,
                after,
            } => self.on_pull(from, group, after),
            PeerMessage::Records {
                epoch: _,
                group,
                records,
                is_all,
            } => self.on_gossiped(from, group, records, is_all),
        }
        self.work();
    }

    /// Whether both hold the group, or are about to.
    fn shares(&self, peer: NodeId, group: GroupId) -> bool {
        let config = self.config();
        config.may_hold(peer, group) && config.may_hold(self.id(), group)
    }

    /// Where the chain ends of a segment that can be made longer; of a group that the node has never
    /// seen it has everything up to nothing. One that was let go begins with a copy.
    fn end_of_chain(&self, group: GroupId) -> Option<Lsn> {
        match self.segments.get(&group) {
            _ if self.released.contains(&group) => None,
            Some(segment) => segment.complete.then_some(segment.scl),
            None => Some(Lsn::NONE),
        }
    }

    fn on_digest(&mut self, from: NodeId, scls: &[(GroupId, Lsn)]) {
        let mut groups = scls.iter().take(limits::GOSSIP_GROUPS);
        let lack = groups.find_map(|(group, scl)| {
            let end = self.end_of_chain(*group)?;
            (end < *scl && self.shares(from, *group)).then_some((*group, end))
        });
        if let Some((group, after)) = lack {
            self.ask(from, group, after);
        }
    }

    /// Gives the records of the chain behind `after`, as many as an answer holds.
    fn on_pull(&mut self, from: NodeId, group: GroupId, after: Lsn) {
        if !self.shares(from, group) || self.gossip.serving >= limits::GOSSIP_ANSWERS {
            return;
        }
        let (chain, is_all) = self.records_behind(group, after);
        if chain.is_empty() {
            return self.answer(from, group, Vec::new(), true);
        }
        self.gossip.serving += 1;
        let plan = self.plan_of_records(&chain);
        let records = chain.iter().map(|entry| entry.record).collect();
        let serving = Serving::Peer {
            to: from,
            epoch: self.superblock.list.epoch,
            group,
            records,
            is_all,
        };
        let operation = self.begin(Operation::Serve(serving));
        let mut extents: Vec<_> = chain.iter().map(|entry| entry.payload.extent).collect();
        extents.dedup();
        self.pin(operation, extents);
        self.push_effect(NodeEffect::Materialize { operation, plan });
    }

    /// The chain behind a record as far as the log has it; whether that is all there is.
    fn records_behind(&self, group: GroupId, after: Lsn) -> (Vec<TailEntry>, bool) {
        let Some(segment) = self.segments.get(&group).filter(|segment| segment.complete) else {
            return (Vec::new(), true);
        };
        let tail = segment
            .tail()
            .filter(|entry| entry.record.lsn <= segment.scl);
        let entries = self.gossip.recent.behind(group, after).chain(tail);
        let entries = entries.filter(|entry| entry.record.lsn > after);
        let (mut chain, mut pages, mut end) = (Vec::new(), 0, after);
        for entry in entries {
            let is_there = self.log.slot_of(entry.payload.extent).is_some();
            if entry.record.previous_in_group != end || !is_there {
                break;
            }
            pages += usize::from(entry.record.payload_pages);
            if !self.is_one_frame(chain.len() + 1, pages) {
                return (chain, false);
            }
            end = entry.record.lsn;
            chain.push(*entry);
        }
        (chain, true)
    }

    /// Whether so many records with so much payload are appended at once.
    fn is_one_frame(&self, records: usize, pages: usize) -> bool {
        records <= limits::GOSSIP_RECORDS
            && pages <= payload_pages_limit(self.config().extent_bytes)
    }

    /// Records for a peer were read from the log; what does not check is not given away.
    pub(super) fn on_read_for_peer(
        &mut self,
        (to, epoch, group): (NodeId, VolumeEpoch, GroupId),
        records: Vec<RecordHeader>,
        is_all: bool,
        result: Result<PageBuf, DiskError>,
    ) {
        self.gossip.serving = self.gossip.serving.saturating_sub(1);
        let is_current = epoch == self.superblock.list.epoch && self.may_gossip();
        if let (Ok(pages), true) = (result, is_current) {
            self.answer(to, group, with_payload(records, &pages.share()), is_all);
        }
    }

    fn answer(
        &mut self,
        to: NodeId,
        group: GroupId,
        records: Vec<(RecordHeader, Pages)>,
        is_all: bool,
    ) {
        let message = PeerMessage::Records {
            epoch: self.superblock.list.epoch,
            group,
            records,
            is_all,
        };
        self.tell(to, message);
    }

    /// Appends what continues the chain, if it was asked for.
    fn on_gossiped(
        &mut self,
        from: NodeId,
        group: GroupId,
        mut records: Vec<(RecordHeader, Pages)>,
        is_all: bool,
    ) {
        let was_asked = self.gossip.asked.take().is_some();
        let Some(end) = self
            .end_of_chain(group)
            .filter(|_| was_asked && self.shares(from, group) && !self.append.holds_gossip())
        else {
            return;
        };
        records.retain(|(record, _)| record.lsn > end);
        let pages = records.iter().map(|(_, pages)| pages.page_count()).sum();
        let is_taken = !records.is_empty()
            && self.is_one_frame(records.len(), pages)
            && continues(&records, group, end)
            && records
                .iter()
                .all(|(record, _)| self.takes(record) || is_planted(Bug::GossipFromAnyEpoch));
        if is_taken {
            self.append_gossip(group, records, (!is_all).then_some(from));
        }
    }

    /// A node that is short of space leaves it to its writer's frames, for which room was kept.
    fn append_gossip(
        &mut self,
        group: GroupId,
        records: Vec<(RecordHeader, Pages)>,
        more: Option<NodeId>,
    ) {
        let stamp = FrameStamp {
            epoch: self.superblock.promised,
            vdl: self.announced,
            wall_time_ns: 0,
        };
        let last = records.last().map(|(record, _)| (group, record.lsn));
        let frame = Frame::new(stamp, records);
        if self.room().bytes < frame.bytes() as u64 {
            return;
        }
        self.gossip.asked = Some(self.now);
        if is_planted(Bug::GossipCountsEarly) {
            self.acknowledge_early(last);
        }
        self.enqueue(Arc::new(frame), Then::Gossiped(group, more));
    }

    /// The bug that can be planted.
    fn acknowledge_early(&mut self, last: Option<(GroupId, Lsn)>) {
        let reply = Reply::Acked {
            incarnation: self.superblock.incarnation,
            epoch: self.superblock.promised,
            scls: last.into_iter().collect(),
            bytes: 0,
            room: self.room(),
        };
        self.send(reply);
    }

    /// What a peer gave is on stable storage, and taken in.
    pub(super) fn gossip_appended(&mut self, group: GroupId, more: Option<NodeId>) {
        self.gossip.asked = None;
        if let (Some(peer), Some(end)) = (more, self.end_of_chain(group)) {
            self.ask(peer, group, end);
        }
    }
}

/// Whether the records are a piece of the group's chain that begins behind `end`.
fn continues(records: &[(RecordHeader, Pages)], group: GroupId, end: Lsn) -> bool {
    let mut end = end;
    records.iter().all(|(record, pages)| {
        let follows = record.group == group && record.previous_in_group == end;
        end = record.lsn;
        follows && pages.page_count() == usize::from(record.payload_pages)
    })
}
