//! Bytes that can be told from one another, and files read past the page cache.

use nix::libc;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// A small generator of numbers (SplitMix64): the same seed gives the same numbers.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// `length` bytes that depend on the seed and do not compress.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = vec![0; length];
    for word in bytes.chunks_mut(8) {
        word.copy_from_slice(&random.next().to_le_bytes()[..word.len()]);
    }
    bytes
}

/// Calls `use_it` with a zeroed buffer that O_DIRECT takes.
pub(crate) fn aligned<T>(length: usize, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut memory = vec![0; length + 4096];
    let start = memory.as_ptr().align_offset(4096);
    use_it(&mut memory[start..start + length])
}

/// Reads past the page cache: what the volume says now.
pub(crate) fn read_direct(path: &Path, offset: u64, length: usize) -> Vec<u8> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .unwrap();
    aligned(length, |buffer| {
        file.read_exact_at(buffer, offset).unwrap();
        buffer.to_vec()
    })
}
