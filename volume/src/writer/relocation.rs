//! Segments move to other nodes while the volume is used: to nodes that have come to it, and away
//! from one that is drained.
//!
//! How far that has come is in the configuration, and nowhere else: one segment moves at a time, the
//! one that [`VolumeConfig::next_move`] names. The node that is to hold it is filled like any other
//! that lacks a segment and gets every frame of the group, and it counts for nothing. When it is
//! filled, what is written counts only where four of the six that are and four of the six that will be
//! hold it, as when a directory takes a node's place (see `replacement`). When it also holds all that
//! counted before, a configuration with one more step is made durable: four of every placement by the
//! old one and four of every placement by the new one must hold it. A crash meanwhile leaves the one
//! or the other to be found, and the same records are durable in both.
//!
//! The node that held the segment is told to let it go only then. A writer that opens the volume
//! tells it again, if it finds that it has it still.
//!
//! A group that nobody has written to needs no copy. Should it begin to exist while the configuration
//! is on its way that places it otherwise, it counts in both ways from its first record on.

use super::catch_up::Lack;
use super::configuring::AfterReconfiguration;
use super::node_view::Phase;
use super::{Answer, Ticket, Writer, WriterEffect};
use crate::config::{SEGMENTS, VolumeConfig};
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::lsn::Lsn;
use crate::message::Request;
use crate::placement::SegmentMove;
use crate::planted::{Bug, is_planted};
use crate::status::NodeState;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// The segment that moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving {
    step: SegmentMove,
    /// It is filled: who has it and who is to have it count as one.
    is_joint: bool,
}

/// A configuration that places groups otherwise, and may be found after a crash.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) config: VolumeConfig,
    pub(super) placements: Vec<[NodeId; SEGMENTS]>,
    /// Who asked for it.
    asked: Option<Ticket>,
}

/// What nodes have of groups that are on others now. Bounded by the groups that there are.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    segments: BTreeMap<NodeId, BTreeSet<GroupId>>,
    told_at: Option<Instant>,
}

impl Writer {
    /// Has the segments of all groups move to the nodes of the current table, as far as they are not
    /// there; answered when that is sure to happen.
    pub fn spread(&mut self, ticket: Ticket) {
        let is_spread = !self.config.has_two_tables() || self.config.relocation.moves;
        if let Err(refusal) = self.check_change(self.is_changing_nodes() || is_spread) {
            return self.complete(ticket, Err(refusal));
        }
        self.name(self.config.spread(), Some(ticket));
    }

    /// Has all groups leave a node; answered when that is sure to happen. Refused while others move,
    /// and where the zone would keep fewer than two nodes.
    pub fn drain(&mut self, ticket: Ticket, node: NodeId) {
        let config = self.config.without(node, self.first_new_group());
        let is_impossible =
            self.config.has_two_tables() || self.config.is_drained(node) || !config.can_place();
        if let Err(refusal) = self.check_change(self.is_changing_nodes() || is_impossible) {
            return self.complete(ticket, Err(refusal));
        }
        self.name(config, Some(ticket));
    }

    /// Sends a configuration that places groups otherwise. From here on it may be found.
    fn name(&mut self, config: VolumeConfig, asked: Option<Ticket>) {
        if is_planted(Bug::ReleasedBeforeDurable) {
            let steps = self.moving.map(|moving| moving.step);
            steps
                .into_iter()
                .for_each(|step| self.left_behind.add(step.from, step.group));
        }
        self.named = Some(Named {
            placements: config.placements().into_iter().collect(),
            config: config.clone(),
            asked,
        });
        self.reconfigure(config, AfterReconfiguration::Relocate);
    }

    /// Takes a relocation one step further.
    pub(super) fn relocation_next(&mut self, now: Instant) {
        if self.policy.read_only {
            return;
        }
        self.tell_config(now);
        self.tell_to_release(now);
        match self.moving {
            _ if self.reconfiguring.is_some() => {}
            _ if self.named.is_some() => self.name_again(),
            Some(moving) => self.move_on(moving),
            None if !self.config.relocation.moves => {}
            None if self.replacing.is_empty() && self.can_change_nodes() => self.begin_step(),
            None => {}
        }
    }

    /// A configuration that gave way to another one is sent again, above that.
    fn name_again(&mut self) {
        if let Some(named) = self.named.take() {
            self.name(self.config.placed_like(&named.config), named.asked);
        }
    }

    fn begin_step(&mut self) {
        let first_new = self.config.relocation.first_new;
        let Some(step) = self.config.next_move() else {
            return self.name(self.config.relocated(), None);
        };
        let mut existing = self.groups.range(step.group..first_new);
        let next = existing.next().map_or(first_new, |(group, _)| *group);
        if next == step.group {
            return self.begin_move(step);
        }
        let done_steps = u64::from(next.0) * SEGMENTS as u64;
        self.name(self.config.stepped(done_steps), None);
    }

    fn begin_move(&mut self, step: SegmentMove) {
        let view = &self.nodes[step.to.index()];
        if !view.is_streaming() || view.held_config < self.config.version {
            // It would take nothing of the group yet.
            return;
        }
        self.left_behind.remove(step.to, step.group);
        let is_joint = false;
        self.moving = Some(Moving { step, is_joint });
        self.add_to_group(step.group, step.from, step.to);
    }

    /// A node, or a directory, gets a group's frames from here on, and is filled, to take a member's
    /// place.
    fn add_to_group(&mut self, group: GroupId, member: NodeId, other: NodeId) {
        if let Some(view) = self.groups.get_mut(&group) {
            view.add_successor(member, other);
            if is_planted(Bug::MovedBeforeFilled) && !self.config.is_successor(other) {
                return view.on_complete(other, view.tip);
            }
            self.want_all(other, group);
        }
    }

    /// Whatever a node has of a group, it marks that before it counts for what it is given.
    pub(super) fn want_all(&mut self, node: NodeId, group: GroupId) {
        if let Some(view) = self.groups.get_mut(&group) {
            view.forget(node);
        }
        let since = Lsn::NONE;
        self.catch_up.want(Lack { node, group, since });
    }

    /// Whether a segment of this group is on its way to this node.
    pub(super) fn is_coming(&self, node: NodeId, group: GroupId) -> bool {
        let step = self.moving.map(|moving| moving.step);
        step.is_some_and(|step| step.to == node && step.group == group)
    }

    fn move_on(&mut self, Moving { step, is_joint }: Moving) {
        let is_ready = self.is_moved(step);
        let Some(view) = self.groups.get_mut(&step.group) else {
            return;
        };
        let may_take_over = view.may_take_over(step.from);
        if !self.replacing.is_empty() {
            // A group counts for one exchange at a time.
            view.drop_successor(step.from, step.to);
            self.catch_up.give_up(step.to, step.group);
            self.moving = None;
            self.add_successor_of(step.from, step.group);
        } else if is_joint && is_ready && may_take_over {
            return self.name(self.config.stepped(step.done_steps), None);
        } else if is_joint != is_ready {
            match is_ready {
                true => view.join_successor(step.from),
                false => view.part_successor(step.from),
            }
            let is_joint = is_ready;
            self.moving = Some(Moving { step, is_joint });
        }
        self.advance();
        self.review(self.now);
    }

    /// Whether a segment that moves is filled, and writes stay durable when both must hold them.
    fn is_moved(&self, step: SegmentMove) -> bool {
        let streams = |node: NodeId| self.nodes[node.index()].is_streaming();
        let Some(view) = self.groups.get(&step.group) else {
            return false;
        };
        let is_filled = view.is_complete(step.to) && !self.catch_up.is_lacking(step.to, step.group);
        let mut joint = view.clone();
        joint.join_successor(step.from);
        streams(step.to) && is_filled && joint.can_write(streams)
    }

    /// A configuration that places groups otherwise is durable.
    pub(super) fn relocated(&mut self, now: Instant) {
        let Some(named) = self.named.take() else {
            return;
        };
        if let Some(Moving { step, .. }) = self.moving.take() {
            self.reseat(step.group);
            self.moved = self.moved.map(|(moved, all)| (moved + 1, all));
        } else {
            self.count_moved();
            let groups: Vec<GroupId> = self.groups.keys().copied().collect();
            groups.into_iter().for_each(|group| self.reseat(group));
            // What nodes have of groups that were annulled as a whole moves with no group.
            let nodes = self.config.node_ids();
            nodes.for_each(|node| self.note_strays(node));
        }
        if !self.config.has_two_tables() {
            self.leave_drained(now);
        }
        if let Some(ticket) = named.asked {
            self.complete(ticket, Ok(Answer::Done));
        }
        self.advance();
    }

    /// A relocation has ended: nodes that groups are not on any more are out of service.
    fn leave_drained(&mut self, now: Instant) {
        let nodes = self.config.node_ids();
        let drained: Vec<NodeId> = nodes.filter(|n| self.config.is_drained(*n)).collect();
        for node in drained {
            self.left_behind.segments.remove(&node);
            if self.nodes[node.index()].phase != Phase::Down {
                self.node_down(now, node, NodeState::Drained.meaning());
            }
            self.effects.push_back(WriterEffect::Drained(node));
        }
    }

    /// The group is where the configuration places it.
    fn reseat(&mut self, group: GroupId) {
        let members = self.config.members(group);
        let Some(view) = self.groups.get_mut(&group) else {
            return;
        };
        let before = view.members;
        if before == members {
            return;
        }
        view.reseat(members);
        for gone in before.into_iter().filter(|node| !members.contains(node)) {
            self.catch_up.give_up(gone, group);
            self.left_behind.add(gone, group);
        }
        for node in members.into_iter().filter(|node| !before.contains(node)) {
            self.add_successor_of(node, group);
        }
    }

    /// Who is to take a member's place gets the group, too, now that nobody else is to.
    fn add_successor_of(&mut self, member: NodeId, group: GroupId) {
        if self.replacing.contains_key(&member) {
            self.add_to_group(group, member, self.config.successor(member));
        }
    }

    /// What a node had when it reported itself of groups that are not its own any more.
    pub(super) fn note_strays(&mut self, node: NodeId) {
        let is_stray = |group: &GroupId| {
            // Of a group that was annulled as a whole there is none.
            let view = self.groups.get(group);
            view.is_none_or(|view| !view.is_held_by(node)) && !self.config.may_hold(node, *group)
        };
        let strays: Vec<GroupId> = self.nodes[node.index()].named().filter(is_stray).collect();
        for group in strays {
            self.left_behind.add(node, group);
        }
    }

    /// Tells nodes to let go what they have of other nodes' groups, some at a time, once all of those six
    /// have them. The configuration that says so is durable.
    fn tell_to_release(&mut self, now: Instant) {
        let is_told = was_told(self.left_behind.told_at, now);
        if self.left_behind.segments.is_empty() || is_told || !self.can_change_nodes() {
            return;
        }
        self.left_behind.told_at = Some(now);
        let epoch = self.epoch;
        for (node, groups) in self.left_behind.segments.clone() {
            let may_go = groups
                .into_iter()
                .filter(|group| self.is_whole_without(node, *group));
            let groups: Vec<GroupId> = may_go.take(limits::GROUPS_RELEASED_AT_ONCE).collect();
            if self.nodes[node.index()].is_streaming() && !groups.is_empty() {
                self.send(node, Request::Release { epoch, groups });
            }
        }
    }

    /// Whether all six that hold a group have all of it: one that came to it may have been lost since.
    fn is_whole_without(&self, node: NodeId, group: GroupId) -> bool {
        let Some(view) = self.groups.get(&group) else {
            return true;
        };
        let mut members = view.members.iter();
        members.all(|member| *member != node && view.is_complete(*member))
            || is_planted(Bug::ReleasedBeforeDurable)
    }

    /// A node has let segments go, durably.
    pub(super) fn on_released(&mut self, from: NodeId, groups: &[GroupId]) {
        for group in groups {
            self.left_behind.remove(from, *group);
        }
        // The next ones.
        self.left_behind.told_at = None;
    }

    /// Tells nodes the configuration again that have not said that they hold it: they refuse what
    /// they know of no reason to hold.
    fn tell_config(&mut self, now: Instant) {
        if was_told(self.told_config_at, now) {
            return;
        }
        let version = self.config.version;
        let is_behind = |node: &NodeId| self.nodes[node.index()].held_config < version;
        let streaming = self.streaming_nodes().into_iter();
        let behind: BTreeSet<NodeId> = streaming.filter(is_behind).collect();
        if behind.is_empty() {
            return;
        }
        self.told_config_at = Some(now);
        let config = self.config.clone();
        self.send_config(&behind, &config);
    }

    /// The sets of six that a group may be found on after a crash.
    pub fn places_of(&self, group: GroupId) -> Vec<[NodeId; SEGMENTS]> {
        let found = [self.config.members(group)].into_iter();
        found.chain(self.named_members(group)).collect()
    }

    /// Those of them by a configuration that is not known to be durable.
    pub(super) fn named_members(&self, group: GroupId) -> Option<[NodeId; SEGMENTS]> {
        self.named.as_ref().map(|named| named.config.members(group))
    }

    /// Whether nodes still have something of groups that have left them.
    pub fn has_left_something_behind(&self) -> bool {
        !self.left_behind.segments.is_empty()
    }

    /// Counts the segments that have moved, and all that move, while they do: once, and again when
    /// other groups move.
    pub(super) fn count_moved(&mut self) {
        let groups = self.groups.keys().copied();
        let moves = self.config.relocation.moves;
        self.moved = moves.then(|| self.config.segments_moved(groups));
    }
}

/// Whether what was told may still be answered.
fn was_told(told: Option<Instant>, now: Instant) -> bool {
    told.is_some_and(|at| now.since(at) < limits::REPLY_PATIENCE)
}

impl LeftBehind {
    fn add(&mut self, node: NodeId, group: GroupId) {
        self.segments.entry(node).or_default().insert(group);
        // One more is told at once.
        self.told_at = None;
    }

    fn remove(&mut self, node: NodeId, group: GroupId) {
        if let Some(segments) = self.segments.get_mut(&node) {
            segments.remove(&group);
            if segments.is_empty() {
                self.segments.remove(&node);
            }
        }
    }
}
