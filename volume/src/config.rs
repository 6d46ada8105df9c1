//! What a volume is made of: size, shape, nodes, and which nodes hold which group.

use crate::geometry::Geometry;
use crate::ids::{Incarnation, NodeId, VolumeId, ZoneId};
use crate::placement::Relocation;

/// Copies of every group.
pub const SEGMENTS: usize = 6;
/// Availability zones of a volume.
pub const ZONES: usize = 3;
/// Copies of a group in each zone.
pub const SEGMENTS_PER_ZONE: usize = SEGMENTS / ZONES;

/// A row of the node table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// The zone that the node fails with.
    pub zone: ZoneId,
    /// The life of its directory that is admitted; another one counts in no quorum.
    pub incarnation: Incarnation,
    /// Groups are placed on it by the former node table.
    pub in_former: bool,
    /// Groups are placed on it by the current node table.
    pub in_current: bool,
}

impl NodeEntry {
    /// A node of a new volume.
    pub fn new(zone: ZoneId, incarnation: Incarnation) -> NodeEntry {
        NodeEntry {
            zone,
            incarnation,
            in_former: true,
            in_current: true,
        }
    }
}

/// The volume's configuration: kept in every superblock, changed only by a higher version that
/// four nodes hold (DESIGN §7.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeConfig {
    /// Rises with every change.
    pub version: u64,
    /// Identity of the volume.
    pub volume: VolumeId,
    /// Size of the disk in bytes.
    pub disk_bytes: u64,
    /// Shape of groups and stripe sets.
    pub geometry: Geometry,
    /// Bytes of a log extent.
    pub extent_bytes: u32,
    /// The nodes, in order of their ids; zones in equal numbers.
    pub nodes: Vec<NodeEntry>,
    /// How groups move from the former node table to the current one.
    pub relocation: Relocation,
}

impl VolumeConfig {
    /// Ids of all nodes.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u16).map(NodeId)
    }

    /// Groups of the whole disk, written or not.
    pub fn group_count(&self) -> u32 {
        self.geometry.group_count(self.disk_bytes)
    }

    /// A node's name: the letter of its zone and its number there, such as `b2`.
    pub fn node_name(&self, node: NodeId) -> String {
        let zone = self.nodes[node.index()].zone;
        let place = self
            .nodes_in_zone(zone)
            .iter()
            .position(|other| *other == node);
        format!(
            "{}{}",
            char::from(b'a' + zone.0),
            place.map_or(0, |index| index + 1)
        )
    }

    /// The address of the directory that is being filled to take this node's place.
    pub fn successor(&self, node: NodeId) -> NodeId {
        NodeId(self.nodes.len() as u16 + node.0)
    }

    /// Whether this is the address of a successor.
    pub fn is_successor(&self, node: NodeId) -> bool {
        node.index() >= self.nodes.len()
    }

    /// The node whose place an address has, or is to take.
    pub fn seat(&self, node: NodeId) -> NodeId {
        NodeId(node.0 % self.nodes.len() as u16)
    }

    fn nodes_in_zone(&self, zone: ZoneId) -> Vec<NodeId> {
        self.node_ids()
            .filter(|node| self.nodes[node.index()].zone == zone)
            .collect()
    }
}

/// Why a node table cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeTableError {
    /// Fewer than six nodes.
    #[error("a volume needs at least six nodes, two in each of three zones; {0} were named")]
    TooFew(usize),
    /// The zones have different numbers of nodes, or there are not three zones.
    #[error(
        "the three zones a, b and c need the same number of nodes each; they have {0}, {1} and {2}"
    )]
    Uneven(usize, usize, usize),
}

/// Checks that the zones of a node table make three equal ones of two or more.
///
/// # Errors
/// [`NodeTableError`] says what is wrong.
pub fn check_zones(zones: &[ZoneId]) -> Result<(), NodeTableError> {
    let count = |zone: u8| zones.iter().filter(|other| other.0 == zone).count();
    let (a, b, c) = (count(0), count(1), count(2));
    if zones.len() < SEGMENTS {
        return Err(NodeTableError::TooFew(zones.len()));
    }
    if a != b || b != c || a * ZONES != zones.len() {
        return Err(NodeTableError::Uneven(a, b, c));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration for tests: `per_zone` nodes a zone, groups of `group_mib` MiB.
    pub(crate) fn config(per_zone: usize, group_mib: u64, disk_bytes: u64) -> VolumeConfig {
        let node = |index: usize| {
            let zone = ZoneId((index / per_zone) as u8);
            NodeEntry::new(zone, Incarnation(100 + index as u64))
        };
        VolumeConfig {
            version: 1,
            volume: VolumeId([7; 16]),
            disk_bytes,
            geometry: Geometry::new(group_mib << 20, (per_zone * ZONES / SEGMENTS) as u32).unwrap(),
            extent_bytes: 1 << 20,
            nodes: (0..per_zone * ZONES).map(node).collect(),
            relocation: Relocation::default(),
        }
    }

    #[test]
    fn uneven_zones_are_refused() {
        let zones = |list: &[u8]| list.iter().map(|zone| ZoneId(*zone)).collect::<Vec<_>>();
        assert_eq!(
            check_zones(&zones(&[0, 0, 1, 1, 2])),
            Err(NodeTableError::TooFew(5))
        );
        assert_eq!(
            check_zones(&zones(&[0, 0, 0, 1, 2, 2])),
            Err(NodeTableError::Uneven(3, 1, 2))
        );
        assert_eq!(check_zones(&zones(&[0, 1, 2, 2, 1, 0])), Ok(()));
    }
}
