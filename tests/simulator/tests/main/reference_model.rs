//! The volume against a `Vec<u8>`, over random sequences of everything that can happen to it.

use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::disk::{File, MemoryDisk};
use redoubt_simulator::random::Random;
use redoubt_volume::geometry::{BLOCKS_PER_UNIT, UNIT_BYTES};
use redoubt_volume::ids::{DiskBlock, NodeId};

/// What the disk may hold: the state after each mutation, from the last flushed one on.
struct Model {
    /// States after mutation `first`, `first + 1`, …
    states: Vec<Vec<u8>>,
}

impl Model {
    fn new(bytes: usize) -> Model {
        Model {
            states: vec![vec![0; bytes]],
        }
    }

    fn now(&self) -> &[u8] {
        self.states.last().expect("there is always a state")
    }

    fn mutate(&mut self, change: impl FnOnce(&mut [u8])) {
        let mut next = self.now().to_vec();
        change(&mut next);
        self.states.push(next);
    }

    /// Everything up to now is durable.
    fn flushed(&mut self) {
        self.states.drain(..self.states.len() - 1);
    }

    /// After a crash the disk must be in one of the states; it stays in that one.
    fn settle(&mut self, found: &[u8], story: &str) {
        let place = self.states.iter().rposition(|state| state == found);
        assert!(
            place.is_some(),
            "the disk is in no state it was ever in: {story}"
        );
        self.states = vec![found.to_vec()];
    }
}

struct Run {
    cluster: Cluster,
    model: Model,
    random: Random,
    /// Disks of nodes that are away.
    away: Vec<(usize, MemoryDisk)>,
    /// Nodes whose disk completes nothing.
    stalled: Vec<usize>,
    /// The node whose log was changed at rest: its copies may be unreadable, never wrong.
    rotten: Option<usize>,
    story: Vec<String>,
    bytes: usize,
}

impl Run {
    fn new(shape: Shape, seed: u64) -> Run {
        let mut cluster = crate::unwatched(shape, seed);
        cluster.open().expect("a new volume opens");
        let bytes = shape.disk_bytes as usize;
        Run {
            cluster,
            model: Model::new(bytes),
            random: Random::new(seed ^ 0xabcd),
            away: Vec::new(),
            stalled: Vec::new(),
            rotten: None,
            story: Vec::new(),
            bytes,
        }
    }

    fn range(&mut self) -> (u64, usize) {
        let length = match self.random.below(8) {
            0..3 => 16384,
            3 => 4096,
            4 => 1 + self.random.below(700) as usize,
            5 => 1 + self.random.below(70_000) as usize,
            6 => 16384 * (1 + self.random.below(8) as usize),
            _ => 65536,
        };
        let length = length.min(self.bytes);
        let mut offset = self.random.below((self.bytes - length) as u64 + 1);
        if self.random.below(4) > 0 {
            offset -= offset % 4096;
        }
        (offset, length)
    }

    fn write(&mut self) {
        let (offset, length) = self.range();
        let fill = self.random.draw() as u8 | 1;
        let data: Vec<u8> = (0..length)
            .map(|i| fill.wrapping_add((i / 512) as u8))
            .collect();
        self.story.push(format!("write {offset}+{length}"));
        self.model
            .mutate(|disk| disk[offset as usize..offset as usize + length].copy_from_slice(&data));
        let durable = self.random.below(6) == 0;
        let ticket = self.cluster.start_write(offset, &data, durable);
        if self.random.below(3) == 0 {
            self.cluster.wait(ticket).expect("the write succeeds");
            if durable {
                self.model.flushed();
            }
        }
    }

    fn discard(&mut self) {
        let (offset, length) = match self.random.below(10) {
            0 => (0, self.bytes),
            1 => (self.bytes as u64 / 2, self.bytes / 2),
            _ => self.range(),
        };
        self.story.push(format!("discard {offset}+{length}"));
        self.model
            .mutate(|disk| disk[offset as usize..offset as usize + length].fill(0));
        self.cluster.start_discard(offset, length as u64);
    }

    fn read(&mut self) {
        let (offset, length) = self.range();
        self.story.push(format!("read {offset}+{length}"));
        let found = self.cluster.read(offset, length);
        let expected = &self.model.now()[offset as usize..offset as usize + length];
        let differs = found.iter().zip(expected).position(|(a, b)| a != b);
        assert_eq!(
            differs,
            None,
            "a read of {offset}+{length} is wrong: {}",
            self.tell()
        );
    }

    fn flush(&mut self) {
        self.story.push("flush".to_owned());
        let ticket = self.cluster.start_flush();
        self.cluster.wait(ticket).expect("the flush succeeds");
        self.model.flushed();
    }

    fn tell(&self) -> String {
        self.story[self.story.len().saturating_sub(60)..].join("; ")
    }

    fn reopen(&mut self) {
        let opened = self.cluster.open();
        assert_eq!(opened, Ok(()), "{}", self.tell());
        let found = self.cluster.read(0, self.bytes);
        let story = self.tell();
        self.model.settle(&found, &story);
        self.replace_rotten();
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..50 => self.write(),
            50..58 => self.discard(),
            58..75 => self.read(),
            75..80 => self.flush(),
            80..84 => {
                self.story.push("crash".to_owned());
                self.cluster.crash();
                self.reopen();
            }
            84..86 => {
                self.story.push("close".to_owned());
                self.cluster.close();
                self.model.flushed();
                self.reopen();
            }
            86..88 if self.may_lose() => self.lose(),
            88..89 if self.may_lose() => self.stall(),
            89..90 if self.may_lose() && self.rotten.is_none() => self.rot(),
            90..94 => self.heal(),
            94..97 => self.cluster.quiesce(1),
            _ => {
                let steps = self.random.below(60);
                (0..steps).for_each(|_| {
                    self.cluster.step();
                });
            }
        }
    }

    /// Two nodes may be away, slow, damaged or incomplete at a time: four are left.
    fn may_lose(&mut self) -> bool {
        let nodes = self.cluster.newest().writer.figures().nodes;
        let bad = nodes.iter().enumerate().filter(|(index, (state, _))| {
            !state.is_whole() || self.stalled.contains(index) || self.rotten == Some(*index)
        });
        bad.count() < 2
    }

    fn some_node(&mut self) -> Option<usize> {
        let index = self.random.below(self.cluster.hosts.len() as u64) as usize;
        let usable =
            self.cluster.is_node_open(NodeId(index as u16)) && !self.stalled.contains(&index);
        usable.then_some(index)
    }

    fn lose(&mut self) {
        if let Some(index) = self.some_node() {
            self.story.push(format!("lose node {index}"));
            let disk = self
                .cluster
                .lose_node(NodeId(index as u16))
                .expect("the node was there");
            self.away.push((index, disk));
        }
    }

    fn stall(&mut self) {
        if let Some(index) = self.some_node() {
            self.story.push(format!("stall node {index}"));
            self.cluster.hosts[index]
                .disk
                .as_mut()
                .expect("it is there")
                .damage
                .stuck = true;
            self.stalled.push(index);
        }
    }

    /// Bytes of a node's log change at rest; the node is opened again, if it can be, or replaced.
    fn rot(&mut self) {
        let Some(index) = self.some_node() else {
            return;
        };
        self.rotten = Some(index);
        let mut disk = self
            .cluster
            .lose_node(NodeId(index as u16))
            .expect("the node was there");
        let files: Vec<(File, usize)> = disk.extent_files().collect();
        for _ in 0..self.random.below(6) + 1 {
            let (file, length) = match files.len() {
                0 => (File::Superblock, 65536),
                count => files[self.random.below(count as u64) as usize],
            };
            let offset = self.random.below(length as u64) as usize;
            self.story.push(format!("rot {index} {file:?} {offset}"));
            disk.corrupt(file, offset, 700);
        }
        self.cluster.return_node(NodeId(index as u16), disk);
        self.replace_rotten();
        self.rest();
    }

    /// A node that is too damaged to be opened is replaced.
    fn replace_rotten(&mut self) {
        if let Some(index) = self.rotten
            && self.cluster.hosts[index].disk.is_some()
            && !self.cluster.is_node_open(NodeId(index as u16))
        {
            self.story.push(format!("node {index} does not open"));
            self.cluster.replace_node(NodeId(index as u16));
            self.rotten = None;
        }
    }

    fn heal(&mut self) {
        if let Some(index) = self.stalled.pop() {
            self.story.push(format!("node {index} goes on"));
            self.cluster.unstick(NodeId(index as u16));
        } else if let Some((index, disk)) = self.away.pop() {
            if self.random.below(3) == 0 {
                self.story.push(format!("replace node {index}"));
                self.cluster.replace_node(NodeId(index as u16));
            } else {
                self.story.push(format!("return node {index}"));
                self.cluster.return_node(NodeId(index as u16), disk);
            }
        } else {
            return;
        }
        self.rest();
    }

    /// Bad luck comes one at a time: usually the next loss waits until this one is healed.
    fn rest(&mut self) {
        if self.away.is_empty() && self.stalled.is_empty() || self.random.below(2) == 0 {
            self.cluster.quiesce(60);
        }
    }

    fn finish(&mut self) {
        while !(self.away.is_empty() && self.stalled.is_empty()) {
            self.heal();
        }
        self.replace_rotten();
        self.flush();
        self.cluster.quiesce(60);
        let state = self.cluster.newest().writer.figures().state;
        assert_eq!(state.word(), "healthy", "{}", self.tell());
        self.check_copies();
    }

    /// Every copy of every group is what it should be.
    fn check_copies(&mut self) {
        let config = self.cluster.newest().writer.config().clone();
        let groups = self.cluster.newest().writer.existing_groups();
        for (unit, expected) in self
            .model
            .now()
            .to_vec()
            .chunks(UNIT_BYTES as usize)
            .enumerate()
        {
            let first = DiskBlock(unit as u64 * u64::from(BLOCKS_PER_UNIT));
            let (group, block) = config.geometry.locate(first);
            if !groups.contains(&group) {
                assert!(expected.iter().all(|byte| *byte == 0), "{}", self.tell());
                continue;
            }
            for node in config.members(group) {
                let Some(copy) = self.cluster.read_copy(node, group, block) else {
                    assert!(
                        self.rotten == Some(node.index()),
                        "{node:?} does not read {group:?}: {}",
                        self.tell()
                    );
                    continue;
                };
                let at = copy
                    .as_ref()
                    .iter()
                    .zip(expected)
                    .position(|(one, other)| one != other);
                let at = at.map(|at| unit * UNIT_BYTES as usize + at);
                assert_eq!(at, None, "the copy of {node:?} differs: {}", self.tell());
            }
        }
    }
}

fn run(shape: Shape, seed: u64, steps: usize) {
    let mut run = Run::new(shape, seed);
    (0..steps).for_each(|_| run.step());
    run.finish();
}

fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("REDOUBT_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let first = std::env::var("REDOUBT_FIRST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let first = first.unwrap_or(0);
    first..first + count.unwrap_or(40)
}

#[test]
fn six_nodes_behave_like_a_vector() {
    for seed in seeds() {
        println!("seed {seed}");
        run(Shape::default(), seed, 300);
    }
}

#[test]
fn twelve_nodes_behave_like_a_vector() {
    let shape = Shape {
        nodes_per_zone: 4,
        disk_bytes: 6 << 20,
        ..Shape::default()
    };
    for seed in seeds() {
        println!("seed {seed}");
        run(shape, seed, 200);
    }
}

#[test]
fn an_index_that_does_not_fit_its_memory_changes_nothing() {
    let shape = Shape {
        index_bytes: 6 * 8192,
        disk_bytes: 8 << 20,
        group_mib: 4,
        ..Shape::default()
    };
    for seed in seeds() {
        println!("seed {seed}");
        run(shape, seed, 200);
    }
}
