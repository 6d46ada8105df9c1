//! Decoders fed with anything: they refuse, but never panic, and never allocate more than the
//! input justifies. Bytes whose checksums were made right get behind the first line of defence.

use super::allocation::decode_within_bounds;
use super::examples::{self, GROUP, NUMBER};
use proptest::collection::vec;
use proptest::prelude::*;
use redoubt_volume::format::checkpoint_root::{decode_root, encode_root};
use redoubt_volume::format::checksum::checksum;
use redoubt_volume::format::index_page::{
    decode_directory, decode_leaf, encode_directory, encode_leaf, peek,
};
use redoubt_volume::format::log_frame::{DecodedFrame, FRAME_HEADER_BYTES};
use redoubt_volume::format::redo_record::{RECORD_BYTES, RecordRow};
use redoubt_volume::format::superblock::{SLOT_BYTES, Superblock};
use redoubt_volume::io::address_book::{AddressBook, BOOK_NAME};
use zerocopy::FromBytes;

/// Gives the bytes to every decoder.
fn decode_all(bytes: &[u8]) {
    let identity = examples::index_identity();
    let frame = decode_within_bounds(bytes, DecodedFrame::decode);
    if let Ok(frame) = frame {
        frame.payload_checks(bytes);
        frame.payload_checks(&[]);
    }
    let _ = decode_within_bounds(bytes, Superblock::decode);
    let _ = decode_within_bounds(bytes, Superblock::newest);
    decode_within_bounds(bytes, |bytes| decode_leaf(&identity, GROUP, NUMBER, bytes));
    decode_within_bounds(bytes, |bytes| {
        decode_directory(&identity, GROUP, NUMBER, bytes)
    });
    decode_within_bounds(bytes, |bytes| decode_root(&identity, bytes));
    decode_within_bounds(bytes, peek);
}

/// Overwrites some bytes near the front, where the counts are.
fn overwrite(bytes: &mut [u8], changes: &[(usize, u8)]) {
    for (at, byte) in changes {
        let at = at % bytes.len().min(512);
        bytes[at] = *byte;
    }
}

/// Writes the checksum of `0..end`, with its own field as zero, into the field.
fn seal(bytes: &mut [u8], field: usize, end: usize) {
    bytes[field..field + 4].fill(0);
    let sum = checksum(&bytes[..end.min(bytes.len())]);
    bytes[field..field + 4].copy_from_slice(&sum.to_le_bytes());
}

fn number_at(bytes: &[u8], at: usize) -> usize {
    let (number, _) = bytes[at..].split_first_chunk().expect("four bytes");
    u32::from_le_bytes(*number) as usize
}

fn changes() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let byte = prop_oneof![Just(0), Just(1), Just(0x7f), Just(0xff), any::<u8>()];
    vec((any::<usize>(), byte), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn anything(bytes in vec(any::<u8>(), 0..10_000)) {
        decode_all(&bytes);
    }

    #[test]
    fn a_record_row(bytes in any::<[u8; RECORD_BYTES - 17]>(), kind in 0..12_u8, pages in any::<u32>()) {
        let mut row = [0; RECORD_BYTES];
        row[..bytes.len()].copy_from_slice(&bytes);
        row[54] = kind;
        let record = RecordRow::read_from_bytes(&row).unwrap().decode(pages);
        if let Some(record) = record {
            prop_assert!(record.payload_page + u32::from(record.payload_pages) <= pages);
            prop_assert!(record.block.0.checked_add(record.blocks).is_some());
            prop_assert!(!record.kind.changes_blocks() || record.lsn.is_some());
        }
    }

    #[test]
    fn a_frame_with_right_checksums(changes in changes(), cut in 0..8192_usize) {
        let header = examples::frame().header_for(&examples::frame_identity());
        let mut bytes = header.bytes().to_vec();
        overwrite(&mut bytes, &changes);
        let table = number_at(&bytes, 12).saturating_mul(RECORD_BYTES);
        let table = FRAME_HEADER_BYTES..FRAME_HEADER_BYTES.saturating_add(table).min(bytes.len());
        let sum = checksum(&bytes[table]);
        bytes[92..96].copy_from_slice(&sum.to_le_bytes());
        seal(&mut bytes, 124, FRAME_HEADER_BYTES);
        decode_all(&bytes);
        decode_all(&bytes[..cut.min(bytes.len())]);
    }

    #[test]
    fn a_superblock_with_a_right_checksum(changes in changes(), is_moving: bool, cut in 0..SLOT_BYTES) {
        let superblock = match is_moving {
            true => examples::superblock_of_two_tables(),
            false => examples::superblock(),
        };
        let mut bytes = superblock.encode().bytes().to_vec();
        overwrite(&mut bytes, &changes);
        let end = number_at(&bytes, 12).saturating_add(128);
        seal(&mut bytes, 124, end);
        decode_all(&bytes);
        decode_all(&bytes[..cut]);
    }

    #[test]
    fn an_index_page_with_a_right_checksum(changes in changes(), which in 0..3, cut in 0..4096_usize) {
        let identity = examples::index_identity();
        let pages = match which {
            0 => encode_leaf(&identity, GROUP, NUMBER, &examples::fragments()),
            1 => encode_directory(&identity, GROUP, NUMBER, &examples::directory()),
            _ => encode_root(&identity, &examples::root()),
        };
        let mut bytes = pages.bytes().to_vec();
        overwrite(&mut bytes, &changes);
        let end = number_at(&bytes, 48).saturating_add(64);
        seal(&mut bytes, 60, end);
        decode_all(&bytes);
        decode_all(&bytes[..cut]);
    }

    #[test]
    fn an_address_book(lines in vec("[ -~]{0,40}|id [0-9a-f]{32}|node [0-9] [a-d] [0-9a-f]{1,20} .{0,9}", 0..9)) {
        let temp = tempfile::tempdir().unwrap();
        let text = format!("redoubt-volume 1\n{}\n", lines.join("\n"));
        std::fs::write(temp.path().join(BOOK_NAME), text).unwrap();
        let _ = AddressBook::read(temp.path());
    }
}
