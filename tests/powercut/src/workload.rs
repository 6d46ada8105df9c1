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

/// What kinds of operations a recording has, and how many of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// All kinds and sizes.
    Mixed,
    /// Small writes to few places, most of them made durable at once.
    Database,
    /// Nearly as many discards as writes.
    Trims,
    /// Large writes, rarely made durable.
    Stream,
}

impl Workload {
    /// The workload of a seed: recordings with seeds in a row have them in turn.
    pub(crate) fn of(seed: u64) -> Workload {
        match seed % 4 {
            1 => Workload::Mixed,
            2 => Workload::Database,
            3 => Workload::Trims,
            _ => Workload::Stream,
        }
    }

    /// One word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Mixed => "mixed",
            Workload::Database => "database",
            Workload::Trims => "trims",
            Workload::Stream => "stream",
        }
    }

    /// Operations of a session, such that recordings have about the same size.
    pub(crate) fn operations(self) -> u64 {
        match self {
            Workload::Mixed | Workload::Trims => 260,
            Workload::Database => 400,
            Workload::Stream => 100,
        }
    }

    /// What offset and length are multiples of, and the length of an operation; in bytes.
    fn size(self, random: &mut Random) -> (u64, u64) {
        let (grain, most) = match (self, random.below(16)) {
            (Workload::Database, 0..4) => (512, 8),
            (Workload::Database, _) => (4096, 4),
            (Workload::Stream, _) => (16384, 16),
            (_, 0..8) => (4096, 4),
            (_, 8..11) => (512, 12),
            (_, 11..14) => (16384, 4),
            (_, 14) => (16384, 16),
            _ => (65536, 16),
        };
        (grain, grain * (1 + random.below(most)))
    }

    fn kind(self, random: &mut Random) -> Kind {
        let (discards, durable_writes) = match self {
            Workload::Mixed => (1, 1),
            Workload::Database => (0, 6),
            Workload::Trims => (7, 1),
            Workload::Stream => (1, 0),
        };
        let drawn = random.below(16);
        if drawn < discards {
            Kind::Discard
        } else if drawn < discards + durable_writes {
            Kind::DurableWrite
        } else {
            Kind::Write
        }
    }

    /// One of so many operations is followed by an fsync.
    fn flush_one_in(self) -> u64 {
        match self {
            Workload::Mixed | Workload::Trims => 6,
            Workload::Database => 2,
            Workload::Stream => 16,
        }
    }
}

impl Operation {
    /// Operation `sequence` under a seed.
    pub(crate) fn of(seed: u64, sequence: u64) -> Operation {
        let mut random = Random::of(seed, sequence);
        let workload = Workload::of(seed);
        let (grain, length) = workload.size(&mut random);
        let kind = workload.kind(&mut random);
        // Now and then a whole group goes.
        let length = match kind {
            Kind::Discard if random.one_in(8) => GROUP_BYTES,
            _ => length,
        };
        let area = if random.one_in(2) {
            HOT_BYTES
        } else {
            DISK_BYTES
        };
        let places = area.saturating_sub(length) / grain + 1;
        Operation {
            sequence,
            kind,
            offset: grain * random.below(places),
            length,
            flush: random.one_in(workload.flush_one_in()),
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
        for (seed, sequence) in (0..4).flat_map(|seed| (1..5_000).map(move |n| (seed, n))) {
            let operation = Operation::of(seed, sequence);
            assert!(operation.length > 0);
            assert!(
                operation.offset + operation.length <= DISK_BYTES,
                "{operation:?}"
            );
            assert_eq!(operation, Operation::of(seed, sequence));
        }
    }

    #[test]
    fn every_kind_occurs() {
        for kind in [Kind::Write, Kind::DurableWrite, Kind::Discard] {
            assert!((1..200).any(|sequence| Operation::of(5, sequence).kind == kind));
        }
    }
}
