//! One fixed value of each layout, with a different number in every field.

use redoubt_volume::config::{NodeEntry, VolumeConfig};
use redoubt_volume::format::checkpoint_root::{CheckpointRoot, ExtentState, GroupState};
use redoubt_volume::format::checksum::page_checksums;
use redoubt_volume::format::index_page::{
    DIRECTORY_LEAVES, Fragment, IndexIdentity, Location, LogPoint, PageRef,
};
use redoubt_volume::format::log_frame::{Frame, FrameIdentity, FrameStamp};
use redoubt_volume::format::redo_record::{RecordHeader, RecordKind, flags};
use redoubt_volume::format::superblock::{RootPart, Superblock};
use redoubt_volume::geometry::Geometry;
use redoubt_volume::ids::{
    ExtentSequence, ExtentSlot, GroupBlock, GroupId, Incarnation, NodeId, VolumeEpoch, VolumeId,
    ZoneId,
};
use redoubt_volume::kept::Kept;
use redoubt_volume::lsn::{Lsn, TruncationList, TruncationRange};
use redoubt_volume::page::{PageBuf, Pages};
use redoubt_volume::placement::Relocation;

/// `000102…0f`.
pub const VOLUME: VolumeId = VolumeId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
pub const GROUP: GroupId = GroupId(0x0102_0304);
/// Number of the leaf and of the directory.
pub const NUMBER: u32 = 0x0506_0708;

pub fn index_identity() -> IndexIdentity {
    IndexIdentity {
        volume: VOLUME,
        node: NodeId(0x1112),
        incarnation: Incarnation(0x2122_2324_2526_2728),
    }
}

pub fn frame_identity() -> FrameIdentity {
    FrameIdentity {
        volume: VOLUME,
        node: NodeId(0x1112),
        incarnation: Incarnation(0x2122_2324_2526_2728),
        extent: ExtentSequence(0x3132_3334),
        page: 0x4142_4344,
        number: 0x5152_5354_5556_5758,
    }
}

pub fn frame_stamp() -> FrameStamp {
    FrameStamp {
        epoch: epoch(0x61),
        vdl: Lsn(0x7172_7374_7576_7778),
        wall_time_ns: 0x8182_8384_8586_8788,
    }
}

/// Two pages of payload: 200 bytes around the border of the block's second and third page.
pub fn delta() -> (RecordHeader, Pages) {
    let payload = payload(2, 0xa5);
    let mut record = RecordHeader::bare(
        RecordKind::Delta,
        Lsn(0x9192_9394_9596_9798),
        GROUP,
        GroupBlock(0x0a0b_0c0d),
    );
    record.previous_in_volume = Lsn(0x9192_9394_9596_9797);
    record.previous_in_group = Lsn(0x9192_9394_9596_9796);
    record.previous_of_block = Lsn(0x9192_9394_9596_9795);
    record.start = 2 * 4096 - 100;
    record.end = 2 * 4096 + 100;
    record.flags = flags::CONSISTENCY_POINT;
    record.checksums = page_checksums(payload.bytes());
    (record, payload)
}

pub fn discard() -> (RecordHeader, Pages) {
    let mut record = RecordHeader::bare(RecordKind::Discard, Lsn(9), GROUP, GroupBlock(64));
    record.blocks = 0x0001_0203;
    (record, Pages::empty())
}

pub fn frame() -> Frame {
    Frame::new(frame_stamp(), vec![discard(), delta()])
}

pub fn payload(pages: usize, byte: u8) -> Pages {
    let mut buffer = PageBuf::zeroed(pages);
    for (at, target) in buffer.bytes_mut().iter_mut().enumerate() {
        *target = byte.wrapping_add((at % 251) as u8);
    }
    buffer.share()
}

pub fn superblock() -> Superblock {
    let node = |index: u8| {
        let zone = ZoneId(index % 3);
        NodeEntry::new(zone, Incarnation(0x1000 + u64::from(index)))
    };
    Superblock {
        sequence: 0x0102_0304_0506_0708,
        node: NodeId(4),
        incarnation: Incarnation(0x2122_2324_2526_2728),
        promised: epoch(0x61),
        list: TruncationList {
            epoch: epoch(0x71),
            ranges: vec![TruncationRange {
                low: Lsn(0x8182_8384_8586_8788),
                high: Lsn(0x9192_9394_9596_9798),
            }],
        },
        config: VolumeConfig {
            version: 0xa1a2_a3a4_a5a6_a7a8,
            volume: VOLUME,
            disk_bytes: 0x1234_5678_9000,
            geometry: Geometry::new(10 << 30, 2).expect("a whole group"),
            extent_bytes: 64 << 20,
            nodes: (0..6).map(node).collect(),
            relocation: Relocation::default(),
        },
        fresh: true,
        checkpoint: vec![RootPart {
            slot: ExtentSlot(0xb1b2_b3b4),
            at: location(0x3132_3334, 0x1112, 3),
        }],
    }
}

/// Version 2 of the layout: three nodes have come to the six, one of the six is to be emptied, and
/// segments move.
pub fn superblock_of_two_tables() -> Superblock {
    let mut superblock = superblock();
    let config = &mut superblock.config;
    config.nodes.extend((0..3).map(|zone| NodeEntry {
        in_former: false,
        ..NodeEntry::new(ZoneId(zone), Incarnation(0x2000 + u64::from(zone)))
    }));
    config.nodes[1].in_current = false;
    config.relocation = Relocation {
        first_new: GroupId(0x0102_0304),
        done_steps: 0x0504_0302,
        moves: true,
        has_moved: true,
    };
    superblock
}

pub fn fragments() -> Vec<Fragment> {
    vec![Fragment {
        lsn: Lsn(0x9192_9394_9596_9798),
        extent: ExtentSequence(0x3132_3334),
        page: 0x4142_4344,
        start: 0x0102,
        end: 0x2324,
        block: 63,
        checksums: [0xc1c2_c3c4, 0xd1d2_d3d4, 0xe1e2_e3e4, 0],
    }]
}

/// Leaves in the first and the last row; nothing between them.
pub fn directory() -> Vec<PageRef> {
    let mut leaves = vec![PageRef::default(); DIRECTORY_LEAVES];
    leaves[0] = page_ref([0x3132_3334, 0x4142, 0x0102], 0x0506_0708);
    leaves[DIRECTORY_LEAVES - 1] = page_ref([0x5152_5354, 0x6162, 0x0304], 0x1516_1718);
    leaves
}

pub fn root() -> CheckpointRoot {
    CheckpointRoot {
        number: 0x0102_0304_0506_0708,
        replay_from: LogPoint {
            extent: ExtentSequence(0x3132_3334),
            page: 0x4142_4344,
        },
        replay_frame: 0x5152_5354_5556_5758,
        local_from_frame: 0x6162_6364_6566_6768,
        announced: Lsn(0x7172_7374_7576_7778),
        groups: vec![GroupState {
            group: GROUP,
            applied: Lsn(0x8182_8384_8586_8788),
            complete: true,
            kept: Kept::default(),
        }],
        directories: vec![(
            GROUP,
            NUMBER,
            page_ref([0x9192_9394, 0xa1a2_a3a4, 1], 0x2526_2728),
        )],
        extents: vec![ExtentState {
            slot: ExtentSlot(0xb1b2_b3b4),
            sequence: ExtentSequence(0xc1c2_c3c4),
            live_bytes: 0xd1d2_d3d4_d5d6_d7d8,
            written_pages: 0xe1e2_e3e4,
        }],
    }
}

fn page_ref([extent, page, pages]: [u32; 3], checksum: u32) -> PageRef {
    let at = location(extent, page, pages);
    PageRef { at, checksum }
}

fn location(extent: u32, page: u32, pages: u32) -> Location {
    Location {
        extent: ExtentSequence(extent),
        page,
        pages,
    }
}

fn epoch(first: u64) -> VolumeEpoch {
    VolumeEpoch {
        number: first,
        writer: 0x0101_0101_0101_0101 * first,
    }
}
