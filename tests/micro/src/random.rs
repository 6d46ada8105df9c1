//! Numbers from a seed (SplitMix64): every run of a benchmark works on the same.

use redoubt_volume::io::faults;
use redoubt_volume::page::{PageBuf, Pages};

/// A generator.
pub(crate) struct Random(faults::Random);

impl Random {
    /// The generator of a seed.
    pub(crate) fn new(seed: u64) -> Random {
        Random(faults::Random(seed))
    }

    /// Pages in which no two bytes have anything to do with each other.
    pub(crate) fn pages(&mut self, count: usize) -> Pages {
        let mut buffer = PageBuf::zeroed(count);
        let (words, _) = buffer.bytes_mut().as_chunks_mut();
        words
            .iter_mut()
            .for_each(|word| *word = self.0.draw().to_le_bytes());
        buffer.share()
    }

    /// The numbers below `end`, each once, in any order.
    pub(crate) fn shuffled(&mut self, end: u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..end).collect();
        for unplaced in (2..=numbers.len()).rev() {
            let chosen = self.0.below(unplaced as u64);
            numbers.swap(unplaced - 1, chosen as usize);
        }
        numbers
    }
}
