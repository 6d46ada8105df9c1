//! A volume's processes in a simulated world: the production writer and nodes, each a process of
//! its own, on memory disks and a network that takes its time.
//!
//! `shape` — what it is made of; `delivery` — messages and disk effects; `processes` — what
//! starts, dies, pauses and is made anew; `replacement` — directories that take a node's place;
//! `relocation` — nodes that come and go; `overtaking` — what is discarded before it is written;
//! `requests` — the disk's user.

mod delivery;
mod overtaking;
mod peers;
mod processes;
mod relocation;
mod replacement;
mod requests;
mod sent;
mod shape;

pub use shape::Shape;

use crate::clock::Clock;
use crate::coverage::Coverage;
use crate::digest::Digest;
use crate::disk::{CutStory, DiskToken, MemoryDisk};
use crate::network::{Connection, Network, WriterId};
use crate::oracle::health_laws::SentReads;
use crate::oracle::node_laws::NodeLaws;
use crate::random::{Random, Rate};
use redoubt_volume::error::IoFailure;
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::ids::{DiskBlock, Incarnation, NodeId};
use redoubt_volume::message::{PeerMessage, Reply, Request};
use redoubt_volume::segment::effect::NodeEffect;
use redoubt_volume::segment::node::Node;
use redoubt_volume::time::Instant;
use redoubt_volume::writer::{Answer, Ticket, Writer, WriterPolicy};
use sent::SentRecords;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Something that is going to happen.
#[derive(Debug)]
enum Event {
    Request(WriterId, Connection, NodeId, Request),
    Reply(NodeId, Connection, WriterId, Reply),
    /// From a node to another one.
    Peer(NodeId, NodeId, PeerMessage),
    /// Of the disk with this life.
    Disk(NodeId, u64, DiskToken),
    /// The node of this life has time for what nobody waits for.
    Idle(NodeId, u64),
    /// The transport tells a writer that a node can be reached, or not.
    Link(WriterId, NodeId, Option<Connection>),
    Tick,
    /// Somebody looks after directories.
    Watch,
    /// A node is asked for a checkpoint.
    Checkpoint(NodeId),
    /// The process of this life dies.
    Die(NodeId, u64),
    ResumeNode(NodeId),
    ResumeWriter(WriterId),
}

/// A machine with a node's disk, and the node's process on it.
#[derive(Debug)]
pub struct Host {
    /// Its disk, if it is there.
    pub disk: Option<MemoryDisk>,
    /// The node's process, if it runs.
    pub node: Option<Node>,
    /// Nobody starts the process again while this is set.
    pub held_down: bool,
    /// Rises with every exchange of the disk and every death of the process: completions of an
    /// earlier life reach nobody.
    life: u64,
    /// What came while the process was paused.
    paused: Option<Vec<Event>>,
    /// The process dies when it has asked for so many more effects.
    fuse: Option<u32>,
    /// The process was told that a write or sync failed.
    has_failed_write: bool,
    /// The next fold takes long; meanwhile the node is asked for a checkpoint, and dies a little
    /// later.
    pub dies_behind_fold: bool,
    /// What a stuck disk has not completed.
    held: Vec<DiskToken>,
    /// The append that its disk carries out, and those that come behind it.
    appending: Option<DiskToken>,
    appends: VecDeque<NodeEffect>,
}

impl Host {
    fn of(disk: Option<MemoryDisk>) -> Host {
        Host {
            disk,
            node: None,
            held_down: false,
            life: 0,
            paused: None,
            fuse: None,
            has_failed_write: false,
            dies_behind_fold: false,
            held: Vec::new(),
            appending: None,
            appends: VecDeque::new(),
        }
    }

    /// What an earlier life of the process asked for, and was to meet, reaches nobody.
    fn begin_life(&mut self) {
        self.life += 1;
        self.fuse = None;
        self.paused = None;
        self.held.clear();
        self.appending = None;
        self.appends.clear();
    }
}

/// A writer's process.
#[derive(Debug)]
pub struct WriterProcess {
    /// Its name.
    pub id: WriterId,
    /// The production writer.
    pub writer: Writer,
    /// Answers that nobody has taken yet.
    pub answers: Vec<(Ticket, Result<Answer, IoFailure>)>,
    /// What it has sent and nobody has looked at.
    pub sent: SentRecords,
    /// The reads that it has sent; `None` while nodes' own copies are read.
    reads: Option<SentReads>,
    /// How its recovery ended.
    pub opened: Option<Result<(), String>>,
    next_ticket: u64,
    paused: Option<Vec<Event>>,
    /// When it was started, or went on after a pause.
    goes_since: Instant,
    fuse: Option<u32>,
    /// Nodes of the volume as it knows it. It hears of no others.
    pub seats: usize,
    /// It was asked to add nodes: it changes nothing else any more.
    pub is_widening: bool,
    /// Nodes that it was told it can reach, and over which connection.
    told_up: BTreeMap<NodeId, Connection>,
    /// Nodes that it was told of since somebody looked: it judges those anew.
    pub arrived: BTreeSet<NodeId>,
}

impl WriterProcess {
    /// How long it has run without a pause; nothing while it is paused.
    pub fn goes_for(&self, now: Instant) -> Option<Duration> {
        self.paused.is_none().then(|| now.since(self.goes_since))
    }

    /// Whether an answer is there that nobody has taken.
    pub fn has_answered(&self, ticket: Ticket) -> bool {
        self.answers.iter().any(|(other, _)| *other == ticket)
    }
}

/// What the cluster has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Events that happened.
    pub steps: u64,
    /// What power cuts did.
    pub cuts: CutStory,
    /// Processes that died at an effect.
    pub died_at_effect: u64,
    /// Reads that took long.
    pub slow_reads: u64,
    /// Blocks that segments being filled were given, with content.
    pub copied_blocks: u64,
}

/// A volume's processes, disks and network.
pub struct Cluster {
    /// What it is made of.
    pub shape: Shape,
    /// The nodes' machines, by node; behind them those of their successors, mostly empty.
    pub hosts: Vec<Host>,
    /// Writers that run; mostly one.
    pub writers: Vec<WriterProcess>,
    /// Writers whose processes have ended, until somebody has heard what they said last.
    pub ended: Vec<WriterProcess>,
    /// The network.
    pub network: Network,
    /// Reads that take so long that other things overtake them.
    pub slow_reads: Rate,
    /// Only this node is sent a configuration. When it has taken it, every writer dies, and so
    /// does the node.
    pub configures_only: Option<NodeId>,
    /// A fold has just begun that takes long.
    pub holds_fold: bool,
    /// A repair of this block is to come again.
    pub mended_late: Option<DiskBlock>,
    /// What every writer of this cluster is told to do.
    pub policy: WriterPolicy,
    /// All chance of the cluster.
    pub random: Random,
    /// Situations that were reached.
    pub coverage: Coverage,
    /// Everything that happened.
    pub digest: Digest,
    /// What was counted.
    pub counts: Counts,
    /// What nodes must never do.
    pub laws: NodeLaws,
    /// Requests that were sent earlier, some of them.
    pub recorded: Vec<(NodeId, Request)>,
    /// Whether somebody looks after directories: starts nodes and makes lost ones anew.
    pub is_watched: bool,
    /// Whether the story is told on standard output.
    pub is_traced: bool,
    clock: Clock<Event>,
    next_writer: u64,
    incarnations: u64,
    /// Nodes whose place another directory is to take, as the address book has it.
    replaced: BTreeSet<NodeId>,
    /// Lives of directories that were made for nodes which were added, until somebody looks for them.
    made: BTreeSet<Incarnation>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("shape", &self.shape)
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}

/// How often processes are told that time has passed.
const TICK: Duration = Duration::from_millis(25);

impl Cluster {
    /// A new volume on new disks; nobody has it open.
    pub fn create(shape: Shape, seed: u64) -> Cluster {
        let config = shape.config();
        let host = |node: NodeId| {
            let incarnation = config.nodes[node.index()].incarnation;
            let superblock = Superblock::new(&config, node, incarnation, false);
            Host::of(Some(MemoryDisk::create(&superblock)))
        };
        let successors = config.node_ids().map(|_| Host::of(None));
        let mut clock = Clock::default();
        clock.after(TICK, Event::Tick);
        clock.after(redoubt_volume::limits::DIRECTORY_CHECK, Event::Watch);
        Cluster {
            hosts: config.node_ids().map(host).chain(successors).collect(),
            shape,
            writers: Vec::new(),
            ended: Vec::new(),
            network: Network::default(),
            slow_reads: Rate::NEVER,
            configures_only: None,
            holds_fold: false,
            mended_late: None,
            policy: shape::policy(),
            random: Random::new(seed),
            coverage: Coverage::default(),
            digest: Digest::default(),
            counts: Counts::default(),
            laws: NodeLaws::default(),
            recorded: Vec::new(),
            is_watched: true,
            is_traced: false,
            clock,
            next_writer: 0,
            incarnations: 1000,
            replaced: BTreeSet::new(),
            made: BTreeSet::new(),
        }
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// When something happens next: there is always a tick to come.
    pub fn next_at(&self) -> Instant {
        self.clock.next_at().unwrap_or(self.clock.now())
    }

    /// Lets time pass in which nothing happens.
    pub fn advance_to(&mut self, at: Instant) {
        self.clock.advance_to(at);
    }

    /// Tells the story, if somebody listens.
    pub fn tell(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            let micros = self.now().0 / 1000;
            println!(
                "{:>6}.{:06} {}",
                micros / 1_000_000,
                micros % 1_000_000,
                text()
            );
        }
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) {
        let Some(event) = self.clock.next_event() else {
            return;
        };
        self.counts.steps += 1;
        self.digest.add(self.now().0);
        match event {
            Event::Tick => {
                self.clock.after(TICK, Event::Tick);
                self.tick();
            }
            Event::Watch => {
                self.clock
                    .after(redoubt_volume::limits::DIRECTORY_CHECK, Event::Watch);
                if self.is_watched {
                    self.look_after_nodes();
                }
            }
            Event::Checkpoint(node) => self.want_checkpoint(node),
            Event::Die(node, life) => {
                if self.hosts[node.index()].life == life {
                    self.crash_node(node);
                }
            }
            Event::ResumeNode(node) => self.resume_node(node),
            Event::ResumeWriter(writer) => self.resume_writer(writer),
            Event::Request(_, _, node, _)
            | Event::Disk(node, ..)
            | Event::Idle(node, _)
            | Event::Peer(_, node, _) => {
                let host = &mut self.hosts[node.index()];
                match &mut host.paused {
                    Some(inbox) => inbox.push(event),
                    None => self.deliver(event),
                }
            }
            Event::Reply(_, _, writer, _) | Event::Link(writer, ..) => {
                let process = self.writers.iter_mut().find(|process| process.id == writer);
                match process.and_then(|process| process.paused.as_mut()) {
                    Some(inbox) => inbox.push(event),
                    None => self.deliver(event),
                }
            }
        }
    }

    fn tick(&mut self) {
        let now = self.now();
        for index in 0..self.hosts.len() {
            let host = &mut self.hosts[index];
            if host.paused.is_none()
                && let Some(node) = &mut host.node
            {
                node.on_tick(now);
                self.pump_node(NodeId(index as u16));
            }
        }
        let running = self
            .writers
            .iter()
            .filter(|process| process.paused.is_none());
        for id in running.map(|process| process.id).collect::<Vec<_>>() {
            if let Some(process) = self.writer_mut(id) {
                process.writer.on_tick(now, now.0);
                self.pump_writer(id);
            }
        }
    }

    /// A writer's process, if it runs.
    pub fn writer(&self, id: WriterId) -> Option<&WriterProcess> {
        self.writers.iter().find(|process| process.id == id)
    }

    /// The same, to be changed.
    pub fn writer_mut(&mut self, id: WriterId) -> Option<&mut WriterProcess> {
        self.writers.iter_mut().find(|process| process.id == id)
    }
}
