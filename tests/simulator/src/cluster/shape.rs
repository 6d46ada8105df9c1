//! What a cluster is made of.

use redoubt_volume::config::{NodeEntry, VolumeConfig};
use redoubt_volume::geometry::Geometry;
use redoubt_volume::ids::{Incarnation, VolumeId, ZoneId};
use redoubt_volume::placement::Relocation;
use redoubt_volume::writer::{CacheMode, QuorumLoss, RebuildRate, WriterPolicy};

/// What a cluster is made of.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Nodes of each of the three zones; an even number.
    pub nodes_per_zone: usize,
    /// Size of a group in MiB.
    pub group_mib: u64,
    /// Size of the disk in bytes.
    pub disk_bytes: u64,
    /// Bytes of a log extent.
    pub extent_bytes: u32,
    /// Which volume: another number is another volume.
    pub volume: u8,
    /// Memory of all nodes' indexes.
    pub index_bytes: usize,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            nodes_per_zone: 2,
            group_mib: 1,
            disk_bytes: 4 << 20,
            extent_bytes: 1 << 20,
            volume: 9,
            index_bytes: 64 << 20,
        }
    }
}

impl Shape {
    /// The configuration of a new volume of this shape.
    pub fn config(&self) -> VolumeConfig {
        let zones = self.nodes_per_zone;
        let entry = |index: usize| {
            let zone = ZoneId((index / zones) as u8);
            NodeEntry::new(zone, Incarnation(index as u64 + 1))
        };
        let geometry = Geometry::new(self.group_mib << 20, (zones / 2) as u32);
        VolumeConfig {
            version: 1,
            volume: VolumeId([self.volume; 16]),
            disk_bytes: self.disk_bytes,
            geometry: geometry.expect("a shape has groups of whole MiB"),
            extent_bytes: self.extent_bytes,
            nodes: (0..zones * 3).map(entry).collect(),
            relocation: Relocation::default(),
        }
    }
}

/// What a writer does unless it is told otherwise.
pub(super) fn policy() -> WriterPolicy {
    WriterPolicy {
        cache: CacheMode::Writeback,
        on_quorum_loss: QuorumLoss::Wait,
        read_only: false,
        rebuild_rate: RebuildRate::Adaptive,
    }
}
