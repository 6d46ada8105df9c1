//! The root of an index checkpoint: locates the directories and keeps what an open needs besides,
//! the groups' applied points, the extents, where the replay begins. It has the head of every
//! index page; a long one is cut into parts, each the payload of a frame of its own.

use crate::format::index_page::{
    IndexIdentity, IndexPageKind, Location, LogPoint, PageRef, open, seal,
};
use crate::ids::{ExtentSequence, ExtentSlot, GroupId};
use crate::kept::Kept;
use crate::lsn::Lsn;
use crate::page::PageBuf;
use std::collections::BTreeMap;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A segment's state in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// The group.
    pub group: GroupId,
    /// Everything up to here is in the index.
    pub applied: Lsn,
    /// Whether the segment holds all of it: an incomplete one counts in no quorum.
    pub complete: bool,
    /// What an incomplete one has for sure.
    pub kept: Kept,
}

/// An extent's state in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentState {
    /// Its file.
    pub slot: ExtentSlot,
    /// Its number; zero: the file is free.
    pub sequence: ExtentSequence,
    /// Bytes that the index refers to.
    pub live_bytes: u64,
    /// Pages of the file that have been written at least once.
    pub written_pages: u32,
}

/// What an open needs: a checkpoint's root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointRoot {
    /// Number of the checkpoint, rising.
    pub number: u64,
    /// Replay begins here.
    pub replay_from: LogPoint,
    /// Number of the first frame of the replay.
    pub replay_frame: u64,
    /// Local records in frames from this number on are not in the index pages for sure.
    pub local_from_frame: u64,
    /// The highest VDL announced to the node.
    pub announced: Lsn,
    /// Segments.
    pub groups: Vec<GroupState>,
    /// Directories: group, number, page.
    pub directories: Vec<(GroupId, u32, PageRef)>,
    /// Extents.
    pub extents: Vec<ExtentState>,
}

/// Fixed part of a root's body.
///
/// ```text
/// at  bytes  field
///  0      8  number of the checkpoint
///  8      8  number of the first frame of the replay
/// 16      8  number of the first frame whose local records are replayed
/// 24      8  announced VDL
/// 32      4  replay begins: extent sequence
/// 36      4  replay begins: page
/// 40      4  groups
/// 44      4  directories
/// 48      4  extents
/// 52      4  fillings
/// ```
/// Behind it the rows: groups, directories, extents, fillings.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RootHead {
    number: U64,
    replay_frame: U64,
    local_from_frame: U64,
    announced: U64,
    replay_extent: U32,
    replay_page: U32,
    groups: U32,
    directories: U32,
    extents: U32,
    fillings: U32,
}

/// A group's row.
///
/// ```text
/// at  bytes  field
///  0      4  group
///  4      4  1 complete, 0 not
///  8      8  applied LSN
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GroupRow {
    group: U32,
    complete: U32,
    applied: U64,
}

/// A directory's row.
///
/// ```text
/// at  bytes  field
///  0      4  group
///  4      4  number of the directory in the group
///  8      4  extent sequence
/// 12      4  page in the extent
/// 16      4  checksum of the page
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct DirectoryRow {
    group: U32,
    number: U32,
    extent: U32,
    page: U32,
    checksum: U32,
}

/// An extent's row.
///
/// ```text
/// at  bytes  field
///  0      4  number of the file
///  4      4  extent sequence; 0: the file is free
///  8      8  live bytes
/// 16      4  pages written at least once
/// 20      4  reserved, zero
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ExtentRow {
    slot: U32,
    sequence: U32,
    live_bytes: U64,
    written_pages: U32,
    reserved: U32,
}

/// A filling's row: what an incomplete segment has for sure.
///
/// ```text
/// at  bytes  field
///  0      4  group
///  4      4  leaves that were copied, from the first on
///  8      8  they have everything up to this LSN
/// 16      8  all leaves have everything up to this LSN
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FillingRow {
    group: U32,
    filled: U32,
    filled_since: U64,
    since: U64,
}

/// The pages of a root.
pub fn encode_root(identity: &IndexIdentity, root: &CheckpointRoot) -> PageBuf {
    let mut head = RootHead::new_zeroed();
    head.number = root.number.into();
    head.replay_frame = root.replay_frame.into();
    head.local_from_frame = root.local_from_frame.into();
    head.announced = root.announced.0.into();
    head.replay_extent = root.replay_from.extent.0.into();
    head.replay_page = root.replay_from.page.into();
    head.groups = (root.groups.len() as u32).into();
    head.directories = (root.directories.len() as u32).into();
    head.extents = (root.extents.len() as u32).into();
    let fillings = root.groups.iter();
    let fillings = fillings.filter(|state| state.kept != Kept::default());
    head.fillings = (fillings.clone().count() as u32).into();
    let mut body = head.as_bytes().to_vec();
    for state in &root.groups {
        let row = GroupRow {
            group: state.group.0.into(),
            complete: u32::from(state.complete).into(),
            applied: state.applied.0.into(),
        };
        body.extend_from_slice(row.as_bytes());
    }
    for (group, number, page) in &root.directories {
        let row = DirectoryRow {
            group: group.0.into(),
            number: (*number).into(),
            extent: page.at.extent.0.into(),
            page: page.at.page.into(),
            checksum: page.checksum.into(),
        };
        body.extend_from_slice(row.as_bytes());
    }
    for state in &root.extents {
        let row = ExtentRow {
            slot: state.slot.0.into(),
            sequence: state.sequence.0.into(),
            live_bytes: state.live_bytes.into(),
            written_pages: state.written_pages.into(),
            reserved: 0.into(),
        };
        body.extend_from_slice(row.as_bytes());
    }
    for state in fillings {
        let row = FillingRow {
            group: state.group.0.into(),
            filled: state.kept.filled.into(),
            filled_since: state.kept.filled_since.0.into(),
            since: state.kept.since.0.into(),
        };
        body.extend_from_slice(row.as_bytes());
    }
    seal(identity, IndexPageKind::Root, GroupId(0), 0, &body)
}

/// A root; `None` if it does not check.
pub fn decode_root(identity: &IndexIdentity, bytes: &[u8]) -> Option<CheckpointRoot> {
    let body = open(identity, IndexPageKind::Root, GroupId(0), 0, bytes)?;
    let (head, rest) = RootHead::read_from_prefix(body).ok()?;
    let (groups, rest) = rows::<GroupRow>(rest, head.groups.get())?;
    let (directories, rest) = rows::<DirectoryRow>(rest, head.directories.get())?;
    let (extents, rest) = rows::<ExtentRow>(rest, head.extents.get())?;
    let (fillings, rest) = rows::<FillingRow>(rest, head.fillings.get())?;
    if !rest.is_empty() {
        return None;
    }
    let kept: BTreeMap<u32, Kept> = fillings.iter().map(kept_of).collect();
    let group = |row: &GroupRow| GroupState {
        group: GroupId(row.group.get()),
        applied: Lsn(row.applied.get()),
        complete: row.complete.get() != 0,
        kept: kept.get(&row.group.get()).copied().unwrap_or_default(),
    };
    let directory = |row: &DirectoryRow| {
        let extent = ExtentSequence(row.extent.get());
        let at = Location {
            extent,
            page: row.page.get(),
            pages: 1,
        };
        let checksum = row.checksum.get();
        let page = PageRef { at, checksum };
        (GroupId(row.group.get()), row.number.get(), page)
    };
    let extent = |row: &ExtentRow| ExtentState {
        slot: ExtentSlot(row.slot.get()),
        sequence: ExtentSequence(row.sequence.get()),
        live_bytes: row.live_bytes.get(),
        written_pages: row.written_pages.get(),
    };
    Some(CheckpointRoot {
        number: head.number.get(),
        replay_from: LogPoint {
            extent: ExtentSequence(head.replay_extent.get()),
            page: head.replay_page.get(),
        },
        replay_frame: head.replay_frame.get(),
        local_from_frame: head.local_from_frame.get(),
        announced: Lsn(head.announced.get()),
        groups: groups.iter().map(group).collect(),
        directories: directories.iter().map(directory).collect(),
        extents: extents.iter().map(extent).collect(),
    })
}

fn kept_of(row: &FillingRow) -> (u32, Kept) {
    let kept = Kept {
        since: Lsn(row.since.get()),
        filled: row.filled.get(),
        filled_since: Lsn(row.filled_since.get()),
    };
    (row.group.get(), kept)
}

fn rows<T: FromBytes + Immutable + KnownLayout + Unaligned>(
    bytes: &[u8],
    count: u32,
) -> Option<(&[T], &[u8])> {
    <[T]>::ref_from_prefix_with_elems(bytes, count as usize).ok()
}
