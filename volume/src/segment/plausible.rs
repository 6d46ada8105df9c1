//! Whether what a directory says can be, beyond its checksums: numbers that only rise are far from
//! their end, places lie inside their extents. So nothing that is computed from them later has to
//! fear an overflow; what cannot be is damage like any other.

use crate::config::VolumeConfig;
use crate::format::checkpoint_root::{CheckpointRoot, ExtentState, GroupState};
use crate::format::index_page::{DIRECTORY_LEAVES, LEAF_BLOCKS, Location};
use crate::format::log_frame::DecodedFrame;
use crate::format::redo_record::RecordHeader;
use crate::format::superblock::Superblock;
use crate::ids::{ExtentSequence, ExtentSlot};
use crate::limits::{LARGEST_EPOCH, LARGEST_EXTENT, LARGEST_NUMBER};
use crate::lsn::{Lsn, TruncationRange};
use crate::page::PAGE_BYTES;
use std::collections::BTreeSet;

fn is_number(number: u64) -> bool {
    number <= LARGEST_NUMBER
}

fn is_lsn(lsn: Lsn) -> bool {
    is_number(lsn.0)
}

fn is_extent(extent: ExtentSequence) -> bool {
    extent.0 <= LARGEST_EXTENT
}

fn is_slot(slot: ExtentSlot) -> bool {
    slot.0 <= LARGEST_EXTENT
}

fn extent_pages(config: &VolumeConfig) -> u32 {
    config.extent_bytes / PAGE_BYTES as u32
}

/// Whether the pages lie inside an extent.
pub(super) fn is_place(config: &VolumeConfig, place: Location) -> bool {
    let end = place.page.checked_add(place.pages);
    is_extent(place.extent) && end.is_some_and(|end| end <= extent_pages(config))
}

/// Whether a superblock can be.
pub(super) fn superblock(superblock: &Superblock) -> bool {
    let numbers = [superblock.sequence, superblock.config.version];
    let epochs = [superblock.promised, superblock.list.epoch];
    let ranges = &superblock.list.ranges;
    let rises = |pair: &[TruncationRange]| pair[0].high < pair[1].low;
    numbers.into_iter().all(is_number)
        && epochs.iter().all(|epoch| epoch.number <= LARGEST_EPOCH)
        && ranges.iter().all(|range| range.low <= range.high)
        && ranges.windows(2).all(rises)
        && ranges.iter().all(|range| is_lsn(range.high))
        && superblock
            .checkpoint
            .iter()
            .all(|part| is_slot(part.slot) && is_extent(part.at.extent))
}

/// Whether a checkpoint's root can be.
pub(super) fn root(config: &VolumeConfig, root: &CheckpointRoot) -> bool {
    let numbers = [root.number, root.replay_frame, root.local_from_frame];
    let is_group = |state: &GroupState| {
        let lsns = [state.applied, state.kept.since, state.kept.filled_since];
        lsns.into_iter().all(is_lsn)
    };
    let directories = config
        .geometry
        .group_blocks
        .div_ceil(DIRECTORY_LEAVES as u32 * LEAF_BLOCKS);
    let used = root.extents.iter().map(|state| state.sequence);
    let used: Vec<_> = used.filter(|extent| extent.0 != 0).collect();
    let slots: BTreeSet<_> = root.extents.iter().map(|state| state.slot).collect();
    numbers.into_iter().all(is_number)
        && is_lsn(root.announced)
        && is_extent(root.replay_from.extent)
        && root.replay_from.page <= extent_pages(config)
        && root.groups.iter().all(is_group)
        && root
            .directories
            .iter()
            .all(|(_, number, page)| *number < directories && is_place(config, page.at))
        && root.extents.iter().all(|state| extent(config, state))
        && used.iter().collect::<BTreeSet<_>>().len() == used.len()
        && slots.len() == root.extents.len()
}

fn extent(config: &VolumeConfig, state: &ExtentState) -> bool {
    // A page is charged once. Far more than that is refused, a count that drifted is not: it only
    // steers garbage collection, and is no reason to give a directory up.
    let most_live = 64 * u64::from(config.extent_bytes);
    is_slot(state.slot)
        && is_extent(state.sequence)
        && state.live_bytes <= most_live
        && state.written_pages <= extent_pages(config)
}

/// Whether a frame of the log can be.
pub(super) fn frame(config: &VolumeConfig, frame: &DecodedFrame) -> bool {
    is_number(frame.identity.number)
        && is_extent(frame.identity.extent)
        && is_lsn(frame.stamp.vdl)
        && frame.records.iter().all(|one| record(config, one))
}

fn record(config: &VolumeConfig, record: &RecordHeader) -> bool {
    let end = record.block.0.checked_add(record.blocks);
    let in_group = end.is_some_and(|end| end <= config.geometry.group_blocks);
    let fits_kind = match record.kind.changes_blocks() {
        true => in_group,
        // Writers send no marks and no pages of an index.
        false => record.is_local(),
    };
    // Of a mark they say what the segment keeps.
    let earlier = [record.previous_in_volume, record.previous_in_group];
    is_lsn(record.lsn) && earlier.into_iter().all(is_lsn) && fits_kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::index_page::PageRef;
    use crate::format::log_frame::{Frame, FrameIdentity, FrameStamp};
    use crate::format::redo_record::{RecordKind, flags};
    use crate::format::superblock::RootPart;
    use crate::ids::{GroupBlock, GroupId, Incarnation, NodeId, VolumeEpoch};
    use crate::kept::Kept;
    use crate::lsn::TruncationList;
    use crate::page::Pages;

    const LAST: u32 = LARGEST_EXTENT;

    fn config() -> VolumeConfig {
        crate::config::tests::config(2, 1, 4 << 20)
    }

    fn own_superblock() -> Superblock {
        Superblock {
            sequence: LARGEST_NUMBER,
            node: NodeId(0),
            incarnation: Incarnation(1),
            promised: epoch(LARGEST_EPOCH),
            list: TruncationList {
                epoch: epoch(LARGEST_EPOCH),
                ranges: vec![range(1, 1), range(2, 9), range(11, LARGEST_NUMBER)],
            },
            config: VolumeConfig {
                version: LARGEST_NUMBER,
                ..config()
            },
            fresh: false,
            checkpoint: Vec::new(),
        }
    }

    fn epoch(number: u64) -> VolumeEpoch {
        VolumeEpoch {
            number,
            writer: u64::MAX,
        }
    }

    #[test]
    fn a_superblock_near_the_end_of_its_numbers_cannot_be() {
        let changes: [fn(&mut Superblock); 7] = [
            |block| block.sequence += 1,
            |block| block.promised.number += 1,
            |block| block.list.epoch.number += 1,
            |block| block.config.version += 1,
            |block| block.list.ranges = vec![range(1, u64::MAX)],
            |block| block.list.ranges = vec![range(5, 9), range(9, 12)],
            |block| {
                let at = Location {
                    extent: ExtentSequence(u32::MAX),
                    page: 1,
                    pages: 1,
                };
                block.checkpoint = vec![RootPart {
                    slot: ExtentSlot(0),
                    at,
                }];
            },
        ];
        assert!(superblock(&own_superblock()));
        for (index, change) in changes.into_iter().enumerate() {
            let mut changed = own_superblock();
            change(&mut changed);
            assert!(!superblock(&changed), "change {index}");
        }
    }

    fn range(low: u64, high: u64) -> TruncationRange {
        TruncationRange {
            low: Lsn(low),
            high: Lsn(high),
        }
    }

    fn state(slot: u32, sequence: u32) -> ExtentState {
        ExtentState {
            slot: ExtentSlot(slot),
            sequence: ExtentSequence(sequence),
            live_bytes: 4096,
            written_pages: 1,
        }
    }

    fn own_root() -> CheckpointRoot {
        let at = Location {
            extent: ExtentSequence(1),
            page: 1,
            pages: 1,
        };
        let page = PageRef { at, checksum: 0 };
        CheckpointRoot {
            groups: vec![GroupState {
                group: GroupId(0),
                applied: Lsn(1),
                complete: true,
                kept: Kept::default(),
            }],
            directories: vec![(GroupId(0), 0, page)],
            extents: vec![state(0, 0), state(1, 0), state(2, LAST)],
            ..Default::default()
        }
    }

    #[test]
    fn a_root_that_contradicts_itself_cannot_be() {
        let changes: [fn(&mut CheckpointRoot); 11] = [
            |root| root.number = u64::MAX,
            |root| root.replay_frame = u64::MAX,
            |root| root.announced = Lsn::MAX,
            |root| root.replay_from.page = u32::MAX,
            |root| root.groups[0].applied = Lsn::MAX,
            |root| root.directories[0].1 = u32::MAX,
            |root| root.directories[0].2.at.page = u32::MAX,
            |root| root.extents[2].live_bytes = u64::MAX,
            |root| root.extents[2].written_pages = u32::MAX,
            |root| root.extents[1].sequence = ExtentSequence(LAST),
            |root| root.extents[1].slot = ExtentSlot(0),
        ];
        assert!(root(&config(), &own_root()));
        for (index, change) in changes.into_iter().enumerate() {
            let mut changed = own_root();
            change(&mut changed);
            assert!(!root(&config(), &changed), "change {index}");
        }
    }

    fn frame_of(record: RecordHeader) -> DecodedFrame {
        let frame = Frame::new(FrameStamp::default(), vec![(record, Pages::empty())]);
        DecodedFrame::decode(frame.header_for(&identity()).bytes()).unwrap()
    }

    #[test]
    fn a_frame_with_a_block_outside_its_group_cannot_be() {
        let of_block = |block: u32, lsn: u64| {
            let block = GroupBlock(block);
            frame_of(RecordHeader::bare(
                RecordKind::Discard,
                Lsn(lsn),
                GroupId(0),
                block,
            ))
        };
        let blocks = config().geometry.group_blocks;
        assert!(frame(&config(), &of_block(blocks - 1, 1)));
        assert!(!frame(&config(), &of_block(blocks, 1)));
        assert!(!frame(&config(), &of_block(0, u64::MAX)));
    }

    #[test]
    fn a_mark_of_a_node_that_no_node_wrote_for_itself_cannot_be() {
        for kind in [RecordKind::Incomplete, RecordKind::Released] {
            let mut mark = RecordHeader::bare(kind, Lsn(1), GroupId(0), GroupBlock(0));
            assert!(!frame(&config(), &frame_of(mark)), "{kind:?}");
            mark.flags = flags::LOCAL;
            assert!(frame(&config(), &frame_of(mark)), "{kind:?}");
            mark.previous_in_group = Lsn::MAX;
            assert!(!frame(&config(), &frame_of(mark)), "{kind:?}");
        }
    }

    fn identity() -> FrameIdentity {
        FrameIdentity {
            volume: config().volume,
            node: NodeId(0),
            incarnation: Incarnation(1),
            extent: ExtentSequence(1),
            page: 0,
            number: 1,
        }
    }
}
