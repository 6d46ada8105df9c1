//! One segment: which records of its group are held without a gap (SCL), and those that the
//! index has not taken in yet (the tail).
//!
//! The index takes in a record only when it is durable (at or below the announced VDL) and
//! without a gap before it: so nothing in the index can be annulled (law 11).

use crate::format::index_page::{Location, LogPoint};
use crate::format::redo_record::RecordHeader;
use crate::kept::Kept;
use crate::lsn::{Lsn, TruncationList};
use crate::message::RequestId;
use std::collections::BTreeMap;

/// A record of the tail.
#[derive(Clone, Copy, Debug)]
pub struct TailEntry {
    /// The record.
    pub record: RecordHeader,
    /// Its payload in the log.
    pub payload: Location,
    /// Where its frame begins.
    pub frame: LogPoint,
    /// Number of its frame.
    pub frame_number: u64,
}

/// One of the six copies of a group.
#[derive(Debug)]
pub struct Segment {
    /// Whether everything up to `applied` is in the index. An incomplete segment counts in no
    /// quorum.
    pub complete: bool,
    /// Segment complete LSN.
    pub scl: Lsn,
    /// The last record that the index has taken in.
    pub applied: Lsn,
    /// What blocks are copied as of, if they are.
    base: Lsn,
    /// What it has for sure while it is incomplete.
    kept: Kept,
    /// The copy that was begun last since the node was opened.
    copy: Option<RequestId>,
    /// Something was lost since the copying began: what was copied does not make it complete.
    spoiled: bool,
    tail: BTreeMap<Lsn, TailEntry>,
}

impl Segment {
    /// A segment that has everything up to `applied`, or will have (not complete).
    pub fn new(applied: Lsn, complete: bool) -> Segment {
        Segment {
            complete,
            scl: applied,
            applied,
            base: applied,
            kept: Kept::default(),
            copy: None,
            spoiled: false,
            tail: BTreeMap::new(),
        }
    }

    /// Takes in a durable record; one that is already there changes nothing.
    pub fn insert(&mut self, entry: TailEntry) {
        if entry.record.lsn <= self.applied {
            return;
        }
        self.tail.entry(entry.record.lsn).or_insert(entry);
        self.advance();
    }

    /// Follows the chain as far as it goes without a gap.
    fn advance(&mut self) {
        let mut end = self.scl;
        for (lsn, entry) in self.tail.range(self.scl.next()..) {
            if entry.record.previous_in_group != end {
                break;
            }
            end = *lsn;
        }
        self.scl = end;
    }

    /// The next record for the index: durable, and without a gap before it.
    pub fn take_applicable(&mut self, announced: Lsn) -> Option<TailEntry> {
        let first = self.tail.first_entry()?;
        if *first.key() > announced.min(self.scl) {
            return None;
        }
        let entry = first.remove();
        self.applied = entry.record.lsn;
        Some(entry)
    }

    /// About how many records the index could take: LSNs of other groups among them count, too.
    pub fn due_records(&self, announced: Lsn) -> u64 {
        let first = self.tail.keys().next().copied().unwrap_or(Lsn::MAX);
        let end = announced.min(self.scl).next();
        end.0.saturating_sub(first.0)
    }

    /// Drops what the list annuls.
    pub fn annul(&mut self, list: &TruncationList) {
        self.tail.retain(|lsn, _| !list.annuls(*lsn));
        if self.kept.is_annulled_by(list) {
            self.kept = Kept::default();
        }
        self.scl = self.applied;
        self.advance();
    }

    /// Makes the segment incomplete until blocks as of `base` have been copied to it, but for what
    /// it keeps. What the index has taken in above that stays.
    pub fn restart(&mut self, base: Lsn, kept: Kept) {
        self.complete = false;
        self.spoiled = false;
        self.kept = kept;
        self.base = base;
        self.applied = self.applied.max(base);
        self.scl = self.applied;
        self.tail = self.tail.split_off(&self.applied.next());
        self.advance();
    }

    /// Whether a copy was begun after every other one: an order to begin that came late, or twice,
    /// must not undo what a newer copy has done.
    pub fn begin_copy(&mut self, copy: RequestId) -> bool {
        let is_new = self.copy < Some(copy);
        self.copy = self.copy.max(Some(copy));
        is_new
    }

    /// Something that the segment had is lost: it is incomplete, and is not made complete by a
    /// copy that began before.
    pub fn spoil(&mut self) {
        self.complete = false;
        self.spoiled = true;
        self.kept = Kept::default();
    }

    /// What a copy that begins now need not bring.
    pub fn kept(&self) -> Kept {
        match self.complete {
            true => Kept::complete_as_of(self.applied),
            false => self.kept,
        }
    }

    /// What a checkpoint knew that it keeps.
    pub fn keep(&mut self, kept: Kept) {
        self.kept = kept;
    }

    /// Leaves before `filled` were copied as of `base`, durably.
    pub fn fill(&mut self, filled: u32, base: Lsn) {
        if !self.complete && !self.spoiled {
            self.kept.fill(filled, base);
        }
    }

    /// The copy that was begun has ended; it makes the segment complete if nothing was lost since.
    pub fn complete_unless_spoiled(&mut self) {
        self.complete |= !self.spoiled;
    }

    /// Whether blocks may yet be copied to it that a discard of this LSN should have met.
    pub fn awaits_blocks_before(&self, discard: Lsn) -> bool {
        !self.complete && discard > self.base
    }

    /// Whether this copy is the one that was begun last.
    pub fn is_copied_by(&self, copy: RequestId) -> bool {
        self.copy == Some(copy)
    }

    /// Whether this copy is under way, and nothing was lost meanwhile.
    pub fn is_filled_by(&self, copy: RequestId) -> bool {
        !self.complete && !self.spoiled && self.is_copied_by(copy)
    }

    /// Whether it has a record but not the one before it.
    pub fn has_gap(&self) -> bool {
        let last = self.tail.last_key_value();
        last.is_some_and(|(lsn, _)| *lsn > self.scl)
    }

    /// The records above what the index has taken in, ascending.
    pub fn tail(&self) -> impl Iterator<Item = &TailEntry> {
        self.tail.values()
    }

    /// The records of the chain after one LSN up to another, if all of them are in the tail.
    pub fn chain(&self, after: Lsn, upto: Lsn) -> Option<Vec<TailEntry>> {
        let mut end = after;
        let mut found = Vec::new();
        for (lsn, entry) in self.tail.range(after.next()..=upto) {
            if entry.record.previous_in_group != end {
                return None;
            }
            end = *lsn;
            found.push(*entry);
        }
        (end == upto).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::redo_record::RecordKind;
    use crate::ids::{GroupBlock, GroupId};
    use crate::lsn::TruncationRange;

    fn entry(lsn: u64, previous: u64) -> TailEntry {
        let mut record =
            RecordHeader::bare(RecordKind::Discard, Lsn(lsn), GroupId(0), GroupBlock(0));
        record.previous_in_group = Lsn(previous);
        TailEntry {
            record,
            payload: Location::default(),
            frame: LogPoint::default(),
            frame_number: lsn,
        }
    }

    #[test]
    fn the_scl_stops_at_a_gap_and_passes_it_when_it_is_filled() {
        let mut segment = Segment::new(Lsn(0), true);
        segment.insert(entry(3, 0));
        segment.insert(entry(9, 7));
        assert_eq!(segment.scl, Lsn(3));
        segment.insert(entry(7, 3));
        assert_eq!(segment.scl, Lsn(9));
    }

    #[test]
    fn the_index_takes_only_what_is_announced_and_without_a_gap() {
        let mut segment = Segment::new(Lsn(0), true);
        [entry(1, 0), entry(2, 1), entry(5, 4)]
            .into_iter()
            .for_each(|e| segment.insert(e));
        assert!(segment.take_applicable(Lsn(0)).is_none());
        assert_eq!(segment.take_applicable(Lsn(9)).unwrap().record.lsn, Lsn(1));
        assert_eq!(segment.take_applicable(Lsn(9)).unwrap().record.lsn, Lsn(2));
        assert!(
            segment.take_applicable(Lsn(9)).is_none(),
            "LSN 4 is missing"
        );
    }

    #[test]
    fn annulled_records_do_not_count_and_the_chain_goes_on_below_the_range() {
        let mut segment = Segment::new(Lsn(0), true);
        [entry(1, 0), entry(2, 1), entry(3, 2)]
            .into_iter()
            .for_each(|e| segment.insert(e));
        let mut list = TruncationList::default();
        list.push(TruncationRange {
            low: Lsn(2),
            high: Lsn(100),
        });
        segment.annul(&list);
        assert_eq!(segment.scl, Lsn(1));
        segment.insert(entry(101, 1));
        assert_eq!(segment.scl, Lsn(101));
    }

    #[test]
    fn a_restarted_segment_keeps_what_is_above_its_base() {
        let mut segment = Segment::new(Lsn(4), true);
        [entry(8, 7), entry(12, 8)]
            .into_iter()
            .for_each(|e| segment.insert(e));
        segment.restart(Lsn(8), Kept::default());
        assert_eq!((segment.scl, segment.complete), (Lsn(12), false));
        assert!(segment.chain(Lsn(8), Lsn(12)).is_some());
        assert!(segment.chain(Lsn(7), Lsn(12)).is_none());
    }
}
