//! Laws that each message of a node, or to one, must obey by itself.

use super::segment_laws::SegmentLaws;
use redoubt_volume::format::log_frame::DecodedFrame;
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::ids::{GroupId, Incarnation, NodeId, VolumeEpoch};
use redoubt_volume::lsn::Lsn;
use redoubt_volume::message::{Reply, Request};
use std::collections::{BTreeMap, BTreeSet};

/// Which segment in which life of its directory.
type SegmentLife = (NodeId, Incarnation, GroupId);

/// What nodes have said so far.
#[derive(Clone, Debug, Default)]
pub struct NodeLaws {
    promised: BTreeMap<NodeId, (Incarnation, VolumeEpoch)>,
    listed: BTreeMap<NodeId, (Incarnation, VolumeEpoch)>,
    scls: BTreeMap<SegmentLife, (VolumeEpoch, Lsn)>,
    announced: BTreeMap<VolumeEpoch, Lsn>,
    /// What its segments have said.
    pub segments: SegmentLaws,
    /// Lives of directories whose disk is not what it was.
    excused: BTreeSet<(NodeId, Incarnation)>,
    /// The first law that was broken.
    pub violation: Option<String>,
}

impl NodeLaws {
    fn broken(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// The disk of a node is not what it was: what the node said does not bind it any more. Of
    /// what rots it must still say that it was there, when there is something behind it.
    pub fn excuse(&mut self, node: NodeId, life: Option<Incarnation>, rots: bool) {
        self.excused.extend(life.map(|life| (node, life)));
        if !rots {
            self.segments.excuse(node, life);
        }
    }

    /// A node's process starts from its directory.
    pub fn on_start(&mut self, node: NodeId, superblock: &Superblock) {
        self.check_promise(node, superblock);
        self.segments.on_start(node);
        let (life, held) = (superblock.incarnation, superblock.list.epoch);
        let said = self
            .listed
            .get(&node)
            .filter(|(said_in, _)| *said_in == life);
        if let Some((_, said)) = said.filter(|(_, said)| held < *said)
            && !self.excused.contains(&(node, life))
        {
            let said = *said;
            self.broken(format!(
                "{node:?} said that it holds list {said}, and has {held}"
            ));
        }
    }

    /// A promise is never taken back, also not by a crash (§7.2).
    fn check_promise(&mut self, node: NodeId, superblock: &Superblock) {
        let now = (superblock.incarnation, superblock.promised);
        match self.promised.get(&node) {
            Some((incarnation, before))
                if *incarnation == now.0
                    && superblock.promised < *before
                    && !self.excused.contains(&(node, now.0)) =>
            {
                let promised = superblock.promised;
                self.broken(format!(
                    "{node:?} went back from promise {before} to {promised}"
                ));
            }
            _ => {}
        }
    }

    /// A power cut has left no superblock: there was one, and another slot for what is written.
    pub fn on_superblock_lost(&mut self, node: NodeId, life: Option<Incarnation>) {
        if life.is_some_and(|life| !self.excused.contains(&(node, life))) {
            self.broken(format!("{node:?} has lost its superblock in a power cut"));
        }
    }

    /// What was said of a node's disk binds it, unless that disk is not what it was.
    pub fn on_disk(&mut self, node: NodeId, life: Incarnation, judged: Result<(), String>) {
        if let Err(reason) = judged
            && !self.excused.contains(&(node, life))
        {
            self.broken(format!("{node:?} {reason}"));
        }
    }

    /// What a node writes it can read again.
    pub fn on_append(&mut self, node: NodeId, header: &[u8]) {
        if let Err(reason) = DecodedFrame::decode(header) {
            self.broken(format!("{node:?} writes what it cannot read: {reason}"));
        }
    }

    /// A node gives up no bytes that it did not count: garbage collection steers by them.
    pub fn on_accounts(&mut self, node: NodeId, life: Incarnation, overdrawn_bytes: u64) {
        if overdrawn_bytes > 0 && !self.excused.contains(&(node, life)) {
            self.broken(format!(
                "{node:?} gave up {overdrawn_bytes} bytes that it never counted"
            ));
        }
    }

    /// A node is asked; it has promised the writer's epoch.
    pub fn on_asked(&mut self, node: NodeId, life: Incarnation, request: &Request) {
        if let Err(reason) = self.segments.check_asked(node, life, request) {
            self.broken(reason);
        }
        if let Request::Release { groups, .. } = request {
            self.segments.release(node, life, groups);
            let is_gone = |segment: &SegmentLife| segment.0 == node && groups.contains(&segment.2);
            self.scls.retain(|segment, _| !is_gone(segment));
        }
    }

    /// A node answers.
    pub fn on_reply(&mut self, node: NodeId, superblock: &Superblock, reply: &Reply) {
        let life = superblock.incarnation;
        let is_excused = self.excused.contains(&(node, life));
        if let Err(reason) = self.segments.on_reply(node, life, reply, is_excused) {
            self.broken(reason);
        }
        match reply {
            Reply::Promised(report) => {
                self.check_promise(node, superblock);
                self.promised
                    .insert(node, (report.incarnation, report.epoch));
            }
            Reply::Acked {
                incarnation,
                epoch,
                scls,
                ..
            } => {
                let is_excused = self.excused.contains(&(node, *incarnation));
                let promised = self.promised.get(&node);
                if let Some((_, promised)) = promised.filter(|(life, promised)| {
                    life == incarnation && epoch < promised && !is_excused
                }) {
                    let promised = *promised;
                    self.broken(format!(
                        "{node:?} acknowledged epoch {epoch} after it promised {promised}"
                    ));
                }
                for (group, scl) in scls {
                    self.check_scl((node, *incarnation, *group), *epoch, *scl);
                }
            }
            Reply::ListHeld { epoch, .. } if *epoch != superblock.list.epoch => {
                self.broken(format!(
                    "{node:?} said that it holds list {epoch}, and does not"
                ));
            }
            Reply::ListHeld { epoch, .. } => {
                self.listed.insert(node, (life, *epoch));
            }
            _ => {}
        }
    }

    /// Within an epoch a segment's SCL never goes back.
    fn check_scl(&mut self, segment: SegmentLife, epoch: VolumeEpoch, scl: Lsn) {
        let entry = self.scls.entry(segment).or_insert((epoch, scl));
        let is_excused = self.excused.contains(&(segment.0, segment.1));
        if entry.0 == epoch && scl < entry.1 && !is_excused {
            let before = entry.1;
            self.broken(format!(
                "the SCL of {segment:?} went back from {before} to {scl}"
            ));
        } else {
            *entry = (epoch, scl);
        }
    }

    /// A writer sends. What it announces in one epoch never goes back, and a frame announces
    /// nothing that the same frame carries.
    pub fn on_request(&mut self, _to: NodeId, request: &Request) {
        let (epoch, vdl) = match request {
            Request::Append { frame } => {
                let first = frame.records.iter().map(|record| record.lsn).min();
                let vdl = frame.stamp.vdl;
                if first.is_some_and(|first| vdl >= first) && vdl != Lsn::NONE {
                    self.broken(format!("a frame from {first:?} on announces {vdl}"));
                }
                (frame.stamp.epoch, vdl)
            }
            Request::Announce { epoch, vdl } => (*epoch, *vdl),
            _ => return,
        };
        let highest = self.announced.entry(epoch).or_default();
        // A recovery sends records without announcing anything.
        if vdl != Lsn::NONE && vdl < *highest {
            let before = *highest;
            self.broken(format!("epoch {epoch} announced {vdl} after {before}"));
        }
        if let Some(highest) = self.announced.get_mut(&epoch) {
            *highest = vdl.max(*highest);
        }
    }
}
