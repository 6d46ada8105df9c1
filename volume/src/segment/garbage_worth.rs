//! Whether collecting garbage gives room: which extent is worth being emptied, and when it was tried in
//! vain.

use crate::format::index_page::LogPoint;
use crate::ids::ExtentSequence;
use crate::segment::garbage::Cleaning;
use crate::segment::node::Node;

/// Checkpoints without more room after which a full log is left as it is: what is written anew
/// (index pages, ends of extents) is as much as what is won.
const FRUITLESS_CHECKPOINTS: u32 = 8;

/// What collection could win something from: more garbage, or records that a replay needs no more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prospect {
    garbage_bytes: u64,
    replay_from: ExtentSequence,
}

impl Cleaning {
    /// Collection may win something again.
    pub(super) fn begin_anew(&mut self) {
        (self.spent, self.most_room) = (0, 0);
        self.fruitless = 0;
    }

    /// A checkpoint has freed what it could, and there is so much room now.
    fn on_checkpoint(&mut self, room: u64, seen: Prospect) {
        let unspent = room + self.spent;
        self.fruitless = match unspent > self.most_room {
            true => 0,
            false => self.fruitless.saturating_add(1),
        };
        self.most_room = self.most_room.max(unspent);
        self.seen = seen;
    }

    /// Whether the last checkpoints gave no more room.
    pub(super) fn was_in_vain(&self) -> bool {
        self.fruitless >= FRUITLESS_CHECKPOINTS
    }
}

impl Node {
    /// The sealed extent with the least live share that is worth being emptied, and its bytes.
    /// When the log cannot grow it must be worth more, and its live records must fit.
    pub(super) fn best_victim(&self) -> Option<(ExtentSequence, u64)> {
        let before = self
            .log
            .position()?
            .extent
            .min(self.replay_start().0.extent);
        let is_full = self.log.is_full();
        let candidates = self.log.sealed().filter(|(extent, bytes, inherited)| {
            let live = self.usage.get(*extent);
            let worth = if is_full {
                live < bytes / 4 * 3 && self.has_room_to_move(live)
            } else {
                live < bytes / 8 * 7
            };
            *extent < before
                && worth
                && (*inherited || live > 0)
                && !self.cleaning.proven.contains_key(extent)
                && !self.cleaning.quarantined.contains(extent)
        });
        let share =
            |extent: ExtentSequence, bytes: u64| self.usage.get(extent) * 1024 / bytes.max(1);
        let victim = candidates.min_by_key(|(extent, bytes, _)| share(*extent, *bytes));
        victim.map(|(extent, bytes, _)| (extent, bytes))
    }

    /// Whether the active extent is the one with garbage, in a log that cannot grow.
    pub(super) fn may_seal(&self) -> bool {
        let Some((extent, used, free)) = self.log.active() else {
            return false;
        };
        let live = self.usage.get(extent);
        self.log.is_full() && live < used / 4 * 3 && used >= free / 4 && live < free / 4 * 3
    }

    /// Whether collection has tried in vain, and nothing has changed since that would help. What the
    /// writer appends is no such thing: trying again for each of its frames would take the room that
    /// is kept for discards.
    pub(super) fn is_fruitless(&self) -> bool {
        // Asked at every step of the node, and what is to be won takes a look at every record that the
        // index has not taken in.
        if !self.log.is_full() || !self.cleaning.was_in_vain() {
            return false;
        }
        let (seen, now) = (self.cleaning.seen, self.prospect());
        now.garbage_bytes < seen.garbage_bytes + self.log.longest_file() / 4
            && now.replay_from <= seen.replay_from
    }

    fn prospect(&self) -> Prospect {
        Prospect {
            garbage_bytes: self.log.used_bytes().saturating_sub(self.usage.total()),
            replay_from: self.replay_start().0.extent,
        }
    }

    /// A checkpoint has freed what it could.
    pub(super) fn checkpoint_freed(&mut self) {
        let (room, prospect) = (self.log.room(), self.prospect());
        self.cleaning.on_checkpoint(room, prospect);
    }

    /// Whether an extent before `start` would be free behind the checkpoint after the next one: the
    /// next one writes the pages of the index, or the root, that lie there elsewhere.
    pub(super) fn can_prove(&self, start: LogPoint) -> bool {
        let mut proven = self.cleaning.proven.iter();
        proven.any(|(extent, proof)| {
            *extent < start.extent && proof.moves <= self.cleaning.moves_done
        })
    }

    /// Whether the log cannot grow, and collection has something left that gives room.
    pub(super) fn can_win_room(&self) -> bool {
        if !self.log.is_full() || self.is_fruitless() {
            return false;
        }
        let is_dead = |(extent, _, inherited): (ExtentSequence, u64, bool)| {
            !inherited && self.usage.get(extent) == 0
        };
        self.cleaning.victim.is_some()
            || self.cleaning.moves_begun > self.cleaning.moves_done
            || !self.cleaning.proven.is_empty()
            || !self.checkpoint.is_idle()
            || self.checkpoint.wanted
            || self.best_victim().is_some()
            || self.may_seal()
            || self.log.sealed().any(is_dead)
    }
}
