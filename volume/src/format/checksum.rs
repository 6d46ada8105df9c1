//! The one checksum function: CRC-32 (ISO-HDLC) by crc32fast.

use crate::page::PAGE_BYTES;

/// Checksum of some bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Checksums of the first pages of a payload of at most four pages; the rest are zero.
pub fn page_checksums(bytes: &[u8]) -> [u32; 4] {
    let mut sums = [0; 4];
    for (sum, page) in sums.iter_mut().zip(bytes.chunks(PAGE_BYTES)) {
        *sum = checksum(page);
    }
    sums
}
