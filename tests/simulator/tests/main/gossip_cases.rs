//! Cases of nodes that fill gaps from each other's logs.

use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::coverage::Mark;
use redoubt_simulator::network::Way;
use redoubt_volume::ids::NodeId;
use redoubt_volume::limits;
use std::time::Duration;

const BLOCKS: u64 = 60;

fn opened(seed: u64) -> Cluster {
    let mut cluster = Cluster::create(Shape::default(), seed);
    cluster.open().expect("a new volume opens");
    write_all(&mut cluster, 1);
    cluster.quiesce(10);
    cluster
}

fn write_all(cluster: &mut Cluster, round: u8) {
    for block in 0..BLOCKS {
        let write = cluster.start_write(block * 16384, &[block as u8 ^ round; 16384], true);
        cluster.wait(write).expect("four are there");
    }
}

/// What is told to the node does not reach it while `what` happens; nobody notices.
fn while_deaf(cluster: &mut Cluster, node: NodeId, what: impl FnOnce(&mut Cluster)) {
    cluster.network.cut(node, Way::ToNode);
    what(cluster);
    cluster.network.mend(node);
}

fn is_current(cluster: &mut Cluster, node: NodeId) -> bool {
    let writer = &cluster.newest().writer;
    let mut groups = writer.existing_groups().into_iter();
    groups.all(|group| writer.is_current(node, group))
}

/// Simulated time until a node has everything.
fn until_current(cluster: &mut Cluster, node: NodeId) -> Duration {
    let start = cluster.now();
    let late = start.plus(Duration::from_secs(120));
    while !is_current(cluster, node) {
        let now = cluster.now();
        assert!(now < late, "{:?}", cluster.newest().writer.figures());
        cluster.quiesce(1);
    }
    cluster.now().since(start)
}

#[test]
fn a_gap_is_filled_by_peers_before_the_writer_looks() {
    for seed in 1..6 {
        let mut cluster = opened(seed);
        let node = NodeId((seed % 6) as u16);
        while_deaf(&mut cluster, node, |cluster| write_all(cluster, 2));
        write_all(&mut cluster, 3);
        let took = until_current(&mut cluster, node);
        assert!(took < limits::REPLY_PATIENCE, "{took:?}");
        assert!(cluster.coverage.count(Mark::PeerGaveRecords) > 0);
        assert_eq!(
            cluster.coverage.count(Mark::LeavesCopied),
            0,
            "from the log"
        );
    }
}

#[test]
fn who_missed_the_last_records_hears_of_them_from_a_peer() {
    let mut cluster = opened(7);
    while_deaf(&mut cluster, NodeId(2), |cluster| write_all(cluster, 2));
    // Nothing is written any more, so that no record tells of a gap.
    let took = until_current(&mut cluster, NodeId(2));
    assert!(took < limits::REPLY_PATIENCE, "{took:?}");
    assert_eq!(
        cluster.coverage.count(Mark::LeavesCopied),
        0,
        "from the log"
    );
}

#[test]
fn what_no_log_reaches_any_more_comes_as_blocks() {
    let mut cluster = opened(8);
    while_deaf(&mut cluster, NodeId(4), |cluster| {
        for round in 0..=(limits::GOSSIP_MEMORY as u64 / BLOCKS) {
            write_all(cluster, round as u8);
        }
    });
    write_all(&mut cluster, 9);
    until_current(&mut cluster, NodeId(4));
    assert!(cluster.coverage.count(Mark::LeavesCopied) > 0);
}

#[test]
fn a_node_whose_disk_hangs_asks_for_nothing() {
    let mut cluster = opened(9);
    let node = NodeId(3);
    let disk = cluster.hosts[node.index()].disk.as_mut();
    disk.expect("it is there").damage.stuck = true;
    let before = cluster.coverage.count(Mark::PeerGaveRecords);
    let late = cluster.now().plus(10 * limits::GOSSIP_PATIENCE);
    while cluster.now() < late {
        write_all(&mut cluster, 2);
        cluster.quiesce(10);
    }
    assert_eq!(cluster.coverage.count(Mark::PeerGaveRecords), before);
    cluster.unstick(node);
    until_current(&mut cluster, node);
}
