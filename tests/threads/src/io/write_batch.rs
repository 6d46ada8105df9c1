//! A batch of writes, done at once.

use super::Directories;
use super::device::Device;
use crate::ids::NodeId;
use crate::segment::effect::{DiskCompletion, NodeEffect, OperationId};
use std::io;

/// An append of a node.
#[derive(Clone, Copy, Debug)]
pub struct PageWrite {
    node: NodeId,
    operation: OperationId,
}

impl PageWrite {
    /// The append that an effect asks for; any other effect is handed back.
    ///
    /// # Errors
    /// The effect, when it is no `Append`.
    pub fn from_effect(node: NodeId, effect: NodeEffect) -> Result<PageWrite, NodeEffect> {
        match effect {
            NodeEffect::Append { operation, .. } => Ok(PageWrite { node, operation }),
            other => Err(other),
        }
    }
}

/// What is to be written after the rest: a second append of a node, as on a disk whose appends are
/// synced one by one.
pub fn split_off_later(writes: &mut Vec<PageWrite>) -> Vec<PageWrite> {
    writes.split_off(writes.len().min(1))
}

/// Writes for all nodes.
#[derive(Debug)]
pub struct BatchWriter(Directories);

impl BatchWriter {
    /// That of the one disk.
    ///
    /// # Errors
    /// None.
    pub fn new(_: Device, directories: Directories) -> io::Result<BatchWriter> {
        Ok(BatchWriter(directories))
    }

    /// Writes, and says what became of each.
    pub fn run(&mut self, writes: Vec<PageWrite>) -> Vec<(NodeId, DiskCompletion)> {
        let mut done = Vec::new();
        for PageWrite { node, operation } in writes {
            if let Some(directory) = self.0.get(node) {
                directory.append(node, operation);
            }
            let result = Ok(());
            done.push((node, DiskCompletion::Done { operation, result }));
        }
        done
    }
}
