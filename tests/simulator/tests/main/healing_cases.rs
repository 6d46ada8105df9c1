//! Copies that are damaged at rest are found, and written anew from a proven copy.

use crate::unwatched;
use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::random::Random;
use redoubt_volume::geometry::{BLOCK_BYTES, BLOCKS_PER_UNIT};
use redoubt_volume::ids::{GroupBlock, GroupId, NodeId};
use redoubt_volume::lsn::Lsn;
use redoubt_volume::message::{CopiedBlock, Request, RequestId};
use redoubt_volume::page::PageBuf;
use redoubt_volume::status::ScrubReport;
use redoubt_volume::writer::Answer;

pub(crate) const BLOCKS: u64 = 100;

/// A volume with as many blocks, each full of a byte of its own.
pub(crate) fn filled(seed: u64) -> Cluster {
    let mut cluster = unwatched(Shape::default(), seed);
    cluster.open().expect("a new volume opens");
    for block in 0..BLOCKS {
        cluster.start_write(block * 16384, &[byte_of(block); 16384], false);
    }
    flush(&mut cluster);
    cluster.quiesce(10);
    cluster
}

pub(crate) fn flush(cluster: &mut Cluster) {
    let flush = cluster.start_flush();
    cluster.wait(flush).expect("the flush succeeds");
}

/// The record of a block in a volume that was just filled: one each, in order.
fn lsn_of(cluster: &mut Cluster, block: u64) -> Lsn {
    Lsn(cluster.newest().writer.last_lsn().0 + 1 - BLOCKS + block)
}

pub(crate) fn byte_of(block: u64) -> u8 {
    block as u8 + 1
}

/// Damages a block where it lies on a node.
pub(crate) fn rot(cluster: &mut Cluster, node: u16, block: u64) {
    let disk = cluster.hosts[usize::from(node)].disk.as_mut();
    let disk = disk.expect("the disk is there");
    let byte = byte_of(block);
    let is_hit = |page: &[u8]| page.iter().all(|other| *other == byte);
    assert_eq!(
        disk.corrupt_pages(is_hit),
        4,
        "block {block} on node {node}"
    );
}

/// Every node's copy of the disk's blocks is what the disk is.
pub(crate) fn expect_good_copies(cluster: &mut Cluster) {
    let geometry = cluster.newest().writer.config().geometry;
    for unit in 0..BLOCKS / u64::from(BLOCKS_PER_UNIT) {
        let first = unit * u64::from(BLOCKS_PER_UNIT);
        let bytes = BLOCKS_PER_UNIT as usize * BLOCK_BYTES;
        let expected = cluster.read(first * 16384, bytes);
        let (group, block) = geometry.locate(redoubt_volume::ids::DiskBlock(first));
        for node in cluster.newest().writer.config().members(group) {
            let copy = cluster.read_copy(node, group, block);
            let is_same = copy.is_some_and(|copy| copy.as_ref() == expected);
            assert!(is_same, "unit {unit} on {node:?}");
        }
    }
}

fn repairs(cluster: &mut Cluster, node: u16) -> (u64, u64) {
    let figures = cluster.newest().writer.figures().repairs[usize::from(node)];
    (figures.damaged_blocks, figures.repaired_blocks)
}

pub(crate) fn clean() -> ScrubReport {
    ScrubReport {
        blocks: BLOCKS,
        copies: 6 * BLOCKS,
        ..ScrubReport::default()
    }
}

/// Gives a node a request as its writer would.
fn tell(cluster: &mut Cluster, node: u16, request: impl FnOnce(RequestId) -> Request) {
    let epoch = cluster.newest().writer.epoch();
    // The writer begins with the next number.
    let number = 0;
    let now = cluster.now();
    let host = &mut cluster.hosts[usize::from(node)];
    let node = host.node.as_mut().expect("the node runs");
    node.on_request(now, request(RequestId { epoch, number }));
}

fn tell_to_repair(cluster: &mut Cluster, node: u16, block: u32, lsn: Lsn, byte: u8) {
    let copy = CopiedBlock {
        block: GroupBlock(block),
        lsn,
        content: Some(PageBuf::from_bytes(&[byte; BLOCK_BYTES]).share()),
    };
    tell(cluster, node, |id| Request::Repair {
        epoch: id.epoch,
        id,
        group: GroupId(0),
        blocks: vec![copy],
    });
}

#[test]
fn what_a_read_finds_damaged_is_written_anew() {
    let mut cluster = filled(1);
    // Who is asked first about the first leaf.
    rot(&mut cluster, 0, 7);
    assert_eq!(cluster.read(7 * 16384, 2), [8, 8]);
    cluster.quiesce(10);
    assert_eq!(repairs(&mut cluster, 0), (1, 1));
    // As of this node alone, and after its log is read anew.
    expect_good_copies(&mut cluster);
    cluster.close();
    cluster.open().expect("the volume opens");
    cluster.quiesce(10);
    expect_good_copies(&mut cluster);
    assert_eq!(cluster.scrub(), Ok(clean()));
}

#[test]
fn a_scrub_mends_a_leaf_that_is_damaged_on_all_six_at_different_blocks() {
    let mut cluster = filled(2);
    assert_eq!(cluster.scrub(), Ok(clean()));
    for node in 0..6 {
        rot(&mut cluster, node, 10 * u64::from(node) + 3);
    }
    let mended = ScrubReport {
        damaged: 6,
        repaired: 6,
        ..clean()
    };
    assert_eq!(cluster.scrub(), Ok(mended));
    assert_eq!(cluster.scrub(), Ok(clean()));
    expect_good_copies(&mut cluster);
    (0..6).for_each(|node| assert_eq!(repairs(&mut cluster, node), (1, 1)));
}

#[test]
fn a_block_that_nobody_can_prove_is_told_and_left() {
    let mut cluster = filled(3);
    (0..6).for_each(|node| rot(&mut cluster, node, 20));
    rot(&mut cluster, 3, 21);
    let lost = ScrubReport {
        damaged: 7,
        repaired: 1,
        unresolved: 6,
        ..clean()
    };
    assert_eq!(cluster.scrub(), Ok(lost));
    // A new write ends it.
    cluster.start_write(20 * 16384, &[byte_of(20); 16384], false);
    flush(&mut cluster);
    cluster.quiesce(10);
    assert_eq!(cluster.scrub(), Ok(clean()));
}

#[test]
fn a_wrong_copy_with_a_right_checksum_is_found_by_comparing() {
    let mut cluster = filled(4);
    let lsn = lsn_of(&mut cluster, 5);
    tell_to_repair(&mut cluster, 2, 5, lsn, 0xee);
    cluster.quiesce(10);
    let copy = cluster.read_copy(NodeId(2), GroupId(0), GroupBlock(0));
    assert_eq!(
        copy.expect("it is readable").as_ref()[5 * BLOCK_BYTES],
        0xee
    );
    let mended = ScrubReport {
        differing: 1,
        repaired: 1,
        ..clean()
    };
    assert_eq!(cluster.scrub(), Ok(mended));
    expect_good_copies(&mut cluster);
}

#[test]
fn a_segment_that_lost_versions_is_filled_anew() {
    let mut cluster = filled(5);
    cluster.forget_leaf(NodeId(4), GroupId(0));
    let found = cluster.scrub().expect("the scrub ends");
    assert_eq!((found.differing, found.refilled), (64, 1), "{found:?}");
    assert_eq!((found.damaged, found.unresolved), (0, 0), "{found:?}");
    cluster.quiesce(100);
    expect_good_copies(&mut cluster);
    assert_eq!(cluster.scrub(), Ok(clean()));
}

#[test]
fn a_repair_undoes_neither_an_overwrite_nor_a_discard() {
    for seed in 100..140 {
        let mut cluster = filled(seed);
        let mut random = Random::new(seed);
        // Block 8 is written over, block 9 discarded; a repair of what they were is on its way.
        let lsns = [8, 9].map(|block| (block, lsn_of(&mut cluster, block)));
        for (block, lsn) in lsns {
            let before = random.one_in(2);
            if before {
                tell_to_repair(&mut cluster, 1, block as u32, lsn, byte_of(block));
            }
            if block == 8 {
                cluster.start_write(block * 16384, &[200; 5000], false);
            } else {
                cluster.start_discard(block * 16384, 16384);
            }
            (0..random.below(120)).for_each(|_| cluster.step());
            if !before {
                tell_to_repair(&mut cluster, 1, block as u32, lsn, byte_of(block));
            }
        }
        flush(&mut cluster);
        cluster.quiesce(10);
        assert_eq!(cluster.read(8 * 16384 + 4999, 2), [200, 9]);
        assert_eq!(cluster.read(9 * 16384, 1), [0]);
        expect_good_copies(&mut cluster);
        let report = cluster.scrub().expect("the scrub ends");
        let expected = ScrubReport {
            blocks: BLOCKS - 1,
            copies: 6 * (BLOCKS - 1),
            ..clean()
        };
        assert_eq!(report, expected, "seed {seed}");
    }
}

#[test]
fn no_false_alarm_while_the_disk_is_written() {
    for seed in 200..220 {
        let mut cluster = filled(seed);
        let mut random = Random::new(seed);
        let scrub = cluster.start_scrub();
        for _ in 0..4000 {
            if cluster.is_answered(scrub) {
                break;
            }
            let offset = random.below(BLOCKS * 16384 - 40_000);
            let length = random.between(1, 40_000);
            if random.one_in(5) {
                cluster.start_discard(offset, length);
            } else {
                let byte = random.below(256) as u8;
                cluster.start_write(offset, &vec![byte; length as usize], false);
            }
            (0..random.below(200)).for_each(|_| cluster.step());
        }
        let Ok(Answer::Scrubbed(report)) = cluster.wait(scrub) else {
            panic!("the scrub ends");
        };
        let bad = [report.damaged, report.differing, report.unresolved];
        assert_eq!((bad, report.refilled), ([0; 3], 0), "seed {seed}");
        flush(&mut cluster);
        cluster.quiesce(10);
        let after = cluster.scrub().expect("the scrub ends");
        assert_eq!((after.changing, after.differing), (0, 0), "seed {seed}");
    }
}
