//! The checksums of a block's four pages: what each byte costs when it is written, read, scrubbed
//! or found again at an open.

use crate::random::Random;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use redoubt_volume::format::checksum::page_checksums;
use redoubt_volume::geometry::PAGES_PER_BLOCK;
use redoubt_volume::page::PAGE_BYTES;

#[divan::bench]
fn checksums_of_a_block(bencher: Bencher) {
    let block = Random::new(16).pages(PAGES_PER_BLOCK);
    let expected: Vec<u32> = block.bytes().chunks(PAGE_BYTES).map(bit_by_bit).collect();
    assert_eq!(page_checksums(block.bytes()).to_vec(), expected);
    bencher
        .counter(BytesCount::of_slice(block.bytes()))
        .bench(|| page_checksums(black_box(block.bytes())));
}

/// CRC-32 (ISO-HDLC) by its definition.
fn bit_by_bit(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for byte in bytes {
        remainder ^= u32::from(*byte);
        for _ in 0..8 {
            let divisor = if remainder & 1 == 1 { 0xedb8_8320 } else { 0 };
            remainder = (remainder >> 1) ^ divisor;
        }
    }
    !remainder
}
