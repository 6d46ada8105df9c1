//! More than six nodes: every group lies on six of them, and nothing of it anywhere else.

use crate::support::{MIB, TempVolume, fuse, redoubt, shell};
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;

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
