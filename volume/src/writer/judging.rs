//! What follows from how nodes are doing (see [`super::health`]): who is judged when, who is left
//! behind, what status says.

use super::Writer;
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::quorum::WRITE_QUORUM;
use crate::status::NodeState;
use crate::time::Instant;

impl Writer {
    /// Time has passed: judges every node, and leaves those behind that do not answer any more.
    pub(super) fn judge_nodes(&mut self, now: Instant) {
        let reads = self.reads_owed(now);
        for node in self.config.node_ids() {
            if self.catch_up.is_busy_with(node) {
                self.health.being_filled(now, node);
            }
            let frames = self.health.owes_since(node);
            let owes = reads.get(&node).copied().into_iter().chain(frames).min();
            self.health.judge(now, node, owes);
            let is_lost = frames.is_some_and(|at| now.since(at) > limits::STUCK_GIVEN_UP);
            if is_lost && self.nodes[node.index()].is_streaming() && self.can_spare(node) {
                self.leave_behind(node);
            }
        }
    }

    /// Whether writes go on without a node, on four others of every group that answer.
    fn can_spare(&self, node: NodeId) -> bool {
        let answers = |other: NodeId| {
            let view = &self.nodes[other.index()];
            other != node && view.is_streaming() && !view.is_full && !self.health.is_slow(other)
        };
        self.fewest_of_a_placement(answers) >= WRITE_QUORUM
            && self.groups.values().all(|group| group.can_write(answers))
    }

    /// Whether a node that was left behind may join again.
    pub(super) fn has_rested(&self, node: NodeId) -> bool {
        let is_full = !self.nodes[node.index()].can_be_filled();
        self.health.has_rested(self.now, node, is_full)
    }

    /// Whether a node answers far more slowly than the others.
    pub fn is_slow(&self, node: NodeId) -> bool {
        self.health.is_slow(node)
    }

    /// Whether a node can answer reads of a group.
    pub fn is_current(&self, node: NodeId, group: GroupId) -> bool {
        let view = self.groups.get(&group);
        view.is_some_and(|view| view.is_current(node))
            && self.nodes[node.index()].is_reachable()
            && self.knows_vdl(node)
    }

    /// Whether a node can answer reads of a group, and as fast as most.
    pub fn is_fit(&self, node: NodeId, group: GroupId) -> bool {
        self.is_current(node, group) && self.health.is_fit(self.now, node)
    }

    /// What is wrong with a node, where nothing else was said.
    pub(super) fn reason_of(&self, node: NodeId, state: NodeState) -> Option<String> {
        match state {
            NodeState::Slow => Some(self.health.describe(self.now, node)),
            NodeState::Up if self.health.is_doubtful(node) => {
                Some("many reads of it did not check: others are asked first".to_owned())
            }
            NodeState::Up => None,
            state => Some(state.meaning().to_owned()),
        }
    }
}
