//! The protection groups as the writer sees them: who holds what, and what is durable.

use crate::config::SEGMENTS;
use crate::ids::NodeId;
use crate::lsn::Lsn;
use crate::planted::{Bug, is_planted};
use crate::quorum::{WRITE_QUORUM, group_complete};

/// One protection group.
#[derive(Clone, Debug)]
pub(super) struct ProtectionGroup {
    pub(super) members: [NodeId; SEGMENTS],
    /// What each member's segment has proved, while it is complete.
    scls: [Lsn; SEGMENTS],
    complete: [bool; SEGMENTS],
    /// What the members had proved, and the last record, when it was last looked for laggards.
    looked: ([Lsn; SEGMENTS], Lsn),
    /// What four members must hold before the group takes writes: its last record when the
    /// volume was opened; none when four did. An open on three settles on three.
    unsettled: Option<Lsn>,
    /// The last record that was given out for the group.
    pub(super) last: Lsn,
    /// The last record at or below the VDL.
    pub(super) tip: Lsn,
    pgcl: Lsn,
}

impl ProtectionGroup {
    /// A group whose members hold everything up to `tip`, as far as they prove it later; a new
    /// group is complete everywhere, having nothing.
    pub(super) fn new(members: [NodeId; SEGMENTS], tip: Lsn) -> ProtectionGroup {
        ProtectionGroup {
            members,
            scls: [Lsn::NONE; SEGMENTS],
            complete: [!tip.is_some(); SEGMENTS],
            looked: ([Lsn::NONE; SEGMENTS], Lsn::NONE),
            unsettled: Some(tip).filter(|tip| tip.is_some()),
            last: tip,
            tip,
            pgcl: tip,
        }
    }

    fn place(&self, node: NodeId) -> Option<usize> {
        self.members.iter().position(|member| *member == node)
    }

    /// The segment is complete, and has proved this SCL.
    pub(super) fn on_complete(&mut self, node: NodeId, scl: Lsn) {
        if let Some(place) = self.place(node) {
            self.complete[place] = true;
            self.on_scl(node, scl);
        }
    }

    /// A complete segment has proved this SCL. From one that is not complete (any more) that came
    /// late, and counts for nothing. Whether that is more than it had proved.
    pub(super) fn on_scl(&mut self, node: NodeId, scl: Lsn) -> bool {
        let place = self.place(node).filter(|place| self.complete[*place]);
        let Some(place) = place.filter(|place| scl > self.scls[*place]) else {
            return false;
        };
        self.scls[place] = scl;
        let held_by_four = group_complete(self.scls);
        self.pgcl = self.pgcl.max(held_by_four);
        self.unsettled = self.unsettled.filter(|tip| held_by_four < *tip);
        true
    }

    /// The members whose complete segment lacks what there was at the last look, and has proved
    /// nothing since: something did not reach them. Looks.
    pub(super) fn laggards(&mut self) -> Vec<NodeId> {
        let (scls, last) = std::mem::replace(&mut self.looked, (self.scls, self.last));
        let stands = |place: &usize| {
            self.complete[*place] && self.scls[*place] < last && self.scls[*place] == scls[*place]
        };
        let places = (0..SEGMENTS).filter(stands);
        places.map(|place| self.members[place]).collect()
    }

    /// The segment is gone, or being filled: it proves nothing any more. What was durable stays
    /// durable.
    pub(super) fn forget(&mut self, node: NodeId) {
        if let Some(place) = self.place(node).filter(|_| !is_planted(Bug::OldAcksCount)) {
            self.complete[place] = false;
            self.scls[place] = Lsn::NONE;
        }
    }

    /// Whether the member's segment is complete.
    pub(super) fn is_complete(&self, node: NodeId) -> bool {
        self.place(node).is_some_and(|place| self.complete[place])
    }

    /// The other members whose segment is complete, of those that `usable` accepts.
    pub(super) fn complete_others(
        &self,
        node: NodeId,
        usable: impl Fn(NodeId) -> bool,
    ) -> impl Iterator<Item = NodeId> {
        let others = self.members.into_iter().filter(move |other| *other != node);
        others.filter(move |other| usable(*other) && self.is_complete(*other))
    }

    /// What the member's segment has proved.
    pub(super) fn scl(&self, node: NodeId) -> Lsn {
        self.place(node).map_or(Lsn::NONE, |place| self.scls[place])
    }

    /// Whether the member can serve reads at the VDL.
    pub(super) fn is_current(&self, node: NodeId) -> bool {
        let has_all = self.scl(node) >= self.tip || is_planted(Bug::ReadBelowReadPoint);
        self.is_complete(node) && has_all
    }

    /// Protection group complete LSN: the fourth highest SCL.
    pub(super) fn pgcl(&self) -> Lsn {
        self.pgcl
    }

    /// Whether four members hold what the volume was opened with (DESIGN §7.6).
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.is_none()
    }

    /// Whether four members that `usable` accepts are complete: writes can become durable.
    pub(super) fn can_write(&self, usable: impl Fn(NodeId) -> bool) -> bool {
        let able = self
            .members
            .iter()
            .filter(|node| usable(**node) && self.is_complete(**node));
        self.is_settled() && able.count() >= WRITE_QUORUM
    }
}
