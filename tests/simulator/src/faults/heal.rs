//! How faults end.

use super::{Faults, Later};
use crate::cluster::{Cluster, WriterProcess};
use crate::disk::OneShot;
use crate::random::Rate;
use redoubt_volume::ids::NodeId;
use redoubt_volume::status::VolumeState;
use std::time::Duration;

/// The end of a fault.
#[derive(Clone, Debug)]
pub enum Heal {
    /// Somebody starts the node's process again.
    Start(NodeId),
    /// The same, when the writer that opened the volume without the node dies.
    StartForNextWriter(NodeId),
    /// The node's directory is made anew, when that is safe.
    Replace(NodeId),
    /// The disk goes on.
    Unstick(NodeId),
    /// The disk is fast again.
    Unslow(NodeId),
    /// There is space again.
    Space(NodeId),
    /// The node can be reached again.
    Mend(NodeId),
    /// Messages to the node are fast again.
    UnslowPeer(NodeId),
    /// The node's process has gone on.
    Back(NodeId),
    /// What was to happen to an access did not come to it in time.
    Disarm(NodeId, OneShot),
}

impl Faults {
    /// Ends a fault; what must be tried again later.
    pub fn heal(&mut self, cluster: &mut Cluster, heal: Heal) -> Option<Later> {
        match heal {
            Heal::Start(node) => {
                cluster.snuff_fuse(node);
                cluster.hosts[node.index()].dies_behind_fold = false;
                cluster.hosts[node.index()].held_down = false;
                if cluster.hosts[node.index()].node.is_none() {
                    cluster.start_node(node);
                }
                self.budget.returns(node);
            }
            Heal::StartForNextWriter(node) => return self.start_for_next(cluster, node),
            Heal::Replace(node) => return self.replace(cluster, node),
            Heal::Unstick(node) => {
                cluster.unstick(node);
                self.budget.returns(node);
            }
            Heal::Unslow(node) => {
                if let Some(disk) = &mut cluster.hosts[node.index()].disk {
                    disk.damage.slowness = 1;
                }
                self.budget.returns(node);
            }
            Heal::Space(node) => {
                if let Some(disk) = &mut cluster.hosts[node.index()].disk {
                    disk.damage.capacity = None;
                }
            }
            Heal::Mend(node) => {
                cluster.mend(node);
                self.budget.returns(node);
            }
            Heal::UnslowPeer(node) => {
                cluster.network.set_slow(node, None);
                self.budget.returns(node);
            }
            Heal::Back(node) => self.budget.returns(node),
            Heal::Disarm(node, shot) => {
                if let Some(disk) = &mut cluster.hosts[node.index()].disk
                    && disk.damage.armed.contains(&shot)
                {
                    disk.damage.armed.retain(|armed| *armed != shot);
                    self.budget.spared(node);
                }
            }
        }
        None
    }

    fn start_for_next(&mut self, cluster: &mut Cluster, node: NodeId) -> Option<Later> {
        if cluster.configures_only.take().is_none() {
            let open = |process: &&WriterProcess| process.writer.is_open();
            let Some(writer) = cluster.writers.iter().rfind(open) else {
                return Some(Later {
                    after: Duration::from_millis(300),
                    heal: Heal::StartForNextWriter(node),
                });
            };
            cluster.crash_writer(writer.id);
        }
        self.heal(cluster, Heal::Start(node))
    }

    /// Makes a directory anew as an operator would: only while enough others are whole.
    fn replace(&mut self, cluster: &mut Cluster, node: NodeId) -> Option<Later> {
        if !self.budget.is_bad(node) || cluster.is_drained(node) {
            return None;
        }
        let again = Later {
            after: Duration::from_millis(300),
            heal: Heal::Replace(node),
        };
        let writer = cluster
            .writers
            .iter()
            .rev()
            .find(|process| process.writer.is_open());
        let Some(process) = writer else {
            return Some(again);
        };
        let state = process.writer.figures().state;
        let is_running = cluster.hosts[node.index()].node.is_some();
        let safe = matches!(state, VolumeState::Degraded | VolumeState::ReadOnly)
            || (state == VolumeState::Healthy && is_running);
        if !safe {
            return Some(again);
        }
        if is_running {
            // The writer must know that it is gone before a new one comes.
            cluster.stop_node(node);
            cluster.hosts[node.index()].held_down = true;
            return Some(again);
        }
        cluster.hosts[node.index()].held_down = false;
        cluster.replace_directory(node);
        cluster.start_node(node);
        None
    }

    /// Ends everything that is still wrong: from here on the volume must heal by itself.
    pub fn heal_all(&mut self, cluster: &mut Cluster) {
        cluster.network.weather = crate::network::Weather::default();
        cluster.slow_reads = Rate::NEVER;
        cluster.configures_only = None;
        cluster.snuff_writers_fuses();
        for index in 0..cluster.hosts.len() {
            let node = NodeId(index as u16);
            if let Some(disk) = &mut cluster.hosts[index].disk {
                disk.damage.armed.clear();
                disk.damage.capacity = None;
                disk.damage.slowness = 1;
            }
            cluster.hosts[index].dies_behind_fold = false;
            cluster.hosts[index].held_down = false;
            cluster.snuff_fuse(node);
            cluster.network.set_slow(node, None);
            cluster.unstick(node);
            cluster.mend(node);
            cluster.resume_node(node);
        }
    }
}
