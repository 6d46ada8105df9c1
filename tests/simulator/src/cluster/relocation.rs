//! Nodes that come to a volume and go from it: what the volume's driver does about them.

use super::{Cluster, Host, WriterProcess};
use crate::coverage::Mark;
use crate::disk::MemoryDisk;
use crate::network::WriterId;
use redoubt_volume::config::{NodeEntry, ZONES};
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::ids::{Incarnation, NodeId, ZoneId};
use redoubt_volume::writer::Ticket;

/// More lives than a machine ever has: completions of what had its number before reach nobody.
const NEW_LIFE: u64 = 1 << 40;

impl Cluster {
    /// Somebody adds a node to each zone. They are there from the next open on.
    pub fn start_widening(&mut self, spread: bool) -> Option<Ticket> {
        let id = self
            .open_writer()
            .filter(|process| process.seats == self.seats())?
            .id;
        let entries = (0..ZONES as u8).map(|zone| {
            self.incarnations += 1;
            NodeEntry::new(ZoneId(zone), Incarnation(self.incarnations))
        });
        let entries: Vec<NodeEntry> = entries.collect();
        self.made
            .extend(entries.iter().map(|entry| entry.incarnation));
        if let Some(process) = self.writer_mut(id) {
            process.is_widening = true;
        }
        self.request(id, |writer, _, ticket| {
            writer.widen(ticket, entries, spread)
        })
    }

    /// Somebody has the groups spread over all nodes.
    pub fn start_spreading(&mut self) -> Option<Ticket> {
        let id = self.open_writer()?.id;
        self.request(id, |writer, _, ticket| writer.spread(ticket))
    }

    /// Somebody has groups leave a node.
    pub fn start_draining(&mut self, node: NodeId) -> Option<Ticket> {
        let knows = |process: &&WriterProcess| node.index() < process.seats;
        let id = self.open_writer().filter(knows)?.id;
        self.request(id, |writer, _, ticket| writer.drain(ticket, node))
    }

    /// Whether no group is on a node any more, for good.
    pub fn is_drained(&self, node: NodeId) -> bool {
        self.newest_config()
            .is_some_and(|config| config.is_drained(node))
    }

    /// Before an open: the directories of nodes that were added are there, and run. Where one life of
    /// the volume knows of more nodes than another, those count for nothing in the other.
    pub(super) fn seat_nodes_that_came(&mut self) {
        let running = self.hosts.iter().filter_map(|host| host.node.as_ref());
        let configs = running.map(|node| node.superblock().config.clone());
        let Some(mut config) = configs.max_by_key(|config| config.version) else {
            return;
        };
        if config.nodes.len() > self.seats() {
            self.add_hosts(config.nodes.len());
        }
        config.version = 0;
        for node in config.node_ids() {
            let life = config.nodes[node.index()].incarnation;
            if self.made.remove(&life) {
                self.stop_node(node);
                let superblock = Superblock::new(&config, node, life, false);
                self.hosts[node.index()].disk = Some(MemoryDisk::create(&superblock));
                self.coverage.reach(Mark::NodesCame);
                self.tell(|| format!("{node:?} has come to the volume"));
            }
        }
        self.start_nodes();
    }

    /// Machines for so many nodes. Successors are made anew behind them, when somebody asks again.
    fn add_hosts(&mut self, seats: usize) {
        for node in (0..self.seats() as u16).map(NodeId) {
            self.drop_successor(NodeId(node.0 + self.seats() as u16));
        }
        let unknown = self.seats() as u16..self.hosts.len() as u16;
        let writers: Vec<WriterId> = self.writers.iter().map(|process| process.id).collect();
        for (writer, node) in writers
            .iter()
            .flat_map(|writer| unknown.clone().map(|node| (*writer, NodeId(node))))
        {
            self.network.disconnect(writer, node);
        }
        self.hosts.resize_with(2 * seats, || Host::of(None));
        for host in &mut self.hosts[usize::from(unknown.start)..] {
            host.life += NEW_LIFE;
        }
    }

    /// A writer has made it durable that no group is on a node. Somebody deletes its directory.
    pub(super) fn on_drained(&mut self, node: NodeId) {
        self.stop_node(node);
        self.hosts[node.index()].disk = None;
        self.tell(|| format!("{node:?} is drained"));
        self.coverage.reach(Mark::NodeDrained);
    }
}
