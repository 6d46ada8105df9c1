//! What an open writer sends, put back into the order of LSNs: frames for different sets of nodes
//! leave in any order.

use redoubt_volume::format::redo_record::RecordHeader;
use redoubt_volume::lsn::Lsn;
use std::collections::BTreeMap;

/// Records that a writer has sent for the first time.
#[derive(Debug, Default)]
pub struct SentRecords {
    /// The last one that was taken; none until the writer is open: what it sends earlier it has
    /// found.
    upto: Option<Lsn>,
    waiting: BTreeMap<Lsn, RecordHeader>,
}

impl SentRecords {
    /// The writer is open: what it sends from now on is new, and follows `last`.
    pub fn begin_after(&mut self, last: Lsn) {
        self.upto = Some(last);
    }

    /// A frame was sent, for the first time or again.
    pub fn note(&mut self, records: &[RecordHeader]) {
        let Some(upto) = self.upto else { return };
        let new = records.iter().filter(|record| record.lsn > upto);
        self.waiting.extend(new.map(|record| (record.lsn, *record)));
    }

    /// The next record, if all before it were sent: one that follows a gap survives no crash.
    pub fn take_next(&mut self) -> Option<RecordHeader> {
        let next = self.waiting.first_entry()?;
        if Some(next.get().previous_in_volume) != self.upto {
            return None;
        }
        self.upto = Some(*next.key());
        Some(next.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redoubt_volume::format::redo_record::RecordKind;
    use redoubt_volume::ids::{GroupBlock, GroupId};

    fn record(lsn: u64, previous: u64) -> RecordHeader {
        let mut record = RecordHeader::bare(RecordKind::Delta, Lsn(lsn), GroupId(0), GroupBlock(0));
        record.previous_in_volume = Lsn(previous);
        record
    }

    #[test]
    fn records_come_in_the_order_of_the_chain_and_once() {
        let mut sent = SentRecords::default();
        sent.note(&[record(5, 4)]);
        sent.begin_after(Lsn(5));
        sent.note(&[record(12, 11)]);
        assert!(sent.take_next().is_none());
        sent.note(&[record(11, 5)]);
        let taken: Vec<_> = std::iter::from_fn(|| sent.take_next()).collect();
        assert_eq!(
            taken.iter().map(|one| one.lsn.0).collect::<Vec<_>>(),
            [11, 12]
        );
        sent.note(&[record(11, 5), record(12, 11)]);
        assert!(sent.take_next().is_none());
    }
}
