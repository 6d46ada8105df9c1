//! Right checksums for changed bytes, so that a mutation gets behind the first line of defence.
//! The places are those of `docs/format.md`; what the bytes claim of their own lengths is taken
//! as they claim it, as far as it fits.

use redoubt_volume::format::checksum::{checksum, page_checksums};
use redoubt_volume::format::log_frame::{FRAME_HEADER_BYTES, header_pages};
use redoubt_volume::format::redo_record::RECORD_BYTES;
use redoubt_volume::page::PAGE_BYTES;

/// Bytes of a superblock's head.
const SUPERBLOCK_HEAD_BYTES: usize = 128;
/// Bytes of an index page's head.
const INDEX_HEAD_BYTES: usize = 64;

/// The number of four bytes at a place; 0 where they are not.
fn number_at(bytes: &[u8], at: usize) -> usize {
    let number = bytes.get(at..).and_then(<[u8]>::first_chunk);
    number.map_or(0, |number| u32::from_le_bytes(*number) as usize)
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&number.to_le_bytes());
    }
}

/// Writes the checksum of the first `covered` bytes, its own field as zero, into the field.
fn seal(bytes: &mut [u8], field: usize, covered: usize) {
    put(bytes, field, 0);
    let covered = covered.min(bytes.len());
    let sum = checksum(&bytes[..covered]);
    put(bytes, field, sum);
}

/// A slot of a superblock.
pub fn superblock(slot: &mut [u8]) {
    let covered = superblock_bytes(slot);
    seal(slot, 124, covered);
}

/// Bytes of a slot that are in use, as it claims.
pub fn superblock_bytes(slot: &[u8]) -> usize {
    SUPERBLOCK_HEAD_BYTES.saturating_add(number_at(slot, 12))
}

/// A leaf, a directory or a root.
pub fn index_page(bytes: &mut [u8]) {
    let body = number_at(bytes, 48);
    seal(bytes, 60, INDEX_HEAD_BYTES.saturating_add(body));
}

/// A frame with its payload: index pages in it, then the records, then the header.
pub fn frame(bytes: &mut [u8]) {
    let records = number_at(bytes, 12).min(bytes.len() / RECORD_BYTES);
    let payload_at = (header_pages(records) * PAGE_BYTES).min(bytes.len());
    let (header, payload) = bytes.split_at_mut(payload_at);
    let table_end = (FRAME_HEADER_BYTES + records * RECORD_BYTES).min(header.len());
    if let Some(table) = header.get_mut(FRAME_HEADER_BYTES..table_end) {
        let (rows, _) = table.as_chunks_mut::<RECORD_BYTES>();
        rows.iter_mut().for_each(|row| record(row, payload));
        let sum = checksum(table);
        put(header, 92, sum);
    }
    seal(header, 124, FRAME_HEADER_BYTES);
}

/// A record's row, and the index page that is its payload.
fn record(row: &mut [u8; RECORD_BYTES], payload: &mut [u8]) {
    let first = number_at(row, 44).saturating_mul(PAGE_BYTES);
    let pages = usize::from(u16::from_le_bytes([row[48], row[49]]));
    let Some(payload) = payload.get_mut(first..first.saturating_add(pages * PAGE_BYTES)) else {
        return;
    };
    let sums = match row[54] {
        1 | 2 => page_checksums(payload),
        6.. => {
            index_page(payload);
            [checksum(payload), 0, 0, 0]
        }
        _ => [checksum(payload), 0, 0, 0],
    };
    for (index, sum) in sums.into_iter().enumerate() {
        put(row, 56 + 4 * index, sum);
    }
}
