//! How many bytes of each log extent somebody still refers to: what garbage collection steers by.

use crate::ids::ExtentSequence;
use std::collections::BTreeMap;

/// Live bytes of each extent: payload pages of fragments, and pages of the index itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtentUsage {
    live: BTreeMap<ExtentSequence, u64>,
    total: u64,
    overdrawn: u64,
    lost_track: bool,
}

impl ExtentUsage {
    /// Charges `bytes` to the extent.
    pub fn add(&mut self, extent: ExtentSequence, bytes: u64) {
        if bytes > 0 {
            *self.live.entry(extent).or_default() += bytes;
            self.total += bytes;
        }
    }

    /// Takes `bytes` back. More than was charged counts as everything, and as overdrawn.
    pub fn subtract(&mut self, extent: ExtentSequence, bytes: u64) {
        let live = self.get(extent);
        let left = live.saturating_sub(bytes);
        self.overdrawn = self.overdrawn.saturating_add(bytes.saturating_sub(live));
        self.total -= live - left;
        if left == 0 {
            self.live.remove(&extent);
        } else {
            self.live.insert(extent, left);
        }
    }

    /// Live bytes of the extent.
    pub fn get(&self, extent: ExtentSequence) -> u64 {
        self.live.get(&extent).copied().unwrap_or(0)
    }

    /// Somebody who referred to extents is gone, and nobody knows to which: what it had stays
    /// charged.
    pub fn lose_track(&mut self) {
        self.lost_track = true;
    }

    /// Whether more may be charged than somebody refers to.
    pub fn has_lost_track(&self) -> bool {
        self.lost_track
    }

    /// Live bytes of all extents.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes taken back that were never charged: a defect of the accounting, or pages of the disk
    /// that contradict each other although their checksums are right.
    pub fn overdrawn(&self) -> u64 {
        self.overdrawn
    }

    /// Forgets the extent; returns the bytes that were still charged to it.
    pub fn remove(&mut self, extent: ExtentSequence) -> u64 {
        let bytes = self.live.remove(&extent).unwrap_or(0);
        self.total -= bytes;
        bytes
    }

    /// The extents that have live bytes, ascending, with these bytes.
    pub fn iter(&self) -> impl Iterator<Item = (ExtentSequence, u64)> + '_ {
        self.live.iter().map(|(extent, bytes)| (*extent, *bytes))
    }
}

impl FromIterator<(ExtentSequence, u64)> for ExtentUsage {
    fn from_iter<T: IntoIterator<Item = (ExtentSequence, u64)>>(rows: T) -> ExtentUsage {
        let mut usage = ExtentUsage::default();
        for (extent, bytes) in rows {
            usage.add(extent, bytes);
        }
        usage
    }
}

/// What was charged to extents since some moment, net.
#[derive(Debug, Default)]
pub struct UsageChange {
    rows: Vec<(ExtentSequence, i64)>,
}

impl UsageChange {
    /// Notes `bytes` more (or, negative, less) for the extent.
    pub fn note(&mut self, extent: ExtentSequence, bytes: i64) {
        // The newest extent is the usual one: look from the back.
        match self.rows.iter().rposition(|(known, _)| *known == extent) {
            Some(at) => {
                self.rows[at].1 += bytes;
                if self.rows[at].1 == 0 {
                    self.rows.swap_remove(at);
                }
            }
            None => self.rows.push((extent, bytes)),
        }
    }

    /// Makes `usage` what it was before the change.
    pub fn undo(&self, usage: &mut ExtentUsage) {
        for (extent, bytes) in &self.rows {
            if *bytes > 0 {
                usage.subtract(*extent, bytes.unsigned_abs());
            } else {
                usage.add(*extent, bytes.unsigned_abs());
            }
        }
    }

    /// Memory that it takes.
    pub fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<(ExtentSequence, i64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ExtentSequence = ExtentSequence(1);
    const SECOND: ExtentSequence = ExtentSequence(2);

    #[test]
    fn an_extent_without_live_bytes_is_not_listed() {
        let mut usage: ExtentUsage = [(FIRST, 100), (SECOND, 0)].into_iter().collect();
        usage.add(SECOND, 50);
        usage.subtract(FIRST, 100);
        assert_eq!(usage.iter().collect::<Vec<_>>(), [(SECOND, 50)]);
        assert_eq!((usage.get(FIRST), usage.total()), (0, 50));
        assert_eq!((usage.remove(SECOND), usage.total()), (50, 0));
    }

    #[test]
    fn what_was_never_charged_is_noted_and_harms_no_other() {
        let mut usage: ExtentUsage = [(FIRST, 100)].into_iter().collect();
        usage.subtract(SECOND, 40);
        assert_eq!((usage.get(FIRST), usage.total()), (100, 100));
        usage.subtract(FIRST, 101);
        assert_eq!((usage.total(), usage.overdrawn()), (0, 41));
    }

    #[test]
    fn a_change_can_be_undone() {
        let before: ExtentUsage = [(FIRST, 100)].into_iter().collect();
        let mut after = before.clone();
        let mut change = UsageChange::default();
        for (extent, bytes) in [(FIRST, -60), (SECOND, 30), (FIRST, -10), (FIRST, 5)] {
            change.note(extent, bytes);
        }
        after.subtract(FIRST, 65);
        after.add(SECOND, 30);
        change.undo(&mut after);
        assert_eq!(after, before);
        change.note(SECOND, -30);
        change.note(FIRST, 65);
        change.undo(&mut after);
        assert_eq!(after, before);
    }
}
