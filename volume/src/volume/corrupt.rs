//! Corrupting blocks of one node on purpose: bytes of its files are changed where they lie.
//!
//! No block loses its last good copy by it: a block is damaged on one node only when all its other
//! copies were read a moment before, and check.

use super::driver::Driver;
use super::faults::FaultError;
use super::verify::read_copy;
use crate::error::VolumeError;
use crate::format::index_page::LEAF_BLOCKS;
use crate::ids::{ExtentSlot, GroupBlock, GroupId, NodeId};
use crate::io::faults::Random;
use crate::io::rot::flip_byte;
use crate::page::PAGE_BYTES;
use crate::writer::Answer;
use std::collections::BTreeSet;
use std::io;

/// Damages up to `count` blocks of a node, drawn from all that it has, and says how many: fewer
/// when there are not so many with five good copies elsewhere.
pub(super) fn corrupt(
    driver: &Driver,
    node: NodeId,
    count: u32,
    random: &mut Random,
) -> Result<u32, FaultError> {
    // Two at a time could each rely on what the other is about to damage.
    let _alone = driver.corrupting.lock();
    all_are_up(driver)?;
    let failed = |error| {
        let name = driver.name_of(node);
        FaultError::Volume(VolumeError::io(
            format!("cannot corrupt node {name}"),
            error,
        ))
    };
    let (mut damaged, mut slots) = (0, BTreeSet::new());
    for (group, block) in draw(driver, node, count as usize, random)? {
        let slot = damage(driver, node, (group, block), random).map_err(failed)?;
        damaged += u32::from(slot.is_some());
        slots.extend(slot);
    }
    for slot in slots {
        sync(driver, node, slot).map_err(failed)?;
    }
    Ok(damaged)
}

/// All six of every block must be there: what is missing cannot be proven to be good.
fn all_are_up(driver: &Driver) -> Result<(), FaultError> {
    let figures = driver.figures();
    let statuses = driver.node_statuses(&figures);
    let is_good = |state: crate::status::NodeState| state.is_whole() || state.is_as_wanted();
    let not_up = statuses.iter().find(|node| !is_good(node.state));
    match not_up {
        Some(node) => Err(FaultError::NotAllUp {
            node: node.name.clone(),
            state: node.state.word(),
        }),
        None => Ok(()),
    }
}

/// Blocks that the node has, as many as asked for if there are, each as likely as any other.
fn draw(
    driver: &Driver,
    node: NodeId,
    count: usize,
    random: &mut Random,
) -> Result<Vec<(GroupId, GroupBlock)>, FaultError> {
    let groups = driver.with_core(|core, _| {
        let writer = &core.embedded.writer;
        let mut groups = writer.existing_groups();
        groups.retain(|group| writer.config().holds(node, *group));
        groups
    });
    let (mut drawn, mut seen) = (Vec::new(), 0);
    for group in groups {
        let mut leaf = Some(0);
        while let Some(now) = leaf {
            let (bits, next) = presence(driver, node, group, now)?;
            for offset in (0..LEAF_BLOCKS).filter(|offset| bits >> offset & 1 == 1) {
                let found = (group, GroupBlock(now * LEAF_BLOCKS + offset));
                seen += 1;
                if drawn.len() < count {
                    drawn.push(found);
                } else if let Some(place) = drawn.get_mut(random.below(seen) as usize) {
                    *place = found;
                }
            }
            leaf = next;
        }
    }
    Ok(drawn)
}

fn presence(
    driver: &Driver,
    node: NodeId,
    group: GroupId,
    leaf: u32,
) -> Result<(u64, Option<u32>), FaultError> {
    let answer = driver.ask(|writer, _, ticket| {
        writer.presence_of_copy(ticket, node, group, leaf);
    });
    match answer.map_err(VolumeError::from)? {
        Answer::Present(bits, next) => Ok((bits, next)),
        _ => Ok((0, None)),
    }
}

/// Damages the node's copy of a block, if all copies are good now, and says in which file.
fn damage(
    driver: &Driver,
    node: NodeId,
    (group, block): (GroupId, GroupBlock),
    random: &mut Random,
) -> io::Result<Option<ExtentSlot>> {
    let members = driver.with_core(|core, _| core.embedded.writer.config().members(group));
    let is_good = |member| read_copy(driver, member, group, block, 1).is_ok();
    let Some(directory) = driver.directories.get(node) else {
        return Ok(None);
    };
    // The node's own copy last: its leaf of the index is in memory then.
    let others = members.into_iter().filter(|member| *member != node);
    if !others.chain([node]).all(is_good) {
        return Ok(None);
    }
    // Inside the lock: no page that is needed now becomes another's meanwhile.
    driver.with_core(|core, _| {
        let node = core.embedded.nodes[node.index()].as_mut();
        let plan = node.and_then(|node| node.plan_of(group, block));
        let pieces = plan.map_or_else(Vec::new, |plan| plan.pieces);
        if pieces.is_empty() {
            return Ok(None);
        }
        let piece = pieces[random.below(pieces.len() as u64) as usize];
        let page = piece.file_page + random.below(u64::from(piece.pages)) as u32;
        let byte = random.below(PAGE_BYTES as u64) as usize;
        flip_byte(&directory, piece.slot, page, byte).map(|()| Some(piece.slot))
    })
}

fn sync(driver: &Driver, node: NodeId, slot: ExtentSlot) -> io::Result<()> {
    match driver.directories.get(node) {
        Some(directory) => match directory.extent(slot) {
            // Collected meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            extent => extent?.sync_data(),
        },
        None => Ok(()),
    }
}
