//! Mending copies that were damaged at rest: what a node cannot read any more is written anew from
//! a peer that can prove it.
//!
//! One task a leaf of a node: examine it, fetch what is bad from a peer, have it written anew,
//! examine it again. Versions are the node's own business: it takes only what it had.

use super::Writer;
use crate::config::SEGMENTS;
use crate::format::checksum::checksum;
use crate::format::index_page::LEAF_BLOCKS;
use crate::ids::{GroupBlock, GroupId, NodeId};
use crate::limits;
use crate::lsn::Lsn;
use crate::message::{BlockDigest, CopiedBlock, LeafDigests, NodeFailure, Request, RequestId};
use crate::page_run::PageRun;
use crate::status::RepairFigures;
use crate::time::Instant;
use std::collections::BTreeMap;

/// Tasks under way at a time: bounds memory (3 MiB each) and the foreground's share of the disks.
const TASKS_AT_ONCE: usize = 2;
/// Rounds in which nothing was mended, after which a leaf is left to the next scrub.
const FRUITLESS_ROUNDS: u32 = 3;

/// A leaf of a node.
pub(super) type LeafCopyKey = (NodeId, GroupId, u32);

/// What blocks must hold at a version, by what most copies agree on: a copy that differs is bad,
/// though its checksums are right.
pub(super) type Expected = BTreeMap<GroupBlock, (Lsn, u32)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// To be examined.
    Due,
    Examining,
    Fetching,
    Writing,
}

#[derive(Debug)]
struct Task {
    expected: Expected,
    step: Step,
    /// What the last examination found bad.
    bad: Vec<GroupBlock>,
    /// Peers asked: the next one is another.
    turn: usize,
    /// Peers in turn that had nothing to give.
    failures: usize,
    fruitless: u32,
    /// Whether the bad blocks are counted.
    is_counted: bool,
    /// Nothing is asked before: every peer has failed in turn, or nothing could be written.
    rests_until: Instant,
    asked_at: Instant,
}

impl Task {
    fn new(expected: Expected, now: Instant) -> Task {
        Task {
            expected,
            step: Step::Due,
            bad: Vec::new(),
            turn: 0,
            failures: 0,
            fruitless: 0,
            is_counted: false,
            rests_until: now,
            asked_at: now,
        }
    }

    fn is_bad(&self, block: &BlockDigest) -> bool {
        let is_other = |content| self.differs(block.block, block.lsn, content);
        block.content.is_none_or(is_other)
    }

    fn differs(&self, block: GroupBlock, lsn: Lsn, content: u32) -> bool {
        let expected = self.expected.get(&block);
        expected.is_some_and(|(version, right)| *version == lsn && *right != content)
    }

    fn rest(&mut self, now: Instant) {
        self.step = Step::Due;
        self.fruitless += 1;
        self.rests_until = now.plus(limits::COPY_PATIENCE);
    }
}

/// What is being mended.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    wanted: BTreeMap<LeafCopyKey, Expected>,
    tasks: BTreeMap<LeafCopyKey, Task>,
    requests: BTreeMap<RequestId, LeafCopyKey>,
    figures: BTreeMap<NodeId, RepairFigures>,
}

impl Repairs {
    /// Notes a leaf with something bad in it. What does not fit is found again by a scrub, or by
    /// the next read.
    pub(super) fn want(&mut self, key: LeafCopyKey, expected: Expected) {
        let is_known = self.wanted.contains_key(&key) || self.tasks.contains_key(&key);
        if !is_known && self.wanted.len() < limits::REPAIR_QUEUE {
            self.wanted.insert(key, expected);
        }
    }

    /// Whether copies of a leaf are being mended, or are going to be.
    pub(super) fn is_busy_with(&self, group: GroupId, leaf: u32) -> bool {
        let mut keys = self.wanted.keys().chain(self.tasks.keys());
        keys.any(|(_, other, number)| (*other, *number) == (group, leaf))
    }

    /// The node is gone: what it was to mend is found again when it is back.
    pub(super) fn drop_node(&mut self, node: NodeId) {
        self.wanted.retain(|(target, ..), _| *target != node);
        self.tasks.retain(|(target, ..), _| *target != node);
        self.drop_requests();
    }

    fn drop_requests(&mut self) {
        let tasks = &self.tasks;
        self.requests.retain(|_, key| tasks.contains_key(key));
    }

    /// What was done for a node.
    pub(super) fn figures(&self, node: NodeId) -> RepairFigures {
        self.figures.get(&node).copied().unwrap_or_default()
    }

    fn end(&mut self, key: LeafCopyKey) {
        self.tasks.remove(&key);
        self.drop_requests();
    }

    /// Takes a question off the list when its answer is here.
    fn answered(&mut self, id: RequestId) -> Option<LeafCopyKey> {
        self.requests.remove(&id)
    }

    /// What was not answered in time begins anew with an examination.
    fn give_up_late(&mut self, now: Instant) {
        for (key, task) in &mut self.tasks {
            if task.step != Step::Due && now.since(task.asked_at) > limits::REPLY_PATIENCE {
                task.step = Step::Due;
                task.fruitless += 1;
                task.turn += 1;
                self.requests.retain(|_, asked| asked != key);
            }
        }
        self.tasks
            .retain(|_, task| task.step != Step::Due || task.fruitless < FRUITLESS_ROUNDS);
    }
}

impl Writer {
    /// A node could not read some pages: its leaves there are to be examined. Not in a volume that
    /// is open for looking only.
    pub(super) fn note_damage(&mut self, node: NodeId, group: GroupId, run: PageRun) {
        let first = run.first_block().0 / LEAF_BLOCKS;
        let end = (run.first_block().0 + run.blocks()).div_ceil(LEAF_BLOCKS);
        for leaf in first..end {
            self.want_repair((node, group, leaf), Expected::new());
        }
    }

    pub(super) fn want_repair(&mut self, key: LeafCopyKey, expected: Expected) {
        if !self.policy.read_only {
            self.repairs.want(key, expected);
        }
    }

    /// Starts what can be started.
    pub(super) fn repair_next(&mut self, now: Instant) {
        self.repairs.give_up_late(now);
        while self.repairs.tasks.len() < TASKS_AT_ONCE
            && let Some((key, expected)) = self.repairs.wanted.pop_first()
        {
            self.repairs.tasks.insert(key, Task::new(expected, now));
        }
        let tasks = self.repairs.tasks.iter();
        let due = tasks.filter(|(_, task)| task.step == Step::Due && now >= task.rests_until);
        for key in due.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.examine_for_repair(key);
        }
    }

    /// Whether a node's segment is complete, and the node can be asked.
    pub(super) fn is_able(&self, node: NodeId, group: GroupId) -> bool {
        let is_complete = |view: &super::ProtectionGroup| view.is_complete(node);
        self.nodes[node.index()].is_reachable()
            && self.knows_vdl(node)
            && self.groups.get(&group).is_some_and(is_complete)
    }

    fn examine_for_repair(&mut self, key: LeafCopyKey) {
        let (node, group, leaf) = key;
        if !self.is_able(node, group) {
            // It is filled anew, or found again when it is back.
            return self.repairs.end(key);
        }
        let id = self.ask_to_examine(node, group, leaf);
        self.note_asked(key, Step::Examining, id);
    }

    /// Has a node read every block of a leaf: the name of the question.
    pub(super) fn ask_to_examine(&mut self, node: NodeId, group: GroupId, leaf: u32) -> RequestId {
        let (epoch, vdl, id) = (self.epoch, self.vdl_for(node), self.new_request());
        let request = Request::Examine {
            epoch,
            id,
            group,
            leaf,
            vdl,
        };
        self.send(node, request);
        id
    }

    fn note_asked(&mut self, key: LeafCopyKey, step: Step, id: RequestId) {
        if let Some(task) = self.repairs.tasks.get_mut(&key) {
            task.step = step;
            task.asked_at = self.now;
            self.repairs.requests.insert(id, key);
        }
    }

    /// A node has examined a leaf, for a repair or for a scrub.
    pub(super) fn on_examined(
        &mut self,
        from: NodeId,
        id: RequestId,
        result: Result<LeafDigests, NodeFailure>,
    ) {
        let Some(key) = self.repairs.answered(id) else {
            return self.on_scrub_examined(from, id, result);
        };
        let Some(task) = self.repairs.tasks.get_mut(&key) else {
            return;
        };
        let Ok(digests) = result else {
            return self.repairs.end(key);
        };
        self.unprovable.clear_proven(key.1, &digests);
        let bad = digests.blocks.iter().filter(|block| task.is_bad(block));
        task.bad = bad.map(|block| block.block).collect();
        if task.bad.is_empty() || task.fruitless >= FRUITLESS_ROUNDS {
            self.repairs.end(key);
            return self.repair_next(self.now);
        }
        if !std::mem::replace(&mut task.is_counted, true) {
            let figures = self.repairs.figures.entry(from).or_default();
            figures.damaged_blocks += task.bad.len() as u64;
        }
        self.fetch_blocks(key);
    }

    /// Asks a peer for what is bad.
    fn fetch_blocks(&mut self, key: LeafCopyKey) {
        let (node, group, _) = key;
        let Some(task) = self.repairs.tasks.get(&key) else {
            return;
        };
        let (blocks, turn) = (task.bad.clone(), task.turn);
        let Some(source) = self.peer_of(node, group, turn) else {
            return self.rest(key);
        };
        let (epoch, id) = (self.epoch, self.new_request());
        self.note_asked(key, Step::Fetching, id);
        self.send(
            source,
            Request::FetchBlocks {
                epoch,
                id,
                group,
                blocks,
            },
        );
    }

    fn rest(&mut self, key: LeafCopyKey) {
        let now = self.now;
        if let Some(task) = self.repairs.tasks.get_mut(&key) {
            task.rest(now);
        }
    }

    /// Another complete member: a different one in each turn.
    fn peer_of(&self, node: NodeId, group: GroupId, turn: usize) -> Option<NodeId> {
        let reachable = |other: NodeId| self.nodes[other.index()].is_reachable();
        let view = self.groups.get(&group)?;
        let peers: Vec<NodeId> = view.complete_others(node, reachable).collect();
        let place = turn.checked_rem(peers.len())?;
        Some(peers[place])
    }

    /// A peer has given what it can prove of the bad blocks.
    pub(super) fn on_blocks(
        &mut self,
        id: RequestId,
        result: Result<Vec<CopiedBlock>, NodeFailure>,
    ) {
        let Some(key) = self.repairs.answered(id) else {
            return;
        };
        let Some(task) = self.repairs.tasks.get_mut(&key) else {
            return;
        };
        let mut blocks = result.unwrap_or_default();
        blocks.retain(|copy| {
            let content = copy.content.as_ref();
            let is_right = |sum| !task.differs(copy.block, copy.lsn, sum);
            content.is_some_and(|pages| is_right(checksum(pages.bytes())))
        });
        if blocks.len() < task.bad.len() {
            task.turn += 1;
        }
        if blocks.is_empty() {
            task.failures += 1;
            return match task.failures.is_multiple_of(SEGMENTS - 1) {
                true => self.rest(key),
                false => self.fetch_blocks(key),
            };
        }
        task.failures = 0;
        let (epoch, id) = (self.epoch, self.new_request());
        let (node, group, _) = key;
        self.note_asked(key, Step::Writing, id);
        self.send(
            node,
            Request::Repair {
                epoch,
                id,
                group,
                blocks,
            },
        );
    }

    /// A node has written blocks anew. Whether all is well now another examination says.
    pub(super) fn on_repaired(&mut self, from: NodeId, id: RequestId, blocks: u32) {
        let Some(key) = self.repairs.answered(id) else {
            return;
        };
        let figures = self.repairs.figures.entry(from).or_default();
        figures.repaired_blocks += u64::from(blocks);
        if blocks == 0 {
            return self.rest(key);
        }
        if let Some(task) = self.repairs.tasks.get_mut(&key) {
            task.fruitless = 0;
        }
        self.examine_for_repair(key);
    }
}
