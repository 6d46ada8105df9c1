//! What segments have said that they hold, and what may be built on it: a durable record is on
//! four of six (law 1), an open counts three that can prove everything, and no node forgets what
//! it acknowledged, unless it says so.

use redoubt_volume::ids::{GroupId, Incarnation, NodeId, VolumeEpoch};
use redoubt_volume::lsn::Lsn;
use redoubt_volume::message::{Reply, Report, Request, SegmentReport};
use redoubt_volume::quorum::{READ_QUORUM, WRITE_QUORUM};
use redoubt_volume::status::VolumeState;
use redoubt_volume::writer::Writer;
use std::collections::{BTreeMap, BTreeSet};

/// Epochs that are remembered: those of writers that recover at the same time, and of the many that
/// fail one after the other in a part of the network.
const EPOCHS: usize = 32;

/// Which segment in which life of its directory.
type SegmentLife = (NodeId, Incarnation, GroupId);

/// What a node told a recovery of itself.
#[derive(Clone, Debug, Default)]
struct Vote {
    life: Option<Incarnation>,
    /// Its directory holds nothing that counts.
    fresh: bool,
    /// What it does not name may have been in what is lost.
    tail_damaged: bool,
    /// The segments that it named, and whether they are complete.
    segments: BTreeMap<GroupId, bool>,
}

/// What was said in an epoch.
#[derive(Clone, Debug, Default)]
struct Said {
    votes: BTreeMap<NodeId, Vote>,
    listed: BTreeSet<NodeId>,
}

/// What segments have said.
#[derive(Clone, Debug, Default)]
pub struct SegmentLaws {
    /// What a complete segment said last.
    held: BTreeMap<SegmentLife, Lsn>,
    /// The most that a node's segment ever said, in any life.
    most: BTreeMap<(NodeId, GroupId), Lsn>,
    /// The one that was heard of last is the last.
    epochs: Vec<(VolumeEpoch, Said)>,
    /// Segments that their nodes were told to let go, and may have or not.
    leaving: BTreeSet<SegmentLife>,
    /// Segments that were let go, and have not come back.
    gone: BTreeSet<SegmentLife>,
    /// Lives of directories that may have forgotten anything without a trace.
    excused: BTreeSet<(NodeId, Incarnation)>,
}

impl SegmentLaws {
    /// A directory may have forgotten anything without a trace.
    pub fn excuse(&mut self, node: NodeId, life: Option<Incarnation>) {
        self.excused.extend(life.map(|life| (node, life)));
    }

    /// A node of this life answers.
    ///
    /// # Errors
    /// The law that is broken.
    pub fn on_reply(
        &mut self,
        node: NodeId,
        life: Incarnation,
        reply: &Reply,
        is_excused: bool,
    ) -> Result<(), String> {
        match reply {
            Reply::Promised(report) => {
                self.check_report(node, report, is_excused)?;
                self.note_vote(node, report);
            }
            Reply::ListHeld { epoch, scls, .. } => {
                self.epoch(*epoch).listed.insert(node);
                scls.iter()
                    .for_each(|(group, scl)| self.hold((node, life, *group), *scl));
            }
            Reply::Acked {
                incarnation, scls, ..
            } => {
                scls.iter()
                    .for_each(|(group, scl)| self.hold((node, *incarnation, *group), *scl));
            }
            Reply::GroupCompleted { group, scl, .. } => self.hold((node, life, *group), *scl),
            Reply::Released { groups } => {
                for group in groups {
                    self.leaving.remove(&(node, life, *group));
                    self.held.remove(&(node, life, *group));
                    self.gone.insert((node, life, *group));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A node is told to let groups go that are not its own any more: what it says of them binds it
    /// no more, until it has said that they are gone, or starts anew.
    pub fn release(&mut self, node: NodeId, life: Incarnation, groups: &[GroupId]) {
        for group in groups {
            self.held.remove(&(node, life, *group));
            self.leaving.insert((node, life, *group));
        }
    }

    /// A node's process starts: its report tells what it still has.
    pub fn on_start(&mut self, node: NodeId) {
        self.leaving.retain(|segment| segment.0 != node);
    }

    /// What is said in an epoch, to be added to. Forgotten is the one of which nothing was heard for
    /// longest: a lower number may be the one that opens.
    fn epoch(&mut self, epoch: VolumeEpoch) -> &mut Said {
        let known = self.epochs.iter().position(|(known, _)| *known == epoch);
        let said = known.map(|at| self.epochs.remove(at).1);
        if self.epochs.len() >= EPOCHS {
            self.epochs.remove(0);
        }
        let said = (epoch, said.unwrap_or_default());
        &mut self.epochs.push_mut(said).1
    }

    fn said(&self, epoch: VolumeEpoch) -> Option<&Said> {
        let mut known = self.epochs.iter();
        known.find_map(|(known, said)| (*known == epoch).then_some(said))
    }

    fn hold(&mut self, segment: SegmentLife, scl: Lsn) {
        if !self.leaving.contains(&segment) {
            self.gone.remove(&segment);
            self.held.insert(segment, scl);
        }
        let most = self.most.entry((segment.0, segment.2)).or_default();
        *most = scl.max(*most);
    }

    fn note_vote(&mut self, node: NodeId, report: &Report) {
        let votes = &mut self.epoch(report.epoch).votes;
        let vote = votes.entry(node).or_default();
        vote.life = Some(report.incarnation);
        vote.fresh = report.fresh;
        vote.tail_damaged = report.tail_damaged;
        for segment in &report.segments {
            // Asked twice, the recovery may have counted either answer.
            *vote.segments.entry(segment.group).or_default() |= segment.complete;
        }
    }

    /// What a segment had on stable storage it has, or is damaged and says so.
    fn check_report(
        &mut self,
        node: NodeId,
        report: &Report,
        is_excused: bool,
    ) -> Result<(), String> {
        let of_node =
            (node, report.incarnation, GroupId(0))..=(node, report.incarnation, GroupId(u32::MAX));
        for ((_, _, group), held) in self.held.range(of_node) {
            let Some(scl) = claimed(report, *group).filter(|scl| scl < held) else {
                continue;
            };
            if report.list.annuls(*held) {
                continue;
            }
            // What is above all that it held was logged behind that: something before it is bad.
            let mut tail = report.tail.iter();
            let has_hole = tail.any(|record| record.group == *group && record.lsn > *held);
            let forgets = self.excused.contains(&(node, report.incarnation));
            if has_hole && !forgets || !is_excused {
                return Err(format!(
                    "{node:?} held {group:?} up to {held}, and reports {scl} as all there was{}",
                    if has_hole { ", with a hole" } else { "" }
                ));
            }
        }
        let life = (node, report.incarnation);
        if !self.has_voted(life, report.epoch) {
            self.held
                .retain(|segment, _| (segment.0, segment.1) != life);
        }
        Ok(())
    }

    fn has_voted(&self, life: (NodeId, Incarnation), epoch: VolumeEpoch) -> bool {
        let said = self.said(epoch);
        let vote = said.and_then(|said| said.votes.get(&life.0));
        vote.is_some_and(|vote| vote.life == Some(life.1))
    }

    /// A request of the writer that the node has promised: only a segment that said in this epoch,
    /// in this life, that it has everything up to the read point is asked for what it holds.
    ///
    /// # Errors
    /// What it was asked.
    pub fn check_asked(
        &self,
        node: NodeId,
        life: Incarnation,
        request: &Request,
    ) -> Result<(), String> {
        let (group, needed) = match request {
            Request::Read { group, tip, .. } => (*group, *tip),
            Request::FetchLeaves { group, base, .. } => (*group, *base),
            _ => return Ok(()),
        };
        let segment = (node, life, group);
        let said = match self.leaving.contains(&segment) || self.gone.contains(&segment) {
            // What was asked before that may come late.
            true => self.most.get(&(node, group)),
            false => self.held.get(&segment),
        };
        let said = said.copied().unwrap_or_default();
        if said < needed {
            return Err(format!(
                "{node:?} is asked for {group:?} as of {needed}, and has said no more than {said}"
            ));
        }
        Ok(())
    }

    /// A writer's VDL has moved: every group's last durable record is on four nodes.
    ///
    /// # Errors
    /// Which is not.
    pub fn check_durable(&self, writer: &Writer) -> Result<(), String> {
        self.check_tips(writer, WRITE_QUORUM)
    }

    fn check_tips(&self, writer: &Writer, quorum: usize) -> Result<(), String> {
        for (group, tip) in writer.group_tips().filter(|(_, tip)| tip.is_some()) {
            let said = |node: NodeId| {
                let most = self.most.get(&(node, group));
                most.is_some_and(|scl| *scl >= tip)
            };
            let holds = |node: &NodeId| {
                let successor = writer.config().successor(*node);
                said(*node) && (!writer.is_exchanged(*node) || said(successor))
            };
            // Wherever a crash may find the group.
            let places = writer.places_of(group).into_iter();
            let holders = places.map(|members| members.into_iter().filter(holds).count());
            let holders = holders.min().unwrap_or(0);
            if holders < quorum {
                return Err(format!(
                    "{tip} of {group:?} counts as durable, and {holders} nodes have said that \
                     they hold it"
                ));
            }
        }
        Ok(())
    }

    /// A successor has taken its node's place: with it instead of the node, four have said that they
    /// hold what is durable.
    ///
    /// # Errors
    /// Of what that is not so.
    pub fn check_seated(
        &self,
        writer: &Writer,
        successor: NodeId,
        node: NodeId,
    ) -> Result<(), String> {
        let config = writer.config();
        let life = config.nodes[node.index()].incarnation;
        let tips = writer.group_tips().filter(|(_, tip)| tip.is_some());
        for (group, tip) in tips.filter(|(group, _)| config.holds(node, *group)) {
            let own = self.held.get(&(successor, life, group));
            let others = config.members(group).into_iter();
            let others = others.filter(|other| *other != node);
            let others = others.filter_map(|other| self.most.get(&(other, group)));
            let holders = others.chain(own).filter(|scl| **scl >= tip).count();
            if holders < WRITE_QUORUM {
                return Err(format!(
                    "with the successor of {node:?} in its place {holders} hold {tip} of {group:?}"
                ));
            }
        }
        Ok(())
    }

    /// Nodes that reported themselves to a recovery.
    pub fn reports(&self, epoch: VolumeEpoch) -> usize {
        self.said(epoch).map_or(0, |said| said.votes.len())
    }

    /// A writer has opened: three members of every group could prove everything, four hold the
    /// list and the tail (all three, when it is open for reading only).
    ///
    /// # Errors
    /// What is not so.
    pub fn check_opened(&self, writer: &Writer) -> Result<(), String> {
        let nothing = Said::default();
        let said = self.said(writer.epoch()).unwrap_or(&nothing);
        let config = writer.config();
        for group in writer.existing_groups() {
            let members = config.members(group).into_iter();
            let could_vote = |node: &NodeId| {
                let vote = said.votes.get(node).filter(|vote| !vote.fresh);
                let vote =
                    vote.filter(|vote| Some(config.nodes[node.index()].incarnation) == vote.life);
                vote.is_some_and(|vote| {
                    let named = vote.segments.get(&group).copied();
                    named.unwrap_or(!vote.tail_damaged)
                })
            };
            let voters = members.filter(could_vote).count();
            if voters < READ_QUORUM {
                return Err(format!(
                    "it opened though {voters} nodes could prove what there is of {group:?}"
                ));
            }
        }
        let quorum = match writer.figures().state {
            VolumeState::ReadOnly => READ_QUORUM,
            _ => WRITE_QUORUM,
        };
        if said.listed.len() < quorum {
            return Err(format!("it opened with its list on {}", said.listed.len()));
        }
        self.check_tips(writer, quorum)
    }
}

/// Up to where a report says that a segment has everything; nothing if it says that it has not.
fn claimed(report: &Report, group: GroupId) -> Option<Lsn> {
    let named = report
        .segments
        .iter()
        .find(|segment| segment.group == group);
    let is_whole = |segment: &&SegmentReport| segment.complete;
    match named {
        Some(segment) => Some(segment).filter(is_whole).map(|segment| segment.scl),
        None => (!report.tail_damaged && !report.fresh).then_some(Lsn::NONE),
    }
}
