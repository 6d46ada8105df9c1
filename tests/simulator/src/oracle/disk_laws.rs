//! What must be on a node's disk, on stable storage, when the node says that it is (law 1): judged
//! at once, not when a power cut happens to come at that moment.

use crate::disk::MemoryDisk;
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::ids::VolumeEpoch;
use redoubt_volume::lsn::Lsn;
use redoubt_volume::message::{Reply, Report, Request};
use redoubt_volume::segment::effect::{DiskCompletion, NodeEffect};
use redoubt_volume::segment::node::Node;
use redoubt_volume::time::Instant;

/// A node answers: what its superblock must have for that is on stable storage.
///
/// # Errors
/// What is not.
pub fn check_reply(disk: &MemoryDisk, reply: &Reply) -> Result<(), String> {
    let has: &dyn Fn(&Superblock) -> bool = match reply {
        Reply::Promised(report) => &|superblock| superblock.promised >= report.epoch,
        Reply::ListHeld { epoch, .. } => &|superblock| superblock.list.epoch >= *epoch,
        Reply::Configured { version } => &|superblock| superblock.config.version >= *version,
        _ => return Ok(()),
    };
    if disk.stable_superblock().is_some_and(|it| has(&it)) {
        return Ok(());
    }
    let what = match reply {
        Reply::Promised(_) => "a promise",
        Reply::ListHeld { .. } => "a list",
        _ => "a configuration",
    };
    Err(format!("said that it holds {what} that a power cut takes"))
}

/// Whether an answer says that something was done, for which something was written.
pub fn promises(reply: &Reply) -> bool {
    matches!(
        reply,
        Reply::Promised(_)
            | Reply::ListHeld { .. }
            | Reply::Configured { .. }
            | Reply::Acked { .. }
            | Reply::CatchUpBegun { .. }
            | Reply::LeavesHeld { .. }
            | Reply::GroupCompleted { .. }
    )
}

/// A node writes its superblock: never over the only one that a power cut leaves.
///
/// # Errors
/// It does.
pub fn check_slot(disk: &MemoryDisk, slot: usize) -> Result<(), String> {
    let Some(good) = disk.stable_superblock() else {
        return Ok(());
    };
    if good.slot() == slot {
        let sequence = good.sequence;
        return Err(format!(
            "writes over superblock {sequence}, its only good one"
        ));
    }
    Ok(())
}

/// A node was opened on this disk, and counts what it found: an open after a power cut finds no
/// less.
///
/// # Errors
/// What it would lack.
pub fn check_open(disk: &MemoryDisk) -> Result<(), String> {
    if !disk.has_unsynced_log() {
        return Ok(());
    }
    let mut now = MemoryDisk::of_image(disk.image().clone());
    let (Some(found), Some(left)) = (report_of(&mut now), report_of(&mut disk.stable())) else {
        return Ok(());
    };
    for segment in found.segments.iter().filter(|segment| segment.complete) {
        let mut same = left.segments.iter();
        let same = same.find(|other| other.group == segment.group && other.complete);
        let scl = same.map_or(Lsn::NONE, |other| other.scl);
        if scl < segment.scl {
            return Err(format!(
                "counts {:?} up to {}, of which a power cut leaves {scl}",
                segment.group, segment.scl
            ));
        }
    }
    Ok(())
}

/// What a node tells of a directory, if it can be opened.
fn report_of(disk: &mut MemoryDisk) -> Option<Report> {
    const INDEX_BYTES: usize = 1 << 20;
    let mut node = Node::open(disk.superblock()?, disk, INDEX_BYTES).ok()?;
    let epoch = VolumeEpoch {
        number: u64::MAX,
        writer: 0,
    };
    let now = Instant::default();
    node.on_request(now, Request::Promise { epoch });
    while let Some(effect) = node.poll() {
        match effect {
            NodeEffect::Send(Reply::Promised(report)) => return Some(*report),
            NodeEffect::WriteSuperblock { operation, .. } => {
                let result = Ok(());
                node.on_disk(now, DiskCompletion::Done { operation, result });
            }
            _ => {}
        }
    }
    None
}
