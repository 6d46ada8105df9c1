//! What a node is about to write when the user discards it: a fold that takes long, a repair that comes
//! again late. What was discarded must not come back.

use super::{Cluster, Event};
use crate::network::{Connection, WriterId};
use redoubt_volume::ids::{DiskBlock, NodeId};
use redoubt_volume::limits;
use redoubt_volume::message::Request;
use redoubt_volume::segment::effect::NodeEffect;
use std::time::Duration;

impl Cluster {
    /// A block is read to be folded, and its user may discard it before the read has ended; the
    /// node writes its index down meanwhile, and dies behind that. How long the read takes.
    pub(super) fn hold_fold(&mut self, id: NodeId) -> u64 {
        let micros = self.random.between(40_000, 80_000);
        let checkpoint = self.random.between(1_000, 40_000);
        let death = micros + self.random.between(300, 10_000);
        let life = self.hosts[id.index()].life;
        let events = [
            (checkpoint, Event::Checkpoint(id)),
            (death, Event::Die(id, life)),
        ];
        for (after, event) in events {
            self.clock.after(Duration::from_micros(after), event);
        }
        self.holds_fold = true;
        micros
    }

    /// A repair comes again, so late that its blocks were written or discarded meanwhile: one of
    /// two has its user discard a block of it.
    pub(super) fn mend_twice(
        &mut self,
        from: WriterId,
        connection: Connection,
        to: NodeId,
        repair: Request,
    ) {
        if self.random.one_in(2) {
            self.mended_late = self.first_mended(from, &repair);
        }
        let late = Duration::from_micros(self.random.between(1_000, 2_000_000));
        let event = Event::Request(from, connection, to, repair);
        self.clock.after(late, event);
    }

    fn first_mended(&self, from: WriterId, repair: &Request) -> Option<DiskBlock> {
        let Request::Repair { group, blocks, .. } = repair else {
            return None;
        };
        let geometry = self.writer(from)?.writer.config().geometry;
        Some(geometry.disk_block(*group, blocks.first()?.block))
    }
}

/// Whether a block is built from so many changes that it is about to be folded.
pub(super) fn may_fold(effect: &NodeEffect) -> bool {
    matches!(effect, NodeEffect::Materialize { plan, .. } if plan.pieces.len() >= limits::CHAIN_FRAGMENTS)
}
