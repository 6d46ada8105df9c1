use super::*;
use crate::status::{NodeState, VolumeState};
use crate::volume::{CreateOptions, ReadBytes, create};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

fn made(folder: &Path) -> PathBuf {
    let path = folder.join("v");
    let options = CreateOptions {
        disk_bytes: 32 << 20,
        group_bytes: 1 << 20,
        extent_bytes: 1 << 20,
        ..CreateOptions::default()
    };
    create(&path, &options).unwrap();
    path
}

/// A directory for a node in each zone.
fn three(folder: &Path) -> Vec<(ZoneId, PathBuf)> {
    let zones = (0..3).map(ZoneId);
    zones
        .map(|zone| (zone, folder.join(format!("new{}", zone.0))))
        .collect()
}

fn await_that(volume: &Volume, reached: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < deadline, "{:#?}", volume.status());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn opened(path: &Path) -> Volume {
    let volume = Volume::open(path, OpenOptions::default()).unwrap();
    await_that(&volume, || volume.status().state == VolumeState::Healthy);
    volume
}

/// A group has a mebibyte.
fn write_group(volume: &Volume, group: usize) {
    let (sender, receiver) = channel();
    let done = Box::new(move |result| sender.send(result).unwrap());
    volume.write((group * MIB) as u64, &[group as u8 + 1; MIB], true, done);
    receiver.recv().unwrap().unwrap();
}

fn assert_group(volume: &Volume, group: usize) {
    let (sender, receiver) = channel();
    let done = Box::new(move |result| sender.send(result).unwrap());
    volume.read((group * MIB) as u64, MIB, false, done);
    let read: ReadBytes = receiver.recv().unwrap().unwrap();
    assert!(
        read.as_ref().iter().all(|byte| *byte == group as u8 + 1),
        "group {group}"
    );
}

fn live_bytes(volume: &Volume, name: &str) -> u64 {
    let nodes = volume.status().nodes;
    nodes
        .iter()
        .find(|node| node.name == name)
        .unwrap()
        .live_bytes
}

#[test]
fn groups_that_come_later_are_on_the_new_nodes_and_the_others_stay() {
    let temp = tempfile::tempdir().unwrap();
    let path = made(temp.path());
    let volume = opened(&path);
    (0..4).for_each(|group| write_group(&volume, group));
    volume.close().unwrap();
    let names = add_nodes(&path, &three(temp.path()), false).unwrap();
    assert_eq!(names, ["a3", "b3", "c3"]);
    let volume = opened(&path);
    (0..4).for_each(|group| assert_group(&volume, group));
    assert_eq!(live_bytes(&volume, "a3"), 0, "what was there stays");
    (4..10).for_each(|group| write_group(&volume, group));
    // Two of three of them have a segment on each.
    await_that(&volume, || live_bytes(&volume, "b3") >= 4 * MIB as u64);
    write_group(&volume, 2);
    volume.close().unwrap();
    let volume = opened(&path);
    (0..10).for_each(|group| assert_group(&volume, group));
    let report = volume.verify(&mut |_, _| {}).unwrap();
    assert_eq!((report.damage.len(), report.missing_nodes.len()), (0, 0));
    volume.close().unwrap();
    let refused = add_nodes(&path, &three(&temp.path().join("more")), false);
    assert!(refused.is_err_and(|error| error.to_string().contains("--rebalance")));
}

#[test]
fn groups_spread_over_nodes_that_came_and_leave_one_that_is_drained() {
    let temp = tempfile::tempdir().unwrap();
    let path = made(temp.path());
    let volume = opened(&path);
    (0..4).for_each(|group| write_group(&volume, group));
    let refused = volume.drain_node("b2").unwrap_err().to_string();
    assert!(refused.contains("zone b has two"), "{refused}");
    volume.close().unwrap();
    add_nodes(&path, &three(temp.path()), false).unwrap();
    let volume = opened(&path);
    let refused = volume.drain_node("b2").unwrap_err().to_string();
    assert!(refused.contains("--rebalance"), "{refused}");
    volume.close().unwrap();
    rebalance(&path).unwrap();
    let again = rebalance(&path).unwrap_err().to_string();
    assert!(again.contains("moving already"), "{again}");
    let more = add_nodes(&path, &three(&temp.path().join("more")), false);
    let refused = more.unwrap_err().to_string();
    assert!(refused.contains("one relocation at a time"), "{refused}");
    let volume = opened(&path);
    await_that(&volume, || volume.status().relocation.is_none());
    assert!(live_bytes(&volume, "a3") > 0);
    volume.drain_node("a1").unwrap();
    await_that(&volume, || {
        volume.status().nodes[0].state == NodeState::Drained
    });
    assert!(volume.replace_node("a1", &temp.path().join("x")).is_err());
    std::fs::remove_dir_all(path.join("nodes/a1")).unwrap();
    volume.close().unwrap();
    let volume = opened(&path);
    let status = volume.status();
    assert_eq!(status.nodes[0].state, NodeState::Drained);
    (0..4).for_each(|group| assert_group(&volume, group));
    let report = volume.verify(&mut |_, _| {}).unwrap();
    assert_eq!((report.damage.len(), report.missing_nodes.len()), (0, 0));
    volume.close().unwrap();
    // One more in the zone that has fewer makes them equal.
    let node = [(ZoneId(0), temp.path().join("a4"))];
    add_nodes(&path, &node, true).unwrap();
    let volume = opened(&path);
    await_that(&volume, || volume.status().relocation.is_none());
    assert!(live_bytes(&volume, "a4") > 0);
    (0..4).for_each(|group| assert_group(&volume, group));
    volume.close().unwrap();
}

#[test]
fn an_empty_volume_uses_new_nodes_like_the_others() {
    let temp = tempfile::tempdir().unwrap();
    let path = made(temp.path());
    add_nodes(&path, &three(temp.path()), false).unwrap();
    let volume = opened(&path);
    (0..3).for_each(|group| write_group(&volume, group));
    await_that(&volume, || live_bytes(&volume, "a3") >= 2 * MIB as u64);
    volume.close().unwrap();
}

#[test]
fn an_addition_that_was_cut_short_counts_for_nothing_and_is_done_again() {
    let temp = tempfile::tempdir().unwrap();
    let path = made(temp.path());
    let volume = opened(&path);
    write_group(&volume, 0);
    let book = volume.driver.book_with(&three(temp.path())).unwrap();
    book.write(&path).unwrap();
    volume.close().unwrap();
    let volume = opened(&path);
    assert_eq!(volume.status().nodes.len(), 6);
    assert_group(&volume, 0);
    volume.close().unwrap();
    let others = three(&temp.path().join("elsewhere"));
    let refused = add_nodes(&path, &others, false).unwrap_err().to_string();
    assert!(refused.contains("cut short"), "{refused}");
    add_nodes(&path, &three(temp.path()), false).unwrap();
    let volume = opened(&path);
    assert_eq!(volume.status().nodes.len(), 9);
    assert_group(&volume, 0);
    volume.close().unwrap();
}

#[test]
fn an_addition_that_fails_is_undone() {
    let temp = tempfile::tempdir().unwrap();
    let path = made(temp.path());
    let mut new = three(temp.path());
    // Nobody can make a directory there.
    new[2].1 = PathBuf::from("/proc/redoubt-node");
    let book = AddressBook::read(&path).unwrap();
    let refused = add_nodes(&path, &new, false).unwrap_err().to_string();
    assert!(refused.contains("/proc/redoubt-node"), "{refused}");
    assert_eq!(AddressBook::read(&path).unwrap(), book);
    assert!(!new[0].1.exists() && !new[1].1.exists());
    add_nodes(&path, &three(temp.path()), false).unwrap();
    let volume = opened(&path);
    assert_eq!(volume.status().nodes.len(), 9);
    volume.close().unwrap();
}

#[test]
fn directories_that_were_half_made_are_made_again() {
    let temp = tempfile::tempdir().unwrap();
    let path = made(temp.path());
    let new = three(temp.path());
    let volume = opened(&path);
    let book = volume.driver.book_with(&new).unwrap();
    book.write(&path).unwrap();
    let config = volume.driver.config();
    volume.close().unwrap();
    let entries = new
        .iter()
        .map(|(zone, _)| NodeEntry::new(*zone, Incarnation(1)));
    let mut listed = config.widened(entries.collect(), GroupId(0));
    listed.version = 0;
    NodeDirectory::create(&new[0].1, &new_superblock(&listed, NodeId(6), false)).unwrap();
    NodeDirectory::create(&new[1].1, &new_superblock(&listed, NodeId(7), false)).unwrap();
    std::fs::write(new[1].1.join("superblock"), b"").unwrap();
    add_nodes(&path, &new, false).unwrap();
    let volume = opened(&path);
    assert_eq!(volume.status().nodes.len(), 9);
    volume.close().unwrap();
}

#[test]
fn a_book_of_before_is_refused_and_says_what_to_add() {
    let temp = tempfile::tempdir().unwrap();
    let path = made(temp.path());
    let before = AddressBook::read(&path).unwrap();
    add_nodes(&path, &three(temp.path()), false).unwrap();
    let after = AddressBook::read(&path).unwrap();
    before.write(&path).unwrap();
    let refused = Volume::open(&path, OpenOptions::default())
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("names only 6"), "{refused}");
    after.write(&path).unwrap();
    opened(&path).close().unwrap();
}

#[test]
fn with_three_of_six_nodes_none_is_added() {
    let temp = tempfile::tempdir().unwrap();
    let path = made(temp.path());
    for node in ["a1", "b1", "c1"] {
        std::fs::rename(path.join("nodes").join(node), temp.path().join(node)).unwrap();
    }
    let refused = add_nodes(&path, &three(temp.path()), false)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("fewer than four of six"), "{refused}");
    for node in ["a1", "b1", "c1"] {
        std::fs::rename(temp.path().join(node), path.join("nodes").join(node)).unwrap();
    }
    let volume = opened(&path);
    assert_eq!(volume.status().nodes.len(), 6);
    volume.close().unwrap();
}

#[test]
fn what_cannot_be_is_refused_and_nothing_changes() {
    let temp = tempfile::tempdir().unwrap();
    let path = made(temp.path());
    let new = three(temp.path());
    let uneven = add_nodes(&path, &new[..2], false).unwrap_err().to_string();
    assert!(uneven.contains("same number"), "{uneven}");
    std::fs::create_dir_all(new[1].1.join("full")).unwrap();
    assert!(matches!(
        add_nodes(&path, &new, false),
        Err(VolumeError::Exists(_))
    ));
    let volume = opened(&path);
    assert!(matches!(
        add_nodes(&path, &new, false),
        Err(VolumeError::Locked { .. })
    ));
    assert_eq!(volume.status().nodes.len(), 6);
    volume.close().unwrap();
}
