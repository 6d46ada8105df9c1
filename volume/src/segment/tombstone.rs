//! Discards that records on their way into the index could miss.
//!
//! A block that is being folded, moved or copied from a peer comes into the index later than it
//! was read. A discard that the index takes in meanwhile finds nothing to drop yet; it is
//! remembered here until nothing older can come any more.

use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::ids::{GroupBlock, GroupId};
use crate::lsn::Lsn;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Tombstone {
    first: u32,
    end: u32,
    lsn: Lsn,
}

/// The remembered discards of a node.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    of_group: BTreeMap<GroupId, Vec<Tombstone>>,
}

impl Tombstones {
    /// Remembers a discard.
    pub(super) fn add(&mut self, record: &RecordHeader) {
        let end = record.block.0.saturating_add(record.blocks);
        let stone = Tombstone { first: record.block.0, end, lsn: record.lsn };
        let stones = self.of_group.entry(record.group).or_default();
        stones.retain(|old| old.first < stone.first || old.end > stone.end || old.lsn > stone.lsn);
        stones.push(stone);
    }

    /// Whether a block with content as of `lsn` was discarded since.
    pub(super) fn bury(&self, group: GroupId, block: GroupBlock, lsn: Lsn) -> bool {
        let hides =
            |stone: &Tombstone| stone.lsn >= lsn && (stone.first..stone.end).contains(&block.0);
        self.of_group.get(&group).is_some_and(|stones| stones.iter().any(hides))
    }

    /// Keeps those of groups that `keep` names.
    pub(super) fn retain(&mut self, keep: impl Fn(GroupId) -> bool) {
        self.of_group.retain(|group, _| keep(*group));
    }

    /// All of them as records, so that a replay that begins later remembers them too.
    pub(super) fn records(&self) -> Vec<RecordHeader> {
        let record = |group: GroupId, stone: &Tombstone| {
            let block = GroupBlock(stone.first);
            let mut record = RecordHeader::bare(RecordKind::Discard, stone.lsn, group, block);
            record.blocks = stone.end - stone.first;
            record
        };
        let groups = self.of_group.iter();
        groups.flat_map(|(group, stones)| stones.iter().map(|s| record(*group, s))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discard(lsn: u64, first: u32, blocks: u32) -> RecordHeader {
        let (group, block) = (GroupId(1), GroupBlock(first));
        RecordHeader { blocks, ..RecordHeader::bare(RecordKind::Discard, Lsn(lsn), group, block) }
    }

    #[test]
    fn what_is_older_than_a_discard_is_buried_and_wider_discards_replace_narrow_ones() {
        let mut stones = Tombstones::default();
        stones.add(&discard(5, 10, 2));
        let bury = |stones: &Tombstones, block, lsn| {
            stones.bury(GroupId(1), GroupBlock(block), Lsn(lsn))
        };
        assert!(bury(&stones, 11, 5) && !bury(&stones, 11, 6) && !bury(&stones, 12, 5));
        assert!(!stones.bury(GroupId(2), GroupBlock(11), Lsn(5)));
        stones.add(&discard(7, 0, 64));
        assert_eq!(stones.records(), [discard(7, 0, 64)]);
        stones.retain(|_| false);
        assert!(!bury(&stones, 11, 5));
    }
}
