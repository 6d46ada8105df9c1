//! What the writer says and hears while it fills segments: marks, leaves from peers to the segment,
//! the end.

use super::Writer;
use super::catch_up::{Lack, Step};
use super::runs::{Content, Run, Span, Stage};
use crate::format::index_page::LEAF_BLOCKS;
use crate::geometry::BLOCK_BYTES;
use crate::ids::{GroupId, NodeId};
use crate::kept::Kept;
use crate::limits;
use crate::lsn::Lsn;
use crate::message::{LeafCopy, NodeFailure, Request, RequestId};
use crate::planted::{Bug, is_planted};
use crate::quorum::READ_QUORUM;
use crate::time::Instant;

/// A segment of a node.
type Key = (NodeId, GroupId);

impl Writer {
    /// Starts what can be started.
    pub(super) fn catch_up_next(&mut self, now: Instant) {
        self.begin_late_again(now);
        let streaming = self.streaming_nodes();
        for node in &streaming {
            while let Some(lack) = self.next_lack(*node) {
                self.catch_up.wanted.remove(&(*node, lack.group));
                self.begin_filling(now, lack);
            }
        }
        self.look_for_foreground(now);
        for node in streaming {
            self.fetch_for(now, node);
        }
    }

    /// The user's requests under way make filling yield.
    fn look_for_foreground(&mut self, now: Instant) {
        let is_idle = self.reads.is_empty() && self.pending.is_empty() && self.parked.is_empty();
        if !is_idle {
            self.catch_up.pace.on_foreground(now);
        }
    }

    /// The next segment of a node to be filled, if the node has few enough under way.
    fn next_lack(&self, node: NodeId) -> Option<Lack> {
        let of_node = (node, GroupId(0))..=(node, GroupId(u32::MAX));
        let mut wanted = self.catch_up.wanted.range(of_node.clone()).peekable();
        wanted.peek()?;
        let tasks = self.catch_up.tasks.range(of_node).count();
        let lack = || wanted.find(|(_, lack)| self.may_fill(lack));
        let (_, lack) = (tasks < limits::SEGMENTS_FILLED_AT_ONCE).then(lack)??;
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
        let votes = |node: NodeId| node != lack.node && reachable(node) && group.is_complete(node);
        let mut others = group.complete_others(lack.node, reachable);
        self.may_stop_voting(lack.node, lack.group)
            && self.fewest_of_group(lack.group, group, votes) >= READ_QUORUM
            && others.any(|node| group.is_current(node))
    }

    /// Whether it is a segment's turn to be made incomplete. Of those that can vote one of a group
    /// is at a time, so that more may be lost meanwhile; but none waits long for another one, which
    /// may be slow, or lack far more.
    pub(super) fn may_stop_voting(&self, node: NodeId, group: GroupId) -> bool {
        let Some(view) = self.groups.get(&group) else {
            return false;
        };
        let mut others = view.members.iter().filter(|other| **other != node);
        !view.votes(node) || !others.any(|other| self.catch_up.has_turn(self.now, *other, group))
    }

    /// The segment is to be filled, and proves nothing meanwhile.
    pub(super) fn stop_voting(&mut self, lack: Lack, base: Lsn, copy: RequestId) {
        let Some(view) = self.groups.get_mut(&lack.group) else {
            return;
        };
        let votes = view.votes(lack.node);
        view.forget(lack.node);
        self.catch_up.begun(lack, base, copy, self.now);
        if votes {
            self.catch_up.begin_turn(lack.node, lack.group, self.now);
        }
    }

    fn begin_filling(&mut self, now: Instant, lack: Lack) {
        let anew = self.catch_up.is_distrusted(lack.node, lack.group);
        let Some(group) = self.groups.get(&lack.group) else {
            return;
        };
        let base = group.tip;
        if group.is_current(lack.node) {
            return;
        }
        let is_member = group.members.contains(&lack.node);
        let copy = self.new_request();
        self.stop_voting(lack, base, copy);
        let (epoch, groups) = (self.epoch, vec![(lack.group, base)]);
        let request = Request::BeginCatchUp {
            epoch,
            copy,
            anew,
            groups,
        };
        self.send(lack.node, request);
        if !is_member {
            // It may not have taken what was sent before the mark.
            self.resend_pending(lack.node);
        }
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
    fn end_copy(&mut self, now: Instant, key: Key) {
        let tip = self.groups.get(&key.1).map_or(Lsn::NONE, |group| group.tip);
        let epoch = self.epoch;
        if let Some(task) = self.catch_up.tasks.get_mut(&key) {
            task.step = Step::Completing(tip);
            task.heard_at = now;
            let (copy, base) = (task.copy, task.base);
            let group = key.1;
            let request = Request::CompleteGroup {
                epoch,
                copy,
                group,
                base,
            };
            self.send(key.0, request);
        }
    }

    pub(super) fn on_catch_up_begun(
        &mut self,
        now: Instant,
        from: NodeId,
        copy: RequestId,
        kept: &[(GroupId, Kept)],
    ) {
        self.recovery_progress();
        self.catch_up.marked(copy, kept);
        self.marked(now, from, copy);
        // As of nothing there are no blocks to be copied.
        let of_nothing = self.catch_up.tasks.iter().filter(|(_, task)| {
            task.copy == copy && task.step == Step::Copying && !task.base.is_some()
        });
        for key in of_nothing.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.end_copy(now, key);
        }
        self.continue_filling(now);
    }

    /// Asks peers for leaves of a node's segments, one after the other, as many as may be under
    /// way.
    fn fetch_for(&mut self, now: Instant, node: NodeId) {
        let mut from = GroupId(0);
        while self.may_fetch(now, node) {
            let of_node = (node, from)..=(node, GroupId(u32::MAX));
            let mut tasks = self.catch_up.tasks.range(of_node);
            let due = tasks.find(|(_, task)| task.is_due(now) && task.runs.next_leaf().is_some());
            let Some((key, _)) = due else { return };
            let key = *key;
            if !self.fetch(now, key) {
                from = GroupId(key.1.0.saturating_add(1));
            }
        }
    }

    /// A recovery waits for what it fills, and nobody uses the disk yet. When requests wait for the
    /// quorum, they wait for what is filled. What a node without room is given waits there.
    fn may_fetch(&self, now: Instant, node: NodeId) -> bool {
        let (of_node, of_all) = self.catch_up.under_way(node);
        let has_room = self.nodes[node.index()].can_be_filled() || of_node == 0;
        has_room
            && match self.is_open() && self.writable {
                true => self.catch_up.pace.may_begin(now, of_node, of_all),
                false => of_node < limits::COPY_RUNS,
            }
    }

    /// Asks a peer for the next leaf of a segment; `false` when there is none to be asked.
    fn fetch(&mut self, now: Instant, key: Key) -> bool {
        let leaf = self.catch_up.tasks.get(&key);
        let Some(leaf) = leaf.and_then(|task| task.runs.next_leaf()) else {
            return false;
        };
        let source = self.source_for(now, key, leaf);
        let (id, epoch) = (self.new_request(), self.epoch);
        let Some(task) = self.catch_up.tasks.get_mut(&key) else {
            return false;
        };
        let Some(source) = source else {
            // When each has had its turn, later: a damaged leaf that nobody can give would be
            // asked for without end.
            if task.runs.forgive(leaf) {
                task.rests_until = now.plus(limits::COPY_PATIENCE);
            }
            return false;
        };
        task.runs.fetch(id, leaf, source, now);
        let request = Request::FetchLeaves {
            epoch,
            id,
            group: key.1,
            leaf,
            since: task.kept.since_of(leaf),
            base: task.base,
        };
        self.catch_up.requests.insert(id, key);
        self.send(source, request);
        true
    }

    /// Of the peers that have everything one that is fit, and of these the one that was asked for
    /// fewest leaves; each has its turn.
    fn source_for(&self, now: Instant, key: Key, leaf: u32) -> Option<NodeId> {
        let group = self.groups.get(&key.1)?;
        let task = self.catch_up.tasks.get(&key)?;
        let able = |node: &NodeId| {
            *node != key.0
                && group.is_complete(*node)
                && (group.scl(*node) >= task.base || is_planted(Bug::RepairFromStalePeer))
                && self.nodes[node.index()].is_reachable()
                && (self.knows_vdl(*node) || self.recovery.is_some())
                && !task.runs.has_failed(leaf, *node)
        };
        let members = group.members;
        let turn = key.1.0 as usize + usize::from(key.0.0) + leaf as usize;
        let in_turn = (0..members.len()).map(|step| members[(turn + step) % members.len()]);
        let load = |node: &NodeId| {
            let reluctance = self.health.reluctance(now, *node);
            (reluctance, self.catch_up.asked_of(*node))
        };
        in_turn.filter(able).min_by_key(load)
    }

    pub(super) fn on_leaves(
        &mut self,
        now: Instant,
        id: RequestId,
        count: Option<u32>,
        result: Result<LeafCopy, NodeFailure>,
    ) {
        let Some(key) = self.catch_up.requests.remove(&id) else {
            return;
        };
        let (epoch, put) = (self.epoch, self.new_request());
        let leaves = self.config.geometry.group_blocks / LEAF_BLOCKS;
        let Some(task) = self.catch_up.tasks.get_mut(&key) else {
            return;
        };
        let Some(run) = task.runs.end(id) else {
            return;
        };
        let is_meant = |copy: &LeafCopy| {
            let span = run.span;
            copy.first_leaf == span.first && copy.end_leaf >= span.end && copy.end_leaf <= leaves
        };
        let copy = match result {
            Ok(copy) if is_meant(&copy) => copy,
            Ok(_) => return task.runs.fetch_failed(&run),
            Err(failure) => {
                if let (NodeFailure::Behind, Stage::Fetching(source)) = (failure, run.stage) {
                    self.suspects.insert(source);
                }
                return task.runs.fetch_failed(&run);
            }
        };
        task.heard_at = now;
        task.portion.leaves = task.portion.leaves.or(count.map(u64::from));
        task.runs.put(put, run, put_of(&copy, run, now));
        self.catch_up.requests.insert(put, key);
        let request = Request::PutLeaves {
            epoch,
            id: put,
            copy: task.copy,
            group: key.1,
            base: task.base,
            filled: task.runs.filled(),
            leaves: copy,
        };
        self.send(key.0, request);
        self.recovery_progress();
    }

    pub(super) fn on_leaves_held(&mut self, now: Instant, id: RequestId) {
        let Some(key) = self.catch_up.requests.remove(&id) else {
            return;
        };
        self.recovery_progress();
        let Some(task) = self.catch_up.tasks.get_mut(&key) else {
            return;
        };
        let Some(run) = task.runs.end(id) else {
            return;
        };
        task.heard_at = now;
        task.runs.held(&run);
        task.portion.hold(run.content.existing_bytes);
        let is_done = task.runs.are_done() || is_planted(Bug::CompleteBeforeLastLeaf);
        let copied_bytes = run.content.copied_bytes;
        self.catch_up.pace.on_run(now, run.began_at, copied_bytes);
        self.catch_up.on_bytes(key.0, run.content.existing_bytes);
        if is_done {
            self.end_copy(now, key);
        }
        self.continue_filling(now);
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
        self.catch_up.finish(from, group);
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

/// The run that a copy from a peer becomes.
fn put_of(copy: &LeafCopy, fetched: Run, now: Instant) -> Run {
    let bytes = |blocks: usize| (blocks * BLOCK_BYTES) as u64;
    let copied = copy.blocks.iter().filter(|block| block.content.is_some());
    Run {
        span: Span {
            first: copy.first_leaf,
            end: copy.end_leaf,
        },
        stage: Stage::Putting,
        asked_at: now,
        began_at: fetched.began_at,
        content: Content {
            existing_bytes: bytes(copy.blocks.len()),
            copied_bytes: bytes(copied.count()),
        },
    }
}
