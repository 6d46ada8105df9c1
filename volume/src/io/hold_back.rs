//! Effects that a fault holds back: each waits for its time apart from all others, so that a disk
//! that was made slow holds up nobody but its node.

use super::thread_start::{JoinHandle, join, start_thread};
use crate::ids::NodeId;
use crate::limits;
use crate::segment::effect::{DiskCompletion, DiskError, NodeEffect};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// An effect whose time has come.
#[derive(Debug)]
pub struct Due {
    /// The node that asked.
    pub node: NodeId,
    /// What it asked.
    pub effect: NodeEffect,
    /// It is not to be carried out, but to fail like this.
    pub failure: Option<DiskError>,
}

impl Due {
    fn writes(&self) -> bool {
        matches!(
            self.effect,
            NodeEffect::Append { .. }
                | NodeEffect::WriteSuperblock { .. }
                | NodeEffect::Allocate { .. }
        )
    }

    /// Whether it is a write that is to fail as a disk fails: nothing behind it may be written (law 6).
    pub fn ends_writing(&self) -> bool {
        self.writes() && self.failure == Some(DiskError::Failed)
    }

    /// The completion of an effect that fails; the effect itself when it is to be carried out.
    ///
    /// # Errors
    /// The node and the effect.
    pub fn failed(self) -> Result<(NodeId, DiskCompletion), (NodeId, NodeEffect)> {
        let Some(error) = self.failure else {
            return Err((self.node, self.effect));
        };
        let completion = match self.effect {
            NodeEffect::Append { operation, .. }
            | NodeEffect::WriteSuperblock { operation, .. }
            | NodeEffect::Allocate { operation, .. } => DiskCompletion::Done {
                operation,
                result: Err(error),
            },
            NodeEffect::Read { operation, .. } | NodeEffect::ReadSuperblock { operation } => {
                DiskCompletion::Read {
                    operation,
                    result: Err(error),
                }
            }
            NodeEffect::Materialize { operation, .. } => DiskCompletion::Materialized {
                operation,
                result: Err(error),
            },
            effect @ (NodeEffect::Remove { .. }
            | NodeEffect::Send(_)
            | NodeEffect::Tell { .. }
            | NodeEffect::Idle) => {
                return Err((self.node, effect));
            }
        };
        Ok((self.node, completion))
    }
}

/// An effect and when it is due.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) at: Instant,
    pub(super) due: Due,
}

/// Takes what is due, in a thread that may wait for locks.
pub type Release = Arc<dyn Fn(Vec<Due>) + Send + Sync>;

/// The thread that holds effects back. Dropping it releases them all.
pub(super) struct HoldBack {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Whether anything is here: looked at without the lock.
    is_busy: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    /// By time, then in the order in which they came.
    effects: BTreeMap<(Instant, u64), Due>,
    next_number: u64,
    /// Nodes of which writes are being released now.
    releasing: Vec<NodeId>,
    closed: bool,
}

impl HoldBack {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has none left.
    pub(super) fn start(release: Release) -> io::Result<HoldBack> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let (thread, ()) = start_thread(
            "redoubt-faults",
            || Ok(((), ())),
            move |()| of_thread.run(&release),
        )?;
        Ok(HoldBack {
            shared,
            thread: Some(thread),
        })
    }

    /// Holds effects back. Returned are those that are to be carried out, and are due by `now` or find
    /// no room any more ([`limits::HELD_EFFECTS`]): they are not delayed. No write of a node overtakes an
    /// earlier one.
    pub(super) fn hold(&self, effects: Vec<Held>, now: Instant) -> Vec<(NodeId, NodeEffect)> {
        let mut waiting = self.shared.waiting.lock();
        let mut passing = Vec::new();
        for Held { at, due } in effects {
            let is_free = at <= now || waiting.effects.len() >= limits::HELD_EFFECTS;
            let would_overtake = due.writes() && waiting.has_writes_of(due.node);
            if is_free && due.failure.is_none() && !would_overtake {
                passing.push((due.node, due.effect));
            } else {
                waiting.add(at, due);
            }
        }
        self.shared.note(&waiting);
        self.shared.changed.notify_one();
        passing
    }

    /// Whether anything that came here has not gone on yet.
    pub(super) fn is_busy(&self) -> bool {
        self.shared.is_busy.load(Ordering::Acquire)
    }

    /// Lets what these nodes have here go on at once.
    pub(super) fn hurry(&self, is_meant: impl Fn(NodeId) -> bool) {
        let mut waiting = self.shared.waiting.lock();
        let now = Instant::now();
        let later = waiting.effects.split_off(&(now, 0));
        for ((at, number), due) in later {
            let at = if is_meant(due.node) { now } else { at };
            waiting.effects.insert((at, number), due);
        }
        self.shared.changed.notify_one();
    }
}

impl Drop for HoldBack {
    fn drop(&mut self) {
        self.shared.waiting.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            join(thread);
        }
    }
}

impl Waiting {
    fn add(&mut self, at: Instant, due: Due) {
        let mut earlier = self.effects.iter().rev();
        let last = earlier.find(|(_, other)| other.node == due.node && other.writes());
        let at = match last {
            Some(((last, _), _)) if due.writes() => at.max(*last),
            _ => at,
        };
        self.effects.insert((at, self.next_number), due);
        self.next_number += 1;
    }

    /// Whether a write of the node that came here has not gone on yet.
    fn has_writes_of(&self, node: NodeId) -> bool {
        let mut held = self.effects.values();
        self.releasing.contains(&node) || held.any(|due| due.node == node && due.writes())
    }

    /// What is due, or everything when nothing is to be held back any more.
    fn take_due(&mut self, now: Instant) -> Vec<Due> {
        let later = if self.closed {
            BTreeMap::new()
        } else {
            self.effects.split_off(&(now, u64::MAX))
        };
        let due = std::mem::replace(&mut self.effects, later);
        due.into_values().collect()
    }
}

impl Shared {
    fn note(&self, waiting: &Waiting) {
        let is_busy = !waiting.effects.is_empty() || !waiting.releasing.is_empty();
        self.is_busy.store(is_busy, Ordering::Release);
    }

    fn run(&self, release: &Release) {
        let mut waiting = self.waiting.lock();
        loop {
            let due = waiting.take_due(Instant::now());
            if !due.is_empty() {
                let writes = due.iter().filter(|due| due.writes());
                waiting.releasing = writes.map(|due| due.node).collect();
                drop(waiting);
                release(due);
                waiting = self.waiting.lock();
                waiting.releasing.clear();
                self.note(&waiting);
            } else if waiting.closed {
                return;
            } else if let Some(((at, _), _)) = waiting.effects.first_key_value() {
                let at = *at;
                self.changed.wait_until(&mut waiting, at);
            } else {
                self.changed.wait(&mut waiting);
            }
        }
    }
}

#[cfg(test)]
#[path = "hold_back_tests.rs"]
mod tests;
