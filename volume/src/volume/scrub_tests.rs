use super::{CreateOptions, OpenOptions, ScrubPolicy, Volume, create};
use crate::ids::NodeId;
use crate::status::{ScrubReport, ScrubStatus};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const BLOCK: usize = 16384;

/// Blocks 0 to 3 of ones to fours, on all six nodes.
fn filled(path: &Path) -> Volume {
    let options = CreateOptions {
        disk_bytes: 16 << 20,
        extent_bytes: 1 << 20,
        ..CreateOptions::default()
    };
    create(path, &options).unwrap();
    let volume = Volume::open(path, OpenOptions::default()).unwrap();
    let data: Vec<u8> = (0..4 * BLOCK).map(|at| (at / BLOCK) as u8 + 1).collect();
    let (sender, receiver) = channel();
    volume.write(
        0,
        &data,
        true,
        Box::new(move |result| sender.send(result).unwrap()),
    );
    receiver.recv().unwrap().unwrap();
    let differ = || {
        let nodes = volume.status().nodes;
        nodes.windows(2).any(|two| two[0].scl != two[1].scl)
    };
    while differ() {
        std::thread::sleep(Duration::from_millis(5));
    }
    volume
}

/// Flips bytes of a block where they lie in a node's files.
fn rot(volume: &Volume, node: u16, byte: u8) {
    let directory = volume.driver.directories.get(NodeId(node)).unwrap();
    let mut flipped = 0;
    for entry in std::fs::read_dir(directory.path().join("log")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        for page in bytes.chunks_mut(4096) {
            if page.iter().all(|other| *other == byte) {
                page[1000] ^= 1;
                flipped += 1;
            }
        }
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        file.sync_all().unwrap();
    }
    assert_eq!(flipped, 4, "a block has four pages");
}

#[test]
fn a_scrub_mends_bytes_that_were_flipped_in_files() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("v");
    let volume = filled(&path);
    let clean = ScrubReport {
        blocks: 4,
        copies: 24,
        ..ScrubReport::default()
    };
    assert_eq!(volume.scrub(None), Ok(clean));
    rot(&volume, 1, 2);
    rot(&volume, 4, 3);
    let mended = ScrubReport {
        damaged: 2,
        repaired: 2,
        ..clean
    };
    assert_eq!(volume.scrub(None), Ok(mended));
    let repairs = |node: usize| volume.status().nodes[node].repairs;
    assert_eq!(
        (repairs(1).damaged_blocks, repairs(1).repaired_blocks),
        (1, 1)
    );
    assert_eq!(repairs(0).damaged_blocks, 0);
    volume.close().unwrap();

    let volume = Volume::open(&path, OpenOptions::default()).unwrap();
    let report = volume.verify(&mut |_, _| {}).unwrap();
    assert_eq!((report.blocks, report.damage.len()), (4, 0));
    volume.close().unwrap();
}

#[test]
fn a_scrub_keeps_to_its_rate() {
    let temp = tempfile::tempdir().unwrap();
    let volume = filled(&temp.path().join("v"));
    let (sender, receiver) = channel();
    // Another leaf: the scrub waits before it.
    volume.write(
        8 << 20,
        &[9; BLOCK],
        true,
        Box::new(move |result| sender.send(result).unwrap()),
    );
    receiver.recv().unwrap().unwrap();
    let began = Instant::now();
    let found = volume.scrub(NonZeroU64::new(1 << 20)).unwrap();
    assert_eq!((found.blocks, found.unresolved), (5, 0));
    // 24 copies of 16 KiB at 1 MiB a second.
    assert!(began.elapsed() >= Duration::from_millis(370));
    volume.close().unwrap();
}

/// Another leaf than the first, which [`filled`] has written.
fn write_second_leaf(volume: &Volume) {
    let (sender, receiver) = channel();
    let done = Box::new(move |result| sender.send(result).unwrap());
    volume.write(8 << 20, &[9; BLOCK], true, done);
    receiver.recv().unwrap().unwrap();
}

fn await_status(volume: &Volume, done: impl Fn(&ScrubStatus) -> bool) -> ScrubStatus {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = volume.scrub_status();
        if done(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_scrub_goes_on_where_it_was_when_the_volume_is_opened_again() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("v");
    let volume = filled(&path);
    write_second_leaf(&volume);
    // The first leaf is read at once, the second one an hour later.
    let number = volume.start_scrub(NonZeroU64::new(100)).unwrap();
    let is_second = |status: &ScrubStatus| {
        let running = status.running;
        // Nodes count what is to be read when they are told that it is durable.
        running.is_some_and(|at| at.at.place.leaf > 0) && (20..99).contains(&status.percent())
    };
    let status = await_status(&volume, is_second);
    assert_eq!((number, status.number), (1, 1));
    assert!(volume.start_scrub(None).is_err());
    assert!(volume.pause_scrub(true));
    volume.close().unwrap();

    let volume = Volume::open(&path, OpenOptions::default()).unwrap();
    let status = await_status(&volume, |status| status.running.is_some());
    let at = status.running.unwrap().at;
    assert_eq!(
        (at.is_paused, at.report.blocks, at.rate),
        (true, 4, NonZeroU64::new(100))
    );
    assert!(at.place.leaf > 0);
    assert!(volume.set_scrub_rate(None) && volume.pause_scrub(false));
    let last = await_status(&volume, |status| status.last.is_some())
        .last
        .unwrap();
    assert_eq!(
        (last.number, last.report.blocks, last.report.unresolved),
        (1, 5, 0)
    );
    // Written down within a round, also when the process dies then.
    std::thread::sleep(Duration::from_millis(2500));
    volume.close().unwrap();

    let volume = Volume::open(&path, OpenOptions::default()).unwrap();
    let status = volume.scrub_status();
    assert_eq!(status.last.map(|last| last.report), Some(last.report));
    assert_eq!((status.last.unwrap().number, status.running), (0, None));
    volume.close().unwrap();
}

#[test]
fn a_scrub_begins_by_itself_and_not_where_nothing_may_be_written() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("v");
    filled(&path).close().unwrap();
    let scrub = ScrubPolicy {
        interval: Some(Duration::from_secs(1)),
        rate: NonZeroU64::new(1 << 30),
    };
    let options = OpenOptions {
        scrub,
        ..OpenOptions::default()
    };
    let volume = Volume::open(&path, options).unwrap();
    assert!(volume.scrub_status().next_s.is_some());
    let last = await_status(&volume, |status| status.last.is_some()).last;
    assert_eq!(last.map(|last| last.report.blocks), Some(4));
    volume.close().unwrap();

    let read_only = OpenOptions {
        read_only: true,
        ..options
    };
    let volume = Volume::open(&path, read_only).unwrap();
    assert_eq!(volume.scrub_status().next_s, None);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(volume.scrub_status().number, 0);
    volume.close().unwrap();
}

#[test]
fn a_cancelled_scrub_is_forgotten() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("v");
    let volume = filled(&path);
    write_second_leaf(&volume);
    assert!(!volume.cancel_scrub());
    volume.start_scrub(NonZeroU64::new(100)).unwrap();
    assert!(volume.cancel_scrub());
    volume.close().unwrap();
    let volume = Volume::open(&path, OpenOptions::default()).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let status = volume.scrub_status();
    assert_eq!((status.running, status.last), (None, None));
    volume.close().unwrap();
}

#[test]
fn a_superblock_that_rots_under_a_running_node_is_written_anew() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("v");
    let volume = filled(&path);
    volume.scrub(None).unwrap();
    let file = path.join("nodes/b1/superblock");
    std::fs::write(&file, vec![0xee; 128 << 10]).unwrap();
    std::fs::File::open(&file).unwrap().sync_all().unwrap();
    let report = volume.scrub(None).unwrap();
    assert_eq!((report.metadata_damaged, report.metadata_repaired), (2, 2));
    assert_eq!((report.damaged, report.unresolved), (0, 0));
    let bytes = std::fs::read(&file).unwrap();
    for slot in bytes.chunks(64 << 10) {
        crate::format::superblock::Superblock::decode(slot).unwrap();
    }
    volume.close().unwrap();
    let volume = Volume::open(&path, OpenOptions::default()).unwrap();
    assert_eq!(volume.status().state, crate::status::VolumeState::Healthy);
    volume.close().unwrap();
}
