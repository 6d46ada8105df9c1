//! One node's file system is full while the others have room.

use crate::support::{
    FileSystem, MIB, TempVolume, await_that, pattern, root, shell, temp_directory,
};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

#[test]
fn a_full_node_is_kept_and_catches_up_when_there_is_space() {
    let Some(_turn) = root(&["mount"]) else {
        return;
    };
    let home = temp_directory();
    let small = FileSystem::in_memory(&home.path().join("small"), 48);
    let small_node = small.directory().join("node");
    let mut nodes = vec![("a", small_node.clone())];
    for (zone, name) in [
        ("a", "a2"),
        ("b", "b1"),
        ("b", "b2"),
        ("c", "c1"),
        ("c", "c2"),
    ] {
        nodes.push((zone, home.path().join(name)));
    }
    let volume = TempVolume::on_nodes(home, "256M", &nodes);
    let small = small; // unmounted before the directory around it is removed
    let mounted = volume.mount();
    let life = || fs::metadata(small_node.join("superblock")).unwrap().ino();
    let before = life();
    let file = mounted.open(0);
    for index in 0..100 {
        let bytes = pattern(index, MIB as usize);
        file.write_all_at(&bytes, index * MIB).unwrap();
    }
    file.sync_all().unwrap();
    let node = |volume: &TempVolume| -> Value { volume.status()["nodes"][0].clone() };
    await_that("the node says that it is full", 60, || {
        node(&volume)["state"] == "full"
    });
    let said = node(&volume);
    assert!(said["reason"].as_str().unwrap().contains("full"), "{said}");
    assert!(said["action"].as_str().unwrap().contains("space"), "{said}");
    std::thread::sleep(std::time::Duration::from_secs(3)); // several looks at it
    assert_eq!(node(&volume)["state"], "full");
    assert_eq!(life(), before, "it was made anew");
    let grow = "mount -o remount,size=400M \"$small\"";
    shell(grow, &[("small", small.directory())]);
    volume.await_healthy();
    assert_eq!(life(), before, "it was made anew");
    drop(file);
    mounted.unmount();
    volume.check();
}
