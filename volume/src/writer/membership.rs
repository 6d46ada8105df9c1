//! Nodes that come and go while the volume is open: joining, admission of a new directory,
//! leaving.

use super::Writer;
use super::catch_up::Lack;
use super::configuring::{AfterReconfiguration, Reconfiguration};
use super::groups::ProtectionGroup;
use super::node_view::{NodeView, Phase};
use crate::config::SEGMENTS;
use crate::ids::{GroupId, NodeId, VolumeEpoch};
use crate::lsn::Lsn;
use crate::message::{Report, Request, RequestId};
use crate::quorum::{READ_QUORUM, WRITE_QUORUM};
use crate::status::{NodeState, OUTBID, VolumeState};
use crate::time::Instant;

impl Writer {
    /// A node can be reached: its directory is there, or is there again, or was made anew.
    pub fn node_up(&mut self, _now: Instant, node: NodeId) {
        if self.kept_out.contains(&node) {
            self.nodes[node.index()] = NodeView::kept_out();
            return;
        }
        self.nodes[node.index()] = NodeView::joining();
        self.health.forget(node);
        if self.config.is_successor(node) {
            self.begin_replacement(self.config.seat(node));
        }
        if self.epoch.number > 0 {
            let epoch = self.epoch;
            self.send(node, Request::Promise { epoch });
        }
    }

    /// A node has fenced itself, or what it holds cannot be used any more: it is gone until it is
    /// made anew.
    pub fn node_failed(&mut self, now: Instant, node: NodeId, reason: &str) {
        self.node_down(now, node, reason);
        self.nodes[node.index()].has_failed = true;
    }

    /// Why a node that is gone cannot be brought back now: whether because of what it holds.
    pub fn node_unusable(&mut self, node: NodeId, has_failed: bool, reason: &str) {
        let view = &mut self.nodes[node.index()];
        if view.phase == Phase::Down {
            view.has_failed |= has_failed;
            view.reason = Some(reason.to_owned());
        }
    }

    /// A node is gone: what it said no longer counts.
    pub fn node_down(&mut self, now: Instant, node: NodeId, reason: &str) {
        self.nodes[node.index()] = NodeView::gone(reason);
        self.health.forget(node);
        self.groups
            .values_mut()
            .for_each(|group| group.forget(node));
        self.catch_up.drop_node(node);
        self.repairs.drop_node(node);
        self.recovery_node_down(now, node);
        self.reask_reads_of(node);
        if let Some(change) = &mut self.reconfiguring {
            change.asked.remove(&node);
            change.held_by.remove(&node);
        }
        self.review(now);
    }

    /// A node with too much outstanding gets no more frames; what it has proved stays true.
    pub(super) fn leave_behind(&mut self, node: NodeId) {
        let view = &mut self.nodes[node.index()];
        view.phase = Phase::Behind;
        let reason = match view.is_full {
            true => NodeState::Full.meaning(),
            false => "it took so long that it was left behind, and is to catch up",
        };
        view.reason = Some(reason.to_owned());
        self.health.left_behind(self.now, node);
        self.review(self.now);
    }

    /// Lets a node that was left behind join again when it has worked off what it had.
    pub(super) fn rejoin_nodes(&mut self) {
        for node in self.addresses() {
            let view = &self.nodes[node.index()];
            let is_done = view.phase == Phase::Behind && view.outstanding_bytes == 0;
            if is_done && self.has_rested(node) {
                self.ask_to_join(node);
            }
        }
        let waiting = self
            .config
            .node_ids()
            .find(|node| self.nodes[node.index()].phase == Phase::Admitting);
        if let Some(node) = waiting {
            self.admit_incarnation(node);
        }
    }

    pub(super) fn ask_to_join(&mut self, node: NodeId) {
        self.nodes[node.index()].phase = Phase::Promising;
        let epoch = self.epoch;
        self.send(node, Request::Promise { epoch });
    }

    /// A node that joins has promised.
    pub(super) fn join(&mut self, node: NodeId, report: &Report) {
        let view = &mut self.nodes[node.index()];
        if view.phase != Phase::Promising {
            return;
        }
        view.incarnation = Some(report.incarnation);
        view.fresh = report.fresh;
        view.heard(report);
        if self.config.is_drained(node) {
            self.node_down(self.now, node, NodeState::Drained.meaning());
        } else if self.config.is_successor(node) {
            self.join_to_succeed(node, report);
        } else if self.config.nodes[node.index()].incarnation == report.incarnation {
            self.hold_list(node);
        } else if !report.fresh {
            // It was replaced while it was away, and what was annulled since may be in its log.
            let now = self.now;
            self.node_failed(now, node, "its directory is of an earlier life");
        } else {
            self.nodes[node.index()].phase = Phase::Admitting;
            self.admit_incarnation(node);
        }
    }

    pub(super) fn hold_list(&mut self, node: NodeId) {
        self.nodes[node.index()].phase = Phase::Listing;
        self.send_list(node);
    }

    pub(super) fn send_list(&mut self, node: NodeId) {
        let (epoch, list, config) = (self.epoch, self.list.clone(), self.config.clone());
        let as_successor = self.config.is_successor(node);
        self.nodes[node.index()].sent_config = config.version;
        self.send(
            node,
            Request::HoldList {
                epoch,
                list,
                config,
                as_successor,
            },
        );
    }

    /// Whether a node lacks something, beside a segment that is on its way to it.
    fn lacks_of_its_own(&self, node: NodeId) -> bool {
        let own = |group: GroupId| !self.is_coming(node, group);
        self.catch_up.lacks_any(node, own)
    }

    /// Asks the others to admit a new directory: four of them, or all three that are left
    /// (DESIGN §7.8). What its predecessor said is forgotten first.
    fn admit_incarnation(&mut self, node: NodeId) {
        let gives_way = |change: &Reconfiguration| {
            use AfterReconfiguration::{Enlarge, Relocate};
            matches!(change.then, Enlarge | Relocate)
        };
        if !self.reconfiguring.as_ref().is_none_or(gives_way) || !self.is_open() {
            return;
        }
        let Some(incarnation) = self.nodes[node.index()].incarnation else {
            return;
        };
        self.groups
            .values_mut()
            .for_each(|group| group.forget(node));
        let mut config = self.config.clone();
        config.nodes[node.index()].incarnation = incarnation;
        self.reconfigure(config, AfterReconfiguration::Admit(node));
    }

    /// A node that joins holds the list.
    pub(super) fn joined(&mut self, now: Instant, node: NodeId, scls: &[(GroupId, Lsn)]) {
        let view = &mut self.nodes[node.index()];
        let was_examined = std::mem::take(&mut view.is_examined);
        let joins = view.phase == Phase::Listing;
        let is_asked = joins || was_examined && view.is_streaming();
        if !is_asked {
            return;
        }
        if self.nodes[node.index()].fresh {
            return self.mark_fresh(node);
        }
        self.stream(node);
        self.note_strays(node);
        let held: Vec<GroupId> = self.groups_of(node);
        for group in held {
            if self.is_coming(node, group) {
                self.want_all(node, group);
                continue;
            }
            let at = scls.binary_search_by_key(&group, |(group, _)| *group);
            let unseen = joins && self.nodes[node.index()].had_not_seen(group);
            let scl = at.ok().map(|at| scls[at].1);
            self.take_stock(node, group, scl.or(unseen.then_some(Lsn::NONE)));
        }
        self.review(now);
    }

    /// A segment is current, or its lack is to be filled.
    pub(super) fn take_stock(&mut self, node: NodeId, group: GroupId, scl: Option<Lsn>) {
        let Some(view) = self.groups.get_mut(&group) else {
            return;
        };
        let reported = &self.nodes[node.index()].incomplete;
        match scl {
            Some(scl) => view.on_complete(node, scl),
            None if view.tip.is_some() || reported.contains(&group) => view.forget(node),
            None => {}
        }
        if !view.is_current(node) {
            let since = scl.unwrap_or(Lsn::NONE);
            self.catch_up.want(Lack { node, group, since });
        }
    }

    /// A group begins to exist. Its members have everything up to nothing, but for those whose
    /// segment was being filled when the group was annulled as a whole.
    pub(super) fn begin_group(&mut self, group: GroupId) {
        let view = self.new_group(group, Lsn::NONE);
        let members = view.members;
        self.groups.insert(group, view);
        if group < self.config.relocation.first_new {
            self.count_moved();
        }
        for node in members {
            if self.nodes[node.index()].incomplete.contains(&group) {
                self.take_stock(node, group, None);
            }
        }
    }

    /// A directory without data marks every group that exists, before it counts for any.
    fn mark_fresh(&mut self, node: NodeId) {
        self.nodes[node.index()].phase = Phase::Marking;
        let tip = |group: &GroupId| self.groups.get(group).map_or(Lsn::NONE, |view| view.tip);
        let groups: Vec<(GroupId, Lsn)> = self
            .groups_of(node)
            .iter()
            .map(|group| (*group, tip(group)))
            .collect();
        let (copy, now) = (self.new_request(), self.now);
        self.nodes[node.index()].marking = Some(copy);
        for (group, base) in &groups {
            if let Some(view) = self.groups.get_mut(group) {
                view.forget(node);
            }
            let lack = Lack {
                node,
                group: *group,
                since: Lsn::NONE,
            };
            self.catch_up.begun(lack, *base, copy, now);
        }
        let epoch = self.epoch;
        self.send(
            node,
            Request::BeginCatchUp {
                epoch,
                copy,
                anew: false,
                groups,
            },
        );
    }

    /// The marks of a fresh directory are durable: it takes frames from here on.
    pub(super) fn marked(&mut self, now: Instant, node: NodeId, copy: RequestId) {
        let view = &self.nodes[node.index()];
        if view.phase == Phase::Marking && view.marking == Some(copy) {
            self.nodes[node.index()].fresh = false;
            self.stream(node);
            // Records that became durable since the marks were sent came to it neither way.
            for group in self.groups_of(node) {
                let tip = self.groups.get(&group).map_or(Lsn::NONE, |view| view.tip);
                if tip > self.catch_up.base_of(node, group).unwrap_or_default() {
                    self.take_stock(node, group, None);
                    self.catch_up.begin_again(node, group);
                }
            }
            self.review(now);
        }
    }

    fn stream(&mut self, node: NodeId) {
        self.outbid_on.remove(&node);
        let view = &mut self.nodes[node.index()];
        view.phase = Phase::Streaming;
        view.reason = None;
        view.outstanding_bytes = 0;
        self.health.frames_dropped(node);
        // What it reads of its own log it may take into its index only up to here; when all nodes
        // come back there is nobody else to tell it.
        self.announce_to(node);
        self.resend_pending(node);
    }

    fn groups_of(&self, node: NodeId) -> Vec<GroupId> {
        let held = self.groups.iter().filter(|(_, view)| view.is_held_by(node));
        held.map(|(group, _)| *group).collect()
    }

    pub(super) fn streaming_nodes(&self) -> Vec<NodeId> {
        let streaming = |node: &NodeId| self.nodes[node.index()].is_streaming();
        self.addresses().into_iter().filter(streaming).collect()
    }

    /// How many members of a placement are accepted, where they are fewest.
    pub(super) fn fewest_of_a_placement(&self, accept: impl Fn(NodeId) -> bool) -> usize {
        let counts = self
            .placements
            .iter()
            .map(|members| members.iter().filter(|node| accept(**node)).count());
        counts.min().unwrap_or(0)
    }

    /// Judges anew whether writes can become durable.
    pub(super) fn review(&mut self, now: Instant) {
        let streaming = |node: NodeId| self.nodes[node.index()].is_streaming();
        let writable =
            self.can_change_nodes() && self.groups.values().all(|group| group.can_write(streaming));
        self.unwritable_since = match (writable, self.unwritable_since) {
            (true, _) => None,
            (false, since) => since.or(Some(now)),
        };
        self.writable = writable;
    }

    /// Another writer's epoch is promised: this one can do nothing there any more.
    pub(super) fn on_refused(&mut self, now: Instant, from: NodeId, promised: VolumeEpoch) {
        if promised != self.epoch && promised.number >= self.epoch.number {
            if self.recovery.is_some() {
                return self.recovery_refused(now, promised);
            }
            self.outbid_on.insert(from);
            self.node_down(now, from, OUTBID);
        }
    }

    /// Whether another writer may have opened the volume: it was promised more than this one, and may
    /// have been by three of every placement. What it wrote since nobody tells this one.
    pub(super) fn may_be_superseded(&self) -> bool {
        let streaming = |node: &&NodeId| self.nodes[node.index()].is_streaming();
        let has_four =
            |six: &[NodeId; SEGMENTS]| six.iter().filter(streaming).count() >= WRITE_QUORUM;
        !self.outbid_on.is_empty() && !self.placements.iter().any(has_four)
    }

    /// Health of the volume: that of its worst group.
    pub(super) fn state(&self) -> VolumeState {
        if self.may_be_superseded() {
            return VolumeState::Unreadable;
        }
        let count = |group: &ProtectionGroup| {
            let able = group.members.iter().filter(|node| {
                self.nodes[node.index()].is_streaming() && group.is_complete(**node)
            });
            let able = able.count();
            match group.is_settled() {
                true => able,
                false => able.min(READ_QUORUM),
            }
        };
        let placed = self.fewest_of_a_placement(|node| self.nodes[node.index()].is_streaming());
        match self
            .groups
            .values()
            .map(count)
            .chain([placed])
            .min()
            .unwrap_or(0)
        {
            SEGMENTS.. => VolumeState::Healthy,
            WRITE_QUORUM.. => VolumeState::Degraded,
            READ_QUORUM => VolumeState::ReadOnly,
            _ => VolumeState::Unreadable,
        }
    }

    /// Whether three others of every group prove everything that is durable: the node may be made
    /// anew, and they can fill it.
    pub fn can_do_without(&self, node: NodeId) -> bool {
        let serves = |other: NodeId| other != node && self.nodes[other.index()].is_reachable();
        let mut held = self.groups.iter().filter(|(_, view)| view.is_held_by(node));
        self.is_open()
            && self.fewest_of_a_placement(serves) >= READ_QUORUM
            && held.all(|(group, view)| {
                let proves = |other: NodeId| serves(other) && view.is_current(other);
                self.fewest_of_group(*group, view, proves) >= READ_QUORUM
            })
    }

    /// How many are accepted of the six that hold a group, or of those that do by a configuration that
    /// may be found after a crash, where they are fewest.
    pub(super) fn fewest_of_group(
        &self,
        group: GroupId,
        view: &ProtectionGroup,
        accept: impl Fn(NodeId) -> bool,
    ) -> usize {
        let named = self.named_members(group);
        let sixes = [view.members].into_iter().chain(named);
        let counts = sixes.map(|six| six.iter().filter(|node| accept(**node)).count());
        counts.min().unwrap_or(0)
    }

    /// Whether a node's file system has no room left for its log.
    pub fn is_full(&self, node: NodeId) -> bool {
        self.nodes[node.index()].is_full
    }

    pub(super) fn node_state(&self, node: NodeId) -> (NodeState, Option<String>) {
        let view = &self.nodes[node.index()];
        let state = match view.phase {
            _ if self.config.is_drained(node) => NodeState::Drained,
            Phase::Down if view.has_failed => NodeState::Failed,
            Phase::Down => NodeState::Missing,
            _ if view.is_full => NodeState::Full,
            Phase::Streaming if self.lacks_of_its_own(node) => self.catch_up.state(node),
            Phase::Streaming if self.health.is_slow(node) => NodeState::Slow,
            Phase::Streaming => NodeState::Up,
            _ if view.fresh => NodeState::Rebuilding,
            _ => NodeState::Lagging,
        };
        let reason = view.reason.clone();
        (state, reason.or_else(|| self.reason_of(node, state)))
    }

    /// Whether a node has everything up to the VDL of every group that it is a member of.
    pub fn holds_everything(&self, node: NodeId) -> bool {
        let mut held = (self.groups.values()).filter(|group| group.members.contains(&node));
        held.all(|group| group.is_current(node))
    }

    pub(super) fn on_segment_damaged(&mut self, from: NodeId, group: GroupId) {
        let Some(view) = self.groups.get_mut(&group) else {
            return;
        };
        if !view.is_held_by(from) {
            // What is left of a segment that has moved.
            return;
        }
        view.forget(from);
        if self.is_open() {
            self.catch_up.begin_again(from, group);
        } else {
            self.catch_up.give_up(from, group);
        }
        self.review(self.now);
    }
}
