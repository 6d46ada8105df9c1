use super::{CreateOptions, OpenOptions, Volume, create};
use crate::ids::NodeId;
use crate::status::ScrubReport;
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
