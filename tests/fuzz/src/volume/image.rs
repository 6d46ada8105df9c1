//! The small volumes that are changed: written once by the production code, with the contents
//! that each block may have.

use super::cluster::Cluster;
use super::disk::Disk;
use super::mutation::Area;
use redoubt_volume::config::{NodeEntry, VolumeConfig};
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::geometry::{BLOCK_BYTES, Geometry};
use redoubt_volume::ids::{Incarnation, NodeId, VolumeId, ZoneId};
use redoubt_volume::placement::Relocation;
use std::sync::OnceLock;

pub(super) const NODES: usize = 6;
pub(super) const VOLUME: VolumeId = VolumeId([9; 16]);
/// Blocks of the disk: two groups of 1 MiB.
pub(super) const BLOCKS: usize = 128;
/// Memory for the index of a node: less than it would like, so that leaves are loaded again.
pub(super) const INDEX_BYTES: usize = 16 << 10;

/// A volume's files and what may be read from them.
pub(super) struct Image {
    pub(super) disks: Vec<Disk>,
    /// Where a mutation can hit, for each node.
    pub(super) areas: Vec<Vec<Area>>,
    /// Contents that each block may have: the flushed one first.
    allowed: Vec<Vec<Vec<u8>>>,
}

impl Image {
    /// One of the volumes.
    pub(super) fn choose(which: u8) -> &'static Image {
        static IMAGES: OnceLock<[Image; 3]> = OnceLock::new();
        let images = IMAGES.get_or_init(|| [young(), checkpointed(), survivor()]);
        &images[usize::from(which) % images.len()]
    }

    /// Whether the bytes from an offset on, a whole number of blocks, may be what is read there.
    pub(super) fn allows(&self, offset: usize, bytes: &[u8]) -> bool {
        let blocks = bytes.chunks(BLOCK_BYTES).enumerate();
        let allowed = &self.allowed[offset / BLOCK_BYTES..];
        blocks
            .into_iter()
            .all(|(index, block)| allowed[index].iter().any(|content| content == block))
    }
}

/// A volume that is being written.
struct Author {
    cluster: Cluster,
    allowed: Vec<Vec<Vec<u8>>>,
}

impl Author {
    fn new() -> Author {
        let config = config();
        let disk = |node: NodeId| {
            let incarnation = config.nodes[node.index()].incarnation;
            Disk::create(&Superblock::new(&config, node, incarnation, false))
        };
        let mut cluster = Cluster::new(config.node_ids().map(disk).collect(), 1000);
        cluster.open().expect("a new volume opens");
        Author {
            cluster,
            allowed: vec![vec![vec![0; BLOCK_BYTES]]; BLOCKS],
        }
    }

    /// Writes bytes that differ from those of every other write.
    fn write(&mut self, offset: usize, length: usize, seed: u8) {
        let byte = |index: usize| seed.wrapping_add((index / 512) as u8).wrapping_mul(31) | 1;
        let data: Vec<u8> = (0..length).map(byte).collect();
        self.cluster.write(offset as u64, &data);
        self.change(offset, length, |at| data[at]);
    }

    fn discard(&mut self, offset: usize, length: usize) {
        self.cluster.discard(offset as u64, length as u64);
        self.change(offset, length, |_| 0);
    }

    fn change(&mut self, offset: usize, length: usize, byte: impl Fn(usize) -> u8) {
        let end = offset + length;
        for block in offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES) {
            let start = block * BLOCK_BYTES;
            let contents = &mut self.allowed[block];
            let mut next = contents.last().expect("there is a content").clone();
            for at in offset.max(start)..end.min(start + BLOCK_BYTES) {
                next[at - start] = byte(at - offset);
            }
            contents.push(next);
        }
    }

    /// Everything is durable, on all six.
    fn flush(&mut self) {
        self.cluster.flush();
        self.cluster.tick();
        for contents in &mut self.allowed {
            contents.drain(..contents.len() - 1);
        }
    }

    /// Some writes of all kinds.
    fn write_some(&mut self, seed: u8) {
        for index in 0..24 {
            let block = (index * 5 + usize::from(seed)) % (BLOCKS - 4);
            self.write(block * BLOCK_BYTES, BLOCK_BYTES, seed ^ index as u8);
            if index % 3 == 0 {
                self.write(block * BLOCK_BYTES + 100 * index, 3000, seed + 100);
            }
        }
        self.flush();
        self.discard((7 + usize::from(seed) % 50) * BLOCK_BYTES, 3 * BLOCK_BYTES);
        self.write(40 * BLOCK_BYTES + 512, 2 * BLOCK_BYTES, seed + 50);
        self.flush();
    }

    /// Writes that only some nodes get before the process ends.
    fn end_with_tail(&mut self, stalled: [bool; NODES]) {
        self.cluster.stalled = stalled;
        self.write(3 * BLOCK_BYTES, BLOCK_BYTES, 201);
        self.cluster.tick();
        self.write(70 * BLOCK_BYTES + 700, 5000, 202);
        self.cluster.tick();
        self.cluster.step();
        self.cluster.tick();
        self.cluster.step();
        self.cluster.kill();
    }

    /// What the volume says, from now on the only right content.
    fn reopen(&mut self) {
        self.cluster.open().expect("the volume opens");
        for block in 0..BLOCKS {
            let offset = (block * BLOCK_BYTES) as u64;
            let bytes = self.cluster.read(offset, BLOCK_BYTES);
            let bytes = bytes.expect("every block can be read");
            let contents = &mut self.allowed[block];
            assert!(contents.contains(&bytes), "block {block} is wrong");
            *contents = vec![bytes];
        }
    }

    fn finish(mut self) -> Image {
        self.cluster.kill();
        let disks = self.cluster.disks;
        Image {
            areas: disks.iter().map(Area::all).collect(),
            disks,
            allowed: self.allowed,
        }
    }
}

/// Some writes, no checkpoint.
fn young() -> Image {
    let mut author = Author::new();
    author.write(0, 2 * BLOCK_BYTES, 1);
    author.write(90 * BLOCK_BYTES + 5, 300, 2);
    author.flush();
    author.finish()
}

/// A checkpoint, a log behind it, and a tail that three nodes hold.
fn checkpointed() -> Image {
    let mut author = Author::new();
    author.write_some(3);
    author.cluster.work_in_background();
    author.write_some(4);
    author.end_with_tail([false, true, false, true, false, true]);
    author.finish()
}

/// Tails were annulled, a node was replaced and filled, checkpoints were made.
fn survivor() -> Image {
    let mut author = Author::new();
    author.write_some(5);
    author.end_with_tail([true, true, true, true, true, false]);
    author.reopen();
    author.cluster.work_in_background();
    author.write_some(6);
    author.end_with_tail([false, false, true, true, true, true]);
    let replaced = NodeId(5);
    let fresh = Superblock::new(&config(), replaced, Incarnation(77), true);
    author.cluster.disks[replaced.index()] = Disk::create(&fresh);
    author.reopen();
    author.cluster.work_in_background();
    author.write_some(7);
    author.cluster.work_in_background();
    author.write_some(8);
    author.finish()
}

fn config() -> VolumeConfig {
    let entry = |index: usize| {
        let zone = ZoneId((index / 2) as u8);
        NodeEntry::new(zone, Incarnation(index as u64 + 1))
    };
    VolumeConfig {
        version: 1,
        volume: VOLUME,
        disk_bytes: (BLOCKS * BLOCK_BYTES) as u64,
        geometry: Geometry::new(1 << 20, 1).expect("a geometry"),
        extent_bytes: 1 << 20,
        nodes: (0..NODES).map(entry).collect(),
        relocation: Relocation::default(),
    }
}
