//! Reading every copy of every block and comparing them: materialized blocks, never raw records,
//! since each node folds and moves its records on its own.

use super::driver::Driver;
use crate::error::{IoFailure, VolumeError};
use crate::format::index_page::LEAF_BLOCKS;
use crate::geometry::BLOCK_BYTES;
use crate::ids::{GroupBlock, GroupId, NodeId};
use crate::status::{DataErrors, NodeState, NodeStatus};
use crate::writer::{Answer, ReadBytes};

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Blocks that exist.
    pub blocks: u64,
    /// Copies of them that were read and agree.
    pub copies_read: u64,
    /// What is wrong: one sentence each.
    pub damage: Vec<String>,
    /// Blocks that no copy can be read of.
    pub data_errors: DataErrors,
    /// Nodes that could not be compared.
    pub missing_nodes: Vec<String>,
}

pub(super) fn verify(
    driver: &Driver,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, VolumeError> {
    driver.ask(|writer, now, ticket| writer.flush(now, ticket))?;
    let figures = driver.figures();
    let statuses = driver.node_statuses(&figures);
    let comparable: Vec<bool> = driver.with_core(|core, _| {
        let nodes = core.embedded.writer.config().node_ids().zip(&statuses);
        // One without space may lack nothing all the same.
        let may = |(node, status): (NodeId, &NodeStatus)| match status.state {
            NodeState::Full => core.embedded.writer.holds_everything(node),
            state => state.is_whole(),
        };
        nodes.map(may).collect()
    });
    let is_missing =
        |(node, may): &(&NodeStatus, &bool)| !**may && node.state != NodeState::Drained;
    let missing = statuses.iter().zip(&comparable).filter(is_missing);
    let mut report = VerifyReport {
        missing_nodes: missing.map(|(node, _)| node.name.clone()).collect(),
        ..VerifyReport::default()
    };
    let groups = driver.with_core(|core, _| core.embedded.writer.existing_groups());
    let expected = driver.live_bytes() / BLOCK_BYTES as u64;
    for group in groups {
        let members = driver.with_core(|core, _| core.embedded.writer.config().members(group));
        let mut nodes: Vec<(NodeId, String)> = members
            .into_iter()
            .filter(|node| comparable[node.index()])
            .map(|node| (node, statuses[node.index()].name.clone()))
            .collect();
        let mut leaf = Some(0);
        while let Some(now) = leaf {
            let (bits, next) = united_presence(driver, group, now, &mut nodes, &mut report);
            if bits != 0 {
                report.blocks += u64::from(bits.count_ones());
                compare_leaf(driver, group, now, bits, &nodes, &mut report);
            }
            progress(report.blocks, expected.max(report.blocks));
            leaf = next;
        }
        if nodes.is_empty() {
            return Err(IoFailure::Unreadable.into());
        }
    }
    Ok(report)
}

/// Bits of a leaf's blocks that any copy has, and the next leaf that any has: no copy's word is
/// taken for what the others do not have. A node that cannot say is named, and left out.
fn united_presence(
    driver: &Driver,
    group: GroupId,
    leaf: u32,
    nodes: &mut Vec<(NodeId, String)>,
    report: &mut VerifyReport,
) -> (u64, Option<u32>) {
    let (mut bits, mut next) = (0, None);
    nodes.retain(|(node, name)| {
        let answer = driver.ask(|writer, _, ticket| {
            writer.presence_of_copy(ticket, *node, group, leaf);
        });
        let Ok(Answer::Present(of_node, next_of_node)) = answer else {
            report.damage.push(format!(
                "node {name}: its index of group {} cannot be read",
                group.0
            ));
            return false;
        };
        bits |= of_node;
        next = next.into_iter().chain(next_of_node).min();
        true
    });
    (bits, next)
}

/// Compares all copies of one leaf's blocks, those included that should not exist.
fn compare_leaf(
    driver: &Driver,
    group: GroupId,
    leaf: u32,
    bits: u64,
    nodes: &[(NodeId, String)],
    report: &mut VerifyReport,
) {
    let first = GroupBlock(leaf * LEAF_BLOCKS);
    let mut copies: Vec<(&str, ReadBytes)> = Vec::new();
    let mut readable = 0;
    for (node, name) in nodes {
        match read_copy(driver, *node, group, first, LEAF_BLOCKS) {
            Ok(bytes) => {
                copies.push((name, bytes));
                readable = u64::MAX;
            }
            Err(_) => readable |= name_bad_blocks(driver, (*node, name), group, first, report),
        }
    }
    name_lost(driver, group, first, bits & !readable, report);
    for offset in 0..LEAF_BLOCKS {
        let at = offset as usize * BLOCK_BYTES..(offset as usize + 1) * BLOCK_BYTES;
        let of_block: Vec<(&str, &[u8])> = copies
            .iter()
            .map(|(name, bytes)| (*name, &bytes.as_ref()[at.clone()]))
            .collect();
        if bits >> offset & 1 == 1 {
            report.copies_read += of_block.len() as u64;
        }
        name_differing(&of_block, group, first.0 + offset, report);
    }
}

/// One node's copy of some blocks.
pub(super) fn read_copy(
    driver: &Driver,
    node: NodeId,
    group: GroupId,
    first: GroupBlock,
    blocks: u32,
) -> Result<ReadBytes, IoFailure> {
    let answer = driver.ask(|writer, now, ticket| {
        writer.read_copy(now, ticket, node, group, first, blocks);
    })?;
    match answer {
        Answer::Bytes(bytes) => Ok(bytes),
        _ => Err(IoFailure::Unreadable),
    }
}

/// Names the blocks of a leaf that nobody can give.
fn name_lost(
    driver: &Driver,
    group: GroupId,
    first: GroupBlock,
    lost: u64,
    report: &mut VerifyReport,
) {
    let geometry = driver.with_core(|core, _| core.embedded.writer.config().geometry);
    for offset in (0..LEAF_BLOCKS).filter(|offset| lost >> offset & 1 == 1) {
        let block = geometry.disk_block(group, GroupBlock(first.0 + offset));
        report.data_errors.add(block);
    }
}

/// A node could not give a whole leaf: names which of its blocks are bad, and tells which are not,
/// a bit each.
fn name_bad_blocks(
    driver: &Driver,
    (node, name): (NodeId, &str),
    group: GroupId,
    first: GroupBlock,
    report: &mut VerifyReport,
) -> u64 {
    let mut readable = 0;
    for offset in 0..LEAF_BLOCKS {
        let block = GroupBlock(first.0 + offset);
        match read_copy(driver, node, group, block, 1) {
            Ok(_) => {
                report.copies_read += 1;
                readable |= 1 << offset;
            }
            Err(_) => report.damage.push(format!(
                "node {name}: block {} of group {} does not check",
                block.0, group.0
            )),
        }
    }
    readable
}

/// Names the copies that differ from what most have.
fn name_differing(copies: &[(&str, &[u8])], group: GroupId, block: u32, report: &mut VerifyReport) {
    let votes = |bytes: &[u8]| copies.iter().filter(|(_, other)| *other == bytes).count();
    let Some((_, most)) = copies.iter().max_by_key(|(_, bytes)| votes(bytes)) else {
        return;
    };
    for (name, _) in copies.iter().filter(|(_, bytes)| bytes != most) {
        report.damage.push(format!(
            "node {name}: block {block} of group {} differs from the other copies",
            group.0
        ));
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::{GroupId, NodeId};
    use crate::message::{LeafCopy, Request, RequestId};
    use crate::volume::{CreateOptions, OpenOptions, Volume, create};
    use std::time::Duration;

    /// Makes a node believe that the first leaf of a group is empty.
    fn lose_first_leaf(volume: &Volume, node: NodeId, group: GroupId) {
        let figures = volume.driver.figures();
        let (epoch, base) = (figures.epoch, figures.vdl);
        let number = u64::MAX;
        let copy = RequestId { epoch, number };
        let leaves = LeafCopy {
            first_leaf: 0,
            end_leaf: 1,
            blocks: Vec::new(),
        };
        let groups = vec![(group, base)];
        let requests = [
            Request::BeginCatchUp {
                epoch,
                copy,
                anew: true,
                groups,
            },
            Request::PutLeaves {
                epoch,
                id: copy,
                copy,
                group,
                base,
                filled: 0,
                leaves,
            },
            Request::CompleteGroup {
                epoch,
                copy,
                group,
                base,
            },
        ];
        for request in requests {
            volume.driver.with_core(|core, now| {
                let node = core.embedded.nodes[node.index()].as_mut().unwrap();
                node.on_request(now, request);
            });
            // Each is on the node's disk before the next: they are told to it in this order.
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    #[test]
    fn a_leaf_that_one_node_lost_is_found() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("v");
        let options = CreateOptions {
            disk_bytes: 16 << 20,
            group_bytes: 16 << 20,
            extent_bytes: 1 << 20,
            ..CreateOptions::default()
        };
        create(&path, &options).unwrap();
        let volume = Volume::open(&path, OpenOptions::default()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let done = Box::new(move |result| sender.send(result).unwrap());
        volume.write(0, &[7; 3 << 14], true, done);
        receiver.recv().unwrap().unwrap();
        // Four have it; the other two are about to.
        let differ = || {
            volume
                .status()
                .nodes
                .windows(2)
                .any(|two| two[0].scl != two[1].scl)
        };
        while differ() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let verify = || volume.verify(&mut |_, _| {}).unwrap();
        let report = verify();
        assert_eq!((report.blocks, report.copies_read), (3, 18));
        assert!(report.damage.is_empty(), "{:?}", report.damage);

        // The one that is asked first of all where the first leaf has blocks.
        lose_first_leaf(&volume, NodeId(0), GroupId(0));
        let report = verify();
        assert_eq!(report.blocks, 3);
        assert_eq!(report.damage.len(), 3, "{:?}", report.damage);
        assert!(report.damage.iter().all(|line| line.contains("a1")));
        volume.close().unwrap();
    }
}
