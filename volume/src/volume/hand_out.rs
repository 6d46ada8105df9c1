//! Disk effects to the threads of their disks, in the order in which the nodes asked.
//!
//! Whoever leaves the core takes with it what the nodes want done, and others may leave it before that is
//! handed out. Appends of a node must not change their order on the way: who has any waits for those
//! that left before ([`Driver::leave`]).

use super::driver::{Caller, Core, Driver};
use crate::ids::NodeId;
use crate::io::device::Device;
use crate::io::disk_thread::DiskThread;
use crate::io::hold_back::Due;
use crate::io::read_pool::execute_inline;
use crate::segment::effect::{DiskCompletion, DiskError, NodeEffect};
use parking_lot::MutexGuard;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;

/// What is left of disk effects that were handed out.
#[derive(Default)]
pub(super) struct HandedOut {
    /// A read that the caller is to do itself.
    pub(super) inline: Option<(NodeId, NodeEffect)>,
    /// Appends were among them.
    pub(super) has_appends: bool,
    /// No thread could be started for these.
    pub(super) unstarted: Vec<NodeId>,
}

impl Driver {
    /// Leaves the core and hands out what the nodes want done; `first` is done in between, and must not
    /// enter the core again.
    pub(super) fn leave(
        &self,
        core: MutexGuard<'_, Core>,
        effects: Vec<(NodeId, NodeEffect)>,
        caller: Caller,
        first: impl FnOnce(),
    ) -> HandedOut {
        let order = self.order_of(&effects);
        drop(core);
        first();
        let mut handed = self.start_effects(effects, caller);
        handed.has_appends = order.is_some();
        drop(order);
        handed
    }

    /// The right to hand writes out, if there are any. To be taken inside the core, and given back
    /// before the core is entered again.
    fn order_of(&self, effects: &[(NodeId, NodeEffect)]) -> Option<MutexGuard<'_, ()>> {
        let is_append = |effect: &NodeEffect| matches!(effect, NodeEffect::Append { .. });
        let has_order = effects.iter().any(|(_, effect)| is_append(effect));
        has_order.then(|| self.handing.lock())
    }

    /// Has disk effects carried out. A read that is the only one under way is returned to a caller
    /// that may block.
    fn start_effects(&self, effects: Vec<(NodeId, NodeEffect)>, caller: Caller) -> HandedOut {
        if effects.is_empty() {
            return HandedOut::default();
        }
        let is_read = |effect: &NodeEffect| matches!(effect, NodeEffect::Materialize { .. });
        let reads = effects.iter().filter(|(_, effect)| is_read(effect)).count();
        let under_way = self.reads_under_way.fetch_add(reads, Ordering::Relaxed);
        let alone = caller == Caller::MayBlock && reads == 1 && under_way == 0;
        self.hand_out(self.faults.pass(effects), alone)
    }

    /// Carries out, or fails, what a fault had held back.
    pub(super) fn go_on(&self, due: Vec<Due>) {
        let (mut failed, mut effects) = (Vec::new(), Vec::new());
        for due in due {
            let (node, ends_writing) = (due.node, due.ends_writing());
            match due.failed() {
                Ok(completion) => {
                    if ends_writing && let Some(directory) = self.directories.get(node) {
                        directory.give_up();
                    }
                    failed.push(completion);
                }
                Err(effect) => effects.push(effect),
            }
        }
        if !failed.is_empty() {
            self.on_disk(failed);
        }
        let handed = self.hand_out(effects, false);
        self.fence(&handed.unstarted);
    }

    /// Hands disk effects to their threads; with `alone`, the one read among them is left.
    fn hand_out(&self, effects: Vec<(NodeId, NodeEffect)>, alone: bool) -> HandedOut {
        let mut handed = HandedOut::default();
        let mut by_device: HashMap<u64, Vec<(NodeId, NodeEffect)>> = HashMap::new();
        let mut pooled = Vec::new();
        for (node, effect) in effects {
            match effect {
                NodeEffect::Materialize { .. } if alone => {
                    handed.inline = Some((node, effect));
                }
                NodeEffect::Materialize { .. } | NodeEffect::Read { .. } => {
                    pooled.push((node, effect));
                }
                effect => by_device
                    .entry(self.device_of(node))
                    .or_default()
                    .push((node, effect)),
            }
        }
        if let Some(pool) = self.pool.get()
            && !pooled.is_empty()
        {
            pool.submit(pooled);
        }
        for (device, effects) in by_device {
            handed.unstarted.extend(self.submit_to(device, effects));
        }
        handed
    }

    fn device_of(&self, node: NodeId) -> u64 {
        let directory = self.directories.get(node);
        directory.map_or(0, |directory| directory.device_number())
    }

    /// Hands effects to the thread of a device; the nodes of those that it could not be started for.
    fn submit_to(&self, device: u64, effects: Vec<(NodeId, NodeEffect)>) -> Vec<NodeId> {
        let mut disks = self.disks.lock();
        let disk = match disks.entry(device) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => match self.start_disk(&effects) {
                Ok(disk) => entry.insert(disk),
                Err(error) => {
                    log::error!("cannot start the thread of a disk: {error}");
                    return effects.into_iter().map(|(node, _)| node).collect();
                }
            },
        };
        disk.submit(effects);
        Vec::new()
    }

    /// Nothing can be written for these nodes: they are out of service.
    pub(super) fn fence(&self, nodes: &[NodeId]) {
        if nodes.is_empty() {
            return;
        }
        self.with_core(|core, _| {
            for node in nodes {
                core.under_way.remove(node);
                if let Some(node) = &mut core.embedded.nodes[node.index()] {
                    node.fence();
                }
            }
        });
    }

    fn start_disk(&self, effects: &[(NodeId, NodeEffect)]) -> std::io::Result<DiskThread> {
        let node = effects.first().map_or(NodeId(0), |(node, _)| *node);
        let directory = self.directories.get(node);
        let path = directory
            .as_ref()
            .map_or(self.path(), |directory| directory.path());
        DiskThread::start(Device::of(path)?, self.directories.clone(), self.deliver())
    }

    pub(super) fn read_inline(&self, node: NodeId, effect: NodeEffect) {
        if let NodeEffect::Materialize { operation, plan } = effect {
            let directory = self.directories.get(node);
            let result = match directory {
                Some(directory) => execute_inline(&directory, plan),
                None => Err(DiskError::Failed),
            };
            self.on_disk(vec![(
                node,
                DiskCompletion::Materialized { operation, result },
            )]);
        }
    }
}
