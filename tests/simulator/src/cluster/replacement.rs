//! Directories that take a node's place while the volume is used: what the volume's driver does
//! about them.

use super::{Cluster, WriterProcess};
use crate::coverage::Mark;
use crate::network::WriterId;
use redoubt_volume::config::VolumeConfig;
use redoubt_volume::ids::NodeId;
use redoubt_volume::status::NodeState;

impl Cluster {
    /// Nodes of the volume, without successors.
    pub fn seats(&self) -> usize {
        self.hosts.len() / 2
    }

    /// The node whose place an address has, or is to take.
    pub fn seat_of(&self, id: NodeId) -> NodeId {
        NodeId((id.index() % self.seats()) as u16)
    }

    fn successor_of(&self, node: NodeId) -> NodeId {
        NodeId((node.index() + self.seats()) as u16)
    }

    /// Whether a directory is there that is to take the node's place.
    pub fn is_replaced(&self, node: NodeId) -> bool {
        self.hosts[self.successor_of(node).index()].disk.is_some()
    }

    pub(super) fn open_writer(&self) -> Option<&WriterProcess> {
        let open = |process: &&WriterProcess| process.writer.is_open();
        self.writers.iter().rev().find(open)
    }

    /// Somebody puts a new disk beside a node, to take its place. Whether there was a writer to tell.
    pub fn begin_replacement(&mut self, node: NodeId) -> bool {
        let seats = self.open_writer().map(|process| process.seats);
        if seats != Some(self.seats()) || self.is_drained(node) {
            return false;
        }
        self.tell(|| format!("{node:?} is to be replaced"));
        self.replaced.insert(node);
        self.remake_successor(self.successor_of(node));
        true
    }

    fn remake_successor(&mut self, successor: NodeId) {
        self.replace_directory(successor);
        self.start_node(successor);
    }

    /// Somebody calls the replacement off, unless it is too late.
    pub fn abort_replacement(&mut self, node: NodeId) {
        let now = self.now();
        let knows =
            |process: &&mut WriterProcess| process.writer.is_open() && node.index() < process.seats;
        let Some(process) = self.writers.iter_mut().rev().find(knows) else {
            return;
        };
        let (id, called_off) = (process.id, process.writer.abort_replacement(now, node));
        if called_off {
            self.tell(|| format!("the replacement of {node:?} is called off"));
            self.coverage.reach(Mark::ReplacementCalledOff);
            self.drop_successor(self.successor_of(node));
            self.forget_everywhere(node);
        }
        self.pump_writer(id);
    }

    /// A writer that opened meanwhile has seen the successor, too. One from before the node came to the
    /// volume has no place for it.
    fn forget_everywhere(&mut self, node: NodeId) {
        let now = self.now();
        let knows = |process: &&mut WriterProcess| node.index() < process.seats;
        for process in self.writers.iter_mut().filter(knows) {
            process.writer.abort_replacement(now, node);
        }
        let ids: Vec<WriterId> = self.writers.iter().map(|process| process.id).collect();
        ids.into_iter().for_each(|id| self.pump_writer(id));
    }

    pub(super) fn drop_successor(&mut self, successor: NodeId) {
        self.stop_node(successor);
        self.hosts[successor.index()].disk = None;
        self.replaced.remove(&self.seat_of(successor));
    }

    /// A successor's disk is lost; somebody puts another one there.
    pub fn lose_successor(&mut self, node: NodeId) {
        self.remake_successor(self.successor_of(node));
    }

    /// A successor's process dies; somebody starts it again.
    pub fn crash_successor(&mut self, node: NodeId) {
        self.crash_node(self.successor_of(node));
    }

    /// A successor whose process ended is started again; one that failed, or that its writer does
    /// not take, is made anew.
    pub(super) fn look_after_successor(&mut self, id: NodeId) {
        let host = &self.hosts[id.index()];
        if host.disk.is_none() || host.paused.is_some() {
            return;
        }
        let Some(node) = &host.node else {
            if !self.start_node(id) {
                self.remake_successor(id);
            }
            return;
        };
        let is_fenced = node.is_fenced();
        let Some(process) = self.open_writer() else {
            return;
        };
        let connected = self.network.connection(process.id, id).is_some();
        let figures = process.writer.figures().replacements;
        let mut figures = figures.into_iter();
        let seat = self.seat_of(id);
        let state = figures.find(|(node, ..)| *node == seat);
        let is_away = |state| matches!(state, NodeState::Missing | NodeState::Failed);
        let refused = state.is_some_and(|(_, state, _)| is_away(state)) && connected;
        if is_fenced || refused {
            self.remake_successor(id);
        }
    }

    /// A writer has made it durable that a successor takes its node's place.
    pub(super) fn on_seated(&mut self, writer: WriterId, node: NodeId) {
        let knows_all = |process: &&WriterProcess| process.seats == self.seats();
        let Some(process) = self.writer(writer).filter(knows_all) else {
            return;
        };
        if let Err(reason) =
            self.laws
                .segments
                .check_seated(&process.writer, self.successor_of(node), node)
        {
            self.laws.violation.get_or_insert(reason);
        }
        self.seat(node);
    }

    fn seat(&mut self, node: NodeId) {
        let successor = self.successor_of(node);
        self.stop_node(node);
        self.crash_node(successor);
        if let Some(disk) = self.hosts[successor.index()].disk.take() {
            self.tell(|| format!("{node:?} has the directory of its successor"));
            self.coverage.reach(Mark::SuccessorSeated);
            self.replaced.remove(&node);
            self.hosts[node.index()].disk = Some(disk);
            self.start_node(node);
        }
    }

    /// Before an open: a successor that the newest configuration names has its node's place.
    pub(super) fn seat_what_is_configured(&mut self) {
        let Some(config) = self.newest_config() else {
            return;
        };
        for node in (0..self.seats() as u16).map(NodeId) {
            let host = &self.hosts[self.successor_of(node).index()];
            let disk = host.disk.as_ref().filter(|_| !host.held_down);
            let life = disk.and_then(|disk| disk.superblock());
            let life = life.map(|superblock| superblock.incarnation);
            // Nodes that were just added may be the only ones that know of themselves, and gone.
            let configured = config.nodes.get(node.index());
            if configured.is_some_and(|entry| life == Some(entry.incarnation)) {
                self.seat(node);
            }
        }
    }

    /// Makes successors anew that have not their nodes' places; the nodes of those that cannot be
    /// reached.
    pub(super) fn rule_out_successors(&mut self) -> Vec<NodeId> {
        let mut kept_out = Vec::new();
        for node in self.replaced.clone() {
            let successor = self.successor_of(node);
            let host = &self.hosts[successor.index()];
            if host.disk.is_none() || host.held_down || host.paused.is_some() {
                kept_out.push(node);
            } else {
                self.replace_directory(successor);
            }
        }
        kept_out
    }

    /// The newest configuration that any directory holds which can be looked at.
    pub(super) fn newest_config(&self) -> Option<VolumeConfig> {
        let there = self.hosts.iter().filter(|host| !host.held_down);
        let disks = there.filter_map(|host| host.disk.as_ref());
        let configs = disks.filter_map(|disk| Some(disk.superblock()?.config));
        configs.max_by_key(|config| config.version)
    }
}
