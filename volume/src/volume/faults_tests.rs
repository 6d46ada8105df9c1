use super::*;
use crate::ids::Incarnation;
use crate::status::{NodeState, VolumeState};
use crate::volume::{CreateOptions, OpenOptions, create};
use std::path::Path;
use std::sync::mpsc::channel;

const BLOCK: usize = 16384;
const BLOCKS: usize = 128;
/// What [`write`] writes, from the beginning of the disk.
const WRITTEN_MIB: u64 = (BLOCK * BLOCKS) as u64 >> 20;
const LONG: Duration = Duration::from_secs(3600);

fn opened(folder: &Path) -> Volume {
    let path = folder.join("v");
    let options = CreateOptions {
        disk_bytes: 64 << 20,
        extent_bytes: 1 << 20,
        ..CreateOptions::default()
    };
    create(&path, &options).unwrap();
    let volume = Volume::open(&path, OpenOptions::default()).unwrap();
    write(&volume, 1);
    volume
}

fn content(salt: u8) -> Vec<u8> {
    let byte = |at: usize| (at / BLOCK) as u8 ^ salt;
    (0..BLOCKS * BLOCK).map(byte).collect()
}

fn write(volume: &Volume, salt: u8) {
    for (at, piece) in content(salt).chunks(1 << 20).enumerate() {
        write_at(volume, (at as u64) << 20, piece);
    }
}

fn write_at(volume: &Volume, offset_bytes: u64, data: &[u8]) {
    let (sender, receiver) = channel();
    let done = Box::new(move |result| sender.send(result).unwrap());
    volume.write(offset_bytes, data, true, done);
    receiver.recv().unwrap().unwrap();
}

fn assert_reads(volume: &Volume, salt: u8) {
    for (at, piece) in content(salt).chunks(1 << 20).enumerate() {
        let (sender, receiver) = channel();
        let done = Box::new(move |result| sender.send(result).unwrap());
        volume.read((at as u64) << 20, piece.len(), false, done);
        let read: crate::volume::ReadBytes = receiver.recv().unwrap().unwrap();
        assert!(read.as_ref() == piece, "MiB {at}");
    }
}

fn await_that(what: &str, volume: &Volume, reached: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < deadline, "{what}: {:#?}", volume.status());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn await_healthy(volume: &Volume) {
    let up = || {
        let status = volume.status();
        status.state == VolumeState::Healthy
            && status.nodes.iter().all(|node| node.state == NodeState::Up)
    };
    await_that("all up", volume, up);
}

fn nodes(names: &[&str]) -> FaultTarget {
    FaultTarget::Nodes(names.iter().map(|name| (*name).to_owned()).collect())
}

fn incarnation(volume: &Volume, node: usize) -> Incarnation {
    let config = |core: &mut super::super::driver::Core| core.embedded.writer.config().clone();
    volume.driver.with_core(|core, _| config(core)).nodes[node].incarnation
}

#[test]
fn a_zone_is_down_at_once_and_back_by_itself() {
    let temp = tempfile::tempdir().unwrap();
    let volume = opened(temp.path());
    await_healthy(&volume);
    // Longer than it may take until the nodes are down, also on a machine that is busy.
    let interval = 3 * SWITCH_OFF_PATIENCE;
    let zone = FaultTarget::Zone('c');
    let fault = volume
        .begin_fault(FaultKind::NodeDown, &zone, interval)
        .unwrap();
    assert_eq!(fault.nodes, ["c1", "c2"]);
    let status = volume.status();
    assert_eq!(status.state, VolumeState::Degraded);
    let reason = status.nodes[5].reason.clone().unwrap();
    assert!(reason.contains("fault 1"), "{reason}");
    assert_eq!(volume.faults().len(), 1);
    let before = incarnation(&volume, 5);
    write(&volume, 2);
    await_healthy(&volume);
    assert!(volume.faults().is_empty());
    assert_eq!(incarnation(&volume, 5), before, "what it had still counts");
    assert_reads(&volume, 2);
    let report = volume.verify(&mut |_, _| {}).unwrap();
    assert_eq!((report.damage.len(), report.missing_nodes.len()), (0, 0));
    volume.close().unwrap();
}

#[test]
fn a_node_whose_disk_fails_is_rebuilt_when_it_works_again() {
    let temp = tempfile::tempdir().unwrap();
    let volume = opened(temp.path());
    await_healthy(&volume);
    let before = incarnation(&volume, 2);
    let failure = FaultKind::DiskFailure { percent: 100 };
    let fault = volume.begin_fault(failure, &nodes(&["b1"]), LONG).unwrap();
    write(&volume, 2);
    let has_failed = || volume.status().nodes[2].state == NodeState::Failed;
    await_that("the failed disk", &volume, has_failed);
    assert_reads(&volume, 2);
    // Some looks at it later it is still not made anew.
    std::thread::sleep(3 * limits::DIRECTORY_CHECK);
    assert!(has_failed() && incarnation(&volume, 2) == before);
    let ended = volume.end_faults(Some(fault.id)).unwrap();
    assert_eq!(ended[0].id, fault.id);
    await_healthy(&volume);
    assert_ne!(incarnation(&volume, 2), before, "made anew");
    assert_reads(&volume, 2);
    volume.close().unwrap();
}

#[test]
fn a_disk_that_fails_now_and_then_costs_nobody_anything() {
    let temp = tempfile::tempdir().unwrap();
    let volume = opened(temp.path());
    await_healthy(&volume);
    let failure = FaultKind::DiskFailure { percent: 30 };
    volume.begin_fault(failure, &nodes(&["a2"]), LONG).unwrap();
    for salt in 2..6 {
        write(&volume, salt);
        assert_reads(&volume, salt);
    }
    volume.end_faults(None).unwrap();
    await_healthy(&volume);
    assert_reads(&volume, 5);
    let report = volume.scrub(None).unwrap();
    assert_eq!(report.unresolved, 0, "{report:?}");
    volume.close().unwrap();
}

#[test]
fn a_disk_without_space_takes_writes_again_afterwards() {
    let temp = tempfile::tempdir().unwrap();
    let volume = opened(temp.path());
    await_healthy(&volume);
    let before = incarnation(&volume, 0);
    let full = FaultKind::DiskFull;
    volume.begin_fault(full, &nodes(&["a1"]), LONG).unwrap();
    let is_full = || {
        let reason = volume.status().nodes[0].reason.clone();
        reason.is_some_and(|reason| reason.contains("full"))
    };
    // Where nothing was written before: collection wins no room for it.
    for mib in WRITTEN_MIB..64 {
        write_at(&volume, mib << 20, &[7; 1 << 20]);
        if is_full() {
            break;
        }
    }
    await_that("a full disk", &volume, is_full);
    write(&volume, 41);
    volume.end_faults(None).unwrap();
    await_healthy(&volume);
    assert_eq!(incarnation(&volume, 0), before, "it is not thrown away");
    assert_reads(&volume, 41);
    volume.close().unwrap();
}

#[test]
fn a_volume_with_faults_closes_soon_and_opens_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let volume = opened(temp.path());
    await_healthy(&volume);
    let time = limits::LONGEST_CONGESTION;
    let congestion = FaultKind::Congestion {
        least: time,
        most: time,
    };
    let slow = nodes(&["a1", "b1"]);
    volume.begin_fault(congestion, &slow, LONG).unwrap();
    write(&volume, 2);
    let began = Instant::now();
    volume.close().unwrap();
    assert!(began.elapsed() < time / 2, "{:?}", began.elapsed());
    drop(volume);
    let volume = Volume::open(&temp.path().join("v"), OpenOptions::default()).unwrap();
    assert_reads(&volume, 2);
    await_healthy(&volume);
    volume.close().unwrap();
}

#[test]
fn corrupted_blocks_are_read_from_others_and_mended() {
    let temp = tempfile::tempdir().unwrap();
    let volume = opened(temp.path());
    await_healthy(&volume);
    assert_eq!(volume.corrupt("b2", 100).unwrap(), 100);
    assert_reads(&volume, 1);
    let report = volume.scrub(None).unwrap();
    assert_eq!(report.unresolved, 0, "{report:?}");
    let repairs = volume.status().nodes[3].repairs;
    assert_eq!(
        (repairs.damaged_blocks, repairs.repaired_blocks),
        (100, 100)
    );
    let report = volume.verify(&mut |_, _| {}).unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    volume.close().unwrap();
}

#[test]
fn no_block_loses_a_second_copy() {
    let temp = tempfile::tempdir().unwrap();
    // Opened for reading only: nothing is mended in between.
    opened(temp.path()).close().unwrap();
    let options = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    let volume = Volume::open(&temp.path().join("v"), options).unwrap();
    await_healthy(&volume);
    let many = BLOCKS as u32 * 2;
    let damaged = [
        volume.corrupt("a1", 40).unwrap(),
        volume.corrupt("a1", 10).unwrap(),
        volume.corrupt("c2", many).unwrap(),
        volume.corrupt("b1", many).unwrap(),
    ];
    assert_eq!(damaged[0], 40);
    let sum: u32 = damaged.iter().sum();
    assert_eq!((sum, damaged[3]), (BLOCKS as u32, 0));
    assert_reads(&volume, 1);
    volume.close().unwrap();
}

#[test]
fn what_cannot_be_is_refused_in_one_sentence() {
    let temp = tempfile::tempdir().unwrap();
    let volume = opened(temp.path());
    await_healthy(&volume);
    let begin = |kind, target: &FaultTarget, interval| {
        let begun = volume.begin_fault(kind, target, interval);
        begun.unwrap_err().to_string()
    };
    let a1 = nodes(&["a1"]);
    let unknown = begin(FaultKind::NodeDown, &nodes(&["a1", "d9"]), LONG);
    assert!(unknown.contains("'d9'") && unknown.contains("a1, a2, b1"));
    for (kind, interval) in [
        (FaultKind::NodeDown, Duration::ZERO),
        (FaultKind::NodeDown, 25 * LONG),
        (FaultKind::DiskFailure { percent: 0 }, LONG),
        (FaultKind::DiskFailure { percent: 101 }, LONG),
        (
            FaultKind::Congestion {
                least: Duration::from_millis(2),
                most: Duration::from_millis(1),
            },
            LONG,
        ),
    ] {
        assert!(begin(kind, &a1, interval).contains("choose") || kind != FaultKind::NodeDown);
    }
    begin(FaultKind::NodeDown, &FaultTarget::Zone('d'), LONG);
    begin(FaultKind::NodeDown, &nodes(&[]), LONG);
    let missing = volume.end_faults(Some(7)).unwrap_err().to_string();
    assert!(missing.contains("no fault 7"), "{missing}");
    assert!(volume.end_faults(None).unwrap().is_empty());
    assert!(volume.corrupt("a1", 0).is_err());
    assert!(volume.faults().is_empty());

    volume.begin_fault(FaultKind::NodeDown, &a1, LONG).unwrap();
    let refused = volume.corrupt("b1", 1).unwrap_err().to_string();
    assert!(refused.contains("node a1 is missing"), "{refused}");
    volume.close().unwrap();
}
