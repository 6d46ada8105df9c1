//! What can be said of a volume that nobody serves: its superblocks are read, nothing is locked
//! and nothing is changed.

use crate::report::{Health, NodeHealth, NodeReport, SpaceReport, VolumeReport};
use crate::scrub_report::{DataErrorsReport, ScrubReport};
use redoubt_volume::error::VolumeError;
use redoubt_volume::format::superblock::{SLOT_BYTES, SLOTS, Superblock, SuperblockError};
use redoubt_volume::io::address_book::{Address, AddressBook};
use redoubt_volume::io::scrub_record::ScrubRecord;
use redoubt_volume::status::NodeState;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a block as stat(2) counts them.
const STAT_BLOCK_BYTES: u64 = 512;

/// Reports on the volume in this directory.
///
/// # Errors
/// [`VolumeError`] when it is no volume, is newer, or no node's superblock can be read.
pub(crate) fn report(volume: &Path) -> Result<VolumeReport, VolumeError> {
    let book = AddressBook::read(volume)?;
    let paths = book.paths(volume);
    let found: Vec<_> = paths.iter().map(|path| read_superblock(path)).collect();
    if let Some((path, Err(Unread::Newer(version)))) = paths
        .iter()
        .zip(&found)
        .find(|(_, found)| matches!(found, Err(Unread::Newer(_))))
    {
        let (path, version) = (path.clone(), *version);
        return Err(VolumeError::Newer { path, version });
    }
    let ours = |found: &&Superblock| found.config.volume == book.volume;
    let superblocks = || found.iter().flatten().filter(ours);
    let Some(newest) = superblocks().max_by_key(|found| found.config.version) else {
        let none = "no node directory has a superblock that checks".to_owned();
        return Err(VolumeError::TooFewNodes(none));
    };
    let epoch = superblocks()
        .map(|found| found.promised)
        .max()
        .unwrap_or_default();
    let nodes: Vec<_> = (book.nodes.iter().zip(&paths).zip(&found).enumerate())
        .map(|(index, ((address, path), found))| node(index, address, path, found, newest))
        .collect();
    let log = nodes.iter().filter_map(|node| node.log).sum();
    let record = ScrubRecord::read(volume);
    Ok(VolumeReport {
        id: book.volume.to_string(),
        path: volume.display().to_string(),
        size: newest.config.disk_bytes,
        state: Health::Offline,
        status: Some("the volume is not mounted.".into()),
        action: Some(format!(
            "mount it: redoubt mount {} MOUNTPOINT",
            volume.display()
        )),
        mountpoint: None,
        pid: None,
        epoch: epoch.number,
        writer_id: format!("{:016x}", epoch.writer),
        groups: None,
        vcl: None,
        vdl: None,
        recovery_ms: None,
        nodes,
        space: SpaceReport {
            log: Some(log),
            ..SpaceReport::default()
        },
        since_ms: None,
        faults: Vec::new(),
        scrub: record.as_ref().map(ScrubReport::from),
        relocation: None,
        data_errors: record.map(|record| DataErrorsReport::from(&record.data_errors)),
    })
}

enum Unread {
    Missing(std::io::Error),
    Damaged,
    Newer(u16),
}

fn read_superblock(node: &Path) -> Result<Superblock, Unread> {
    let mut bytes = Vec::new();
    File::open(node.join("superblock"))
        .and_then(|file| {
            file.take((SLOTS * SLOT_BYTES) as u64)
                .read_to_end(&mut bytes)
        })
        .map_err(Unread::Missing)?;
    Superblock::newest(&bytes).map_err(|error| match error {
        SuperblockError::Damaged => Unread::Damaged,
        SuperblockError::Newer(version) => Unread::Newer(version),
    })
}

fn node(
    index: usize,
    address: &Address,
    path: &Path,
    found: &Result<Superblock, Unread>,
    newest: &Superblock,
) -> NodeReport {
    let id = newest.config.node_ids().nth(index);
    let (state, reason) = match id.is_some_and(|id| newest.config.is_drained(id)) {
        true => {
            let meaning = NodeState::Drained.meaning();
            (NodeHealth::Drained, Some(meaning.to_owned()))
        }
        false => judge(index, found, newest),
    };
    NodeReport {
        id: id.map_or_else(|| format!("#{index}"), |id| newest.config.node_name(id)),
        az: char::from(b'a' + address.zone.0),
        path: path.display().to_string(),
        state,
        reason,
        action: state.state().action().map(str::to_owned),
        scl: None,
        log: log_bytes(path),
        live: None,
        checksum_errors: None,
        damaged_blocks: None,
        repaired_blocks: None,
        read_errors: None,
        write_errors: None,
        since_ms: None,
        rebuild: None,
        successor: None,
    }
}

fn judge(
    index: usize,
    found: &Result<Superblock, Unread>,
    newest: &Superblock,
) -> (NodeHealth, Option<String>) {
    let admitted = newest
        .config
        .nodes
        .get(index)
        .map(|entry| entry.incarnation);
    let reason = match found {
        Err(Unread::Missing(error)) => format!("its superblock cannot be read: {error}"),
        Err(Unread::Damaged) => {
            let reason = "its superblock does not check".into();
            return (NodeHealth::Failed, Some(reason));
        }
        Err(Unread::Newer(version)) => format!("its format version {version} is newer"),
        Ok(found) if found.config.volume != newest.config.volume => {
            format!("its directory belongs to volume {}", found.config.volume)
        }
        Ok(found) if found.node.index() != index => {
            format!(
                "its directory is that of node {}",
                newest.config.node_name(found.node)
            )
        }
        Ok(found) if found.fresh || admitted != Some(found.incarnation) => {
            let reason = "its directory was made anew and is not filled yet".into();
            return (NodeHealth::Rebuilding, Some(reason));
        }
        Ok(_) => return (NodeHealth::Up, None),
    };
    (NodeHealth::Missing, Some(reason))
}

/// Bytes that a node's log takes on its disk, if it can be listed.
fn log_bytes(node: &Path) -> Option<u64> {
    let entries = std::fs::read_dir(node.join("log")).ok()?;
    let blocks = entries.flatten().filter_map(|entry| entry.metadata().ok());
    Some(blocks.map(|file| file.blocks() * STAT_BLOCK_BYTES).sum())
}
