//! A volume that was opened for reading on three of its nodes, and then on the other three: two
//! lines. The newer one goes on; nothing of the older one may come into it.

use crate::unwatched;
use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::disk::MemoryDisk;
use redoubt_volume::ids::{GroupBlock, GroupId, NodeId};

/// What was durable before the lines part.
const BEFORE: u8 = 1;
/// What only the older line has.
const ABANDONED: u8 = 77;

type Away = Vec<(usize, MemoryDisk)>;

fn take_away(cluster: &mut Cluster, nodes: [usize; 3]) -> Away {
    let take = |index: usize| {
        (
            index,
            cluster.hosts[index].disk.take().expect("it was there"),
        )
    };
    nodes.into_iter().map(take).collect()
}

fn put_back(cluster: &mut Cluster, away: Away) {
    for (index, disk) in away {
        cluster.hosts[index].disk = Some(disk);
    }
}

/// A write that reached the first three nodes alone was read there, without the others; then the
/// others were opened without the first three, which are returned.
fn parted(seed: u64) -> (Cluster, Away) {
    let mut cluster = unwatched(Shape::default(), seed);
    cluster.open().expect("a new volume opens");
    let write = cluster.start_write(0, &[BEFORE; 16384], true);
    cluster.wait(write).expect("six nodes take writes");
    cluster.quiesce(3);
    // The write is on its way to the late ones when the power goes.
    let late = take_away(&mut cluster, [3, 4, 5]);
    cluster.start_write(0, &[ABANDONED; 16384], false);
    cluster.quiesce(3);
    cluster.crash();
    assert_eq!(cluster.open(), Ok(()));
    assert_eq!(cluster.read(0, 1), [ABANDONED]);
    // The nodes' checkpoints have it now.
    cluster.close();
    let first = take_away(&mut cluster, [0, 1, 2]);
    put_back(&mut cluster, late);
    // Twice, so that its epoch's number is above that of the older line.
    assert_eq!(cluster.open(), Ok(()));
    cluster.crash();
    assert_eq!(cluster.open(), Ok(()));
    assert_eq!(cluster.read(0, 1), [BEFORE]);
    (cluster, first)
}

#[test]
fn a_node_of_the_older_line_does_not_come_back_with_what_was_abandoned() {
    let (mut cluster, first) = parted(30);
    for (index, disk) in first {
        cluster.return_node(NodeId(index as u16), disk);
    }
    cluster.quiesce(20);
    for node in 0..6 {
        let copy = cluster.read_copy(NodeId(node as u16), GroupId(0), GroupBlock(0));
        assert!(
            copy.is_none_or(|copy| copy.as_ref()[0] == BEFORE),
            "node {node} gives what the volume does not have"
        );
    }
    assert_eq!(cluster.read(0, 1), [BEFORE]);
    for node in 0..3 {
        cluster.replace_node(NodeId(node as u16));
        cluster.quiesce(50);
    }
    assert_eq!(cluster.newest().writer.figures().state.word(), "healthy");
    assert_eq!(cluster.read(0, 1), [BEFORE]);
}

#[test]
fn nodes_of_the_older_line_prove_nothing_to_a_recovery() {
    let (mut cluster, first) = parted(31);
    cluster.crash();
    let newer = take_away(&mut cluster, [3, 4, 5]);
    // Two of the older line and one of the newer.
    put_back(&mut cluster, first.into_iter().take(2).collect());
    put_back(&mut cluster, newer.into_iter().take(1).collect());
    let reason = cluster.open().expect_err("one node proves nothing");
    assert!(reason.contains("a1") && reason.contains("a2"), "{reason}");
}

#[test]
fn the_newer_line_goes_on_when_all_nodes_are_there() {
    let (mut cluster, first) = parted(32);
    cluster.crash();
    put_back(&mut cluster, first);
    assert_eq!(cluster.open(), Ok(()));
    for _ in 0..20 {
        assert_eq!(cluster.read(0, 1), [BEFORE]);
        cluster.quiesce(1);
    }
}
