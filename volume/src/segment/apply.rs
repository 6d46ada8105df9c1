//! Records into the index: those of the chains when they are durable, and the node's own.
//!
//! What the index keeps depends on the set of records alone. Only a discard needs care: it drops
//! what is there, so what comes in behind it is held against the tombstones.

use crate::format::index_page::{Fragment, LEAF_BLOCKS, Location};
use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::ids::GroupId;
use crate::lsn::Lsn;
use crate::planted::{Bug, is_planted};
use crate::segment::node::Node;

impl Node {
    /// The writer's VDL is at least this: takes in what has become durable.
    pub(super) fn announce(&mut self, vdl: Lsn) {
        if vdl > self.announced {
            self.announced = vdl;
            self.apply_tails();
        }
    }

    /// Moves what is durable and without a gap from all tails into the index.
    pub(super) fn apply_tails(&mut self) {
        for group in std::mem::take(&mut self.tails) {
            self.apply(group);
            if self
                .segments
                .get(&group)
                .is_some_and(|segment| segment.tail().next().is_some())
            {
                self.tails.insert(group);
            }
        }
    }

    /// Moves the durable part of a segment's tail into the index.
    pub(super) fn apply(&mut self, group: GroupId) {
        let announced = self.announced;
        while let Some(entry) = self
            .segments
            .get_mut(&group)
            .and_then(|segment| segment.take_applicable(announced))
        {
            self.gossip.recent.remember(entry);
            if entry.record.kind == RecordKind::Discard {
                self.apply_discard(&entry.record);
            } else {
                self.apply_fragment(&entry.record, entry.payload);
            }
        }
    }

    fn apply_discard(&mut self, record: &RecordHeader) {
        if !self.is_complete(record.group) || self.rewrites_in_flight > 0 {
            self.tombstones.add(record);
        }
        self.index.discard(
            record.group,
            record.block,
            record.blocks,
            record.lsn,
            &mut self.usage,
        );
    }

    fn apply_fragment(&mut self, record: &RecordHeader, payload: Location) {
        let fragment = fragment_of(record, payload);
        let chain = self
            .index
            .insert(record.group, record.block, fragment, &mut self.usage);
        self.want_fold(record.group, record.block, chain);
    }

    /// Takes a record that the node wrote for itself into the index, unless a discard overtook it.
    pub(super) fn apply_local(&mut self, record: &RecordHeader, payload: Location) {
        if self.released.contains(&record.group) {
            return;
        }
        if record.kind == RecordKind::Discard {
            if self.rewrites_in_flight > 0 {
                self.tombstones.add(record);
            }
            let usage = &mut self.usage;
            self.index
                .discard(record.group, record.block, record.blocks, record.lsn, usage);
        } else if is_planted(Bug::DiscardOvertaken)
            || !self.tombstones.bury(record.group, record.block, record.lsn)
        {
            let fragment = fragment_of(record, payload);
            self.index
                .insert(record.group, record.block, fragment, &mut self.usage);
        }
    }

    /// A fold or move has come to its end. With none left under way, only copied blocks could
    /// miss a discard: in an incomplete segment, one above its base.
    pub(super) fn rewrite_done(&mut self) {
        self.rewrites_in_flight -= 1;
        if self.rewrites_in_flight == 0 {
            let segments = &self.segments;
            self.tombstones.retain(|group, lsn| {
                let segment = segments.get(&group);
                segment.is_some_and(|segment| segment.awaits_blocks_before(lsn))
            });
        }
    }
}

/// The fragment that a record with payload at `payload` gives.
pub(super) fn fragment_of(record: &RecordHeader, payload: Location) -> Fragment {
    Fragment {
        lsn: record.lsn,
        extent: payload.extent,
        page: payload.page,
        start: record.start,
        end: record.end,
        block: (record.block.0 % LEAF_BLOCKS) as u8,
        checksums: record.checksums,
    }
}
