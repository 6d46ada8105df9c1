//! The index's way to stable storage: dirty leaves, then directories, then a root, each appended
//! to the log like any frame; then the superblock names the root.
//!
//! A checkpoint is fuzzy: records go on being applied while it is written. That is right because
//! the replay begins at what was applied when the checkpoint began, goes through every later
//! record in order, and what the index keeps depends on the set of records alone. Nothing above
//! the announced VDL is ever in the index, so nothing in a checkpoint can be annulled (law 11).

use crate::format::checkpoint_root::{CheckpointRoot, GroupState, encode_root};
use crate::format::checksum::checksum;
use crate::format::index_page::{LogPoint, PageRef};
use crate::format::log_frame::{Frame, payload_pages_limit, payload_pages_longest};
use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::format::superblock::RootPart;
use crate::ids::{ExtentSequence, GroupBlock, GroupId};
use crate::kept::Kept;
use crate::limits;
use crate::lsn::Lsn;
use crate::page::{PageBuf, Pages};
use crate::planted::{Bug, is_planted};
use crate::segment::append::{Then, payload_of};
use crate::segment::block_index::MissingLeaf;
use crate::segment::effect::DiskError;
use crate::segment::node::{Node, Operation, Parked};
use crate::segment::promise::Answer;
use std::collections::VecDeque;

/// Leaves loaded side by side for a checkpoint.
const LOADS_AT_ONCE: usize = 8;

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Leaves(VecDeque<(GroupId, u32)>),
    Orphans,
    Directories,
    Root,
    Superblock,
}

/// The checkpoint under way, and when the next is due.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    phase: Phase,
    /// Log bytes since the last one began.
    pub(super) log_bytes: u64,
    /// Somebody waits for one (close, collection).
    pub(super) wanted: bool,
    /// Loads of leaves under way.
    pub(super) waiting: usize,
    frames: usize,
    root: CheckpointRoot,
    parts: Vec<RootPart>,
    /// Extents that held nothing live when it began: free when it is durable.
    retiring: Vec<ExtentSequence>,
}

impl Checkpoint {
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Goes on counting from the root found at open.
    pub(super) fn resume(&mut self, number: u64) {
        self.root.number = number;
    }
}

impl Node {
    /// Whether nothing would be lost or replayed by an open now.
    pub fn is_checkpointed(&self) -> bool {
        self.checkpoint.is_idle() && !self.checkpoint.wanted && self.checkpoint.log_bytes == 0
    }

    /// Asks for a checkpoint, unless nothing was logged since the last.
    pub fn want_checkpoint(&mut self) {
        if self.checkpoint.log_bytes > 0 {
            self.checkpoint.wanted = true;
        }
    }

    /// Starts a checkpoint that is due, or takes the one under way further.
    pub(super) fn checkpoint_next(&mut self) {
        if self.checkpoint.is_idle() {
            let extent_bytes = self.log.extent_bytes();
            let interval = match self.puts.are_under_way() {
                true => limits::FILLING_CHECKPOINT_LOG_BYTES.min(16 * extent_bytes),
                false => limits::CHECKPOINT_LOG_BYTES.min(4 * extent_bytes),
            };
            let due = self.checkpoint.wanted
                || self.checkpoint.log_bytes >= interval
                || self.index.wants_checkpoint();
            if due {
                self.begin_checkpoint();
            } else {
                return;
            }
        }
        self.write_leaves();
        self.load_orphans();
        self.write_directories();
        self.write_root();
    }

    fn begin_checkpoint(&mut self) {
        self.checkpoint.wanted = false;
        self.checkpoint.log_bytes = 0;
        // What is put off would be replayed.
        self.apply_tails();
        self.log_tombstones();
        let (replay_from, replay_frame) = self.replay_start();
        let in_flight = self.append.in_flight_point().map(|(_, number)| number);
        let state =
            |(group, segment): (&GroupId, &crate::segment::lsn_chain::Segment)| GroupState {
                group: *group,
                applied: segment.applied,
                complete: segment.complete,
                kept: match segment.complete {
                    true => Kept::default(),
                    false => segment.kept(),
                },
            };
        self.checkpoint.root = CheckpointRoot {
            number: self.checkpoint.root.number + 1,
            replay_from,
            replay_frame,
            local_from_frame: in_flight.unwrap_or(self.append.next_number()),
            announced: self.announced,
            groups: self.segments.iter().map(state).collect(),
            directories: Vec::new(),
            extents: Vec::new(),
        };
        self.checkpoint.retiring = self.retirable(replay_from);
        if is_planted(Bug::ReusedBeforeCheckpoint) {
            let retiring = std::mem::take(&mut self.checkpoint.retiring);
            retiring.into_iter().for_each(|extent| self.release(extent));
        }
        self.checkpoint.phase = Phase::Leaves(self.index.dirty_leaves().into());
    }

    /// A replay from here on must know the discards that local records under way could miss.
    fn log_tombstones(&mut self) {
        if is_planted(Bug::TombstonesForgotten) {
            return;
        }
        let stones = self.tombstones.records();
        for run in stones.chunks(limits::FRAME_RECORDS) {
            let parts = run.iter().map(|record| (*record, Pages::empty())).collect();
            self.enqueue_local(parts, Then::Local);
        }
    }

    /// The oldest frame that a replay needs: with a record that the index has not taken in, or
    /// still under way.
    pub(super) fn replay_start(&self) -> (LogPoint, u64) {
        let tails = self.segments.values().flat_map(|segment| segment.tail());
        let tails = tails.filter(|_| !is_planted(Bug::ReplayBeginsLate));
        let oldest = tails.map(|entry| (entry.frame_number, entry.frame)).min();
        let in_flight = self
            .append
            .in_flight_point()
            .map(|(point, number)| (number, point));
        let next = (
            self.append.next_number(),
            self.log.position().unwrap_or_default(),
        );
        let (number, point) = oldest
            .into_iter()
            .chain(in_flight)
            .chain([next])
            .min()
            .unwrap_or(next);
        (point, number)
    }

    fn write_leaves(&mut self) {
        let page_limit = payload_pages_limit(self.config().extent_bytes);
        let longest = payload_pages_longest(self.config().extent_bytes);
        let identity = self.index_identity();
        let mut frame = Vec::new();
        let mut pages = 0;
        while let Phase::Leaves(queue) = &mut self.checkpoint.phase {
            if self.checkpoint.waiting >= LOADS_AT_ONCE || self.checkpoint.frames > 1 {
                break;
            }
            let Some((group, leaf)) = queue.pop_front() else {
                break;
            };
            match self
                .index
                .encode_leaf(&identity, group, leaf, &mut self.usage)
            {
                Err(missing) => self.await_leaf(missing),
                Ok(Some(bytes)) if bytes.page_count() <= longest => {
                    if pages + bytes.page_count() > page_limit || frame.len() == 255 {
                        pages = 0;
                        self.append_pages(std::mem::take(&mut frame));
                    }
                    pages += bytes.page_count();
                    frame.push(index_record(RecordKind::IndexLeaf, group, leaf, bytes));
                }
                Ok(None) => {}
                // Folding keeps a leaf far below the longest frame. Without it in the checkpoint
                // its records would be lost to a replay: the node goes out of service instead.
                Ok(Some(_)) => return self.fence(),
            }
        }
        if !frame.is_empty() {
            self.append_pages(frame);
        }
        let queue_is_empty =
            matches!(&self.checkpoint.phase, Phase::Leaves(queue) if queue.is_empty());
        let is_written = self.checkpoint.frames == 0 || is_planted(Bug::CheckpointBeforeData);
        if queue_is_empty && self.checkpoint.waiting == 0 && is_written {
            self.checkpoint.phase = Phase::Orphans;
        }
    }

    /// Puts a leaf back until its base is loaded.
    fn await_leaf(&mut self, missing: MissingLeaf) {
        if let Phase::Leaves(queue) = &mut self.checkpoint.phase {
            queue.push_back((missing.group, missing.leaf));
        }
        self.checkpoint.waiting += 1;
        self.load_leaf(missing, Parked::Checkpoint);
    }

    fn append_pages(&mut self, parts: Vec<(RecordHeader, Pages)>) {
        self.checkpoint.frames += 1;
        self.enqueue_local(parts, Then::Checkpoint);
    }

    /// Leaves that a discard dropped unread are read now, so that the bytes they referred to are
    /// counted as dead.
    fn load_orphans(&mut self) {
        if self.checkpoint.phase != Phase::Orphans {
            return;
        }
        while self.checkpoint.waiting < LOADS_AT_ONCE {
            let Some(orphan) = self.index.next_orphan() else {
                break;
            };
            let at = orphan.page.at;
            let Some(slot) = self.log.slot_of(at.extent) else {
                continue;
            };
            self.checkpoint.waiting += 1;
            self.read_location(Operation::LoadOrphan(orphan), slot, at);
        }
        if self.checkpoint.waiting == 0 {
            self.checkpoint.phase = Phase::Directories;
            self.append_directories();
        }
    }

    pub(super) fn on_orphan(&mut self, orphan: MissingLeaf, result: Result<PageBuf, DiskError>) {
        self.checkpoint.waiting = self.checkpoint.waiting.saturating_sub(1);
        let identity = self.index_identity();
        // One that cannot be read leaves its bytes counted: garbage collection proves them dead.
        let pages = result.ok();
        let bytes = pages.as_ref().map(PageBuf::bytes);
        self.index
            .orphan_loaded(&identity, &orphan, bytes, &mut self.usage);
    }

    fn append_directories(&mut self) {
        let identity = self.index_identity();
        let page_limit = payload_pages_limit(self.config().extent_bytes);
        for run in self.index.dirty_directories().chunks(page_limit.min(255)) {
            let encoded = run.iter().filter_map(|(group, number)| {
                let bytes =
                    self.index
                        .encode_directory(&identity, *group, *number, &mut self.usage)?;
                Some(index_record(
                    RecordKind::IndexDirectory,
                    *group,
                    *number,
                    bytes,
                ))
            });
            let parts: Vec<_> = encoded.collect();
            if !parts.is_empty() {
                self.append_pages(parts);
            }
        }
    }

    fn write_directories(&mut self) {
        if self.checkpoint.phase == Phase::Directories && self.checkpoint.frames == 0 {
            self.checkpoint.phase = Phase::Root;
            self.append_root();
        }
    }

    fn append_root(&mut self) {
        // What is counted now includes what was applied since the checkpoint began; a replay would
        // count that again.
        let mut on_disk = self.index.usage_on_disk(&self.usage);
        let old = &self.superblock.checkpoint;
        old.iter()
            .for_each(|part| on_disk.subtract(part.at.extent, part.at.bytes()));
        let retiring = &self.checkpoint.retiring;
        let mut extents = self.log.states(|extent| on_disk.get(extent));
        for state in extents
            .iter_mut()
            .filter(|state| retiring.contains(&state.sequence))
        {
            // Free when this root is durable: the file may hold a newer extent at the next open.
            state.sequence = ExtentSequence::default();
            state.live_bytes = 0;
        }
        self.checkpoint.root.extents = extents;
        self.checkpoint.root.directories = self.index.directories();
        let identity = self.index_identity();
        let pages = encode_root(&identity, &self.checkpoint.root).share();
        let page_limit = payload_pages_limit(self.config().extent_bytes);
        self.checkpoint.parts.clear();
        let count = pages.page_count().div_ceil(page_limit);
        for part in 0..count {
            let first = part * page_limit;
            let run = pages.slice(first, page_limit.min(pages.page_count() - first));
            let mut record = RecordHeader::bare(
                RecordKind::CheckpointRoot,
                Lsn::NONE,
                GroupId(0),
                GroupBlock(part as u32),
            );
            record.checksums[0] = checksum(run.bytes());
            self.append_pages(vec![(record, run)]);
        }
    }

    fn write_root(&mut self) {
        if self.checkpoint.phase == Phase::Root && self.checkpoint.frames == 0 {
            self.checkpoint.phase = Phase::Superblock;
            let old = std::mem::replace(
                &mut self.superblock.checkpoint,
                std::mem::take(&mut self.checkpoint.parts),
            );
            old.iter()
                .for_each(|part| self.usage.subtract(part.at.extent, part.at.bytes()));
            self.write_superblock(Answer::Checkpointed);
        }
    }

    /// Index pages are on stable storage.
    pub(super) fn on_checkpoint_pages(&mut self, frame: &Frame, point: LogPoint) {
        self.checkpoint.frames -= 1;
        let payload_at = point.page + frame.header_pages() as u32;
        for record in &frame.records {
            let location = payload_of(record, point, payload_at);
            let (group, number) = (record.group, record.block.0);
            let page = PageRef {
                at: location,
                checksum: record.checksums[0],
            };
            let usage = &mut self.usage;
            match record.kind {
                RecordKind::IndexLeaf => self.index.leaf_written(group, number, page, usage),
                RecordKind::IndexDirectory => {
                    self.index.directory_written(group, number, page, usage);
                }
                _ => {
                    usage.add(location.extent, location.bytes());
                    let slot = self.log.slot_of(location.extent);
                    let slot = slot.expect("an extent that was just appended to has a file");
                    self.checkpoint.parts.push(RootPart { slot, at: location });
                }
            }
        }
    }

    /// The superblock names the new root: what only the old one needed is free.
    pub(super) fn on_checkpoint_durable(&mut self) {
        self.checkpoint.phase = Phase::Idle;
        for extent in std::mem::take(&mut self.checkpoint.retiring) {
            self.release(extent);
        }
        self.checkpoint_freed();
        self.tell_room();
    }
}

fn index_record(
    kind: RecordKind,
    group: GroupId,
    number: u32,
    bytes: PageBuf,
) -> (RecordHeader, Pages) {
    let mut record = RecordHeader::bare(kind, Lsn::NONE, group, GroupBlock(number));
    let pages = bytes.share();
    record.checksums[0] = checksum(pages.bytes());
    (record, pages)
}
