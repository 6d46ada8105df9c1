//! A valid layout with one bit turned is never taken for a valid one: every bit of what a
//! checksum covers is tried.

use super::examples::{self, GROUP, NUMBER};
use redoubt_volume::format::checkpoint_root::{decode_root, encode_root};
use redoubt_volume::format::index_page::{
    IndexIdentity, decode_directory, decode_leaf, encode_directory, encode_leaf,
};
use redoubt_volume::format::log_frame::{DecodedFrame, FRAME_HEADER_BYTES};
use redoubt_volume::format::redo_record::RECORD_BYTES;
use redoubt_volume::format::superblock::{Superblock, SuperblockError};
use redoubt_volume::ids::{GroupId, Incarnation, NodeId, VolumeId};
use redoubt_volume::page::PAGE_BYTES;

/// Turns each bit of the first `covered` bytes; `accepts` must say no to all of them, and yes to
/// bytes that differ only behind them.
fn assert_covered(bytes: &[u8], covered: usize, accepts: impl Fn(&[u8]) -> bool) {
    let mut bytes = bytes.to_vec();
    for bit in 0..covered * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepts(&bytes), "bit {} of byte {}", bit % 8, bit / 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(accepts(&bytes));
    if let Some(padding) = bytes.get_mut(covered) {
        *padding ^= 1;
        assert!(accepts(&bytes), "byte {covered} is padding");
    }
}

#[test]
fn frame_header_and_table() {
    let frame = examples::frame();
    let header = frame.header_for(&examples::frame_identity());
    let covered = FRAME_HEADER_BYTES + frame.records.len() * RECORD_BYTES;
    assert_covered(header.bytes(), covered, |bytes| {
        DecodedFrame::decode(bytes).is_ok()
    });
}

#[test]
fn frame_payload() {
    let frame = examples::frame();
    let header = frame.header_for(&examples::frame_identity());
    let decoded = DecodedFrame::decode(header.bytes()).unwrap();
    let payload: Vec<u8> = frame
        .payload
        .iter()
        .flat_map(|pages| pages.bytes())
        .copied()
        .collect();
    assert_covered(&payload, payload.len(), |bytes| {
        decoded.payload_checks(bytes)
    });
    assert!(!decoded.payload_checks(&payload[..payload.len() - PAGE_BYTES]));
}

#[test]
fn superblock() {
    let of_one_table = 128 + 6 * 16 + 16 + 16;
    for (superblock, covered) in [
        (examples::superblock(), of_one_table),
        (examples::superblock_of_two_tables(), of_one_table + 4 * 16),
    ] {
        let slot = superblock.encode();
        assert_covered(slot.bytes(), covered, |bytes| {
            Superblock::decode(bytes).is_ok()
        });
        assert_covered(slot.bytes(), covered, |bytes| {
            Superblock::newest(bytes).is_ok()
        });
    }
}

#[test]
fn a_damaged_superblock_is_not_one_of_a_newer_program() {
    const VERSION_AT: usize = 8;
    const CHECKSUM_AT: usize = 124;
    let superblock = examples::superblock();
    let mut slot = superblock.encode().bytes().to_vec();
    slot[VERSION_AT] ^= 4;
    assert_eq!(Superblock::decode(&slot), Err(SuperblockError::Damaged));
    let length = u32::from_le_bytes(slot[12..16].try_into().unwrap()) as usize;
    slot[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
    let sum = crc32fast::hash(&slot[..128 + length]);
    slot[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
    let newer = u16::from(slot[VERSION_AT]);
    assert_eq!(
        Superblock::decode(&slot),
        Err(SuperblockError::Newer(newer))
    );
}

#[test]
fn leaf() {
    let identity = examples::index_identity();
    let pages = encode_leaf(&identity, GROUP, NUMBER, &examples::fragments());
    assert_covered(pages.bytes(), 64 + 40, |bytes| {
        decode_leaf(&identity, GROUP, NUMBER, bytes).is_some()
    });
}

#[test]
fn directory() {
    let identity = examples::index_identity();
    let page = encode_directory(&identity, GROUP, NUMBER, &examples::directory());
    assert_covered(page.bytes(), PAGE_BYTES, |bytes| {
        decode_directory(&identity, GROUP, NUMBER, bytes).is_some()
    });
}

#[test]
fn root() {
    let identity = examples::index_identity();
    let pages = encode_root(&identity, &examples::root());
    assert_covered(pages.bytes(), 64 + 56 + 16 + 20 + 24, |bytes| {
        decode_root(&identity, bytes).is_some()
    });
}

#[test]
fn an_index_page_of_somebody_else_is_refused() {
    let own = examples::index_identity();
    let leaf = encode_leaf(&own, GROUP, NUMBER, &examples::fragments());
    let reads = |identity: IndexIdentity, group, number| {
        decode_leaf(&identity, group, number, leaf.bytes()).is_some()
    };
    let volume = VolumeId([9; 16]);
    let (node, incarnation) = (NodeId(1), Incarnation(1));
    assert!(reads(own, GROUP, NUMBER));
    assert!(!reads(IndexIdentity { volume, ..own }, GROUP, NUMBER));
    assert!(!reads(IndexIdentity { node, ..own }, GROUP, NUMBER));
    assert!(!reads(IndexIdentity { incarnation, ..own }, GROUP, NUMBER));
    assert!(!reads(own, GroupId(GROUP.0 + 1), NUMBER));
    assert!(!reads(own, GROUP, NUMBER + 1));
    assert!(decode_directory(&own, GROUP, NUMBER, leaf.bytes()).is_none());
    assert!(decode_root(&own, leaf.bytes()).is_none());
}
