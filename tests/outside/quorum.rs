//! The quorum is lost under a mounted disk that is in use, and comes back.

use crate::support::{Mounted, TempVolume, await_that, fuse_alone, pattern, read_direct};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// What is only read begins here, and has so many MiB.
const READ_FROM: u64 = 64 << 20;
const READ: u64 = 16;
const TURNS: usize = 3;

/// What goes on meanwhile.
#[derive(Default)]
struct Load {
    ends: AtomicBool,
    synced: AtomicU64,
    read: AtomicU64,
}

/// Ends the load also where the test fails: the scope waits for its threads.
struct EndWhenDropped<'a>(&'a Load);

impl Drop for EndWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.ends.store(true, Relaxed);
    }
}

impl Load {
    fn write(&self, mounted: &Mounted) {
        let file = mounted.open(0);
        while !self.ends.load(Relaxed) {
            let round = self.synced.load(Relaxed);
            let offset = (round % 32) << 20;
            file.write_all_at(&pattern(round, MIB), offset).unwrap();
            file.sync_data().unwrap();
            self.synced.store(round + 1, Relaxed);
        }
    }

    fn read(&self, mounted: &Mounted) {
        while !self.ends.load(Relaxed) {
            let turn = self.read.load(Relaxed);
            let mib = turn % READ;
            let found = read_direct(&mounted.disk(), READ_FROM + (mib << 20), MIB);
            assert!(found == pattern(1000 + mib, MIB), "MiB {mib}");
            self.read.store(turn + 1, Relaxed);
        }
    }

    /// Waits until a counter has moved on by so much.
    fn await_more(counter: &AtomicU64, count: u64) {
        let before = counter.load(Relaxed);
        await_that("the load goes on", 60, || {
            counter.load(Relaxed) >= before + count
        });
    }
}

/// A zone and one more go; what writes wait for is told, reads are right; one comes back. How long
/// until the first write is durable again.
fn lose_and_return(volume: &TempVolume, load: &Load) -> Duration {
    volume.take_away("zone-a");
    volume.take_away("zone-b/disk1");
    volume.await_state("read-only");
    std::thread::sleep(Duration::from_millis(500));
    let before = load.synced.load(Relaxed);
    Load::await_more(&load.read, 2 * READ);
    assert_eq!(load.synced.load(Relaxed), before, "three are no quorum");
    let status = volume.status();
    let said = |field: &str| status[field].as_str().unwrap().to_owned();
    assert!(said("status").contains("a1, a2, b1 missing"), "{status:#}");
    assert!(said("status").contains("wait"), "{status:#}");
    assert!(said("action").contains("bring one of a1, a2, b1 back"));
    for node in status["nodes"].as_array().unwrap() {
        let is_missing = node["state"] == "missing";
        assert!(!is_missing || node["reason"].is_string() && node["action"].is_string());
    }
    let began = Instant::now();
    volume.bring_back("zone-b/disk1");
    await_writes(load, before);
    let waited = began.elapsed();
    volume.bring_back("zone-a");
    volume.await_healthy();
    Load::await_more(&load.synced, 4);
    waited
}

fn await_writes(load: &Load, before: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while load.synced.load(Relaxed) == before {
        assert!(Instant::now() < deadline, "writes do not go on");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_lost_quorum_is_told_and_writes_go_on_by_themselves_when_the_fourth_returns() {
    let Some(_turn) = fuse_alone(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount_with(&["on-quorum-loss=wait"]);
    let file = mounted.open(0);
    for mib in 0..READ {
        let bytes = pattern(1000 + mib, MIB);
        file.write_all_at(&bytes, READ_FROM + (mib << 20)).unwrap();
    }
    file.sync_all().unwrap();
    let load = Load::default();
    let waited = std::thread::scope(|scope| {
        let _end = EndWhenDropped(&load);
        scope.spawn(|| load.write(&mounted));
        scope.spawn(|| load.read(&mounted));
        Load::await_more(&load.synced, 10);
        [(); TURNS].map(|()| lose_and_return(&volume, &load))
    });
    println!("writes went on {waited:?} after the fourth node's return");
    // A machine that does other things, too, may be late once.
    let best = waited.iter().min().unwrap();
    assert!(*best < Duration::from_secs(1), "{waited:?}");
    drop(file);
    mounted.unmount();
    volume.check();
}
