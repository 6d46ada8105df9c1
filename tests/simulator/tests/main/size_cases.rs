//! Cases of disks that are made larger.

use crate::unwatched;
use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_volume::ids::NodeId;

const LARGER_BYTES: u64 = 12 << 20;

fn opened(seed: u64) -> Cluster {
    let mut cluster = unwatched(Shape::default(), seed);
    cluster.open().expect("a new volume opens");
    let write = cluster.start_write(0, &[1; 16384], true);
    cluster.wait(write).expect("the write succeeds");
    cluster
}

#[test]
fn a_larger_disk_stays_larger_and_its_discard_reaches_every_block() {
    let mut cluster = opened(1);
    let (ticket, bytes) = (cluster.start_resize(LARGER_BYTES), LARGER_BYTES);
    cluster.wait(ticket).expect("the disk grows");
    let write = cluster.start_write(bytes - 16384, &[3; 16384], true);
    cluster.wait(write).expect("the new blocks take writes");
    cluster.crash();
    assert_eq!(cluster.open(), Ok(()));
    assert_eq!(cluster.newest().writer.disk_bytes(), bytes);
    assert_eq!(cluster.read(bytes - 1, 1), [3]);
    cluster.start_discard(0, bytes);
    let flush = cluster.start_flush();
    cluster.wait(flush).expect("the flush succeeds");
    cluster.crash();
    assert_eq!(cluster.open(), Ok(()));
    assert!(
        cluster
            .read(0, bytes as usize)
            .iter()
            .all(|byte| *byte == 0)
    );
}

#[test]
fn a_size_that_an_open_did_not_find_does_not_come_back() {
    let mut cluster = opened(2);
    let bytes = cluster.newest().writer.disk_bytes();
    let writer = cluster.newest().id;
    (0..5).for_each(|index| cluster.network.disconnect(writer, NodeId(index)));
    cluster.start_resize(LARGER_BYTES);
    cluster.quiesce(3);
    cluster.crash();
    let only_holder = cluster.hosts[5].disk.take();
    assert_eq!(cluster.open(), Ok(()));
    assert_eq!(cluster.newest().writer.disk_bytes(), bytes);
    cluster.crash();
    cluster.hosts[5].disk = only_holder;
    assert_eq!(cluster.open(), Ok(()));
    assert_eq!(cluster.newest().writer.disk_bytes(), bytes);
}

#[test]
fn a_larger_disk_is_announced_when_four_know_of_it() {
    let mut cluster = opened(3);
    (3..6).for_each(|index| cluster.crash_node(NodeId(index)));
    let resize = cluster.start_resize(LARGER_BYTES);
    cluster.quiesce(5);
    assert!(!cluster.is_answered(resize), "three know of it");
    cluster.start_node(NodeId(3));
    assert!(cluster.wait(resize).is_ok());
    // Three of whom two were away.
    cluster.crash();
    (0..3).for_each(|index| cluster.hosts[index].held_down = true);
    assert_eq!(cluster.open(), Ok(()));
    assert_eq!(cluster.newest().writer.disk_bytes(), LARGER_BYTES);
}

#[test]
fn a_new_directory_joins_while_a_larger_disk_waits_for_it() {
    let mut cluster = opened(4);
    (3..6).for_each(|index| cluster.crash_node(NodeId(index)));
    let resize = cluster.start_resize(LARGER_BYTES);
    cluster.quiesce(5);
    cluster.replace_node(NodeId(3));
    assert!(cluster.wait(resize).is_ok());
    let write = cluster.start_write(LARGER_BYTES - 16384, &[2; 16384], true);
    assert!(cluster.wait(write).is_ok());
}
