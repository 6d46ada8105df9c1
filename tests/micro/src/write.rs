//! A write as the writer makes it: a record and its payload.

use redoubt_volume::format::checksum::page_checksums;
use redoubt_volume::format::redo_record::{RecordHeader, RecordKind, flags};
use redoubt_volume::geometry::{BLOCK_BYTES, PAGES_PER_BLOCK};
use redoubt_volume::ids::{GroupBlock, GroupId};
use redoubt_volume::lsn::Lsn;
use redoubt_volume::page::{PAGE_BYTES, Pages};

/// The group of all writes.
pub(crate) const GROUP: GroupId = GroupId(0);

/// Blocks of the group that a database writes in random order: 2 GiB.
pub(crate) const BLOCKS: u32 = 131_072;

/// A write of some pages of the group, from a page on, all in one block. It is a mini-transaction
/// of its own, and the record before it is one of the same group.
pub(crate) fn write(lsn: Lsn, page: usize, payload: Pages) -> (RecordHeader, Pages) {
    let block = GroupBlock((page / PAGES_PER_BLOCK) as u32);
    let start = page % PAGES_PER_BLOCK * PAGE_BYTES;
    let end = start + payload.bytes().len();
    let kind = if end - start == BLOCK_BYTES {
        RecordKind::Image
    } else {
        RecordKind::Delta
    };
    let mut record = RecordHeader::bare(kind, lsn, GROUP, block);
    record.previous_in_volume = lsn.previous();
    record.previous_in_group = lsn.previous();
    record.start = start as u16;
    record.end = end as u16;
    record.flags = flags::CONSISTENCY_POINT;
    record.checksums = page_checksums(payload.bytes());
    (record, payload)
}
