//! fsync and O_DSYNC: what was promised before kill -9 is there after it, and no promise is given
//! while there is no quorum.

use crate::support::{Mounted, Random, TempVolume, aligned, fuse, pattern, read_direct};
use nix::libc;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

const BLOCK: usize = 16 << 10;
/// Blocks of one writer's share of the disk.
const SHARE: u64 = 1024;
const WRITERS: u64 = 4;
const ROUNDS: u64 = 20;

/// What one writer knows of its blocks. Writes are numbered from 1; a block never written is 0.
struct Share {
    first_block: u64,
    /// With O_DSYNC every write is a promise; otherwise every fsync is.
    synchronous: bool,
    /// For every block the number that was found last, and of all writes issued since.
    issued: Vec<Vec<u64>>,
    last: u64,
    promised: u64,
}

impl Share {
    fn new(index: u64) -> Share {
        Share {
            first_block: index * SHARE,
            synchronous: index == 0,
            issued: vec![vec![0]; SHARE as usize],
            last: 0,
            promised: 0,
        }
    }

    /// Writes runs of one to four blocks until the disk dies.
    fn write_until_death(&mut self, disk: &Path, mut random: Random) {
        let flags = if self.synchronous { libc::O_DSYNC } else { 0 };
        let mut options = File::options();
        let file = options.write(true).custom_flags(flags).open(disk).unwrap();
        while self.write(&file, &mut random) {
            if self.synchronous {
                self.promised = self.last;
            } else if random.below(8) == 0 {
                if file.sync_data().is_err() {
                    return;
                }
                self.promised = self.last;
            }
        }
    }

    /// One write in one request; false when the disk is dead.
    fn write(&mut self, file: &File, random: &mut Random) -> bool {
        let count = 1 + random.below(4);
        let start = random.below(SHARE - count);
        self.last += 1;
        let mut bytes = Vec::with_capacity(count as usize * BLOCK);
        for block in start..start + count {
            self.issued[block as usize].push(self.last);
            bytes.extend(block_bytes(self.first_block + block, self.last));
        }
        let offset = (self.first_block + start) * BLOCK as u64;
        let written = file.write_at(&bytes, offset);
        written.is_ok_and(|length| length == bytes.len())
    }

    /// The disk holds the state after some prefix of this share's writes, at least the promised
    /// one, with every write whole. What was found is final from now on.
    fn verify(&mut self, disk: &Path) {
        let start = self.first_block * BLOCK as u64;
        let bytes = read_direct(disk, start, SHARE as usize * BLOCK);
        let found: Vec<u64> = bytes.chunks(BLOCK).map(number_of).collect();
        let prefix = found.iter().copied().max().unwrap();
        assert!(
            prefix >= self.promised,
            "{prefix} of {} promised",
            self.promised
        );
        for (index, block) in bytes.chunks(BLOCK).enumerate() {
            let issued = &self.issued[index];
            let expected = issued
                .iter()
                .copied()
                .filter(|number| *number <= prefix)
                .max();
            let at = self.first_block + index as u64;
            assert_eq!(Some(found[index]), expected, "block {at}, prefix {prefix}");
            assert!(block == block_bytes(at, found[index]), "block {at} is torn");
            self.issued[index] = vec![found[index]];
        }
        self.promised = prefix;
    }
}

/// A block that says which it is and by which write; zeros for write 0.
fn block_bytes(block: u64, number: u64) -> Vec<u8> {
    if number == 0 {
        return vec![0; BLOCK];
    }
    let mut bytes = pattern((block << 32) | number, BLOCK);
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn number_of(block: &[u8]) -> u64 {
    u64::from_le_bytes(block[..8].try_into().unwrap())
}

fn twenty_kills(options: &[&str]) {
    let volume = TempVolume::create("128M");
    let mut shares: Vec<_> = (0..WRITERS).map(Share::new).collect();
    let mut random = Random(u64::from(std::process::id()));
    let mut written = 0;
    for round in 0..ROUNDS {
        let mounted = volume.mount_with(options);
        let disk = mounted.disk();
        shares.iter_mut().for_each(|share| share.verify(&disk));
        std::thread::scope(|scope| {
            for share in &mut shares {
                let seed = Random(random.next());
                scope.spawn(|| share.write_until_death(&disk, seed));
            }
            std::thread::sleep(Duration::from_millis(100 + random.below(700)));
            mounted.kill();
        });
        let total: u64 = shares.iter().map(|share| share.last).sum();
        assert!(total > written, "round {round} wrote nothing");
        written = total;
    }
    let mounted = volume.mount();
    let disk = mounted.disk();
    shares.iter_mut().for_each(|share| share.verify(&disk));
    mounted.unmount();
    volume.check();
}

#[test]
fn twenty_kills_under_load_lose_nothing_promised_and_tear_nothing() {
    let Some(_turn) = fuse(&[]) else { return };
    twenty_kills(&[]);
}

#[test]
fn twenty_kills_with_write_through_lose_nothing_promised_and_tear_nothing() {
    let Some(_turn) = fuse(&[]) else { return };
    twenty_kills(&["cache=writethrough"]);
}

/// A request that must wait while three of six nodes are away, and end when they are back.
fn waits_for_the_quorum(request: impl FnOnce(&Mounted) + Send) {
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    mounted
        .open(libc::O_DSYNC)
        .write_all_at(&[1; BLOCK], 0)
        .unwrap();
    let gone = ["zone-a/disk1", "zone-b/disk1", "zone-c/disk1"];
    gone.iter().for_each(|disk| volume.take_away(disk));
    volume.await_state("read-only");
    let (done, ended) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            request(&mounted);
            done.send(()).unwrap();
        });
        let early = ended.recv_timeout(Duration::from_secs(3));
        // Bring them back whatever it was: the request could not end otherwise.
        gone.iter().for_each(|disk| volume.bring_back(disk));
        assert_eq!(
            early,
            Err(RecvTimeoutError::Timeout),
            "it was answered without a quorum"
        );
        assert_eq!(ended.recv_timeout(Duration::from_secs(40)), Ok(()));
    });
    volume.await_healthy();
    mounted.kill();
    let mounted = volume.mount();
    let disk = mounted.disk();
    assert_eq!(read_direct(&disk, 1 << 20, BLOCK), vec![2; BLOCK]);
}

#[test]
fn a_write_with_o_dsync_waits_for_the_quorum() {
    let Some(_turn) = fuse(&[]) else { return };
    waits_for_the_quorum(|mounted| {
        let file = mounted.open(libc::O_DSYNC);
        file.write_all_at(&[2; BLOCK], 1 << 20).unwrap();
    });
}

#[test]
fn an_asynchronous_direct_write_with_o_dsync_waits_too() {
    let Some(_turn) = fuse(&[]) else { return };
    waits_for_the_quorum(|mounted| {
        let file = mounted.open(libc::O_DSYNC | libc::O_DIRECT);
        aligned(BLOCK, |buffer| {
            buffer.fill(2);
            file.write_all_at(buffer, 1 << 20).unwrap();
        });
    });
}

#[test]
fn an_fsync_waits_for_the_quorum() {
    let Some(_turn) = fuse(&[]) else { return };
    waits_for_the_quorum(|mounted| {
        let file = mounted.open(0);
        file.write_all_at(&[2; BLOCK], 1 << 20).unwrap();
        file.sync_all().unwrap();
    });
}

#[test]
fn a_clean_unmount_keeps_what_was_never_synced() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    let mounted = volume.mount();
    let source = volume.home().join("source");
    fs::write(&source, pattern(3, 32 << 20)).unwrap();
    mounted
        .open(0)
        .write_all_at(&fs::read(&source).unwrap(), 0)
        .unwrap();
    mounted.unmount();
    let mounted = volume.mount();
    assert!(read_direct(&mounted.disk(), 0, 32 << 20) == fs::read(&source).unwrap());
}
