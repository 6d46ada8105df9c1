//! Step 5 of a recovery: the tail's records at or below the VDL are copied until four segments of
//! every group cover them.

use super::Writer;
use super::catch_up::Lack;
use super::recovery::Recovery;
use crate::format::log_frame::{Frame, FrameStamp, payload_pages_limit};
use crate::format::redo_record::RecordHeader;
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::lsn::Lsn;
use crate::message::{NodeFailure, Report, Request, RequestId};
use crate::page::Pages;
use crate::planted::{Bug, is_planted};
use crate::quorum::{READ_QUORUM, WRITE_QUORUM};
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is on its way between segments, and what was tried.
#[derive(Debug, Default)]
pub(super) struct Settling {
    fetches: BTreeMap<RequestId, Fetch>,
    tried: BTreeMap<(NodeId, GroupId), Tried>,
    /// Nodes that did not answer a fetch in time.
    slow: BTreeSet<NodeId>,
}

/// Tail records that one node is to give to another.
#[derive(Clone, Copy, Debug)]
struct Fetch {
    source: NodeId,
    target: NodeId,
    group: GroupId,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// The records are on their way, since then.
    Given(Instant),
    /// No peer has them in its tail any more.
    NotThere,
    /// It was filled with blocks; what is newer than those must come from a tail.
    Filled,
}

impl Settling {
    fn drop_fetches(&mut self, gone: impl Fn(&Fetch) -> bool) {
        for (_, fetch) in self.fetches.extract_if(.., |_, fetch| gone(fetch)) {
            self.tried.remove(&(fetch.target, fetch.group));
        }
    }

    /// A segment did not say that it marked itself: it may be filled again.
    pub(super) fn mark_lost(&mut self, node: NodeId, group: GroupId) {
        self.tried.remove(&(node, group));
    }

    /// Gives up fetches from nodes that do not answer.
    pub(super) fn tick(&mut self, now: Instant) {
        let late = |fetch: &Fetch| now.since(fetch.since) > limits::COPY_PATIENCE;
        let late_ones = self.fetches.values().filter(|fetch| late(fetch));
        self.slow.extend(late_ones.map(|fetch| fetch.source));
        self.drop_fetches(late);
        // The records may not have arrived.
        self.tried.retain(|_, tried| match tried {
            Tried::Given(at) => now.since(*at) <= limits::REPLY_PATIENCE,
            Tried::NotThere | Tried::Filled => true,
        });
    }
}

impl Writer {
    /// Copies the tail until four segments of every group cover it (all three, when only three
    /// are left), then serves.
    pub(super) fn settle(&mut self, now: Instant) {
        let Some(recovery) = &self.recovery else {
            return;
        };
        let anchors = recovery.anchors.iter();
        let anchors: Vec<(GroupId, Lsn)> =
            anchors.map(|(group, (lsn, _))| (*group, *lsn)).collect();
        let mut settled = true;
        for (group, anchor) in anchors {
            match self.settle_group(now, group, anchor) {
                Some(done) => settled &= done,
                None => {
                    return self.refuse("fewer than three nodes of a group are left".to_owned());
                }
            }
        }
        if settled || is_planted(Bug::ServeBeforeSettled) {
            self.serve(now);
        } else {
            self.recovery_catch_up(now);
        }
    }

    /// Whether a group needs nothing any more; `None` when too few nodes are left.
    fn settle_group(&mut self, now: Instant, group: GroupId, anchor: Lsn) -> Option<bool> {
        let (recovery, view) = (self.recovery.as_ref()?, self.groups.get(&group)?);
        let listed = view.members.iter().copied();
        let listed: Vec<NodeId> = listed
            .filter(|node| recovery.listed.contains(node))
            .collect();
        if listed.len() < READ_QUORUM {
            return None;
        }
        let anchor_counts = !is_planted(Bug::SettleWithoutAnchor);
        let covers = |node: &NodeId| {
            view.is_complete(*node) && (view.scl(*node) >= anchor || !anchor_counts)
        };
        let (covering, behind): (Vec<NodeId>, Vec<NodeId>) = listed.iter().partition(|n| covers(n));
        let quorum = WRITE_QUORUM - usize::from(is_planted(Bug::SettleOnThree));
        let enough = covering.len() >= quorum.min(listed.len());
        let mut waits = false;
        for node in behind {
            waits |= self.settle_segment(now, node, group, anchor, enough);
        }
        Some(enough && !waits)
    }

    /// Gives a segment the tail's records that it lacks; blocks, if they are needed for four.
    /// Whether the recovery should wait for it.
    fn settle_segment(
        &mut self,
        now: Instant,
        node: NodeId,
        group: GroupId,
        anchor: Lsn,
        enough: bool,
    ) -> bool {
        let Some((recovery, view)) = self.recovery.as_mut().zip(self.groups.get(&group)) else {
            return false;
        };
        if recovery
            .settling
            .fetches
            .values()
            .any(|fetch| fetch.target == node)
        {
            return true;
        }
        let tried = recovery.settling.tried.get(&(node, group)).copied();
        if self.catch_up.is_filling(node, group) || matches!(tried, Some(Tried::Given(_))) {
            return !enough;
        }
        let scl = view.scl(node);
        let can_fetch = view.is_complete(node) && matches!(tried, None | Some(Tried::Filled));
        let source = can_fetch
            .then(|| source_of_tail(recovery, group, scl, anchor))
            .flatten();
        match source {
            Some(source) => {
                let (target, since) = (node, now);
                self.fetch_tail(
                    Fetch {
                        source,
                        target,
                        group,
                        since,
                    },
                    scl,
                    anchor,
                );
            }
            None if enough => return false,
            None if self.may_fill_for_quorum(node, group) => self.fill_for_quorum(node, group),
            // Nobody gives it: see `settle_anew`.
            None => {}
        }
        true
    }

    /// Whether blocks can help a segment, and are not more than it may be made incomplete for: four
    /// segments had everything up to the announced VDL, and what is newer is in tails alone. While
    /// it is filled a crash must find three others that can vote. Where three are left that cannot
    /// be: then one is filled after the other, so that a fourth that comes back is enough. One that
    /// cannot vote anyway may always be filled.
    fn may_fill_for_quorum(&self, node: NodeId, group: GroupId) -> bool {
        let Some((recovery, view)) = self.recovery.as_ref().zip(self.groups.get(&group)) else {
            return false;
        };
        if recovery.settling.tried.get(&(node, group)) == Some(&Tried::Filled) {
            return false;
        }
        let announced = recovery.anchors.get(&group).map(|(_, base)| *base);
        let is_listed = |node: NodeId| recovery.listed.contains(&node);
        let listed = view.members.into_iter().filter(|node| is_listed(*node));
        let others = view.complete_others(node, is_listed).count();
        let three_are_left = listed.count() == READ_QUORUM;
        let may_miss_one = others >= READ_QUORUM - usize::from(three_are_left);
        let is_behind = announced > Some(view.scl(node));
        let may_be_filled = may_miss_one && self.may_stop_voting(node, group);
        !view.is_complete(node) || is_behind && may_be_filled
    }

    /// Nothing has come for a while: the recovery starts again without a node that is silent, as if
    /// it were gone, if enough others can vote; otherwise the tails are asked for again.
    pub(super) fn settle_anew(&mut self) {
        let Some(recovery) = &self.recovery else {
            return;
        };
        let unlisted = recovery.reports.keys();
        let unlisted = unlisted.filter(|node| !recovery.listed.contains(node));
        let mut silent = recovery.settling.slow.iter().chain(unlisted);
        if let Some(node) = silent.find(|node| self.can_vote_without(**node)).copied() {
            return self.start_without(node);
        }
        if let Some(recovery) = &mut self.recovery {
            let settling = &mut recovery.settling;
            settling.slow.clear();
            // What was filled is not filled again: blocks would come without end, and never help.
            settling.tried.retain(|_, tried| *tried != Tried::NotThere);
        }
    }

    fn fetch_tail(&mut self, fetch: Fetch, after: Lsn, upto: Lsn) {
        let (id, epoch, now) = (self.new_request(), self.epoch, self.now);
        let Fetch {
            source,
            target,
            group,
            ..
        } = fetch;
        if let Some(recovery) = &mut self.recovery {
            recovery
                .settling
                .tried
                .insert((target, group), Tried::Given(now));
            recovery.settling.fetches.insert(id, fetch);
        }
        self.send(
            source,
            Request::Fetch {
                epoch,
                id,
                group,
                after,
                upto,
            },
        );
    }

    /// Fewer than four cover the anchor and the tail's records do not reach down to this segment:
    /// it is filled with blocks, as of the highest announced VDL, before the volume serves.
    fn fill_for_quorum(&mut self, node: NodeId, group: GroupId) {
        let Some(recovery) = &self.recovery else {
            return;
        };
        let (epoch, announced) = (self.epoch, recovery.announced);
        let Some((_, base)) = recovery.anchors.get(&group).copied() else {
            return;
        };
        let nodes: Vec<NodeId> = recovery.listed.iter().copied().collect();
        let since = self.groups.get(&group).map_or(Lsn::NONE, |view| {
            if view.is_complete(node) {
                view.scl(node)
            } else {
                Lsn::NONE
            }
        });
        let (copy, lack) = (self.new_request(), Lack { node, group, since });
        self.stop_voting(lack, base, copy);
        for source in nodes {
            self.send(
                source,
                Request::Announce {
                    epoch,
                    vdl: announced,
                },
            );
        }
        self.send(
            node,
            Request::BeginCatchUp {
                epoch,
                copy,
                anew: false,
                groups: vec![(group, base)],
            },
        );
        if let Some(recovery) = &mut self.recovery {
            let key = (node, group);
            recovery.settling.tried.insert(key, Tried::Filled);
        }
    }

    pub(super) fn recovery_catch_up(&mut self, now: Instant) {
        if self.recovery.is_some() {
            self.catch_up_next(now);
        }
    }

    /// Records of the tail from a peer, for the segment that lacks them.
    pub(super) fn on_records(
        &mut self,
        id: RequestId,
        result: Result<Vec<(RecordHeader, Pages)>, NodeFailure>,
    ) {
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        let Some(Fetch {
            source,
            target,
            group,
            ..
        }) = recovery.settling.fetches.remove(&id)
        else {
            return;
        };
        let records = match result {
            Ok(records) => records,
            // Its index has taken them in meanwhile: another peer is asked, or blocks are copied.
            Err(NodeFailure::Behind) => {
                recovery
                    .settling
                    .tried
                    .insert((target, group), Tried::NotThere);
                return;
            }
            Err(NodeFailure::Damaged | NodeFailure::OutOfService) => {
                return self.start_without(source);
            }
        };
        // Until everything is settled no frame announces more than its receiver knew.
        let stamp = FrameStamp {
            epoch: self.epoch,
            vdl: if is_planted(Bug::AnnounceBeforeSettled) {
                self.vdl
            } else {
                Lsn::NONE
            },
            wall_time_ns: 0,
        };
        let page_limit = payload_pages_limit(self.config.extent_bytes);
        let mut parts = Vec::new();
        let mut pages = 0;
        for (record, payload) in records {
            if pages + payload.page_count() > page_limit || parts.len() == limits::FRAME_RECORDS {
                pages = 0;
                let frame = Arc::new(Frame::new(stamp, std::mem::take(&mut parts)));
                self.send(target, Request::Append { frame });
            }
            pages += payload.page_count();
            parts.push((record, payload));
        }
        if !parts.is_empty() {
            self.send(
                target,
                Request::Append {
                    frame: Arc::new(Frame::new(stamp, parts)),
                },
            );
        }
    }

    /// A record of the tail that was there when the node was opened cannot be read any more:
    /// start again with a new epoch, without that node (DESIGN §7.5). It joins when the volume
    /// serves, like one that came late.
    pub(super) fn start_without(&mut self, node: NodeId) {
        self.unreadable.insert(node);
        self.start_promising(self.now, self.epoch.number + 1);
    }
}

/// A node whose tail has every record of the group after `scl` up to the anchor.
fn source_of_tail(recovery: &Recovery, group: GroupId, scl: Lsn, anchor: Lsn) -> Option<NodeId> {
    let has_chain = |report: &Report| {
        let mut end = scl;
        let of_group = report.tail.iter().filter(|record| record.group == group);
        for record in of_group.filter(|record| record.lsn > scl && record.lsn <= anchor) {
            if record.previous_in_group != end {
                return false;
            }
            end = record.lsn;
        }
        end == anchor
    };
    let mut nodes = recovery.listed.iter().copied();
    nodes.find(|node| {
        !recovery.settling.slow.contains(node) && recovery.reports.get(node).is_some_and(has_chain)
    })
}
