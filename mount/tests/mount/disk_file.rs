//! What programs see of the disk: real system calls on a real mount.

use crate::support::{DISK_BYTES, TestMount, fuse_or_skip};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, Flock, FlockArg, fallocate, fcntl};
use nix::sys::mman::{MapFlags, MsFlags, ProtFlags, mmap, msync, munmap};
use nix::sys::statvfs::statvfs;
use nix::unistd::{Whence, lseek};
use redoubt_volume::error::IoFailure;
use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

const MIB: usize = 1 << 20;

/// Set for the child of a test: which file it is to map.
const CHILD_MAPS: &str = "REDOUBT_TEST_CHILD_MAPS";

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index * 31 + seed) as u8 | 1)
        .collect()
}

fn read(file: &File, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

fn count(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::SeqCst)
}

#[test]
fn any_byte_range_is_written_and_read_cached_and_direct() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let (cached, direct) = (test.open(0), test.open(libc::O_DIRECT));
    let ranges = [(0, 1), (4095, 2), (16383, 16386), (700_001, 3 * MIB + 77)];
    for (seed, (offset, length)) in ranges.into_iter().enumerate() {
        for (writer, reader) in [(&cached, &direct), (&direct, &cached), (&cached, &cached)] {
            let bytes = pattern(length, seed + writer as *const _ as usize);
            let _warm_cache = read(reader, offset as u64, length);
            writer.write_all_at(&bytes, offset as u64).unwrap();
            assert_eq!(test.disk.bytes(offset..offset + length), bytes);
            assert_eq!(read(reader, offset as u64, length), bytes);
        }
    }
    assert_eq!(read(&cached, 4 * MIB as u64, 4096), vec![0; 4096]);
}

#[test]
fn the_end_of_the_disk_is_the_end_of_the_file() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    for flags in [0, libc::O_DIRECT] {
        let file = test.open(flags);
        let mut buffer = vec![7; 8192];
        assert_eq!(file.read_at(&mut buffer, DISK_BYTES - 4096).unwrap(), 4096);
        assert_eq!(file.read_at(&mut buffer, DISK_BYTES).unwrap(), 0);
        assert_eq!(file.write_at(&buffer, DISK_BYTES - 4096).unwrap(), 4096);
        let error = file.write_at(&buffer, DISK_BYTES).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(file.metadata().unwrap().size(), DISK_BYTES);
        assert_eq!(read(&file, DISK_BYTES - 4096, 4096), buffer[..4096]);
    }
}

#[test]
fn dd_fills_the_whole_disk_and_then_there_is_no_space() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    for extra in [None, Some("oflag=direct")] {
        test.open(0).write_all_at(&[0xff; 4096], 0).unwrap();
        let output = Command::new("dd")
            .arg("if=/dev/zero")
            .arg(format!("of={}", test.disk_path().display()))
            .arg("bs=1M")
            .args(extra)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("No space left on device"), "{said}");
        assert!(said.contains(&format!("{DISK_BYTES} bytes")), "{said}");
        assert!(
            test.disk
                .bytes(0..DISK_BYTES as usize)
                .iter()
                .all(|byte| *byte == 0)
        );
    }
}

#[test]
fn writes_of_synchronous_files_are_durable_and_others_are_not() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let modes = [
        (0, 0),
        (libc::O_DSYNC, 1),
        (libc::O_SYNC, 1),
        (libc::O_DIRECT, 0),
        (libc::O_DIRECT | libc::O_DSYNC, 1),
        (libc::O_DIRECT | libc::O_SYNC, 1),
    ];
    for (flags, durable) in modes {
        let file = test.open(flags);
        let before = count(&test.disk.durable_writes);
        file.write_all_at(&[1; 4096], 8192).unwrap();
        assert_eq!(
            count(&test.disk.durable_writes) - before,
            durable,
            "{flags:o}"
        );
    }
}

#[test]
fn every_fsync_reaches_the_disk_and_closing_does_not_flush_it() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let file = test.open(0);
    for expected in 1..4 {
        file.sync_all().unwrap();
        assert_eq!(count(&test.disk.flushes), 2 * expected - 1);
        file.sync_data().unwrap();
        assert_eq!(count(&test.disk.flushes), 2 * expected);
    }
    drop(file);
    assert_eq!(count(&test.disk.flushes), 6);
    let directory = File::open(&test.point).unwrap();
    directory.sync_all().unwrap();
    directory.sync_all().unwrap();
    assert_eq!(count(&test.disk.flushes), 8);
}

#[test]
fn failures_are_errors_of_the_call_that_met_them() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("direct_io");
    let file = test.open(0);
    for (failure, errno) in [
        (IoFailure::NoSpace, libc::ENOSPC),
        (IoFailure::QuorumLost, libc::EIO),
        (IoFailure::ReadOnly, libc::EROFS),
    ] {
        test.disk.fail(Some(failure));
        let code = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
        assert_eq!(code(file.write_all_at(&[1], 0)), Some(errno));
        assert_eq!(code(file.sync_all()), Some(errno));
        assert_eq!(code(file.read_at(&mut [0], 0).map(drop)), Some(errno));
    }
    test.disk.fail(None);
    file.sync_all().unwrap();
}

/// Not a test of its own: the process that maps the disk. The one that serves it must not do so,
/// because munmap(2) holds the lock of its address space while pages are written back.
#[test]
#[expect(unsafe_code, reason = "mmap(2) has no safe form")]
fn child_that_maps_the_disk() {
    let Some(path) = std::env::var_os(CHILD_MAPS) else {
        return;
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let length = NonZeroUsize::new(8192).unwrap();
    let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping of a file that never shrinks; only this function knows it.
    unsafe {
        let map = mmap(None, length, rights, MapFlags::MAP_SHARED, &file, 4096).unwrap();
        let bytes = map.cast::<u8>();
        bytes.add(5000).write(42);
        msync(map, 8192, MsFlags::MS_SYNC).unwrap();
        assert_eq!(read(&file, 9096, 1), [42]);
        file.write_all_at(&[43], 4096).unwrap();
        assert_eq!(bytes.read(), 43);
        bytes.add(1).write(44);
        munmap(map, 8192).unwrap();
    }
}

#[test]
fn a_shared_mapping_is_written_back() {
    if !fuse_or_skip() {
        return;
    }
    for options in ["", "direct_io"] {
        let test = TestMount::directory(options);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "disk_file::child_that_maps_the_disk"])
            .env(CHILD_MAPS, test.disk_path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{options}: {said}");
        assert_eq!(test.disk.bytes(9096..9097), [42]);
        assert_eq!(test.disk.bytes(4096..4098), [43, 44]);
    }
}

#[test]
fn punch_hole_and_zero_range_discard() {
    if !fuse_or_skip() {
        return;
    }
    let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | keep;
    let zero = FallocateFlags::FALLOC_FL_ZERO_RANGE;
    let test = TestMount::directory("");
    let file = test.open(0);
    for (discards, mode) in [punch, zero, zero | keep].into_iter().enumerate() {
        let bytes = pattern(MIB, discards);
        file.write_all_at(&bytes, 0).unwrap();
        fallocate(&file, mode, 10_000, 500_001).unwrap();
        assert_eq!(count(&test.disk.discards), discards + 1);
        let mut expected = bytes;
        expected[10_000..510_001].fill(0);
        assert_eq!(read(&file, 0, MIB), expected, "the page cache follows");
    }
    assert_eq!(count(&test.disk.flushes), 0);
}

#[test]
fn allocation_succeeds_inside_and_never_past_the_end() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let file = test.open(0);
    let size = DISK_BYTES as i64;
    let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | keep;
    for mode in [FallocateFlags::empty(), keep] {
        fallocate(&file, mode, 0, size).unwrap();
        assert_eq!(fallocate(&file, mode, 1, size), Err(Errno::EFBIG));
    }
    let collapse = FallocateFlags::FALLOC_FL_COLLAPSE_RANGE;
    assert_eq!(fallocate(&file, collapse, 0, 4096), Err(Errno::EOPNOTSUPP));
    fallocate(&file, punch, size - 4096, 1 << 40).unwrap();
    fallocate(&file, punch, size, 4096).unwrap();
    assert_eq!(file.metadata().unwrap().size(), DISK_BYTES);
    assert_eq!(count(&test.disk.discards), 1);
}

#[test]
fn holes_and_data_are_found() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let file = test.open(0);
    file.write_all_at(&[1; 100], 1 << 20).unwrap();
    let seek = |offset, whence| lseek(&file, offset, whence);
    assert_eq!(seek(0, Whence::SeekData), Ok(1 << 20));
    assert_eq!(seek(0, Whence::SeekHole), Ok(0));
    assert_eq!(seek(1 << 20, Whence::SeekHole), Ok((1 << 20) + (16 << 10)));
    assert_eq!(seek(2 << 20, Whence::SeekData), Err(Errno::ENXIO));
    assert_eq!(seek(DISK_BYTES as i64, Whence::SeekHole), Err(Errno::ENXIO));
    let last = DISK_BYTES - 1;
    file.write_all_at(&[1], last).unwrap();
    assert_eq!(seek(last as i64, Whence::SeekHole), Ok(DISK_BYTES as i64));
    assert_eq!(file.metadata().unwrap().blocks(), 2 * (16 << 10) / 512);
}

#[test]
fn truncation_is_granted_and_keeps_size_and_content() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let file = test.open(0);
    let bytes = pattern(MIB, 3);
    file.write_all_at(&bytes, 0).unwrap();
    for size in [0, 4097, DISK_BYTES, 1 << 40] {
        file.set_len(size).unwrap();
        assert_eq!(file.metadata().unwrap().size(), DISK_BYTES);
        assert_eq!(read(&file, 0, MIB), bytes);
    }
    let truncated = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(test.disk_path())
        .unwrap();
    assert_eq!(truncated.metadata().unwrap().size(), DISK_BYTES);
    assert_eq!(read(&file, 0, MIB), bytes);
}

#[test]
fn permissions_owner_and_times_can_be_changed() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let file = test.open(0);
    let path = test.disk_path();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o4660)).unwrap();
    std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    file.set_modified(long_ago).unwrap();
    let metadata = path.metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (12, 34));
    assert_eq!(metadata.mode() & 0o7777, 0o660);
    assert_eq!(metadata.mtime(), 1000);
    assert_eq!(metadata.blksize(), 4096);
    file.write_all_at(&[1], 0).unwrap();
    assert!(path.metadata().unwrap().mtime() > 1000);
}

#[test]
fn statfs_says_size_and_what_is_free() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    test.open(0).write_all_at(&[1], 0).unwrap();
    let status = statvfs(&test.point).unwrap();
    assert_eq!((status.block_size(), status.fragment_size()), (4096, 4096));
    assert_eq!(status.blocks(), DISK_BYTES / 4096);
    assert_eq!(status.blocks_free(), DISK_BYTES / 4096 - 4);
    assert_eq!(status.blocks_available(), status.blocks_free());
}

#[test]
fn a_disk_that_grew_is_seen_and_can_be_used() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let file = test.open(0);
    let grown = DISK_BYTES + MIB as u64;
    assert_eq!(file.metadata().unwrap().size(), DISK_BYTES);
    test.disk.grow(grown);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(file.metadata().unwrap().size(), grown);
    file.write_all_at(&[9], grown - 1).unwrap();
    assert_eq!(read(&file, grown - 1, 1), [9]);
}

#[test]
fn locks_keep_two_open_files_apart() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let (first, second) = (test.open(0), test.open(0));
    let held = Flock::lock(first, FlockArg::LockExclusiveNonblock).unwrap();
    let refused = Flock::lock(second, FlockArg::LockExclusiveNonblock);
    let (second, errno) = refused.unwrap_err();
    assert_eq!(errno, Errno::EWOULDBLOCK);
    let first = held.unlock().map_err(|(_, errno)| errno).unwrap();

    let range = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 1 << 30,
        l_len: 510,
        l_pid: 0,
    };
    fcntl(&first, FcntlArg::F_OFD_SETLK(&range)).unwrap();
    let again = fcntl(&second, FcntlArg::F_OFD_SETLK(&range));
    assert_eq!(again, Err(Errno::EAGAIN));
    drop(first);
    fcntl(&second, FcntlArg::F_OFD_SETLK(&range)).unwrap();
}

#[test]
fn many_threads_write_side_by_side() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let file = test.open(libc::O_DIRECT);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let file = &file;
            scope.spawn(move || {
                for turn in 0..16 {
                    let offset = (turn * 8 + thread) as u64 * 4096;
                    file.write_all_at(&pattern(4096, thread), offset).unwrap();
                }
            });
        }
    });
    for page in 0..128 {
        let bytes = test.disk.bytes(page * 4096..(page + 1) * 4096);
        assert_eq!(bytes, pattern(4096, page % 8));
    }
}

#[test]
fn ioctl_and_extended_attributes_are_declined() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(test.disk_path())
        .unwrap();
    // isatty asks by ioctl, and nix takes ENOTTY for a no.
    assert_eq!(nix::unistd::isatty(&file), Ok(false));
    let output = Command::new("getfattr")
        .arg("-d")
        .arg(test.disk_path())
        .output();
    assert!(output.is_err() || output.unwrap().stdout.is_empty());
}
