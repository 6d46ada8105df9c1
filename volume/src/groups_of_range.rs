//! The runs of a disk range in those groups that exist. Pure.

use crate::geometry::Geometry;
use crate::ids::{DiskBlock, GroupBlock, GroupId};

/// Blocks of one group side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRun {
    /// The group.
    pub group: GroupId,
    /// First block.
    pub block: GroupBlock,
    /// Blocks.
    pub blocks: u32,
}

/// For each of `groups` the run that lies in disk blocks `first..end`: inside a group, and inside
/// a range of the disk, blocks are contiguous whatever the width of the stripe set.
pub fn runs_of_range(
    geometry: &Geometry,
    first: DiskBlock,
    end: DiskBlock,
    groups: impl Iterator<Item = GroupId>,
) -> Vec<GroupRun> {
    let run = |group: GroupId| {
        let from = first_at_or_behind(geometry, group, first);
        let to = first_at_or_behind(geometry, group, end);
        (from < to).then_some(GroupRun {
            group,
            block: GroupBlock(from),
            blocks: to - from,
        })
    };
    groups.filter_map(run).collect()
}

/// The group's first block at or behind a disk block; its length if there is none.
pub fn first_at_or_behind(geometry: &Geometry, group: GroupId, block: DiskBlock) -> u32 {
    let (mut low, mut high) = (0, geometry.group_blocks);
    while low < high {
        let middle = low + (high - low) / 2;
        if geometry.disk_block(group, GroupBlock(middle)) < block {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::UNIT_BYTES;

    #[test]
    fn runs_are_the_blocks_of_the_range_and_no_others() {
        for width in [1, 2, 3] {
            let geometry = Geometry::new(2 * UNIT_BYTES, width).unwrap();
            let total = u64::from(geometry.group_blocks) * u64::from(width) * 2;
            for (first, end) in [
                (0, total),
                (5, 70),
                (63, 65),
                (100, 300),
                (130, 131),
                (7, 7),
            ] {
                let groups = (0..width * 2).map(GroupId);
                let runs = runs_of_range(&geometry, DiskBlock(first), DiskBlock(end), groups);
                let mut found: Vec<u64> = Vec::new();
                for run in runs {
                    found.extend((0..run.blocks).map(|step| {
                        geometry
                            .disk_block(run.group, GroupBlock(run.block.0 + step))
                            .0
                    }));
                }
                found.sort_unstable();
                assert_eq!(
                    found,
                    (first..end.min(total)).collect::<Vec<_>>(),
                    "{width} {first}..{end}"
                );
            }
        }
    }
}
