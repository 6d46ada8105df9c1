//! A segment that lacks something is filled with blocks from a peer, as of one LSN or later.
//!
//! While blocks are copied the segment already takes in the writer's new records; it counts in no
//! quorum until the last leaf is there. Absence is copied too: what the peer does not have as of
//! the base is discarded here.

use crate::format::checksum::page_checksums;
use crate::format::index_page::LEAF_BLOCKS;
use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::geometry::{BLOCK_BYTES, PAGES_PER_BLOCK};
use crate::ids::{GroupBlock, GroupId};
use crate::limits;
use crate::lsn::Lsn;
use crate::message::{CopiedBlock, LeafCopy, Reply, RequestId};
use crate::page::Pages;
use crate::planted::{Bug, is_planted};
use crate::segment::append::Then;
use crate::segment::lsn_chain::Segment;
use crate::segment::node::Node;
use crate::segment::promise::Answer;

impl Node {
    /// Marks segments incomplete, durably, before anything in them is changed.
    pub(super) fn on_begin_catch_up(&mut self, copy: RequestId, groups: Vec<(GroupId, Lsn)>) {
        let is_empty = groups.is_empty();
        let mut records = Vec::with_capacity(groups.len());
        for (group, base) in groups {
            // The base is durable: what the segment has up to it, the copy counts on.
            self.announce(base);
            let segment = self
                .segments
                .entry(group)
                .or_insert_with(|| Segment::new(base, false));
            if !segment.begin_copy(copy) {
                continue;
            }
            segment.restart(base);
            let record = RecordHeader::bare(RecordKind::Incomplete, base, group, GroupBlock(0));
            records.push((record, Pages::empty()));
            self.apply(group);
        }
        while records.len() > limits::FRAME_RECORDS {
            let rest = records.split_off(limits::FRAME_RECORDS);
            let now = std::mem::replace(&mut records, rest);
            self.enqueue_local(now, Then::Local);
        }
        if is_empty {
            self.superblock.fresh = false;
            self.write_superblock(Answer::CatchUpBegun(copy));
        } else if !records.is_empty() {
            self.enqueue_local(records, Then::CatchUpBegun(copy));
        }
    }

    /// Takes a run of leaves from a peer.
    pub(super) fn on_put_leaves(
        &mut self,
        id: RequestId,
        copy: RequestId,
        group: GroupId,
        base: Lsn,
        leaves: LeafCopy,
    ) {
        let segment = self.segments.get(&group);
        if !segment.is_some_and(|segment| segment.is_copied_by(copy) && !segment.complete) {
            // Of a copy that is over.
            return;
        }
        let parts = self.records_of_copy(group, base, leaves);
        let mut frames = self.frames_of(parts);
        let Some(last) = frames.pop() else {
            return self.send(Reply::LeavesHeld { id });
        };
        for frame in frames {
            self.enqueue_local(frame, Then::LeavesPut(None));
        }
        self.enqueue_local(last, Then::LeavesPut(Some(id)));
    }

    fn records_of_copy(
        &self,
        group: GroupId,
        base: Lsn,
        copy: LeafCopy,
    ) -> Vec<(RecordHeader, Pages)> {
        let mut parts = Vec::new();
        let has_any = self
            .index
            .next_leaf(group, copy.first_leaf)
            .is_some_and(|leaf| leaf < copy.end_leaf);
        // As of nothing there is nothing that could be absent by now.
        if has_any && base.is_some() && !is_planted(Bug::AbsenceNotCopied) {
            let absent = absent_runs(&copy);
            parts.extend(absent.into_iter().map(|(block, blocks)| {
                let mut record =
                    RecordHeader::bare(RecordKind::Discard, base, group, GroupBlock(block));
                record.blocks = blocks;
                (record, Pages::empty())
            }));
        }
        let changed = copy.blocks.into_iter();
        parts.extend(changed.filter_map(|block| image_of(group, block)));
        parts
    }

    /// The last leaf was put: the segment is complete, durably, before it says so.
    pub(super) fn on_complete_group(&mut self, copy: RequestId, group: GroupId, base: Lsn) {
        let Some(segment) = self.segments.get(&group) else {
            return self.send(Reply::SegmentDamaged { group });
        };
        if segment.is_filled_by(copy) {
            let record = RecordHeader::bare(RecordKind::Complete, base, group, GroupBlock(0));
            self.enqueue_local(vec![(record, Pages::empty())], Then::Completed(group, copy));
        } else if segment.is_copied_by(copy) {
            // It is complete already, and said so; or it lost something meanwhile.
            let scl = segment.scl;
            self.send(if segment.complete {
                Reply::GroupCompleted { copy, group, scl }
            } else {
                Reply::SegmentDamaged { group }
            });
        }
    }

    pub(super) fn on_completed(&mut self, group: GroupId, copy: RequestId) {
        let segment = self.segments.get_mut(&group);
        if let Some(segment) = segment.filter(|segment| segment.is_filled_by(copy)) {
            segment.complete = true;
            let scl = segment.scl;
            self.send(Reply::GroupCompleted { copy, group, scl });
            // What is damaged is not needed any more: the next open begins behind it.
            self.checkpoint.wanted |=
                self.tail_damaged && self.segments.values().all(|segment| segment.complete);
        }
    }
}

/// The record that gives a block the content of a copy; `None` of a copy without.
pub(super) fn image_of(group: GroupId, block: CopiedBlock) -> Option<(RecordHeader, Pages)> {
    let content = block.content?;
    let mut record = RecordHeader::bare(RecordKind::Image, block.lsn, group, block.block);
    record.end = BLOCK_BYTES as u16;
    record.payload_pages = PAGES_PER_BLOCK as u16;
    record.checksums = page_checksums(content.bytes());
    Some((record, content))
}

/// Runs of blocks of the copy's leaves that do not exist: (first, count).
fn absent_runs(copy: &LeafCopy) -> Vec<(u32, u32)> {
    let mut runs = Vec::new();
    let mut next = copy.first_leaf * LEAF_BLOCKS;
    let ends = copy.blocks.iter().map(|block| block.block.0);
    for present in ends.chain([copy.end_leaf * LEAF_BLOCKS]) {
        if present > next {
            runs.push((next, present - next));
        }
        next = present + 1;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_copy_does_not_name_is_absent() {
        let present = |block| CopiedBlock {
            block: GroupBlock(block),
            lsn: Lsn(1),
            content: None,
        };
        let copy = LeafCopy {
            first_leaf: 1,
            end_leaf: 3,
            blocks: vec![present(64), present(70), present(191)],
        };
        assert_eq!(absent_runs(&copy), [(65, 5), (71, 120)]);
    }
}
