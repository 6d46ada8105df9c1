//! The protection groups as the writer sees them: who holds what, and what is durable.

use crate::config::SEGMENTS;
use crate::ids::NodeId;
use crate::lsn::Lsn;
use crate::planted::{Bug, is_planted};
use crate::quorum::{WRITE_QUORUM, group_complete};

/// The segments of the members, and behind them those of their successors.
const PLACES: usize = 2 * SEGMENTS;

/// One protection group.
#[derive(Clone, Debug)]
pub(super) struct ProtectionGroup {
    pub(super) members: [NodeId; SEGMENTS],
    /// Who is being filled to take a member's place. It counts for nothing.
    successors: [Option<NodeId>; SEGMENTS],
    /// The member is being exchanged since the PGCL was this: what counts for it is what its
    /// successor holds, too.
    joint: [Option<Lsn>; SEGMENTS],
    /// What each segment has proved, while it is complete.
    scls: [Lsn; PLACES],
    complete: [bool; PLACES],
    /// What they had proved, and the last record, when it was last looked for laggards.
    looked: ([Lsn; PLACES], Lsn),
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
            successors: [None; SEGMENTS],
            joint: [None; SEGMENTS],
            scls: [Lsn::NONE; PLACES],
            complete: [!tip.is_some(); PLACES],
            looked: ([Lsn::NONE; PLACES], Lsn::NONE),
            unsettled: Some(tip).filter(|tip| tip.is_some()),
            last: tip,
            tip,
            pgcl: tip,
        }
    }

    fn place(&self, node: NodeId) -> Option<usize> {
        let member = self.members.iter().position(|member| *member == node);
        let behind = || {
            let mut successors = self.successors.iter();
            successors.position(|successor| *successor == Some(node))
        };
        member.or_else(|| Some(behind()? + SEGMENTS))
    }

    /// Whether the node's segment is one of the group's, or is to become one.
    pub(super) fn is_held_by(&self, node: NodeId) -> bool {
        self.place(node).is_some()
    }

    /// A directory, or another node, is to be filled to take a member's place; unless somebody is
    /// already.
    pub(super) fn add_successor(&mut self, member: NodeId, successor: NodeId) {
        if let Some(place) = self.place(member).filter(|place| *place < SEGMENTS) {
            self.successors[place].get_or_insert(successor);
        }
    }

    /// This one is not to take the member's place any more.
    pub(super) fn drop_successor(&mut self, member: NodeId, successor: NodeId) {
        let place = self.place(member).filter(|place| *place < SEGMENTS);
        if let Some(place) = place.filter(|place| self.successors[*place] == Some(successor)) {
            self.forget(successor);
            self.successors[place] = None;
            self.joint[place] = None;
            self.recount();
        }
    }

    /// Those who are to take members' places.
    pub(super) fn successors(&self) -> [Option<NodeId>; SEGMENTS] {
        self.successors
    }

    /// Other six hold the group, durably: members stay what they are, wherever they sit, and who was
    /// to take a place has it.
    pub(super) fn reseat(&mut self, members: [NodeId; SEGMENTS]) {
        let before = self.clone();
        let (mut successors, mut joint) = ([None; SEGMENTS], [None; SEGMENTS]);
        for (seat, node) in members.into_iter().enumerate() {
            let former = before.place(node);
            self.scls[seat] = former.map_or(Lsn::NONE, |place| before.scls[place]);
            self.complete[seat] = former.is_some_and(|place| before.complete[place]);
            let behind = seat + SEGMENTS;
            (self.scls[behind], self.complete[behind]) = (Lsn::NONE, false);
            let Some(former) = former.filter(|place| *place < SEGMENTS) else {
                continue;
            };
            successors[seat] = before.successors[former].filter(|node| !members.contains(node));
            joint[seat] = before.joint[former].filter(|_| successors[seat].is_some());
            self.scls[behind] = before.scls[former + SEGMENTS];
            self.complete[behind] = before.complete[former + SEGMENTS];
        }
        (self.members, self.successors, self.joint) = (members, successors, joint);
        self.looked = (self.scls, self.last);
        self.recount();
    }

    /// From here on the member counts for what its successor holds, too: four of the six that are,
    /// and four of the six that will be (SIGMOD'18 §4.1: both sets share five).
    pub(super) fn join_successor(&mut self, member: NodeId) {
        if let Some(place) = self.place(member).filter(|place| *place < SEGMENTS) {
            self.joint[place] = Some(self.pgcl);
        }
    }

    /// The member counts for itself again.
    pub(super) fn part_successor(&mut self, member: NodeId) {
        if let Some(place) = self.place(member).filter(|place| *place < SEGMENTS) {
            self.joint[place] = None;
            self.recount();
        }
    }

    /// Whether the member's successor holds all that counted as durable before both had to hold it.
    pub(super) fn may_take_over(&self, member: NodeId) -> bool {
        let Some(place) = self.place(member).filter(|place| *place < SEGMENTS) else {
            return true;
        };
        let (before, holds) = (self.joint[place], self.scls[place + SEGMENTS]);
        let has_all = before.is_some_and(|before| holds >= before);
        self.complete[place + SEGMENTS] && (has_all || is_planted(Bug::ExchangeTooEarly))
    }

    /// What the six places count for.
    fn counted(&self) -> [Lsn; SEGMENTS] {
        std::array::from_fn(|place| {
            let (own, successors) = (self.scls[place], self.scls[place + SEGMENTS]);
            match self.joint[place] {
                Some(_) if is_planted(Bug::ExchangeWithoutBoth) => own,
                Some(_) => own.min(successors),
                None if is_planted(Bug::SuccessorCounts) => own.max(successors),
                None => own,
            }
        })
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
        self.recount();
        true
    }

    fn recount(&mut self) {
        let held_by_four = group_complete(self.counted());
        self.pgcl = self.pgcl.max(held_by_four);
        self.unsettled = self.unsettled.filter(|tip| held_by_four < *tip);
    }

    /// The members whose complete segment lacks what there was at the last look, and has proved
    /// nothing since: something did not reach them. Looks.
    pub(super) fn laggards(&mut self) -> Vec<NodeId> {
        let (scls, last) = std::mem::replace(&mut self.looked, (self.scls, self.last));
        let stands = |place: &usize| {
            self.complete[*place] && self.scls[*place] < last && self.scls[*place] == scls[*place]
        };
        let places = (0..PLACES).filter(stands);
        places.filter_map(|place| self.node_at(place)).collect()
    }

    fn node_at(&self, place: usize) -> Option<NodeId> {
        match place.checked_sub(SEGMENTS) {
            None => Some(self.members[place]),
            Some(member) => self.successors[member],
        }
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

    /// Whether a recovery would count the segment: a member's that is complete.
    pub(super) fn votes(&self, node: NodeId) -> bool {
        self.members.contains(&node) && self.is_complete(node)
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
        self.is_settled() && self.able(usable) >= WRITE_QUORUM
    }

    /// The members that can count for what is written now, of those that `usable` accepts.
    pub(super) fn able(&self, usable: impl Fn(NodeId) -> bool) -> usize {
        let is_able = |node: NodeId| usable(node) && self.is_complete(node);
        let places = (0..SEGMENTS).filter(|place| {
            let both = self.successors[*place].filter(|_| self.joint[*place].is_some());
            is_able(self.members[*place]) && both.is_none_or(is_able)
        });
        places.count()
    }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
