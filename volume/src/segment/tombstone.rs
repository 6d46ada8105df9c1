//! Discards that records on their way into the index could miss.
//!
//! A block that is being folded, moved or copied from a peer comes into the index later than it
//! was read. A discard that the index takes in meanwhile finds nothing to drop yet; it is
//! remembered here until nothing older can come any more.

use crate::format::index_page::LEAF_BLOCKS;
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

impl Tombstone {
    fn record(&self, group: GroupId) -> RecordHeader {
        let block = GroupBlock(self.first);
        let record = RecordHeader::bare(RecordKind::Discard, self.lsn, group, block);
        RecordHeader {
            blocks: self.end - self.first,
            ..record
        }
    }
}

/// The leaf that a run of blocks lies in; none of a run that is wider.
type Place = (GroupId, Option<u32>);

/// The remembered discards of a node.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    places: BTreeMap<Place, Vec<Tombstone>>,
}

impl Tombstones {
    /// Remembers a discard.
    pub(super) fn add(&mut self, record: &RecordHeader) {
        let (first, lsn) = (record.block.0, record.lsn);
        let end = first.saturating_add(record.blocks);
        let leaf = first / LEAF_BLOCKS;
        let lies_in_leaf = end <= (leaf + 1) * LEAF_BLOCKS;
        let place = (record.group, lies_in_leaf.then_some(leaf));
        let stones = self.places.entry(place).or_default();
        stones.retain(|old| old.first < first || old.end > end || old.lsn > lsn);
        stones.push(Tombstone { first, end, lsn });
    }

    /// Whether a block with content as of `lsn` was discarded since.
    pub(super) fn bury(&self, group: GroupId, block: GroupBlock, lsn: Lsn) -> bool {
        let hides =
            |stone: &Tombstone| stone.lsn >= lsn && (stone.first..stone.end).contains(&block.0);
        let places = [(group, None), (group, Some(block.0 / LEAF_BLOCKS))];
        let stones = places.iter().filter_map(|place| self.places.get(place));
        stones.flatten().any(hides)
    }

    /// Keeps those that `keep` says of their group and LSN.
    pub(super) fn retain(&mut self, keep: impl Fn(GroupId, Lsn) -> bool) {
        self.places.retain(|(group, _), stones| {
            stones.retain(|stone| keep(*group, stone.lsn));
            !stones.is_empty()
        });
    }

    /// All of them as records, so that a replay that begins later remembers them too.
    pub(super) fn records(&self) -> Vec<RecordHeader> {
        let of_place = |((group, _), stones): (&Place, &Vec<Tombstone>)| {
            let records = stones.iter().map(|stone| stone.record(*group));
            records.collect::<Vec<_>>()
        };
        self.places.iter().flat_map(of_place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discard(lsn: u64, first: u32, blocks: u32) -> RecordHeader {
        let end = first + blocks;
        let lsn = Lsn(lsn);
        Tombstone { first, end, lsn }.record(GroupId(1))
    }

    #[test]
    fn what_is_older_than_a_discard_is_buried_and_wider_discards_replace_narrow_ones() {
        let mut stones = Tombstones::default();
        stones.add(&discard(5, 10, 2));
        let bury =
            |stones: &Tombstones, block, lsn| stones.bury(GroupId(1), GroupBlock(block), Lsn(lsn));
        assert!(bury(&stones, 11, 5) && !bury(&stones, 11, 6) && !bury(&stones, 12, 5));
        assert!(!stones.bury(GroupId(2), GroupBlock(11), Lsn(5)));
        stones.add(&discard(7, 0, 64));
        assert_eq!(stones.records(), [discard(7, 0, 64)]);
        stones.add(&discard(8, 60, 64));
        assert!(bury(&stones, 63, 8) && bury(&stones, 123, 8) && !bury(&stones, 124, 8));
        stones.retain(|_, lsn| lsn > Lsn(7));
        assert!(!bury(&stones, 11, 5) && bury(&stones, 63, 8));
    }
}
