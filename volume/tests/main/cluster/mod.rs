//! A whole volume in one thread: the production writer and nodes on memory disks, driven step by
//! step. Every choice comes from the caller's seed.

mod disk;

pub use disk::{File, MemoryDisk};

use redoubt_volume::config::{NodeEntry, VolumeConfig};
use redoubt_volume::embedded::Embedded;
use redoubt_volume::error::IoFailure;
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::geometry::{BLOCKS_PER_UNIT, Geometry};
use redoubt_volume::ids::{
    GroupBlock, GroupId, Incarnation, NodeId, VolumeEpoch, VolumeId, ZoneId,
};
use redoubt_volume::lsn::TruncationList;
use redoubt_volume::segment::node::Node;
use redoubt_volume::time::Instant;
use redoubt_volume::writer::payload::cut;
use redoubt_volume::writer::{Answer, CacheMode, QuorumLoss, Ticket, Writer, WriterPolicy};
use std::collections::BTreeMap;
use std::time::Duration;

/// Numbers from a seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// What a cluster is made of.
#[derive(Clone, Copy)]
pub struct Shape {
    pub nodes_per_zone: usize,
    pub group_mib: u64,
    pub disk_bytes: u64,
    pub index_bytes: usize,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            nodes_per_zone: 2,
            group_mib: 1,
            disk_bytes: 4 << 20,
            index_bytes: 64 << 20,
        }
    }
}

pub struct Cluster {
    pub shape: Shape,
    pub disks: Vec<Option<MemoryDisk>>,
    pub core: Option<Embedded>,
    pub answers: BTreeMap<Ticket, Result<Answer, IoFailure>>,
    pub opened: Option<Result<(), String>>,
    pub random: Random,
    pub now: Instant,
    next_ticket: u64,
    opens: u64,
    incarnations: u64,
}

impl Cluster {
    pub fn create(shape: Shape, seed: u64) -> Cluster {
        let config = config(&shape);
        let disks = config.node_ids().map(|node| {
            let incarnation = config.nodes[node.index()].incarnation;
            Some(MemoryDisk::create(&superblock(
                &config,
                node,
                incarnation,
                false,
            )))
        });
        Cluster {
            shape,
            disks: disks.collect(),
            core: None,
            answers: BTreeMap::new(),
            opened: None,
            random: Random(seed),
            now: Instant(1),
            next_ticket: 0,
            opens: 0,
            incarnations: 1000,
        }
    }

    /// Opens the volume on every disk that is there.
    pub fn open(&mut self) -> Result<(), String> {
        self.opens += 1;
        let policy = WriterPolicy {
            cache: CacheMode::Writeback,
            on_quorum_loss: QuorumLoss::Wait,
            read_only: false,
        };
        let nodes: Vec<Option<Node>> = (0..self.disks.len()).map(|i| self.open_node(i)).collect();
        let writer = Writer::new(config(&self.shape), 0x5eed_0000 + self.opens, policy);
        let present: Vec<NodeId> = nodes.iter().flatten().map(Node::id).collect();
        let mut core = Embedded { writer, nodes };
        for node in present {
            core.writer.node_up(self.now, node);
        }
        core.writer.open(self.now);
        self.core = Some(core);
        self.opened = None;
        self.run_until(|cluster| cluster.opened.is_some());
        self.opened
            .clone()
            .unwrap_or_else(|| Err("the recovery did not end".to_owned()))
    }

    fn open_node(&mut self, index: usize) -> Option<Node> {
        let index_bytes = self.shape.index_bytes / self.disks.len();
        let disk = self.disks[index].as_mut()?;
        let superblock = Superblock::newest(disk.superblock_file()).ok()?;
        // A directory that proves nothing is left out, like one that is not there.
        Node::open(superblock, disk, index_bytes).ok()
    }

    /// Cuts the power: each disk keeps what was synced, and some of the rest.
    pub fn crash(&mut self) {
        self.core = None;
        self.answers.clear();
        for disk in self.disks.iter_mut().flatten() {
            disk.cut_power(&mut self.random);
        }
    }

    /// Kills the process: each disk goes on, with what was written and not synced.
    pub fn kill(&mut self) {
        self.core = None;
        self.answers.clear();
        for disk in self.disks.iter_mut().flatten() {
            disk.lose_process();
        }
    }

    /// Whether the node takes part.
    pub fn is_node_open(&self, index: usize) -> bool {
        self.core
            .as_ref()
            .is_some_and(|core| core.nodes[index].is_some())
    }

    /// A node's directory is gone under the running volume.
    pub fn lose_node(&mut self, index: usize) -> Option<MemoryDisk> {
        let disk = self.disks[index].take();
        if let Some(core) = &mut self.core {
            core.nodes[index] = None;
            core.writer
                .node_down(self.now, NodeId(index as u16), "its directory is gone");
        }
        self.settle();
        disk
    }

    /// A node's directory is there (again).
    pub fn return_node(&mut self, index: usize, mut disk: MemoryDisk) {
        disk.cut_power(&mut self.random);
        self.disks[index] = Some(disk);
        if self.core.is_some() {
            let node = self.open_node(index);
            if let (Some(core), Some(node)) = (&mut self.core, node) {
                core.nodes[index] = Some(node);
                core.writer.node_up(self.now, NodeId(index as u16));
            }
            self.settle();
        }
    }

    /// A new, empty directory in the place of a lost one.
    pub fn replace_node(&mut self, index: usize) {
        self.incarnations += 1;
        let config = match &self.core {
            Some(core) => core.writer.config().clone(),
            None => config(&self.shape),
        };
        let incarnation = Incarnation(self.incarnations);
        let fresh = superblock(&config, NodeId(index as u16), incarnation, true);
        self.return_node(index, MemoryDisk::create(&fresh));
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    pub fn core(&mut self) -> &mut Embedded {
        self.core.as_mut().expect("the volume is open")
    }

    pub fn start_write(&mut self, offset: u64, data: &[u8], durable: bool) -> Ticket {
        let (ticket, now) = (self.ticket(), self.now);
        self.core()
            .writer
            .write(now, ticket, cut(offset, data), durable);
        self.settle();
        ticket
    }

    pub fn start_flush(&mut self) -> Ticket {
        let (ticket, now) = (self.ticket(), self.now);
        self.core().writer.flush(now, ticket);
        self.settle();
        ticket
    }

    pub fn start_discard(&mut self, offset: u64, length: u64) -> Ticket {
        let (ticket, now) = (self.ticket(), self.now);
        self.core().writer.discard(now, ticket, offset, length);
        self.settle();
        ticket
    }

    pub fn start_resize(&mut self, bytes: u64) -> Ticket {
        let ticket = self.ticket();
        self.core().writer.resize(ticket, bytes);
        self.settle();
        ticket
    }

    pub fn start_read(&mut self, offset: u64, length: usize) -> Ticket {
        let (ticket, now) = (self.ticket(), self.now);
        self.core().writer.read(now, ticket, offset, length);
        self.settle();
        ticket
    }

    pub fn wait(&mut self, ticket: Ticket) -> Result<Answer, IoFailure> {
        self.run_until(|cluster| cluster.answers.contains_key(&ticket));
        self.answers
            .remove(&ticket)
            .expect("the request was answered")
    }

    pub fn read(&mut self, offset: u64, length: usize) -> Vec<u8> {
        let ticket = self.start_read(offset, length);
        match self.wait(ticket).expect("the read succeeds") {
            Answer::Bytes(bytes) => bytes.as_ref().to_vec(),
            other => panic!("a read answered {other:?}"),
        }
    }

    /// A node's own copy of a unit of blocks.
    pub fn read_copy(&mut self, node: usize, group: GroupId, block: GroupBlock) -> Option<Vec<u8>> {
        let (ticket, now) = (self.ticket(), self.now);
        let node = NodeId(node as u16);
        self.core()
            .writer
            .read_copy(now, ticket, node, group, block, BLOCKS_PER_UNIT);
        self.settle();
        match self.wait(ticket) {
            Ok(Answer::Bytes(bytes)) => Some(bytes.as_ref().to_vec()),
            _ => None,
        }
    }

    /// Passes on messages; disk effects are queued on their disks.
    pub fn settle(&mut self) {
        let now = self.now;
        let Some(core) = &mut self.core else { return };
        let outcome = core.settle(now);
        self.answers.extend(outcome.completed);
        if outcome.opened.is_some() {
            self.opened = outcome.opened;
        }
        for (node, effect) in outcome.disk {
            if let Some(disk) = &mut self.disks[node.index()] {
                disk.submit(effect);
            }
        }
    }

    /// Completes one effect of one disk; `false` if all are idle.
    pub fn step(&mut self) -> bool {
        let busy: Vec<usize> = (0..self.disks.len())
            .filter(|index| self.disks[*index].as_ref().is_some_and(MemoryDisk::is_busy))
            .collect();
        if busy.is_empty() {
            return false;
        }
        let index = busy[self.random.below(busy.len() as u64) as usize];
        let Some(disk) = &mut self.disks[index] else {
            return false;
        };
        let completion = disk.complete_one(&mut self.random);
        self.now = self.now.plus(Duration::from_micros(50));
        let now = self.now;
        if let (Some(core), Some(completion)) = (&mut self.core, completion) {
            core.on_disk(now, vec![(NodeId(index as u16), completion)]);
        }
        self.settle();
        true
    }

    pub fn tick(&mut self) {
        self.now = self.now.plus(Duration::from_millis(20));
        let now = self.now;
        if let Some(core) = &mut self.core {
            core.on_tick(now, 0);
        }
        self.settle();
    }

    pub fn run_until(&mut self, done: impl Fn(&Cluster) -> bool) {
        for _ in 0..100_000 {
            if done(self) {
                return;
            }
            if !self.step() {
                self.tick();
            }
        }
        let figures = self.core.as_ref().map(|core| core.writer.figures());
        panic!("nothing more happens: {figures:?}");
    }

    /// Lets everything in the background come to its end.
    pub fn quiesce(&mut self, ticks: usize) {
        for _ in 0..ticks {
            while self.step() {}
            self.tick();
        }
    }

    /// Closes in order: flush, checkpoint, stop.
    pub fn close(&mut self) {
        let flush = self.start_flush();
        self.wait(flush).expect("the flush succeeds");
        self.core()
            .nodes
            .iter_mut()
            .flatten()
            .for_each(Node::want_checkpoint);
        self.quiesce(3);
        // A disk that completes nothing still has what was asked of it.
        self.crash();
    }
}

fn config(shape: &Shape) -> VolumeConfig {
    let zones = shape.nodes_per_zone;
    let entry = |index: usize| NodeEntry {
        zone: ZoneId((index / zones) as u8),
        incarnation: Incarnation(index as u64 + 1),
    };
    VolumeConfig {
        version: 1,
        volume: VolumeId([9; 16]),
        disk_bytes: shape.disk_bytes,
        geometry: Geometry::new(shape.group_mib << 20, (zones / 2) as u32).expect("a geometry"),
        extent_bytes: 1 << 20,
        nodes: (0..zones * 3).map(entry).collect(),
    }
}

fn superblock(
    config: &VolumeConfig,
    node: NodeId,
    incarnation: Incarnation,
    fresh: bool,
) -> Superblock {
    Superblock {
        sequence: 1,
        node,
        incarnation,
        promised: VolumeEpoch::default(),
        list: TruncationList::default(),
        config: config.clone(),
        fresh,
        checkpoint: Vec::new(),
    }
}
