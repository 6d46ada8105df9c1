//! The lock around writer and nodes, and what is done outside it: disk effects go to the disk's
//! threads, answers to their callers.
//!
//! A request takes the lock, changes memory, and leaves; nobody waits for a disk inside it. A
//! read that is alone is carried out by its own thread, without a hand-off.

use super::answers::{Answers, Callback};
use super::disk_errors::DiskErrors;
use super::events::Events;
use super::idle::IdleNodes;
use super::replace::status_of;
use super::scrubbing::{self, Scrubs};
use crate::config::VolumeConfig;
use crate::embedded::Embedded;
use crate::error::IoFailure;
use crate::ids::{NodeId, VolumeId};
use crate::io::address_book::AddressBook;
use crate::io::disk_thread::DiskThread;
use crate::io::faults::Faults;
use crate::io::hold_back::Release;
use crate::io::node_lock::NodeLock;
use crate::io::read_pool::ReadPool;
use crate::io::{Deliver, Directories};
use crate::segment::effect::DiskCompletion;
use crate::status::{NodeState, NodeStatus};
use crate::time::Instant;
use crate::writer::{Answer, Ticket, Writer, WriterFigures};
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

/// How often the core is told that time has passed.
pub(super) const TICK: Duration = Duration::from_millis(25);

/// What the thread that brings a request can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// It may wait for a disk itself.
    MayBlock,
    /// Others wait for it.
    HasMoreToDo,
}

/// What the lock protects.
pub(super) struct Core {
    pub(super) embedded: Embedded,
    callbacks: HashMap<Ticket, Callback>,
    next_ticket: u64,
    pub(super) opened: Option<Result<(), String>>,
    /// Disk effects of each node that are not completed.
    pub(super) under_way: HashMap<NodeId, usize>,
}

/// A running volume.
pub(super) struct Driver {
    core: Mutex<Core>,
    opened: Condvar,
    pub(super) directories: Directories,
    pub(super) disks: Mutex<HashMap<u64, DiskThread>>,
    /// Held from the leaving of the core until the writes that it asked for are with their disks.
    pub(super) handing: Mutex<()>,
    pub(super) pool: OnceLock<ReadPool>,
    /// For the callbacks of the threads: they must not keep the driver alive.
    this: Weak<Driver>,
    path: PathBuf,
    volume_id: VolumeId,
    pub(super) book: RwLock<AddressBook>,
    pub(super) locks: Mutex<HashMap<NodeId, NodeLock>>,
    pub(super) index_bytes_per_node: usize,
    pub(super) make_anew: bool,
    /// Nodes whose write or sync failed, until they are back.
    pub(super) failed: Mutex<HashSet<NodeId>>,
    pub(super) events: Events,
    disk_errors: DiskErrors,
    pub(super) faults: Faults,
    /// Held by whoever corrupts blocks.
    pub(super) corrupting: Mutex<()>,
    pub(super) reads_under_way: AtomicUsize,
    disk_bytes: AtomicU64,
    live_bytes: AtomicU64,
    closed: AtomicBool,
    started: std::time::Instant,
    recovery: OnceLock<Duration>,
    pub(super) scrubs: Scrubs,
    pub(super) idle: Arc<IdleNodes>,
    answers: Answers,
}

/// What a driver is made of.
pub(super) struct Parts {
    pub(super) embedded: Embedded,
    pub(super) directories: Directories,
    pub(super) path: PathBuf,
    pub(super) book: AddressBook,
    pub(super) locks: HashMap<NodeId, NodeLock>,
    pub(super) index_bytes_per_node: usize,
    pub(super) make_anew: bool,
    pub(super) started: std::time::Instant,
    /// A number that nobody knows.
    pub(super) random: u64,
    pub(super) scrubs: Scrubs,
}

/// Where effects go that were held back.
fn release_to(driver: &Weak<Driver>) -> Release {
    let driver = driver.clone();
    Arc::new(move |due| {
        if let Some(driver) = driver.upgrade() {
            driver.go_on(due);
        }
    })
}

impl Driver {
    pub(super) fn new(parts: Parts) -> std::io::Result<Arc<Driver>> {
        let disk_bytes = AtomicU64::new(parts.embedded.writer.disk_bytes());
        let core = Core {
            embedded: parts.embedded,
            callbacks: HashMap::new(),
            next_ticket: 0,
            opened: None,
            under_way: HashMap::new(),
        };
        let events = Events::start(&parts.path)?;
        let count = parts.book.nodes.len();
        let answers = Answers::start()?;
        let driver = Arc::new_cyclic(|this| Driver {
            core: Mutex::new(core),
            opened: Condvar::new(),
            directories: parts.directories,
            disks: Mutex::new(HashMap::new()),
            handing: Mutex::new(()),
            pool: OnceLock::new(),
            this: this.clone(),
            path: parts.path,
            volume_id: parts.book.volume,
            book: RwLock::new(parts.book),
            locks: Mutex::new(parts.locks),
            index_bytes_per_node: parts.index_bytes_per_node,
            make_anew: parts.make_anew,
            failed: Mutex::default(),
            events,
            disk_errors: DiskErrors::new(2 * count),
            faults: Faults::new(parts.random, release_to(this)),
            corrupting: Mutex::default(),
            reads_under_way: AtomicUsize::new(0),
            disk_bytes,
            live_bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            started: parts.started,
            recovery: OnceLock::new(),
            scrubs: parts.scrubs,
            idle: Arc::new(IdleNodes::new()),
            answers,
        });
        let pool = ReadPool::start(driver.directories.clone(), driver.deliver())?;
        // Nobody else has the driver yet.
        let _ = driver.pool.set(pool);
        Ok(driver)
    }

    pub(super) fn deliver(&self) -> Deliver {
        let this = self.this.clone();
        Arc::new(move |completions| {
            if let Some(driver) = this.upgrade() {
                driver.on_disk(completions);
            }
        })
    }

    /// For what must not keep the driver alive.
    pub(super) fn weak(&self) -> Weak<Driver> {
        self.this.clone()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn volume_id(&self) -> VolumeId {
        self.volume_id
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn recovery_time(&self) -> Duration {
        self.recovery.get().copied().unwrap_or_default()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn now(&self) -> Instant {
        Instant(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Gives a request to the writer; `callback` is called when it is answered.
    pub(super) fn request(
        &self,
        callback: Callback,
        start: impl FnOnce(&mut Writer, Instant, Ticket),
    ) {
        self.request_from(Caller::HasMoreToDo, callback, start);
    }

    /// Gives a request to the writer, and perhaps its own thread something to do.
    pub(super) fn request_from(
        &self,
        caller: Caller,
        callback: Callback,
        start: impl FnOnce(&mut Writer, Instant, Ticket),
    ) {
        if self.is_closed() {
            return callback.call(Err(IoFailure::Closed));
        }
        let now = self.now();
        let mut core = self.core.lock();
        core.next_ticket += 1;
        let ticket = Ticket(core.next_ticket);
        core.callbacks.insert(ticket, callback);
        start(&mut core.embedded.writer, now, ticket);
        self.carry_out(core, now, caller);
    }

    /// A request whose answer the caller waits for.
    pub(super) fn ask(
        &self,
        start: impl FnOnce(&mut Writer, Instant, Ticket),
    ) -> Result<Answer, IoFailure> {
        let (sender, receiver) = channel();
        let callback = Callback::Any(Box::new(move |result| {
            // The receiver waits below until this is called or dropped.
            let _ = sender.send(result);
        }));
        self.request(callback, start);
        receiver.recv().unwrap_or(Err(IoFailure::Closed))
    }

    /// Changes writer and nodes, and carries out what follows.
    pub(super) fn with_core<T>(&self, change: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let now = self.now();
        let mut core = self.core.lock();
        let result = change(&mut core, now);
        self.carry_out(core, now, Caller::HasMoreToDo);
        result
    }

    pub(super) fn on_disk(&self, completions: Vec<(NodeId, DiskCompletion)>) {
        let reads = completions
            .iter()
            .filter(|(_, completion)| matches!(completion, DiskCompletion::Materialized { .. }))
            .count();
        self.reads_under_way.fetch_sub(reads, Ordering::Relaxed);
        let is_there = |node| self.directories.get(node).is_some();
        self.disk_errors.count(&completions, is_there);
        self.with_core(|core, now| {
            for (node, _) in &completions {
                if let Some(count) = core.under_way.get_mut(node) {
                    *count = count.saturating_sub(1);
                }
            }
            core.embedded.on_disk(now, completions);
        });
    }

    /// Whether nothing is under way any more on the disk of a node. Until then its directory must
    /// not be opened again: a late write would land in it, a late completion would be taken for
    /// one of its own.
    pub(super) fn is_quiet(&self, node: NodeId) -> bool {
        let core = self.core.lock();
        core.under_way.get(&node).is_none_or(|count| *count == 0)
    }

    /// Passes messages on, leaves the lock, and does what is left.
    fn carry_out(&self, mut core: MutexGuard<'_, Core>, now: Instant, caller: Caller) {
        let outcome = core.embedded.settle(now);
        let callbacks: Vec<_> = outcome
            .completed
            .into_iter()
            .filter_map(|(ticket, result)| Some((core.callbacks.remove(&ticket)?, result)))
            .collect();
        if outcome.opened.is_some() {
            core.opened = outcome.opened;
            self.opened.notify_all();
        }
        for (node, effect) in &outcome.disk {
            if effect.completes() {
                *core.under_way.entry(*node).or_default() += 1;
            }
        }
        let (seated, drained) = (outcome.seated.into_iter(), outcome.drained.into_iter());
        let handed = self.leave(core, outcome.disk, caller, || {
            seated.for_each(|node| self.on_seated(node));
            drained.for_each(|node| self.on_drained(node));
        });
        self.fence(&handed.unstarted);
        self.answers.give(callbacks, handed.has_appends);
        if !outcome.idle.is_empty() {
            self.idle.push(outcome.idle);
        }
        if let Some((node, effect)) = handed.inline {
            self.read_inline(node, effect);
        }
    }

    /// Waits for the end of the recovery.
    pub(super) fn wait_opened(&self) -> Result<(), String> {
        let mut core = self.core.lock();
        loop {
            if let Some(result) = core.opened.clone() {
                let _ = self.recovery.set(self.started.elapsed());
                return result;
            }
            self.opened.wait(&mut core);
        }
    }

    pub(super) fn tick(&self) {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let wall_time_ns = wall.map_or(0, |since| since.as_nanos() as u64);
        self.with_core(|core, now| core.embedded.on_tick(now, wall_time_ns));
        self.end_due_faults();
        self.refresh();
        self.look_for_events();
    }

    /// Figures that are asked for without the lock.
    pub(super) fn refresh(&self) {
        let core = self.core.lock();
        let config = core.embedded.writer.config();
        let all = config.undrained_nodes().count();
        let nodes = core.embedded.nodes.iter().take(config.nodes.len());
        let nodes = nodes.flatten();
        let (count, live) = nodes.fold((0, 0), |(count, live), node| {
            (count + 1, live + node.figures().live_bytes)
        });
        let copies = crate::config::SEGMENTS as u64;
        let disk_bytes = core.embedded.writer.disk_bytes();
        drop(core);
        let live = live * all as u64 / (u64::max(count, 1) * copies);
        self.live_bytes
            .store(live.min(disk_bytes), Ordering::Relaxed);
        self.disk_bytes.store(disk_bytes, Ordering::Relaxed);
    }

    pub(super) fn config(&self) -> VolumeConfig {
        self.core.lock().embedded.writer.config().clone()
    }

    pub(super) fn figures(&self) -> WriterFigures {
        self.core.lock().embedded.writer.figures()
    }

    pub(super) fn node_statuses(&self, figures: &WriterFigures) -> Vec<NodeStatus> {
        let book = self.book.read().clone();
        let paths = book.paths(&self.path);
        let core = self.core.lock();
        let config = core.embedded.writer.config();
        let status = |(node, (state, reason)): (NodeId, &(NodeState, Option<String>))| {
            let there = core.embedded.nodes[node.index()].as_ref();
            let own = there.map(|node| node.figures()).unwrap_or_default();
            let zone = config.nodes[node.index()].zone;
            NodeStatus {
                name: config.node_name(node),
                zone: char::from(b'a' + zone.0),
                path: paths[node.index()].clone(),
                state: *state,
                reason: reason.clone(),
                action: state
                    .action_for(reason.as_deref())
                    .or_else(|| figures.scrub_due[node.index()].then_some("scrub the volume"))
                    .map(str::to_owned),
                scl: own.scl,
                log_bytes: own.log_bytes,
                live_bytes: own.live_bytes,
                checksum_errors: own.checksum_errors,
                read_errors: self.disk_errors.reads(node),
                write_errors: self.disk_errors.writes(node),
                repairs: figures.repairs[node.index()],
                rebuild: figures.rebuilds[node.index()],
                successor: status_of(node, &book, &self.path, figures),
            }
        };
        config.node_ids().zip(&figures.nodes).map(status).collect()
    }

    /// Writes checkpoints, ends the threads, releases the locks.
    pub(super) fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.faults.end(|_| true);
        scrubbing::close(self);
        self.with_core(|core, now| {
            for node in core.embedded.nodes.iter_mut().flatten() {
                node.want_checkpoint();
                node.on_tick(now);
            }
        });
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while std::time::Instant::now() < deadline && !self.is_checkpointed() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let disks: Vec<DiskThread> = self.disks.lock().drain().map(|(_, disk)| disk).collect();
        disks.into_iter().for_each(DiskThread::stop);
        self.idle.close();
        self.answers.end();
        self.fail_waiting();
        self.end_events();
        self.locks.lock().clear();
    }

    fn is_checkpointed(&self) -> bool {
        let core = self.core.lock();
        let mut nodes = core.embedded.nodes.iter().flatten();
        nodes.all(|node| node.is_fenced() || node.is_checkpointed())
    }

    fn fail_waiting(&self) {
        let callbacks = std::mem::take(&mut self.core.lock().callbacks);
        callbacks
            .into_values()
            .for_each(|callback| callback.call(Err(IoFailure::Closed)));
    }
}
