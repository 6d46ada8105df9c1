//! What is done to the disk: a sequence of writes and discards that follows from a seed. Every
//! sector carries the number of its write.

use crate::files::SECTOR_BYTES;
use crate::random::Random;

/// Bytes of the disk.
pub(crate) const DISK_BYTES: u64 = 4 << 20;
/// Bytes of a protection group, and of a unit that some discards take.
pub(crate) const GROUP_BYTES: u64 = 1 << 20;
/// Half of all that happens hits these first bytes, so that blocks have many versions.
const HOT_BYTES: u64 = 256 << 10;

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They are written.
    Write,
    /// They are written by a request that is answered when it is durable (O_DSYNC).
    DurableWrite,
    /// They are zeros from now on.
    Discard,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Its number, from 1.
    pub(crate) sequence: u64,
    /// What it does.
    pub(crate) kind: Kind,
    /// In bytes, a multiple of a sector.
    pub(crate) offset: u64,
    /// In bytes, a multiple of a sector.
    pub(crate) length: u64,
    /// An fsync follows.
    pub(crate) flush: bool,
}

impl Operation {
    /// Operation `sequence` under a seed.
    pub(crate) fn of(seed: u64, sequence: u64) -> Operation {
        let mut random = Random::of(seed, sequence);
        let (grain, most) = match random.below(16) {
            0..8 => (4096, 4),
            8..11 => (512, 12),
            11..14 => (16384, 4),
            14 => (16384, 16),
            _ => (65536, 16),
        };
        let length = grain * (1 + random.below(most));
        let area = if random.one_in(2) {
            HOT_BYTES
        } else {
            DISK_BYTES
        };
        let (kind, length) = match random.below(16) {
            0 => (Kind::Discard, length),
            1 => (Kind::DurableWrite, length),
            2 if random.one_in(8) => (Kind::Discard, GROUP_BYTES),
            _ => (Kind::Write, length),
        };
        let places = area.saturating_sub(length) / grain + 1;
        Operation {
            sequence,
            kind,
            offset: grain * random.below(places),
            length,
            flush: random.one_in(6),
        }
    }

    /// The sectors that it covers.
    pub(crate) fn sectors(&self) -> std::ops::Range<usize> {
        let first = self.offset as usize / SECTOR_BYTES;
        first..first + self.length as usize / SECTOR_BYTES
    }

    /// What it makes of the disk's bytes in its range.
    pub(crate) fn bytes(&self, seed: u64) -> Vec<u8> {
        if self.kind == Kind::Discard {
            return vec![0; self.length as usize];
        }
        let sectors = self.sectors();
        let sector = |sector: usize| sector_bytes(seed, self.sequence, sector);
        sectors.flat_map(sector).collect()
    }
}

/// A sector as a write leaves it: its number, then bytes that belong to it and to this place.
pub(crate) fn sector_bytes(seed: u64, sequence: u64, sector: usize) -> [u8; SECTOR_BYTES] {
    let mut random = Random::of(seed.rotate_left(17) ^ sequence, sector as u64);
    let mut bytes = [0; SECTOR_BYTES];
    let (words, _) = bytes.as_chunks_mut::<8>();
    words[0] = sequence.to_le_bytes();
    for word in &mut words[1..] {
        *word = random.next().to_le_bytes();
    }
    bytes
}

/// The number of the write that a sector says that it is of.
pub(crate) fn sequence_of(sector: &[u8]) -> u64 {
    let word = sector[..8].try_into().expect("eight bytes");
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_lies_in_the_disk() {
        for sequence in 1..20_000 {
            let operation = Operation::of(3, sequence);
            assert!(operation.length > 0);
            assert!(
                operation.offset + operation.length <= DISK_BYTES,
                "{operation:?}"
            );
            assert_eq!(operation, Operation::of(3, sequence));
        }
    }

    #[test]
    fn every_kind_occurs() {
        for kind in [Kind::Write, Kind::DurableWrite, Kind::Discard] {
            assert!((1..200).any(|sequence| Operation::of(5, sequence).kind == kind));
        }
    }
}
