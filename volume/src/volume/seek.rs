//! Looking for data and holes: which blocks exist, in the order of the disk.

use super::driver::Driver;
use crate::error::IoFailure;
use crate::format::index_page::LEAF_BLOCKS;
use crate::geometry::BLOCK_BYTES;
use crate::groups_of_range::first_at_or_behind;
use crate::ids::{DiskBlock, GroupBlock, GroupId};
use crate::writer::Answer;

/// Bits of a leaf's blocks that exist, and the group's next leaf that has any.
pub(super) fn presence(
    driver: &Driver,
    group: GroupId,
    leaf: u32,
) -> Result<(u64, Option<u32>), IoFailure> {
    match driver.ask(|writer, _, ticket| writer.presence(ticket, group, leaf))? {
        Answer::Present(bits, next) => Ok((bits, next)),
        _ => Err(IoFailure::Unreadable),
    }
}

/// The first byte at or behind `offset` in a block that exists.
pub(super) fn next_data(driver: &Driver, offset: u64) -> Result<Option<u64>, IoFailure> {
    let block = DiskBlock(offset / BLOCK_BYTES as u64);
    let (groups, geometry) = driver.with_core(|core, _| {
        let writer = &core.embedded.writer;
        (writer.existing_groups(), writer.config().geometry)
    });
    let mut best: Option<(u32, u64)> = None;
    for group in groups {
        let set = group.0 / geometry.width;
        // Later stripe sets lie behind everything of this one.
        if best.is_some_and(|(best_set, _)| best_set < set) {
            break;
        }
        let first = first_at_or_behind(&geometry, group, block);
        if first < geometry.group_blocks
            && let Some(found) = next_in_group(driver, group, first)?
        {
            let found = geometry.disk_block(group, found).0;
            best = Some((set, best.map_or(found, |(_, block)| block.min(found))));
        }
    }
    let found = best.map(|(_, block)| offset.max(block * BLOCK_BYTES as u64));
    Ok(found.filter(|found| *found < driver.disk_bytes()))
}

fn next_in_group(
    driver: &Driver,
    group: GroupId,
    first: u32,
) -> Result<Option<GroupBlock>, IoFailure> {
    let (mut leaf, mut mask) = (first / LEAF_BLOCKS, u64::MAX << (first % LEAF_BLOCKS));
    loop {
        let (bits, next) = presence(driver, group, leaf)?;
        let found = bits & mask;
        if found != 0 {
            return Ok(Some(GroupBlock(
                leaf * LEAF_BLOCKS + found.trailing_zeros(),
            )));
        }
        match next {
            Some(next) => (leaf, mask) = (next, u64::MAX),
            None => return Ok(None),
        }
    }
}

/// The first byte at or behind `offset` in a block that does not exist, or the disk's end.
pub(super) fn next_hole(driver: &Driver, offset: u64) -> Result<u64, IoFailure> {
    let block_bytes = BLOCK_BYTES as u64;
    let geometry = driver.with_core(|core, _| core.embedded.writer.config().geometry);
    let mut block = offset / block_bytes;
    let end = driver.disk_bytes();
    while block * block_bytes < end {
        let (group, in_group) = geometry.locate(DiskBlock(block));
        let (bits, _) = presence(driver, group, in_group.0 / LEAF_BLOCKS)?;
        let place = in_group.0 % LEAF_BLOCKS;
        let holes = !bits & (u64::MAX << place);
        if holes != 0 {
            let hole = block + u64::from(holes.trailing_zeros() - place);
            return Ok(offset.max(hole * block_bytes).min(end));
        }
        block += u64::from(LEAF_BLOCKS - place);
    }
    Ok(end)
}
