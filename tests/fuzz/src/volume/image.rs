//! The small volumes that are changed: written once by the production code, with the contents
//! that each block may have.

use super::cluster::Cluster;
use super::disk::Disk;
use super::mutation::Area;
use redoubt_volume::config::{NodeEntry, SEGMENTS, VolumeConfig, ZONES};
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::geometry::{BLOCK_BYTES, Geometry};
use redoubt_volume::ids::{Incarnation, NodeId, VolumeId, ZoneId};
use redoubt_volume::placement::Relocation;
use std::collections::BTreeSet;
use std::sync::OnceLock;

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
        static IMAGES: OnceLock<[Image; 6]> = OnceLock::new();
        let images = IMAGES.get_or_init(|| {
            [
                young(),
                checkpointed(),
                survivor(),
                moving(),
                drained(),
                exchanged(),
            ]
        });
        &images[usize::from(which) % images.len()]
    }

    /// The configurations that its nodes hold.
    fn configurations(&self) -> impl Iterator<Item = VolumeConfig> {
        let files = self.disks.iter().map(Disk::superblock_bytes);
        files.filter_map(|file| Some(Superblock::newest(&file).ok()?.config))
    }

    /// Whether some of them are newer than others.
    fn is_in_between(&self) -> bool {
        let versions = self.configurations().map(|config| config.version);
        versions.collect::<BTreeSet<_>>().len() > 1
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
    fn end_with_tail(&mut self, stalled: &[u16]) {
        self.cluster.stalled = stalled.iter().copied().map(NodeId).collect();
        self.write(3 * BLOCK_BYTES, BLOCK_BYTES, 201);
        self.cluster.tick();
        self.write(70 * BLOCK_BYTES + 700, 5000, 202);
        self.cluster.tick();
        self.cluster.step();
        self.cluster.tick();
        self.cluster.step();
        self.cluster.kill();
    }

    /// The process ends when only these nodes have carried out what all were asked for.
    fn end_known_by(&mut self, nodes: &[u16]) {
        let others = self.cluster.config().node_ids();
        self.cluster.stalled = others.filter(|node| !nodes.contains(&node.0)).collect();
        while self.cluster.step() {}
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
    author.end_with_tail(&[1, 3, 5]);
    author.finish()
}

/// Tails were annulled, a node was replaced and filled, checkpoints were made.
fn survivor() -> Image {
    let mut author = Author::new();
    author.write_some(5);
    author.end_with_tail(&[0, 1, 2, 3, 4]);
    author.reopen();
    author.cluster.work_in_background();
    author.write_some(6);
    author.end_with_tail(&[2, 3, 4, 5]);
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

/// A node has come to each zone, and segments begin to move there.
fn grown() -> Author {
    let mut author = Author::new();
    author.write_some(9);
    author.cluster.work_in_background();
    let entry = |zone: usize| NodeEntry::new(ZoneId(zone as u8), Incarnation(60 + zone as u64));
    author.cluster.widen((0..ZONES).map(entry).collect());
    author.cluster.kill();
    author.cluster.seat_nodes_that_came();
    author.cluster.open().expect("the larger volume opens");
    author
}

/// Segments are moving to nodes that have come: one has moved, and two nodes know that the next one
/// has.
fn moving() -> Image {
    let mut author = grown();
    author.cluster.run_until_moving(1);
    author.write(100 * BLOCK_BYTES, 3 * BLOCK_BYTES, 10);
    author.end_known_by(&[0, 4]);
    let image = author.finish();
    assert!(image.configurations().all(|config| config.relocation.moves));
    assert!(image.is_in_between());
    image
}

/// All segments have moved; then a node was drained, and its directory is gone.
fn drained() -> Image {
    let mut author = grown();
    author.cluster.run_until_moved();
    author.write_some(11);
    let gone = NodeId(3);
    author.cluster.drain(gone);
    author.write_some(12);
    author.cluster.work_in_background();
    author.end_with_tail(&[0, 2, 5, 7]);
    author.cluster.disks[gone.index()] = Disk::default();
    author.finish()
}

/// The directory of a member was exchanged for another; two nodes do not know it yet.
fn exchanged() -> Image {
    let mut author = Author::new();
    author.write_some(13);
    author.cluster.work_in_background();
    author.write_some(14);
    let member = NodeId(2);
    author.cluster.run_until_exchanging(member, Incarnation(88));
    author.cluster.stalled = [NodeId(1), NodeId(5)].into();
    author.cluster.run_until_seated(member);
    let image = author.finish();
    assert!(image.is_in_between());
    image
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
        nodes: (0..SEGMENTS).map(entry).collect(),
        relocation: Relocation::default(),
    }
}
