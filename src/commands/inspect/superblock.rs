//! Superblocks, slot by slot.

use crate::exit::Exit;
use crate::output::{Color, Output};
use crate::size::iec;
use redoubt_volume::format::superblock::{SLOT_BYTES, SLOTS, Superblock};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct File {
    r#type: &'static str,
    path: String,
    slots: Vec<Slot>,
}

#[derive(Serialize)]
struct Slot {
    slot: usize,
    counts: bool,
    error: Option<String>,
    superblock: Option<Content>,
}

#[derive(Serialize)]
struct Content {
    sequence: u64,
    node: u16,
    name: String,
    incarnation: String,
    fresh: bool,
    promised: Epoch,
    list_epoch: Epoch,
    ranges: Vec<(u64, u64)>,
    config: Config,
    checkpoint: Vec<Part>,
}

#[derive(Serialize)]
struct Epoch {
    number: u64,
    writer_id: String,
}

#[derive(Serialize)]
struct Config {
    version: u64,
    volume: String,
    size: u64,
    group_size: u64,
    stripe_width: u32,
    extent_size: u32,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    name: String,
    az: char,
    incarnation: String,
}

#[derive(Serialize)]
struct Part {
    file: u32,
    extent: u32,
    page: u32,
    pages: u32,
}

/// Shows both slots; exit code 26 when none checks.
pub(crate) fn show(path: &Path, bytes: &[u8], output: Output) -> anyhow::Result<Exit> {
    let file = File {
        r#type: "superblock",
        path: path.display().to_string(),
        slots: slots(bytes),
    };
    output.json("inspect", &file)?;
    for line in file.slots.iter().flat_map(|slot| lines(slot, output)) {
        output.line(line)?;
    }
    let usable = file.slots.iter().any(|slot| slot.counts);
    Ok(if usable { Exit::OK } else { Exit::DAMAGED })
}

fn slots(bytes: &[u8]) -> Vec<Slot> {
    let newest = Superblock::newest(bytes).map(|newest| newest.sequence).ok();
    let slot = |(slot, bytes): (usize, &[u8])| match Superblock::decode(bytes) {
        Ok(superblock) => Slot {
            slot,
            counts: newest == Some(superblock.sequence),
            error: None,
            superblock: Some(Content::from(&superblock)),
        },
        Err(error) => Slot {
            slot,
            counts: false,
            error: Some(error.to_string()),
            superblock: None,
        },
    };
    bytes
        .chunks(SLOT_BYTES)
        .take(SLOTS)
        .enumerate()
        .map(slot)
        .collect()
}

impl From<&Superblock> for Content {
    fn from(superblock: &Superblock) -> Content {
        let config = &superblock.config;
        let node = |id| {
            let entry: &redoubt_volume::config::NodeEntry =
                &config.nodes[redoubt_volume::ids::NodeId::index(id)];
            Node {
                name: config.node_name(id),
                az: char::from(b'a' + entry.zone.0),
                incarnation: format!("{:016x}", entry.incarnation.0),
            }
        };
        let ranges = superblock.list.ranges.iter();
        let parts = superblock.checkpoint.iter();
        Content {
            sequence: superblock.sequence,
            node: superblock.node.0,
            name: config.node_name(superblock.node),
            incarnation: format!("{:016x}", superblock.incarnation.0),
            fresh: superblock.fresh,
            promised: epoch(superblock.promised),
            list_epoch: epoch(superblock.list.epoch),
            ranges: ranges.map(|range| (range.low.0, range.high.0)).collect(),
            config: Config {
                version: config.version,
                volume: config.volume.to_string(),
                size: config.disk_bytes,
                group_size: config.geometry.group_bytes(),
                stripe_width: config.geometry.width,
                extent_size: config.extent_bytes,
                nodes: config.node_ids().map(node).collect(),
            },
            checkpoint: parts
                .map(|part| Part {
                    file: part.slot.0,
                    extent: part.at.extent.0,
                    page: part.at.page,
                    pages: part.at.pages,
                })
                .collect(),
        }
    }
}

fn epoch(epoch: redoubt_volume::ids::VolumeEpoch) -> Epoch {
    Epoch {
        number: epoch.number,
        writer_id: format!("{:016x}", epoch.writer),
    }
}

fn lines(slot: &Slot, output: Output) -> Vec<String> {
    let Some(content) = &slot.superblock else {
        let error = slot.error.as_deref().unwrap_or_default();
        return vec![format!(
            "slot {}: {}",
            slot.slot,
            output.paint(error, Color::Red)
        )];
    };
    let config = &content.config;
    let fresh = if content.fresh {
        ", not filled yet"
    } else {
        ""
    };
    let counts = if slot.counts {
        ", the one that counts"
    } else {
        ""
    };
    let mut lines = vec![
        format!("slot {}: sequence {}{counts}", slot.slot, content.sequence),
        format!("  volume       {}", config.volume),
        format!(
            "  node         {} (number {}), incarnation {}{fresh}",
            content.name, content.node, content.incarnation
        ),
        format!(
            "  promised     epoch {} of {}",
            content.promised.number, content.promised.writer_id
        ),
        format!(
            "  range list   epoch {} of {}: {}",
            content.list_epoch.number,
            content.list_epoch.writer_id,
            ranges(&content.ranges)
        ),
        format!(
            "  config       version {}: disk {}, groups of {}, stripes of {}, extents of {}",
            config.version,
            iec(config.size),
            iec(config.group_size),
            config.stripe_width,
            iec(config.extent_size.into())
        ),
    ];
    let node = |node: &Node| format!("  node {:<7} incarnation {}", node.name, node.incarnation);
    lines.extend(config.nodes.iter().map(node));
    let part = |part: &Part| {
        format!(
            "  checkpoint   extent {} in file {:08}.extent, page {} ({} pages)",
            part.extent, part.file, part.page, part.pages
        )
    };
    lines.extend(content.checkpoint.iter().map(part));
    lines
}

fn ranges(ranges: &[(u64, u64)]) -> String {
    if ranges.is_empty() {
        return "nothing annulled".into();
    }
    let ranges: Vec<_> = ranges
        .iter()
        .map(|(low, high)| format!("{low}-{high}"))
        .collect();
    format!("annulled {}", ranges.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use redoubt_volume::config::{NodeEntry, VolumeConfig};
    use redoubt_volume::geometry::Geometry;
    use redoubt_volume::ids::{Incarnation, NodeId, VolumeEpoch, VolumeId, ZoneId};
    use redoubt_volume::lsn::{Lsn, TruncationList, TruncationRange};
    use redoubt_volume::placement::Relocation;

    fn example(sequence: u64) -> Superblock {
        let node = |index: u8| NodeEntry::new(ZoneId(index / 2), Incarnation(index.into()));
        Superblock {
            sequence,
            node: NodeId(3),
            incarnation: Incarnation(3),
            promised: VolumeEpoch::default(),
            list: TruncationList {
                epoch: VolumeEpoch::default(),
                ranges: vec![TruncationRange {
                    low: Lsn(5),
                    high: Lsn(9),
                }],
            },
            config: VolumeConfig {
                version: 1,
                volume: VolumeId([7; 16]),
                disk_bytes: 10 << 30,
                geometry: Geometry::new(10 << 30, 1).unwrap(),
                extent_bytes: 64 << 20,
                nodes: (0..6).map(node).collect(),
                relocation: Relocation::default(),
            },
            fresh: false,
            checkpoint: vec![],
        }
    }

    #[test]
    fn the_newer_slot_counts_and_a_damaged_one_is_told() {
        let mut bytes = example(4).encode().bytes().to_vec();
        bytes.extend_from_slice(example(5).encode().bytes());
        let shown = slots(&bytes);
        assert_eq!([shown[0].counts, shown[1].counts], [false, true]);
        let content = shown[1].superblock.as_ref().unwrap();
        assert_eq!((content.name.as_str(), content.ranges[0]), ("b2", (5, 9)));
        bytes[SLOT_BYTES + 100] ^= 1;
        let shown = slots(&bytes);
        assert!(shown[0].counts && shown[1].error.is_some());
    }

    #[test]
    fn a_file_that_was_cut_is_shown_as_far_as_it_goes() {
        let bytes = example(4).encode().bytes().to_vec();
        for length in [0, 1, 127, 128, 500, SLOT_BYTES - 1] {
            assert!(slots(&bytes[..length]).len() <= 1);
        }
    }
}
