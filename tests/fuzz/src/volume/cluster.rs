//! A whole volume in one thread: the production writer and nodes on disks in memory.

use super::disk::Disk;
use super::image::{self, NODES, VOLUME};
use redoubt_volume::embedded::Embedded;
use redoubt_volume::error::IoFailure;
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::ids::NodeId;
use redoubt_volume::segment::effect::NodeEffect;
use redoubt_volume::segment::node::Node;
use redoubt_volume::time::Instant;
use redoubt_volume::writer::payload::cut;
use redoubt_volume::writer::{
    Answer, CacheMode, QuorumLoss, RebuildRate, Ticket, Writer, WriterPolicy,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Time between two ticks.
const TICK: Duration = Duration::from_millis(20);
/// Ticks after which a request that has no answer hangs: 60 s, longer than every time-out.
const MOST_TICKS: usize = 3000;

/// What became of a request; no bytes for one that reads none.
pub(super) type Outcome = Result<Vec<u8>, IoFailure>;

pub(super) struct Cluster {
    pub(super) disks: Vec<Disk>,
    /// What the disks were asked for and have not done.
    queues: [VecDeque<NodeEffect>; NODES],
    /// Nodes whose disks complete nothing.
    pub(super) stalled: [bool; NODES],
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
            queues: Default::default(),
            stalled: [false; NODES],
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
        let nodes: Vec<Option<Node>> = disks
            .map(|(index, disk)| open_node(index, disk, image::INDEX_BYTES))
            .collect();
        let configs = nodes.iter().flatten().map(|node| &node.superblock().config);
        let config = configs.max_by_key(|config| config.version).cloned();
        let config = config.filter(|config| config.nodes.len() == NODES);
        let config = config.ok_or_else(|| "too few nodes".to_owned())?;
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
        self.run_until(|cluster| cluster.opened.is_some());
        self.opened.take().expect("the recovery is over")
    }

    /// The process ends.
    pub(super) fn kill(&mut self) {
        self.core = None;
        self.answers.clear();
        self.stalled = [false; NODES];
        self.queues = Default::default();
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
        self.run_until(|cluster| cluster.answers.contains_key(&ticket));
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

    fn run_until(&mut self, done: impl Fn(&Cluster) -> bool) {
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
        for (node, effect) in outcome.disk {
            self.queues[node.index()].push_back(effect);
        }
    }

    /// Carries out one effect of each disk; `false` if all are idle.
    pub(super) fn step(&mut self) -> bool {
        let mut any = false;
        for index in 0..NODES {
            if self.stalled[index] {
                continue;
            }
            let Some(effect) = self.queues[index].pop_front() else {
                continue;
            };
            any = true;
            let node = NodeId(index as u16);
            if let Some(completion) = self.disks[index].carry_out(effect) {
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
