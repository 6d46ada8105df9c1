//! What the disks of the nodes could not do since the volume was opened.

use crate::ids::NodeId;
use crate::segment::effect::{DiskCompletion, DiskError};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of every address: nodes, and behind them their successors.
pub(super) struct DiskErrors(Vec<Counters>);

#[derive(Default)]
struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
}

impl DiskErrors {
    /// For so many addresses.
    pub(super) fn new(addresses: usize) -> DiskErrors {
        DiskErrors((0..addresses).map(|_| Counters::default()).collect())
    }

    /// Counts what failed. What is asked of a directory that is gone fails too, and says nothing of a
    /// disk.
    pub(super) fn count(
        &self,
        completions: &[(NodeId, DiskCompletion)],
        is_there: impl Fn(NodeId) -> bool,
    ) {
        for (node, completion) in completions {
            let errors = &self.0[node.index()];
            let count = match completion {
                DiskCompletion::Done {
                    result: Err(DiskError::Failed),
                    ..
                } => &errors.writes,
                DiskCompletion::Read {
                    result: Err(DiskError::Failed),
                    ..
                }
                | DiskCompletion::Materialized {
                    result: Err(DiskError::Failed),
                    ..
                } => &errors.reads,
                _ => continue,
            };
            if is_there(*node) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Reads that failed.
    pub(super) fn reads(&self, node: NodeId) -> u64 {
        self.0[node.index()].reads.load(Ordering::Relaxed)
    }

    /// Writes and syncs that failed.
    pub(super) fn writes(&self, node: NodeId) -> u64 {
        self.0[node.index()].writes.load(Ordering::Relaxed)
    }
}
