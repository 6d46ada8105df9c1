//! Nodes that come to a volume and go from it: what the volume's driver does about them.

use super::{Cluster, Host};
use crate::coverage::Mark;
use crate::disk::MemoryDisk;
use redoubt_volume::config::{NodeEntry, ZONES};
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::ids::{Incarnation, NodeId, ZoneId};
use redoubt_volume::writer::Ticket;

/// Deaths that no disk's completion can have been of.
const NEW_LIFE: u64 = 1 << 40;

impl Cluster {
    /// Somebody adds a node to each zone. They are there from the next open on.
    pub fn start_widening(&mut self) -> Option<Ticket> {
        let id = self.open_writer()?.id;
        let entries = (0..ZONES as u8).map(|zone| {
            self.incarnations += 1;
            NodeEntry::new(ZoneId(zone), Incarnation(self.incarnations))
        });
        let entries = entries.collect();
        self.request(id, |writer, _, ticket| writer.widen(ticket, entries, false))
    }

    /// Somebody has the groups spread over all nodes.
    pub fn start_spreading(&mut self) -> Option<Ticket> {
        let id = self.open_writer()?.id;
        self.request(id, |writer, _, ticket| writer.spread(ticket))
    }

    /// Somebody has groups leave a node.
    pub fn start_draining(&mut self, node: NodeId) -> Option<Ticket> {
        let id = self.open_writer()?.id;
        self.request(id, |writer, _, ticket| writer.drain(ticket, node))
    }

    /// Whether no group is on a node any more, for good.
    pub fn is_drained(&self, node: NodeId) -> bool {
        self.newest_config()
            .is_some_and(|config| config.is_drained(node))
    }

    /// Before an open: the directories of nodes that the newest configuration lists are there. Nobody
    /// knows of successors yet.
    pub(super) fn seat_nodes_that_came(&mut self) {
        let Some(mut config) = self.newest_config() else {
            return;
        };
        let came = config.node_ids().skip(self.seats());
        let came: Vec<NodeId> = came.collect();
        if came.is_empty() {
            return;
        }
        config.version = 0;
        for (node, entry) in came.iter().map(|node| (*node, config.nodes[node.index()])) {
            let superblock = Superblock::new(&config, node, entry.incarnation, false);
            let mut host = Host::of(Some(MemoryDisk::create(&superblock)));
            host.life = NEW_LIFE;
            self.hosts.insert(node.index(), host);
            self.hosts.push(Host::of(None));
        }
        self.tell(|| format!("{came:?} came to the volume"));
        self.coverage.reach(Mark::NodesCame);
    }

    /// A writer has made it durable that no group is on a node. Somebody deletes its directory.
    pub(super) fn on_drained(&mut self, node: NodeId) {
        self.stop_node(node);
        self.hosts[node.index()].disk = None;
        self.tell(|| format!("{node:?} is drained"));
        self.coverage.reach(Mark::NodeDrained);
    }
}
