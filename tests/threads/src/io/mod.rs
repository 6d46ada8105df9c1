//! The threads of the disks: queue, courier, appending thread and what a fault holds back as they are;
//! below them a disk that remembers what it was asked for, in its order.

pub mod scenarios;

#[path = "../../../../volume/src/io/courier.rs"]
mod courier;
#[path = "../../../../volume/src/io/disk_thread.rs"]
pub mod disk_thread;
#[path = "../../../../volume/src/io/faults.rs"]
pub mod faults;
#[path = "../../../../volume/src/io/hold_back.rs"]
pub mod hold_back;
#[path = "../../../../volume/src/io/work_queue.rs"]
pub(crate) mod work_queue;

pub mod device;
pub mod node_directory;
pub mod read_pool;
mod thread_start;
pub mod write_batch;

use crate::ids::NodeId;
use crate::segment::effect::DiskCompletion;
use node_directory::NodeDirectory;
use std::sync::Arc;

/// Takes what the disks did.
pub type Deliver = Arc<dyn Fn(Vec<(NodeId, DiskCompletion)>) + Send + Sync>;

/// The directories of all nodes, which are on one disk.
#[derive(Clone, Debug, Default)]
pub struct Directories(Arc<NodeDirectory>);

impl Directories {
    /// The directory of a node.
    pub fn get(&self, _: NodeId) -> Option<Arc<NodeDirectory>> {
        Some(Arc::clone(&self.0))
    }
}
