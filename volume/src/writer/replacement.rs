//! Another directory takes the place of a node while the volume is used (SIGMOD'18 §4.1).
//!
//! The new directory, the node's *successor*, has an address of its own behind those of the nodes.
//! It is filled like any other new directory and gets every frame, and it counts for nothing: no
//! quorum, no read, no recovery knows of it. So the replacement can be called off at any moment, and
//! a crash ends it, but for what [`Writer::keep_out`] is about.
//!
//! When the successor is filled, what is written counts only where four of the six that are and four
//! of the six that will be hold it, which is the same as to count the node for what both it and its
//! successor hold. When the successor also holds all that counted before that, the two are exchanged:
//! a configuration that names the successor's life in the node's place is made durable by the same
//! rule. A crash meanwhile leaves the old configuration or the new one to be found, and the same
//! records are durable in both. After that the old directory is of an earlier life.
//!
//! A successor that is lost before its configuration is durable must not come back as another life
//! that counts in its name: a configuration that names the node again is made durable over it, by the
//! same rule, and the replacement begins anew.

use super::Writer;
use super::WriterEffect;
use super::configuring::AfterReconfiguration;
use super::groups::ProtectionGroup;
use crate::ids::{GroupId, Incarnation, NodeId};
use crate::lsn::Lsn;
use crate::message::Report;
use crate::status::NodeState;
use crate::time::Instant;

/// How far a replacement has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The successor is being filled.
    Filling,
    /// The node counts for what its successor holds, too; it can still be called off.
    Joint,
    /// The configuration that names this life of the successor is on its way.
    Exchanging(Incarnation),
    /// So is one that names the node again: the successor of this life is lost, or called off.
    TakingBack(Incarnation),
}

impl Stage {
    /// The life of the successor that a configuration names which may be found after a crash.
    fn named(self) -> Option<Incarnation> {
        match self {
            Stage::Exchanging(life) | Stage::TakingBack(life) => Some(life),
            Stage::Filling | Stage::Joint => None,
        }
    }
}

impl Writer {
    /// Everybody who may be sent something: nodes, and the successors of those that are replaced.
    pub(super) fn addresses(&self) -> Vec<NodeId> {
        let replaced = self.replacing.keys();
        let successors = replaced.map(|node| self.config.successor(*node));
        self.config.node_ids().chain(successors).collect()
    }

    /// Whether a configuration may be found after a crash that names the node's successor in its
    /// place: what counts as durable with the node the successor holds, too.
    pub fn is_exchanged(&self, node: NodeId) -> bool {
        let stage = self.replacing.get(&node);
        stage.is_some_and(|stage| stage.named().is_some())
    }

    /// A group as the writer begins to see it.
    pub(super) fn new_group(&self, group: GroupId, tip: Lsn) -> ProtectionGroup {
        let mut view = ProtectionGroup::new(self.config.members(group), tip);
        if let Some(named) = &self.named {
            for (from, to) in self.config.exchanges(&named.config, group) {
                view.add_successor(from, to);
                view.join_successor(from);
            }
        }
        for node in self.replacing.keys() {
            view.add_successor(*node, self.config.successor(*node));
            if self.replacing.get(node) != Some(&Stage::Filling) {
                view.join_successor(*node);
            }
        }
        view
    }

    /// Before an open: a directory was to take this node's place, cannot be reached now, and no
    /// configuration was found that names it. One may be on a node that was not there, and whoever finds
    /// both later counts without this node. So it counts for nothing until four others hold the
    /// configuration of this open, which is newer: of any three others that somebody finds then one has it.
    pub fn keep_out(&mut self, node: NodeId) {
        self.kept_out.insert(node);
    }

    /// Lets in who was kept out, once four others have what this open has chosen.
    pub(super) fn let_in(&mut self, now: Instant) {
        if self.kept_out.is_empty() || !self.can_change_nodes() {
            return;
        }
        for node in std::mem::take(&mut self.kept_out) {
            if self.nodes[node.index()].is_kept_out {
                self.node_up(now, node);
            }
        }
    }

    /// A new directory is there that is to take the place of a node, or comes back.
    pub(super) fn begin_replacement(&mut self, node: NodeId) {
        self.replacing.entry(node).or_insert(Stage::Filling);
        let successor = self.config.successor(node);
        for view in self.groups.values_mut() {
            view.add_successor(node, successor);
            view.forget(successor);
        }
    }

    /// A successor has promised. It must be new, or hold this writer's list: nobody remembers for it
    /// what was annulled at an open that it missed, since it is no member.
    pub(super) fn join_to_succeed(&mut self, successor: NodeId, report: &Report) {
        let (now, node) = (self.now, self.config.seat(successor));
        let stage = self.replacing.get(&node).copied();
        let named = stage.and_then(Stage::named);
        if named.is_some_and(|named| named != report.incarnation) {
            self.node_down(now, successor, "the one before it must be taken back first");
            self.take_back(node);
        } else if report.fresh || report.list.epoch == self.list.epoch {
            self.hold_list(successor);
        } else {
            self.node_down(now, successor, "it missed an open, and must begin anew");
        }
    }

    /// Names the node again in a configuration above the one that names its successor, which may be
    /// on some nodes already.
    fn take_back(&mut self, node: NodeId) {
        let Some(Stage::Exchanging(life)) = self.replacing.get(&node).copied() else {
            return;
        };
        self.replacing.insert(node, Stage::TakingBack(life));
        self.reconfigure(self.config.clone(), AfterReconfiguration::TakeBack(node));
    }

    /// Nothing takes the place of this node any more. `false` while a configuration must be taken
    /// back for that: it is called off by asking again.
    pub fn abort_replacement(&mut self, now: Instant, node: NodeId) -> bool {
        if self.is_exchanged(node) {
            self.take_back(node);
            return false;
        }
        self.forget_successor(now, node, "its replacement was called off");
        true
    }

    fn forget_successor(&mut self, now: Instant, node: NodeId, reason: &str) {
        self.node_down(now, self.config.successor(node), reason);
        self.replacing.remove(&node);
        let successor = self.config.successor(node);
        for view in self.groups.values_mut() {
            view.drop_successor(node, successor);
        }
    }

    /// Takes replacements one step further, or back where a successor has failed.
    pub(super) fn replacement_next(&mut self) {
        if self.policy.read_only {
            return;
        }
        for (node, stage) in self.replacing.clone() {
            let is_ready = self.is_filled(node) && self.can_write_jointly(node);
            match stage {
                // A group counts for one exchange at a time.
                Stage::Filling if self.named.is_some() => {}
                Stage::Filling if is_ready => self.join_both(node),
                Stage::Joint if !is_ready => self.part_both(node),
                Stage::Joint if self.reconfiguring.is_none() => self.exchange(node),
                _ => {}
            }
        }
    }

    fn groups_held_by(&self, node: NodeId) -> impl Iterator<Item = &ProtectionGroup> {
        self.groups
            .values()
            .filter(move |view| view.members.contains(&node))
    }

    fn is_filled(&self, node: NodeId) -> bool {
        let successor = self.config.successor(node);
        self.nodes[successor.index()].is_streaming()
            && self
                .groups_held_by(node)
                .all(|view| view.is_complete(successor))
    }

    /// Whether writes stay durable when both must hold them.
    fn can_write_jointly(&self, node: NodeId) -> bool {
        let streams = |node: NodeId| self.nodes[node.index()].is_streaming();
        self.groups_held_by(node).all(|view| {
            let mut joint = view.clone();
            joint.join_successor(node);
            joint.can_write(streams)
        })
    }

    fn join_both(&mut self, node: NodeId) {
        self.replacing.insert(node, Stage::Joint);
        for view in self.groups.values_mut() {
            view.join_successor(node);
        }
        self.review(self.now);
    }

    pub(super) fn part_both(&mut self, node: NodeId) {
        self.replacing.insert(node, Stage::Filling);
        for view in self.groups.values_mut() {
            view.part_successor(node);
        }
        self.advance();
        self.review(self.now);
    }

    /// Sends the configuration, once the successor holds all that counted without it.
    fn exchange(&mut self, node: NodeId) {
        let successor = self.config.successor(node);
        let Some(life) = self.nodes[successor.index()].incarnation else {
            return;
        };
        let has_all = self
            .groups_held_by(node)
            .all(|view| view.may_take_over(node));
        if !has_all {
            return;
        }
        self.replacing.insert(node, Stage::Exchanging(life));
        let mut config = self.config.clone();
        config.nodes[node.index()].incarnation = life;
        self.reconfigure(config, AfterReconfiguration::Seat(node));
    }

    /// The configuration that names the successor is durable. It joins as the node that it is now.
    pub(super) fn seat_successor(&mut self, now: Instant, node: NodeId) {
        self.kept_out.remove(&node);
        self.forget_successor(now, node, "it takes the place of the node");
        self.node_down(now, node, "another directory has taken its place");
        self.effects.push_back(WriterEffect::Seated(node));
    }

    /// Nodes that are replaced, with the state of their successors.
    pub(super) fn replacement_figures(&self) -> Vec<(NodeId, NodeState, Option<String>)> {
        let figures = |node: &NodeId| {
            let (state, reason) = self.node_state(self.config.successor(*node));
            (*node, state, reason)
        };
        self.replacing.keys().map(figures).collect()
    }
}
