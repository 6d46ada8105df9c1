//! Values of every layout, with all that it can hold.

use super::examples::{VOLUME, payload};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use redoubt_volume::config::{NodeEntry, VolumeConfig};
use redoubt_volume::format::checkpoint_root::{CheckpointRoot, ExtentState, GroupState};
use redoubt_volume::format::checksum::{checksum, page_checksums};
use redoubt_volume::format::index_page::{DIRECTORY_LEAVES, Fragment, Location, LogPoint, PageRef};
use redoubt_volume::format::log_frame::{FrameIdentity, FrameStamp};
use redoubt_volume::format::redo_record::{RecordHeader, RecordKind};
use redoubt_volume::format::superblock::{RootPart, Superblock};
use redoubt_volume::geometry::{BLOCK_BYTES, Geometry, MAX_DISK_BYTES};
use redoubt_volume::ids::{
    ExtentSequence, ExtentSlot, GroupBlock, GroupId, Incarnation, NodeId, VolumeEpoch, VolumeId,
    ZoneId,
};
use redoubt_volume::kept::Kept;
use redoubt_volume::lsn::{Lsn, TruncationList, TruncationRange};
use redoubt_volume::page::{PAGE_BYTES, Pages};
use redoubt_volume::placement::Relocation;
use std::collections::BTreeMap;

pub fn frame_identity() -> impl Strategy<Value = FrameIdentity> {
    let ids = (any::<[u8; 16]>(), any::<u16>(), any::<u64>());
    let place = (any::<u32>(), any::<u32>(), any::<u64>());
    (ids, place).prop_map(
        |((volume, node, incarnation), (extent, page, number))| FrameIdentity {
            volume: VolumeId(volume),
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
            extent: ExtentSequence(extent),
            page,
            number,
        },
    )
}

pub fn frame_stamp() -> impl Strategy<Value = FrameStamp> {
    (epoch(), any::<u64>(), any::<u64>()).prop_map(|(epoch, vdl, wall_time_ns)| FrameStamp {
        epoch,
        vdl: Lsn(vdl),
        wall_time_ns,
    })
}

fn epoch() -> impl Strategy<Value = VolumeEpoch> {
    (any::<u64>(), any::<u64>()).prop_map(|(number, writer)| VolumeEpoch { number, writer })
}

/// A record with its payload, in every kind that the writer or a node makes.
pub fn record() -> impl Strategy<Value = (RecordHeader, Pages)> {
    let kind = prop_oneof![
        Just(RecordKind::Image),
        Just(RecordKind::Delta),
        Just(RecordKind::Discard),
        Just(RecordKind::Incomplete),
        Just(RecordKind::Complete),
        Just(RecordKind::IndexLeaf),
        Just(RecordKind::IndexDirectory),
        Just(RecordKind::CheckpointRoot),
        Just(RecordKind::Filled),
        Just(RecordKind::Released),
    ];
    let place = (any::<u32>(), 0..1_u32 << 30, 1..1_u32 << 30);
    let links = (4..u64::MAX, 1..4_u64, 0..4_u64, 1..4_u64);
    let range = (0..BLOCK_BYTES, 1..=BLOCK_BYTES);
    (kind, place, links, range, any::<u8>()).prop_map(|(kind, place, links, range, byte)| {
        let (group, block, blocks) = place;
        let (lsn, in_volume, in_group, of_block) = links;
        let mut record = RecordHeader::bare(kind, Lsn(lsn), GroupId(group), GroupBlock(block));
        record.previous_in_volume = Lsn(lsn - in_volume);
        record.previous_in_group = Lsn((lsn - in_volume).saturating_sub(in_group));
        record.previous_of_block = Lsn(lsn - of_block);
        record.flags = byte;
        let pages = shape(&mut record, blocks, range);
        let payload = payload(pages, byte);
        record.checksums = match kind {
            RecordKind::Image | RecordKind::Delta => page_checksums(payload.bytes()),
            _ if pages == 0 => [0; 4],
            _ => [checksum(payload.bytes()), 0, 0, 0],
        };
        (record, payload)
    })
}

/// Sets what depends on the record's kind; the pages of its payload.
fn shape(record: &mut RecordHeader, blocks: u32, (start, end): (usize, usize)) -> usize {
    match record.kind {
        RecordKind::Image => {
            record.end = BLOCK_BYTES as u16;
            BLOCK_BYTES / PAGE_BYTES
        }
        RecordKind::Delta => {
            let (start, end) = (start.min(end - 1), end.max(start + 1));
            (record.start, record.end) = (start as u16, end as u16);
            end.div_ceil(PAGE_BYTES) - start / PAGE_BYTES
        }
        RecordKind::Discard => {
            record.blocks = blocks;
            0
        }
        RecordKind::Incomplete
        | RecordKind::Complete
        | RecordKind::Filled
        | RecordKind::Released => 0,
        _ => 1 + start % 5,
    }
}

pub fn location() -> impl Strategy<Value = Location> {
    (any::<u32>(), any::<u16>(), any::<u16>()).prop_map(|(extent, page, pages)| Location {
        extent: ExtentSequence(extent),
        page: page.into(),
        pages: pages.into(),
    })
}

pub fn directory() -> impl Strategy<Value = Vec<PageRef>> {
    let page = (location(), any::<u32>()).prop_map(|(at, checksum)| PageRef { at, checksum });
    vec(page, DIRECTORY_LEAVES)
}

pub fn fragments() -> impl Strategy<Value = Vec<Fragment>> {
    let place = (1..=u32::MAX, any::<u32>(), 0..64_u8);
    let bytes = (
        0..BLOCK_BYTES as u16,
        1..=BLOCK_BYTES as u16,
        any::<[u32; 4]>(),
    );
    let fragment = (any::<u64>(), place, bytes).prop_map(|(lsn, place, bytes)| Fragment {
        lsn: Lsn(lsn),
        extent: ExtentSequence(place.0),
        page: place.1,
        block: place.2,
        start: bytes.0.min(bytes.1 - 1),
        end: bytes.1.max(bytes.0 + 1),
        checksums: bytes.2,
    });
    vec(fragment, 0..200)
}

pub fn superblock() -> impl Strategy<Value = Superblock> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), epoch(), epoch());
    let ranges = vec((any::<u64>(), any::<u64>()), 0..50);
    let parts = vec((any::<u32>(), any::<u32>(), 1..256_u32, 0..256_u32), 0..50);
    (numbers, ranges, parts, config(), any::<bool>()).prop_map(
        |(numbers, ranges, parts, config, fresh)| Superblock {
            sequence: numbers.0,
            node: NodeId((numbers.1 % config.nodes.len() as u64) as u16),
            incarnation: Incarnation(numbers.2),
            promised: numbers.3,
            list: TruncationList {
                epoch: numbers.4,
                ranges: ranges.into_iter().map(range).collect(),
            },
            config,
            fresh,
            checkpoint: parts.into_iter().map(part).collect(),
        },
    )
}

fn range((low, high): (u64, u64)) -> TruncationRange {
    TruncationRange {
        low: Lsn(low),
        high: Lsn(high),
    }
}

fn part((slot, extent, page, pages): (u32, u32, u32, u32)) -> RootPart {
    let at = Location {
        extent: ExtentSequence(extent),
        page,
        pages: pages.min(256 - page),
    };
    RootPart {
        slot: ExtentSlot(slot),
        at,
    }
}

fn config() -> impl Strategy<Value = VolumeConfig> {
    let shape = (2..8_u8, 1..=10_240_u64, 1..64_u32, 20..28_u32);
    let numbers = (any::<u64>(), 0..=MAX_DISK_BYTES, any::<u64>());
    (shape, numbers).prop_map(
        |((per_zone, group_mib, width, extent), numbers)| VolumeConfig {
            version: numbers.0,
            volume: VOLUME,
            disk_bytes: numbers.1,
            geometry: Geometry::new(group_mib << 20, width).expect("whole units"),
            extent_bytes: 1 << extent,
            nodes: (0..per_zone * 3)
                .map(|index| NodeEntry {
                    in_current: index < 6,
                    ..NodeEntry::new(
                        ZoneId(index % 3),
                        Incarnation(numbers.2.wrapping_mul(u64::from(index))),
                    )
                })
                .collect(),
            relocation: Relocation {
                first_new: GroupId(numbers.0 as u32),
                done_steps: numbers.2 % (u64::from(numbers.0 as u32) * 6 + 1),
                moves: numbers.0 % 2 == 0,
                has_moved: numbers.1 % 2 == 0,
            },
        },
    )
}

pub fn root() -> impl Strategy<Value = CheckpointRoot> {
    let numbers = (any::<[u64; 4]>(), any::<u32>(), any::<u32>());
    let kept = (any::<u32>(), any::<[u64; 2]>());
    let groups = vec((any::<u32>(), any::<u64>(), option::of(kept)), 0..100);
    let directories = vec(
        (any::<u32>(), any::<u32>(), any::<u32>(), any::<[u32; 2]>()),
        0..100,
    );
    let extents = vec(
        (any::<u32>(), any::<u32>(), any::<u64>(), any::<u32>()),
        0..100,
    );
    (numbers, groups, directories, extents).prop_map(|(numbers, groups, directories, extents)| {
        CheckpointRoot {
            number: numbers.0[0],
            replay_from: LogPoint {
                extent: ExtentSequence(numbers.1),
                page: numbers.2,
            },
            replay_frame: numbers.0[1],
            local_from_frame: numbers.0[2],
            announced: Lsn(numbers.0[3]),
            // A group has one state.
            groups: BTreeMap::from_iter(groups.into_iter().map(group_state))
                .into_values()
                .collect(),
            directories: directories.into_iter().map(directory_place).collect(),
            extents: extents.into_iter().map(extent_state).collect(),
        }
    })
}

fn group_state(
    (group, applied, kept): (u32, u64, Option<(u32, [u64; 2])>),
) -> (GroupId, GroupState) {
    let complete = kept.is_none();
    let kept = kept.map_or(Kept::default(), |(filled, [since, filled_since])| Kept {
        since: Lsn(since),
        filled,
        filled_since: Lsn(filled_since),
    });
    let group = GroupId(group);
    let state = GroupState {
        group,
        applied: Lsn(applied),
        complete,
        kept,
    };
    (group, state)
}

fn directory_place(
    (group, number, extent, [page, checksum]): (u32, u32, u32, [u32; 2]),
) -> (GroupId, u32, PageRef) {
    let at = Location {
        extent: ExtentSequence(extent),
        page,
        pages: 1,
    };
    (GroupId(group), number, PageRef { at, checksum })
}

fn extent_state((slot, sequence, live_bytes, written_pages): (u32, u32, u64, u32)) -> ExtentState {
    ExtentState {
        slot: ExtentSlot(slot),
        sequence: ExtentSequence(sequence),
        live_bytes,
        written_pages,
    }
}
