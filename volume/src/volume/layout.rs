//! Creating and removing a volume.

use crate::config::{NodeEntry, SEGMENTS, VolumeConfig, ZONES, check_zones};
use crate::error::VolumeError;
use crate::format::superblock::{MAX_NODES, Superblock};
use crate::geometry::{DEFAULT_GROUP_BYTES, Geometry, MAX_DISK_BYTES};
use crate::ids::{Incarnation, NodeId, VolumeId, ZoneId};
use crate::io::volume_directory::{self, CreateLayout, NewNode};
use crate::limits;
use crate::placement::Relocation;
use std::path::{Path, PathBuf};

/// What a new volume is to be.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Bytes of the disk.
    pub disk_bytes: u64,
    /// Bytes of a protection group, a multiple of 1 MiB.
    pub group_bytes: u64,
    /// Bytes of a log extent, a power of two from 1 MiB to 128 MiB.
    pub extent_bytes: u32,
    /// Zone and directory of each node; none: six in the volume's own directory.
    pub nodes: Vec<(ZoneId, PathBuf)>,
}

impl Default for CreateOptions {
    fn default() -> CreateOptions {
        CreateOptions {
            disk_bytes: 0,
            group_bytes: DEFAULT_GROUP_BYTES,
            extent_bytes: limits::EXTENT_BYTES,
            nodes: Vec::new(),
        }
    }
}

/// Creates a volume in directory `path`.
///
/// # Errors
/// [`VolumeError`] when an option cannot be, or something is there already; nothing is left behind
/// then.
pub fn create(path: &Path, options: &CreateOptions) -> Result<VolumeConfig, VolumeError> {
    let config = config(options)?;
    let superblock = |node: NodeId| new_superblock(&config, node, false);
    let paths: Vec<Option<PathBuf>> = if options.nodes.is_empty() {
        vec![None; SEGMENTS]
    } else {
        options
            .nodes
            .iter()
            .map(|(_, path)| Some(path.clone()))
            .collect()
    };
    let nodes = config.node_ids().zip(paths);
    let nodes = nodes
        .map(|(node, path)| NewNode {
            path,
            superblock: superblock(node),
        })
        .collect();
    volume_directory::create(path, &CreateLayout { nodes })?;
    Ok(config)
}

/// Removes a volume, with everything in it.
///
/// # Errors
/// [`VolumeError::Locked`] when a process has it open.
pub fn destroy(path: &Path) -> Result<(), VolumeError> {
    volume_directory::destroy(path)
}

/// The superblock of a directory that was just made.
pub(super) fn new_superblock(config: &VolumeConfig, node: NodeId, fresh: bool) -> Superblock {
    let incarnation = config.nodes[node.index()].incarnation;
    Superblock::new(config, node, incarnation, fresh)
}

fn config(options: &CreateOptions) -> Result<VolumeConfig, VolumeError> {
    let zones: Vec<ZoneId> = if options.nodes.is_empty() {
        (0..SEGMENTS)
            .map(|index| ZoneId((index * ZONES / SEGMENTS) as u8))
            .collect()
    } else {
        options.nodes.iter().map(|(zone, _)| *zone).collect()
    };
    check_sizes(options)?;
    check_zones(&zones).map_err(|error| VolumeError::Invalid(format!("{error}; name as many")))?;
    if zones.len() > MAX_NODES {
        return Err(VolumeError::Invalid(format!(
            "a volume has at most {MAX_NODES} nodes"
        )));
    }
    let geometry = Geometry::new(options.group_bytes, (zones.len() / SEGMENTS) as u32);
    let geometry = geometry.ok_or_else(|| {
        VolumeError::Invalid(
            "the group size must be a multiple of 1 MiB, at most 10 GiB; choose one that is"
                .to_owned(),
        )
    })?;
    let nodes = zones.into_iter().map(|zone| {
        let life = Incarnation(random_u64()?);
        Ok(NodeEntry::new(zone, life))
    });
    let mut volume = [0; 16];
    volume[..8].copy_from_slice(&random_u64()?.to_le_bytes());
    volume[8..].copy_from_slice(&random_u64()?.to_le_bytes());
    Ok(VolumeConfig {
        version: 1,
        volume: VolumeId(volume),
        disk_bytes: options.disk_bytes,
        geometry,
        extent_bytes: options.extent_bytes,
        nodes: nodes.collect::<Result<_, VolumeError>>()?,
        relocation: Relocation::default(),
    })
}

fn check_sizes(options: &CreateOptions) -> Result<(), VolumeError> {
    let invalid = |text: &str| Err(VolumeError::Invalid(text.to_owned()));
    if options.disk_bytes == 0 {
        return invalid("a disk of no bytes holds nothing; choose a size such as 10G");
    }
    if options.disk_bytes > MAX_DISK_BYTES {
        return invalid("the largest disk has 128 TiB; choose a smaller size");
    }
    let extent_fits = options.extent_bytes.is_power_of_two()
        && (1 << 20..=128 << 20).contains(&options.extent_bytes);
    if !extent_fits {
        return invalid("the extent size must be a power of two from 1 MiB to 128 MiB");
    }
    Ok(())
}

/// Random bits from the operating system.
pub(super) fn random_u64() -> Result<u64, VolumeError> {
    getrandom::u64().map_err(|error| {
        VolumeError::io("cannot draw a random number", std::io::Error::other(error))
    })
}
