//! What the requests of a run are like: their kinds, lengths and places.

use crate::random::Random;
use redoubt_volume::geometry::BLOCK_BYTES;

/// What kinds of requests a run makes, in parts of a hundred.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Writes.
    pub write: u64,
    /// Discards.
    pub discard: u64,
    /// Reads.
    pub read: u64,
    /// Flushes.
    pub flush: u64,
    /// Of the writes: how many must be durable when they are answered.
    pub durable: u64,
    /// Blocks that are hot: most requests go to so many of them.
    pub hot_blocks: u64,
    /// How long writes and reads are.
    pub sizes: Sizes,
}

/// How long the requests of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Anything.
    Any,
    /// Small ones.
    Small,
    /// Mostly parts of a page, at any byte of a few blocks: the chains of changes of one block
    /// become so long that nodes fold them.
    Tiny,
}

impl Sizes {
    fn draw(random: &mut Random) -> Sizes {
        match random.below(10) {
            0 => Sizes::Small,
            1 => Sizes::Tiny,
            _ => Sizes::Any,
        }
    }

    /// A length in bytes.
    fn length(self, random: &mut Random) -> usize {
        let kinds = match self {
            Sizes::Any => 0..32,
            Sizes::Small => 14..28,
            Sizes::Tiny if !random.one_in(16) => 20..23,
            Sizes::Tiny => 10..18,
        };
        match random.between(kinds.start, kinds.end) {
            0..14 => 16_384,
            14..20 => 4096,
            20..23 => 1 + random.index(700),
            23..25 => 1 + random.index(40_000),
            25..28 => 16_384 * (1 + random.index(4)),
            28..31 => 512 * (1 + random.index(16)),
            _ => 16_384 * (1 + random.index(20)),
        }
    }
}

impl Mix {
    /// A mix for a run.
    pub fn draw(random: &mut Random) -> Mix {
        let sizes = Sizes::draw(random);
        let hot_blocks = match sizes {
            Sizes::Tiny => random.between(1, 5),
            _ => random.between(2, 100),
        };
        Mix {
            write: random.between(30, 70),
            discard: random.below(12),
            read: random.between(5, 30),
            flush: random.between(1, 15),
            durable: random.below(20),
            hot_blocks,
            sizes,
        }
    }

    /// Bytes from the disk's start on that are hot.
    pub fn hot_bytes(&self, disk_bytes: u64) -> usize {
        (self.hot_blocks * BLOCK_BYTES as u64).min(disk_bytes) as usize
    }

    /// A range as a user of a disk would choose it: mostly whole blocks or pages, mostly hot:
    /// its first byte and its length.
    pub fn range(&self, disk_bytes: u64, random: &mut Random) -> (u64, usize) {
        let length = self.sizes.length(random);
        let length = (length as u64).min(disk_bytes);
        let span = if random.one_in(5) {
            disk_bytes
        } else {
            (self.hot_blocks * BLOCK_BYTES as u64).clamp(length, disk_bytes)
        };
        let mut offset = random.below(span - length + 1);
        if self.sizes != Sizes::Tiny && !random.one_in(5) {
            let unit = if length.is_multiple_of(16_384) {
                16_384
            } else {
                4096
            };
            offset -= offset % unit;
        }
        (offset, length as usize)
    }

    /// A range to discard: now and then much of the disk.
    pub fn discard_range(&self, disk_bytes: u64, random: &mut Random) -> (u64, usize) {
        match random.below(16) {
            0 => (0, disk_bytes as usize),
            1 => {
                let half = disk_bytes / 2;
                (half, (disk_bytes - half) as usize)
            }
            2..8 if self.sizes == Sizes::Tiny => {
                let block = random.below(self.hot_blocks) * BLOCK_BYTES as u64;
                (block, BLOCK_BYTES)
            }
            _ => self.range(disk_bytes, random),
        }
    }
}
