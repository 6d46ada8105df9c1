//! Which blocks exist: pending records, and one segment that can prove it has everything up to the
//! read point.

use super::{Answer, Ticket, Writer};
use crate::error::IoFailure;
use crate::format::index_page::LEAF_BLOCKS;
use crate::ids::{GroupBlock, GroupId, NodeId};
use crate::limits;
use crate::message::{NodeFailure, Request, RequestId};
use crate::page_run::PageRun;
use crate::time::Instant;

/// A question of presence.
#[derive(Clone, Debug)]
pub(super) struct PresenceQuery {
    ticket: Ticket,
    group: GroupId,
    leaf: u32,
    /// What was pending when it was asked: by the time of the answer it may be durable, and the
    /// node that answers may have looked before that.
    pending: PendingPresence,
    asked: Vec<NodeId>,
    since: Instant,
}

/// What pending records make of the presence of a leaf's blocks.
#[derive(Clone, Copy, Debug, Default)]
struct PendingPresence {
    written: u64,
    discarded: u64,
    /// The next leaf that they write to.
    next: Option<u32>,
}

impl Writer {
    /// Which blocks of a leaf exist, pending records included, and the group's next leaf.
    pub fn presence(&mut self, ticket: Ticket, group: GroupId, leaf: u32) {
        let query = PresenceQuery {
            ticket,
            group,
            leaf,
            pending: self.pending_presence(group, leaf),
            asked: Vec::new(),
            since: self.now,
        };
        let exists = self
            .groups
            .get(&group)
            .is_some_and(|view| view.tip.is_some());
        if !exists && !self.may_be_superseded() {
            return self.present(&query, 0, None);
        }
        let id = self.new_request();
        self.ask_presence(id, query);
    }

    /// Which blocks of a leaf one node has, and its next leaf: for comparing copies.
    pub fn presence_of_copy(&mut self, ticket: Ticket, node: NodeId, group: GroupId, leaf: u32) {
        let current = self.groups.get(&group).filter(|view| view.is_current(node));
        let Some(members) = current.map(|view| view.members) else {
            return self.complete(ticket, Err(IoFailure::Unreadable));
        };
        let id = self.new_request();
        // Nobody is left to be asked when this node fails.
        let others = members.into_iter().filter(|member| *member != node);
        let asked = others.chain([node]).collect();
        let query = PresenceQuery {
            ticket,
            group,
            leaf,
            pending: self.pending_presence(group, leaf),
            asked,
            since: self.now,
        };
        self.presence_queries.insert(id, query);
        let (epoch, vdl) = (self.epoch, self.vdl_for(node));
        self.send(
            node,
            Request::Presence {
                epoch,
                id,
                group,
                leaf,
                vdl,
            },
        );
    }

    fn ask_presence(&mut self, id: RequestId, mut query: PresenceQuery) {
        let (group, leaf) = (query.group, query.leaf);
        let Some((node, _)) = self.reader_of(group, leaf, &query.asked) else {
            return self.complete(query.ticket, Err(IoFailure::Unreadable));
        };
        query.asked.push(node);
        query.since = self.now;
        self.presence_queries.insert(id, query);
        let (epoch, vdl) = (self.epoch, self.vdl_for(node));
        self.send(
            node,
            Request::Presence {
                epoch,
                id,
                group,
                leaf,
                vdl,
            },
        );
    }

    pub(super) fn on_present(
        &mut self,
        _now: Instant,
        id: RequestId,
        result: Result<(u64, Option<u32>), NodeFailure>,
    ) {
        let Some(query) = self.presence_queries.remove(&id) else {
            return;
        };
        match result {
            Ok((bits, next)) => self.present(&query, bits, next),
            Err(_) => self.ask_presence(id, query),
        }
    }

    fn pending_presence(&self, group: GroupId, leaf: u32) -> PendingPresence {
        let first = leaf * LEAF_BLOCKS;
        let mut pending = PendingPresence {
            next: self.pending.next_leaf(group, leaf + 1),
            ..PendingPresence::default()
        };
        for offset in 0..LEAF_BLOCKS {
            let (overlays, _) = self
                .pending
                .overlays(group, PageRun::of_blocks(GroupBlock(first + offset), 1));
            match overlays.last() {
                Some(newest) if newest.source.is_some() => pending.written |= 1 << offset,
                Some(_) => pending.discarded |= 1 << offset,
                None => {}
            }
        }
        pending
    }

    fn present(&mut self, query: &PresenceQuery, bits: u64, next: Option<u32>) {
        let pending = query.pending;
        let bits = (bits | pending.written) & !pending.discarded;
        let next = next.into_iter().chain(pending.next).min();
        self.complete(query.ticket, Ok(Answer::Present(bits, next)));
    }

    /// Asks again for what no node has answered: the question or the answer may be lost.
    pub(super) fn reask_presence(&mut self, now: Instant) {
        let unanswered = |_: &RequestId, query: &mut PresenceQuery| {
            now.since(query.since) > limits::REPLY_PATIENCE
        };
        let late = self.presence_queries.extract_if(.., unanswered);
        for (id, mut query) in late.collect::<Vec<_>>() {
            query.asked.pop();
            self.ask_presence(id, query);
        }
    }

    /// What was asked of a node that is gone is asked of another.
    pub(super) fn reask_presence_of(&mut self, node: NodeId) {
        let queries = &mut self.presence_queries;
        let lost = queries.extract_if(.., |_, query| query.asked.last() == Some(&node));
        for (id, query) in lost.collect::<Vec<_>>() {
            self.ask_presence(id, query);
        }
    }
}
