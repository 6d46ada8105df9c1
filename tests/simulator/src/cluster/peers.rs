//! What nodes say to each other.

use super::{Cluster, Event};
use crate::coverage::Mark;
use redoubt_volume::ids::NodeId;
use redoubt_volume::message::PeerMessage;
use redoubt_volume::time::Instant;

impl Cluster {
    /// Hands a message for another node to the network.
    pub(super) fn send_to_peer(&mut self, from: NodeId, to: NodeId, message: PeerMessage) {
        let now = self.now();
        let arrivals = self.network.peer_arrivals(&mut self.random, now, from, to);
        let arrivals: Vec<Instant> = arrivals.into_iter().flatten().collect();
        for at in arrivals {
            self.clock.at(at, Event::Peer(from, to, message.clone()));
        }
    }

    /// A message reaches a node's process, whichever life it was meant for.
    pub(super) fn deliver_to_peer(&mut self, from: NodeId, to: NodeId, message: PeerMessage) {
        let now = self.now();
        let Some(node) = &mut self.hosts[to.index()].node else {
            return;
        };
        if let PeerMessage::Records { records, .. } = &message {
            self.coverage.reach(match records.is_empty() {
                true => Mark::PeerHadNoRecords,
                false => Mark::PeerGaveRecords,
            });
        }
        let kind = match &message {
            PeerMessage::Digest { .. } => 0xd0,
            PeerMessage::Pull { .. } => 0xd1,
            PeerMessage::Records { .. } => 0xd2,
        };
        self.digest.add(u64::from(to.0) << 8 | kind);
        node.on_peer(now, from, message.clone());
        self.tell(|| format!("  {to:?} hears of {from:?}: {}", brief(&message)));
        self.pump_node(to);
    }
}

fn brief(message: &PeerMessage) -> String {
    match message {
        PeerMessage::Digest { scls, .. } => format!("digest {scls:?}"),
        PeerMessage::Pull { group, after, .. } => format!("pull {group:?} behind {after}"),
        PeerMessage::Records { group, records, .. } => {
            let lsn = |at: Option<&(redoubt_volume::format::redo_record::RecordHeader, _)>| {
                at.map(|(record, _)| record.lsn.0)
            };
            format!(
                "records {group:?} {:?}..={:?}",
                lsn(records.first()),
                lsn(records.last())
            )
        }
    }
}
