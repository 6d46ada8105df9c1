//! What a disk holds changes by itself: pages of the log, superblocks.

use super::budget::Harm;
use super::inject::Injected;
use super::{Faults, RunAction};
use crate::cluster::Cluster;
use crate::disk::{File, MemoryDisk, Rot};
use redoubt_volume::ids::{GroupBlock, GroupId, NodeId};

/// Blocks that are looked at until one is there.
const TRIES: usize = 16;

impl Faults {
    pub(super) fn rot(&mut self, cluster: &mut Cluster, kind: Rot) -> Injected {
        let node = self.some_node(cluster)?;
        if !self.budget.allows_harm(&[node], Harm::Rotten) {
            return None;
        }
        let live = match self.random.one_in(2) {
            true => self.live_page(cluster, node),
            false => None,
        };
        let disk = cluster.hosts[node.index()].disk.as_mut()?;
        let places = match live {
            Some(place) => vec![place],
            None => self.some_pages(disk),
        };
        if places.is_empty() {
            return None;
        }
        for place in &places {
            disk.rot(kind, *place, &mut self.random);
        }
        cluster.tell(|| format!("{node:?}: {kind:?} at {places:?}"));
        self.budget.harm(cluster, node, Harm::Rotten, false);
        let later = self.replaced_later(node).into_iter().collect();
        if live.is_some() {
            // What is read by chance is seldom what is damaged: the user asks for a scrub.
            return Some((RunAction::Scrub, later));
        }
        self.shake(cluster, node);
        Some((RunAction::Nothing, later))
    }

    fn some_pages(&mut self, disk: &MemoryDisk) -> Vec<(File, usize)> {
        let count = 1 + self.random.below(4);
        let places = (0..count).filter_map(|_| disk.some_page(&mut self.random));
        places.collect()
    }

    /// A page that the node would read for a block of the beginning of a group.
    fn live_page(&mut self, cluster: &mut Cluster, node: NodeId) -> Option<(File, usize)> {
        let host = cluster.hosts[node.index()].node.as_mut()?;
        let plan = (0..TRIES).find_map(|_| {
            let (group, block) = (self.random.below(2) as u32, self.random.below(64) as u32);
            let plan = host.plan_of(GroupId(group), GroupBlock(block));
            plan.filter(|plan| !plan.pieces.is_empty())
        })?;
        let piece = self.random.pick(&plan.pieces)?;
        Some((File::Extent(piece.slot), piece.file_page as usize))
    }

    /// Half of what is damaged at rest is found by a restart.
    pub(super) fn shake(&mut self, cluster: &mut Cluster, node: NodeId) {
        if self.random.one_in(2) {
            cluster.cut_power_of(node);
        }
    }

    pub(super) fn rot_superblock(&mut self, cluster: &mut Cluster) -> Injected {
        let node = self.some_node(cluster)?;
        if !self.budget.allows_harm(&[node], Harm::Lying) {
            return None;
        }
        self.budget.harm(cluster, node, Harm::Lying, false);
        let disk = cluster.hosts[node.index()].disk.as_mut()?;
        let newest = disk.superblock().map_or(0, |superblock| superblock.slot());
        disk.corrupt(File::Superblock, newest * (64 << 10), 8);
        if self.random.one_in(3) {
            disk.corrupt(File::Superblock, (1 - newest) * (64 << 10), 8);
        }
        self.shake(cluster, node);
        Some((
            RunAction::Nothing,
            self.replaced_later(node).into_iter().collect(),
        ))
    }
}
