//! Space: discards and overwrites give it back on every node; a full disk harms nothing.

use crate::support::{
    FileSystem, LoopDevice, MIB, Mounted, Random, TempVolume, await_that, disk_usage, fuse,
    fuse_alone, pattern, read_direct, root, shell, temp_directory,
};
use nix::libc;
use std::fs::File;
use std::io::Error;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Writes `count` MiB that differ with the seed, from the start of the file.
fn write_mib(file: &File, seed: u64, count: u64) {
    for index in 0..count {
        let bytes = pattern(seed << 32 | index, MIB as usize);
        file.write_all_at(&bytes, index * MIB).unwrap();
    }
}

#[test]
fn an_empty_volume_takes_little() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::with_defaults("10T");
    let mounted = volume.mount();
    mounted.open(0).write_all_at(&[1; 4096], 5 << 40).unwrap();
    mounted.unmount();
    let usage = disk_usage(volume.path());
    assert!(usage < 100 * MIB, "{} MiB", usage / MIB);
}

#[test]
fn a_punched_hole_frees_space_on_every_node() {
    let Some(_turn) = fuse(&["fallocate"]) else {
        return;
    };
    let volume = TempVolume::create("256M");
    let mounted = volume.mount();
    let file = mounted.open(0);
    write_mib(&file, 1, 160);
    file.sync_all().unwrap();
    let full = volume.node_usage();
    assert!(full.values().all(|usage| *usage >= 160 * MIB), "{full:?}");
    let punch = "fallocate -p -o 0 -l $((159 << 20)) \"$disk\"";
    shell(punch, &[("disk", &mounted.disk())]);
    volume.await_usage_below(80 * MIB, 30);
    assert!(
        read_direct(&mounted.disk(), 0, 1 << 20)
            .iter()
            .all(|byte| *byte == 0)
    );
    let rest = read_direct(&mounted.disk(), 159 * MIB, 1 << 20);
    assert!(rest == pattern(1 << 32 | 159, 1 << 20));
}

#[test]
fn fstrim_frees_space_on_every_node() {
    let Some(_turn) = root(&["mkfs.ext4", "fstrim", "losetup"]) else {
        return;
    };
    let volume = TempVolume::create("256M");
    let data = volume.home().join("data");
    let mounted = volume.mount();
    shell("mkfs.ext4 -q -F \"$disk\"", &[("disk", &mounted.disk())]);
    let _file_system = LoopDevice::attach(&mounted.disk()).mount(&data);
    let fill = "head -c $((150 << 20)) /dev/urandom > \"$data/file\"; sync -f \"$data\"";
    shell(fill, &[("data", &data)]);
    let full = volume.node_usage();
    assert!(full.values().all(|usage| *usage >= 150 * MIB), "{full:?}");
    shell(
        "rm \"$data/file\"; sync -f \"$data\"; fstrim \"$data\"",
        &[("data", &data)],
    );
    volume.await_usage_below(80 * MIB, 30);
}

#[test]
fn overwriting_twenty_times_stays_within_bounds() {
    let Some(_turn) = fuse_alone(&[]) else { return };
    let volume = TempVolume::create("256M");
    let mounted = volume.mount();
    let file = mounted.open(0);
    let mut longest = Duration::ZERO;
    for seed in 0..20 {
        for index in 0..128 {
            let bytes = pattern(seed << 32 | index, MIB as usize);
            let start = Instant::now();
            file.write_all_at(&bytes, index * MIB).unwrap();
            longest = longest.max(start.elapsed());
        }
    }
    file.sync_all().unwrap();
    // A request may wait a second for garbage collection; the disk below takes its own time.
    assert!(longest < Duration::from_secs(2), "a write took {longest:?}");
    volume.await_usage_below(128 * MIB * 8 / 5 + 8 * MIB, 30);
    for index in 0..128 {
        let found = read_direct(&mounted.disk(), index * MIB, 1 << 20);
        assert!(found == pattern(19 << 32 | index, 1 << 20), "MiB {index}");
    }
    drop(file);
    mounted.unmount();
    volume.check();
}

/// A file system of 400 MiB in a file, for a volume that is to run out of space.
fn small_file_system(home: &Path) -> FileSystem {
    let image = home.join("image");
    let make = "truncate -s 400M \"$image\" && mkfs.ext4 -q -F -m 0 \"$image\"";
    shell(make, &[("image", &image)]);
    LoopDevice::attach(&image).mount(&home.join("small"))
}

/// Writes and syncs MiB after MiB until one fails; gives how many were synced, and the error.
fn write_until_full(file: &File) -> (u64, Error) {
    for index in 0..512 {
        let bytes = pattern(5 << 32 | index, MIB as usize);
        let written = file.write_all_at(&bytes, index * MIB);
        if let Err(error) = written.and_then(|()| file.sync_data()) {
            return (index, error);
        }
    }
    panic!("512 MiB six times fitted into 400 MiB");
}

#[test]
fn a_full_disk_loses_nothing_and_works_again_when_there_is_space() {
    let Some(_turn) = root(&["mkfs.ext4", "losetup", "fallocate"]) else {
        return;
    };
    let home = temp_directory();
    let small = small_file_system(home.path());
    let volume = TempVolume::create_in(small.directory(), "512M");
    let check = |mounted: &Mounted, count: u64| {
        for index in 0..count {
            let found = read_direct(&mounted.disk(), index * MIB, 1 << 20);
            assert!(found == pattern(5 << 32 | index, 1 << 20), "MiB {index}");
        }
    };
    let mounted = volume.mount();
    let (count, error) = write_until_full(&mounted.open(0));
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
    assert!(count >= 20, "only {count} MiB fitted");
    check(&mounted, count);
    mounted.kill();
    let mounted = volume.mount();
    check(&mounted, count);
    let punch = "fallocate -p -o $((4 << 20)) -l $((508 << 20)) \"$disk\"";
    shell(punch, &[("disk", &mounted.disk())]);
    let file = mounted.open(0);
    await_that("a write after the discard", 60, || {
        file.write_all_at(&pattern(6, 8 << 20), 4 * MIB).is_ok() && file.sync_all().is_ok()
    });
    check(&mounted, 4);
    mounted.kill();
    let mounted = volume.mount();
    assert!(read_direct(&mounted.disk(), 4 * MIB, 8 << 20) == pattern(6, 8 << 20));
    // A node that had no space until now catches up before all six are compared.
    volume.await_healthy();
    mounted.unmount();
    volume.check();
}

#[test]
fn discards_make_room_on_a_full_volume_with_extents_as_long_as_its_disk() {
    let Some(_turn) = root(&["fallocate"]) else {
        return;
    };
    let home = temp_directory();
    let small = FileSystem::in_memory(&home.path().join("small"), 700);
    let volume = TempVolume::with_defaults_in(small.directory(), "256M");
    let mounted = volume.mount();
    let file = mounted.open(libc::O_DSYNC);
    let mut random = Random(9);
    let mut count = 0_u64;
    let error = loop {
        let offset = random.below(256 << 8) << 12;
        if let Err(error) = file.write_all_at(&pattern(count, 4096), offset) {
            break error;
        }
        count += 1;
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
    assert!(count > 40 << 8, "only {} MiB fitted", count >> 8);
    let punch = "for part in 0 2 4 6; do
        fallocate -p -o $((part << 25)) -l $((1 << 25)) \"$disk\"; done";
    shell(punch, &[("disk", &mounted.disk())]);
    await_that("MiB after MiB after the discards", 60, || {
        (0..16).all(|index| {
            let bytes = pattern(index, MIB as usize);
            file.write_all_at(&bytes, index * MIB).is_ok()
        })
    });
}

#[test]
fn overwriting_goes_on_in_a_small_file_system() {
    let Some(_turn) = root(&[]) else { return };
    let home = temp_directory();
    let small = FileSystem::in_memory(&home.path().join("small"), 900);
    let volume = TempVolume::with_defaults_in(small.directory(), "64M");
    let mounted = volume.mount();
    let file = mounted.open(0);
    for round in 0..8 {
        write_mib(&file, round, 64);
    }
    file.sync_all().unwrap();
}
