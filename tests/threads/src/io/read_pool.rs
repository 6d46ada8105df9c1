//! Nobody reads here.

use super::node_directory::NodeDirectory;
use crate::ids::NodeId;
use crate::segment::effect::{DiskError, NodeEffect, ReadPlan};
use redoubt_volume::page::PageBuf;

/// A pool of no threads.
#[derive(Debug)]
pub struct ReadPool;

impl ReadPool {
    /// Hands everything back.
    pub fn submit(&self, effects: Vec<(NodeId, NodeEffect)>) -> Vec<(NodeId, NodeEffect)> {
        effects
    }
}

/// Fails.
///
/// # Errors
/// Always.
pub fn execute_inline(_: &NodeDirectory, _: ReadPlan) -> Result<PageBuf, DiskError> {
    Err(DiskError::Failed)
}
