//! Cases of segments that move between nodes while the volume is used.

use crate::expect_blocks;
use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::coverage::Mark;
use redoubt_simulator::network::WriterId;
use redoubt_volume::config::VolumeConfig;
use redoubt_volume::ids::{GroupId, NodeId};
use redoubt_volume::writer::Ticket;
use std::ops::Range;
use std::time::Duration;

/// In four groups.
const BLOCKS: u64 = 200;

fn shape() -> Shape {
    Shape {
        disk_bytes: 8 << 20,
        ..Shape::default()
    }
}

fn write(cluster: &mut Cluster, block: u64, round: u8) -> Ticket {
    cluster.start_write(block * 16384, &[block as u8 ^ round; 16384], false)
}

/// Writes every block, with bytes that tell the round.
fn write_all(cluster: &mut Cluster, round: u8) {
    let writes: Vec<Ticket> = (0..BLOCKS)
        .map(|block| write(cluster, block, round))
        .collect();
    for write in writes {
        cluster.wait(write).expect("the write succeeds");
    }
    let flush = cluster.start_flush();
    cluster.wait(flush).expect("the flush succeeds");
}

fn expect_all(cluster: &mut Cluster, round: u8) {
    expect_blocks(cluster, BLOCKS, round);
}

/// A volume with data in four groups on six nodes, to which three have come.
fn widened(seed: u64) -> Cluster {
    let mut cluster = Cluster::create(shape(), seed);
    cluster.open().expect("a new volume opens");
    write_all(&mut cluster, 1);
    let widening = cluster.start_widening(false).expect("a writer runs");
    cluster.wait(widening).expect("four nodes know it");
    cluster.crash();
    cluster.open().expect("the volume opens");
    assert_eq!(cluster.seats(), 9);
    cluster
}

fn spreading(seed: u64) -> Cluster {
    let mut cluster = widened(seed);
    let spreading = cluster.start_spreading().expect("a writer runs");
    cluster.wait(spreading).expect("four nodes know it");
    cluster
}

/// Nine nodes with all groups spread over them.
fn spread(seed: u64) -> Cluster {
    let mut cluster = spreading(seed);
    settle(&mut cluster);
    cluster
}

/// Lets time pass until nothing moves any more and all is as it is to be.
fn settle(cluster: &mut Cluster) {
    for _ in 0..1200 {
        let writer = &cluster.newest().writer;
        let figures = writer.figures();
        let is_current = |group: &GroupId| {
            let members = writer.config().members(*group);
            members.iter().all(|node| writer.is_current(*node, *group))
        };
        let is_done = figures.relocation.is_none()
            && !writer.has_left_something_behind()
            && writer.existing_groups().iter().all(is_current);
        if is_done && figures.state.word() == "healthy" {
            return assert_placed(cluster);
        }
        cluster.quiesce(1);
    }
    let writer = &cluster.newest().writer;
    panic!("{:?} {:?}", writer.figures(), writer.config());
}

/// Every group is on the six nodes that one table gives it, and nothing of it anywhere else.
fn assert_placed(cluster: &mut Cluster) {
    let writer = &cluster.newest().writer;
    let (config, groups) = (writer.config().clone(), writer.existing_groups());
    assert!(!config.has_two_tables(), "{config:?}");
    for group in groups {
        for node in config.node_ids() {
            let host = &cluster.hosts[node.index()];
            let has = host
                .node
                .as_ref()
                .map(|node| node.groups().contains(&group));
            let holds = config.holds(node, group);
            assert!(
                has.is_none_or(|has| has == holds),
                "{node:?} {group:?} {has:?} {holds}"
            );
        }
    }
    assert_eq!(cluster.laws.violation, None);
}

fn holders(cluster: &mut Cluster, group: u32) -> Vec<NodeId> {
    cluster
        .newest()
        .writer
        .config()
        .members(GroupId(group))
        .into()
}

#[test]
fn groups_stay_until_they_are_to_be_spread_and_new_ones_use_all_nodes() {
    let mut cluster = widened(1);
    cluster.quiesce(40);
    expect_all(&mut cluster, 1);
    assert!((0..4).all(|group| holders(&mut cluster, group).iter().all(|node| node.0 < 6)));
    let new = cluster.start_write(5 << 20, &[7; 16384], true);
    cluster.wait(new).expect("a new group is made");
    assert!(holders(&mut cluster, 5).iter().any(|node| node.0 >= 6));
    expect_all(&mut cluster, 1);
}

#[test]
fn segments_spread_under_load_and_nothing_is_left_where_they_were() {
    let mut cluster = spreading(2);
    let mut round = 1;
    while cluster.newest().writer.figures().relocation.is_some() {
        round = round % 100 + 1;
        (0..BLOCKS).step_by(3).for_each(|block| {
            write(&mut cluster, block, round);
        });
        let soon = cluster.now().plus(Duration::from_millis(10));
        cluster.run_until(|cluster| cluster.now() >= soon);
        let state = cluster.newest().writer.figures().state.word();
        assert_eq!(state, "healthy", "no copy is missing meanwhile");
    }
    write_all(&mut cluster, 2);
    settle(&mut cluster);
    expect_all(&mut cluster, 2);
    assert!(cluster.coverage.count(Mark::SegmentReleased) > 0);
    // Every node works.
    let groups = 0..4;
    let used = groups.flat_map(|group| holders(&mut cluster, group));
    let used: std::collections::BTreeSet<_> = used.collect();
    assert_eq!(used.len(), 9, "{used:?}");
    // Three that have it all are enough to open, also where one of them has just come.
    cluster.crash();
    cluster.open().expect("the volume opens");
    settle(&mut cluster);
    expect_all(&mut cluster, 2);
}

#[test]
fn a_volume_grows_again_when_its_groups_are_spread() {
    let mut cluster = spread(3);
    let widening = cluster.start_widening(false).expect("a writer runs");
    cluster.wait(widening).expect("four nodes know it");
    cluster.crash();
    cluster.open().expect("the volume opens");
    let spreading = cluster.start_spreading().expect("a writer runs");
    cluster.wait(spreading).expect("four nodes know it");
    settle(&mut cluster);
    assert_eq!(cluster.seats(), 12);
    expect_all(&mut cluster, 1);
}

#[test]
fn a_group_that_begins_while_others_move_is_where_it_is_to_be() {
    let mut cluster = widened(4);
    // Groups 4 to 7 are not there yet; two of them are before the first that is placed anew.
    let last = cluster.start_write(7 << 20, &[9; 16384], true);
    cluster.wait(last).expect("it is written");
    let mut cluster = cluster;
    let spreading = cluster.start_spreading().expect("a writer runs");
    cluster.wait(spreading).expect("four nodes know it");
    for group in [4, 5, 6] {
        let write = cluster.start_write(group << 20, &[group as u8; 16384], true);
        cluster.wait(write).expect("it is written");
        cluster.quiesce(2);
    }
    settle(&mut cluster);
    for group in [4, 5, 6] {
        assert_eq!(cluster.read(group << 20, 16384), [group as u8; 16384]);
    }
    assert_eq!(cluster.read(7 << 20, 16384), [9; 16384]);
    expect_all(&mut cluster, 1);
}

/// Its first record is durable wherever a crash may find the group.
#[test]
fn a_group_that_begins_while_it_may_be_found_elsewhere_counts_in_both_places() {
    for ends_at in [1, 5, 20, 60, 400] {
        let mut cluster = Cluster::create(shape(), 30 + ends_at);
        cluster.open().expect("a new volume opens");
        write_all(&mut cluster, 1);
        let last = cluster.start_write(7 << 20, &[9; 16384], true);
        cluster.wait(last).expect("it is written");
        let widening = cluster.start_widening(true).expect("a writer runs");
        cluster.wait(widening).expect("four nodes know it");
        cluster.crash();
        cluster.open().expect("the volume opens");
        let is_elsewhere = |cluster: &mut Cluster| {
            let places = cluster.newest().writer.places_of(GroupId(5));
            places.len() == 2 && places[0] != places[1]
        };
        while !is_elsewhere(&mut cluster) {
            cluster.step();
        }
        let write = cluster.start_write(5 << 20, &[5; 16384], true);
        for _ in 0..ends_at * 40 {
            cluster.step();
            let laws = cluster.laws.segments.clone();
            let durable = laws.check_durable(&cluster.newest().writer);
            assert_eq!(durable, Ok(()));
        }
        let answered = cluster.newest().has_answered(write);
        cluster.crash();
        cluster.open().expect("the volume opens again");
        settle(&mut cluster);
        if answered {
            assert_eq!(cluster.read(5 << 20, 16384), [5; 16384]);
        }
        expect_all(&mut cluster, 1);
    }
}

#[test]
fn a_node_is_drained_under_load_and_can_be_deleted() {
    let mut cluster = spread(5);
    let node = NodeId(2);
    let draining = cluster.start_draining(node).expect("a writer runs");
    cluster.wait(draining).expect("four nodes know it");
    while cluster.newest().writer.figures().relocation.is_some() {
        (0..BLOCKS).step_by(5).for_each(|block| {
            write(&mut cluster, block, 3);
        });
        let soon = cluster.now().plus(Duration::from_millis(10));
        cluster.run_until(|cluster| cluster.now() >= soon);
    }
    write_all(&mut cluster, 4);
    settle(&mut cluster);
    assert!(cluster.is_drained(node) && cluster.hosts[node.index()].disk.is_none());
    expect_all(&mut cluster, 4);
    cluster.crash();
    cluster.open().expect("the volume opens without it");
    settle(&mut cluster);
    expect_all(&mut cluster, 4);
    let figures = cluster.newest().writer.figures();
    assert_eq!(figures.nodes[node.index()].0.word(), "drained");
}

#[test]
fn what_cannot_be_is_refused() {
    let mut cluster = widened(6);
    // The groups that there were are not spread.
    let draining = cluster.start_draining(NodeId(0)).expect("a writer runs");
    assert!(cluster.wait(draining).is_err());
    let mut cluster = spread(7);
    let spreading = cluster.start_spreading().expect("a writer runs");
    assert!(cluster.wait(spreading).is_err());
    for node in [NodeId(0), NodeId(1)] {
        let draining = cluster.start_draining(node).expect("a writer runs");
        let drained = cluster.wait(draining);
        assert_eq!(drained.is_ok(), node == NodeId(0), "zone a has three nodes");
        if drained.is_ok() {
            settle(&mut cluster);
        }
    }
}

/// Lets segments move until so many have.
fn until_moved(cluster: &mut Cluster, count: u64) {
    while cluster
        .newest()
        .writer
        .figures()
        .relocation
        .is_some_and(|(moved, _)| moved < count)
    {
        cluster.step();
    }
}

#[test]
fn nodes_are_lost_in_the_middle() {
    // Node 1 is left by segments, node 6 gets some; one that has nothing to do with it.
    for (seed, lost) in [(10, 1), (11, 6), (12, 4), (13, 8)] {
        for moved in [0, 2, 5] {
            let mut cluster = spreading(seed);
            until_moved(&mut cluster, moved);
            (0..30).for_each(|_| cluster.step());
            cluster.lose_node(NodeId(lost));
            write_all(&mut cluster, 2);
            cluster.replace_node(NodeId(lost));
            settle(&mut cluster);
            expect_all(&mut cluster, 2);
        }
    }
}

#[test]
fn a_node_is_replaced_in_the_middle() {
    for (seed, replaced) in [(20, 1), (21, 6), (22, 3)] {
        for moved in [0, 3] {
            let mut cluster = spreading(seed);
            until_moved(&mut cluster, moved);
            (0..30).for_each(|_| cluster.step());
            assert!(cluster.begin_replacement(NodeId(replaced)));
            write_all(&mut cluster, 2);
            settle(&mut cluster);
            for _ in 0..400 {
                if !cluster.is_replaced(NodeId(replaced)) {
                    break;
                }
                cluster.quiesce(1);
            }
            assert_eq!(cluster.coverage.count(Mark::SuccessorSeated), 1);
            settle(&mut cluster);
            expect_all(&mut cluster, 2);
        }
    }
}

fn write_some_or_die(cluster: &mut Cluster, round: u8) {
    for block in (0..BLOCKS).step_by(9) {
        if cluster.writers.is_empty() {
            return;
        }
        write(cluster, block, round);
        (0..60).for_each(|_| cluster.step());
    }
    for _ in 0..4000 {
        cluster.step();
    }
}

/// Wherever the writer's process ends, and whichever nodes lose power with it, the volume opens, has
/// everything, and the segments get where they are to be. How often some had moved, and others had not.
fn crash_everywhere(begin: impl Fn(u64) -> Cluster, steps: Range<usize>) -> usize {
    let mut half_moved = 0;
    for effects in steps.step_by(17) {
        let mut cluster = begin(1000 + effects as u64);
        cluster.light_writers_fuse(WriterId(2), effects as u32);
        write_some_or_die(&mut cluster, 2);
        for node in [NodeId(0), NodeId(3), NodeId(7)] {
            cluster.cut_power_of(node);
        }
        cluster.kill();
        cluster.open().expect("the volume opens");
        let moved = cluster.newest().writer.figures().relocation;
        half_moved += usize::from(moved.is_some_and(|(moved, all)| 0 < moved && moved < all));
        write_all(&mut cluster, 3);
        settle(&mut cluster);
        expect_all(&mut cluster, 3);
        cluster.crash();
        cluster.open().expect("the volume opens again");
        settle(&mut cluster);
        expect_all(&mut cluster, 3);
    }
    half_moved
}

#[test]
fn a_crash_at_any_effect_of_a_spread_loses_nothing() {
    assert!(crash_everywhere(spreading, 10..900) > 9);
}

#[test]
fn a_crash_at_any_effect_of_a_drain_loses_nothing() {
    let draining = |seed: u64| {
        let mut cluster = spread(seed);
        let draining = cluster.start_draining(NodeId(7)).expect("a writer runs");
        cluster.wait(draining).expect("four nodes know it");
        cluster
    };
    // Fewer segments move.
    assert!(crash_everywhere(draining, 10..600) > 2);
}

/// A set of nodes, one bit each.
type Set = u32;

fn fewest_of_a_placement(config: &VolumeConfig, set: Set) -> usize {
    let placements = config.placements().into_iter();
    let counts = placements.map(|six| six.iter().filter(|node| set >> node.0 & 1 == 1).count());
    counts.min().unwrap_or(0)
}

/// The process ends as soon as one node has the next configuration. What counted before, and that one.
fn end_half_configured(cluster: &mut Cluster, only: NodeId) -> [VolumeConfig; 2] {
    cluster.is_watched = false;
    cluster.run_until(|cluster| cluster.writers.is_empty());
    cluster.hosts[only.index()].held_down = false;
    cluster.crash();
    let has_it = |node: &usize| *node == only.index();
    [false, true].map(|whether| {
        let nodes = (0..cluster.seats()).filter(|node| has_it(node) == whether);
        let disks = nodes.filter_map(|node| cluster.hosts[node].disk.as_ref());
        let configs = disks.filter_map(|disk| Some(disk.superblock()?.config));
        configs
            .max_by_key(|config| config.version)
            .expect("disks are there")
    })
}

/// Who may be away with the one while the others write; and, with them, barely enough to open with
/// by what that one knows.
fn absences([before, after]: &[VolumeConfig; 2], only: NodeId) -> Vec<(Set, Set)> {
    let old: Set = (1 << before.nodes.len()) - 1;
    let come: Set = (1 << after.nodes.len()) - 1 - old;
    let opens = |there: Set| fewest_of_a_placement(after, there | come) >= 3;
    let without = |set: Set, node: NodeId| set & !(1 << node.0);
    let mut found = Vec::new();
    for away in (0..=old).filter(|away| without(*away, only) != *away) {
        if fewest_of_a_placement(before, old & !away) < 4 {
            continue;
        }
        for there in (0..=old).filter(|there| there & away == away && opens(*there)) {
            let is_spare = |node: NodeId| {
                without(there & !away, node) != there & !away && opens(without(there, node))
            };
            if !before.node_ids().any(is_spare) {
                found.push((away, there));
            }
        }
    }
    found
}

/// Writes while some are away, then opens with them and with few of those that took the writes.
fn write_without_then_open_with(cluster: &mut Cluster, away: Set, there: Set) -> bool {
    let seats = cluster.seats();
    let nodes = |set: Set| (0..seats).filter(move |node| set >> node & 1 == 1);
    let taken = nodes(away).map(|node| (node, cluster.hosts[node].disk.take()));
    let taken: Vec<_> = taken.collect();
    cluster.open().expect("four of every placement are there");
    write_all(cluster, 2);
    cluster.crash();
    nodes(!there).for_each(|node| cluster.hosts[node].disk = None);
    taken
        .into_iter()
        .for_each(|(node, disk)| cluster.hosts[node].disk = disk);
    let is_open = cluster.open().is_ok();
    if is_open {
        expect_all(cluster, 2);
    }
    is_open
}

/// Who wrote without it is met by whoever finds it: the two configurations share a placement.
fn half_configured(only: NodeId, begin: impl Fn() -> Cluster) {
    let configs = end_half_configured(&mut begin(), only);
    let moves =
        |group: &u32| configs[0].members(GroupId(*group)) != configs[1].members(GroupId(*group));
    assert!((0..8).any(|group| moves(&group)) && configs[0].version < configs[1].version);
    let mut opened = 0;
    for (away, there) in absences(&configs, only).into_iter().step_by(11) {
        let mut cluster = begin();
        assert_eq!(end_half_configured(&mut cluster, only), configs);
        opened += usize::from(write_without_then_open_with(&mut cluster, away, there));
    }
    assert!(opened > 0);
}

#[test]
fn a_step_that_one_node_knows_of_loses_nothing() {
    half_configured(NodeId(4), || {
        let mut cluster = spreading(202);
        until_moved(&mut cluster, 2);
        cluster.configures_only = Some(NodeId(4));
        cluster
    });
}

#[test]
fn a_drain_that_one_node_knows_of_loses_nothing() {
    half_configured(NodeId(7), || {
        let mut cluster = spread(300);
        cluster.configures_only = Some(NodeId(7));
        cluster.start_draining(NodeId(4)).expect("a writer runs");
        cluster
    });
}

/// No placement is left over from groups that there were.
#[test]
fn a_drain_without_groups_that_one_node_knows_of_loses_nothing() {
    half_configured(NodeId(7), || {
        let mut cluster = Cluster::create(shape(), 500);
        cluster.open().expect("a new volume opens");
        let widening = cluster.start_widening(false).expect("a writer runs");
        cluster.wait(widening).expect("four nodes know it");
        cluster.crash();
        cluster.open().expect("the volume opens");
        cluster.configures_only = Some(NodeId(7));
        cluster.start_draining(NodeId(4)).expect("a writer runs");
        cluster
    });
}

#[test]
fn nodes_that_come_and_one_node_knows_of_lose_nothing() {
    half_configured(NodeId(3), || {
        let mut cluster = Cluster::create(shape(), 400);
        cluster.open().expect("a new volume opens");
        write_all(&mut cluster, 1);
        cluster.configures_only = Some(NodeId(3));
        cluster.start_widening(true).expect("a writer runs");
        cluster
    });
}
