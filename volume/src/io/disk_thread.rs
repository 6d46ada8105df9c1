//! The thread that appends for all nodes of one device, and its helper for slow work on space.
//!
//! Whatever is queued when the thread looks becomes one batch: six appends share one submission
//! and, where that is safe, one flush. What became of a batch is told while the next one is written.
//! Allocating and deleting files may take long, so they have a thread of their own and no append
//! waits for them.

use super::courier::Courier;
use super::device::Device;
use super::thread_start::{JoinHandle, join, start_thread};
use super::work_queue::{Pace, WorkQueue};
use super::write_batch::{BatchWriter, PageWrite, split_off_later};
use super::{Deliver, Directories};
use crate::ids::{ExtentSlot, NodeId};
use crate::segment::effect::{DiskCompletion, DiskError, NodeEffect, OperationId};
use std::io;
use std::sync::Arc;

/// The writing threads of one device. Dropping it does what is queued first.
pub struct DiskThread {
    writes: Arc<WorkQueue<PageWrite>>,
    space: Arc<WorkQueue<SpaceWork>>,
    courier: Arc<Courier>,
    working: Vec<JoinHandle<()>>,
    answering: Option<JoinHandle<()>>,
}

/// Work on the space of a node's log.
enum SpaceWork {
    Allocate {
        node: NodeId,
        operation: OperationId,
        slot: ExtentSlot,
        bytes: u64,
    },
    Remove {
        node: NodeId,
        slot: ExtentSlot,
    },
    /// Seldom, and no page of the log: not for the pool that reads those.
    ReadSuperblock {
        node: NodeId,
        operation: OperationId,
    },
}

impl DiskThread {
    /// Starts the threads for directories on `device`.
    ///
    /// # Errors
    /// When the system has no thread or file descriptor left.
    pub fn start(
        device: Device,
        directories: Directories,
        deliver: Deliver,
    ) -> io::Result<DiskThread> {
        let (courier, answering) = Courier::start(Arc::clone(&deliver))?;
        let mut disk = DiskThread {
            writes: Arc::new(WorkQueue::new()),
            space: Arc::new(WorkQueue::new()),
            courier: Arc::clone(&courier),
            working: Vec::new(),
            answering: Some(answering),
        };
        let space = Arc::clone(&disk.space);
        let nodes = directories.clone();
        let (thread, ()) = start_thread(
            "redoubt-space",
            || Ok(((), ())),
            move |()| manage_space(&space, &nodes, &deliver),
        )?;
        disk.working.push(thread);
        let writes = Arc::clone(&disk.writes);
        let (thread, ()) = start_thread(
            "redoubt-append",
            move || Ok((BatchWriter::new(device, directories)?, ())),
            move |writer| append(&writes, writer, &courier),
        )?;
        disk.working.push(thread);
        Ok(disk)
    }

    /// Queues what is to be written, allocated or removed, and hands back all other effects.
    pub fn submit(&self, effects: Vec<(NodeId, NodeEffect)>) -> Vec<(NodeId, NodeEffect)> {
        let (mut writes, mut space, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (node, effect) in effects {
            match PageWrite::from_effect(node, effect) {
                Ok(write) => writes.push(write),
                Err(effect) => match SpaceWork::from_effect(node, effect) {
                    Ok(work) => space.push(work),
                    Err(effect) => others.push((node, effect)),
                },
            }
        }
        if !writes.is_empty() {
            self.writes.push(writes);
        }
        if !space.is_empty() {
            self.space.push(space);
        }
        others
    }

    /// Does what is queued, delivers it, and ends the threads.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for DiskThread {
    fn drop(&mut self) {
        self.writes.close();
        self.space.close();
        self.working.drain(..).for_each(join);
        self.courier.close();
        self.answering.take().into_iter().for_each(join);
    }
}

impl SpaceWork {
    fn from_effect(node: NodeId, effect: NodeEffect) -> Result<SpaceWork, NodeEffect> {
        match effect {
            NodeEffect::Allocate {
                operation,
                slot,
                bytes,
            } => Ok(SpaceWork::Allocate {
                node,
                operation,
                slot,
                bytes,
            }),
            NodeEffect::Remove { slot } => Ok(SpaceWork::Remove { node, slot }),
            NodeEffect::ReadSuperblock { operation } => {
                Ok(SpaceWork::ReadSuperblock { node, operation })
            }
            other => Err(other),
        }
    }
}

fn append(queue: &WorkQueue<PageWrite>, mut writer: BatchWriter, courier: &Courier) {
    let mut pace = Pace::default();
    let mut later = Vec::new();
    loop {
        let mut writes = later;
        if writes.is_empty() {
            let Some(queued) = queue.take(&mut pace) else {
                return;
            };
            writes = queued;
        } else {
            writes.extend(queue.take_now());
        }
        later = split_off_later(&mut writes);
        let done = writer.run(writes);
        courier.deliver(done, || !later.is_empty() || queue.has_work());
    }
}

fn manage_space(queue: &WorkQueue<SpaceWork>, directories: &Directories, deliver: &Deliver) {
    let mut pace = Pace::default();
    while let Some(works) = queue.take(&mut pace) {
        for work in works {
            if let Some(completion) = work.run(directories) {
                deliver(vec![completion]);
            }
        }
    }
}

impl SpaceWork {
    fn run(self, directories: &Directories) -> Option<(NodeId, DiskCompletion)> {
        match self {
            SpaceWork::Allocate {
                node,
                operation,
                slot,
                bytes,
            } => {
                let directory = directories.get(node).ok_or(DiskError::Failed);
                let result = directory.and_then(|directory| directory.allocate(slot, bytes));
                Some((node, DiskCompletion::Done { operation, result }))
            }
            SpaceWork::ReadSuperblock { node, operation } => {
                let directory = directories.get(node).ok_or(DiskError::Failed);
                let result = directory.and_then(|directory| {
                    let slots = directory.read_superblock_slots();
                    slots.map_err(|_| DiskError::Failed)
                });
                Some((node, DiskCompletion::Read { operation, result }))
            }
            SpaceWork::Remove { node, slot } => {
                let removed = directories
                    .get(node)
                    .map(|directory| directory.remove(slot));
                if let Some(Err(error)) = removed {
                    log::warn!("node {}: cannot remove extent {}: {error}", node.0, slot.0);
                }
                None
            }
        }
    }
}

#[cfg(test)]
#[path = "disk_thread_tests.rs"]
mod tests;
