//! Where the records lie that a node's index took in not long ago, for peers that lack them.

use crate::ids::GroupId;
use crate::limits;
use crate::lsn::Lsn;
use crate::segment::lsn_chain::TailEntry;
use std::collections::{BTreeMap, VecDeque};

/// The last records, of all groups together.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: BTreeMap<(GroupId, Lsn), TailEntry>,
    order: VecDeque<(GroupId, Lsn)>,
}

impl Recent {
    /// The index takes this record in. Those that came first are forgotten.
    pub(super) fn remember(&mut self, entry: TailEntry) {
        let key = (entry.record.group, entry.record.lsn);
        if self.entries.insert(key, entry).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > limits::GOSSIP_MEMORY {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }

    /// The group has left the node.
    pub(super) fn forget(&mut self, group: GroupId) {
        self.entries.retain(|(other, _), _| *other != group);
        self.order.retain(|(other, _)| *other != group);
    }

    /// What is known of a group behind this LSN, ascending.
    pub(super) fn behind(&self, group: GroupId, after: Lsn) -> impl Iterator<Item = &TailEntry> {
        let range = (group, after.next())..=(group, Lsn::MAX);
        self.entries.range(range).map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::index_page::{Location, LogPoint};
    use crate::format::redo_record::{RecordHeader, RecordKind};
    use crate::ids::{ExtentSequence, GroupBlock};

    fn entry(group: u32, lsn: u64) -> TailEntry {
        let (group, extent) = (GroupId(group), ExtentSequence(1));
        TailEntry {
            record: RecordHeader::bare(RecordKind::Discard, Lsn(lsn), group, GroupBlock(0)),
            payload: Location {
                extent,
                page: 0,
                pages: 0,
            },
            frame: LogPoint { extent, page: 0 },
            frame_number: lsn,
        }
    }

    #[test]
    fn what_came_last_is_known_by_group() {
        let mut recent = Recent::default();
        for lsn in 1..=10 {
            recent.remember(entry(lsn as u32 % 2, lsn));
        }
        let behind = recent.behind(GroupId(1), Lsn(3));
        let lsns: Vec<u64> = behind.map(|entry| entry.record.lsn.0).collect();
        assert_eq!(lsns, [5, 7, 9]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut recent = Recent::default();
        let last = limits::GOSSIP_MEMORY as u64 + 5;
        (1..=last).for_each(|lsn| recent.remember(entry(0, lsn)));
        let first = recent.behind(GroupId(0), Lsn(0)).next();
        assert_eq!(first.map(|entry| entry.record.lsn), Some(Lsn(6)));
        recent.remember(entry(0, last));
        assert_eq!(recent.order.len(), limits::GOSSIP_MEMORY);
    }
}
