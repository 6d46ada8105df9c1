//! Tells nodes the VDL, by which they take records into their indexes and a recovery begins.

use super::Writer;
use crate::ids::NodeId;
use crate::lsn::Lsn;
use crate::message::Request;

impl Writer {
    /// Tells a node the VDL, if it may know it; it answers how much room it has in any case.
    pub(super) fn announce_to(&mut self, node: NodeId) {
        self.nodes[node.index()].is_told = self.knows_vdl(node);
        let (epoch, vdl) = (self.epoch, self.vdl_for(node));
        self.send(node, Request::Announce { epoch, vdl });
    }

    /// The VDL, for a node that may know it.
    pub(super) fn vdl_for(&self, node: NodeId) -> Lsn {
        match self.knows_vdl(node) {
            true => self.vdl,
            false => Lsn::NONE,
        }
    }

    /// Whether a node takes in all that is durable when it is told the VDL: else its index says less
    /// than it holds, and it can be asked nothing.
    pub(super) fn knows_vdl(&self, node: NodeId) -> bool {
        self.nodes[node.index()].is_told || self.may_know_vdl(node)
    }

    /// A node that knows the VDL speaks in a recovery for everything below it. What a volume was opened
    /// with on three nodes, only these may hold: until four do, nobody else of that group may know of it.
    /// Two others and one that knows would go on without it, and it would come back with the three. (A
    /// node of other groups alone is told, since it could not serve reads otherwise.)
    fn may_know_vdl(&self, node: NodeId) -> bool {
        let mut held = self.groups.values().filter(|view| view.is_held_by(node));
        held.all(|view| view.is_settled() || view.is_current(node))
    }

    /// The VDL is told by frames; when none is due, by itself, so that nodes take in what is
    /// durable. Who could not be told before is, as soon as that may be.
    pub(super) fn announce_when_idle(&mut self) {
        let is_due = self.pending.is_empty() && self.announced < self.vdl;
        if is_due {
            self.announced = self.vdl;
        }
        for node in self.streaming_nodes() {
            let is_late = !self.nodes[node.index()].is_told && self.may_know_vdl(node);
            if is_due || is_late {
                self.announce_to(node);
            }
        }
    }
}
