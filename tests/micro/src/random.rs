//! Numbers from a seed (SplitMix64): every run of a benchmark works on the same.

use redoubt_volume::page::{PageBuf, Pages};

/// A generator.
pub(crate) struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Pages in which no two bytes have anything to do with each other.
    pub(crate) fn pages(&mut self, count: usize) -> Pages {
        let mut buffer = PageBuf::zeroed(count);
        let (words, _) = buffer.bytes_mut().as_chunks_mut();
        words
            .iter_mut()
            .for_each(|word| *word = self.next().to_le_bytes());
        buffer.share()
    }

    /// The numbers below `end`, each once, in any order.
    pub(crate) fn shuffled(&mut self, end: u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..end).collect();
        for unplaced in (2..=numbers.len()).rev() {
            let chosen = self.next() % unplaced as u64;
            numbers.swap(unplaced - 1, chosen as usize);
        }
        numbers
    }
}
