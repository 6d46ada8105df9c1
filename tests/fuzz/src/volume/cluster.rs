//! A whole volume in one thread: the production writer and nodes on disks in memory.

use super::disk::Disk;
use super::image::{self, VOLUME};
use redoubt_volume::config::{NodeEntry, VolumeConfig};
use redoubt_volume::embedded::Embedded;
use redoubt_volume::error::IoFailure;
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::ids::{GroupId, Incarnation, NodeId};
use redoubt_volume::segment::effect::NodeEffect;
use redoubt_volume::segment::node::Node;
use redoubt_volume::status::ScrubStart;
use redoubt_volume::time::Instant;
use redoubt_volume::writer::payload::cut;
use redoubt_volume::writer::{
    Answer, CacheMode, QuorumLoss, RebuildRate, Ticket, Writer, WriterPolicy,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Time between two ticks.
const TICK: Duration = Duration::from_millis(20);
/// Ticks after which a request that has no answer hangs: 60 s, longer than every time-out.
const MOST_TICKS: usize = 3000;

/// What became of a request; no bytes for one that reads none.
pub(super) type Outcome = Result<Vec<u8>, IoFailure>;

pub(super) struct Cluster {
    /// The nodes' disks; behind them that of a successor, while there is one.
    pub(super) disks: Vec<Disk>,
    /// What the disks were asked for and have not done.
    queues: BTreeMap<NodeId, VecDeque<NodeEffect>>,
    /// Nodes whose disks complete nothing.
    pub(super) stalled: BTreeSet<NodeId>,
    /// Nodes that a successor has taken the place of.
    seated: BTreeSet<NodeId>,
    core: Option<Embedded>,
    opened: Option<Result<(), String>>,
    answers: BTreeMap<Ticket, Result<Answer, IoFailure>>,
    next_ticket: u64,
    writer_id: u64,
    now: Instant,
}

/// Opens a node as the volume's open does; `None` when its directory cannot be used.
pub(super) fn open_node(index: usize, disk: &mut Disk, index_bytes: usize) -> Option<Node> {
    let superblock = Superblock::newest(&disk.superblock_bytes()).ok()?;
    let is_own = superblock.config.volume == VOLUME && superblock.node.index() == index;
    if !is_own {
        return None;
    }
    match Node::open(superblock, disk, index_bytes) {
        Ok(node) => Some(node),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

impl Cluster {
    pub(super) fn new(disks: Vec<Disk>, writer_id: u64) -> Cluster {
        Cluster {
            disks,
            queues: BTreeMap::new(),
            stalled: BTreeSet::new(),
            seated: BTreeSet::new(),
            core: None,
            opened: None,
            answers: BTreeMap::new(),
            next_ticket: 0,
            writer_id,
            now: Instant(1),
        }
    }

    /// Opens the volume, as `volume/open.rs` does.
    pub(super) fn open(&mut self) -> Result<(), String> {
        let disks = self.disks.iter_mut().enumerate();
        let mut nodes: Vec<Option<Node>> = disks
            .map(|(index, disk)| open_node(index, disk, image::INDEX_BYTES))
            .collect();
        let configs = nodes.iter().flatten().map(|node| &node.superblock().config);
        let config = configs.max_by_key(|config| config.version).cloned();
        let config = config.filter(|config| config.nodes.len() <= nodes.len());
        let config = config.ok_or_else(|| "too few nodes".to_owned())?;
        // What was drained, or is not listed, counts for nothing; behind the nodes is room for their
        // successors.
        for node in config.node_ids().filter(|node| config.is_drained(*node)) {
            nodes[node.index()] = None;
        }
        nodes.truncate(config.nodes.len());
        nodes.resize_with(2 * config.nodes.len(), || None);
        let policy = WriterPolicy {
            cache: CacheMode::Writeback,
            on_quorum_loss: QuorumLoss::Fail,
            read_only: false,
            rebuild_rate: RebuildRate::Adaptive,
        };
        let mut writer = Writer::new(config, self.writer_id, policy);
        self.writer_id += 1;
        for node in nodes.iter().flatten() {
            writer.node_up(self.now, node.id());
        }
        writer.open(self.now);
        self.core = Some(Embedded { writer, nodes });
        self.opened = None;
        self.run_on(|cluster| cluster.opened.is_some());
        self.opened.take().expect("the recovery is over")
    }

    /// The process ends.
    pub(super) fn kill(&mut self) {
        self.core = None;
        self.answers.clear();
        self.stalled.clear();
        self.queues.clear();
    }

    /// The newest configuration that the writer knows to be durable.
    pub(super) fn config(&mut self) -> VolumeConfig {
        self.core().writer.config().clone()
    }

    /// Lists more nodes, which are there from the next open on, and has segments move to them.
    pub(super) fn widen(&mut self, nodes: Vec<NodeEntry>) {
        let ticket = self.ticket();
        self.core().writer.widen(ticket, nodes, true);
        self.wait(ticket).expect("all nodes are there");
    }

    /// Has all groups leave a node, until nothing is on it.
    pub(super) fn drain(&mut self, node: NodeId) {
        let ticket = self.ticket();
        self.core().writer.drain(ticket, node);
        self.wait(ticket).expect("all nodes are there");
        self.run_until(|core| core.writer.config().is_drained(node));
    }

    /// Directories for the nodes that the volume lists and that are not there.
    pub(super) fn seat_nodes_that_came(&mut self) {
        let superblock = Superblock::newest(&self.disks[0].superblock_bytes());
        let mut config = superblock.expect("node 0 is there").config;
        // Older than any that counts: they are told the right one.
        config.version = 0;
        for node in config.node_ids().skip(self.disks.len()) {
            let life = config.nodes[node.index()].incarnation;
            let superblock = Superblock::new(&config, node, life, false);
            self.disks.push(Disk::create(&superblock));
        }
    }

    /// Goes on until so many segments have moved, and the configuration is on its way by which the
    /// next one has.
    pub(super) fn run_until_moving(&mut self, moved: u64) {
        self.run_until(|core| {
            let writer = &core.writer;
            let is_named = writer.places_of(GroupId(0)).len() > 1;
            let relocation = writer.figures().relocation;
            is_named && relocation.is_some_and(|(count, _)| count >= moved)
        });
    }

    /// Goes on until every segment is where it is to be.
    pub(super) fn run_until_moved(&mut self) {
        self.run_until(|core| !core.writer.config().has_two_tables());
    }

    /// A new directory begins to take the place of a node; goes on until a configuration is on its
    /// way that names it there.
    pub(super) fn run_until_exchanging(&mut self, node: NodeId, life: Incarnation) {
        let config = self.config();
        let successor = config.successor(node);
        self.disks.resize(successor.index() + 1, Disk::default());
        let disk = &mut self.disks[successor.index()];
        *disk = Disk::create(&Superblock::new(&config, node, life, true));
        let opened = Node::open(
            Superblock::newest(&disk.superblock_bytes()).expect("it was just made"),
            disk,
            image::INDEX_BYTES,
        );
        let now = self.now;
        let core = self.core();
        core.nodes[successor.index()] = Some(opened.expect("it was just made"));
        core.writer.node_up(now, successor);
        self.run_until(|core| core.writer.is_exchanged(node));
    }

    /// Goes on until the successor of a node has its place, and moves its directory there.
    pub(super) fn run_until_seated(&mut self, node: NodeId) {
        let successor = self.config().successor(node);
        self.run_on(|cluster| cluster.seated.contains(&node));
        self.disks[node.index()] = std::mem::take(&mut self.disks[successor.index()]);
        self.disks.truncate(successor.index() - node.index());
    }

    /// Goes on with a scrub of an earlier process, for a while; whether it has ended.
    pub(super) fn scrub_for_a_while(&mut self, start: ScrubStart) -> bool {
        let (ticket, now) = (self.ticket(), self.now);
        self.core().writer.scrub_from(now, ticket, start);
        self.settle();
        self.work_in_background();
        if self.core().writer.cancel_scrub() {
            self.settle();
        }
        self.answers.remove(&ticket).is_some()
    }

    pub(super) fn core(&mut self) -> &mut Embedded {
        self.core.as_mut().expect("the volume is open")
    }

    pub(super) fn disk_bytes(&mut self) -> u64 {
        self.core().writer.disk_bytes()
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    pub(super) fn read(&mut self, offset: u64, length: usize) -> Outcome {
        let (ticket, now) = (self.ticket(), self.now);
        self.core().writer.read(now, ticket, offset, length);
        self.wait(ticket)
    }

    /// Sends a write; its answer is of no interest.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let (ticket, now) = (self.ticket(), self.now);
        let pieces = cut(offset, data);
        self.core().writer.write(now, ticket, pieces, false);
        self.settle();
    }

    pub(super) fn write_and_flush(&mut self, offset: u64, data: &[u8]) -> Outcome {
        let (ticket, now) = (self.ticket(), self.now);
        let pieces = cut(offset, data);
        self.core().writer.write(now, ticket, pieces, true);
        self.wait(ticket)
    }

    pub(super) fn discard(&mut self, offset: u64, length: u64) {
        let (ticket, now) = (self.ticket(), self.now);
        self.core().writer.discard(now, ticket, offset, length);
        self.settle();
    }

    pub(super) fn flush(&mut self) {
        let (ticket, now) = (self.ticket(), self.now);
        self.core().writer.flush(now, ticket);
        self.wait(ticket).expect("all nodes are there");
    }

    fn wait(&mut self, ticket: Ticket) -> Outcome {
        self.run_on(|cluster| cluster.answers.contains_key(&ticket));
        match self.answers.remove(&ticket).expect("there is an answer")? {
            Answer::Bytes(bytes) => Ok(bytes.as_ref().to_vec()),
            _ => Ok(Vec::new()),
        }
    }

    /// Checkpoints, collects, fills nodes that lack something.
    pub(super) fn work_in_background(&mut self) {
        let nodes = self.core().nodes.iter_mut().flatten();
        nodes.for_each(Node::want_checkpoint);
        for _ in 0..20 {
            while self.step() {}
            self.tick();
        }
    }

    fn run_until(&mut self, done: impl Fn(&Embedded) -> bool) {
        self.run_on(|cluster| cluster.core.as_ref().is_some_and(&done));
    }

    fn run_on(&mut self, done: impl Fn(&Cluster) -> bool) {
        for _ in 0..MOST_TICKS {
            self.settle();
            while !done(self) && self.step() {}
            if done(self) {
                return;
            }
            self.tick();
        }
        let figures = self.core().writer.figures();
        panic!("nothing more happens: {figures:?}");
    }

    fn settle(&mut self) {
        let now = self.now;
        let Some(core) = &mut self.core else { return };
        let outcome = core.settle(now);
        self.answers.extend(outcome.completed);
        if outcome.opened.is_some() {
            self.opened = outcome.opened;
        }
        for node in outcome.idle {
            core.on_idle(now, node);
        }
        self.seated.extend(outcome.seated);
        for (node, effect) in outcome.disk {
            self.queues.entry(node).or_default().push_back(effect);
        }
    }

    /// Carries out one effect of each disk; `false` if all are idle.
    pub(super) fn step(&mut self) -> bool {
        let mut any = false;
        let asked = self.queues.keys().copied();
        let at_work: Vec<NodeId> = asked.filter(|n| !self.stalled.contains(n)).collect();
        for node in at_work {
            let queue = self.queues.get_mut(&node);
            let Some(effect) = queue.and_then(VecDeque::pop_front) else {
                continue;
            };
            any = true;
            if let Some(completion) = self.disks[node.index()].carry_out(effect) {
                let now = self.now;
                self.core().on_disk(now, vec![(node, completion)]);
                self.settle();
            }
        }
        any
    }

    pub(super) fn tick(&mut self) {
        self.now = self.now.plus(TICK);
        let now = self.now;
        self.core().on_tick(now, 0);
        self.settle();
    }
}
