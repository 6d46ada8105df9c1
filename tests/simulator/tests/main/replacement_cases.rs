//! Cases of nodes that are replaced while the volume is used.

use crate::expect_blocks;
use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::coverage::Mark;
use redoubt_simulator::network::WriterId;
use redoubt_volume::ids::NodeId;
use std::time::Duration;

const BLOCKS: u64 = 90;

fn filled(seed: u64) -> Cluster {
    let mut cluster = Cluster::create(Shape::default(), seed);
    cluster.open().expect("a new volume opens");
    write_all(&mut cluster, 1);
    cluster
}

/// Writes every block, with bytes that tell the round.
fn write_all(cluster: &mut Cluster, round: u8) {
    for block in 0..BLOCKS {
        cluster.start_write(block * 16384, &[block as u8 ^ round; 16384], false);
    }
    let flush = cluster.start_flush();
    cluster.wait(flush).expect("the flush succeeds");
}

fn expect_all(cluster: &mut Cluster, round: u8) {
    expect_blocks(cluster, BLOCKS, round);
}

fn life(cluster: &Cluster, node: NodeId) -> Option<u64> {
    let disk = cluster.hosts[node.index()].disk.as_ref()?;
    Some(disk.superblock()?.incarnation.0)
}

fn state(cluster: &mut Cluster) -> &'static str {
    cluster.newest().writer.figures().state.word()
}

fn seated(cluster: &Cluster) -> u64 {
    cluster.coverage.count(Mark::SuccessorSeated)
}

/// Lets time pass until replacements have ended and all six are there.
fn settle(cluster: &mut Cluster) {
    for _ in 0..400 {
        let figures = cluster.newest().writer.figures();
        if figures.replacements.is_empty() && figures.state.word() == "healthy" {
            return;
        }
        cluster.quiesce(1);
    }
    panic!("{:?}", cluster.newest().writer.figures());
}

#[test]
fn a_node_is_replaced_under_load_and_the_new_one_can_serve() {
    let mut cluster = filled(1);
    let before = life(&cluster, NodeId(3));
    assert!(cluster.begin_replacement(NodeId(3)));
    write_all(&mut cluster, 2);
    settle(&mut cluster);
    assert_ne!(life(&cluster, NodeId(3)), before);
    assert!(!cluster.is_replaced(NodeId(3)));
    expect_all(&mut cluster, 2);
    // With two others that have it all it is enough to open the volume.
    cluster.crash();
    for index in [0, 1, 2] {
        cluster.hosts[index].disk = None;
    }
    cluster.is_watched = false;
    assert_eq!(cluster.open(), Ok(()));
    expect_all(&mut cluster, 2);
}

#[test]
fn a_node_is_replaced_though_writing_never_pauses() {
    let mut cluster = filled(6);
    assert!(cluster.begin_replacement(NodeId(1)));
    let late = cluster.now().plus(Duration::from_secs(2));
    let mut round = 0;
    while cluster.is_replaced(NodeId(1)) {
        assert!(
            cluster.now() < late,
            "{:?}",
            cluster.newest().writer.figures()
        );
        round += 1;
        cluster.start_write(round % BLOCKS * 16384, &[round as u8; 16384], false);
        let soon = cluster.now().plus(Duration::from_micros(300));
        cluster.run_until(|cluster| cluster.now() >= soon);
    }
    settle(&mut cluster);
    assert_eq!(seated(&cluster), 1);
}

#[test]
fn all_are_exchanged_while_a_node_is_filled_and_no_copy_is_missing_meanwhile() {
    let mut cluster = filled(2);
    assert!(cluster.begin_replacement(NodeId(0)));
    while cluster.is_replaced(NodeId(0)) {
        assert_eq!(state(&mut cluster), "healthy", "the old one serves on");
        cluster.step();
    }
    settle(&mut cluster);
    expect_all(&mut cluster, 1);
}

#[test]
fn a_replacement_that_is_called_off_leaves_everything_as_it_was() {
    let mut cluster = filled(3);
    let before = life(&cluster, NodeId(5));
    assert!(cluster.begin_replacement(NodeId(5)));
    for _ in 0..20 {
        cluster.step();
    }
    cluster.abort_replacement(NodeId(5));
    assert!(!cluster.is_replaced(NodeId(5)));
    settle(&mut cluster);
    assert_eq!((life(&cluster, NodeId(5)), seated(&cluster)), (before, 0));
    write_all(&mut cluster, 2);
    expect_all(&mut cluster, 2);
}

#[test]
fn a_node_that_is_gone_is_replaced_by_another_directory() {
    let mut cluster = filled(4);
    cluster.lose_node(NodeId(1));
    cluster.hosts[1].held_down = true;
    assert!(cluster.begin_replacement(NodeId(1)));
    write_all(&mut cluster, 2);
    for _ in 0..200 {
        cluster.quiesce(1);
        cluster.hosts[1].held_down = cluster.is_replaced(NodeId(1));
    }
    settle(&mut cluster);
    assert_eq!(seated(&cluster), 1);
    expect_all(&mut cluster, 2);
}

#[test]
fn a_second_failure_in_the_middle_is_survived() {
    let mut cluster = filled(5);
    assert!(cluster.begin_replacement(NodeId(2)));
    cluster.lose_node(NodeId(4));
    cluster.replace_node(NodeId(4));
    assert!(cluster.begin_replacement(NodeId(5)));
    write_all(&mut cluster, 2);
    settle(&mut cluster);
    assert_eq!(seated(&cluster), 2);
    expect_all(&mut cluster, 2);
}

/// Runs until a configuration is on its way that names the successor.
fn exchange_begins(cluster: &mut Cluster, node: NodeId) {
    assert!(cluster.begin_replacement(node));
    while !cluster.newest().writer.is_exchanged(node) {
        cluster.step();
    }
}

#[test]
fn a_successor_that_is_lost_while_it_is_named_begins_anew() {
    let mut cluster = filled(7);
    for node in [NodeId(0), NodeId(1)] {
        cluster.hosts[node.index()].held_down = true;
        cluster.crash_node(node);
    }
    let before = life(&cluster, NodeId(3));
    exchange_begins(&mut cluster, NodeId(3));
    // With two away all four that are left must hold it, and the successor, too.
    cluster.lose_successor(NodeId(3));
    let writes: Vec<_> = (0..BLOCKS)
        .map(|block| cluster.start_write(block * 16384, &[block as u8 ^ 2; 16384], true))
        .collect();
    cluster.quiesce(80);
    let writer = cluster.newest();
    assert!(writes.iter().all(|write| !writer.has_answered(*write)));
    assert!(
        writer.writer.is_exchanged(NodeId(3)),
        "nothing is taken back by three"
    );
    cluster.hosts[0].held_down = false;
    for write in writes {
        cluster.wait(write).expect("writes go on");
    }
    assert_eq!((life(&cluster, NodeId(3)), seated(&cluster)), (before, 0));
    cluster.hosts[1].held_down = false;
    settle(&mut cluster);
    assert_ne!(life(&cluster, NodeId(3)), before);
    assert_eq!(seated(&cluster), 1);
    expect_all(&mut cluster, 2);
    assert_eq!(cluster.laws.violation, None);
}

#[test]
fn a_successor_that_is_named_can_still_be_called_off() {
    let mut cluster = filled(8);
    let before = life(&cluster, NodeId(4));
    exchange_begins(&mut cluster, NodeId(4));
    while cluster.is_replaced(NodeId(4)) {
        cluster.abort_replacement(NodeId(4));
        cluster.step();
    }
    assert_eq!((life(&cluster, NodeId(4)), seated(&cluster)), (before, 0));
    write_all(&mut cluster, 2);
    cluster.crash();
    cluster.open().expect("the volume opens");
    assert_eq!(life(&cluster, NodeId(4)), before);
    settle(&mut cluster);
    expect_all(&mut cluster, 2);
    assert_eq!(cluster.laws.violation, None);
}

/// Wherever the writer's process ends, and whichever nodes lose power with it, the volume opens, has
/// everything, and the replacement ends.
#[test]
fn a_crash_at_any_effect_of_an_exchange_loses_nothing() {
    let (mut exchanged, mut undone) = (0, 0);
    for effects in (20..1400).step_by(20) {
        let mut cluster = filled(1000 + u64::from(effects));
        let before = life(&cluster, NodeId(3));
        assert!(cluster.begin_replacement(NodeId(3)));
        cluster.light_writers_fuse(WriterId(1), effects);
        write_all_or_die(&mut cluster, 2);
        for node in [NodeId(0), NodeId(3), NodeId(9)] {
            cluster.cut_power_of(node);
        }
        cluster.kill();
        cluster.open().expect("the volume opens");
        match life(&cluster, NodeId(3)) == before {
            true => undone += 1,
            false => exchanged += 1,
        }
        write_all(&mut cluster, 3);
        settle(&mut cluster);
        assert_eq!(seated(&cluster), 1, "{effects}");
        expect_all(&mut cluster, 3);
        cluster.crash();
        cluster.open().expect("the volume opens again");
        expect_all(&mut cluster, 3);
        assert_eq!(cluster.laws.violation, None);
    }
    assert!(exchanged > 0 && undone > 0, "{exchanged} {undone}");
}

fn write_all_or_die(cluster: &mut Cluster, round: u8) {
    for block in 0..BLOCKS {
        if cluster.writers.is_empty() {
            return;
        }
        cluster.start_write(block * 16384, &[block as u8 ^ round; 16384], false);
        (0..8).for_each(|_| cluster.step());
    }
    for _ in 0..4000 {
        cluster.step();
    }
}

/// The nodes that hold a configuration which names the successor of node 3.
fn who_names_the_successor(cluster: &Cluster) -> Vec<usize> {
    let new = life(cluster, NodeId(9));
    let names = |index: &usize| {
        let disk = cluster.hosts[*index].disk.as_ref();
        let superblock = disk.and_then(|disk| disk.superblock());
        superblock.map(|superblock| superblock.config.nodes[3].incarnation.0) == new
    };
    (0..6).filter(names).collect()
}

/// One node alone knows that the successor has the place, and neither of the two is there at the next
/// open. Whoever finds both later counts without the former node, so nothing may stand on that one
/// before four others know better.
#[test]
fn an_exchange_that_was_not_found_takes_nothing_back() {
    let mut cluster = filled(77);
    cluster.is_watched = false;
    assert!(cluster.begin_replacement(NodeId(3)));
    while who_names_the_successor(&cluster).is_empty() {
        cluster.step();
    }
    cluster.crash();
    let knows = who_names_the_successor(&cluster);
    let &[knows] = &knows[..] else {
        panic!("{knows:?} know of it");
    };
    let other = [0, 1, 2].into_iter().find(|index| *index != knows);
    let other = other.expect("three are more than one");
    let three = [knows, other, 9];
    let away = three.map(|index| cluster.hosts[index].disk.take());
    assert_eq!(cluster.open(), Ok(()), "the three others are there");
    let write = cluster.start_write(0, &[1; 16384], true);
    cluster.quiesce(20);
    assert!(!cluster.is_answered(write), "it stood on the former node");
    let [knows_disk, other_disk, new_disk] = away;
    cluster.hosts[other].disk = other_disk;
    cluster.start_node(NodeId(other as u16));
    cluster.wait(write).expect("four others are there");
    write_all(&mut cluster, 2);
    cluster.crash();
    for index in (0..6).filter(|index| !three.contains(index)) {
        cluster.hosts[index].disk = None;
    }
    cluster.hosts[knows].disk = knows_disk;
    cluster.hosts[9].disk = new_disk;
    if cluster.open().is_ok() {
        expect_all(&mut cluster, 2);
    }
}

/// Successors that can be reached are in nobody's way, however many there are.
#[test]
fn a_volume_opens_while_most_of_its_nodes_are_being_replaced() {
    let mut cluster = filled(78);
    for node in [0, 2, 3, 4] {
        assert!(cluster.begin_replacement(NodeId(node)));
    }
    cluster.crash();
    assert_eq!(cluster.open(), Ok(()));
    write_all(&mut cluster, 2);
    settle(&mut cluster);
    expect_all(&mut cluster, 2);
}
