//! Replacements of nodes, and what goes wrong with them; nodes that come and go.

use super::budget::Harm;
use super::inject::Injected;
use super::{FaultKind, Faults, RunAction};
use crate::cluster::Cluster;
use redoubt_volume::ids::NodeId;

/// A volume with more nodes does not grow any more.
const MOST_SEATS: usize = 12;

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

    /// Nodes come to the volume, groups spread over them, or leave one. Nobody may say no but the
    /// writer.
    pub(super) fn move_groups(&mut self, kind: FaultKind, cluster: &mut Cluster) -> Injected {
        let mut action = RunAction::Nothing;
        match kind {
            FaultKind::AddNodes if cluster.seats() > MOST_SEATS => return None,
            FaultKind::AddNodes => {
                let spread = !self.random.one_in(3);
                cluster.start_widening(spread)?;
                // They are there from the next open on, and nothing else changes before that.
                action = RunAction::LightFuse(self.random.between(10, 400) as u32);
            }
            FaultKind::SpreadGroups => drop(cluster.start_spreading()?),
            _ => {
                let node = NodeId(self.random.index(cluster.seats()) as u16);
                cluster.start_draining(node)?;
            }
        }
        Some((action, Vec::new()))
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
