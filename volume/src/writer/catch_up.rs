//! Filling segments that lack something, with blocks from peers that have everything.
//!
//! One task a segment: mark it incomplete, copy its leaves, several at a time and from all peers,
//! mark it complete (`filling` does that; `runs` knows which leaves are where, `filling_pace` how many may be
//! under way, `progress` what people are told). The segment takes the writer's new records
//! meanwhile, and counts in no quorum until it is complete. What it has from a copy that was
//! interrupted is not copied again (see [`crate::kept`]).

use super::filling_pace::{Pace, RebuildRate};
use super::progress::{Portion, Progress};
use super::runs::{Run, Runs, Stage};
use crate::ids::{GroupId, NodeId};
use crate::kept::Kept;
use crate::limits;
use crate::lsn::Lsn;
use crate::message::RequestId;
use crate::status::{NodeState, RebuildFigures};
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// What a segment lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) node: NodeId,
    pub(super) group: GroupId,
    /// It has everything up to here.
    pub(super) since: Lsn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The mark is on its way.
    Marking,
    /// Leaves are being copied.
    Copying,
    /// Every leaf was put. The group's last durable record then: everything up to it was sent
    /// before the segment was told to be complete.
    Completing(Lsn),
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) lack: Lack,
    pub(super) base: Lsn,
    /// Names the copy to the segment.
    pub(super) copy: RequestId,
    pub(super) step: Step,
    /// What the segment has already, as it said when it was marked.
    pub(super) kept: Kept,
    pub(super) runs: Runs,
    pub(super) portion: Portion,
    /// Nothing is fetched before: every peer has failed to give a leaf.
    pub(super) rests_until: Instant,
    /// When the mark was asked for, or the end; while leaves are copied, when one came last.
    pub(super) heard_at: Instant,
    /// Until then others of the group wait: it stopped voting to be filled.
    turn_ends: Option<Instant>,
}

impl Task {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.step == Step::Copying && now >= self.rests_until
    }

    /// Whether an answer is so late that it is not waited for any more. While others come this one
    /// may be behind them, yet not for ever.
    fn is_late(&self, run: &Run, now: Instant) -> bool {
        let patience = match run.stage {
            Stage::Fetching(_) => limits::COPY_PATIENCE,
            Stage::Putting => limits::REPLY_PATIENCE,
        };
        let waited = now.since(run.asked_at);
        let silent = now.since(self.heard_at.max(run.asked_at));
        silent > patience || waited > patience * LATE_AMONG_OTHERS
    }
}

/// An answer may be late by so many times its patience as long as others come.
const LATE_AMONG_OTHERS: u32 = 8;

/// How often it is looked for answers that are late.
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);

/// What is being filled.
#[derive(Debug)]
pub(super) struct CatchUp {
    leaves: u32,
    pub(super) wanted: BTreeMap<(NodeId, GroupId), Lack>,
    /// Of these nothing is trusted that they have.
    distrusted: BTreeSet<(NodeId, GroupId)>,
    pub(super) tasks: BTreeMap<(NodeId, GroupId), Task>,
    /// Runs of leaves under way, and whose they are.
    pub(super) requests: BTreeMap<RequestId, (NodeId, GroupId)>,
    pub(super) pace: Pace,
    progress: BTreeMap<NodeId, Progress>,
    looked_at: Instant,
}

impl CatchUp {
    /// For groups of so many leaves.
    pub(super) fn new(leaves: u32, rate: RebuildRate) -> CatchUp {
        CatchUp {
            leaves,
            wanted: BTreeMap::new(),
            distrusted: BTreeSet::new(),
            tasks: BTreeMap::new(),
            requests: BTreeMap::new(),
            pace: Pace::new(rate),
            progress: BTreeMap::new(),
            looked_at: Instant::default(),
        }
    }

    /// One that begins anew.
    pub(super) fn emptied(&self) -> CatchUp {
        CatchUp::new(self.leaves, self.pace.rate())
    }

    /// Notes a lack.
    pub(super) fn want(&mut self, lack: Lack) {
        let key = (lack.node, lack.group);
        if !self.tasks.contains_key(&key) {
            self.wanted.entry(key).or_insert(lack);
        }
    }

    /// Notes a segment that is being told to mark itself.
    pub(super) fn begun(&mut self, lack: Lack, base: Lsn, copy: RequestId, now: Instant) {
        let task = Task {
            lack,
            base,
            copy,
            step: Step::Marking,
            kept: Kept::default(),
            runs: Runs::new(self.leaves),
            portion: Portion::default(),
            rests_until: now,
            heard_at: now,
            turn_ends: None,
        };
        self.tasks.insert((lack.node, lack.group), task);
        let progress = self.progress.entry(lack.node);
        progress.or_insert_with(|| Progress::new(now));
    }

    /// The segment that is being filled could vote before.
    pub(super) fn begin_turn(&mut self, node: NodeId, group: GroupId, now: Instant) {
        if let Some(task) = self.tasks.get_mut(&(node, group)) {
            task.turn_ends = Some(now.plus(limits::FILLING_TURN));
        }
    }

    /// Whether others of the group wait for this segment, which is being filled.
    pub(super) fn has_turn(&self, now: Instant, node: NodeId, group: GroupId) -> bool {
        let task = self.tasks.get(&(node, group));
        let turn_ends = task.and_then(|task| task.turn_ends);
        turn_ends.is_some_and(|end| now < end)
    }

    /// The mark is durable, and the segment has said what it keeps.
    pub(super) fn marked(&mut self, copy: RequestId, kept: &[(GroupId, Kept)]) {
        let is_marking = |task: &&mut Task| task.copy == copy && task.step == Step::Marking;
        for task in self.tasks.values_mut().filter(is_marking) {
            self.distrusted.remove(&(task.lack.node, task.lack.group));
            let own = kept.iter().find(|(group, _)| *group == task.lack.group);
            task.kept = own.map_or(Kept::default(), |(_, kept)| *kept);
            task.step = Step::Copying;
        }
    }

    pub(super) fn drop_node(&mut self, node: NodeId) {
        self.wanted.retain(|(target, _), _| *target != node);
        self.tasks.retain(|(target, _), _| *target != node);
        self.progress.remove(&node);
        for task in self.tasks.values_mut() {
            // What it was asked for will not come: another one is asked.
            let lost = task.runs.lose(|run| run.stage == Stage::Fetching(node));
            lost.iter().for_each(|id| {
                self.requests.remove(id);
            });
        }
        let tasks = &self.tasks;
        self.requests.retain(|_, key| tasks.contains_key(key));
    }

    /// The segment lost something that was copied, or had to be: it begins anew.
    pub(super) fn begin_again(&mut self, node: NodeId, group: GroupId) {
        self.give_up(node, group);
        self.distrusted.insert((node, group));
        self.want(Lack {
            node,
            group,
            since: Lsn::NONE,
        });
    }

    /// Whether nothing is trusted that the segment has: until it has said that it does not either.
    pub(super) fn is_distrusted(&self, node: NodeId, group: GroupId) -> bool {
        self.distrusted.contains(&(node, group))
    }

    /// Ends a task, or what is to become one.
    pub(super) fn give_up(&mut self, node: NodeId, group: GroupId) {
        self.wanted.remove(&(node, group));
        self.tasks.remove(&(node, group));
        self.requests.retain(|_, key| *key != (node, group));
    }

    /// The segment is filled.
    pub(super) fn finish(&mut self, node: NodeId, group: GroupId) {
        if let Some(task) = self.tasks.remove(&(node, group))
            && let Some(progress) = self.progress.get_mut(&node)
        {
            progress.finish(task.portion);
        }
    }

    /// So many bytes of blocks are held more.
    pub(super) fn on_bytes(&mut self, node: NodeId, bytes: u64) {
        if let Some(progress) = self.progress.get_mut(&node) {
            progress.on_bytes(bytes);
        }
    }

    /// Gives up runs that do not come; other peers are asked. What was not put in time is fetched
    /// again. Returns what is to be begun again, and what to be ended again.
    pub(super) fn give_up_late(&mut self, now: Instant) -> (Vec<Lack>, Vec<(NodeId, GroupId)>) {
        let (mut unmarked, mut unended) = (Vec::new(), Vec::new());
        if now.since(self.looked_at) < LOOK_INTERVAL {
            return (unmarked, unended);
        }
        self.looked_at = now;
        self.tick(now);
        for (key, task) in &mut self.tasks {
            let is_late = now.since(task.heard_at) > limits::REPLY_PATIENCE;
            match task.step {
                Step::Marking if is_late => unmarked.push(task.lack),
                Step::Completing(_) if is_late => unended.push(*key),
                Step::Copying => {
                    let late: Vec<(RequestId, Run)> = task.late_runs(now);
                    for (id, run) in late {
                        task.runs.end(id);
                        task.runs.fetch_failed(&run);
                        self.requests.remove(&id);
                    }
                }
                Step::Marking | Step::Completing(_) => {}
            }
        }
        (unmarked, unended)
    }

    fn tick(&mut self, now: Instant) {
        let busy: BTreeSet<NodeId> = self.busy_nodes().collect();
        self.progress.retain(|node, _| busy.contains(node));
        self.progress
            .values_mut()
            .for_each(|progress| progress.tick(now));
    }

    /// Nodes with tasks, and with what waits to become one; some more than once.
    fn busy_nodes(&self) -> impl Iterator<Item = NodeId> {
        let keys = self.tasks.keys().chain(self.wanted.keys());
        keys.map(|(node, _)| *node)
    }

    /// Runs under way: of a node, and of all.
    pub(super) fn under_way(&self, node: NodeId) -> (usize, usize) {
        let of_node = self.requests.values().filter(|key| key.0 == node);
        (of_node.count(), self.requests.len())
    }

    /// Leaves that a peer was asked for and has not given yet.
    pub(super) fn asked_of(&self, source: NodeId) -> usize {
        let asked = |key: &(NodeId, GroupId), id: &RequestId| {
            let task = self.tasks.get(key);
            task.is_some_and(|task| task.runs.is_asked(*id, source))
        };
        let requests = self.requests.iter();
        requests.filter(|(id, key)| asked(key, id)).count()
    }

    /// What a segment is being filled as of, if it is.
    pub(super) fn base_of(&self, node: NodeId, group: GroupId) -> Option<Lsn> {
        self.tasks.get(&(node, group)).map(|task| task.base)
    }

    pub(super) fn is_filling(&self, node: NodeId, group: GroupId) -> bool {
        self.tasks.contains_key(&(node, group))
    }

    /// Whether a segment is being filled, or is going to be.
    pub(super) fn is_lacking(&self, node: NodeId, group: GroupId) -> bool {
        self.is_filling(node, group) || self.wanted.contains_key(&(node, group))
    }

    pub(super) fn is_busy_with(&self, node: NodeId) -> bool {
        self.busy_nodes().any(|busy| busy == node)
    }

    /// Whether segments of a node are being filled, or are going to be, of groups that count.
    pub(super) fn lacks_any(&self, node: NodeId, counts: impl Fn(GroupId) -> bool) -> bool {
        let keys = self.tasks.keys().chain(self.wanted.keys());
        keys.filter(|(busy, _)| *busy == node)
            .any(|(_, group)| counts(*group))
    }

    /// Lagging when it has something, rebuilding when it had nothing.
    pub(super) fn state(&self, node: NodeId) -> NodeState {
        let lacks = self
            .tasks
            .values()
            .map(|task| &task.lack)
            .chain(self.wanted.values());
        let from_nothing = lacks
            .filter(|lack| lack.node == node)
            .any(|lack| !lack.since.is_some());
        if from_nothing {
            NodeState::Rebuilding
        } else {
            NodeState::Lagging
        }
    }

    /// How far a node is filled, while it is.
    pub(super) fn figures(&self, node: NodeId) -> Option<RebuildFigures> {
        let progress = self.progress.get(&node)?;
        let of_node = (node, GroupId(0))..=(node, GroupId(u32::MAX));
        let tasks = self.tasks.range(of_node.clone());
        let portions: Vec<Portion> = tasks.map(|(_, task)| task.portion).collect();
        let waiting = self.wanted.range(of_node).count() as u64;
        let is_busy = waiting > 0 || !portions.is_empty();
        is_busy.then(|| progress.figures(&portions, waiting))
    }
}

impl Task {
    fn late_runs(&self, now: Instant) -> Vec<(RequestId, Run)> {
        let runs = self.runs.under_way();
        let late = runs.filter(|(_, run)| self.is_late(run, now));
        late.map(|(id, run)| (*id, *run)).collect()
    }
}
