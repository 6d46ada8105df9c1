//! Filling segments that lack something, with blocks from a peer that has everything.
//!
//! One task a segment: mark it incomplete, copy leaf after leaf, mark it complete. The segment
//! takes the writer's new records meanwhile, and counts in no quorum until it is complete.

use super::Writer;
use crate::config::SEGMENTS;
use crate::format::index_page::LEAF_BLOCKS;
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::lsn::Lsn;
use crate::message::{LeafCopy, NodeFailure, Request, RequestId};
use crate::planted::{Bug, is_planted};
use crate::quorum::READ_QUORUM;
use crate::status::NodeState;
use crate::time::Instant;
use std::collections::BTreeMap;

/// Tasks of one node under way at a time: bounds memory (1 MiB each) and the foreground's share of the disk.
const TASKS_AT_ONCE: usize = 4;

/// What a segment lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) node: NodeId,
    pub(super) group: GroupId,
    /// It has everything up to here.
    pub(super) since: Lsn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The mark is on its way.
    Marking,
    /// Marked; waits for its turn.
    Ready,
    /// A leaf is being fetched.
    Fetching,
    /// The run of leaves from this one on is being put.
    Putting(u32),
    /// Every leaf was put. The group's last durable record then: everything up to it was sent
    /// before the segment was told to be complete.
    Completing(Lsn),
}

#[derive(Debug)]
struct Task {
    lack: Lack,
    base: Lsn,
    /// Names the copy to the segment.
    copy: RequestId,
    source: Option<NodeId>,
    /// Fetches that failed: the next one asks another peer.
    failures: usize,
    /// Nothing is fetched before: every peer has failed in turn.
    rests_until: Instant,
    /// When what is waited for was asked.
    asked_at: Instant,
    next_leaf: u32,
    step: Step,
}

impl Task {
    /// The next turn asks another peer. When each has had its turn, later: a damaged leaf that
    /// nobody can give would be asked for without end.
    fn fetch_failed(&mut self, now: Instant) {
        self.source = None;
        self.failures += 1;
        self.step = Step::Ready;
        if self.failures.is_multiple_of(SEGMENTS - 1) {
            self.rests_until = now.plus(limits::COPY_PATIENCE);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.step == Step::Ready && now >= self.rests_until
    }

    fn is_copying(&self) -> bool {
        matches!(self.step, Step::Fetching | Step::Putting(_))
    }
}

/// What is being filled.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    wanted: BTreeMap<(NodeId, GroupId), Lack>,
    tasks: BTreeMap<(NodeId, GroupId), Task>,
    requests: BTreeMap<RequestId, (NodeId, GroupId)>,
}

impl CatchUp {
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
            source: None,
            failures: 0,
            rests_until: now,
            asked_at: now,
            next_leaf: 0,
            step: Step::Marking,
        };
        self.tasks.insert((lack.node, lack.group), task);
    }

    pub(super) fn drop_node(&mut self, node: NodeId) {
        self.wanted.retain(|(target, _), _| *target != node);
        self.tasks.retain(|(target, _), _| *target != node);
        for (key, task) in self
            .tasks
            .iter_mut()
            .filter(|(_, task)| task.source == Some(node))
        {
            // What it was asked for will not come: the leaf is fetched again from another.
            task.source = None;
            if task.step == Step::Fetching {
                task.step = Step::Ready;
                self.requests.retain(|_, asked| asked != key);
            }
        }
        let tasks = &self.tasks;
        self.requests.retain(|_, key| tasks.contains_key(key));
    }

    /// The segment lost something that was copied, or had to be: it begins anew.
    pub(super) fn begin_again(&mut self, node: NodeId, group: GroupId) {
        self.give_up(node, group);
        self.want(Lack {
            node,
            group,
            since: Lsn::NONE,
        });
    }

    /// Ends a task, or what is to become one.
    pub(super) fn give_up(&mut self, node: NodeId, group: GroupId) {
        self.wanted.remove(&(node, group));
        self.tasks.remove(&(node, group));
        self.requests.retain(|_, key| *key != (node, group));
    }

    /// Gives up fetches from peers that do not answer; others are asked. What was not put in time
    /// is fetched again. Returns what is to be begun again, and what to be ended again.
    fn give_up_late(&mut self, now: Instant) -> (Vec<Lack>, Vec<(NodeId, GroupId)>) {
        let (mut unmarked, mut unended) = (Vec::new(), Vec::new());
        for (key, task) in &mut self.tasks {
            let waited = now.since(task.asked_at);
            let late = waited > limits::REPLY_PATIENCE;
            match task.step {
                Step::Fetching if waited > limits::COPY_PATIENCE => {
                    task.fetch_failed(now);
                    self.requests.retain(|_, asked| asked != key);
                }
                Step::Putting(from) if late => {
                    task.next_leaf = from;
                    task.step = Step::Ready;
                    self.requests.retain(|_, asked| asked != key);
                }
                Step::Marking if late => unmarked.push(task.lack),
                Step::Completing(_) if late => unended.push(*key),
                _ => {}
            }
        }
        (unmarked, unended)
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
        self.tasks.keys().any(|(target, _)| *target == node)
            || self.wanted.keys().any(|(target, _)| *target == node)
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
}

impl Writer {
    /// Starts what can be started.
    pub(super) fn catch_up_next(&mut self, now: Instant) {
        self.begin_late_again(now);
        for node in self.streaming_nodes() {
            while let Some(lack) = self.next_lack(node) {
                self.catch_up.wanted.remove(&(node, lack.group));
                self.begin_filling(now, lack);
            }
        }
        let mut copying = BTreeMap::new();
        let mut keys = Vec::new();
        for (key, task) in &self.catch_up.tasks {
            let of_node: &mut usize = copying.entry(key.0).or_default();
            if task.is_copying() {
                *of_node += 1;
            } else if task.is_due(now) && *of_node < TASKS_AT_ONCE {
                *of_node += 1;
                keys.push(*key);
            }
        }
        keys.into_iter().for_each(|key| self.fetch(key));
    }

    /// The next segment of a node to be filled, if the node has few enough under way.
    fn next_lack(&self, node: NodeId) -> Option<Lack> {
        let of_node = (node, GroupId(0))..=(node, GroupId(u32::MAX));
        let tasks = self.catch_up.tasks.range(of_node.clone()).count();
        let mut wanted = self.catch_up.wanted.range(of_node);
        let lack = || wanted.find(|(_, lack)| self.may_fill(lack));
        let (_, lack) = (tasks < TASKS_AT_ONCE).then(lack)??;
        Some(*lack)
    }

    /// Filling makes the segment incomplete: a crash meanwhile must find three others that can
    /// vote. They need not have everything; the one that gives the blocks must.
    fn may_fill(&self, lack: &Lack) -> bool {
        let Some(group) = self.groups.get(&lack.group) else {
            return false;
        };
        if !self.nodes[lack.node.index()].can_be_filled() {
            return false;
        }
        let reachable = |node: NodeId| self.nodes[node.index()].is_reachable();
        let others: Vec<NodeId> = group.complete_others(lack.node, reachable).collect();
        others.len() >= READ_QUORUM && others.iter().any(|node| group.is_current(*node))
    }

    fn begin_filling(&mut self, now: Instant, lack: Lack) {
        let Some(group) = self.groups.get_mut(&lack.group) else {
            return;
        };
        let base = group.tip;
        if group.is_current(lack.node) {
            return;
        }
        group.forget(lack.node);
        let copy = self.new_request();
        self.catch_up.begun(lack, base, copy, now);
        let (epoch, groups) = (self.epoch, vec![(lack.group, base)]);
        self.send(
            lack.node,
            Request::BeginCatchUp {
                epoch,
                copy,
                groups,
            },
        );
        self.review(now);
    }

    /// What was asked and not answered in time is asked again.
    fn begin_late_again(&mut self, now: Instant) {
        let (unmarked, unended) = self.catch_up.give_up_late(now);
        for lack in unmarked {
            self.catch_up.give_up(lack.node, lack.group);
            match &mut self.recovery {
                Some(recovery) => recovery.settling.mark_lost(lack.node, lack.group),
                None => self.catch_up.want(lack),
            }
        }
        for key in unended {
            self.end_copy(now, key);
        }
    }

    /// Every leaf was put: the segment is to be complete.
    fn end_copy(&mut self, now: Instant, key: (NodeId, GroupId)) {
        let tip = self.groups.get(&key.1).map_or(Lsn::NONE, |group| group.tip);
        let epoch = self.epoch;
        if let Some(task) = self.catch_up.tasks.get_mut(&key) {
            task.step = Step::Completing(tip);
            task.asked_at = now;
            let (copy, base) = (task.copy, task.base);
            let group = key.1;
            self.send(
                key.0,
                Request::CompleteGroup {
                    epoch,
                    copy,
                    group,
                    base,
                },
            );
        }
    }

    pub(super) fn on_catch_up_begun(&mut self, now: Instant, from: NodeId, copy: RequestId) {
        self.recovery_progress();
        for task in self.catch_up.tasks.values_mut() {
            if task.copy == copy && task.step == Step::Marking {
                task.step = Step::Ready;
            }
        }
        self.marked(now, from, copy);
        // As of nothing there are no blocks to be copied.
        let of_nothing = self.catch_up.tasks.iter().filter(|(_, task)| {
            task.copy == copy && task.step == Step::Ready && !task.base.is_some()
        });
        for key in of_nothing.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.end_copy(now, key);
        }
        self.continue_filling(now);
    }

    /// Asks a peer for the next run of leaves.
    fn fetch(&mut self, key: (NodeId, GroupId)) {
        let Some(source) = self.source_for(key) else {
            return;
        };
        let id = self.new_request();
        let (epoch, now) = (self.epoch, self.now);
        let Some(task) = self.catch_up.tasks.get_mut(&key) else {
            return;
        };
        task.source = Some(source);
        task.step = Step::Fetching;
        task.asked_at = now;
        let request = Request::FetchLeaves {
            epoch,
            id,
            group: key.1,
            leaf: task.next_leaf,
            since: task.lack.since,
            base: task.base,
        };
        self.catch_up.requests.insert(id, key);
        self.send(source, request);
    }

    /// A peer that has everything; the same as before as long as it has.
    fn source_for(&self, key: (NodeId, GroupId)) -> Option<NodeId> {
        let group = self.groups.get(&key.1)?;
        let task = self.catch_up.tasks.get(&key)?;
        let able = |node: &NodeId| {
            *node != key.0
                && group.is_complete(*node)
                && (group.scl(*node) >= task.base || is_planted(Bug::RepairFromStalePeer))
                && self.nodes[node.index()].is_reachable()
        };
        if let Some(source) = task.source.filter(able) {
            return Some(source);
        }
        let turn = key.1.0 as usize + usize::from(key.0.0) + task.failures;
        let members = group.members;
        (0..members.len())
            .map(|step| members[(turn + step) % members.len()])
            .find(able)
    }

    pub(super) fn on_leaves(&mut self, id: RequestId, result: Result<LeafCopy, NodeFailure>) {
        let Some(key) = self.catch_up.requests.remove(&id) else {
            return;
        };
        let leaves = self.config.geometry.group_blocks / LEAF_BLOCKS;
        let (epoch, put, now) = (self.epoch, self.new_request(), self.now);
        let Some(task) = self.catch_up.tasks.get_mut(&key) else {
            return;
        };
        let run = match result {
            Ok(run) => run,
            Err(failure) => {
                if failure == NodeFailure::Behind {
                    self.suspects.extend(task.source);
                }
                return task.fetch_failed(now);
            }
        };
        task.step = Step::Putting(task.next_leaf);
        task.next_leaf = run.end_leaf.min(leaves);
        task.asked_at = now;
        let (copy, base) = (task.copy, task.base);
        self.catch_up.requests.insert(put, key);
        self.send(
            key.0,
            Request::PutLeaves {
                epoch,
                id: put,
                copy,
                group: key.1,
                base,
                leaves: run,
            },
        );
        self.recovery_progress();
    }

    pub(super) fn on_leaves_held(&mut self, now: Instant, id: RequestId) {
        let Some(key) = self.catch_up.requests.remove(&id) else {
            return;
        };
        self.recovery_progress();
        let leaves = self.config.geometry.group_blocks / LEAF_BLOCKS;
        let Some(task) = self.catch_up.tasks.get_mut(&key) else {
            return;
        };
        if task.next_leaf < leaves && !is_planted(Bug::CompleteBeforeLastLeaf) {
            task.step = Step::Ready;
            return self.continue_filling(now);
        }
        self.end_copy(now, key);
    }

    fn continue_filling(&mut self, now: Instant) {
        if self.is_open() {
            self.catch_up_next(now);
        } else {
            self.recovery_catch_up(now);
        }
    }

    pub(super) fn on_group_completed(
        &mut self,
        now: Instant,
        from: NodeId,
        copy: RequestId,
        group: GroupId,
        scl: Lsn,
    ) {
        let task = self.catch_up.tasks.get(&(from, group));
        let task = task.filter(|task| task.copy == copy);
        let Some(Step::Completing(tip)) = task.map(|task| task.step) else {
            return;
        };
        self.catch_up.tasks.remove(&(from, group));
        self.recovery_progress();
        self.on_complete(from, group, scl);
        // While the writer writes there is always a newer record than the segment has said.
        if self.is_open() && scl < tip {
            // It missed records after its base.
            self.take_stock(from, group, Some(scl));
        }
        self.advance();
        self.review(now);
        self.continue_filling(now);
    }
}
