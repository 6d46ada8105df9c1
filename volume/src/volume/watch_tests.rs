use super::Driver;
use crate::ids::{ExtentSlot, Incarnation, NodeId};
use crate::io::node_directory::NodeDirectory;
use crate::io::node_remains::has_former;
use crate::status::VolumeState;
use crate::volume::{CreateOptions, OpenOptions, Volume, create};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const DATA: usize = 1 << 20;

fn created(folder: &Path) -> PathBuf {
    let path = folder.join("v");
    let options = CreateOptions {
        disk_bytes: 64 << 20,
        extent_bytes: 1 << 20,
        ..CreateOptions::default()
    };
    create(&path, &options).unwrap();
    path
}

fn open(path: &Path) -> Volume {
    Volume::open(path, OpenOptions::default()).unwrap()
}

fn write(volume: &Volume, mib: u64, byte: u8) {
    let (sender, receiver) = channel();
    let done = Box::new(move |result| sender.send(result).unwrap());
    volume.write(mib << 20, &vec![byte; DATA], true, done);
    receiver.recv().unwrap().unwrap();
}

fn read(volume: &Volume, mib: u64) -> Vec<u8> {
    let (sender, receiver) = channel();
    let done = Box::new(move |result| sender.send(result).unwrap());
    volume.read(mib << 20, DATA, false, done);
    let bytes: crate::volume::ReadBytes = receiver.recv().unwrap().unwrap();
    bytes.as_ref().to_vec()
}

fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !reached() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait_healthy(volume: &Volume) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while volume.driver.figures().state != VolumeState::Healthy {
        assert!(Instant::now() < deadline, "{:#?}", volume.status());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A write or sync of these nodes fails.
fn fail(volume: &Volume, nodes: impl Fn(NodeId) -> bool) {
    volume.driver.with_core(|core, _| {
        let there = core.embedded.nodes.iter_mut().flatten();
        there
            .filter(|node| nodes(node.id()))
            .for_each(|node| node.fence());
    });
}

fn incarnations(volume: &Volume) -> Vec<Incarnation> {
    let config = |core: &mut crate::volume::driver::Core| core.embedded.writer.config().clone();
    let config = volume.driver.with_core(|core, _| config(core));
    config.nodes.iter().map(|node| node.incarnation).collect()
}

#[test]
fn a_node_whose_write_failed_is_made_anew() {
    let temp = tempfile::tempdir().unwrap();
    let volume = open(&created(temp.path()));
    write(&volume, 0, 1);
    let before = incarnations(&volume);
    fail(&volume, |node| node == NodeId(2));
    wait_until("a new life", || incarnations(&volume)[2] != before[2]);
    wait_healthy(&volume);
    let path = temp.path().join("v/nodes/b1");
    wait_until("what it had before is removed", || !has_former(&path));
    assert_eq!(read(&volume, 0), [1; DATA]);
    volume.close().unwrap();
}

#[test]
fn when_one_flush_failed_for_all_they_come_back_after_a_sync_of_everything() {
    let temp = tempfile::tempdir().unwrap();
    let path = created(temp.path());
    let volume = open(&path);
    for mib in 0..4 {
        write(&volume, mib, mib as u8 + 1);
    }
    volume.close().unwrap();
    let volume = open(&path);
    let before = incarnations(&volume);
    let old: Vec<_> = (0..6)
        .map(|node| volume.driver.directories.get(NodeId(node)))
        .collect();
    fail(&volume, |_| true);
    wait_until("all six are given up and opened again", || {
        (0..6).all(|node| {
            let now = volume.driver.directories.get(NodeId(node));
            let was = old[usize::from(node)].as_ref().unwrap();
            now.is_some_and(|now| !std::sync::Arc::ptr_eq(&now, was))
        })
    });
    wait_healthy(&volume);
    assert!(volume.driver.failed.lock().is_empty());
    let same: Vec<usize> = (0..6)
        .filter(|node| incarnations(&volume)[*node] == before[*node])
        .collect();
    assert!(same.len() >= 3, "nothing else proves what was written");
    for node in same {
        let directory = volume.driver.directories.get(NodeId(node as u16)).unwrap();
        let synced = directory.extent(ExtentSlot(0)).unwrap().is_settled();
        assert!(synced, "node {node} counts what may be in memory only");
    }
    for mib in 0..4 {
        assert_eq!(read(&volume, mib), [mib as u8 + 1; DATA]);
    }
    write(&volume, 0, 9);
    volume.close().unwrap();
}

#[test]
fn a_directory_that_cannot_be_read_now_is_left_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let path = created(temp.path());
    let volume = open(&path);
    write(&volume, 0, 1);
    volume.close().unwrap();
    let node = path.join("nodes/c1");
    let before = NodeDirectory::peek(&node).unwrap().unwrap();
    // The lock cannot be taken: an error that says nothing of the data.
    std::fs::remove_file(node.join("lock")).unwrap();
    std::fs::create_dir(node.join("lock")).unwrap();
    let volume = open(&path);
    std::thread::sleep(Duration::from_secs(1)); // several looks at it
    assert_eq!(volume.driver.figures().state, VolumeState::Degraded);
    assert_eq!(NodeDirectory::peek(&node).unwrap().unwrap(), before);
    std::fs::remove_dir(node.join("lock")).unwrap();
    wait_healthy(&volume);
    let after = NodeDirectory::peek(&node).unwrap().unwrap();
    assert_eq!(after.incarnation, before.incarnation);
    volume.close().unwrap();
}

#[test]
fn a_disk_that_hangs_hides_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let volume = open(&created(temp.path()));
    let seen: &'static Mutex<BTreeSet<NodeId>> = Box::leak(Box::default());
    let hangs: &'static Mutex<()> = Box::leak(Box::default());
    let hang = hangs.lock();
    let look = |_: &Driver, node: NodeId| {
        if node == NodeId(0) {
            drop(hangs.lock());
        }
        seen.lock().insert(node);
    };
    super::start_looking(&volume.driver, look).unwrap();
    wait_until("a look at the others", || seen.lock().len() == 5);
    assert!(!seen.lock().contains(&NodeId(0)));
    drop(hang);
    volume.close().unwrap();
}
