//! Scrubbing: every copy of every block is read where it lies, and compared with the others, so
//! that what rots unread is mended while there is something to mend it from.
//!
//! One leaf at a time: all complete members examine it. What does not check, or is not what most
//! copies of its version are, is mended (`repair`); a segment that has lost changes is filled anew
//! (`catch_up`). What cannot be compared since it is being changed is looked at a few times more,
//! and then left to the next scrub.

use super::compare::{Verdict, compare};
use super::pace::Pace;
use super::scrub_metadata::MetadataLook;
use super::{Answer, Ticket, Writer};
use crate::error::IoFailure;
use crate::format::index_page::LEAF_BLOCKS;
use crate::geometry::BLOCK_BYTES;
use crate::ids::{GroupBlock, GroupId, NodeId};
use crate::limits;
use crate::lsn::Lsn;
use crate::message::{LeafDigests, NodeFailure, RequestId};
use crate::planted::{Bug, is_planted};
use crate::quorum::WRITE_QUORUM;
use crate::status::{ScrubPlace, ScrubProgress, ScrubReport, ScrubStart};
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::ops::Bound;
use std::time::Duration;

/// Looks at a leaf, before what is still open is left as it is.
const LOOKS: u32 = 7;
/// Times that a member is asked in one look.
const ASKS: u32 = 2;
/// Between the first two looks; each time twice as long, so that together they are longer than a
/// node takes that must be sent again what it lacks.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) enum Stage {
    /// Nodes are looking at their own metadata.
    Metadata(MetadataLook),
    /// The next look begins then.
    Resting(Instant),
    /// Members are examining the leaf.
    Asking {
        open: BTreeMap<RequestId, NodeId>,
        answers: BTreeMap<NodeId, LeafDigests>,
        since: Instant,
        asks: u32,
    },
    /// What is bad is being mended.
    Mending,
}

type CopyOfBlock = (NodeId, GroupBlock);

/// What was found in the looks at one leaf.
#[derive(Debug, Default)]
struct Findings {
    looks: u32,
    /// Copies that were read in all of them.
    copies_read: u64,
    damaged: BTreeSet<CopyOfBlock>,
    differing: BTreeSet<CopyOfBlock>,
    lost: BTreeSet<CopyOfBlock>,
    index_damaged: BTreeSet<NodeId>,
    /// Who answered the last look, and the last record that any of them had taken in.
    seen: (BTreeSet<NodeId>, Lsn),
}

impl Findings {
    /// What both must have taken in before versions that differ are believed: what anybody had at
    /// the look before, if it had the same members.
    fn floor(&self, answers: &BTreeMap<NodeId, LeafDigests>) -> Lsn {
        let is_same = answers.keys().eq(self.seen.0.iter());
        if is_same { self.seen.1 } else { Lsn::MAX }
    }

    fn add(&mut self, verdict: &Verdict, answers: &BTreeMap<NodeId, LeafDigests>) {
        self.looks += 1;
        self.copies_read += verdict.copies;
        self.damaged.extend(&verdict.damaged);
        self.differing.extend(&verdict.differing);
        self.lost.extend(&verdict.lost);
        self.index_damaged.extend(&verdict.index_damaged);
        let newest = answers.values().map(|leaf| leaf.applied).max();
        let nodes = answers.keys().copied().collect();
        self.seen = (nodes, newest.unwrap_or(Lsn::NONE));
    }

    /// Counts a leaf that is done; `verdict` is the last one.
    fn count_into(&self, report: &mut ScrubReport, verdict: &Verdict) {
        let is_bad = |copy: &&CopyOfBlock| {
            // A node that did not answer any more has proved nothing.
            !self.seen.0.contains(&copy.0)
                || verdict.damaged.contains(copy)
                || verdict.differing.contains(copy)
        };
        let found: BTreeSet<CopyOfBlock> = self.damaged.union(&self.differing).copied().collect();
        let bad = found.iter().filter(is_bad).count();
        report.blocks += verdict.blocks;
        report.copies += verdict.copies;
        report.damaged += self.damaged.len() as u64;
        report.differing += (self.differing.len() + self.lost.len()) as u64;
        report.repaired += (found.len() - bad) as u64;
        report.unresolved += (bad + verdict.split.len() + verdict.lost.len()) as u64;
        report.changing += verdict.changing.len() as u64;
        let of_index = self.index_damaged.iter();
        let bad_pages = of_index
            .filter(|node| !self.seen.0.contains(node) || verdict.index_damaged.contains(node));
        let bad_pages = bad_pages.count() as u64;
        report.metadata_damaged += self.index_damaged.len() as u64;
        report.metadata_repaired += self.index_damaged.len() as u64 - bad_pages;
        report.unresolved += bad_pages;
    }
}

/// A scrub under way.
#[derive(Debug)]
pub(super) struct Scrub {
    ticket: Ticket,
    pace: Pace,
    pub(super) is_paused: bool,
    pub(super) report: ScrubReport,
    place: ScrubPlace,
    findings: Findings,
    pub(super) stage: Stage,
}

impl Scrub {
    fn go_to(&mut self, place: ScrubPlace, at: Instant) {
        self.place = place;
        self.findings = Findings::default();
        self.stage = Stage::Resting(at);
    }
}

impl Writer {
    /// Starts reading and comparing all copies; answered by [`Answer::Scrubbed`] when it is
    /// through. `rate`: bytes a second that are read at most, of all nodes together.
    pub fn scrub(&mut self, now: Instant, ticket: Ticket, rate: Option<NonZeroU64>) {
        let start = ScrubStart {
            rate,
            ..ScrubStart::default()
        };
        self.scrub_from(now, ticket, start);
    }

    /// The same from where an earlier process was.
    pub fn scrub_from(&mut self, now: Instant, ticket: Ticket, start: ScrubStart) {
        if !self.is_open() {
            return self.complete(ticket, Err(IoFailure::Closed));
        }
        if self.scrub.is_some() {
            return self.complete(ticket, Err(IoFailure::TooManyWaiting));
        }
        self.now = now;
        self.unprovable.count_anew();
        self.scrub = Some(Scrub {
            ticket,
            pace: Pace::new(start.rate, now, self.answered),
            is_paused: start.is_paused,
            report: start.report,
            place: start.place,
            findings: Findings::default(),
            stage: Stage::Metadata(MetadataLook::default()),
        });
        if start.place == ScrubPlace::default() {
            return self.look_at_metadata(now);
        }
        self.scrub_data(start.place);
    }

    /// Goes on with the leaves, from a place on that need not be there any more.
    pub(super) fn scrub_data(&mut self, place: ScrubPlace) {
        let now = self.now;
        let leaves = self.config.geometry.group_blocks / LEAF_BLOCKS;
        match self.next_group(Bound::Included(place.group)) {
            Some(group) if group == place.group && place.leaf < leaves => {
                self.scrub_leaf(place, now);
            }
            Some(group) => self.scrub_leaf(ScrubPlace { group, leaf: 0 }, now),
            None => self.end_scrub(),
        }
    }

    /// Whether a scrub is under way.
    pub fn is_scrubbing(&self) -> bool {
        self.scrub.is_some()
    }

    /// Has the scrub under way wait, or go on. `false`: there is none.
    pub fn pause_scrub(&mut self, is_paused: bool) -> bool {
        let Some(scrub) = &mut self.scrub else {
            return false;
        };
        scrub.is_paused = is_paused;
        true
    }

    /// Changes how many bytes a second the scrub under way reads at most.
    /// `false`: there is none.
    pub fn set_scrub_rate(&mut self, rate: Option<NonZeroU64>) -> bool {
        let Some(scrub) = &mut self.scrub else {
            return false;
        };
        scrub.pace.set_cap(rate);
        true
    }

    /// Ends the scrub under way where it is; it is answered with [`IoFailure::Cancelled`]. What it
    /// had found is being mended all the same. `false`: there is none.
    pub fn cancel_scrub(&mut self) -> bool {
        let Some(scrub) = self.scrub.take() else {
            return false;
        };
        self.complete(scrub.ticket, Err(IoFailure::Cancelled));
        true
    }

    /// How far the scrub under way is.
    pub fn scrub_progress(&self) -> Option<ScrubProgress> {
        let scrub = self.scrub.as_ref()?;
        let with_data = || self.groups.iter().filter(|(_, view)| view.tip.is_some());
        let is_done = |group: &&GroupId| **group < scrub.place.group;
        let groups = with_data().map(|(group, _)| group);
        Some(ScrubProgress {
            at: ScrubStart {
                place: scrub.place,
                report: scrub.report,
                rate: scrub.pace.cap(),
                is_paused: scrub.is_paused,
            },
            groups_done: groups.filter(is_done).count() as u64,
            groups: with_data().count() as u64,
            allowance: scrub.pace.allowance(),
        })
    }

    /// The next group that has anything in it.
    fn next_group(&self, after: Bound<GroupId>) -> Option<GroupId> {
        let mut groups = self.groups.range((after, Bound::Unbounded));
        let (group, _) = groups.find(|(_, view)| view.tip.is_some())?;
        Some(*group)
    }

    fn scrub_leaf(&mut self, place: ScrubPlace, at: Instant) {
        if let Some(scrub) = &mut self.scrub {
            scrub.go_to(place, at);
        }
        self.scrub_next(self.now);
    }

    fn end_scrub(&mut self) {
        if let Some(scrub) = self.scrub.take() {
            self.health.scrubbed();
            self.complete(scrub.ticket, Ok(Answer::Scrubbed(scrub.report)));
        }
    }

    /// Goes on if it is time.
    pub(super) fn scrub_next(&mut self, now: Instant) {
        let answered = self.answered;
        let Some(scrub) = &mut self.scrub else {
            return;
        };
        scrub.pace.look(now, answered);
        let place = scrub.place;
        let Some(scrub) = &self.scrub else {
            return;
        };
        match &scrub.stage {
            // What was begun is ended: a paused scrub has nothing under way.
            Stage::Resting(_) if scrub.is_paused => {}
            Stage::Resting(_) if self.must_fill_first(place.group) => {}
            Stage::Resting(until) if now >= *until => self.begin_look(),
            Stage::Mending if !self.repairs.is_busy_with(place.group, place.leaf) => {
                self.begin_look();
            }
            Stage::Asking { .. } => self.end_or_ask_again(now),
            Stage::Metadata(_) => self.look_at_metadata(now),
            Stage::Resting(_) | Stage::Mending => {}
        }
    }

    /// Whether so few members are complete that no other one may be found incomplete before those
    /// that are being filled are full.
    fn must_fill_first(&self, group: GroupId) -> bool {
        let Some(view) = self.groups.get(&group) else {
            return false;
        };
        let members = view.members.into_iter();
        let there = members.filter(|node| self.nodes[node.index()].is_reachable());
        let (complete, lacking): (Vec<NodeId>, Vec<NodeId>) =
            there.partition(|node| view.is_complete(*node));
        complete.len() <= WRITE_QUORUM && !lacking.is_empty()
    }

    /// Asks every complete member.
    fn begin_look(&mut self) {
        let now = self.now;
        let Some(scrub) = &mut self.scrub else {
            return;
        };
        let group = scrub.place.group;
        scrub.stage = Stage::Asking {
            open: BTreeMap::new(),
            answers: BTreeMap::new(),
            since: now,
            asks: 1,
        };
        let members = self.groups.get(&group).map(|view| view.members);
        for node in members.into_iter().flatten() {
            if self.is_able(node, group) {
                self.ask_for_scrub(node);
            }
        }
        self.end_or_ask_again(now);
    }

    fn ask_for_scrub(&mut self, node: NodeId) {
        let Some(scrub) = &self.scrub else {
            return;
        };
        let id = self.ask_to_examine(node, scrub.place.group, scrub.place.leaf);
        let stage = self.scrub.as_mut().map(|scrub| &mut scrub.stage);
        if let Some(Stage::Asking { open, .. }) = stage {
            open.insert(id, node);
        }
    }

    /// A node has examined a leaf. One that is not complete after all is left out.
    pub(super) fn on_scrub_examined(
        &mut self,
        from: NodeId,
        id: RequestId,
        result: Result<LeafDigests, NodeFailure>,
    ) {
        let stage = self.scrub.as_mut().map(|scrub| &mut scrub.stage);
        let Some(Stage::Asking { open, answers, .. }) = stage else {
            return;
        };
        if open.remove(&id).is_none() {
            return;
        }
        if let Ok(digests) = result {
            answers.insert(from, digests);
        }
        self.end_or_ask_again(self.now);
    }

    /// Ends the look when everybody has answered; asks again whoever takes too long.
    fn end_or_ask_again(&mut self, now: Instant) {
        let Some(scrub) = &self.scrub else {
            return;
        };
        let Stage::Asking {
            open, since, asks, ..
        } = &scrub.stage
        else {
            return;
        };
        let group = scrub.place.group;
        let is_late = now.since(*since) > limits::REPLY_PATIENCE;
        let waited_for = open.values().filter(|node| self.is_able(**node, group));
        let waited_for: Vec<NodeId> = waited_for.copied().collect();
        if waited_for.is_empty() || is_late && *asks >= ASKS {
            return self.end_look();
        }
        if !is_late {
            return;
        }
        let stage = self.scrub.as_mut().map(|scrub| &mut scrub.stage);
        if let Some(Stage::Asking {
            open, since, asks, ..
        }) = stage
        {
            open.clear();
            *since = now;
            *asks += 1;
        }
        for node in waited_for {
            self.ask_for_scrub(node);
        }
    }

    fn end_look(&mut self) {
        let now = self.now;
        let Some(scrub) = &mut self.scrub else {
            return;
        };
        let rest = Stage::Resting(now.plus(PAUSE * (1 << scrub.findings.looks.min(LOOKS))));
        let Stage::Asking { answers, .. } = std::mem::replace(&mut scrub.stage, rest) else {
            return;
        };
        let mut verdict = compare(&answers, scrub.findings.floor(&answers));
        let is_last_leaf = answers.values().all(|leaf| leaf.next_leaf.is_none());
        if is_last_leaf && is_planted(Bug::ScrubSkipsLastLeaf) {
            verdict = Verdict::default();
        }
        scrub.findings.add(&verdict, &answers);
        let is_last = scrub.findings.looks >= LOOKS;
        if answers.is_empty() && !is_last {
            scrub.stage = Stage::Resting(now.plus(limits::COPY_PATIENCE));
            return;
        }
        let left = self.mend(&verdict);
        if !is_last && !verdict.is_clean() && !self.policy.read_only {
            return self.rest_or_mend();
        }
        self.end_leaf(&left, &answers);
    }

    /// The next look is when what is bad was mended.
    fn rest_or_mend(&mut self) {
        if let Some(scrub) = &mut self.scrub
            && self
                .repairs
                .is_busy_with(scrub.place.group, scrub.place.leaf)
        {
            scrub.stage = Stage::Mending;
        }
    }

    /// Has mended what is bad; returns the verdict without what is filled anew.
    fn mend(&mut self, verdict: &Verdict) -> Verdict {
        let Some(scrub) = &self.scrub else {
            return Verdict::default();
        };
        let ScrubPlace { group, leaf } = scrub.place;
        let bad = verdict.damaged.union(&verdict.differing);
        let nodes: BTreeSet<NodeId> = bad.map(|(node, _)| *node).collect();
        for node in nodes {
            if is_planted(Bug::DamageNotMended) {
                continue;
            }
            self.want_repair((node, group, leaf), verdict.expected.clone());
        }
        let lost: BTreeSet<NodeId> = verdict.lost.iter().map(|(node, _)| *node).collect();
        let refilled: BTreeSet<NodeId> = lost
            .into_iter()
            .filter(|node| self.refill(*node, group))
            .collect();
        if let Some(scrub) = &mut self.scrub {
            scrub.report.refilled += refilled.len() as u64;
        }
        self.repair_next(self.now);
        let mut left = verdict.clone();
        left.lost.retain(|(node, _)| !refilled.contains(node));
        left
    }

    /// Has a segment filled from nothing, if four others hold what there is.
    fn refill(&mut self, node: NodeId, group: GroupId) -> bool {
        let Some(view) = self.groups.get(&group) else {
            return false;
        };
        let usable = |other: NodeId| self.nodes[other.index()].is_reachable();
        let others = view.complete_others(node, usable).count();
        if others < WRITE_QUORUM || self.policy.read_only {
            return false;
        }
        self.on_segment_damaged(node, group);
        true
    }

    /// On to the next leaf that any copy has something in.
    fn end_leaf(&mut self, verdict: &Verdict, answers: &BTreeMap<NodeId, LeafDigests>) {
        self.note_unprovable(answers);
        let Some(scrub) = &mut self.scrub else {
            return;
        };
        scrub.findings.count_into(&mut scrub.report, verdict);
        // Of a group that nobody can be asked about not even the next leaf is known.
        scrub.report.unresolved += u64::from(answers.is_empty());
        let bytes = scrub.findings.copies_read * BLOCK_BYTES as u64;
        let at = scrub.pace.next(self.now, bytes);
        let ScrubPlace { group, leaf } = scrub.place;
        let next = answers.values().filter_map(|leaf| leaf.next_leaf).min();
        if let Some(leaf) = next.filter(|next| *next > leaf) {
            return self.scrub_leaf(ScrubPlace { group, leaf }, at);
        }
        match self.next_group(Bound::Excluded(group)) {
            Some(group) => self.scrub_leaf(ScrubPlace { group, leaf: 0 }, at),
            None => self.end_scrub(),
        }
    }

    /// Notes the blocks of which nobody has a copy that checks; all others of the leaf are good.
    fn note_unprovable(&mut self, answers: &BTreeMap<NodeId, LeafDigests>) {
        let Some(scrub) = self.scrub.as_ref().filter(|_| !answers.is_empty()) else {
            return;
        };
        let ScrubPlace { group, leaf } = scrub.place;
        let digests = || answers.values().flat_map(|leaf| &leaf.blocks);
        let proven: BTreeSet<GroupBlock> = digests()
            .filter(|digest| digest.content.is_some())
            .map(|digest| digest.block)
            .collect();
        let mut lost: BTreeSet<GroupBlock> = digests().map(|digest| digest.block).collect();
        lost.retain(|block| !proven.contains(block));
        let first = leaf * LEAF_BLOCKS;
        self.unprovable.clear(group, first..first + LEAF_BLOCKS);
        lost.into_iter()
            .for_each(|block| self.unprovable.add(group, block));
    }
}
