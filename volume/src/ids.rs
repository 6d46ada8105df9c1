//! Names of things. Each number that could be confused with another has a type of its own.

use std::fmt;

/// Identity of a volume: 128 random bits, drawn at creation, in every frame and superblock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeId(pub [u8; 16]);

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VolumeId({self})")
    }
}

/// A storage node: its place in the volume's node table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u16);

impl NodeId {
    /// Position in a table with one row per node.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// An availability zone (AZ): nodes of one AZ are expected to fail together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZoneId(pub u8);

/// A protection group: a fixed share of the disk, kept by six segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// A block of the disk, counted from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiskBlock(pub u64);

/// A block of a protection group, counted from the group's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupBlock(pub u32);

/// One life of a node directory: drawn when the directory is made, so that an emptied or replaced
/// directory is never taken for the one that acknowledged writes (DESIGN §5, §7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// Of no directory: no life of the node is admitted.
    pub const NONE: Incarnation = Incarnation(0);
}

/// A volume epoch: a number above every one seen, made unique by the writer's random id, and
/// totally ordered (DESIGN §7.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeEpoch {
    /// Rises with every open.
    pub number: u64,
    /// Random id of the writer that raised it.
    pub writer: u64,
}

impl fmt::Display for VolumeEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:04x}", self.number, self.writer & 0xffff)
    }
}

/// Number of a log extent of one node. Never given out twice by a node, also when the file below
/// is used again, so that an old frame in a recycled file is recognized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtentSequence(pub u32);

/// Number of an extent's file in the node's `log/` folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtentSlot(pub u32);
