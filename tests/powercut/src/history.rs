//! What the disk may hold: the operations in their order, and which states are one of their
//! prefixes.

use crate::files::SECTOR_BYTES;
use crate::workload::{DISK_BYTES, Kind, Operation, sector_bytes, sequence_of};

const SECTORS: usize = DISK_BYTES as usize / SECTOR_BYTES;

/// Operations in the order of their requests.
#[derive(Clone)]
pub(crate) struct History {
    seed: u64,
    operations: Vec<Operation>,
    /// By sector: the operations that changed it, as indexes, in order.
    sectors: Vec<Vec<u32>>,
}

impl History {
    /// Nothing has happened.
    pub(crate) fn new(seed: u64) -> History {
        History {
            seed,
            operations: Vec::new(),
            sectors: vec![Vec::new(); SECTORS],
        }
    }

    /// One operation more.
    pub(crate) fn push(&mut self, operation: Operation) {
        let index = self.operations.len() as u32;
        for sector in operation.sectors() {
            self.sectors[sector].push(index);
        }
        self.operations.push(operation);
    }

    /// Keeps the first so many operations: the others never happened.
    pub(crate) fn truncate(&mut self, operations: usize) {
        self.operations.truncate(operations);
        for sector in &mut self.sectors {
            sector.retain(|index| (*index as usize) < operations);
        }
    }

    /// Number of operations.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.operations.len()
    }

    /// How many operations there are up to the one of this number.
    pub(crate) fn up_to(&self, sequence: u64) -> usize {
        let before = |operation: &Operation| operation.sequence <= sequence;
        self.operations.partition_point(before)
    }

    /// The length of the shortest prefix that gives these bytes, of those with `least` operations
    /// or more.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) fn prefix_of(&self, disk: &[u8], least: usize) -> Result<usize, String> {
        if disk.len() as u64 != DISK_BYTES {
            return Err(format!("the disk has {} bytes", disk.len()));
        }
        // How many sectors are wrong after so many operations, as differences.
        let mut wrong = vec![0_i64; self.operations.len() + 2];
        for (index, sector) in disk.chunks(SECTOR_BYTES).enumerate() {
            self.count_wrong(index, self.writer_of(index, sector)?, &mut wrong);
        }
        let wrong_after = wrong.iter().scan(0, |sum, change| {
            *sum += change;
            Some(*sum)
        });
        let prefixes = wrong_after.take(self.operations.len() + 1).enumerate();
        let best = prefixes.skip(least).min_by_key(|(_, wrong)| *wrong);
        match best {
            Some((prefix, 0)) => Ok(prefix),
            Some((prefix, wrong)) => Err(format!(
                "the disk is no prefix of {} operations with the first {least}: after {prefix} of \
                 them {wrong} sectors are wrong, the fewest",
                self.operations.len()
            )),
            None => Err(format!(
                "the ledger holds {least} operations that never began"
            )),
        }
    }

    /// The number of the write that the bytes of a sector are of; 0 for zeros.
    fn writer_of(&self, index: usize, sector: &[u8]) -> Result<u64, String> {
        let sequence = sequence_of(sector);
        let is_zero = sequence == 0 && sector.iter().all(|byte| *byte == 0);
        if is_zero || *sector == sector_bytes(self.seed, sequence, index) {
            return Ok(sequence);
        }
        let place = index * SECTOR_BYTES;
        Err(format!("the bytes at {place} were never written there"))
    }

    /// Adds a sector to all prefixes after which another write should be found in it.
    fn count_wrong(&self, index: usize, found: u64, wrong: &mut [i64]) {
        let (mut expected, mut since) = (0, 0);
        let mut count = |expected: u64, since: usize, until: usize| {
            if expected != found {
                wrong[since] += 1;
                wrong[until] -= 1;
            }
        };
        for change in &self.sectors[index] {
            let until = *change as usize + 1;
            count(expected, since, until);
            let operation = &self.operations[*change as usize];
            expected = match operation.kind {
                Kind::Discard => 0,
                Kind::Write | Kind::DurableWrite => operation.sequence,
            };
            since = until;
        }
        count(expected, since, self.operations.len() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 11;

    fn history(operations: u64) -> History {
        let mut history = History::new(SEED);
        (1..=operations).for_each(|sequence| history.push(Operation::of(SEED, sequence)));
        history
    }

    fn disk_after(operations: u64) -> Vec<u8> {
        let mut disk = vec![0; DISK_BYTES as usize];
        for sequence in 1..=operations {
            apply(&mut disk, sequence);
        }
        disk
    }

    fn apply(disk: &mut [u8], sequence: u64) {
        let operation = Operation::of(SEED, sequence);
        let bytes = operation.bytes(SEED);
        disk[operation.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }

    #[test]
    fn every_prefix_is_one() {
        let history = history(120);
        for operations in 0..=120 {
            let disk = disk_after(operations);
            let found = history.prefix_of(&disk, 0).unwrap();
            assert_eq!(disk_after(found as u64), disk, "{operations}");
        }
    }

    #[test]
    fn a_write_less_than_the_ledger_demands_is_a_loss() {
        let history = history(50);
        let last_write = (1..=50).rfind(|n| Operation::of(SEED, *n).kind == Kind::Write);
        let demanded = last_write.unwrap();
        let disk = disk_after(demanded - 1);
        assert!(history.prefix_of(&disk, demanded as usize).is_err());
        assert!(
            history
                .prefix_of(&disk_after(demanded), demanded as usize)
                .is_ok()
        );
    }

    #[test]
    fn a_gap_a_tear_and_a_foreign_sector_are_seen() {
        let history = history(60);
        let (lost, kept) = two_that_overlap_in_no_byte();
        let mut gap = disk_after(lost - 1);
        (lost + 1..=60).for_each(|sequence| apply(&mut gap, sequence));
        assert!(Operation::of(SEED, kept).sequence > lost);
        assert!(history.prefix_of(&gap, 0).is_err());
        let mut torn = disk_after(60);
        let operation = Operation::of(SEED, lost);
        torn[operation.offset as usize..][..SECTOR_BYTES].fill(0);
        assert!(history.prefix_of(&torn, 60).is_err());
        let mut foreign = disk_after(60);
        foreign[operation.offset as usize + 20] ^= 1;
        assert!(history.prefix_of(&foreign, 0).is_err());
    }

    /// A write of which nothing is overwritten, and a later operation.
    fn two_that_overlap_in_no_byte() -> (u64, u64) {
        let disk = disk_after(60);
        let shown = |sequence: u64| {
            let operation = Operation::of(SEED, sequence);
            let whole = operation.bytes(SEED);
            operation.kind == Kind::Write
                && disk[operation.offset as usize..][..whole.len()] == whole[..]
        };
        let lost = (1..60).find(|sequence| shown(*sequence)).unwrap();
        (lost, lost + 1)
    }

    #[test]
    fn what_was_cut_off_never_comes_back() {
        let mut history = history(60);
        let disk = disk_after(60);
        history.truncate(40);
        assert!(history.prefix_of(&disk, 0).is_err());
        assert!(history.prefix_of(&disk_after(40), 40).is_ok());
        assert_eq!(history.up_to(39), 39);
    }
}
