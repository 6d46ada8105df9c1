//! The disk as a file: every way to read and write it.

use crate::support::{
    MIB, Mounted, Random, TempVolume, await_that, fuse, pattern, read_direct, redoubt, shell,
};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;
use nix::unistd::{Whence, lseek};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

#[test]
fn dd_reads_what_it_wrote_also_after_another_mount() {
    let Some(_turn) = fuse(&["dd"]) else { return };
    let volume = TempVolume::create("128M");
    let source = volume.home().join("source");
    fs::write(&source, pattern(1, 96 << 20)).unwrap();
    let mounted = volume.mount();
    let compare =
        "cmp -n $((96 << 20)) \"$source\" <(dd if=\"$disk\" bs=1M iflag=direct status=none)";
    let write = "dd if=\"$source\" of=\"$disk\" bs=1M conv=notrunc oflag=direct status=none";
    let disk = mounted.disk();
    let variables: [(&str, &Path); 2] = [("source", &source), ("disk", &disk)];
    shell(write, &variables);
    shell(compare, &variables);
    mounted.unmount();
    let mounted = volume.mount();
    shell(compare, &variables);
    mounted.unmount();
    volume.check();
}

#[test]
fn fio_verifies_every_way_of_writing() {
    let Some(_turn) = fuse(&["fio"]) else { return };
    let volume = TempVolume::create("192M");
    let mounted = volume.mount();
    for options in [
        "--rw=write --bs=1M --ioengine=libaio --iodepth=8 --direct=1",
        "--rw=randwrite --bs=16k --ioengine=libaio --iodepth=32 --direct=1",
        "--rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 --direct=1 --io_size=32M",
        "--rw=randwrite --bsrange=512-40k --bs_unaligned --ioengine=psync --io_size=48M",
        "--rw=randwrite --bs=16k --ioengine=psync --fdatasync=8 --io_size=32M",
        "--rw=randwrite --bs=4k --ioengine=mmap --io_size=32M",
        "--rw=randrw --bs=8k --ioengine=io_uring --iodepth=16 --direct=1 --io_size=64M",
    ] {
        let job = format!(
            "cd \"$home\" && fio --name=verify --filename=\"$disk\" --size=192M --verify=crc32c \
             --verify_fatal=1 --do_verify=1 --fallocate=none --output-format=terse {options}"
        );
        shell(&job, &[("disk", &mounted.disk()), ("home", volume.home())]);
    }
    mounted.unmount();
    volume.check();
}

/// A disk that is written at any offset and length, and the plain bytes that it must equal.
struct Model {
    file: File,
    bytes: Vec<u8>,
    random: Random,
}

impl Model {
    fn step(&mut self, seed: u64) {
        let size = self.bytes.len() as u64;
        let longest = [100, 5_000, 70_000, 1_500_000][self.random.below(4) as usize];
        let length = 1 + self.random.below(longest);
        let offset = self.random.below(size - length);
        let range = offset as usize..(offset + length) as usize;
        match self.random.below(8) {
            0 => self.clear(FallocateFlags::FALLOC_FL_PUNCH_HOLE, offset, length),
            1 => self.clear(FallocateFlags::FALLOC_FL_ZERO_RANGE, offset, length),
            2 | 3 => {
                let mut found = vec![0; length as usize];
                self.file.read_exact_at(&mut found, offset).unwrap();
                assert!(found == self.bytes[range], "{offset} {length}");
            }
            _ => {
                let bytes = pattern(seed, length as usize);
                self.file.write_all_at(&bytes, offset).unwrap();
                self.bytes[range].copy_from_slice(&bytes);
            }
        }
    }

    fn clear(&mut self, how: FallocateFlags, offset: u64, length: u64) {
        let how = how | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&self.file, how, offset as i64, length as i64).unwrap();
        self.bytes[offset as usize..(offset + length) as usize].fill(0);
    }
}

#[test]
fn any_byte_range_is_read_as_it_was_written_or_cleared() {
    let Some(_turn) = fuse(&[]) else { return };
    for options in [&[][..], &["cache=writethrough"], &["direct_io"]] {
        let volume = TempVolume::create("80M");
        let mounted = volume.mount_with(options);
        let mut model = Model {
            file: mounted.open(0),
            bytes: vec![0; 80 << 20],
            random: Random(7),
        };
        (0..500).for_each(|seed| model.step(seed));
        model.file.sync_all().unwrap();
        mounted.kill();
        let mounted = volume.mount();
        assert!(fs::read(mounted.disk()).unwrap() == model.bytes);
        mounted.unmount();
        volume.check();
    }
}

#[test]
fn truncation_is_accepted_and_the_size_is_kept() {
    let Some(_turn) = fuse(&["truncate"]) else {
        return;
    };
    let volume = TempVolume::create("64M");
    let mounted = volume.mount();
    for change in [
        "truncate -s 4096 \"$disk\"",
        "truncate -s 0 \"$disk\"",
        "truncate -s 1T \"$disk\"",
        ": > \"$disk\"",
        "echo text > \"$disk\"",
    ] {
        shell(change, &[("disk", &mounted.disk())]);
        assert_eq!(
            fs::metadata(mounted.disk()).unwrap().len(),
            64 * MIB,
            "{change}"
        );
    }
    assert_eq!(&read_direct(&mounted.disk(), 0, 4096)[..5], b"text\n");
}

#[test]
fn the_end_of_the_disk_is_an_end() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    let mounted = volume.mount();
    let file = mounted.open(0);
    let mut rest = [1; 200];
    assert_eq!(file.read_at(&mut rest, 64 * MIB - 100).unwrap(), 100);
    assert!(rest[..100].iter().all(|byte| *byte == 0), "holes are zeros");
    assert_eq!(file.read_at(&mut rest, 64 * MIB).unwrap(), 0);
    let beyond = file.write_at(&rest, 64 * MIB).unwrap_err();
    let expected = [libc::ENOSPC, libc::EFBIG].map(Some);
    assert!(expected.contains(&beyond.raw_os_error()), "{beyond}");
}

#[test]
fn holes_and_data_are_found_and_counted() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("256M");
    let mounted = volume.mount();
    let file = mounted.open(0);
    let at = 130 * MIB;
    file.write_all_at(&pattern(1, 1 << 20), at).unwrap();
    file.sync_all().unwrap();
    let seek = |from: u64, whence| lseek(&file, from as i64, whence);
    assert_eq!(seek(0, Whence::SeekData), Ok(at as i64));
    assert_eq!(seek(at, Whence::SeekHole), Ok((at + MIB) as i64));
    assert_eq!(seek(0, Whence::SeekHole), Ok(0));
    assert_eq!(seek(at + MIB, Whence::SeekData), Err(Errno::ENXIO));
    await_that("a count of the blocks", 10, || {
        let allocated = file.metadata().unwrap().blocks() * 512;
        (MIB..8 * MIB).contains(&allocated)
    });
}

#[test]
fn the_inode_and_the_locks_are_those_of_one_file() {
    let Some(_turn) = fuse(&["flock"]) else {
        return;
    };
    let volume = TempVolume::create("64M");
    let mounted = volume.mount();
    let first = fs::metadata(mounted.disk()).unwrap();
    let again = mounted.open(0).metadata().unwrap();
    assert_eq!((first.ino(), first.dev()), (again.ino(), again.dev()));
    let contend = "exec 9<>\"$disk\"; flock -n 9; ! flock -n \"$disk\" true";
    shell(contend, &[("disk", &mounted.disk())]);
}

#[test]
fn a_regular_file_as_mount_point_is_the_disk_itself() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    let point = volume.home().join("disk.img");
    File::create(&point).unwrap();
    let mounted = Mounted::start(volume.path(), &point, &[]);
    assert_eq!(fs::metadata(&point).unwrap().len(), 64 * MIB);
    mounted.open(0).write_all_at(b"on a file", 12_345).unwrap();
    mounted.unmount();
    assert_eq!(fs::metadata(&point).unwrap().len(), 0, "the file below");
    let mounted = volume.mount();
    let found = read_direct(&mounted.disk(), 12_288, 4096);
    assert_eq!(&found[57..66], b"on a file");
}

#[test]
fn a_read_only_mount_refuses_writes() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    let mounted = volume.mount();
    mounted.open(0).write_all_at(b"kept", 0).unwrap();
    mounted.unmount();
    let mounted = volume.mount_with(&["ro"]);
    assert_eq!(&read_direct(&mounted.disk(), 0, 4096)[..4], b"kept");
    let refused = File::options()
        .write(true)
        .open(mounted.disk())
        .unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
}

#[test]
fn status_is_in_the_mount_and_the_same_as_the_commands() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    let mounted = volume.mount();
    let inside = fs::read_to_string(mounted.point().join(".redoubt/status")).unwrap();
    let inside: serde_json::Value = serde_json::from_str(&inside).unwrap();
    let status = volume.status();
    for field in ["id", "size", "state", "epoch"] {
        assert_eq!(inside["volume"][field], status[field], "{field}");
    }
    let listed = shell("ls \"$point\"", &[("point", mounted.point())]);
    assert_eq!(listed, "disk\n", "the rest is hidden");
    let check = redoubt(["status", "--check", "-q"])
        .arg(volume.path())
        .status();
    assert_eq!(check.unwrap().code(), Some(0));
}
