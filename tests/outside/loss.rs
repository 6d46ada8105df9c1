//! Nodes that go away under a mounted disk, and come back or are made again.

use crate::support::{
    LoopDevice, Mounted, SetWhenDropped, TempVolume, await_that, fuse, pattern, read_direct,
    redoubt, root, shell, temp_directory,
};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DATA: usize = 24 << 20;

fn write(mounted: &Mounted, seed: u64) {
    let file = mounted.open(0);
    file.write_all_at(&pattern(seed, DATA), 0).unwrap();
    file.sync_all().unwrap();
}

fn assert_reads(mounted: &Mounted, seed: u64) {
    let found = read_direct(&mounted.disk(), 0, DATA);
    assert!(found == pattern(seed, DATA), "the data of write {seed}");
}

fn check_code(volume: &TempVolume) -> Option<i32> {
    let mut check = redoubt(["status", "--check", "-q"]);
    check.arg(volume.path()).status().unwrap().code()
}

#[test]
fn three_nodes_read_and_all_is_healthy_again_when_they_return() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    write(&mounted, 1);
    volume.take_away("zone-a");
    volume.await_state("degraded");
    assert_eq!(check_code(&volume), Some(3));
    write(&mounted, 2);
    volume.take_away("zone-b/disk1");
    volume.await_state("read-only");
    assert_eq!(check_code(&volume), Some(4));
    assert_reads(&mounted, 2);
    volume.bring_back("zone-b/disk1");
    volume.bring_back("zone-a");
    volume.await_healthy();
    write(&mounted, 3);
    assert_reads(&mounted, 3);
    mounted.unmount();
    volume.check();
}

#[test]
fn the_nodes_that_returned_hold_everything() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    write(&mounted, 1);
    volume.take_away("zone-a");
    volume.await_state("degraded");
    write(&mounted, 2);
    volume.bring_back("zone-a");
    volume.await_healthy();
    // Now the two that missed it have to answer, with one that did not.
    volume.take_away("zone-b");
    volume.take_away("zone-c/disk2");
    volume.await_state("read-only");
    assert_reads(&mounted, 2);
    mounted.kill();
    let mounted = volume.mount();
    assert_reads(&mounted, 2);
    assert_eq!(volume.status()["state"], "read-only");
    volume.bring_back("zone-b");
    volume.bring_back("zone-c/disk2");
    volume.await_healthy();
    write(&mounted, 3);
}

#[test]
fn writing_goes_on_while_a_zone_goes_away_and_comes_back() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _stop = SetWhenDropped(&stop);
        scope.spawn(|| {
            let place = |round| (round % 64) << 20;
            mounted.write_until(&stop, &rounds, 1 << 20, place);
        });
        let progress = || {
            let before = rounds.load(Ordering::Relaxed);
            await_that("twenty more synced writes", 30, || {
                rounds.load(Ordering::Relaxed) >= before + 20
            });
        };
        progress();
        volume.take_away("zone-c");
        volume.await_state("degraded");
        progress();
        volume.bring_back("zone-c");
        volume.await_healthy();
        progress();
    });
    let last = rounds.load(Ordering::Relaxed) - 1;
    let found = read_direct(&mounted.disk(), (last % 64) << 20, 1 << 20);
    assert!(found == pattern(last, 1 << 20));
    mounted.unmount();
    volume.check();
}

#[test]
fn a_deleted_node_directory_is_made_again_and_filled() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    write(&mounted, 1);
    let node = volume.home().join("zone-a/disk1/node");
    volume.delete_node("zone-a/disk1");
    std::thread::sleep(Duration::from_millis(1500)); // noticed within a second
    write(&mounted, 2);
    volume.await_healthy();
    assert!(node.exists());
    // Two others and the new one are three: it has to prove that it holds everything.
    volume.take_away("zone-b");
    volume.take_away("zone-c/disk1");
    volume.await_state("read-only");
    mounted.kill();
    let mounted = volume.mount();
    assert_reads(&mounted, 2);
    volume.bring_back("zone-b");
    volume.bring_back("zone-c/disk1");
    volume.await_healthy();
    mounted.unmount();
    volume.check();
}

#[test]
fn a_node_directory_that_is_missing_empty_or_foreign_at_the_mount_is_rebuilt() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let other = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    write(&mounted, 1);
    mounted.unmount();
    let node = |of: &TempVolume, disk: &str| of.home().join(disk).join("node");
    fs::remove_dir_all(node(&volume, "zone-a/disk1")).unwrap();
    let emptied = node(&volume, "zone-b/disk1");
    fs::remove_dir_all(&emptied).unwrap();
    fs::create_dir(&emptied).unwrap();
    let mounted = volume.mount();
    assert_reads(&mounted, 1);
    volume.await_healthy();
    mounted.unmount();
    let replaced = node(&volume, "zone-c/disk1");
    fs::remove_dir_all(&replaced).unwrap();
    fs::rename(node(&other, "zone-c/disk1"), &replaced).unwrap();
    let mounted = volume.mount();
    assert_reads(&mounted, 1);
    write(&mounted, 2);
    mounted.unmount();
}

#[test]
fn fewer_than_three_nodes_refuse_to_open_and_are_named() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    write(&mounted, 1);
    mounted.unmount();
    volume.take_away("zone-a");
    volume.take_away("zone-b");
    let point = volume.home().join("mount");
    let mut mount = redoubt(["mount", "-f"]);
    let output = mount.args([volume.path(), &point]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(
        ["a/disk1", "a/disk2", "b/disk1", "b/disk2"]
            .iter()
            .all(|node| said.contains(node)),
        "{said}"
    );
    volume.bring_back("zone-a");
    volume.bring_back("zone-b");
    assert_reads(&volume.mount(), 1);
}

#[test]
fn a_disk_that_is_not_mounted_is_not_an_empty_one() {
    let Some(_turn) = root(&["mkfs.ext4"]) else {
        return;
    };
    let home = temp_directory();
    let image = home.path().join("image");
    File::create(&image).unwrap().set_len(256 << 20).unwrap();
    shell("mkfs.ext4 -q -F \"$image\"", &[("image", &image)]);
    let disk = home.path().join("disk");
    let mount_disk = || LoopDevice::attach(&image).mount(&disk);
    let mounted_disk = mount_disk();
    fs::remove_dir(disk.join("lost+found")).unwrap();
    let other = |zone, number| (zone, home.path().join(format!("{zone}{number}")));
    let mut nodes = vec![("a", disk.clone())];
    nodes.extend([other("a", 2), other("b", 1), other("b", 2)]);
    nodes.extend([other("c", 1), other("c", 2)]);
    let volume = TempVolume::on_nodes(home, "128M", &nodes);
    let mounted = volume.mount();
    write(&mounted, 1);
    mounted.unmount();
    drop(mounted_disk);

    let mounted = volume.mount();
    write(&mounted, 2);
    std::thread::sleep(Duration::from_millis(1500)); // several looks at it
    assert_eq!(volume.status()["state"], "degraded");
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 0, "nothing below it");
    let _mounted_disk = mount_disk();
    volume.await_healthy();
    mounted.unmount();
    volume.check();
}

#[test]
fn a_check_without_a_disk_ends_soon_and_says_what_it_did_not_see() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    write(&mounted, 1);
    mounted.unmount();
    volume.take_away("zone-a/disk1");
    volume.delete_node("zone-c/disk2");
    let began = Instant::now();
    let checked = redoubt(["fsck"]).arg(volume.path()).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(3), "{said}");
    assert!(said.contains("missing a1, c2"), "{said}");
    assert!(said.contains("incomplete") && !said.contains("clean"));
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    let made = volume.home().join("zone-c/disk2/node");
    assert!(!made.exists(), "a check makes nothing anew");
    volume.bring_back("zone-a/disk1");
    assert_reads(&volume.mount(), 1);
}
