//! Reads: pending records, then one segment that can prove it has everything up to the read
//! point. Never a quorum read; a late answer is hedged, a bad one is asked of another segment.

use super::health::Measure;
use super::pending::Overlay;
use super::{Answer, ReadBytes, Ticket, Writer};
use crate::error::IoFailure;
use crate::format::index_page::LEAF_BLOCKS;
use crate::geometry::PAGES_PER_BLOCK;
use crate::ids::{DiskBlock, GroupBlock, GroupId, NodeId};
use crate::limits;
use crate::lsn::Lsn;
use crate::message::{NodeFailure, Request, RequestId};
use crate::page::{PAGE_BYTES, PageBuf};
use crate::page_run::PageRun;
use crate::planted::{Bug, is_planted};
use crate::time::Instant;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

/// Pages of one request to a node at most (1 MiB).
const PART_PAGES: u64 = 256;
/// Pages of a block, for page numbers of the disk.
const BLOCK_PAGES: u64 = PAGES_PER_BLOCK as u64;
/// A read that is older than this is asked of a second node, too.
const HEDGE_AFTER: Duration = Duration::from_millis(25);

/// A read of the disk's user.
#[derive(Debug)]
struct Job {
    /// First byte in the pages that are read.
    start: usize,
    length: usize,
    /// The parts' pages, as they come.
    parts: Vec<Option<PageBuf>>,
    missing: usize,
}

/// A run of pages asked of a node.
#[derive(Debug)]
struct Part {
    ticket: Ticket,
    index: usize,
    group: GroupId,
    run: PageRun,
    overlays: Vec<Overlay>,
    asked: Vec<NodeId>,
    /// Those of them whose answer is still to come.
    open: Vec<NodeId>,
    since: Instant,
    /// A node that was asked could not read its copy.
    met_damage: bool,
    /// It is a copy that is asked for, and no other one will do.
    is_of_one_node: bool,
}

/// A part asked of a node.
#[derive(Clone, Copy, Debug)]
struct Ask {
    part: RequestId,
    node: NodeId,
    at: Instant,
}

impl Part {
    /// The leaf of the index that the first block is in.
    fn leaf(&self) -> u32 {
        self.run.first_block().0 / LEAF_BLOCKS
    }
}

/// Reads under way.
#[derive(Debug, Default)]
pub(super) struct Reads {
    jobs: HashMap<Ticket, Job>,
    parts: BTreeMap<RequestId, Part>,
    /// What nodes were asked: the first request of a part is its name.
    asks: HashMap<RequestId, Ask>,
}

impl Reads {
    /// Whether nobody waits for one.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

impl Writer {
    /// Reads bytes of the disk.
    pub fn read(&mut self, now: Instant, ticket: Ticket, offset: u64, length: usize) {
        self.catch_up.pace.on_foreground(now);
        self.now = now;
        let end = offset
            .checked_add(length as u64)
            .filter(|end| *end <= self.disk_bytes());
        let Some(end) = end else {
            return self.complete(ticket, Err(IoFailure::OutOfBounds));
        };
        let page_bytes = PAGE_BYTES as u64;
        let runs = self.runs_of(offset / page_bytes..end.div_ceil(page_bytes));
        let parts: Vec<Option<PageBuf>> = runs.iter().map(|_| None).collect();
        let start = (offset % page_bytes) as usize;
        let job = Job {
            start,
            length,
            missing: parts.len(),
            parts,
        };
        self.reads.jobs.insert(ticket, job);
        for (index, (group, run)) in runs.into_iter().enumerate() {
            self.read_part(now, ticket, index, group, run);
        }
        self.finish_job(ticket);
    }

    /// Cuts pages of the disk into runs that lie side by side in one group.
    fn runs_of(&self, pages: Range<u64>) -> Vec<(GroupId, PageRun)> {
        let geometry = &self.config.geometry;
        let mut runs = Vec::new();
        let mut page = pages.start;
        while page < pages.end {
            let block = DiskBlock(page / BLOCK_PAGES);
            let (group, in_group) = geometry.locate(block);
            let skipped = page % BLOCK_PAGES;
            let side_by_side = geometry.run_length(block) * BLOCK_PAGES - skipped;
            let count = side_by_side.min(pages.end - page).min(PART_PAGES);
            let run = PageRun {
                first: in_group.0 * BLOCK_PAGES as u32 + skipped as u32,
                pages: count as u32,
            };
            runs.push((group, run));
            page += count;
        }
        runs
    }

    fn read_part(
        &mut self,
        now: Instant,
        ticket: Ticket,
        index: usize,
        group: GroupId,
        run: PageRun,
    ) {
        let (mut overlays, mut covered) = self.pending.overlays(group, run);
        if is_planted(Bug::PendingNotRead) {
            (overlays, covered) = (Vec::new(), false);
        }
        let exists = self
            .groups
            .get(&group)
            .is_some_and(|view| view.tip.is_some());
        let is_absent = !exists && !self.may_be_superseded();
        if covered || is_absent {
            let buffer = PageBuf::zeroed(run.pages as usize);
            return self.part_done(ticket, index, &overlays, buffer);
        }
        let id = self.new_request();
        let part = Part {
            ticket,
            index,
            group,
            run,
            overlays,
            asked: Vec::new(),
            open: Vec::new(),
            since: now,
            met_damage: false,
            is_of_one_node: false,
        };
        self.reads.parts.insert(id, part);
        if !self.ask(id) {
            return self.part_failed(id);
        }
        self.probe(id);
    }

    /// Asks the next segment that can serve a part; `false` if there is none left.
    fn ask(&mut self, id: RequestId) -> bool {
        let Some(part) = self.reads.parts.get(&id) else {
            return false;
        };
        let node = self.reader_of(part.group, part.leaf(), &part.asked);
        let Some((node, tip)) = node else {
            return false;
        };
        let alias = if part.asked.is_empty() {
            id
        } else {
            self.new_request()
        };
        let Some(part) = self.reads.parts.get_mut(&id) else {
            return false;
        };
        part.asked.push(node);
        part.open.push(node);
        self.ask_node(id, alias, node, tip);
        true
    }

    fn ask_node(&mut self, id: RequestId, alias: RequestId, node: NodeId, tip: Lsn) {
        let Some(part) = self.reads.parts.get(&id) else {
            return;
        };
        let (group, run) = (part.group, part.run);
        let (epoch, vdl, at) = (self.epoch, self.vdl_for(node), self.now);
        self.reads.asks.insert(alias, Ask { part: id, node, at });
        self.send(
            node,
            Request::Read {
                epoch,
                id: alias,
                group,
                run,
                vdl,
                tip,
            },
        );
    }

    /// Asks, besides, a node that is avoided, now and then: nobody waits for its answer, but it
    /// shows whether the node has recovered.
    fn probe(&mut self, id: RequestId) {
        let part = self.reads.parts.get(&id);
        let view = part.and_then(|part| Some((part, self.groups.get(&part.group)?)));
        let Some((part, view)) = view else { return };
        let (now, tip) = (self.now, view.tip);
        let is_due = |node: &&NodeId| {
            self.health.is_probe_due(now, **node)
                && self.nodes[node.index()].is_reachable()
                && self.knows_vdl(**node)
                && view.is_current(**node)
                && !part.asked.contains(node)
        };
        if let Some(node) = view.members.iter().find(is_due).copied() {
            self.health.probed(now, node);
            let alias = self.new_request();
            self.ask_node(id, alias, node, tip);
        }
    }

    /// A segment that covers the read point and was not asked yet. Each leaf has a first choice
    /// of its own, so that the nodes' indexes share the memory instead of each keeping all.
    pub(super) fn reader_of(
        &self,
        group: GroupId,
        leaf: u32,
        asked: &[NodeId],
    ) -> Option<(NodeId, Lsn)> {
        let view = self.groups.get(&group)?;
        if self.may_be_superseded() {
            return None;
        }
        let members = view.members;
        let first = (leaf as usize).wrapping_mul(5) % members.len();
        let order = (0..members.len()).map(|step| members[(first + step) % members.len()]);
        let able = order.filter(|node| {
            !asked.contains(node)
                && view.is_current(*node)
                && self.nodes[node.index()].is_reachable()
                && self.knows_vdl(*node)
        });
        let node = able.min_by_key(|node| self.health.reluctance(self.now, *node))?;
        Some((node, view.tip))
    }

    /// A node answered a part.
    pub(super) fn on_pages(
        &mut self,
        now: Instant,
        from: NodeId,
        alias: RequestId,
        result: Result<PageBuf, NodeFailure>,
    ) {
        let Some(Ask { part: id, at, .. }) = self.reads.asks.remove(&alias) else {
            return;
        };
        self.measure_read(now, from, at, result.as_ref().err());
        let Some(part) = self.reads.parts.get_mut(&id) else {
            return;
        };
        let is_awaited = part.open.contains(&from);
        part.open.retain(|node| *node != from);
        match result {
            Ok(buffer) => {
                if let Some(part) = self.reads.parts.remove(&id) {
                    self.unprovable.clear_run(part.group, part.run);
                    self.part_done(part.ticket, part.index, &part.overlays, buffer);
                    self.finish_job(part.ticket);
                }
            }
            Err(failure) => {
                match failure {
                    // It was asked because it had proved that it is not.
                    NodeFailure::Behind => {
                        self.suspects.insert(from);
                    }
                    NodeFailure::Damaged => {
                        part.met_damage = true;
                        let (group, run) = (part.group, part.run);
                        self.note_damage(from, group, run);
                    }
                    NodeFailure::OutOfService => {}
                }
                if is_awaited {
                    self.ask_another(id);
                }
            }
        }
    }

    /// Asks the next node, or gives a part up that nobody is left for.
    fn ask_another(&mut self, id: RequestId) {
        let part = |writer: &Writer| writer.reads.parts.get(&id).map(|part| part.open.is_empty());
        if !self.ask(id) && part(self) == Some(true) {
            self.part_failed(id);
        }
    }

    /// What an answer says of its node.
    fn measure_read(
        &mut self,
        now: Instant,
        from: NodeId,
        asked: Instant,
        failure: Option<&NodeFailure>,
    ) {
        match failure {
            None => {
                let latency = now.since(asked);
                self.health.measured(now, from, Measure::Read, latency);
            }
            Some(NodeFailure::Damaged) => self.health.damaged(now, from),
            Some(NodeFailure::Behind | NodeFailure::OutOfService) => {}
        }
    }

    /// Since when each node owes pages. Of messages that were lost nothing is expected for ever.
    pub(super) fn reads_owed(&mut self, now: Instant) -> BTreeMap<NodeId, Instant> {
        let parts = &self.reads.parts;
        self.reads.asks.retain(|_, ask| {
            parts.contains_key(&ask.part) || now.since(ask.at) <= limits::STUCK_GIVEN_UP
        });
        let mut oldest = BTreeMap::new();
        for ask in self.reads.asks.values() {
            let at = oldest.entry(ask.node).or_insert(ask.at);
            *at = ask.at.min(*at);
        }
        oldest
    }

    fn part_done(
        &mut self,
        ticket: Ticket,
        index: usize,
        overlays: &[Overlay],
        mut buffer: PageBuf,
    ) {
        overlays
            .iter()
            .for_each(|overlay| overlay.apply(buffer.bytes_mut()));
        if let Some(job) = self.reads.jobs.get_mut(&ticket) {
            job.parts[index] = Some(buffer);
            job.missing -= 1;
        }
    }

    /// Nobody is left to be asked for a part. Of several blocks another one may be damaged on each
    /// node, and each of them be good somewhere: they are asked for one by one.
    fn part_failed(&mut self, id: RequestId) {
        let Some(part) = self.reads.parts.remove(&id) else {
            return;
        };
        if part.met_damage && part.run.blocks() > 1 && !part.is_of_one_node {
            return self.read_blocks_of(&part);
        }
        if part.met_damage && !part.is_of_one_node {
            self.unprovable.add(part.group, part.run.first_block());
        }
        if self.reads.jobs.remove(&part.ticket).is_some() {
            self.complete(part.ticket, Err(IoFailure::Unreadable));
        }
    }

    /// Reads a part that nobody could give as a whole block by block.
    fn read_blocks_of(&mut self, part: &Part) {
        let blocks: Vec<PageRun> = part.run.by_block().collect();
        let more = blocks.len() - 1;
        let Some(job) = self.reads.jobs.get_mut(&part.ticket) else {
            return;
        };
        job.missing += more;
        let places = part.index..=part.index;
        job.parts.splice(places, blocks.iter().map(|_| None));
        let parts = self.reads.parts.values_mut();
        let behind = parts.filter(|other| other.ticket == part.ticket && other.index > part.index);
        behind.for_each(|other| other.index += more);
        for (place, run) in blocks.into_iter().enumerate() {
            self.read_part(self.now, part.ticket, part.index + place, part.group, run);
        }
        self.finish_job(part.ticket);
    }

    fn finish_job(&mut self, ticket: Ticket) {
        let done = self
            .reads
            .jobs
            .get(&ticket)
            .is_some_and(|job| job.missing == 0);
        if let Some(job) = done.then(|| self.reads.jobs.remove(&ticket)).flatten() {
            let (start, length) = (job.start, job.length);
            let bytes = ReadBytes {
                buffer: join(job.parts),
                start,
                length,
            };
            self.complete(ticket, Ok(Answer::Bytes(bytes)));
        }
    }

    /// Asks a second segment for what is late.
    pub(super) fn hedge_reads(&mut self, now: Instant) {
        let late = self.reads.parts.iter().filter(|(_, part)| {
            !part.open.is_empty() && now.since(part.since) > HEDGE_AFTER * part.asked.len() as u32
        });
        let late: Vec<(RequestId, Option<NodeId>)> = late
            .map(|(id, part)| (*id, part.asked.last().copied()))
            .collect();
        for (id, slow) in late {
            if let Some(node) = slow {
                self.health.measured(now, node, Measure::Read, HEDGE_AFTER);
            }
            self.ask(id);
        }
    }

    /// Asks again for what no node has answered: the question or the answer may be lost.
    pub(super) fn reask_reads(&mut self, now: Instant) {
        let is_late = |since: Instant| now.since(since) > limits::REPLY_PATIENCE;
        let parts = self.reads.parts.iter_mut();
        let late = parts.filter(|(_, part)| !part.open.is_empty() && is_late(part.since));
        let late: Vec<RequestId> = late
            .map(|(id, part)| {
                let open = std::mem::take(&mut part.open);
                part.asked.retain(|node| !open.contains(node));
                part.since = now;
                *id
            })
            .collect();
        for id in late {
            if !self.ask(id) {
                self.part_failed(id);
            }
        }
        self.reask_presence(now);
    }

    /// Reads one node's copy of some blocks as of the VDL, pending records left out: for
    /// comparing copies.
    pub fn read_copy(
        &mut self,
        now: Instant,
        ticket: Ticket,
        node: NodeId,
        group: GroupId,
        block: GroupBlock,
        blocks: u32,
    ) {
        let current = self.groups.get(&group).filter(|view| view.is_current(node));
        let Some((members, tip)) = current.map(|view| (view.members, view.tip)) else {
            return self.complete(ticket, Err(IoFailure::Unreadable));
        };
        let run = PageRun::of_blocks(block, blocks);
        let job = Job {
            start: 0,
            length: run.bytes(),
            parts: vec![None],
            missing: 1,
        };
        self.reads.jobs.insert(ticket, job);
        let id = self.new_request();
        // Nobody is left to be asked when this node fails.
        let asked = members
            .into_iter()
            .filter(|member| *member != node)
            .chain([node])
            .collect();
        let (overlays, open) = (Vec::new(), vec![node]);
        let part = Part {
            ticket,
            index: 0,
            group,
            run,
            overlays,
            asked,
            open,
            since: now,
            met_damage: false,
            is_of_one_node: true,
        };
        self.reads.parts.insert(id, part);
        self.ask_node(id, id, node, tip);
    }

    /// What was asked of a node that is gone is asked of another.
    pub(super) fn reask_reads_of(&mut self, node: NodeId) {
        self.reads.asks.retain(|_, ask| ask.node != node);
        let parts = self.reads.parts.iter_mut();
        let of_node = parts.filter(|(_, part)| part.open.contains(&node));
        let ids: Vec<RequestId> = of_node
            .map(|(id, part)| {
                part.open.retain(|open| *open != node);
                *id
            })
            .collect();
        ids.into_iter().for_each(|id| self.ask_another(id));
        self.reask_presence_of(node);
    }
}

/// The parts side by side; a single one is passed on as it is.
fn join(mut parts: Vec<Option<PageBuf>>) -> PageBuf {
    if parts.len() == 1 {
        return parts.pop().flatten().unwrap_or_default();
    }
    let parts: Vec<PageBuf> = parts.into_iter().flatten().collect();
    let mut joined = PageBuf::with_capacity(parts.iter().map(PageBuf::page_count).sum());
    parts
        .iter()
        .for_each(|part| joined.extend_from_pages(part.pages()));
    joined
}
