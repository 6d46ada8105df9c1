//! Records that are durable come into the index when there is time, and nobody can tell.

use crate::unwatched;
use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::coverage::Mark;

const MIB: usize = 1 << 20;

/// What is written is larger than what a node puts off without asking for time.
fn written(seed: u64) -> Cluster {
    let mut cluster = unwatched(Shape::default(), seed);
    cluster.open().expect("a new volume opens");
    for part in 0..4 {
        cluster.start_write((part * MIB) as u64, &[part as u8 + 1; MIB], false);
        let flush = cluster.start_flush();
        cluster.wait(flush).expect("the flush succeeds");
    }
    cluster
}

fn live_bytes(cluster: &Cluster) -> Vec<u64> {
    let nodes = cluster.hosts.iter().filter_map(|host| host.node.as_ref());
    nodes.map(|node| node.figures().live_bytes).collect()
}

fn assert_all_there(cluster: &mut Cluster) {
    for part in 0..4 {
        let read = cluster.read((part * MIB) as u64, MIB);
        assert!(read.iter().all(|byte| *byte == part as u8 + 1), "{part}");
    }
}

#[test]
fn what_was_put_off_is_taken_in_when_there_is_time() {
    let mut cluster = written(1);
    let durable = live_bytes(&cluster);
    assert!(
        durable.iter().all(|live| *live < 4 * MIB as u64),
        "{durable:?}"
    );
    cluster.quiesce(1);
    let live = live_bytes(&cluster);
    assert!(live.iter().all(|live| *live >= 4 * MIB as u64), "{live:?}");
    assert!(cluster.coverage.count(Mark::Idle) > 0);
}

#[test]
fn a_read_finds_what_was_put_off() {
    assert_all_there(&mut written(2));
}

#[test]
fn what_was_put_off_when_the_power_went_is_there_afterwards() {
    let mut cluster = written(3);
    cluster.crash();
    assert_eq!(cluster.open(), Ok(()));
    assert_all_there(&mut cluster);
}
