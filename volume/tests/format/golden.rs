//! The bytes of the fixed values, as they were when the format was fixed. A difference here makes
//! every volume that exists unreadable: the layout's version must then rise.

use super::examples::{self, GROUP, NUMBER};
use super::golden_bytes as golden;
use redoubt_volume::format::checkpoint_root::encode_root;
use redoubt_volume::format::checksum::checksum;
use redoubt_volume::format::index_page::{encode_directory, encode_leaf};
use redoubt_volume::format::superblock::Superblock;

fn hex(bytes: &[u8]) -> String {
    let digits = |chunk: &[u8]| chunk.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes
        .chunks(16)
        .map(digits)
        .collect::<Vec<String>>()
        .join("\n")
}

/// The bytes begin as expected, and all others are zero.
fn assert_bytes(name: &str, bytes: &[u8], expected: &str) {
    let length = expected.split_whitespace().collect::<String>().len() / 2;
    let expected: Vec<&str> = expected.split_whitespace().collect();
    let found = hex(&bytes[..length]);
    assert_eq!(found, expected.join("\n"), "{name} is now\n{found}\n");
    assert!(
        bytes[length..].iter().all(|byte| *byte == 0),
        "{name} is longer"
    );
}

#[test]
fn the_checksum_is_crc_32() {
    assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
}

#[test]
fn frame() {
    let header = examples::frame().header_for(&examples::frame_identity());
    assert_bytes("the frame", header.bytes(), golden::FRAME);
}

#[test]
fn superblock() {
    let slot = examples::superblock().encode();
    assert_bytes("the superblock", slot.bytes(), golden::SUPERBLOCK);
}

#[test]
fn superblock_of_two_tables() {
    let superblock = examples::superblock_of_two_tables();
    let slot = superblock.encode();
    assert_eq!(Superblock::decode(slot.bytes()), Ok(superblock));
    let golden = golden::SUPERBLOCK_OF_TWO_TABLES;
    assert_bytes("the superblock", slot.bytes(), golden);
}

#[test]
fn leaf() {
    let identity = examples::index_identity();
    let pages = encode_leaf(&identity, GROUP, NUMBER, &examples::fragments());
    assert_bytes("the leaf", pages.bytes(), golden::LEAF);
}

#[test]
fn directory() {
    let identity = examples::index_identity();
    let mut page = encode_directory(&identity, GROUP, NUMBER, &examples::directory());
    let last = page.page_count() * 4096 - 12;
    assert_eq!(hex(&page.bytes()[last..]), golden::DIRECTORY_LAST_ROW);
    page.bytes_mut()[last..].fill(0);
    assert_bytes("the directory", page.bytes(), golden::DIRECTORY);
}

#[test]
fn root() {
    let pages = encode_root(&examples::index_identity(), &examples::root());
    assert_bytes("the root", pages.bytes(), golden::ROOT);
}
