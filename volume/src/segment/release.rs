//! A group leaves the node: its segment has moved to another one.
//!
//! What the node has of it becomes garbage when a record says so in its log, so that a replay finds
//! nothing of it either. A replay that begins behind what it needs no more may meet records of the
//! group from before: what it makes of them is true, and the next writer has it let go, too.

use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::ids::{GroupBlock, GroupId};
use crate::lsn::Lsn;
use crate::page::Pages;
use crate::segment::append::Then;
use crate::segment::node::Node;

impl Node {
    /// Lets go what the node has of groups that are on other nodes.
    pub(super) fn on_release(&mut self, mut groups: Vec<GroupId>) {
        let node = self.id();
        groups.retain(|group| !self.config().may_hold(node, *group));
        let records = groups.iter().map(|group| {
            let record = RecordHeader::bare(RecordKind::Released, Lsn::NONE, *group, GroupBlock(0));
            (record, Pages::empty())
        });
        let records: Vec<_> = records.collect();
        if !records.is_empty() {
            // At once: the group may begin to come back before the record is on stable storage, and
            // must not find what it had. No extent is freed before a checkpoint behind the record.
            groups.iter().for_each(|group| self.let_go(*group));
            self.enqueue_local(records, Then::Released(groups));
        }
    }

    /// Nothing is left of a group, and what was on its way to it is left out.
    pub(super) fn let_go(&mut self, group: GroupId) {
        self.released.insert(group);
        self.segments.remove(&group);
        self.tails.remove(&group);
        self.gossip.forget(group);
        self.tombstones.retain(|other, _| other != group);
        let (first, usage) = (GroupBlock(0), &mut self.usage);
        self.index.discard(group, first, u32::MAX, Lsn::MAX, usage);
    }
}
