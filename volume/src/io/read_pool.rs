//! Reads: in the caller's own thread, or many at once in a thread of their own.
//!
//! The pool's thread has its own ring, so that no read waits for an append's flush. It keeps a
//! bounded number of reads in flight; what is above that stays queued and takes no memory but its
//! plan.

use super::node_directory::NodeDirectory;
use super::read_plan::PlannedRead;
use super::thread_start::{join, start_thread};
use super::transfer::{Finished, Job, ReadSpan};
use super::uring::{Ring, Waker, run_blocking};
use super::{Deliver, Directories};
use crate::ids::{ExtentSlot, NodeId};
use crate::page::{PAGE_BYTES, PageBuf};
use crate::segment::effect::{DiskCompletion, DiskError, NodeEffect, OperationId, ReadPlan};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Reads that the pool keeps in flight or unanswered: more than a disk needs to be busy, few enough
/// that their buffers stay small beside the backlog.
const READS_IN_FLIGHT: usize = 128;
/// Reads that are checked and answered before the next ones are begun: while the answers to more were
/// given the disk would run out of work.
const ANSWERED_AT_ONCE: usize = 4;
/// Reads of one plan that its own caller keeps in flight: one per block of a 1 MiB read.
const INLINE_READS_IN_FLIGHT: usize = 64;

thread_local! {
    /// The ring of a thread that reads for itself; made when it first has several reads to do.
    static INLINE_RING: RefCell<Option<Ring>> = const { RefCell::new(None) };
}

/// Carries out a plan in the calling thread: for a caller that would only wait otherwise.
///
/// # Errors
/// [`DiskError::Damaged`] when a page does not check, [`DiskError::Failed`] when the disk fails.
pub fn execute_inline(directory: &NodeDirectory, plan: ReadPlan) -> Result<PageBuf, DiskError> {
    let read = PlannedRead::new(plan)?;
    let failed = |error: io::Error| report(directory, &error);
    let job = read.job(directory).map_err(failed)?;
    let finished = match &job {
        Job::Read { spans, .. } if spans.len() > 1 => run_in_ring(job).map_err(failed)?,
        _ => run_blocking(job),
    };
    finished.result.map_err(failed)?;
    read.finish(finished.buffers)
}

fn run_in_ring(job: Job) -> io::Result<Finished> {
    INLINE_RING.with_borrow_mut(|slot| {
        let ring = match slot {
            Some(ring) => ring,
            None => slot.insert(Ring::new(INLINE_READS_IN_FLIGHT)?),
        };
        ring.push(0, job);
        let finished = ring.wait_all().pop();
        finished.ok_or_else(|| io::Error::other("the ring lost a job"))
    })
}

fn report(directory: &NodeDirectory, error: &io::Error) -> DiskError {
    log::error!("{}: cannot read: {error}", directory.path().display());
    DiskError::Failed
}

/// The reading thread. Dropping it does what is queued first.
pub struct ReadPool {
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// What the pool and its users share.
#[derive(Default)]
struct Shared(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    reads: VecDeque<QueuedRead>,
    closed: bool,
    /// The thread waits in its ring with nothing left to answer, and has not been woken yet.
    sleeping: bool,
}

#[derive(Debug)]
struct QueuedRead {
    node: NodeId,
    operation: OperationId,
    what: What,
}

#[derive(Debug)]
enum What {
    Pages {
        slot: ExtentSlot,
        offset: u64,
        pages: usize,
    },
    Blocks(ReadPlan),
}

impl ReadPool {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread or file descriptor left.
    pub fn start(directories: Directories, deliver: Deliver) -> io::Result<ReadPool> {
        let shared = Arc::new(Shared::default());
        let queue = Arc::clone(&shared);
        let (thread, waker) = start_thread(
            "redoubt-read",
            || {
                let ring = Ring::new(READS_IN_FLIGHT)?;
                let waker = ring.waker();
                Ok((ring, waker))
            },
            move |ring| {
                let reader = Reader {
                    directories,
                    ring,
                    running: HashMap::new(),
                    next_token: 0,
                    finished: VecDeque::new(),
                    completions: Vec::new(),
                };
                reader.run(&queue, &deliver);
            },
        )?;
        Ok(ReadPool {
            shared,
            waker,
            thread: Some(thread),
        })
    }

    /// Queues what is to be read, and hands back all other effects.
    pub fn submit(&self, effects: Vec<(NodeId, NodeEffect)>) -> Vec<(NodeId, NodeEffect)> {
        let (mut reads, mut others) = (Vec::new(), Vec::new());
        for (node, effect) in effects {
            match QueuedRead::from_effect(node, effect) {
                Ok(read) => reads.push(read),
                Err(effect) => others.push((node, effect)),
            }
        }
        if !reads.is_empty() {
            self.stir(|waiting| waiting.reads.extend(reads));
        }
        others
    }

    /// Does what is queued, delivers it, and ends the thread.
    pub fn stop(self) {
        drop(self);
    }

    fn stir(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.shared.0.lock();
        change(&mut waiting);
        let sleeping = std::mem::take(&mut waiting.sleeping);
        drop(waiting);
        if sleeping {
            self.waker.wake();
        }
    }
}

impl Drop for ReadPool {
    fn drop(&mut self) {
        self.stir(|waiting| waiting.closed = true);
        if let Some(thread) = self.thread.take() {
            join(thread);
        }
    }
}

impl QueuedRead {
    fn from_effect(node: NodeId, effect: NodeEffect) -> Result<QueuedRead, NodeEffect> {
        let (operation, what) = match effect {
            NodeEffect::Read {
                operation,
                slot,
                offset,
                pages,
            } => {
                let what = What::Pages {
                    slot,
                    offset,
                    pages,
                };
                (operation, what)
            }
            NodeEffect::Materialize { operation, plan } => (operation, What::Blocks(plan)),
            other => return Err(other),
        };
        Ok(QueuedRead {
            node,
            operation,
            what,
        })
    }

    fn kind(&self) -> Kind {
        match self.what {
            What::Pages { .. } => Kind::Pages,
            What::Blocks(_) => Kind::Blocks,
        }
    }
}

/// Which completion a read ends in.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Pages,
    Blocks,
}

/// A read whose job is in the ring.
struct Running {
    node: NodeId,
    operation: OperationId,
    /// `None` for raw pages.
    blocks: Option<PlannedRead>,
}

/// What the thread does next.
enum Next {
    Begin(QueuedRead),
    Wait,
    End,
}

/// The thread's own state.
struct Reader {
    directories: Directories,
    ring: Ring,
    running: HashMap<u64, Running>,
    next_token: u64,
    /// Jobs that are through, to be answered.
    finished: VecDeque<Finished>,
    completions: Vec<(NodeId, DiskCompletion)>,
}

impl Reader {
    fn run(mut self, shared: &Shared, deliver: &Deliver) {
        loop {
            match self.next(shared) {
                Next::Begin(read) => self.begin(read),
                Next::Wait => self.wait(deliver),
                Next::End => return,
            }
        }
    }

    fn next(&self, shared: &Shared) -> Next {
        if !self.ring.has_room() || self.running.len() >= READS_IN_FLIGHT {
            return Next::Wait;
        }
        let mut waiting = shared.0.lock();
        let read = waiting.reads.pop_front();
        waiting.sleeping = read.is_none() && self.finished.is_empty();
        match read {
            Some(read) => Next::Begin(read),
            None if waiting.closed && self.running.is_empty() && self.completions.is_empty() => {
                Next::End
            }
            None => Next::Wait,
        }
    }

    /// Waits for the ring, unless there is something to deliver already, and delivers some of it.
    fn wait(&mut self, deliver: &Deliver) {
        if self.completions.is_empty() && self.finished.is_empty() {
            self.finished.extend(self.ring.wait());
        } else {
            self.ring.submit();
        }
        for _ in 0..ANSWERED_AT_ONCE {
            let Some(finished) = self.finished.pop_front() else {
                break;
            };
            self.finish(finished);
        }
        if !self.completions.is_empty() {
            deliver(std::mem::take(&mut self.completions));
        }
    }

    fn begin(&mut self, read: QueuedRead) {
        let (node, operation, kind) = (read.node, read.operation, read.kind());
        match self.prepare(read.what, node) {
            Ok((job, blocks)) => {
                let running = Running {
                    node,
                    operation,
                    blocks,
                };
                self.running.insert(self.next_token, running);
                self.ring.push(self.next_token, job);
                self.next_token += 1;
            }
            Err(error) => self.complete(node, operation, kind, Err(error)),
        }
    }

    fn prepare(&self, what: What, node: NodeId) -> Result<(Job, Option<PlannedRead>), DiskError> {
        let directory = self.directories.get(node).ok_or(DiskError::Failed)?;
        let failed = |error: io::Error| report(&directory, &error);
        match what {
            What::Blocks(plan) => {
                let read = PlannedRead::new(plan)?;
                Ok((read.job(&directory).map_err(failed)?, Some(read)))
            }
            What::Pages {
                slot,
                offset,
                pages,
            } => {
                let extent = directory.extent(slot).map_err(failed)?;
                if !offset.is_multiple_of(PAGE_BYTES as u64) {
                    return Err(DiskError::Failed);
                }
                let span = ReadSpan {
                    file: Arc::clone(extent.file()),
                    offset,
                    buffer: 0,
                    first_page: 0,
                    pages,
                };
                let job = Job::Read {
                    buffers: vec![PageBuf::zeroed(pages)],
                    spans: vec![span],
                };
                Ok((job, None))
            }
        }
    }

    fn finish(&mut self, finished: Finished) {
        let Some(running) = self.running.remove(&finished.token) else {
            return;
        };
        let Running {
            node,
            operation,
            blocks,
        } = running;
        let read = finished.result.map_err(|error| {
            log::error!("node {}: cannot read: {error}", node.0);
            DiskError::Failed
        });
        let (kind, result) = match blocks {
            None => {
                let pages = finished.buffers.into_iter().next().unwrap_or_default();
                (Kind::Pages, read.map(|()| pages))
            }
            Some(plan) => {
                let result = read.and_then(|()| plan.finish(finished.buffers));
                (Kind::Blocks, result)
            }
        };
        self.complete(node, operation, kind, result);
    }

    fn complete(
        &mut self,
        node: NodeId,
        operation: OperationId,
        kind: Kind,
        result: Result<PageBuf, DiskError>,
    ) {
        let completion = match kind {
            Kind::Pages => DiskCompletion::Read { operation, result },
            Kind::Blocks => DiskCompletion::Materialized { operation, result },
        };
        self.completions.push((node, completion));
    }
}

#[cfg(test)]
#[path = "read_pool_tests.rs"]
mod tests;
