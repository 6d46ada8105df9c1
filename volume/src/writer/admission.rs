//! What may enter the volatile cache. A request that may not is parked, never a blocked thread;
//! what was admitted is never dropped (law 9).

use super::node_view::NodeView;
use super::payload::{Piece, cut};
use super::pending::PendingRecord;
use super::{Answer, CacheMode, QuorumLoss, Ticket, Writer};
use crate::error::IoFailure;
use crate::format::redo_record::{RecordHeader, RecordKind, flags};
use crate::geometry::BLOCK_BYTES;
use crate::groups_of_range::{GroupRun, runs_of_range};
use crate::ids::DiskBlock;
use crate::limits;
use crate::lsn::Lsn;
use crate::message::Space;
use crate::page::{PAGE_BYTES, Pages};
use crate::planted::{Bug, is_planted};
use crate::quorum::WRITE_QUORUM;
use crate::time::Instant;

/// One mini-transaction: what takes effect together.
#[derive(Debug)]
pub(super) struct Change {
    ticket: Ticket,
    pieces: Vec<Piece>,
    discard: Option<(DiskBlock, DiskBlock)>,
    durable: bool,
    /// It gives space back: it may take what is reserved for that.
    is_discard: bool,
}

impl Change {
    /// Memory that it holds, and room that it takes in the log.
    fn bytes(&self) -> usize {
        let pages = self.pieces.iter().map(|piece| piece.pages.page_count());
        (pages.sum::<usize>() + 1) * PAGE_BYTES + 128 * self.pieces.len()
    }
}

/// A request that waits to be admitted.
#[derive(Debug)]
pub(super) struct Parked {
    change: Change,
    since: Instant,
}

/// Whether a change may be admitted now.
enum Verdict {
    Admit,
    Park,
    /// Parked, for room.
    AwaitRoom,
    Fail(IoFailure),
}

impl Writer {
    /// A write of prepared pieces (see [`cut`]), one mini-transaction. `durable`: answered only
    /// at the quorum.
    pub fn write(&mut self, now: Instant, ticket: Ticket, pieces: Vec<Piece>, durable: bool) {
        let durable = durable || self.policy.cache == CacheMode::Writethrough;
        self.change(
            now,
            Change {
                ticket,
                pieces,
                discard: None,
                durable,
                is_discard: false,
            },
        );
    }

    /// Makes a byte range read as zeros; its whole blocks are given back. One mini-transaction.
    pub fn discard(&mut self, now: Instant, ticket: Ticket, offset: u64, length: u64) {
        let block_bytes = BLOCK_BYTES as u64;
        let Some(end) = offset
            .checked_add(length)
            .filter(|end| *end <= self.disk_bytes())
        else {
            return self.complete(ticket, Err(IoFailure::OutOfBounds));
        };
        let first = offset.div_ceil(block_bytes);
        // The last block of a disk may be cut short by the disk's end: it is given back whole.
        let last = if end == self.disk_bytes() {
            end.div_ceil(block_bytes)
        } else {
            end / block_bytes
        };
        let mut pieces = Vec::new();
        let mut zero = |from: u64, to: u64| {
            if from < to {
                pieces.extend(cut(from, &vec![0; (to - from) as usize]));
            }
        };
        if first >= last {
            zero(offset, end);
        } else {
            zero(offset, first * block_bytes);
            zero(last * block_bytes, end);
        }
        let discard = (first < last).then_some((DiskBlock(first), DiskBlock(last)));
        let durable = self.policy.cache == CacheMode::Writethrough;
        self.change(
            now,
            Change {
                ticket,
                pieces,
                discard,
                durable,
                is_discard: true,
            },
        );
    }

    /// Answers when everything admitted so far is durable.
    pub fn flush(&mut self, now: Instant, ticket: Ticket) {
        self.now = now;
        self.catch_up.pace.on_foreground(now);
        if self.vdl >= self.last_lsn || is_planted(Bug::FlushBeforeQuorum) {
            return self.complete(ticket, Ok(Answer::Done));
        }
        if !self.writable && self.policy.on_quorum_loss == QuorumLoss::Fail {
            return self.complete(ticket, Err(IoFailure::QuorumLost));
        }
        self.waiting.push_back((self.last_lsn, ticket, now));
        self.send_frames();
    }

    fn change(&mut self, now: Instant, change: Change) {
        self.now = now;
        self.catch_up.pace.on_foreground(now);
        self.parked_bytes += change.bytes();
        self.parked.push_back(Parked { change, since: now });
        self.unpark(now);
        if self.parked_bytes > limits::PARKED_BYTES
            && let Some(newest) = self.take_parked(self.parked.len() - 1)
        {
            self.complete(newest.ticket, Err(IoFailure::TooManyWaiting));
        }
        self.send_frames();
    }

    fn take_parked(&mut self, place: usize) -> Option<Change> {
        let change = self.parked.remove(place)?.change;
        self.parked_bytes -= change.bytes();
        Some(change)
    }

    /// Admits, in order, what can be admitted now.
    pub(super) fn unpark(&mut self, now: Instant) {
        while let Some(parked) = self.parked.front() {
            match self.verdict(parked) {
                Verdict::Park => return,
                Verdict::AwaitRoom => {
                    self.short_since.get_or_insert(now);
                    return self.unpark_discards(now);
                }
                Verdict::Admit => {
                    if let Some(change) = self.take_parked(0) {
                        self.short_since = None;
                        self.admit(now, change);
                    }
                }
                Verdict::Fail(failure) => {
                    if let Some(change) = self.take_parked(0) {
                        self.complete(change.ticket, Err(failure));
                    }
                }
            }
        }
    }

    /// Admits discards before the writes that wait for the room that they may make. None of these
    /// is answered yet, so no order among them was promised.
    fn unpark_discards(&mut self, now: Instant) {
        let mut place = 0;
        while let Some(parked) = self.parked.get(place) {
            let admitted =
                parked.change.is_discard && matches!(self.verdict(parked), Verdict::Admit);
            match admitted.then(|| self.take_parked(place)).flatten() {
                Some(change) => self.admit(now, change),
                None => place += 1,
            }
        }
    }

    fn verdict(&self, parked: &Parked) -> Verdict {
        let change = &parked.change;
        if self.policy.read_only {
            return Verdict::Fail(IoFailure::ReadOnly);
        }
        let end = change
            .pieces
            .iter()
            .map(|piece| piece.block.0 * BLOCK_BYTES as u64 + u64::from(piece.end));
        if end.max().is_some_and(|end| end > self.disk_bytes()) {
            return Verdict::Fail(IoFailure::OutOfBounds);
        }
        if !self.is_open() || !self.writable {
            return match self.policy.on_quorum_loss {
                QuorumLoss::Fail if self.is_open() => Verdict::Fail(IoFailure::QuorumLost),
                _ => Verdict::Park,
            };
        }
        let bytes = change.bytes();
        let backlog = self.pending.bytes();
        if backlog > 0 && backlog + bytes > limits::BACKLOG_BYTES {
            return Verdict::Park;
        }
        if self.next_lsn > self.vdl.plus(limits::LSN_ALLOCATION_LIMIT / 2) {
            return Verdict::Park;
        }
        self.verdict_of_space(bytes, parked)
    }

    /// Four members of every group must surely have room for all that is on its way. While
    /// collection may win some, the request waits for it.
    fn verdict_of_space(&self, bytes: usize, parked: &Parked) -> Verdict {
        let is_discard = parked.change.is_discard;
        let needed = (self.pending.unsent_bytes() + bytes) as u64 * 9 / 8 + 64 * PAGE_BYTES as u64;
        let mut verdict = Verdict::Admit;
        for members in &self.placements {
            let views = members.iter().map(|node| &self.nodes[node.index()]);
            let streaming: Vec<_> = views.filter(|view| view.is_streaming()).collect();
            let has_room = |view: &&&NodeView| {
                let room = &view.room;
                let bytes = if is_discard {
                    room.for_discards
                } else {
                    room.bytes
                };
                bytes >= needed
            };
            let roomy = streaming.iter().filter(has_room).count();
            let may_have = |view: &&&NodeView| has_room(view) || view.room.space != Space::Full;
            let hopeful = streaming.iter().filter(may_have);
            // A discard is never hopeless: it is garbage itself as soon as it has taken effect.
            let is_full = hopeful.count() < WRITE_QUORUM && !is_discard;
            let hopeless = is_full || self.patience_is_over(parked);
            if roomy < WRITE_QUORUM && hopeless && self.pending.is_empty() {
                return Verdict::Fail(IoFailure::NoSpace);
            }
            if roomy < WRITE_QUORUM {
                verdict = Verdict::AwaitRoom;
            }
        }
        verdict
    }

    /// Writes wait together until nothing was admitted for too long; a discard for itself.
    fn patience_is_over(&self, parked: &Parked) -> bool {
        let since = if parked.change.is_discard {
            Some(parked.since)
        } else {
            self.short_since
        };
        since.is_some_and(|since| self.now.since(since) >= limits::SPACE_PATIENCE)
    }

    fn admit(&mut self, now: Instant, change: Change) {
        let mut records = Vec::with_capacity(change.pieces.len());
        for piece in change.pieces {
            records.push(self.record_of_piece(piece));
        }
        if let Some((first, end)) = change.discard {
            self.records_of_discard(first, end, &mut records);
        }
        if let Some((last, _)) = records.last_mut() {
            last.flags |= flags::CONSISTENCY_POINT;
        }
        for (mut record, pages) in records {
            self.give_out_lsn(&mut record);
            self.written_bytes += u64::from(record.end - record.start);
            match record.kind {
                RecordKind::Image => self.unprovable.clear_blocks(&record, 1),
                RecordKind::Discard => self.unprovable.clear_blocks(&record, record.blocks),
                _ => {}
            }
            self.pending.push(PendingRecord { record, pages });
        }
        if change.durable && self.vdl < self.last_lsn {
            self.waiting.push_back((self.last_lsn, change.ticket, now));
        } else {
            self.complete(change.ticket, Ok(Answer::Done));
        }
    }

    fn record_of_piece(&mut self, piece: Piece) -> (RecordHeader, Pages) {
        let (group, block) = self.config.geometry.locate(piece.block);
        let kind = if piece.is_image() {
            RecordKind::Image
        } else {
            RecordKind::Delta
        };
        let mut record = RecordHeader::bare(kind, Lsn::NONE, group, block);
        record.start = piece.start;
        record.end = piece.end;
        record.payload_pages = piece.pages.page_count() as u16;
        record.checksums = piece.checksums;
        (record, piece.pages)
    }

    /// One record for each group that exists, however long the range is.
    fn records_of_discard(
        &self,
        first: DiskBlock,
        end: DiskBlock,
        records: &mut Vec<(RecordHeader, Pages)>,
    ) {
        for GroupRun {
            group,
            block,
            blocks,
        } in runs_of_range(
            &self.config.geometry,
            first,
            end,
            self.groups.keys().copied(),
        ) {
            let mut record = RecordHeader::bare(RecordKind::Discard, Lsn::NONE, group, block);
            record.blocks = blocks;
            records.push((record, Pages::empty()));
        }
    }

    /// Gives the record its LSN and its three backlinks.
    fn give_out_lsn(&mut self, record: &mut RecordHeader) {
        record.lsn = self.next_lsn;
        record.previous_in_volume = self.last_lsn;
        record.previous_of_block = match record.kind {
            RecordKind::Discard => Lsn::NONE,
            _ => self.pending.newest_of(record.group, record.block),
        };
        if !self.groups.contains_key(&record.group) {
            self.begin_group(record.group);
        }
        if let Some(group) = self.groups.get_mut(&record.group) {
            record.previous_in_group = group.last;
            group.last = record.lsn;
        }
        self.last_lsn = record.lsn;
        self.next_lsn = record.lsn.next();
    }

    /// Fails what has waited for a lost quorum longer than the policy allows. Nothing admitted is
    /// dropped by that.
    pub(super) fn time_out(&mut self, now: Instant) {
        let Some(since_lost) = self.unwritable_since else {
            return;
        };
        let patience = match self.policy.on_quorum_loss {
            QuorumLoss::Wait => return,
            QuorumLoss::Fail => std::time::Duration::ZERO,
            QuorumLoss::After(patience) => patience,
        };
        let overdue = |since: Instant| now.since(since.max(since_lost)) >= patience;
        while self
            .parked
            .front()
            .is_some_and(|parked| overdue(parked.since))
        {
            if let Some(change) = self.take_parked(0) {
                self.complete(change.ticket, Err(IoFailure::QuorumLost));
            }
        }
        while self
            .waiting
            .front()
            .is_some_and(|(_, _, since)| overdue(*since))
        {
            if let Some((_, ticket, _)) = self.waiting.pop_front() {
                self.complete(ticket, Err(IoFailure::QuorumLost));
            }
        }
    }
}
