//! Replacements of nodes, and what goes wrong with them.

use super::budget::Harm;
use super::{Faults, RunAction};
use crate::cluster::Cluster;
use redoubt_volume::ids::NodeId;

impl Faults {
    /// A new disk is put beside a node to take its place; or something happens to one that is there.
    pub(super) fn replace_node(&mut self, cluster: &mut Cluster) -> Option<RunAction> {
        let node = self.some_seat(cluster)?;
        if !cluster.is_replaced(node) {
            if !self.budget.allows_harm(&[node], Harm::Destroyed) {
                return None;
            }
            self.budget.is_replaced(node);
            return cluster
                .begin_replacement(node)
                .then_some(RunAction::Nothing);
        }
        match self.random.below(4) {
            0 => cluster.abort_replacement(node),
            1 => cluster.lose_successor(node),
            _ => cluster.crash_successor(node),
        }
        Some(RunAction::Nothing)
    }

    /// Mostly one that is being replaced; also one whose own directory is gone.
    fn some_seat(&mut self, cluster: &Cluster) -> Option<NodeId> {
        let nodes = (0..cluster.seats() as u16).map(NodeId);
        let (replaced, others): (Vec<_>, Vec<_>) = nodes.partition(|n| cluster.is_replaced(*n));
        let some = match self.random.one_in(3) {
            true => &others,
            false if replaced.is_empty() => &others,
            false => &replaced,
        };
        self.random.pick(some).copied()
    }
}
