//! The protection groups as the writer sees them: who holds what, and what is durable.

use crate::config::SEGMENTS;
use crate::ids::NodeId;
use crate::lsn::Lsn;
use crate::quorum::{WRITE_QUORUM, group_complete};

/// One protection group.
#[derive(Clone, Debug)]
pub(super) struct ProtectionGroup {
    pub(super) members: [NodeId; SEGMENTS],
    /// What each member's segment has proved, while it is complete.
    scls: [Lsn; SEGMENTS],
    complete: [bool; SEGMENTS],
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
            last: tip,
            tip,
            pgcl: tip,
        }
    }

    fn place(&self, node: NodeId) -> Option<usize> {
        self.members.iter().position(|member| *member == node)
    }

    /// A complete segment has proved this SCL.
    pub(super) fn on_scl(&mut self, node: NodeId, scl: Lsn) {
        if let Some(place) = self.place(node) {
            self.complete[place] = true;
            self.scls[place] = self.scls[place].max(scl);
            self.pgcl = self.pgcl.max(group_complete(self.scls));
        }
    }

    /// The segment is gone, or being filled: it proves nothing any more. What was durable stays
    /// durable.
    pub(super) fn forget(&mut self, node: NodeId) {
        if let Some(place) = self.place(node) {
            self.complete[place] = false;
            self.scls[place] = Lsn::NONE;
        }
    }

    /// Whether the member's segment is complete.
    pub(super) fn is_complete(&self, node: NodeId) -> bool {
        self.place(node).is_some_and(|place| self.complete[place])
    }

    /// What the member's segment has proved.
    pub(super) fn scl(&self, node: NodeId) -> Lsn {
        self.place(node).map_or(Lsn::NONE, |place| self.scls[place])
    }

    /// Whether the member can serve reads at the VDL.
    pub(super) fn is_current(&self, node: NodeId) -> bool {
        self.is_complete(node) && self.scl(node) >= self.tip
    }

    /// Protection group complete LSN: the fourth highest SCL.
    pub(super) fn pgcl(&self) -> Lsn {
        self.pgcl
    }

    /// Whether four members that `usable` accepts are complete: writes can become durable.
    pub(super) fn can_write(&self, usable: impl Fn(NodeId) -> bool) -> bool {
        let able = self
            .members
            .iter()
            .filter(|node| usable(**node) && self.is_complete(**node));
        able.count() >= WRITE_QUORUM
    }
}
