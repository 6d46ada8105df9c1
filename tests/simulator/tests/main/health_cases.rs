//! Nodes that are slow, stuck, full or doubtful: nobody notices but who reads status, and nothing
//! goes to and fro.

use crate::unwatched;
use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::random::Random;
use redoubt_volume::ids::{GroupBlock, GroupId, NodeId};
use redoubt_volume::status::NodeState;
use std::time::Duration;

const BLOCKS: u64 = 512;
/// The node of which something is wrong. Of some leaves it is the one that is asked first.
const BAD: NodeId = NodeId(0);

/// A volume of one group with many leaves, filled.
fn filled(seed: u64) -> Cluster {
    let shape = Shape {
        disk_bytes: 64 << 20,
        group_mib: 64,
        ..Shape::default()
    };
    let mut cluster = unwatched(shape, seed);
    cluster.open().expect("a new volume opens");
    for block in 0..BLOCKS {
        cluster.start_write(block * 16384, &[block as u8 | 1; 16384], false);
    }
    let flush = cluster.start_flush();
    cluster.wait(flush).expect("the flush succeeds");
    cluster.quiesce(40);
    cluster
}

fn set_slowness(cluster: &mut Cluster, slowness: u32) {
    let disk = cluster.hosts[BAD.index()].disk.as_mut();
    disk.expect("the disk is there").damage.slowness = slowness;
}

fn state(cluster: &mut Cluster, node: NodeId) -> NodeState {
    cluster.newest().writer.figures().nodes[node.index()].0
}

/// The latencies of a run, and the states that each node went through.
#[derive(Default)]
struct Load {
    reads: Vec<Duration>,
    writes: Vec<Duration>,
    states: Vec<Vec<NodeState>>,
}

impl Load {
    /// For so long a write that must be durable and a read, one after the other.
    fn run(&mut self, cluster: &mut Cluster, random: &mut Random, time: Duration) {
        let end = cluster.now().plus(time);
        while cluster.now() < end {
            self.step(cluster, random);
            let pause = Duration::from_micros(random.between(100, 4_000));
            let until = cluster.now().plus(pause);
            while cluster.next_at() <= until {
                cluster.step();
            }
            cluster.advance_to(until);
        }
    }

    fn step(&mut self, cluster: &mut Cluster, random: &mut Random) {
        let began = cluster.now();
        let write = cluster.start_write(random.below(BLOCKS) * 16384, &[7; 4096], true);
        cluster.wait(write).expect("the write succeeds");
        self.writes.push(cluster.now().since(began));
        let began = cluster.now();
        cluster.read(random.below(BLOCKS) * 16384 + 8192, 4096);
        self.reads.push(cluster.now().since(began));
        self.note_states(cluster);
    }

    fn note_states(&mut self, cluster: &mut Cluster) {
        let figures = cluster.newest().writer.figures();
        self.states.resize(figures.nodes.len(), Vec::new());
        for (seen, (state, reason)) in self.states.iter_mut().zip(figures.nodes) {
            if seen.last() != Some(&state) {
                seen.push(state);
            }
            assert_eq!(
                reason.is_some(),
                state != NodeState::Up,
                "{state:?}: {reason:?}"
            );
        }
    }

    /// The others were up all the time; what the bad one was.
    fn states_of_bad(&self) -> &[NodeState] {
        for other in &self.states[1..] {
            assert_eq!(other[..], [NodeState::Up]);
        }
        &self.states[BAD.index()]
    }
}

fn p99(latencies: &[Duration]) -> Duration {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() * 99 / 100]
}

fn run(seed: u64, slowness: u32, time: Duration) -> (Cluster, Load) {
    let mut cluster = filled(seed);
    set_slowness(&mut cluster, slowness);
    let mut load = Load::default();
    load.run(&mut cluster, &mut Random::new(seed), time);
    (cluster, load)
}

#[test]
fn a_node_a_hundred_times_slower_costs_the_user_nothing() {
    let time = Duration::from_secs(10);
    let (_, without) = run(1, 1, time);
    assert_eq!(without.states_of_bad(), [NodeState::Up]);
    for slowness in [10, 100, 1000] {
        let (_, with) = run(1, slowness, time);
        for (what, with, without) in [
            ("reads", &with.reads, &without.reads),
            ("durable writes", &with.writes, &without.writes),
        ] {
            let (bad, good) = (p99(with), p99(without));
            println!(
                "{what}: p99 {good:?} of {}, {bad:?} of {} with one node {slowness} times slower",
                without.len(),
                with.len()
            );
            assert!(bad <= good * 3 / 2, "{what}: {bad:?} instead of {good:?}");
        }
    }
}

#[test]
fn a_lost_node_is_filled_from_those_that_are_not_slow() {
    let filling_takes = |slowness: u32| {
        let (mut cluster, load) = run(7, slowness, Duration::from_secs(8));
        let is_slow = load.states_of_bad().contains(&NodeState::Slow);
        assert_eq!(is_slow, slowness > 1);
        // The disk is not in use any more, and the slow one works off what it owes, before it gets so
        // slow that whoever asks it for a leaf waits in vain.
        set_slowness(&mut cluster, 1);
        cluster.quiesce(100);
        set_slowness(&mut cluster, slowness * slowness);
        assert!(cluster.newest().writer.holds_everything(BAD));
        let (began, all) = (cluster.now(), cluster.counts.copied_blocks + BLOCKS);
        cluster.lose_node(NodeId(5));
        cluster.replace_node(NodeId(5));
        cluster.run_until(|cluster| cluster.counts.copied_blocks >= all);
        cluster.now().since(began)
    };
    let (without, with) = (filling_takes(1), filling_takes(400));
    assert!(with < without * 3 / 2, "{with:?} instead of {without:?}");
}

#[test]
fn a_slow_node_is_told_and_up_again_when_it_is_fast() {
    let (mut cluster, mut load) = run(2, 400, Duration::from_secs(8));
    assert_eq!(load.states_of_bad(), [NodeState::Up, NodeState::Slow]);
    set_slowness(&mut cluster, 1);
    load.run(&mut cluster, &mut Random::new(2), Duration::from_secs(30));
    let expected = [NodeState::Up, NodeState::Slow, NodeState::Up];
    assert_eq!(load.states_of_bad(), expected);
}

#[test]
fn a_node_that_is_slow_now_and_then_does_not_go_to_and_fro() {
    let (mut cluster, mut load) = run(3, 1, Duration::from_secs(1));
    let mut random = Random::new(3);
    for turn in 0..20 {
        set_slowness(&mut cluster, if turn % 2 == 0 { 600 } else { 1 });
        load.run(&mut cluster, &mut random, Duration::from_secs(3));
    }
    assert_eq!(load.states_of_bad(), [NodeState::Up, NodeState::Slow]);
}

#[test]
fn a_stuck_disk_is_slow_then_left_behind_and_comes_back() {
    let (mut cluster, mut load) = run(4, 1, Duration::from_secs(1));
    let mut random = Random::new(4);
    let disk = cluster.hosts[BAD.index()].disk.as_mut();
    disk.expect("the disk is there").damage.stuck = true;
    load.run(&mut cluster, &mut random, Duration::from_secs(5));
    assert_eq!(load.states_of_bad(), [NodeState::Up, NodeState::Slow]);
    load.run(&mut cluster, &mut random, Duration::from_secs(25));
    assert_eq!(state(&mut cluster, BAD), NodeState::Lagging);
    let worst = load.reads.iter().chain(&load.writes).max();
    // A read waits 25 ms for a node before it is known to be stuck.
    assert!(
        worst.is_some_and(|worst| *worst < Duration::from_millis(60)),
        "{worst:?}"
    );
    cluster.unstick(BAD);
    load.run(&mut cluster, &mut random, Duration::from_secs(60));
    assert_eq!(state(&mut cluster, BAD), NodeState::Up);
    let changes = load.states_of_bad();
    assert!(changes.len() <= 8, "{changes:?}");
    expect_good_copy(&mut cluster);
}

#[test]
fn a_full_node_is_left_as_it_is_and_comes_back_when_there_is_space() {
    let mut cluster = filled(5);
    let life = |cluster: &Cluster| {
        let disk = cluster.hosts[BAD.index()].disk.as_ref();
        disk.and_then(|disk| disk.superblock())
            .map(|it| it.incarnation)
    };
    let before = life(&cluster);
    let disk = cluster.hosts[BAD.index()].disk.as_mut();
    let disk = disk.expect("the disk is there");
    disk.damage.capacity = Some(disk.log_bytes());
    let (mut load, mut random) = (Load::default(), Random::new(5));
    for unit in 0..300 {
        let offset = (BLOCKS + random.below(BLOCKS * 4)) * 16384;
        let write = cluster.start_write(offset, &[unit as u8 | 1; 65536], true);
        cluster.wait(write).expect("five nodes have room");
    }
    load.run(&mut cluster, &mut random, Duration::from_secs(40));
    assert_eq!(state(&mut cluster, BAD), NodeState::Full);
    let while_full = load.states_of_bad().len();
    assert!(while_full <= 2, "{:?}", load.states_of_bad());
    if let Some(disk) = &mut cluster.hosts[BAD.index()].disk {
        disk.damage.capacity = None;
    }
    load.run(&mut cluster, &mut random, Duration::from_secs(15));
    assert_eq!(state(&mut cluster, BAD), NodeState::Up);
    assert_eq!(life(&cluster), before, "it was not thrown away");
    expect_good_copy(&mut cluster);
}

#[test]
fn a_node_that_gives_many_bad_pages_is_asked_last_until_a_scrub() {
    let mut cluster = filled(6);
    let leaf = |block: u64| block / 64;
    // Who is asked first about a leaf: the node with five times the leaf's number.
    let of_bad = (0..BLOCKS).filter(|block| leaf(*block) * 5 % 6 == u64::from(BAD.0));
    let of_bad: Vec<u64> = of_bad.collect();
    for block in &of_bad {
        let disk = cluster.hosts[BAD.index()].disk.as_mut();
        let byte = *block as u8 | 1;
        let is_hit = |page: &[u8]| page.iter().all(|other| *other == byte);
        disk.expect("the disk is there").corrupt_pages(is_hit);
    }
    let due = |cluster: &mut Cluster| cluster.newest().writer.figures().scrub_due;
    let errors = |cluster: &Cluster| {
        let node = cluster.hosts[BAD.index()].node.as_ref();
        node.expect("the node runs").figures().checksum_errors
    };
    for block in of_bad.iter().take(15) {
        cluster.read(block * 16384, 4096);
    }
    assert!(!due(&mut cluster).contains(&true));
    for block in of_bad.iter().skip(15).take(3) {
        cluster.read(block * 16384, 4096);
    }
    assert!(due(&mut cluster)[BAD.index()], "{}", errors(&cluster));
    let (state, reason) = cluster.newest().writer.figures().nodes[BAD.index()].clone();
    assert_eq!(state, NodeState::Up);
    assert!(reason.is_some_and(|reason| reason.contains("did not check")));
    cluster.scrub().expect("the scrub ends");
    assert!(!due(&mut cluster).contains(&true));
    expect_good_copy(&mut cluster);
}

/// What the bad node has is what the disk is.
fn expect_good_copy(cluster: &mut Cluster) {
    let flush = cluster.start_flush();
    cluster.wait(flush).expect("the flush succeeds");
    cluster.quiesce(100);
    for unit in 0..BLOCKS / 64 {
        let first = unit * 64;
        let expected = cluster.read(first * 16384, 64 * 16384);
        let copy = cluster.read_copy(BAD, GroupId(0), GroupBlock(first as u32));
        let is_same = copy.is_some_and(|copy| copy.as_ref() == expected);
        assert!(is_same, "unit {unit}");
    }
}
