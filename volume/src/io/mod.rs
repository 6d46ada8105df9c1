//! Effects made real: what a node asks of its disk is done here, on real files.
//!
//! Nothing in here knows a node or a writer: effects come in
//! ([`NodeEffect`](crate::segment::effect::NodeEffect)), completions go out through [`Deliver`].
//! Reading order: [`address_book`], [`volume_directory`], [`node_directory`], [`node_lock`],
//! [`node_remains`], [`scrub_record`] — the files; [`device`] — what lies below them; [`uring`] — many transfers with one system call;
//! [`write_batch`], [`disk_thread`], `courier` — appends; [`read_plan`], [`read_pool`] — reads;
//! [`event_history`] — what happened; [`faults`], [`hold_back`], [`rot`] — what a user has them do to
//! see how the volume takes it.
//!
//! Whatever changes or syncs a file or a folder says so to `recorder`, so that a test can build the
//! states that a power cut could have left. Four things do not: the lock, the event history and the
//! record of scrubs, which hold nothing that counts, and the removal of empty folders and of the
//! address book. A release has no recorder, and no `sync_faults`, which has syncs fail.

pub mod address_book;
mod courier;
pub mod device;
pub mod disk_thread;
pub mod event_history;
pub mod extent_file;
pub mod faults;
pub mod hold_back;
pub mod node_directory;
pub mod node_lock;
pub mod node_remains;
pub mod read_plan;
pub mod read_pool;
#[cfg(feature = "recorder")]
mod recorder;
#[cfg(not(feature = "recorder"))]
#[path = "unrecorded.rs"]
mod recorder;
pub mod rot;
pub mod scrub_record;
#[cfg(any(feature = "recorder", test))]
mod sync_faults;
pub(crate) mod thread_start;
pub mod transfer;
pub mod uring;
pub mod volume_directory;
pub(crate) mod work_queue;
pub mod write_batch;

#[cfg(test)]
mod test_support;

use crate::ids::NodeId;
use crate::segment::effect::DiskCompletion;
use node_directory::NodeDirectory;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// Takes what the disks did. Called from their threads, with everything that one flush or one
/// wait finished, so that the receiver needs its lock once for six nodes.
pub type Deliver = Arc<dyn Fn(Vec<(NodeId, DiskCompletion)>) + Send + Sync>;

/// The directories that effects are carried out in; nodes come and go while threads use them.
#[derive(Clone, Debug, Default)]
pub struct Directories(Arc<RwLock<HashMap<NodeId, Arc<NodeDirectory>>>>);

impl Directories {
    /// The directory of a node, if it is there.
    pub fn get(&self, node: NodeId) -> Option<Arc<NodeDirectory>> {
        self.0.read().get(&node).cloned()
    }

    /// A node's directory is there.
    pub fn insert(&self, node: NodeId, directory: Arc<NodeDirectory>) {
        self.0.write().insert(node, directory);
    }

    /// A node's directory is gone: what is still asked of it fails.
    pub fn remove(&self, node: NodeId) {
        self.0.write().remove(&node);
    }
}

impl FromIterator<(NodeId, Arc<NodeDirectory>)> for Directories {
    fn from_iter<I: IntoIterator<Item = (NodeId, Arc<NodeDirectory>)>>(nodes: I) -> Directories {
        Directories(Arc::new(RwLock::new(nodes.into_iter().collect())))
    }
}
