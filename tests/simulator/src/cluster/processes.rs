//! Processes that start, die, pause; directories that go, come back, and are made anew.

use super::sent::SentRecords;
use super::{Cluster, Event, WriterProcess};
use crate::coverage::Mark;
use crate::disk::MemoryDisk;
use crate::network::{Way, WriterId};
use crate::oracle::disk_laws;
use crate::oracle::health_laws::SentReads;
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::ids::{Incarnation, NodeId};
use redoubt_volume::segment::node::Node;
use redoubt_volume::status::VolumeState;
use redoubt_volume::writer::Writer;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl Cluster {
    pub(super) fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.hosts.len() as u16).map(NodeId)
    }

    /// Starts a writer's process that opens the volume on every node that runs; those that do
    /// not are started first.
    pub fn start_writer(&mut self) -> WriterId {
        self.seat_what_is_configured();
        let kept_out = self.rule_out_successors();
        self.start_nodes();
        self.seat_nodes_that_came();
        self.next_writer += 1;
        let id = WriterId(self.next_writer);
        let now = self.now();
        let configs = self.hosts.iter().filter_map(|host| host.node.as_ref());
        let configs = configs.map(|node| node.superblock().config.clone());
        let config = configs.max_by_key(|config| config.version);
        let config = config.unwrap_or_else(|| self.shape.config());
        let mut process = WriterProcess {
            id,
            seats: config.nodes.len(),
            is_widening: false,
            writer: Writer::new(config, 0x5eed_0000 + self.next_writer, self.policy),
            answers: Vec::new(),
            sent: SentRecords::default(),
            reads: Some(SentReads::default()),
            opened: None,
            next_ticket: 0,
            paused: None,
            goes_since: now,
            fuse: None,
            told_up: BTreeMap::new(),
            arrived: BTreeSet::new(),
        };
        let kept_out = kept_out
            .into_iter()
            .filter(|node| node.index() < process.seats);
        kept_out.for_each(|node| process.writer.keep_out(node));
        for node in self.node_ids() {
            if !self.knows(process.seats, node) {
                continue;
            }
            if self.hosts[node.index()].node.is_some() && !self.network.is_cut(node) {
                let connection = self.network.connect(id, node);
                process.told_up.insert(node, connection);
                process.writer.node_up(now, node);
            }
        }
        process.writer.open(now);
        self.writers.push(process);
        self.tell(|| format!("{id:?} starts"));
        self.pump_writer(id);
        id
    }

    /// The end of a process that could not open the volume: the nodes that had fenced themselves end
    /// with it, and the next one opens their directories anew.
    pub fn stop_fenced_nodes(&mut self) {
        for id in self.node_ids() {
            let node = self.hosts[id.index()].node.as_ref();
            if node.is_some_and(Node::is_fenced) {
                self.tell(|| format!("{id:?} ends with the process"));
                self.stop_node(id);
            }
        }
    }

    pub(super) fn start_nodes(&mut self) {
        for node in self.node_ids() {
            if self.hosts[node.index()].node.is_none() {
                self.start_node(node);
            }
        }
    }

    /// Whether a writer that knows of so many nodes has an address for this one, or its successor.
    fn knows(&self, seats: usize, node: NodeId) -> bool {
        node.index() < seats || seats == self.seats()
    }

    /// Starts the process of a node, if its directory can be opened.
    pub fn start_node(&mut self, id: NodeId) -> bool {
        let (index_bytes, seat) = (self.shape.index_bytes / self.seats(), self.seat_of(id));
        let host = &mut self.hosts[id.index()];
        let Some(disk) = host.disk.as_mut().filter(|_| !host.held_down) else {
            return false;
        };
        let opened = disk
            .superblock()
            .filter(|superblock| superblock.node == seat);
        let opened = opened.and_then(|superblock| Node::open(superblock, disk, index_bytes).ok());
        host.begin_life();
        host.has_failed_write = false;
        host.node = opened;
        let is_open = host.node.is_some();
        if let (Some(node), Some(disk)) = (&host.node, &host.disk) {
            let life = node.superblock().incarnation;
            let judged = disk_laws::check_open(disk);
            self.laws.on_disk(id, life, judged);
        }
        self.coverage.reach_if(!is_open, Mark::NodeUnopenable);
        if let Some(node) = &self.hosts[id.index()].node {
            self.laws.on_start(id, node.superblock());
        }
        self.tell(|| format!("{id:?} starts: {is_open}"));
        if is_open {
            for writer in self
                .writers
                .iter()
                .map(|process| process.id)
                .collect::<Vec<_>>()
            {
                self.link_up(writer, id);
            }
        }
        is_open
    }

    /// The transport connects, unless the way is cut.
    fn link_up(&mut self, writer: WriterId, node: NodeId) {
        let seats = self.writer(writer).map(|process| process.seats);
        let is_known = seats.is_some_and(|seats| self.knows(seats, node));
        if is_known && !self.network.is_cut(node) {
            let connection = self.network.connect(writer, node);
            let delay = Duration::from_micros(self.random.between(20, 300));
            self.clock
                .after(delay, Event::Link(writer, node, Some(connection)));
        }
    }

    fn link_down(&mut self, node: NodeId) {
        for writer in self
            .writers
            .iter()
            .map(|process| process.id)
            .collect::<Vec<_>>()
        {
            self.network.disconnect(writer, node);
            let delay = Duration::from_micros(self.random.between(20, 3_000));
            self.clock.after(delay, Event::Link(writer, node, None));
        }
    }

    /// Cuts a node off, one way or both. The transport notices after a while.
    pub fn cut_off(&mut self, node: NodeId, ways: &[Way], noticed: bool) {
        ways.iter().for_each(|way| self.network.cut(node, *way));
        if noticed {
            self.link_down(node);
        }
    }

    /// The node can be reached again.
    pub fn mend(&mut self, node: NodeId) {
        self.network.mend(node);
        if self.hosts[node.index()].node.is_some() {
            for writer in self
                .writers
                .iter()
                .map(|process| process.id)
                .collect::<Vec<_>>()
            {
                if self.network.connection(writer, node).is_none() {
                    self.link_up(writer, node);
                }
            }
        }
    }

    /// Ends a node's process; its disk stays as the process left it.
    pub fn stop_node(&mut self, id: NodeId) {
        let host = &mut self.hosts[id.index()];
        host.begin_life();
        if host.node.take().is_some() {
            self.link_down(id);
        }
    }

    /// Kills a node's process. What it had written is not lost, what it was writing may be torn.
    pub fn crash_node(&mut self, id: NodeId) {
        self.tell(|| format!("{id:?} dies"));
        self.stop_node(id);
        if let Some(disk) = &mut self.hosts[id.index()].disk {
            disk.kill_process(&mut self.random);
        }
    }

    /// Cuts a node's power: what was not synced is lost, or torn.
    pub fn cut_power_of(&mut self, id: NodeId) {
        self.tell(|| format!("{id:?} loses power"));
        self.stop_node(id);
        if let Some(disk) = &mut self.hosts[id.index()].disk {
            let before = disk.superblock().map(|superblock| superblock.incarnation);
            let story = disk.cut_power(&mut self.random);
            if disk.superblock().is_none() {
                self.laws.on_superblock_lost(id, before);
            }
            let sum = &mut self.counts.cuts;
            sum.lost += story.lost;
            sum.torn += story.torn;
            sum.reordered += story.reordered;
            sum.undeleted += story.undeleted;
        }
    }

    /// Ends a writer's process, whatever it was doing.
    pub fn crash_writer(&mut self, id: WriterId) {
        self.tell(|| format!("{id:?} dies"));
        let ended = self.writers.extract_if(.., |process| process.id == id);
        self.ended.extend(ended);
        self.node_ids()
            .for_each(|node| self.network.disconnect(id, node));
    }

    /// Cuts the power of everything.
    pub fn crash(&mut self) {
        for id in self
            .writers
            .iter()
            .map(|process| process.id)
            .collect::<Vec<_>>()
        {
            self.crash_writer(id);
        }
        self.node_ids().for_each(|node| self.cut_power_of(node));
    }

    /// Asks a node for a checkpoint.
    pub fn want_checkpoint(&mut self, id: NodeId) {
        let node = &mut self.hosts[id.index()].node;
        node.iter_mut().for_each(Node::want_checkpoint);
    }

    /// Lets a process die when it has asked for so many more effects.
    pub fn light_fuse(&mut self, id: NodeId, effects: u32) {
        self.hosts[id.index()].fuse = Some(effects);
    }

    /// The process does not die of that any more.
    pub fn snuff_fuse(&mut self, id: NodeId) {
        self.hosts[id.index()].fuse = None;
    }

    /// No writer dies of that any more.
    pub fn snuff_writers_fuses(&mut self) {
        self.writers
            .iter_mut()
            .for_each(|process| process.fuse = None);
    }

    /// Lets a writer's process die when it has asked for so many more effects.
    pub fn light_writers_fuse(&mut self, id: WriterId, effects: u32) {
        if let Some(process) = self.writer_mut(id) {
            process.fuse = Some(effects);
        }
    }

    /// Stops a node's process for a while, as SIGSTOP does; its disk works on.
    pub fn pause_node(&mut self, id: NodeId, pause: Duration) {
        let host = &mut self.hosts[id.index()];
        if host.node.is_some() && host.paused.is_none() {
            host.paused = Some(Vec::new());
            self.clock.after(pause, Event::ResumeNode(id));
        }
    }

    /// The same of a writer's.
    pub fn pause_writer(&mut self, id: WriterId, pause: Duration) {
        if let Some(process) = self.writer_mut(id)
            && process.paused.is_none()
        {
            process.paused = Some(Vec::new());
            self.clock.after(pause, Event::ResumeWriter(id));
        }
    }

    /// Whether a writer's process stands still.
    pub fn is_paused(&self, id: WriterId) -> bool {
        self.writer(id)
            .is_some_and(|process| process.paused.is_some())
    }

    /// Lets a paused node go on.
    pub fn resume_node(&mut self, id: NodeId) {
        let waiting = self.hosts[id.index()].paused.take().unwrap_or_default();
        let now = self.now();
        waiting
            .into_iter()
            .for_each(|event| self.clock.at(now, event));
    }

    /// Lets a paused writer go on.
    pub fn resume_writer(&mut self, id: WriterId) {
        let now = self.now();
        if let Some(process) = self.writer_mut(id) {
            process.goes_since = now;
            let waiting = process.paused.take().unwrap_or_default();
            waiting
                .into_iter()
                .for_each(|event| self.clock.at(now, event));
        }
    }

    /// What the volume's driver does about its directories: nodes that are fenced or of an earlier
    /// life are given up; those that do not run are started, or made anew where that is safe. Only
    /// the newest writer's does: the directories are locked.
    pub(super) fn look_after_nodes(&mut self) {
        let open = |process: &&WriterProcess| process.paused.is_none() && process.writer.is_open();
        let Some(writer) = self.writers.last().filter(open) else {
            return;
        };
        let config = writer.writer.config().clone();
        for id in self.node_ids() {
            if id.index() >= self.seats() {
                self.look_after_successor(id);
                continue;
            }
            let host = &self.hosts[id.index()];
            let is_listed = id.index() < config.nodes.len() && !config.is_drained(id);
            if !is_listed || host.held_down || host.disk.is_none() || host.paused.is_some() {
                continue;
            }
            match &host.node {
                Some(node) => {
                    let superblock = node.superblock();
                    let admitted = config.nodes[id.index()].incarnation;
                    let earlier_life = superblock.incarnation != admitted && !superblock.fresh;
                    self.coverage
                        .reach_if(earlier_life, Mark::EarlierLifeReported);
                    if node.is_fenced() || earlier_life {
                        self.tell(|| format!("{id:?} is given up"));
                        self.stop_node(id);
                        self.rebuild(id);
                    }
                }
                None => {
                    if !self.start_node(id) {
                        self.rebuild(id);
                    }
                }
            }
        }
    }

    /// Makes a node's directory anew, if enough others are left to fill it.
    pub fn rebuild(&mut self, id: NodeId) {
        let safe = |process: &&WriterProcess| {
            let state = process.writer.figures().state;
            process.writer.is_open()
                && matches!(state, VolumeState::Degraded | VolumeState::ReadOnly)
        };
        if self.writers.last().filter(safe).is_some() && !self.is_drained(id) {
            self.replace_directory(id);
            self.start_node(id);
        }
    }

    /// A new, empty directory in the place of a node's; its process is not started.
    pub fn replace_directory(&mut self, id: NodeId) {
        self.stop_node(id);
        self.incarnations += 1;
        let open = self
            .writers
            .iter()
            .rev()
            .find(|process| process.writer.is_open());
        let config = match open {
            Some(process) => process.writer.config().clone(),
            None => self.shape.config(),
        };
        if self.seat_of(id).index() >= config.nodes.len() {
            return;
        }
        let incarnation = Incarnation(self.incarnations);
        let fresh = Superblock::new(&config, self.seat_of(id), incarnation, true);
        let damage = self.hosts[id.index()].disk.take().map(|disk| disk.damage);
        let mut disk = MemoryDisk::create(&fresh);
        disk.damage = damage.unwrap_or_default();
        disk.damage.armed.clear();
        self.hosts[id.index()].disk = Some(disk);
        self.coverage.reach(Mark::NodeRebuilt);
        self.tell(|| format!("{id:?} has a new directory"));
    }
}
