//! A row of a frame's record table: one redo record, or one of a node's own (local) records.

use crate::geometry::{BLOCK_BYTES, PAGES_PER_BLOCK};
use crate::ids::{GroupBlock, GroupId};
use crate::lsn::Lsn;
use crate::page::PAGE_BYTES;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a row.
pub const RECORD_BYTES: usize = 72;

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// The whole block: ends the block's chain.
    Image = 1,
    /// Bytes `start..end` of the block.
    Delta = 2,
    /// The run of `blocks` blocks reads as zeros.
    Discard = 3,
    /// Local: the group's segment is incomplete from here on, and will be complete as of `lsn`. All of
    /// it has everything up to `previous_in_group`; before `block`, up to `previous_in_volume`.
    Incomplete = 4,
    /// Local: the group's segment is complete as of `lsn`.
    Complete = 5,
    /// Local: a leaf page of the block index; `block` is the leaf's number.
    IndexLeaf = 6,
    /// Local: a directory page of the block index; `block` is its number.
    IndexDirectory = 7,
    /// Local: a part of a checkpoint root; `block` is the part's number.
    CheckpointRoot = 8,
    /// Local: the blocks before `block` have been copied to the group's segment as of `lsn`.
    Filled = 9,
    /// Local: the node has nothing of the group any more.
    Released = 10,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<RecordKind> {
        use RecordKind::{
            CheckpointRoot, Complete, Delta, Discard, Filled, Image, Incomplete, IndexDirectory,
            IndexLeaf, Released,
        };
        const ALL: [RecordKind; 10] = [
            Image,
            Delta,
            Discard,
            Incomplete,
            Complete,
            IndexLeaf,
            IndexDirectory,
            CheckpointRoot,
            Filled,
            Released,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Whether the record changes blocks of a group.
    pub fn changes_blocks(self) -> bool {
        matches!(
            self,
            RecordKind::Image | RecordKind::Delta | RecordKind::Discard
        )
    }
}

/// Bits of a record.
pub mod flags {
    /// Last record of its mini-transaction: a consistency point (CPL).
    pub const CONSISTENCY_POINT: u8 = 1;
    /// Written by the node for itself (moved, folded or copied from a peer): no part of the
    /// group's chain, at or below the VDL. Every record that changes no blocks has it.
    pub const LOCAL: u8 = 2;
}

/// A record without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Number of the record; of a local one, the newest record that it stands for.
    pub lsn: Lsn,
    /// Backlink: the record before it in the volume.
    pub previous_in_volume: Lsn,
    /// Backlink: the record before it in the group.
    pub previous_in_group: Lsn,
    /// Backlink: the record before it of the same block that the writer still knew; none else.
    pub previous_of_block: Lsn,
    /// Group that it changes.
    pub group: GroupId,
    /// First block that it changes.
    pub block: GroupBlock,
    /// Blocks of a discard; 1 of all others.
    pub blocks: u32,
    /// First page of its payload among the frame's payload pages.
    pub payload_page: u32,
    /// Pages of payload.
    pub payload_pages: u16,
    /// First byte of the block that it changes.
    pub start: u16,
    /// End of the bytes that it changes.
    pub end: u16,
    /// What it does.
    pub kind: RecordKind,
    /// See [`flags`].
    pub flags: u8,
    /// Images and deltas: a checksum for each page; other payloads: one over all of it, first.
    pub checksums: [u32; PAGES_PER_BLOCK],
}

impl RecordHeader {
    /// A record without payload, backlinks and flags.
    pub fn bare(kind: RecordKind, lsn: Lsn, group: GroupId, block: GroupBlock) -> RecordHeader {
        RecordHeader {
            lsn,
            previous_in_volume: Lsn::NONE,
            previous_in_group: Lsn::NONE,
            previous_of_block: Lsn::NONE,
            group,
            block,
            blocks: 1,
            payload_page: 0,
            payload_pages: 0,
            start: 0,
            end: 0,
            kind,
            flags: 0,
            checksums: [0; PAGES_PER_BLOCK],
        }
    }

    /// Whether it ends a mini-transaction.
    pub fn is_consistency_point(&self) -> bool {
        self.flags & flags::CONSISTENCY_POINT != 0
    }

    /// Whether the node wrote it for itself.
    pub fn is_local(&self) -> bool {
        self.flags & flags::LOCAL != 0
    }
}

/// The row as it lies in the table.
///
/// ```text
/// at  bytes  field
///  0      8  LSN
///  8      8  previous LSN in the volume
/// 16      8  previous LSN in the group
/// 24      8  previous LSN of the block
/// 32      4  group
/// 36      4  block in the group
/// 40      4  blocks (discard)
/// 44      4  first payload page
/// 48      2  payload pages
/// 50      2  first changed byte of the block
/// 52      2  end of the changed bytes
/// 54      1  kind
/// 55      1  flags
/// 56     16  four page checksums
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RecordRow {
    lsn: U64,
    previous_in_volume: U64,
    previous_in_group: U64,
    previous_of_block: U64,
    group: U32,
    block: U32,
    blocks: U32,
    payload_page: U32,
    payload_pages: U16,
    start: U16,
    end: U16,
    kind: u8,
    flags: u8,
    checksums: [U32; PAGES_PER_BLOCK],
}

const _: () = assert!(size_of::<RecordRow>() == RECORD_BYTES);

impl From<&RecordHeader> for RecordRow {
    fn from(header: &RecordHeader) -> RecordRow {
        RecordRow {
            lsn: header.lsn.0.into(),
            previous_in_volume: header.previous_in_volume.0.into(),
            previous_in_group: header.previous_in_group.0.into(),
            previous_of_block: header.previous_of_block.0.into(),
            group: header.group.0.into(),
            block: header.block.0.into(),
            blocks: header.blocks.into(),
            payload_page: header.payload_page.into(),
            payload_pages: header.payload_pages.into(),
            start: header.start.into(),
            end: header.end.into(),
            kind: header.kind as u8,
            flags: header.flags,
            checksums: header.checksums.map(U32::from),
        }
    }
}

impl RecordRow {
    /// The record, if its fields agree with each other and with a frame of `payload_pages`.
    pub fn decode(&self, payload_pages: u32) -> Option<RecordHeader> {
        let header = RecordHeader {
            lsn: Lsn(self.lsn.get()),
            previous_in_volume: Lsn(self.previous_in_volume.get()),
            previous_in_group: Lsn(self.previous_in_group.get()),
            previous_of_block: Lsn(self.previous_of_block.get()),
            group: GroupId(self.group.get()),
            block: GroupBlock(self.block.get()),
            blocks: self.blocks.get(),
            payload_page: self.payload_page.get(),
            payload_pages: self.payload_pages.get(),
            start: self.start.get(),
            end: self.end.get(),
            kind: RecordKind::from_byte(self.kind)?,
            flags: self.flags,
            checksums: self.checksums.map(U32::get),
        };
        (header.fits(payload_pages)).then_some(header)
    }
}

impl RecordHeader {
    /// Whether its fields agree with each other, in a frame with so many pages of payload.
    pub(super) fn fits(&self, payload_pages: u32) -> bool {
        let payload_end = self.payload_page.checked_add(u32::from(self.payload_pages));
        let block_end = self.block.0.checked_add(self.blocks);
        let pages = usize::from(self.payload_pages);
        let range = usize::from(self.start)..usize::from(self.end);
        let shape_fits = match self.kind {
            RecordKind::Image => range == (0..BLOCK_BYTES) && pages == PAGES_PER_BLOCK,
            RecordKind::Delta => {
                range.start < range.end
                    && range.end <= BLOCK_BYTES
                    && pages == range.end.div_ceil(PAGE_BYTES) - range.start / PAGE_BYTES
            }
            RecordKind::Discard => pages == 0 && self.blocks > 0,
            RecordKind::Incomplete
            | RecordKind::Complete
            | RecordKind::Filled
            | RecordKind::Released => pages == 0,
            _ => pages > 0,
        };
        let single = self.kind == RecordKind::Discard || self.blocks == 1;
        let numbered = !self.kind.changes_blocks() || self.lsn.is_some();
        let backwards = self.is_local()
            || !self.kind.changes_blocks()
            || (self.previous_in_volume < self.lsn
                && self.previous_in_group <= self.previous_in_volume
                && self.previous_of_block < self.lsn);
        shape_fits
            && single
            && numbered
            && backwards
            && payload_end.is_some_and(|end| end <= payload_pages)
            && block_end.is_some()
    }
}
