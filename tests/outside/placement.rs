//! More than six nodes: every group lies on six of them, and nothing of it anywhere else.

use crate::support::{
    MIB, SetWhenDropped, TempVolume, await_that, fuse, pattern, read_direct, redoubt, shell,
};
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The nodes, such as `zone-a/disk1`, whose files hold this text.
fn nodes_with(volume: &TempVolume, text: &str) -> BTreeSet<String> {
    let find = "cd \"$home\"; grep -rlaF -- \"$text\" zone-*/ | cut -d/ -f1,2 | sort -u";
    let variables = [("home", volume.home()), ("text", Path::new(text))];
    let found = shell(find, &variables);
    found.lines().map(str::to_owned).collect()
}

/// Two nodes of each zone.
fn assert_six(nodes: &BTreeSet<String>) {
    assert_eq!(nodes.len(), 6, "{nodes:?}");
    for zone in ["zone-a/", "zone-b/", "zone-c/"] {
        let in_zone = nodes.iter().filter(|node| node.starts_with(zone)).count();
        assert_eq!(in_zone, 2, "{nodes:?}");
    }
}

/// Writes a text into each of these places and gives the nodes that hold each, after all six
/// copies are there.
fn nodes_of(disks_per_zone: usize, offsets: &[u64]) -> Vec<BTreeSet<String>> {
    let volume = TempVolume::on_disks("1G", disks_per_zone);
    let mounted = volume.mount();
    let file = mounted.open(0);
    let text = |index: usize| format!("the only copies of text {index} are here;");
    for (index, offset) in offsets.iter().enumerate() {
        let block: Vec<u8> = text(index).bytes().cycle().take(16 << 10).collect();
        file.write_all_at(&block, *offset).unwrap();
    }
    drop(file);
    mounted.unmount();
    let found = (0..offsets.len()).map(|index| nodes_with(&volume, &text(index)));
    let found = found.collect();
    volume.check();
    found
}

#[test]
fn nine_nodes_hold_each_group_on_six() {
    let Some(_turn) = fuse(&["grep"]) else { return };
    // One stripe wide: a group every 64 MiB.
    let nodes = nodes_of(3, &[0, 63 * MIB, 64 * MIB, 128 * MIB]);
    nodes.iter().for_each(assert_six);
    assert_eq!(nodes[0], nodes[1], "one group");
    assert_ne!(nodes[1], nodes[2], "two groups");
    let all: BTreeSet<_> = nodes.iter().flatten().collect();
    assert_eq!(all.len(), 9, "every node works: {all:?}");
}

#[test]
fn nodes_come_to_a_volume_that_has_data() {
    let Some(_turn) = fuse(&["grep"]) else { return };
    let volume = TempVolume::on_disks("1G", 2);
    let text = |index: usize| format!("text {index} is where its group is;");
    let write = |index: usize, offset: u64| {
        let mounted = volume.mount();
        let block: Vec<u8> = text(index).bytes().cycle().take(16 << 10).collect();
        mounted.open(0).write_all_at(&block, offset).unwrap();
        mounted.unmount();
    };
    write(0, 0);
    let before = nodes_with(&volume, &text(0));
    let new = ["a", "b", "c"].map(|zone| {
        let place = volume.home().join(format!("zone-{zone}/disk3"));
        format!("{zone}={}", place.display())
    });
    let add = |nodes: &[String]| {
        let mut command = redoubt(["node", "add"]);
        command.arg(volume.path()).args(nodes).output().unwrap()
    };
    let uneven = add(&new[..2]);
    assert!(!uneven.status.success());
    let said = String::from_utf8_lossy(&uneven.stderr).into_owned();
    assert!(said.contains("the same number of nodes"), "{said}");
    let added = add(&new);
    let said = String::from_utf8_lossy(&added.stdout).into_owned();
    assert!(
        added.status.success() && said.contains("a3, b3, c3"),
        "{said}"
    );
    // A group of 64 MiB each; of three new ones two are on each of the new nodes.
    (1..4).for_each(|index| write(index, index as u64 * 64 * MIB));
    assert_eq!(
        nodes_with(&volume, &text(0)),
        before,
        "what was there stays"
    );
    let found = (1..4).map(|index| nodes_with(&volume, &text(index)));
    let found: Vec<BTreeSet<String>> = found.collect();
    found.iter().for_each(assert_six);
    let all: BTreeSet<_> = found.iter().flatten().collect();
    assert_eq!(all.len(), 9, "every node works: {all:?}");
    volume.check();
}

fn node_command(volume: &TempVolume, arguments: &[&str]) -> String {
    let mut command = redoubt(["node"]);
    command.arg(arguments[0]).arg(volume.path());
    let done = command.args(&arguments[1..]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    match done.status.success() {
        true => String::from_utf8_lossy(&done.stdout).into_owned(),
        false => said,
    }
}

fn is_moving(volume: &TempVolume) -> bool {
    !volume.status()["relocation"].is_null()
}

fn state_of(volume: &TempVolume, name: &str) -> String {
    let status = volume.status();
    let nodes = status["nodes"].as_array().unwrap();
    let found = nodes.iter().find(|node| node["id"] == name).unwrap();
    found["state"].as_str().unwrap().to_owned()
}

/// Nodes come while there is data, the data spreads over them, one of them is drained and deleted; the
/// user of the disk writes all the while.
#[test]
fn groups_spread_over_new_nodes_and_leave_one_again_under_load() {
    let Some(_turn) = fuse(&["grep"]) else { return };
    let volume = TempVolume::on_disks("512M", 2);
    let text = |group: usize| format!("text of group {group} is on six nodes;");
    let mounted = volume.mount();
    let file = mounted.open(0);
    for group in 0..3 {
        let at = group as u64 * 64 * MIB;
        let block: Vec<u8> = text(group).bytes().cycle().take(16 << 10).collect();
        file.write_all_at(&block, at).unwrap();
        file.write_all_at(&pattern(group as u64, 8 << 20), at + MIB)
            .unwrap();
    }
    drop(file);
    mounted.unmount();
    let new = ["a", "b", "c"].map(|zone| {
        let place = volume.home().join(format!("zone-{zone}/disk3"));
        format!("{zone}={}", place.display())
    });
    let added = node_command(&volume, &["add", &new[0], &new[1], &new[2], "--rebalance"]);
    assert!(added.contains("a3, b3, c3"), "{added}");
    let mounted = volume.mount();
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _stop = SetWhenDropped(&stop);
        scope.spawn(|| {
            let place = |round| (round % 3) * 64 * MIB + 32 * MIB + ((round % 64) << 16);
            mounted.write_until(&stop, &rounds, 1 << 16, place);
        });
        await_that("the groups to be spread", 120, || !is_moving(&volume));
        let drained = node_command(&volume, &["drain", "b1", "--wait"]);
        assert!(drained.contains("can be deleted"), "{drained}");
        let before = rounds.load(Ordering::Relaxed);
        await_that("more writes", 30, || {
            rounds.load(Ordering::Relaxed) > before + 5
        });
    });
    assert_eq!(state_of(&volume, "b1"), "drained");
    let refused = node_command(&volume, &["drain", "b2"]);
    assert!(refused.contains("zone b has two"), "{refused}");
    let refused = node_command(&volume, &["add", "--rebalance"]);
    assert!(refused.contains("nothing to rebalance"), "{refused}");
    volume.delete_node("zone-b/disk1");
    volume.await_healthy();
    mounted.unmount();
    for group in 0..3 {
        let nodes = nodes_with(&volume, &text(group));
        assert!(!nodes.contains("zone-b/disk1"), "{nodes:?}");
        assert!(nodes.len() >= 6, "{nodes:?}");
    }
    volume.check();
    let mounted = volume.mount();
    volume.await_healthy();
    for group in 0..3 {
        let at = group as u64 * 64 * MIB + MIB;
        let found = read_direct(&mounted.disk(), at, 8 << 20);
        assert!(found == pattern(group as u64, 8 << 20), "group {group}");
    }
}

#[test]
fn twelve_nodes_share_a_busy_region() {
    let Some(_turn) = fuse(&["grep"]) else { return };
    // Two stripes wide: neighbouring MiB lie in different groups.
    let nodes = nodes_of(4, &[0, MIB, 2 * MIB, 3 * MIB]);
    nodes.iter().for_each(assert_six);
    assert_eq!(nodes[0], nodes[2]);
    assert_eq!(nodes[1], nodes[3]);
    assert!(
        nodes[0].is_disjoint(&nodes[1]),
        "twelve nodes share two MiB"
    );
}

#[test]
fn nine_nodes_survive_the_loss_of_a_zone() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("1G", 3);
    let mounted = volume.mount();
    let file = mounted.open(0);
    let write = |byte: u8| {
        for offset in [0, 64 * MIB, 128 * MIB] {
            file.write_all_at(&[byte; 4096], offset).unwrap();
        }
        file.sync_all().unwrap();
    };
    write(1);
    volume.take_away("zone-b");
    volume.await_state("degraded");
    write(2);
    volume.bring_back("zone-b");
    volume.await_healthy();
    drop(file);
    mounted.unmount();
    volume.check();
}
