//! What the writer knows of a node.

use crate::ids::{GroupId, Incarnation};
use crate::limits;
use crate::message::{Report, RequestId, Room, Space};
use crate::status::KEPT_OUT;
use crate::time::Instant;
use std::collections::BTreeSet;

/// Bytes that the largest frame of the user's writes takes, about; a leaf takes fewer.
const LARGEST_FRAME: u64 = limits::BATCH_BYTES as u64;

/// How far a node has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not there.
    #[default]
    Down,
    /// Asked to promise.
    Promising,
    /// Has promised; its new directory waits to be admitted by the others.
    Admitting,
    /// Asked to hold the list.
    Listing,
    /// Asked to mark what it lacks.
    Marking,
    /// Takes frames.
    Streaming,
    /// Had too much outstanding: takes no frames until it has worked that off.
    Behind,
}

/// A node as the writer sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeView {
    pub(super) phase: Phase,
    pub(super) incarnation: Option<Incarnation>,
    /// What it can surely append.
    pub(super) room: Room,
    /// Its file system has no space, as far as it has said.
    pub(super) is_full: bool,
    roomy_since: Option<Instant>,
    /// Version of the configuration that was sent with the list.
    pub(super) sent_config: u64,
    /// Version of the newest one that it has said it holds.
    pub(super) held_config: u64,
    /// Frame bytes sent and not acknowledged.
    pub(super) outstanding_bytes: u64,
    pub(super) fresh: bool,
    /// Segments that lacked something when it reported itself.
    pub(super) incomplete: BTreeSet<GroupId>,
    /// All that it named then.
    named: BTreeSet<GroupId>,
    /// Groups that it did not name it has never seen: it has everything up to nothing.
    tail_was_whole: bool,
    /// It was told the VDL: it may know it.
    pub(super) is_told: bool,
    /// It was asked what it has while it takes frames, and has not answered.
    pub(super) is_examined: bool,
    /// The copy that begins with its marks.
    pub(super) marking: Option<RequestId>,
    /// It is there, and not asked for now: see [`Writer::keep_out`](super::Writer::keep_out).
    pub(super) is_kept_out: bool,
    /// It is gone since it failed, not since its directory is.
    pub(super) has_failed: bool,
    pub(super) reason: Option<String>,
}

impl NodeView {
    /// It can be reached, and is asked to promise.
    pub(super) fn joining() -> NodeView {
        NodeView {
            phase: Phase::Promising,
            ..NodeView::default()
        }
    }

    /// It is not there, and why.
    pub(super) fn gone(reason: &str) -> NodeView {
        NodeView {
            reason: Some(reason.to_owned()),
            ..NodeView::default()
        }
    }

    /// It is there and must not count yet.
    pub(super) fn kept_out() -> NodeView {
        NodeView {
            is_kept_out: true,
            ..NodeView::gone(KEPT_OUT)
        }
    }

    /// Notes what a report says of segments.
    pub(super) fn heard(&mut self, report: &Report) {
        let groups = report.segments.iter().map(|segment| segment.group);
        let lacking = report.segments.iter().filter(|segment| !segment.complete);
        self.named = groups.collect();
        self.incomplete = lacking.map(|segment| segment.group).collect();
        self.tail_was_whole = !report.fresh && !report.tail_damaged;
    }

    /// The groups that it named when it reported itself.
    pub(super) fn named(&self) -> impl Iterator<Item = GroupId> {
        self.named.iter().copied()
    }

    /// Whether it had never seen a group when it reported itself.
    pub(super) fn had_not_seen(&self, group: GroupId) -> bool {
        self.tail_was_whole && !self.named.contains(&group)
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.phase == Phase::Streaming
    }

    /// Whether it can be asked at all.
    pub(super) fn is_reachable(&self) -> bool {
        matches!(self.phase, Phase::Streaming | Phase::Behind)
    }

    /// Takes in how much room it has. Without space it stays full until its file system gave some
    /// and the largest frame fits; or, where only collection made room, until there was some for a
    /// while.
    pub(super) fn on_room(&mut self, now: Instant, room: Room) {
        self.room = room;
        if self.lacks_room(room.bytes) {
            (self.is_full, self.roomy_since) = (true, None);
            return;
        }
        let since = *self.roomy_since.get_or_insert(now);
        let has_space = room.space == Space::Ample && room.bytes >= LARGEST_FRAME;
        self.is_full &= !has_space && now.since(since) < limits::FIT_AFTER;
    }

    fn lacks_room(&self, bytes: u64) -> bool {
        self.room.space == Space::Full && bytes < LARGEST_FRAME
    }

    /// Whether it can be filled: what it is given must not take the room that collection needs.
    pub(super) fn can_be_filled(&self) -> bool {
        !self.lacks_room(self.room.for_discards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_full_node_is_full_until_it_surely_has_space() {
        let mut view = NodeView::default();
        let start = Instant(1);
        let room = |space, bytes| Room {
            bytes,
            for_discards: bytes,
            space,
        };
        view.on_room(start, room(Space::Ample, 0));
        assert!(!view.is_full && view.can_be_filled());
        view.on_room(start, room(Space::Full, LARGEST_FRAME - 1));
        assert!(view.is_full && !view.can_be_filled());
        // The file system gave a little: it may be the last.
        view.on_room(start, room(Space::Ample, 1 << 20));
        assert!(view.is_full && view.can_be_filled());
        view.on_room(start, room(Space::Ample, LARGEST_FRAME));
        assert!(!view.is_full);
        // Collection made room, and somebody takes it.
        let at = |seconds| start.plus(Duration::from_secs(seconds));
        view.on_room(at(1), room(Space::Full, 0));
        view.on_room(at(2), room(Space::Short, LARGEST_FRAME));
        view.on_room(at(11), room(Space::Full, 0));
        view.on_room(at(12), room(Space::Short, LARGEST_FRAME));
        view.on_room(at(21), room(Space::Short, LARGEST_FRAME));
        assert!(view.is_full);
        view.on_room(at(22), room(Space::Short, 0));
        assert!(!view.is_full);
    }
}
