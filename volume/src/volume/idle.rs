//! The thread for what nobody waits for: records into the index, checkpoints, collection. It takes the
//! lock for one node and one bounded step at a time, and leaves the threads of the disks to their
//! disks.

use super::driver::Driver;
use crate::ids::NodeId;
use crate::io::work_queue::{Pace, WorkQueue};
use std::sync::{Arc, Weak};

/// Nodes that have such work.
pub(super) type IdleNodes = WorkQueue<NodeId>;

/// Starts the thread; it ends when the queue is closed.
pub(super) fn start_idling(driver: &Arc<Driver>) -> std::io::Result<()> {
    let (queue, driver) = (Arc::clone(&driver.idle), Arc::downgrade(driver));
    let builder = std::thread::Builder::new().name("redoubt-index".to_owned());
    builder.spawn(move || idle(&queue, &driver)).map(|_| ())
}

fn idle(queue: &IdleNodes, driver: &Weak<Driver>) {
    let mut pace = Pace::default();
    while let Some(nodes) = queue.take(&mut pace) {
        let Some(driver) = driver.upgrade() else {
            return;
        };
        for node in nodes {
            driver.with_core(|core, now| core.embedded.on_idle(now, node));
        }
    }
}
