//! Cases of opening that have names.

use crate::{disks, unwatched};
use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::disk::{File, MemoryDisk, OneShot};
use redoubt_volume::ids::{NodeId, VolumeEpoch};
use redoubt_volume::limits::{LSN_ALLOCATION_LIMIT, TRUNCATION_RANGES};
use redoubt_volume::lsn::{Lsn, TruncationRange};
use redoubt_volume::message::{Reply, Request};
use redoubt_volume::segment::effect::{DiskCompletion, NodeEffect};
use std::time::Duration;

fn filled(seed: u64) -> Cluster {
    let mut cluster = unwatched(Shape::default(), seed);
    cluster.open().expect("a new volume opens");
    for block in 0..100u64 {
        cluster.start_write(block * 16384, &[block as u8 + 1; 16384], false);
    }
    let flush = cluster.start_flush();
    cluster.wait(flush).expect("the flush succeeds");
    cluster
}

fn expect_filled(cluster: &mut Cluster) {
    for block in 0..100u64 {
        let found = cluster.read(block * 16384, 16384);
        assert!(
            found.iter().all(|byte| *byte == block as u8 + 1),
            "block {block}: {}",
            found[0]
        );
    }
}

#[test]
fn three_nodes_left_read_and_do_not_write_until_the_fourth_returns() {
    let mut cluster = filled(1);
    let mut away = Vec::new();
    for index in [0, 2, 5] {
        away.push((
            index,
            cluster
                .lose_node(NodeId(index as u16))
                .expect("it was there"),
        ));
    }
    assert_eq!(cluster.newest().writer.figures().state.word(), "read-only");
    let write = cluster.start_write(0, &[77; 16384], true);
    cluster.quiesce(5);
    assert!(
        !cluster.is_answered(write),
        "a write without quorum is not answered"
    );
    expect_filled(&mut cluster);
    let (index, disk) = away.remove(0);
    cluster.return_node(NodeId(index as u16), disk);
    cluster.wait(write).expect("the write goes on by itself");
    for (index, disk) in away {
        cluster.return_node(NodeId(index as u16), disk);
    }
    cluster.quiesce(50);
    assert_eq!(cluster.newest().writer.figures().state.word(), "healthy");
    assert_eq!(cluster.read(0, 1), [77]);
}

#[test]
fn a_volume_with_three_nodes_opens_for_reading() {
    let mut cluster = filled(2);
    cluster.crash();
    let mut away = Vec::new();
    for index in [1, 3, 4] {
        away.push((
            index,
            cluster.hosts[index].disk.take().expect("it was there"),
        ));
    }
    assert_eq!(cluster.open(), Ok(()));
    assert_eq!(cluster.newest().writer.figures().state.word(), "read-only");
    expect_filled(&mut cluster);
    let (index, disk) = away.remove(0);
    cluster.return_node(NodeId(index as u16), disk);
    cluster.quiesce(20);
    let write = cluster.start_write(0, &[1; 16384], true);
    cluster.wait(write).expect("four nodes take writes");
}

#[test]
fn what_an_open_has_served_survives_the_next_power_cut() {
    for seed in 100..130 {
        let mut cluster = filled(seed);
        // On its way to all six, synced by none.
        cluster.start_write(0, &[200; 16384], false);
        cluster.kill();
        cluster.open().expect("the volume opens");
        let served = cluster.read(0, 100 * 16384);
        let flush = cluster.start_flush();
        cluster.wait(flush).expect("the flush succeeds");
        cluster.crash();
        cluster.open().expect("the volume opens again");
        let found = cluster.read(0, 100 * 16384);
        assert!(found == served, "seed {seed}: what was read has reverted");
    }
}

#[test]
fn two_nodes_are_refused_and_named() {
    let mut cluster = filled(3);
    cluster.crash();
    for index in [0, 1, 2, 3] {
        cluster.hosts[index].disk = None;
    }
    let reason = cluster.open().expect_err("two nodes prove nothing");
    assert!(reason.contains("a1") && reason.contains("b2"), "{reason}");
}

#[test]
fn a_replaced_directory_counts_only_when_it_was_filled() {
    let mut cluster = filled(4);
    cluster.lose_node(NodeId(0));
    cluster.replace_node(NodeId(0));
    cluster.quiesce(100);
    assert_eq!(cluster.newest().writer.figures().state.word(), "healthy");
    // The new one must be able to serve alone with two others.
    cluster.crash();
    for index in [1, 2, 4] {
        cluster.hosts[index].disk = None;
    }
    assert_eq!(cluster.open(), Ok(()));
    expect_filled(&mut cluster);
}

#[test]
fn an_emptied_node_counts_in_no_quorum() {
    let mut cluster = filled(5);
    cluster.crash();
    cluster
        .hosts
        .iter_mut()
        .take(3)
        .for_each(|host| host.disk = None);
    // Three are left; one of them is exchanged for an empty directory while nobody looks.
    cluster.replace_node(NodeId(3));
    assert!(
        cluster.open().is_err(),
        "two complete nodes and an empty one prove nothing"
    );
}

#[test]
fn a_node_refuses_an_older_writer() {
    let mut cluster = filled(6);
    let now = cluster.now();
    let node = cluster.hosts[0].node.as_mut().expect("the node is there");
    let old = VolumeEpoch {
        number: 0,
        writer: 99,
    };
    node.on_request(
        now,
        Request::Announce {
            epoch: old,
            vdl: Lsn(u64::MAX),
        },
    );
    let mut refused = false;
    while let Some(effect) = node.poll() {
        refused |= matches!(effect, NodeEffect::Send(Reply::Refused { .. }));
    }
    assert!(refused, "an older epoch is refused");
    node.on_request(now, Request::Promise { epoch: old });
    assert!(matches!(
        node.poll(),
        Some(NodeEffect::Send(Reply::Refused { .. }))
    ));
}

#[test]
fn a_failed_append_fences_the_node_and_nothing_else() {
    let mut cluster = filled(7);
    if let Some(disk) = &mut cluster.hosts[2].disk {
        disk.damage.armed.push(OneShot::FailAppend);
    }
    let write = cluster.start_write(0, &[5; 16384], true);
    cluster.wait(write).expect("five others are enough");
    cluster.quiesce(3);
    assert!(
        cluster.hosts[2]
            .node
            .as_ref()
            .is_some_and(|node| node.is_fenced())
    );
    assert_eq!(cluster.newest().writer.figures().state.word(), "degraded");
    assert_eq!(cluster.read(0, 1), [5]);
}

#[test]
fn a_full_disk_refuses_what_was_not_admitted_and_goes_on_when_there_is_space() {
    let mut cluster = unwatched(
        Shape {
            disk_bytes: 64 << 20,
            group_mib: 64,
            ..Shape::default()
        },
        8,
    );
    cluster.open().expect("a new volume opens");
    for disk in disks(&mut cluster) {
        disk.damage.capacity = Some(12 << 20);
    }
    let mut acknowledged = Vec::new();
    let mut refused = false;
    for block in 0..4000u64 {
        let write = cluster.start_write(block * 16384, &[block as u8 | 1; 16384], true);
        match cluster.wait(write) {
            Ok(_) => acknowledged.push(block),
            Err(failure) => {
                assert_eq!(failure, redoubt_volume::error::IoFailure::NoSpace);
                refused = true;
                break;
            }
        }
    }
    assert!(refused, "12 MiB cannot take 64");
    for block in acknowledged.iter().copied() {
        let found = cluster.read(block * 16384, 16384);
        assert!(
            found.iter().all(|byte| *byte == block as u8 | 1),
            "block {block}"
        );
    }
    for disk in disks(&mut cluster) {
        disk.damage.capacity = None;
    }
    cluster.quiesce(20);
    let write = cluster.start_write(0, &[9; 16384], true);
    cluster.wait(write).expect("there is space again");
}

#[test]
fn overwriting_leaves_little_behind() {
    let shape = Shape {
        disk_bytes: 8 << 20,
        group_mib: 8,
        ..Shape::default()
    };
    let mut cluster = unwatched(shape, 9);
    cluster.open().expect("a new volume opens");
    for round in 0..20u8 {
        for chunk in 0..64u64 {
            cluster.start_write(chunk * 131_072, &[round + 1; 131_072], false);
        }
        let flush = cluster.start_flush();
        cluster.wait(flush).expect("the flush succeeds");
    }
    cluster.quiesce(200);
    for disk in disks(&mut cluster) {
        let bytes = disk.log_bytes();
        assert!(
            bytes < 8 * (1 << 20) * 16 / 10 + 9 * (1 << 20),
            "{bytes} bytes for 8 MiB of data"
        );
    }
    assert!(cluster.read(0, 8 << 20).iter().all(|byte| *byte == 20));
}

/// Changes bytes all over the logs of a node.
fn damage_log(cluster: &mut Cluster, index: usize) {
    let disk = cluster.hosts[index].disk.as_mut().expect("it is there");
    let files: Vec<(File, usize)> = disk.extent_files().collect();
    for (file, length) in files {
        (0..length)
            .step_by(40 * 4096)
            .for_each(|at| disk.corrupt(file, at, 64));
    }
}

fn state(cluster: &mut Cluster) -> &'static str {
    cluster.newest().writer.figures().state.word()
}

#[test]
fn a_damaged_tail_is_filled_from_peers_and_counts_in_no_quorum_before() {
    let mut cluster = filled(10);
    cluster.crash();
    damage_log(&mut cluster, 1);
    damage_log(&mut cluster, 4);
    assert_eq!(cluster.open(), Ok(()));
    expect_filled(&mut cluster);
    cluster.quiesce(100);
    assert_eq!(state(&mut cluster), "healthy");
    cluster.crash();
    for index in [0, 2, 3] {
        cluster.hosts[index].disk = None;
    }
    assert_eq!(cluster.open(), Ok(()));
    expect_filled(&mut cluster);
}

#[test]
fn three_nodes_of_which_one_has_a_damaged_tail_prove_nothing() {
    let mut cluster = filled(11);
    cluster.crash();
    for index in [0, 2, 3] {
        cluster.hosts[index].disk = None;
    }
    damage_log(&mut cluster, 1);
    assert!(cluster.open().is_err());
}

#[test]
fn bit_rot_under_an_open_volume_is_answered_by_other_nodes() {
    let mut cluster = filled(12);
    for index in [0, 1, 2] {
        damage_log(&mut cluster, index);
    }
    expect_filled(&mut cluster);
}

#[test]
fn a_node_without_a_superblock_is_left_out_and_replaced() {
    let mut cluster = filled(13);
    cluster.crash();
    let disk = cluster.hosts[5].disk.as_mut().expect("it is there");
    disk.corrupt(File::Superblock, 0, 128 * 1024);
    assert_eq!(cluster.open(), Ok(()));
    assert!(!cluster.is_node_open(NodeId(5)));
    expect_filled(&mut cluster);
    cluster.replace_node(NodeId(5));
    cluster.quiesce(100);
    assert_eq!(state(&mut cluster), "healthy");
}

#[test]
fn slow_disks_delay_neither_writes_nor_an_open_and_catch_up() {
    let mut cluster = filled(14);
    for index in [1, 2] {
        cluster.hosts[index]
            .disk
            .as_mut()
            .expect("it is there")
            .damage
            .stuck = true;
    }
    let write = cluster.start_write(0, &[9; 16384], true);
    cluster.wait(write).expect("four are enough");
    cluster.crash();
    assert_eq!(cluster.open(), Ok(()));
    assert_eq!(cluster.read(0, 1), [9]);
    for index in [1, 2] {
        cluster.unstick(NodeId(index as u16));
    }
    cluster.quiesce(100);
    assert_eq!(state(&mut cluster), "healthy");
}

#[test]
fn a_slow_holder_of_the_tail_makes_no_other_segment_incomplete() {
    let mut cluster = filled(18);
    let writer = cluster.newest().id;
    for node in [0, 1, 2, 4, 5] {
        cluster.network.disconnect(writer, NodeId(node));
    }
    cluster.start_write(0, &[9; 16384], false);
    cluster.quiesce(3);
    cluster.crash();
    cluster.start_writer();
    let holds_list = |cluster: &Cluster| {
        let node = cluster.hosts[3].node.as_ref();
        let writer = cluster.writers.last().map(|process| process.writer.epoch());
        node.map(|node| node.superblock().list.epoch) == writer
    };
    cluster.run_until(holds_list);
    // What it alone has does not come, for longer than a copy is waited for.
    let (slow_at, late) = (Duration::from_micros(60), Duration::from_secs(6));
    let (slow_at, late) = (cluster.now().plus(slow_at), cluster.now().plus(late));
    cluster.run_until(|cluster| cluster.now() >= slow_at);
    cluster.hosts[3]
        .disk
        .as_mut()
        .expect("it is there")
        .damage
        .stuck = true;
    cluster.run_until(|cluster| cluster.now() >= late);
    assert!(cluster.newest().writer.is_open(), "five are enough");
    cluster.crash();
    cluster.hosts[3]
        .disk
        .as_mut()
        .expect("it is there")
        .damage
        .stuck = false;
    assert_eq!(cluster.open(), Ok(()), "everybody could vote");
}

/// Two nodes have missed what the four others took into their indexes: only blocks are left to be
/// copied to them. Everything has stopped.
fn with_two_behind(seed: u64) -> Cluster {
    let mut cluster = filled(seed);
    cluster.start_write(0, &[0xee; 40 * 16384], true);
    cluster.quiesce(1);
    let disks = [1, 2].map(|node| cluster.lose_node(NodeId(node)));
    for block in 0..40u64 {
        cluster.start_write(block * 16384, &[block as u8 + 1; 16384], false);
    }
    let flush = cluster.start_flush();
    cluster.wait(flush).expect("four take it");
    for node in [0, 3, 4, 5] {
        cluster.want_checkpoint(NodeId(node));
    }
    cluster.quiesce(4);
    cluster.crash();
    for (index, disk) in [1, 2].into_iter().zip(disks) {
        cluster.hosts[index].disk = disk;
    }
    cluster
}

/// Opens without nodes, and stops again after so many effects of the writer, or two seconds.
fn open_and_stop<const N: usize>(
    cluster: &mut Cluster,
    without: [usize; N],
    effects: u32,
) -> [Option<MemoryDisk>; N] {
    let away = without.map(|index| cluster.hosts[index].disk.take());
    let writer = cluster.start_writer();
    cluster.light_writers_fuse(writer, effects);
    let soon = cluster.now().plus(Duration::from_secs(2));
    cluster.run_until(|cluster| cluster.now() >= soon);
    cluster.kill();
    away
}

/// Three nodes are left, and two of them must be filled before the volume serves. However far that
/// had come when the process ended: a fourth node that comes back is enough to open the volume.
#[test]
fn a_recovery_on_three_fills_one_after_the_other() {
    for effects in 1..60 {
        let mut cluster = with_two_behind(300 + u64::from(effects));
        let away = open_and_stop(&mut cluster, [0, 3, 4], effects);
        cluster.hosts[4].disk = away.into_iter().flatten().last();
        assert_eq!(cluster.open(), Ok(()), "after {effects} effects");
        expect_filled(&mut cluster);
    }
}

/// One of the four that have everything is away, so one of two others must be filled before the
/// volume serves, and the second after that. However far that had come when the process ended: a
/// zone may be lost.
#[test]
fn two_that_are_behind_are_filled_one_after_the_other() {
    for effects in 1..120 {
        let mut cluster = with_two_behind(400 + u64::from(effects));
        let away = open_and_stop(&mut cluster, [0], effects);
        [cluster.hosts[0].disk] = away;
        for index in [4, 5] {
            cluster.hosts[index].disk = None;
        }
        assert_eq!(cluster.open(), Ok(()), "after {effects} effects");
        expect_filled(&mut cluster);
    }
}

/// A node that joins a volume which was opened on three knows no VDL that stands for what it does not
/// hold. So whatever it and two others show, when they open the volume, stays when the three come back.
#[test]
fn a_node_that_joins_three_knows_nothing_that_it_does_not_hold() {
    for steps in 0..60 {
        let mut cluster = filled(500 + steps);
        cluster.quiesce(4);
        let writer = cluster.newest().id;
        for node in [3, 4, 5] {
            cluster.network.disconnect(writer, NodeId(node));
            cluster.pause_node(NodeId(node), Duration::from_secs(60));
        }
        cluster.start_write(0, &[0xee; 16384], false);
        cluster.quiesce(4);
        cluster.crash();
        let three = [3, 4, 5].map(|index| cluster.hosts[index].disk.take());
        assert_eq!(cluster.open(), Ok(()), "on three");
        assert_eq!(cluster.read(0, 1), [0xee]);
        for (index, disk) in [3, 4, 5].into_iter().zip(three) {
            cluster.hosts[index].disk = disk;
        }
        cluster.start_node(NodeId(3));
        for _ in 0..steps {
            cluster.step();
        }
        // The next writer finds the fourth node's process alive, and none of the three.
        let writer = cluster.newest().id;
        cluster.crash_writer(writer);
        let three = [0, 1, 2].map(|node| cluster.lose_node(NodeId(node)));
        if cluster.open().is_err() {
            continue;
        }
        let shown = cluster.read(0, 1);
        cluster.crash();
        for (index, disk) in [0, 1, 2].into_iter().zip(three) {
            cluster.hosts[index].disk = disk;
        }
        assert_eq!(cluster.open(), Ok(()), "on all six, after {steps} steps");
        assert_eq!(cluster.read(0, 1), shown, "after {steps} steps");
    }
}

#[test]
fn an_open_that_comes_no_further_ends_with_the_reason() {
    let mut cluster = filled(15);
    cluster.crash();
    for index in [0, 1, 2, 3] {
        cluster.hosts[index]
            .disk
            .as_mut()
            .expect("it is there")
            .damage
            .stuck = true;
    }
    let reason = cluster.open().expect_err("two answers are too few");
    assert!(reason.contains("a1") && reason.contains("b2"), "{reason}");
}

/// Cuts the only range of every node's list into as many as a list can have.
fn fill_lists(cluster: &mut Cluster) {
    for disk in disks(cluster) {
        let mut superblock = disk.superblock().expect("it checks");
        let range = superblock.list.ranges[0];
        let width = (range.high.0 - range.low.0) / TRUNCATION_RANGES as u64;
        let part = |number: u64| TruncationRange {
            low: Lsn(range.low.0 + number * width),
            // Two that touch would be one.
            high: Lsn(range.low.0 + number * width + width - 2),
        };
        superblock.list.ranges = (0..TRUNCATION_RANGES as u64).map(part).collect();
        let last = superblock.list.ranges.last_mut().expect("there are some");
        last.high = range.high;
        disk.write_superblock(&superblock);
    }
}

#[test]
fn a_node_that_is_gone_for_good_stops_no_open() {
    let mut cluster = filled(17);
    cluster.close();
    assert_eq!(cluster.open(), Ok(()));
    cluster.start_write(100 * 16384, &[5; 16384], true);
    cluster.close();
    fill_lists(&mut cluster);
    let gone = cluster.hosts[5].disk.take().expect("it was there");
    assert_eq!(cluster.open(), Ok(()));
    expect_filled(&mut cluster);
    let write = cluster.start_write(100 * 16384, &[6; 16384], true);
    cluster.wait(write).expect("five are enough");
    let lists = disks(&mut cluster).map(|disk| {
        let superblock = disk.superblock().expect("it checks");
        superblock.list.ranges.len()
    });
    assert!(lists.max() < Some(10), "what nobody can meet is forgotten");
    // It may hold what was annulled and is not remembered: it does not count, and is made anew.
    cluster.return_node(NodeId(5), gone);
    cluster.quiesce(50);
    assert_eq!(state(&mut cluster), "degraded");
    cluster.lose_node(NodeId(5));
    cluster.replace_node(NodeId(5));
    cluster.quiesce(100);
    assert_eq!(state(&mut cluster), "healthy");
    assert_eq!(cluster.read(100 * 16384, 1), [6]);
}

/// A range is kept as long as a node could meet in its log what it annuls: also what came since
/// the node was opened.
#[test]
fn a_report_counts_what_was_logged_since_the_open() {
    let mut cluster = filled(17);
    cluster.quiesce(3);
    let now = cluster.now();
    let node = cluster.hosts[0].node.as_mut().expect("it is there");
    let promised = node.superblock().promised;
    let number = promised.number + 1;
    let epoch = VolumeEpoch { number, ..promised };
    node.on_request(now, Request::Promise { epoch });
    let mut low = None;
    while let Some(effect) = node.poll() {
        match effect {
            NodeEffect::WriteSuperblock { operation, .. } => {
                let result = Ok(());
                node.on_disk(now, DiskCompletion::Done { operation, result });
            }
            NodeEffect::Send(Reply::Promised(report)) => low = Some(report.replay_low),
            _ => {}
        }
    }
    // The first record after the range of the first open.
    let first = Lsn(LSN_ALLOCATION_LIMIT + 1);
    assert_eq!(low, Some(first));
}
