//! Every open is a recovery (DESIGN §7): promise, scan, VCL and VDL, truncation range, settle,
//! serve. Do not simplify these rules by feel: each clause is there because a shorter one lost
//! data in a model of it.

use super::node_view::Phase;
use super::settling::Settling;
use super::{Writer, WriterEffect};
use crate::config::{SEGMENTS, VolumeConfig};
use crate::ids::{GroupId, Incarnation, NodeId, VolumeEpoch};
use crate::limits;
use crate::lsn::{Lsn, TruncationList, TruncationRange};
use crate::message::{Report, Request, Room, SegmentReport, TailRecord};
use crate::planted::{Bug, is_planted};
use crate::quorum::{READ_QUORUM, WRITE_QUORUM};
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Waiting for promises and reports.
    Promising,
    /// The range is decided; waiting for nodes to hold the list.
    Listing,
    /// Copying the tail until four cover it.
    Settling,
}

/// A recovery under way.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) step: Step,
    /// When the step began.
    since: Instant,
    /// When a node last said something that took it further.
    progress: Instant,
    /// Nodes that were asked and may still answer.
    pub(super) asked: BTreeSet<NodeId>,
    pub(super) reports: BTreeMap<NodeId, Report>,
    /// Nodes that hold the new list.
    pub(super) listed: BTreeSet<NodeId>,
    /// The last record of each group at or below the VDL, and at or below the announced VDL.
    pub(super) anchors: BTreeMap<GroupId, (Lsn, Lsn)>,
    /// The highest VDL that a report announces.
    pub(super) announced: Lsn,
    pub(super) settling: Settling,
}

impl Writer {
    /// Opens the volume on the nodes that are up.
    pub fn open(&mut self, now: Instant) {
        self.unreadable.clear();
        self.outbid_on.clear();
        self.start_promising(now, self.epoch.number + 1);
    }

    pub(super) fn start_promising(&mut self, now: Instant, number: u64) {
        self.epoch.number = number;
        self.catch_up = self.catch_up.emptied();
        let up = |node: &NodeId| {
            self.nodes[node.index()].phase != Phase::Down && !self.unreadable.contains(node)
        };
        let asked: BTreeSet<NodeId> = self.config.node_ids().filter(up).collect();
        for node in &asked {
            self.nodes[node.index()].phase = Phase::Promising;
            let epoch = self.epoch;
            self.send(*node, Request::Promise { epoch });
        }
        self.recovery = Some(Recovery {
            step: Step::Promising,
            since: now,
            progress: now,
            asked,
            reports: BTreeMap::new(),
            listed: BTreeSet::new(),
            anchors: BTreeMap::new(),
            announced: Lsn::NONE,
            settling: Settling::default(),
        });
    }

    /// A node has promised more: start again, higher; later, if that happens again and again.
    pub(super) fn recovery_refused(&mut self, now: Instant, promised: VolumeEpoch) {
        let promised = promised.number.max(self.epoch.number);
        if let Some(number) = self.outbidding.refused(now, self.epoch.writer, promised) {
            self.start_promising(now, number);
        }
    }

    /// A node is gone. Once the VDL is decided the recovery counts on what the nodes reported, and
    /// it may be the only one that has a record of the tail: it starts again without that node.
    pub(super) fn recovery_node_down(&mut self, now: Instant, node: NodeId) {
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        recovery.reports.remove(&node);
        let was_counted_on = recovery.asked.remove(&node) && recovery.step != Step::Promising;
        if was_counted_on {
            self.start_promising(now, self.epoch.number + 1);
        }
    }

    pub(super) fn on_promised(&mut self, now: Instant, from: NodeId, report: Report) {
        if report.epoch != self.epoch {
            return;
        }
        match &mut self.recovery {
            // A successor is no member: it joins when the volume serves.
            Some(_) if self.config.is_successor(from) => {}
            Some(recovery) if recovery.step == Step::Promising => {
                let view = &mut self.nodes[from.index()];
                view.incarnation = Some(report.incarnation);
                view.heard(&report);
                recovery.reports.insert(from, report);
                recovery.progress = now;
            }
            // One that promises later joins when the volume serves.
            Some(_) => {}
            None => self.join(from, &report),
        }
    }

    pub(super) fn on_list_held(
        &mut self,
        now: Instant,
        from: NodeId,
        epoch: VolumeEpoch,
        scls: Vec<(GroupId, Lsn)>,
        room: Room,
    ) {
        if epoch != self.epoch {
            return;
        }
        let view = &mut self.nodes[from.index()];
        view.room = room;
        view.held_config = view.held_config.max(view.sent_config);
        match &mut self.recovery {
            Some(recovery) => {
                recovery.listed.insert(from);
                recovery.progress = now;
                if recovery.step == Step::Settling {
                    self.nodes[from.index()].phase = Phase::Streaming;
                }
                let view = &self.nodes[from.index()];
                let unseen = recovery.anchors.keys().copied();
                let unseen = unseen.filter(|group| view.had_not_seen(*group));
                // It has everything up to nothing of a group that it has never seen.
                let unseen: Vec<_> = unseen.map(|group| (group, Lsn::NONE)).collect();
                for (group, scl) in scls.into_iter().chain(unseen) {
                    self.on_complete(from, group, scl);
                }
            }
            None => self.joined(now, from, &scls),
        }
    }

    /// A node has done something for the recovery.
    pub(super) fn recovery_progress(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            recovery.progress = self.now;
        }
    }

    /// Lets a recovery go on without nodes that have not answered in time, as long as four of
    /// every placement have; and ends one that comes no further.
    pub(super) fn recovery_tick(&mut self, now: Instant) {
        if self.recovery.is_some()
            && let Some(number) = self.outbidding.due(now)
        {
            self.start_promising(now, number);
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.settling.tick(now);
            self.ask_recovery_again(now);
        }
        let Some(recovery) = &self.recovery else {
            return;
        };
        let answered: BTreeSet<NodeId> = match recovery.step {
            Step::Promising => recovery.reports.keys().copied().collect(),
            Step::Listing | Step::Settling => recovery.listed.clone(),
        };
        let of_all = self.fewest_of_a_placement(|node| answered.contains(&node));
        let stuck = now.since(recovery.progress) > limits::RECOVERY_STALL;
        let late = now.since(recovery.since) > limits::RECOVERY_GRACE;
        let idle = now.since(recovery.progress) > limits::SETTLING_PATIENCE;
        match recovery.step {
            // The three that are left, as it seems.
            Step::Promising if stuck => self.go_on_with(answered),
            Step::Listing | Step::Settling if stuck => self.refuse(self.why_stuck(&answered)),
            Step::Settling if idle => self.settle_anew(),
            Step::Promising | Step::Listing if late && of_all >= WRITE_QUORUM => {
                self.go_on_with(answered);
            }
            _ => {}
        }
    }

    fn go_on_with(&mut self, answered: BTreeSet<NodeId>) {
        if let Some(recovery) = &mut self.recovery {
            recovery.asked = answered;
        }
    }

    fn why_stuck(&self, answered: &BTreeSet<NodeId>) -> String {
        let used = self.config.undrained_nodes();
        let silent = used.filter(|node| !answered.contains(node));
        let names: Vec<String> = silent.map(|node| self.config.node_name(node)).collect();
        if names.is_empty() {
            "records that were durable are on none of its nodes any more".to_owned()
        } else {
            format!(
                "what is durable could not be settled without {}",
                names.join(", ")
            )
        }
    }

    /// Takes the recovery one step further, if everything it waits for is there.
    pub(super) fn recovery_next(&mut self, now: Instant) {
        let Some(recovery) = &self.recovery else {
            return;
        };
        match recovery.step {
            Step::Promising
                if recovery
                    .asked
                    .iter()
                    .all(|n| recovery.reports.contains_key(n)) =>
            {
                self.decide(now);
            }
            Step::Listing if recovery.asked.iter().all(|n| recovery.listed.contains(n)) => {
                self.after_listing(now);
            }
            Step::Settling => self.settle(now),
            _ => {}
        }
    }

    /// Steps 3 and 4: what is durable, and the range that annuls the rest.
    fn decide(&mut self, now: Instant) {
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        let held = newest_list(&mut recovery.reports);
        let newest = recovery.reports.values().map(|report| &report.config);
        let newest = newest.max_by_key(|config| config.version).cloned();
        if let Err(reason) = self.choose_config(newest) {
            return self.refuse(reason);
        }
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        leave_out_others(&mut recovery.reports, &self.config);
        let usable = usable(&self.config.nodes, &recovery.reports);
        let announced = usable.values().map(|report| report.announced).max();
        let announced = announced.unwrap_or(Lsn::NONE);
        let tail: BTreeMap<Lsn, TailRecord> = usable
            .values()
            .flat_map(|report| &report.tail)
            .map(|r| (r.lsn, *r))
            .collect();
        let vdl = match is_planted(Bug::TruncateBelowVdl) {
            true => announced,
            false => durable_point(announced, &held, &tail),
        };
        let anchors = anchors(&usable, &held, announced, vdl);
        let absent: Vec<NodeId> = self
            .config
            .undrained_nodes()
            .filter(|node| !usable.contains_key(node))
            .collect();
        let low = usable.values().map(|report| report.replay_low).min();
        let low = low.unwrap_or(Lsn::NONE);
        let held_top = held.top();
        let mut list = held;
        let is_full = list.ranges.len() >= limits::TRUNCATION_RANGES;
        if absent.is_empty() || is_full {
            // None of those that are here can meet again what these annul.
            list.ranges.retain(|range| range.high >= low);
        }
        list.epoch = self.epoch;
        let limit = limits::LSN_ALLOCATION_LIMIT * u64::from(!is_planted(Bug::ReuseLsns));
        let top = vdl.max(held_top).plus(limit);
        list.push(TruncationRange {
            low: vdl.next(),
            high: top,
        });
        if list.ranges.len() > limits::TRUNCATION_RANGES {
            return self.refuse(
                "more opens were cut short than a node can remember without a checkpoint"
                    .to_owned(),
            );
        }
        if is_full {
            self.disown(&absent);
        }
        self.vdl = vdl;
        self.last_lsn = vdl;
        self.make_groups(&anchors);
        self.start_listing(now, list, anchors, announced);
    }

    /// The newest configuration counts, if it is one that this writer can go by.
    fn choose_config(&mut self, newest: Option<VolumeConfig>) -> Result<(), String> {
        let mut config = newest.ok_or("no node answers")?;
        if config.nodes.len() < self.config.nodes.len() && config.version < self.config.version {
            // Who had this when the writer was made with it is gone by now. Nodes never leave the
            // table, and it may be the one that counts.
            config = self.config.clone();
        }
        if 2 * config.nodes.len() != self.nodes.len() {
            // Who knows of them could not be read when this writer was made.
            return Err("nodes have come to the volume meanwhile; open it again".to_owned());
        }
        // What is chosen here is above what an earlier writer may have left, unfinished, on a
        // node that does not answer: else the next open would find that.
        config.version = config.version.max(self.first_version());
        self.set_config(config);
        self.check_read_quorum()
    }

    /// These nodes have been away for so many opens that what was annulled meanwhile is not
    /// remembered any longer, and may be in their logs: what they have counts as of an earlier
    /// life. When they come back they are made anew.
    fn disown(&mut self, absent: &[NodeId]) {
        let mut config = self.config.clone();
        for node in absent {
            config.nodes[node.index()].incarnation = Incarnation::NONE;
        }
        config.version += 1;
        self.set_config(config);
    }

    /// Three members of every group must have promised, complete and with an undamaged tail.
    fn check_read_quorum(&self) -> Result<(), String> {
        let Some(recovery) = &self.recovery else {
            return Ok(());
        };
        let usable = usable(&self.config.nodes, &recovery.reports);
        match self.every_group_has_voters(&usable) {
            true => Ok(()),
            false => Err(self.name_unusable(&usable)),
        }
    }

    /// Whether three members of every group can vote when one node is left out, which counts.
    pub(super) fn can_vote_without(&self, node: NodeId) -> bool {
        let Some(recovery) = &self.recovery else {
            return false;
        };
        let mut usable = usable(&self.config.nodes, &recovery.reports);
        usable.remove(&node).is_some() && self.every_group_has_voters(&usable)
    }

    fn every_group_has_voters(&self, usable: &BTreeMap<NodeId, &Report>) -> bool {
        let reports = usable.values();
        let seen = reports.flat_map(|report| &report.segments).map(|s| s.group);
        let groups: BTreeSet<GroupId> = seen.chain(self.config.representatives()).collect();
        groups.into_iter().all(|group| {
            let members = self.config.members(group).into_iter();
            let reports = members.filter_map(|node| usable.get(&node));
            reports.filter(|report| can_vote(report, group)).count() >= READ_QUORUM
        })
    }

    fn name_unusable(&self, usable: &BTreeMap<NodeId, &Report>) -> String {
        let missing = self.config.undrained_nodes().filter(|node| {
            usable
                .get(node)
                .is_none_or(|r| r.tail_damaged || r.segments.iter().any(|s| !s.complete))
        });
        let names: Vec<String> = missing.map(|node| self.config.node_name(node)).collect();
        format!(
            "fewer than three nodes of a group are usable; missing, damaged or incomplete: {}",
            names.join(", ")
        )
    }

    pub(super) fn refuse(&mut self, reason: String) {
        self.recovery = None;
        self.epoch.number = 0;
        self.effects.push_back(WriterEffect::Opened(Err(reason)));
    }

    fn make_groups(&mut self, anchors: &BTreeMap<GroupId, (Lsn, Lsn)>) {
        self.groups = anchors
            .iter()
            .map(|(group, (anchor, _))| (*group, self.new_group(*group, *anchor)))
            .collect();
    }

    fn start_listing(
        &mut self,
        now: Instant,
        list: TruncationList,
        anchors: BTreeMap<GroupId, (Lsn, Lsn)>,
        announced: Lsn,
    ) {
        self.list = list;
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        let nodes: Vec<NodeId> = usable(&self.config.nodes, &recovery.reports)
            .into_keys()
            .collect();
        recovery.step = Step::Listing;
        recovery.since = now;
        recovery.anchors = anchors;
        recovery.announced = announced;
        recovery.asked = nodes.iter().copied().collect();
        nodes.into_iter().for_each(|node| self.hold_list(node));
    }

    /// The list must be on four members of every placement; on all three when three are left
    /// (those that were asked and are not gone).
    fn after_listing(&mut self, now: Instant) {
        let Some(recovery) = &self.recovery else {
            return;
        };
        if self.fewest_of_a_placement(|node| recovery.listed.contains(&node)) < READ_QUORUM {
            return self.refuse("fewer than three nodes took the truncation range".to_owned());
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.step = Step::Settling;
            for node in recovery.listed.clone() {
                self.nodes[node.index()].phase = Phase::Streaming;
            }
        }
        self.settle(now);
    }

    /// Everything is settled: VCL = VDL = the range's top, and the first read may be served.
    pub(super) fn serve(&mut self, now: Instant) {
        let Some(recovery) = self.recovery.take() else {
            return;
        };
        let top = self.list.top();
        self.vcl = top;
        self.vdl = top;
        self.next_lsn = top.next();
        self.announced = top;
        for node in &recovery.listed {
            self.announce_to(*node);
        }
        for node in recovery.listed.iter().copied() {
            for (group, (anchor, _)) in &recovery.anchors {
                let view = self.groups.get(group);
                let member = view.is_some_and(|view| view.is_held_by(node));
                if member && !view.is_some_and(|view| view.is_current(node)) {
                    let complete = view.is_some_and(|view| view.is_complete(node));
                    let scl = view.map_or(Lsn::NONE, |view| view.scl(node)).min(*anchor);
                    self.take_stock(node, *group, complete.then_some(scl));
                }
            }
        }
        // Those that were too late, were left out, or have a new directory, join now.
        self.unreadable.clear();
        for node in self.addresses() {
            let is_up = self.nodes[node.index()].phase != Phase::Down;
            if is_up && !recovery.listed.contains(&node) {
                self.node_up(now, node);
            }
        }
        for node in recovery.listed {
            self.note_strays(node);
        }
        self.count_moved();
        self.review(now);
        self.effects.push_back(WriterEffect::Opened(Ok(())));
    }
}

/// What a node has of a group that is not its own by the configuration that counts may be a part of
/// what it is, or was, to hold: nothing is built on that.
fn leave_out_others(reports: &mut BTreeMap<NodeId, Report>, config: &VolumeConfig) {
    let mut members: BTreeMap<GroupId, [NodeId; SEGMENTS]> = BTreeMap::new();
    let mut holds = |node: NodeId, group: GroupId| {
        let six = members
            .entry(group)
            .or_insert_with(|| config.members(group));
        six.contains(&node)
    };
    for (node, report) in reports {
        report
            .segments
            .retain(|segment| holds(*node, segment.group));
        report.tail.retain(|record| holds(*node, record.group));
    }
}

/// Reports of nodes whose directory is the admitted one and not fresh.
fn usable<'a>(
    nodes: &[crate::config::NodeEntry],
    reports: &'a BTreeMap<NodeId, Report>,
) -> BTreeMap<NodeId, &'a Report> {
    let admitted = reports.iter().filter(|(node, report)| {
        let is_admitted = nodes[node.index()].incarnation == report.incarnation && !report.fresh;
        is_admitted || is_planted(Bug::EmptiedNodeCounts)
    });
    admitted.map(|(node, report)| (*node, report)).collect()
}

/// A group's row of a report, which ascends by group.
fn segment_of(report: &Report, group: GroupId) -> Option<&SegmentReport> {
    let at = report
        .segments
        .binary_search_by_key(&group, |segment| segment.group);
    at.ok().map(|at| &report.segments[at])
}

/// Whether a report can say of a group what is not there. With a damaged tail, a group that it does
/// not name may have been in what is lost.
fn can_vote(report: &Report, group: GroupId) -> bool {
    let proven = segment_of(report, group).map_or(!report.tail_damaged, |s| s.complete);
    proven || is_planted(Bug::IncompleteVotes)
}

/// The list of the newest epoch. Reports whose index has what it annuls are dropped: they proved
/// what they know to a volume that was given up.
fn newest_list(reports: &mut BTreeMap<NodeId, Report>) -> TruncationList {
    let lists = reports.values().map(|report| &report.list);
    let newest = match is_planted(Bug::OldestListCounts) {
        true => lists.min_by_key(|list| list.epoch),
        false => lists.max_by_key(|list| list.epoch),
    };
    let held = newest.cloned().unwrap_or_default();
    reports.retain(|_, report| !report.is_abandoned_by(&held));
    held
}

/// The VDL: from the highest announced one up, as long as the next LSN is there (or annulled),
/// down to the last consistency point.
fn durable_point(announced: Lsn, list: &TruncationList, tail: &BTreeMap<Lsn, TailRecord>) -> Lsn {
    let (mut vcl, mut vdl) = (announced, announced);
    loop {
        let next = vcl.next();
        let range = list.ranges.iter().find(|range| range.contains(next));
        if let Some(range) = range {
            vcl = range.high;
            vdl = vcl;
        } else if let Some(record) = tail.get(&next) {
            vcl = next;
            if record.is_consistency_point {
                vdl = vcl;
            }
        } else {
            return vdl;
        }
    }
}

/// Of every group: its last record at or below the VDL, and at or below the announced VDL.
fn anchors(
    usable: &BTreeMap<NodeId, &Report>,
    list: &TruncationList,
    announced: Lsn,
    vdl: Lsn,
) -> BTreeMap<GroupId, (Lsn, Lsn)> {
    let mut anchors: BTreeMap<GroupId, (Lsn, Lsn)> = BTreeMap::new();
    let mut raise = |group: GroupId, lsn: Lsn| {
        let entry = anchors.entry(group).or_default();
        if lsn <= vdl && !list.annuls(lsn) {
            entry.0 = entry.0.max(lsn);
        }
        if lsn <= announced && !list.annuls(lsn) {
            entry.1 = entry.1.max(lsn);
        }
    };
    for report in usable.values() {
        report
            .segments
            .iter()
            .for_each(|segment| raise(segment.group, segment.applied));
        report
            .tail
            .iter()
            .for_each(|record| raise(record.group, record.lsn));
    }
    anchors.retain(|_, (anchor, _)| anchor.is_some());
    anchors
}
