//! Mounting and unmounting, a second mount, resizing, and how long they take.

use crate::support::{
    MIB, Mounted, TempVolume, await_that, fuse, fuse_alone, read_direct, redoubt, remove_mount,
    root_alone, shell,
};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `redoubt mount` in the background; unmounted, which ends the daemon, when dropped.
struct Background(PathBuf);

impl Background {
    fn start(volume: &TempVolume) -> (Background, Output) {
        let point = volume.home().join("mount");
        fs::create_dir_all(&point).unwrap();
        let mut mount = redoubt(["mount"]);
        let output = mount.args([volume.path(), &point]).output().unwrap();
        (Background(point), output)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        remove_mount(&self.0);
    }
}

#[test]
fn mount_returns_when_the_disk_answers_and_umount_when_it_is_gone() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    let (mount, output) = Background::start(&volume);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    for part in ["is mounted at", "64 MiB", "6/6 nodes", "recovered in"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    fs::OpenOptions::new()
        .write(true)
        .open(mount.0.join("disk"))
        .unwrap();
    assert_eq!(volume.status()["state"], "healthy");
    let umount = redoubt(["umount"]).arg(&mount.0).output().unwrap();
    assert!(umount.status.success(), "{}", text(&umount.stderr));
    assert_eq!(volume.status()["state"], "offline");
    assert_eq!(fs::read_dir(&mount.0).unwrap().count(), 0);
}

#[test]
fn sigterm_and_sigint_flush_unmount_and_succeed() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    for (byte, signal) in [(1, Signal::SIGTERM), (2, Signal::SIGINT)] {
        let mounted = volume.mount();
        let point = mounted.point().to_owned();
        mounted.open(0).write_all_at(&[byte; 4096], 0).unwrap();
        mounted.end_by(signal);
        assert_eq!(fs::read_dir(point).unwrap().count(), 0, "still mounted");
        let mounted = volume.mount();
        assert_eq!(read_direct(&mounted.disk(), 0, 4096), [byte; 4096]);
        mounted.unmount();
    }
}

#[test]
fn a_second_mount_is_refused_also_while_the_first_is_stopped() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    let mounted = volume.mount();
    let other = volume.home().join("other");
    fs::create_dir(&other).unwrap();
    let assert_refused = || {
        let mut second = redoubt(["mount"]);
        let output = second.args([volume.path(), &other]).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(11), "{said}");
        assert!(said.contains(&mounted.pid().to_string()), "{said}");
    };
    assert_refused();
    kill(mounted.pid(), Signal::SIGSTOP).unwrap();
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(assert_refused));
    kill(mounted.pid(), Signal::SIGCONT).unwrap();
    refused.unwrap();
    mounted.open(0).write_all_at(b"still mine", 0).unwrap();
    mounted.unmount();
}

#[test]
fn a_dead_mount_is_cleaned_by_the_next() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    let mounted = volume.mount();
    let point = mounted.point().to_owned();
    mounted.kill();
    assert!(
        fs::read_dir(&point).is_err(),
        "the dead mount is still there"
    );
    let started = Instant::now();
    let mounted = volume.mount();
    assert!(started.elapsed() < Duration::from_secs(30));
    mounted.unmount();
    assert!(fs::read_dir(&point).is_ok(), "no dead mount is below");
}

#[test]
fn the_disk_grows_while_it_is_used() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    let mounted = volume.mount();
    let file = mounted.open(0);
    file.write_all_at(b"first", 0).unwrap();
    let resize = |size: &str| {
        let mut command = redoubt(["resize"]);
        command.arg(volume.path()).arg(size).output().unwrap()
    };
    let grown = resize("+136M");
    assert!(grown.status.success(), "{}", text(&grown.stderr));
    await_that("the new size", 5, || {
        file.metadata().unwrap().len() == 200 * MIB
    });
    file.write_all_at(b"last", 200 * MIB - 4).unwrap();
    let shrunk = resize("100M");
    assert!(!shrunk.status.success(), "{}", text(&shrunk.stdout));
    drop(file);
    mounted.unmount();
    let offline = resize("300M");
    assert!(offline.status.success(), "{}", text(&offline.stderr));
    let mounted = volume.mount();
    assert_eq!(fs::metadata(mounted.disk()).unwrap().len(), 300 * MIB);
    let end = read_direct(&mounted.disk(), 200 * MIB - 4096, 4096);
    assert_eq!(&end[4092..], b"last");
    assert_eq!(&read_direct(&mounted.disk(), 0, 4096)[..5], b"first");
}

#[test]
fn the_largest_volume_is_made_and_mounted_in_no_time() {
    let Some(_turn) = fuse_alone(&[]) else { return };
    let started = Instant::now();
    let volume = TempVolume::with_defaults("128T");
    let mounted = volume.mount();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    mounted
        .open(0)
        .write_all_at(b"end", (128 << 40) - 3)
        .unwrap();
    let memory = mounted.peak_memory() / MIB;
    assert!(memory < 300, "{memory} MiB");
}

#[test]
fn a_new_file_system_of_100_gib_takes_under_three_seconds() {
    let Some(_turn) = root_alone(&["mkfs.ext4"]) else {
        return;
    };
    let started = Instant::now();
    let volume = TempVolume::with_defaults("100G");
    let mounted = volume.mount();
    shell("mkfs.ext4 -q \"$disk\"", &[("disk", &mounted.disk())]);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn opening_after_a_kill_costs_what_was_logged_last_not_what_is_stored() {
    let Some(_turn) = fuse_alone(&["dd"]) else {
        return;
    };
    let volume = TempVolume::with_defaults("4G");
    let mounted = volume.mount();
    let fill =
        "dd if=/dev/urandom of=\"$disk\" bs=1M count=768 conv=notrunc oflag=direct status=none";
    shell(fill, &[("disk", &mounted.disk())]);
    mounted.kill();
    let started = Instant::now();
    let mounted = volume.mount();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    mounted.unmount();
}

#[test]
fn a_moved_volume_opens_in_its_new_place() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    let mounted = volume.mount();
    mounted.open(0).write_all_at(b"moved", 0).unwrap();
    mounted.unmount();
    let moved: &Path = &volume.home().join("moved");
    fs::rename(volume.path(), moved).unwrap();
    let mounted = Mounted::start(moved, &volume.home().join("mount"), &[]);
    assert_eq!(&read_direct(&mounted.disk(), 0, 4096)[..5], b"moved");
}
