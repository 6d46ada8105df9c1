//! How a writer judges its nodes: it does not go to and fro, and follows its own judgement.

use crate::coverage::{Coverage, Mark};
use redoubt_volume::ids::{GroupId, NodeId};
use redoubt_volume::limits;
use redoubt_volume::message::Request;
use redoubt_volume::time::Instant;
use redoubt_volume::writer::Writer;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A run of pages that was asked for so long ago is asked for anew.
const ASKED_ANEW: Duration = Duration::from_secs(60);

/// What one writer has said of its nodes, and asked of them.
#[derive(Clone, Debug, Default)]
pub struct Judgements {
    slow_since: BTreeMap<NodeId, Instant>,
    full: BTreeSet<NodeId>,
}

impl Judgements {
    /// These were away, and are judged anew.
    pub fn forget(&mut self, arrived: &BTreeSet<NodeId>) {
        self.slow_since.retain(|node, _| !arrived.contains(node));
    }

    /// Looks at an open writer.
    ///
    /// # Errors
    /// The law that is broken.
    pub fn look(
        &mut self,
        now: Instant,
        writer: &Writer,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        for node in writer.config().node_ids() {
            if !writer.is_full(node) {
                self.full.remove(&node);
            } else if self.full.insert(node) {
                coverage.reach(Mark::NodeFull);
            }
            match (self.slow_since.get(&node).copied(), writer.is_slow(node)) {
                (None, true) => {
                    self.slow_since.insert(node, now);
                    coverage.reach(Mark::NodeSlow);
                }
                (Some(since), false) => {
                    self.slow_since.remove(&node);
                    // One that is away now is judged anew when it is back.
                    let (state, _) = &writer.figures().nodes[node.index()];
                    let lasted = now.since(since);
                    if state.is_whole() && lasted < limits::FIT_AFTER {
                        return Err(format!("{node:?} was slow for no more than {lasted:?}"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Reads that a writer has sent.
#[derive(Clone, Debug, Default)]
pub struct SentReads {
    /// Runs of pages that were asked for, and when first.
    asked: BTreeMap<(GroupId, u32, u32), Instant>,
}

impl SentReads {
    /// A writer sends a request: who is slow is not the first to be asked where somebody is fit.
    ///
    /// # Errors
    /// The law that is broken.
    pub fn look(
        &mut self,
        now: Instant,
        writer: &Writer,
        to: NodeId,
        request: &Request,
    ) -> Result<(), String> {
        let Request::Read { group, run, .. } = request else {
            return Ok(());
        };
        self.asked.retain(|_, since| now.since(*since) < ASKED_ANEW);
        let key = (*group, run.first, run.pages);
        let is_first = self.asked.insert(key, now).is_none();
        let mut members = writer.config().members(*group).into_iter();
        if is_first && writer.is_slow(to) && members.any(|node| writer.is_fit(node, *group)) {
            return Err(format!("{to:?} is slow and was asked first for {run:?}"));
        }
        Ok(())
    }
}
