//! Records that are admitted and not yet below the VDL: the disk's volatile cache, and the only
//! one that correctness needs. Every read lays them over what the nodes give.

use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::geometry::BLOCK_BYTES;
use crate::ids::{GroupBlock, GroupId};
use crate::lsn::Lsn;
use crate::page::{PAGE_BYTES, Pages};
use crate::page_run::PageRun;
use std::collections::{HashMap, VecDeque};

/// A record with its payload.
#[derive(Clone, Debug)]
pub(super) struct PendingRecord {
    pub(super) record: RecordHeader,
    pub(super) pages: Pages,
}

/// Bytes to be laid over a read: of a record, or zeros.
#[derive(Debug)]
pub(super) struct Overlay {
    /// First byte in the run of pages.
    pub(super) start: usize,
    /// End of the bytes.
    pub(super) end: usize,
    /// The record's pages and where in them the bytes begin; zeros if none.
    pub(super) source: Option<(Pages, usize)>,
}

/// The records above the VDL, in order of their LSNs, which are dense.
#[derive(Debug, Default)]
pub(super) struct Pending {
    records: VecDeque<PendingRecord>,
    by_block: HashMap<(GroupId, GroupBlock), VecDeque<Lsn>>,
    discards: VecDeque<Lsn>,
    /// Records from the front that were sent.
    sent: usize,
    bytes: usize,
    unsent_bytes: usize,
}

fn cost(pending: &PendingRecord) -> usize {
    pending.pages.page_count() * PAGE_BYTES + 128
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Memory that they hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of what was not yet sent.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    pub(super) fn push(&mut self, pending: PendingRecord) {
        let record = &pending.record;
        if record.kind == RecordKind::Discard {
            self.discards.push_back(record.lsn);
        } else {
            let key = (record.group, record.block);
            self.by_block.entry(key).or_default().push_back(record.lsn);
        }
        self.bytes += cost(&pending);
        self.unsent_bytes += cost(&pending);
        self.records.push_back(pending);
    }

    /// The newest pending record of a block, for its backlink.
    pub(super) fn newest_of(&self, group: GroupId, block: GroupBlock) -> Lsn {
        let lsns = self.by_block.get(&(group, block));
        lsns.and_then(|lsns| lsns.back())
            .copied()
            .unwrap_or(Lsn::NONE)
    }

    /// Records that were not sent yet, oldest first.
    pub(super) fn unsent(&self) -> impl Iterator<Item = &PendingRecord> {
        self.records.range(self.sent..)
    }

    /// The first `count` unsent records are on their way.
    pub(super) fn mark_sent(&mut self, count: usize) {
        let run = self.records.range(self.sent..self.sent + count);
        self.unsent_bytes -= run.map(cost).sum::<usize>();
        self.sent += count;
    }

    /// Records that were sent, oldest first: what a node that joins must be given again.
    pub(super) fn sent(&self) -> impl Iterator<Item = &PendingRecord> {
        self.records.range(..self.sent)
    }

    /// The record after `lsn`.
    pub(super) fn after(&self, lsn: Lsn) -> Option<&RecordHeader> {
        let first = self.records.front()?.record.lsn;
        let index = (lsn.next().0.max(first.0) - first.0) as usize;
        self.records.get(index).map(|pending| &pending.record)
    }

    /// Takes out the oldest record if it is at or below the VDL.
    pub(super) fn pop_durable(&mut self, vdl: Lsn) -> Option<RecordHeader> {
        if self.records.front()?.record.lsn > vdl {
            return None;
        }
        let pending = self.records.pop_front()?;
        let record = pending.record;
        self.bytes -= cost(&pending);
        if self.sent == 0 {
            self.unsent_bytes -= cost(&pending);
        }
        self.sent = self.sent.saturating_sub(1);
        if record.kind == RecordKind::Discard {
            self.discards.pop_front();
        } else {
            self.forget_oldest((record.group, record.block));
        }
        Some(record)
    }

    fn forget_oldest(&mut self, key: (GroupId, GroupBlock)) {
        if let Some(lsns) = self.by_block.get_mut(&key) {
            lsns.pop_front();
            if lsns.is_empty() {
                self.by_block.remove(&key);
            }
        }
    }

    fn get(&self, lsn: Lsn) -> Option<&PendingRecord> {
        let first = self.records.front()?.record.lsn;
        self.records.get((lsn.0 - first.0) as usize)
    }

    /// What to lay over a run of a group's pages, oldest first; and whether it covers every byte
    /// of the run, so that nothing below needs to be read.
    pub(super) fn overlays(&self, group: GroupId, run: PageRun) -> (Vec<Overlay>, bool) {
        if self.records.is_empty() {
            return (Vec::new(), false);
        }
        let first = run.first_block().0;
        let blocks = first..first + run.blocks();
        let of_blocks = blocks
            .clone()
            .filter_map(|block| self.by_block.get(&(group, GroupBlock(block))));
        let mut lsns: Vec<Lsn> = of_blocks.flatten().copied().collect();
        lsns.extend(self.discards.iter().filter(|lsn| {
            self.get(**lsn).is_some_and(|pending| {
                let record = &pending.record;
                record.group == group
                    && record.block.0 < blocks.end
                    && record.block.0 + record.blocks > blocks.start
            })
        }));
        lsns.sort_unstable();
        let found = lsns.iter().filter_map(|lsn| self.get(*lsn));
        let overlays: Vec<Overlay> = found.filter_map(|pending| overlay(pending, run)).collect();
        let covers = covers_all(&overlays, run.pages as usize);
        (overlays, covers)
    }
}

/// The record's bytes in the run; `None` when it gives none.
fn overlay(pending: &PendingRecord, run: PageRun) -> Option<Overlay> {
    let record = &pending.record;
    // Counted from the start of the run's first block.
    let place = |block: u32| (block.saturating_sub(run.first_block().0)) as usize * BLOCK_BYTES;
    let block = place(record.block.0);
    let (given, source) = if record.kind == RecordKind::Discard {
        (block..place(record.block.0 + record.blocks), None)
    } else {
        let in_page = usize::from(record.start) % PAGE_BYTES;
        let given = block + usize::from(record.start)..block + usize::from(record.end);
        (given, Some((pending.pages.clone(), in_page)))
    };
    let wanted = run.skipped_bytes()..run.skipped_bytes() + run.bytes();
    let (start, end) = (given.start.max(wanted.start), given.end.min(wanted.end));
    (start < end).then(|| Overlay {
        start: start - wanted.start,
        end: end - wanted.start,
        source: source.map(|(pages, at)| (pages, at + start - given.start)),
    })
}

/// Whether whole-page overlays cover the run.
fn covers_all(overlays: &[Overlay], pages: usize) -> bool {
    let mut covered = vec![false; pages];
    for overlay in overlays {
        let first = overlay.start.div_ceil(PAGE_BYTES);
        let end = overlay.end / PAGE_BYTES;
        if first < end {
            covered[first..end].fill(true);
        }
    }
    covered.into_iter().all(|page| page)
}

impl Overlay {
    /// Lays the bytes over the run.
    pub(super) fn apply(&self, run: &mut [u8]) {
        let target = &mut run[self.start..self.end];
        match &self.source {
            Some((pages, at)) => target.copy_from_slice(&pages.bytes()[*at..*at + target.len()]),
            None => target.fill(0),
        }
    }
}

impl Pending {
    /// The first leaf at or behind `leaf` that pending records write to.
    pub(super) fn next_leaf(&self, group: GroupId, leaf: u32) -> Option<u32> {
        let leaves = crate::format::index_page::LEAF_BLOCKS;
        let of_group = self.by_block.keys().filter(|(other, _)| *other == group);
        of_group
            .map(|(_, block)| block.0 / leaves)
            .filter(|found| *found >= leaf)
            .min()
    }
}
