//! A directory that keeps nothing but the names of what was appended.

use crate::Mutex;
use crate::ids::{ExtentSlot, NodeId};
use crate::segment::effect::{DiskError, OperationId};
use redoubt_volume::page::PageBuf;
use std::io;
use std::path::Path;

/// The directory of all nodes.
#[derive(Debug, Default)]
pub struct NodeDirectory {
    appended: Mutex<Vec<(NodeId, OperationId)>>,
}

impl NodeDirectory {
    /// Something was appended.
    pub fn append(&self, node: NodeId, operation: OperationId) {
        self.appended.lock().push((node, operation));
    }

    /// All that was appended, in its order.
    pub fn appended(&self) -> Vec<(NodeId, OperationId)> {
        self.appended.lock().clone()
    }

    /// Nothing is to be written any more.
    pub fn give_up(&self) {}

    /// Where it is.
    pub fn path(&self) -> &Path {
        Path::new("/node")
    }

    /// Which disk it is on.
    pub fn device_number(&self) -> u64 {
        1
    }

    /// Makes room.
    ///
    /// # Errors
    /// None.
    pub fn allocate(&self, _: ExtentSlot, _: u64) -> Result<(), DiskError> {
        Ok(())
    }

    /// Deletes an extent.
    ///
    /// # Errors
    /// None.
    pub fn remove(&self, _: ExtentSlot) -> io::Result<()> {
        Ok(())
    }

    /// Reads the superblock.
    ///
    /// # Errors
    /// None.
    pub fn read_superblock_slots(&self) -> io::Result<PageBuf> {
        Ok(PageBuf::zeroed(1))
    }
}
