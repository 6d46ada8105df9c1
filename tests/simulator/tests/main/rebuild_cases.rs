//! A lost node is filled again, whatever happens meanwhile, and nothing is copied for long that was
//! copied before.

use crate::unwatched;
use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::random::{Random, Rate};
use redoubt_volume::geometry::{BLOCK_BYTES, BLOCKS_PER_UNIT};
use redoubt_volume::ids::{DiskBlock, NodeId};
use redoubt_volume::status::{NodeState, VolumeState};
use redoubt_volume::writer::RebuildRate;
use std::num::NonZeroU64;
use std::time::Duration;

/// One group of eight leaves.
const BLOCKS: u64 = 512;
const DISK_BYTES: u64 = BLOCKS * BLOCK_BYTES as u64;
/// Who is lost.
const LOST: NodeId = NodeId(5);

/// A volume with every block written.
fn filled(seed: u64) -> Cluster {
    filled_with(seed, RebuildRate::Adaptive)
}

/// One leaf is under way at a time.
fn slow() -> RebuildRate {
    at_rate(4 << 20)
}

fn at_rate(bytes: u64) -> RebuildRate {
    let bytes = NonZeroU64::new(bytes).expect("a rate is above zero");
    RebuildRate::BytesPerSecond(bytes)
}

fn filled_with(seed: u64, rebuild_rate: RebuildRate) -> Cluster {
    let shape = Shape {
        group_mib: 8,
        disk_bytes: DISK_BYTES,
        ..Shape::default()
    };
    let mut cluster = unwatched(shape, seed);
    cluster.policy.rebuild_rate = rebuild_rate;
    cluster.open().expect("a new volume opens");
    for unit in 0..BLOCKS / 64 {
        let bytes: Vec<u8> = (0..64 * BLOCK_BYTES)
            .map(|at| ((unit as usize + at / 4096) % 251) as u8 + 1)
            .collect();
        cluster.start_write(unit << 20, &bytes, false);
        flush(&mut cluster);
    }
    cluster.quiesce(10);
    cluster
}

fn flush(cluster: &mut Cluster) {
    let flush = cluster.start_flush();
    cluster.wait(flush).expect("the flush succeeds");
}

fn is_healthy(cluster: &Cluster) -> bool {
    let figures = cluster
        .writers
        .last()
        .map(|process| process.writer.figures());
    figures.is_some_and(|figures| {
        let is_up = |(state, _): &(NodeState, _)| *state == NodeState::Up;
        figures.state == VolumeState::Healthy && figures.nodes.iter().all(is_up)
    })
}

/// Every node's own copy of everything is what the disk is.
fn expect_six_good_copies(cluster: &mut Cluster, context: &str) {
    let geometry = cluster.newest().writer.config().geometry;
    for first in (0..BLOCKS).step_by(BLOCKS_PER_UNIT as usize) {
        let bytes = BLOCKS_PER_UNIT as usize * BLOCK_BYTES;
        let expected = cluster.read(first * BLOCK_BYTES as u64, bytes);
        let (group, block) = geometry.locate(DiskBlock(first));
        for node in cluster.newest().writer.config().members(group) {
            let copy = cluster.read_copy(node, group, block);
            let is_same = copy.is_some_and(|copy| copy.as_ref() == expected);
            assert!(is_same, "block {first} on {node:?}, {context}");
        }
    }
}

fn scrub_finds_nothing(cluster: &mut Cluster, context: &str) {
    let found = cluster.scrub().expect("the scrub ends");
    let bad = [
        found.damaged,
        found.differing,
        found.unresolved,
        found.refilled,
    ];
    assert_eq!(bad, [0; 4], "{context}");
}

/// A write or a discard somewhere.
fn change(cluster: &mut Cluster, random: &mut Random) {
    let offset = random.below(DISK_BYTES - 60_000);
    let length = random.between(1, 60_000);
    if random.one_in(4) {
        cluster.start_discard(offset, length);
    } else {
        let byte = random.below(256) as u8;
        cluster.start_write(offset, &vec![byte; length as usize], false);
    }
}

/// Changes two blocks of eight, and has them taken into the indexes.
fn change_blocks(cluster: &mut Cluster) {
    for block in (0..BLOCKS).step_by(8) {
        cluster.start_write(block * BLOCK_BYTES as u64, &[0xaa; 20_000], false);
        flush(cluster);
    }
    cluster.quiesce(2);
}

/// Lets a node be filled until so many blocks were copied, or it has all.
fn run_until_copied(cluster: &mut Cluster, blocks: u64) {
    cluster.run_until(|cluster| cluster.counts.copied_blocks >= blocks || is_healthy(cluster));
}

#[test]
fn a_lost_node_is_filled_and_copied_once() {
    let mut cluster = filled(1);
    cluster.lose_node(LOST);
    cluster.replace_node(LOST);
    cluster.run_until(is_healthy);
    assert_eq!(cluster.counts.copied_blocks, BLOCKS);
    expect_six_good_copies(&mut cluster, "filled");
    scrub_finds_nothing(&mut cluster, "filled");
}

#[test]
fn the_figures_rise_to_the_whole_and_go_away() {
    let mut cluster = filled_with(2, slow());
    cluster.lose_node(LOST);
    cluster.replace_node(LOST);
    let mut last = 0;
    let mut seen = 0;
    for step in 0..10_000_000 {
        if step > 0 && is_healthy(&cluster) {
            break;
        }
        cluster.step();
        let figures = cluster.newest().writer.figures().rebuilds[LOST.index()];
        let Some(figures) = figures else { continue };
        assert!(figures.done_bytes >= last && figures.done_bytes <= figures.total_bytes);
        if figures.done_bytes >= DISK_BYTES / 2 {
            assert_eq!(figures.total_bytes, DISK_BYTES);
        }
        seen += u32::from(figures.done_bytes > last);
        last = figures.done_bytes;
    }
    assert!(is_healthy(&cluster));
    assert!(seen >= 4, "{seen} steps were seen");
    assert_eq!(cluster.newest().writer.figures().rebuilds, [None; 12]);
}

#[test]
fn a_directory_that_is_to_take_a_nodes_place_shows_how_far_it_is_and_goes_on_there() {
    let mut cluster = filled_with(3, slow());
    let successor = NodeId(6 + LOST.0);
    assert!(cluster.begin_replacement(LOST));
    let figures = |cluster: &Cluster| {
        let process = cluster.writers.last().expect("a writer runs");
        process.writer.figures().rebuilds
    };
    let is_half_done = |cluster: &Cluster| {
        let figures = figures(cluster)[successor.index()];
        figures.is_some_and(|figures| figures.done_bytes >= DISK_BYTES / 2)
    };
    cluster.run_until(is_half_done);
    assert_eq!(figures(&cluster)[LOST.index()], None);
    cluster.crash_node(successor);
    cluster.start_node(successor);
    while cluster.is_replaced(LOST) {
        cluster.step();
    }
    cluster.run_until(is_healthy);
    assert_eq!(figures(&cluster), [None; 12]);
    let copied = cluster.counts.copied_blocks;
    assert!(copied < BLOCKS * 3 / 2, "{copied} blocks");
    cluster.quiesce(2);
    expect_six_good_copies(&mut cluster, "replaced");
}

#[test]
fn a_rebuild_that_crashes_interrupt_goes_on_where_it_was() {
    for seed in 100..120 {
        let mut cluster = filled_with(seed, slow());
        let mut random = Random::new(seed);
        cluster.lose_node(LOST);
        cluster.replace_node(LOST);
        for crash in 1..=3 {
            run_until_copied(&mut cluster, crash * BLOCKS / 3);
            match random.below(4) {
                0 => cluster.cut_power_of(LOST),
                1 => cluster.crash_node(LOST),
                2 => cluster.kill(),
                _ => cluster.crash(),
            }
            for node in 0..6 {
                if !cluster.is_node_open(NodeId(node)) {
                    cluster.start_node(NodeId(node));
                }
            }
            if cluster.writers.is_empty() {
                cluster.open().expect("the volume opens");
            }
        }
        cluster.run_until(is_healthy);
        let copied = cluster.counts.copied_blocks;
        // A leaf under way at a crash is copied again, and the one before it, whose mark was to come
        // with this one.
        assert!(copied < 2 * BLOCKS, "{copied} blocks, seed {seed}");
        expect_six_good_copies(&mut cluster, &format!("seed {seed}"));
        scrub_finds_nothing(&mut cluster, &format!("seed {seed}"));
    }
}

#[test]
fn what_changes_while_it_is_interrupted_is_copied() {
    // Three leaves are under way at a time, and end in any order.
    let rate = at_rate(12 << 20);
    for seed in 200..230 {
        let mut cluster = filled_with(seed, rate);
        cluster.slow_reads = Rate(300_000);
        let mut random = Random::new(seed);
        cluster.lose_node(LOST);
        cluster.replace_node(LOST);
        for part in 1..=3 {
            run_until_copied(&mut cluster, part * BLOCKS / 4);
            (0..3).for_each(|_| change(&mut cluster, &mut random));
            (0..random.below(200)).for_each(|_| cluster.step());
            cluster.cut_power_of(LOST);
            // It hears of none of these.
            (0..8).for_each(|_| change(&mut cluster, &mut random));
            flush(&mut cluster);
            cluster.quiesce(2);
            if random.one_in(2) {
                cluster.crash();
                (0..6).for_each(|node| {
                    cluster.start_node(NodeId(node));
                });
                cluster.open().expect("the volume opens");
            } else {
                cluster.start_node(LOST);
            }
            (0..2).for_each(|_| change(&mut cluster, &mut random));
        }
        flush(&mut cluster);
        cluster.run_until(is_healthy);
        cluster.quiesce(10);
        expect_six_good_copies(&mut cluster, &format!("seed {seed}"));
        scrub_finds_nothing(&mut cluster, &format!("seed {seed}"));
    }
}

#[test]
fn sources_that_die_in_the_middle_are_replaced_by_others() {
    for seed in 300..310 {
        let mut cluster = filled_with(seed, slow());
        let mut random = Random::new(seed);
        cluster.lose_node(LOST);
        cluster.replace_node(LOST);
        run_until_copied(&mut cluster, BLOCKS / 4);
        let source = NodeId(random.below(5) as u16);
        cluster.crash_node(source);
        run_until_copied(&mut cluster, BLOCKS / 2);
        cluster.start_node(source);
        cluster.quiesce(2);
        cluster.run_until(is_healthy);
        cluster.quiesce(2);
        expect_six_good_copies(&mut cluster, &format!("seed {seed}"));
    }
}

/// Two nodes of different zones that come back when the log does not reach them any more.
fn with_two_behind(seed: u64) -> Cluster {
    let mut cluster = filled_with(seed, slow());
    let disks = [1, 2].map(|node| (NodeId(node), cluster.lose_node(NodeId(node))));
    change_blocks(&mut cluster);
    for (node, disk) in disks {
        cluster.return_node(node, disk.expect("it had a disk"));
    }
    cluster
}

/// However far their filling has come: a zone may be lost, and the volume opens.
#[test]
fn two_that_lagged_are_filled_one_after_the_other() {
    for effects in (1..60).step_by(3) {
        let mut cluster = with_two_behind(500 + u64::from(effects));
        let writer = cluster.newest().id;
        cluster.light_writers_fuse(writer, effects);
        let soon = cluster.now().plus(Duration::from_secs(2));
        cluster.run_until(|cluster| cluster.now() >= soon);
        cluster.kill();
        for index in [4, 5] {
            cluster.hosts[index].disk = None;
        }
        assert_eq!(cluster.open(), Ok(()), "after {effects} effects");
        assert_eq!(cluster.read(0, 1), [0xaa], "after {effects} effects");
    }
}

#[test]
fn one_whose_disk_hangs_keeps_no_other_from_being_filled() {
    let mut cluster = with_two_behind(600);
    run_until_copied(&mut cluster, 8);
    let disk = cluster.hosts[1].disk.as_mut().expect("it is there");
    disk.damage.stuck = true;
    let late = cluster.now().plus(Duration::from_secs(20));
    cluster.run_until(|cluster| cluster.now() >= late);
    let (state, _) = cluster.newest().writer.figures().nodes[2].clone();
    assert_eq!(state, NodeState::Up);
}

#[test]
fn a_segment_that_lagged_copies_what_changed_also_after_a_crash() {
    let mut cluster = filled(4);
    let disk = cluster.lose_node(LOST).expect("it had a disk");
    change_blocks(&mut cluster);
    cluster.return_node(LOST, disk);
    run_until_copied(&mut cluster, 40);
    cluster.cut_power_of(LOST);
    cluster.start_node(LOST);
    cluster.run_until(is_healthy);
    // Two blocks of eight have changed.
    let copied = cluster.counts.copied_blocks;
    assert!(copied < BLOCKS / 4 * 2, "{copied} blocks");
    expect_six_good_copies(&mut cluster, "lagged");
    scrub_finds_nothing(&mut cluster, "lagged");
}
