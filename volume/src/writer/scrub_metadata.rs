//! The first step of a scrub: every node looks at its own metadata, and writes anew what does not
//! check. That it is right then, a second look says.

use super::Writer;
use super::scrub::Stage;
use crate::ids::NodeId;
use crate::message::{MetadataDigest, NodeFailure, Request, RequestId};
use crate::status::ScrubPlace;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// Looks, before what is still damaged is left as it is.
const LOOKS: u32 = 5;
/// Between two looks; each time twice as long: a node writes a checkpoint meanwhile.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a node may take: the directories of 128 TiB are some gigabytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What nodes have said of their metadata.
#[derive(Debug, Default)]
pub(super) struct MetadataLook {
    looks: u32,
    open: BTreeMap<RequestId, NodeId>,
    asked_at: Instant,
    rests_until: Instant,
    /// What each node had damaged at the first look, and has at the last.
    damaged: BTreeMap<NodeId, (u64, u64)>,
}

impl MetadataLook {
    /// Who is to be asked next: those that had something damaged.
    fn left(&self) -> Vec<NodeId> {
        let left = self.damaged.iter().filter(|(_, (_, last))| *last > 0);
        left.map(|(node, _)| *node).collect()
    }
}

impl Writer {
    fn metadata_look(&mut self) -> Option<&mut MetadataLook> {
        match self.scrub.as_mut().map(|scrub| &mut scrub.stage) {
            Some(Stage::Metadata(look)) => Some(look),
            _ => None,
        }
    }

    /// Begins a look, ends one that was answered, goes on to the data.
    pub(super) fn look_at_metadata(&mut self, now: Instant) {
        let is_paused = self.scrub.as_ref().is_some_and(|scrub| scrub.is_paused);
        let Some(look) = self.metadata_look() else {
            return;
        };
        let is_late = now.since(look.asked_at) > PATIENCE;
        if !look.open.is_empty() && !is_late {
            return;
        }
        look.open.clear();
        let is_over = look.looks > 0 && look.left().is_empty() || look.looks >= LOOKS;
        if is_over {
            return self.end_metadata();
        }
        if is_paused || now < look.rests_until {
            return;
        }
        let (is_first, left) = (look.looks == 0, look.left());
        look.looks += 1;
        look.asked_at = now;
        look.rests_until = now.plus(PAUSE * (1 << look.looks));
        let nodes: Vec<NodeId> = self.config.node_ids().collect();
        for node in nodes {
            let is_asked = is_first || left.contains(&node);
            if is_asked && self.nodes[node.index()].is_reachable() {
                self.ask_for_metadata(node);
            }
        }
    }

    fn ask_for_metadata(&mut self, node: NodeId) {
        let (epoch, id) = (self.epoch, self.new_request());
        if let Some(look) = self.metadata_look() {
            look.open.insert(id, node);
        }
        self.send(node, Request::ExamineMetadata { epoch, id });
    }

    /// A node has looked at its metadata.
    pub(super) fn on_metadata_examined(
        &mut self,
        from: NodeId,
        id: RequestId,
        result: Result<MetadataDigest, NodeFailure>,
    ) {
        let Some(look) = self.metadata_look() else {
            return;
        };
        if look.open.remove(&id).is_none() {
            return;
        }
        if let Ok(digest) = result {
            let (first, last) = look.damaged.entry(from).or_default();
            *first = (*first).max(digest.damaged);
            *last = digest.damaged;
        }
        self.look_at_metadata(self.now);
    }

    fn end_metadata(&mut self) {
        let Some(look) = self.metadata_look() else {
            return;
        };
        let counts = look.damaged.values();
        let (first, last) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if let Some(scrub) = &mut self.scrub {
            scrub.report.metadata_damaged += first;
            scrub.report.metadata_repaired += first - last;
            scrub.report.unresolved += last;
        }
        self.scrub_data(ScrubPlace::default());
    }
}
