//! The lock around nodes that number their appends, and hear of them.

use crate::ids::NodeId;
use crate::io::disk_thread::DiskThread;
use crate::io::faults::Faults;
use crate::io::read_pool::ReadPool;
use crate::io::{Deliver, Directories};
use crate::segment::effect::{DiskCompletion, NodeEffect, OperationId};
use crate::{Mutex, ids::ExtentSlot};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock, Weak};

/// What the thread that brings a request can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    MayBlock,
    HasMoreToDo,
}

/// A node that appends.
#[derive(Default)]
pub(super) struct Node {
    /// Appends that it has asked for.
    asked: u64,
    /// Those that it knows to be done, in the order in which it heard of them.
    pub(super) done: Vec<OperationId>,
}

impl Node {
    pub(super) fn fence(&mut self) {
        panic!("every disk has its thread");
    }

    fn append(&mut self) -> NodeEffect {
        self.asked += 1;
        NodeEffect::Append {
            operation: OperationId(self.asked),
            slot: ExtentSlot(0),
            offset: 0,
            parts: Vec::new(),
            overwrites: true,
        }
    }
}

/// The nodes.
pub(super) struct Embedded {
    pub(super) nodes: Vec<Option<Node>>,
}

/// What the lock protects.
pub(super) struct Core {
    pub(super) embedded: Embedded,
    pub(super) under_way: HashMap<NodeId, usize>,
    /// What the nodes want done.
    wanted: Vec<(NodeId, NodeEffect)>,
}

/// As much of the driver as handing out knows of.
pub(super) struct Driver {
    core: Mutex<Core>,
    pub(super) directories: Directories,
    pub(super) disks: Mutex<HashMap<u64, DiskThread>>,
    pub(super) handing: Mutex<()>,
    pub(super) pool: OnceLock<ReadPool>,
    this: Weak<Driver>,
    pub(super) faults: Faults,
    pub(super) reads_under_way: AtomicUsize,
}

impl Driver {
    pub(super) fn new(nodes: usize) -> Arc<Driver> {
        let core = Core {
            embedded: Embedded {
                nodes: (0..nodes).map(|_| Some(Node::default())).collect(),
            },
            under_way: HashMap::new(),
            wanted: Vec::new(),
        };
        Arc::new_cyclic(|this: &Weak<Driver>| {
            let driver = this.clone();
            let release = Arc::new(move |due| {
                if let Some(driver) = driver.upgrade() {
                    driver.go_on(due);
                }
            });
            Driver {
                core: Mutex::new(core),
                directories: Directories::default(),
                disks: Mutex::default(),
                handing: Mutex::default(),
                pool: OnceLock::new(),
                this: this.clone(),
                faults: Faults::new(1, release),
                reads_under_way: AtomicUsize::new(0),
            }
        })
    }

    pub(super) fn deliver(&self) -> Deliver {
        let this = self.this.clone();
        Arc::new(move |completions| {
            if let Some(driver) = this.upgrade() {
                driver.on_disk(completions);
            }
        })
    }

    pub(super) fn path(&self) -> &Path {
        Path::new("/volume")
    }

    pub(super) fn on_disk(&self, completions: Vec<(NodeId, DiskCompletion)>) {
        self.with_core(|core, ()| {
            for (node, completion) in completions {
                let node = core.embedded.nodes[node.index()].as_mut();
                if let (Some(node), DiskCompletion::Done { operation, .. }) = (node, completion) {
                    node.done.push(operation);
                }
            }
        });
    }

    /// Changes the nodes, and carries out what follows.
    pub(super) fn with_core<T>(&self, change: impl FnOnce(&mut Core, ()) -> T) -> T {
        let mut core = self.core.lock();
        let result = change(&mut core, ());
        let wanted = std::mem::take(&mut core.wanted);
        let handed = self.leave(core, wanted, Caller::HasMoreToDo, || {});
        self.fence(&handed.unstarted);
        result
    }

    /// All nodes append.
    pub(super) fn append(&self) {
        self.with_core(|core, ()| {
            for (index, node) in core.embedded.nodes.iter_mut().enumerate() {
                let append = node.as_mut().map(Node::append);
                let named = append.map(|append| (NodeId(index as u16), append));
                core.wanted.extend(named);
            }
        });
    }

    /// Ends the threads, when all that was asked for is done.
    pub(super) fn close(&self) {
        let disks: Vec<DiskThread> = self.disks.lock().drain().map(|(_, disk)| disk).collect();
        disks.into_iter().for_each(DiskThread::stop);
    }
}
