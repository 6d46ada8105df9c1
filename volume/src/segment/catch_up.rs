//! A segment that lacks something is filled with blocks from a peer, as of one LSN or later.
//!
//! While blocks are copied the segment already takes in the writer's new records; it counts in no
//! quorum until the last leaf is there. Absence is copied too: what the peer does not have as of
//! the base is discarded here.

use crate::format::checksum::page_checksums;
use crate::format::index_page::LEAF_BLOCKS;
use crate::format::log_frame::payload_pages_of_copies;
use crate::format::redo_record::{RECORD_BYTES, RecordHeader, RecordKind};
use crate::geometry::{BLOCK_BYTES, PAGES_PER_BLOCK};
use crate::ids::{GroupBlock, GroupId};
use crate::kept::Kept;
use crate::limits;
use crate::lsn::Lsn;
use crate::message::{CopiedBlock, LeafCopy, Reply, RequestId};
use crate::page::{PAGE_BYTES, Pages};
use crate::planted::{Bug, is_planted};
use crate::segment::append::Then;
use crate::segment::lsn_chain::Segment;
use crate::segment::node::Node;
use crate::segment::promise::Answer;
use std::collections::{BTreeMap, VecDeque};

/// Header pages that a frame of copied leaves has at most.
const PUT_HEADER_PAGES: usize = 1 + (limits::FRAME_RECORDS * RECORD_BYTES).div_ceil(PAGE_BYTES);

/// How far a copy has come, as its writer knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilledMark {
    pub(super) copy: RequestId,
    pub(super) group: GroupId,
    pub(super) base: Lsn,
    /// All leaves before this one are held, durably.
    pub(super) filled: u32,
}

impl FilledMark {
    fn record(&self) -> RecordHeader {
        let block = GroupBlock(self.filled * LEAF_BLOCKS);
        RecordHeader::bare(RecordKind::Filled, self.base, self.group, block)
    }
}

/// A run of leaves that is to be appended.
#[derive(Debug)]
struct Put {
    id: RequestId,
    mark: FilledMark,
    first_leaf: u32,
    /// What is not yet in a frame.
    parts: VecDeque<(RecordHeader, Pages)>,
}

/// What a frame of copied leaves ends.
#[derive(Debug, Default)]
pub(super) struct PutFrame {
    /// Runs that have their last records in it.
    held: Vec<RequestId>,
    /// How far their copies had come.
    marks: Vec<FilledMark>,
}

/// Runs of leaves on their way into the log. While a frame of them is being synced the next one
/// fills: the longer it takes, the longer that is.
#[derive(Debug, Default)]
pub(super) struct Puts {
    waiting: VecDeque<Put>,
    is_appending: bool,
}

impl Puts {
    /// Whether segments of the node are being filled.
    pub(super) fn are_under_way(&self) -> bool {
        self.is_appending || !self.waiting.is_empty()
    }
}

impl Node {
    /// Marks segments incomplete, durably, before anything in them is changed. What a segment
    /// keeps of what it has is in its mark, and is told.
    pub(super) fn on_begin_catch_up(
        &mut self,
        copy: RequestId,
        anew: bool,
        groups: Vec<(GroupId, Lsn)>,
    ) {
        let is_empty = groups.is_empty();
        let mut records = Vec::with_capacity(groups.len());
        let mut told = Vec::new();
        for (group, base) in groups {
            if !self.config().may_hold(self.id(), group) {
                // It came late, or before the configuration that says so.
                continue;
            }
            self.released.remove(&group);
            // The base is durable: what the segment has up to it, the copy counts on.
            self.announce(base);
            let segment = self
                .segments
                .entry(group)
                .or_insert_with(|| Segment::new(base, false));
            if !segment.begin_copy(copy) {
                continue;
            }
            let kept = match anew {
                true => Kept::default(),
                false => segment.kept(),
            };
            segment.restart(base, kept);
            records.push((incomplete(group, base, kept), Pages::empty()));
            told.extend((kept != Kept::default()).then_some((group, kept)));
            self.apply(group);
        }
        while records.len() > limits::FRAME_RECORDS {
            let rest = records.split_off(limits::FRAME_RECORDS);
            let now = std::mem::replace(&mut records, rest);
            self.enqueue_local(now, Then::Local);
        }
        if is_empty {
            self.superblock.fresh = false;
            self.write_superblock(Answer::CatchUpBegun(copy, told));
        } else if !records.is_empty() {
            self.enqueue_local(records, Then::CatchUpBegun(copy, told));
        }
    }

    /// Takes a run of leaves from a peer.
    pub(super) fn on_put_leaves(&mut self, id: RequestId, mark: FilledMark, leaves: LeafCopy) {
        if !self.is_copying(&mark) {
            // Of a copy that is over.
            return;
        }
        let first_leaf = leaves.first_leaf;
        let parts = self.records_of_copy(mark.group, mark.base, leaves);
        if parts.is_empty() {
            return self.send(Reply::LeavesHeld { id });
        }
        // Whoever gives it again waits for the first no longer; both would take memory while there
        // is no room for either.
        let is_other = |put: &Put| put.mark.group != mark.group || put.first_leaf != first_leaf;
        self.puts.waiting.retain(is_other);
        let parts = parts.into();
        self.puts.waiting.push_back(Put {
            id,
            mark,
            first_leaf,
            parts,
        });
    }

    fn is_copying(&self, mark: &FilledMark) -> bool {
        let segment = self.segments.get(&mark.group);
        segment.is_some_and(|segment| segment.is_copied_by(mark.copy) && !segment.complete)
    }

    /// Appends what has come of copied leaves, as much as a frame can hold.
    pub(super) fn put_next(&mut self) {
        if self.puts.is_appending {
            return;
        }
        let mut waiting = std::mem::take(&mut self.puts.waiting);
        waiting.retain(|put| self.is_copying(&put.mark));
        self.puts.waiting = waiting;
        let page_limit = self.put_pages();
        let (mut records, put) = self.puts.next_frame(page_limit);
        if !records.is_empty() {
            records.extend(self.marks_of(&put));
            self.puts.is_appending = true;
            self.enqueue_local(records, Then::LeavesPut(put));
        }
    }

    /// Payload pages of the next frame of copied leaves: what has a place, but always a leaf. A long
    /// one that had none would wait for it while shorter ones could go on, and what does not fit
    /// into an extent is lost at its end.
    fn put_pages(&self) -> usize {
        let longest = payload_pages_of_copies(self.config().extent_bytes);
        let leaf = LEAF_BLOCKS as usize * PAGES_PER_BLOCK;
        let placed = self.log.pages_at_once((leaf + PUT_HEADER_PAGES) as u32) as usize;
        let placed = placed.saturating_sub(PUT_HEADER_PAGES);
        placed.max(leaf).min(longest)
    }

    /// The marks for the log: what lies before it there is what they claim. None of a segment that
    /// has lost something, which its log says already.
    fn marks_of(&self, put: &PutFrame) -> Vec<(RecordHeader, Pages)> {
        let is_filled = |mark: &&FilledMark| {
            let segment = self.segments.get(&mark.group);
            mark.filled > 0 && segment.is_some_and(|segment| segment.is_filled_by(mark.copy))
        };
        let marks = put.marks.iter().filter(is_filled);
        let newest: BTreeMap<GroupId, RecordHeader> =
            marks.map(|mark| (mark.group, mark.record())).collect();
        let records = newest.into_values().take(limits::COPY_RUNS);
        records.map(|record| (record, Pages::empty())).collect()
    }

    /// A frame of copied leaves is on stable storage.
    pub(super) fn on_leaves_put(&mut self, put: PutFrame) {
        self.puts.is_appending = false;
        for mark in put.marks {
            let segment = self.segments.get_mut(&mark.group);
            if let Some(segment) = segment.filter(|segment| segment.is_filled_by(mark.copy)) {
                segment.fill(mark.filled, mark.base);
            }
        }
        for id in put.held {
            self.send(Reply::LeavesHeld { id });
        }
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

impl Puts {
    /// Takes out what one frame can hold, with room for marks. A mark says nothing of its own run: it
    /// may come with the first of its records.
    fn next_frame(&mut self, page_limit: usize) -> (Vec<(RecordHeader, Pages)>, PutFrame) {
        let (mut records, mut frame) = (Vec::new(), PutFrame::default());
        let mut pages = 0;
        while let Some(put) = self.waiting.front_mut() {
            frame.marks.push(put.mark);
            while let Some((_, content)) = put.parts.front() {
                pages += content.page_count();
                let is_full = records.len() + limits::COPY_RUNS >= limits::FRAME_RECORDS;
                if !records.is_empty() && pages > page_limit || is_full {
                    return (records, frame);
                }
                records.extend(put.parts.pop_front());
            }
            frame.held.push(put.id);
            self.waiting.pop_front();
        }
        (records, frame)
    }
}

/// The mark of a segment that is incomplete from now on.
pub(super) fn incomplete(group: GroupId, base: Lsn, kept: Kept) -> RecordHeader {
    let block = GroupBlock(kept.filled * LEAF_BLOCKS);
    let mut record = RecordHeader::bare(RecordKind::Incomplete, base, group, block);
    record.previous_in_group = kept.since;
    record.previous_in_volume = kept.filled_since;
    record
}

/// What such a mark says that the segment keeps.
pub(super) fn kept_by(record: &RecordHeader) -> Kept {
    Kept {
        since: record.previous_in_group,
        filled: record.block.0 / LEAF_BLOCKS,
        filled_since: record.previous_in_volume,
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
