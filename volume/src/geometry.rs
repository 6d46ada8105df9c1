//! Where a block of the disk lives: block → (group, block in group), and back. Pure.
//!
//! The disk is a concatenation of stripe sets of `width` groups; inside a set it is dealt out in
//! units of 1 MiB. A disk therefore grows without moving anything (DESIGN §1).

use crate::ids::{DiskBlock, GroupBlock, GroupId};

/// Bytes of a block: the unit that is materialized and checked.
pub const BLOCK_BYTES: usize = 16 * 1024;
/// Pages of a block.
pub const PAGES_PER_BLOCK: usize = BLOCK_BYTES / crate::page::PAGE_BYTES;
/// Blocks of a stripe unit (1 MiB).
pub const BLOCKS_PER_UNIT: u32 = 64;
/// Bytes of a stripe unit.
pub const UNIT_BYTES: u64 = BLOCKS_PER_UNIT as u64 * BLOCK_BYTES as u64;
/// Size of a protection group unless the creator chooses less.
pub const DEFAULT_GROUP_BYTES: u64 = 10 << 30;
/// The largest disk.
pub const MAX_DISK_BYTES: u64 = 128 << 40;

/// The shape of a volume, fixed at creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks of a protection group; a multiple of [`BLOCKS_PER_UNIT`].
    pub group_blocks: u32,
    /// Groups of a stripe set, at least 1.
    pub width: u32,
}

impl Geometry {
    /// The geometry of groups of `group_bytes` (a positive multiple of 1 MiB, at most 10 GiB) in
    /// stripe sets of `width`; `None` when these do not fit.
    pub fn new(group_bytes: u64, width: u32) -> Option<Geometry> {
        let fits = group_bytes > 0
            && group_bytes.is_multiple_of(UNIT_BYTES)
            && group_bytes <= DEFAULT_GROUP_BYTES
            && (1..=1024).contains(&width);
        fits.then(|| Geometry {
            group_blocks: (group_bytes / BLOCK_BYTES as u64) as u32,
            width,
        })
    }

    /// Bytes of one group.
    pub fn group_bytes(&self) -> u64 {
        u64::from(self.group_blocks) * BLOCK_BYTES as u64
    }

    /// The place of a disk block.
    pub fn locate(&self, block: DiskBlock) -> (GroupId, GroupBlock) {
        let set_blocks = u64::from(self.group_blocks) * u64::from(self.width);
        let (set, in_set) = (block.0 / set_blocks, block.0 % set_blocks);
        let unit = in_set / u64::from(BLOCKS_PER_UNIT);
        let in_unit = in_set % u64::from(BLOCKS_PER_UNIT);
        let lane = unit % u64::from(self.width);
        let row = unit / u64::from(self.width);
        let group = set * u64::from(self.width) + lane;
        let in_group = row * u64::from(BLOCKS_PER_UNIT) + in_unit;
        (GroupId(group as u32), GroupBlock(in_group as u32))
    }

    /// The disk block at a place: the inverse of [`Geometry::locate`].
    pub fn disk_block(&self, group: GroupId, block: GroupBlock) -> DiskBlock {
        let width = u64::from(self.width);
        let (set, lane) = (u64::from(group.0) / width, u64::from(group.0) % width);
        let (row, in_unit) = (
            u64::from(block.0) / u64::from(BLOCKS_PER_UNIT),
            u64::from(block.0) % u64::from(BLOCKS_PER_UNIT),
        );
        let unit = row * width + lane;
        DiskBlock(
            set * u64::from(self.group_blocks) * width
                + unit * u64::from(BLOCKS_PER_UNIT)
                + in_unit,
        )
    }

    /// Blocks from `block` on that lie side by side both on the disk and in their group.
    pub fn run_length(&self, block: DiskBlock) -> u64 {
        if self.width == 1 {
            u64::from(self.group_blocks) - block.0 % u64::from(self.group_blocks)
        } else {
            u64::from(BLOCKS_PER_UNIT) - block.0 % u64::from(BLOCKS_PER_UNIT)
        }
    }

    /// Groups of a disk of so many bytes, whole stripe sets.
    pub fn group_count(&self, disk_bytes: u64) -> u32 {
        let set_bytes = self.group_bytes() * u64::from(self.width);
        (disk_bytes.div_ceil(set_bytes) * u64::from(self.width)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locate_and_disk_block_are_inverse_and_cover_everything_once() {
        for width in [1, 2, 3] {
            let geometry = Geometry::new(2 * UNIT_BYTES, width).unwrap();
            let mut seen = std::collections::BTreeSet::new();
            for number in 0..u64::from(geometry.group_blocks) * u64::from(width) * 2 {
                let (group, block) = geometry.locate(DiskBlock(number));
                assert!(block.0 < geometry.group_blocks);
                assert_eq!(geometry.disk_block(group, block), DiskBlock(number));
                assert!(seen.insert((group, block)));
            }
            assert_eq!(seen.last().unwrap().0, GroupId(width * 2 - 1));
        }
    }

    #[test]
    fn a_run_stays_side_by_side() {
        for width in [1, 3] {
            let geometry = Geometry::new(4 * UNIT_BYTES, width).unwrap();
            for number in [0, 5, 63, 64, 100, 255, 256, 700] {
                let run = geometry.run_length(DiskBlock(number));
                let (group, block) = geometry.locate(DiskBlock(number));
                for step in 0..run {
                    let expected = (group, GroupBlock(block.0 + step as u32));
                    assert_eq!(geometry.locate(DiskBlock(number + step)), expected);
                }
            }
        }
    }

    #[test]
    fn the_largest_disk_has_its_groups() {
        let geometry = Geometry::new(DEFAULT_GROUP_BYTES, 1).unwrap();
        assert_eq!(geometry.group_blocks, 655_360);
        assert_eq!(geometry.group_count(MAX_DISK_BYTES), 13_108);
    }
}
