//! How much room a node has, and what it does to have more.
//!
//! Room is allocated ahead of the writer. Some of it is not the writer's: emptying an extent and
//! writing a checkpoint take room before they give any, and a log that has none left for them
//! could never be emptied again.

use crate::limits;
use crate::message::{Reply, Room, Space};
use crate::segment::effect::NodeEffect;
use crate::segment::node::{Node, Operation};
use std::time::Duration;

/// Quiet time after which collection may take all of the disk.
const IDLE_AFTER: Duration = Duration::from_millis(500);

/// What the live records of an extent take when they are written again: frame headers besides.
fn moved_bytes(live: u64) -> u64 {
    live + live / 32
}

impl Node {
    pub(super) fn is_quiet(&self) -> bool {
        self.now.since(self.cleaning.last_foreground) >= IDLE_AFTER
    }

    /// Bytes that extents should not exceed at rest: live data, a third more, two extents.
    pub(super) fn rest_bytes(&self) -> u64 {
        let live = self.usage.total();
        live + live / 3 + 2 * self.log.extent_bytes()
    }

    /// Bytes that the log may take under load: garbage is cheapest to collect when it is old.
    pub(super) fn log_may_grow(&self) -> bool {
        let live = self.usage.total();
        let most = 2 * live + 8 * self.log.extent_bytes() + self.reserves();
        self.log.total_bytes() + self.log.extent_bytes() <= most || self.append.starved()
    }

    /// Room is short and the log may not grow: collection must not wait any longer. Where the
    /// file system below is full it begins while there is much room left.
    pub(super) fn is_starving(&self) -> bool {
        let reserve = self.reserves();
        if self.log.is_full() {
            self.log.room() < self.log.busy_ahead() + reserve
        } else {
            self.log.room() < limits::QUIET_AHEAD_BYTES + reserve && !self.log_may_grow()
        }
    }

    /// What the node can surely append beyond what is queued.
    pub(super) fn room(&self) -> Room {
        let taken = self.append.waiting_bytes() + self.housekeeping_reserve();
        let for_discards = self.log.room().saturating_sub(taken);
        Room {
            bytes: for_discards.saturating_sub(self.discard_reserve()),
            for_discards,
            space: self.space(),
        }
    }

    /// Bytes that only discards may take. When they have taken them, an extent has so many that
    /// it can be emptied, whatever else they made dead: discards never run out of room.
    fn discard_reserve(&self) -> u64 {
        (self.log.longest_file() / 2).min(self.usage.total())
    }

    /// Room that ordinary writes are never given.
    pub(super) fn reserves(&self) -> u64 {
        self.housekeeping_reserve() + self.discard_reserve()
    }

    /// Bytes kept back from the writer: what emptying the longest extent, if that is worth it
    /// (three quarters live), and a checkpoint take.
    pub(super) fn housekeeping_reserve(&self) -> u64 {
        let moves = (self.log.longest_file() / 4 * 3).min(self.usage.total());
        moved_bytes(moves) + self.checkpoint_reserve()
    }

    /// A frame, for directories and root, besides the leaves.
    fn checkpoint_reserve(&self) -> u64 {
        let frame = (limits::BATCH_BYTES as u64).min(self.log.extent_bytes() / 8);
        frame + self.index.checkpoint_bytes()
    }

    /// Whether so many live bytes can be written again, and a checkpoint behind them.
    pub(super) fn has_room_to_move(&self, live: u64) -> bool {
        self.log.room() >= moved_bytes(live) + self.checkpoint_reserve()
    }

    /// Whether there may be more room than there is.
    pub(super) fn space(&self) -> Space {
        if !self.log.is_full() {
            Space::Ample
        } else if self.can_win_room() {
            Space::Short
        } else {
            Space::Full
        }
    }

    /// Allocates ahead of the writer.
    pub(super) fn allocate_next(&mut self) {
        let ahead = if self.is_quiet() {
            limits::QUIET_AHEAD_BYTES
        } else {
            self.log.busy_ahead()
        };
        let ahead = ahead + self.reserves();
        if self.log.room() >= ahead {
            return;
        }
        // A log that was refused space asks again, so that it is known when there is some.
        let may_grow = self.log_may_grow() || self.log.is_full();
        if let Some(allocation) = self.log.wanted(ahead, may_grow) {
            let operation = self.begin(Operation::Allocate);
            let (slot, bytes) = (allocation.slot, allocation.bytes);
            self.push_effect(NodeEffect::Allocate {
                operation,
                slot,
                bytes,
            });
        }
    }

    pub(super) fn on_allocated(&mut self, made: bool) {
        self.log.allocated(made);
        if !made {
            // From here on the room that is left counts.
            self.apply_tails();
        }
        self.tell_room();
    }

    /// Tells the writer how much may come.
    pub(super) fn tell_room(&mut self) {
        let room = self.room();
        self.told_space = room.space;
        self.send(Reply::Room(room));
    }

    /// Tells the writer when collection has come to its end, or has something to do again.
    pub(super) fn tell_space(&mut self) {
        if self.log.is_full() && self.space() != self.told_space {
            self.tell_room();
        }
    }
}
