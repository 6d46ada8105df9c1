//! Log sequence numbers, and the glossary of the points on the log.
//!
//! | point | kept by | meaning |
//! |---|---|---|
//! | LSN | writer | number of a redo record; one dense sequence per volume |
//! | SCL | each segment | segment complete: last record of the group's chain that is held without a gap |
//! | PGCL | writer | protection group complete: the fourth highest SCL of the group's six segments |
//! | VCL | writer | volume complete: the lowest LSN that is not yet durable, minus one |
//! | CPL | record flag | consistency point: last record of a mini-transaction |
//! | VDL | writer, announced to nodes | volume durable: the highest CPL ≤ VCL |
//! | LAL | constant | no LSN may be given out above VDL + LAL |
//! | anchor | recovery | the last record of a group at or below VDL |
//!
//! The ordering law: `applied ≤ min(announced VDL, SCL)` on a node, `VDL ≤ VCL < next LSN ≤ VDL + LAL`
//! at the writer; a record is durable when its LSN ≤ its group's PGCL. VCL is *not* the minimum of
//! the PGCLs: an idle group would hold it back for ever (SIGMOD'18, figure 3).

use std::fmt;

/// A log sequence number. Zero means "none": the first record has LSN 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    /// No record at all.
    pub const NONE: Lsn = Lsn(0);
    /// Above every record.
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// The number after this one.
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }

    /// The number before this one; that of none is none.
    pub fn previous(self) -> Lsn {
        Lsn(self.0.saturating_sub(1))
    }

    /// This number raised by `count`.
    pub fn plus(self, count: u64) -> Lsn {
        Lsn(self.0.saturating_add(count))
    }

    /// Whether this is the number of a record.
    pub fn is_some(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// LSNs `low..=high` that a recovery annulled: what carries one of them is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncationRange {
    /// First annulled LSN.
    pub low: Lsn,
    /// Last annulled LSN.
    pub high: Lsn,
}

impl TruncationRange {
    /// Whether `lsn` is annulled by this range.
    pub fn contains(&self, lsn: Lsn) -> bool {
        self.low <= lsn && lsn <= self.high
    }
}

/// The truncation ranges of a volume, stamped with the epoch of the recovery that wrote them.
/// A newer list replaces an older one as a whole; lists are never united (DESIGN §7.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TruncationList {
    /// Epoch of the recovery that wrote the list.
    pub epoch: crate::ids::VolumeEpoch,
    /// Ascending, disjoint.
    pub ranges: Vec<TruncationRange>,
}

impl TruncationList {
    /// Whether `lsn` is annulled.
    pub fn annuls(&self, lsn: Lsn) -> bool {
        let after = self.ranges.partition_point(|range| range.low <= lsn);
        after > 0 && self.ranges[after - 1].contains(lsn)
    }

    /// The last LSN that any range annuls, or none.
    pub fn top(&self) -> Lsn {
        self.ranges.last().map_or(Lsn::NONE, |range| range.high)
    }

    /// Adds a range that reaches at least as high as all others; those that it touches are
    /// joined with it.
    pub fn push(&mut self, mut range: TruncationRange) {
        while let Some(last) = self.ranges.pop_if(|last| last.high.next() >= range.low) {
            range.low = range.low.min(last.low);
            range.high = range.high.max(last.high);
        }
        self.ranges.push(range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(low: u64, high: u64) -> TruncationRange {
        TruncationRange {
            low: Lsn(low),
            high: Lsn(high),
        }
    }

    #[test]
    fn a_list_annuls_what_its_ranges_contain() {
        let mut list = TruncationList::default();
        list.push(range(5, 9));
        list.push(range(20, 30));
        for (lsn, expected) in [
            (4, false),
            (5, true),
            (9, true),
            (10, false),
            (20, true),
            (31, false),
        ] {
            assert_eq!(list.annuls(Lsn(lsn)), expected, "LSN {lsn}");
        }
        assert_eq!(list.top(), Lsn(30));
    }

    #[test]
    fn ranges_that_touch_are_joined() {
        let mut list = TruncationList::default();
        list.push(range(5, 9));
        list.push(range(10, 30));
        assert_eq!(list.ranges, [range(5, 30)]);
        list.push(range(40, 50));
        list.push(range(3, 60));
        assert_eq!(list.ranges, [range(3, 60)]);
    }
}
