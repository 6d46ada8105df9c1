//! Records into the index: those of the chains when they are durable, and the node's own.
//!
//! Nobody waits for the index while records are only appended: they are put off until there is time,
//! or somebody asks for anything else, as if the VDL had been heard later.
//!
//! What the index keeps depends on the set of records alone. Only a discard needs care: it drops
//! what is there, so what comes in behind it is held against the tombstones.

use crate::format::index_page::{Fragment, LEAF_BLOCKS, Location};
use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::ids::GroupId;
use crate::limits;
use crate::lsn::Lsn;
use crate::planted::{Bug, is_planted};
use crate::segment::effect::NodeEffect;
use crate::segment::node::Node;
use crate::time::Instant;

impl Node {
    /// The writer's VDL is at least this: takes in what has become durable.
    pub(super) fn announce(&mut self, vdl: Lsn) {
        if vdl > self.announced {
            self.announced = vdl;
            self.apply_tails();
        }
    }

    /// The writer's VDL is at least this; what has become durable is taken in later.
    pub(super) fn hear(&mut self, vdl: Lsn) {
        self.announced = self.announced.max(vdl);
        self.put_off();
    }

    /// Asks for time where many records could be taken in, and takes it where they are too many.
    fn put_off(&mut self) {
        let segments = self
            .tails
            .iter()
            .filter_map(|group| self.segments.get(group));
        let due: u64 = segments
            .map(|segment| segment.due_records(self.announced))
            .sum();
        // How much room is left can be told only of what is in the index.
        if due >= limits::PUT_OFF_RECORDS || self.log.is_full() {
            self.apply_tails();
        } else if due >= limits::IDLE_RECORDS && !self.asked_for_idle {
            self.asked_for_idle = true;
            self.push_effect(NodeEffect::Idle);
        }
    }

    /// There is time for what nobody waits for: a bounded step of it.
    pub fn on_idle(&mut self, now: Instant) {
        self.now = now;
        self.asked_for_idle = false;
        if !self.fenced {
            self.apply_some(limits::IDLE_RECORDS as usize);
            self.work();
            self.put_off();
        }
    }

    /// Moves what is durable and without a gap from all tails into the index.
    pub(super) fn apply_tails(&mut self) {
        self.apply_some(usize::MAX);
    }

    /// The same, of each tail no more than so many records.
    fn apply_some(&mut self, most: usize) {
        for group in std::mem::take(&mut self.tails) {
            self.apply_of(group, most);
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
        self.apply_of(group, usize::MAX);
    }

    /// The same, at most so many records.
    fn apply_of(&mut self, group: GroupId, most: usize) {
        let announced = self.announced;
        for _ in 0..most {
            let segment = self.segments.get_mut(&group);
            let Some(entry) = segment.and_then(|segment| segment.take_applicable(announced)) else {
                return;
            };
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
