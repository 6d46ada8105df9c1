//! Breadth-first search of all states: every state once, shortest traces first.
//!
//! Nodes that may be exchanged are sorted, so that states that differ only in their names are one.
//! A state that was seen is remembered as a 64-bit hash.

use crate::action::Action;
use crate::config::Config;
use crate::state::{NODES, State};
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Parts of the set of seen states, so that threads seldom wait for each other.
const SHARDS: usize = 256;
/// States that a thread takes at a time.
const CHUNK: usize = 256;

/// How a search ended.
#[derive(Debug)]
pub struct Outcome {
    /// Different states.
    pub states: usize,
    /// Steps of the longest of the shortest ways to a state.
    pub depth: usize,
    /// Whether nothing was left.
    pub is_exhaustive: bool,
    /// The steps that lead to a violation, and what is violated.
    pub violation: Option<(Vec<Action>, String)>,
}

/// A state, where it was found from (its place among all), and by which step.
type Found = (State, u32, Action);

/// Bytes mixed eight at a time; a value that is used once is not worth a stronger function.
#[derive(Default)]
struct Mix {
    mixed: u64,
    /// Bytes not mixed yet, and how many.
    waiting: u64,
    count: u32,
}

impl Mix {
    fn mix(&mut self, value: u64) {
        let mixed = (self.mixed ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.mixed = mixed ^ (mixed >> 29);
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        let mut z = self.mixed.rotate_left(32) ^ self.waiting;
        z = (z ^ (z >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        z = (z ^ (z >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        z ^ (z >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, byte: u8) {
        self.waiting = self.waiting << 8 | u64::from(byte);
        self.count += 1;
        if self.count == u64::BITS / 8 {
            self.mix(self.waiting);
            (self.waiting, self.count) = (0, 0);
        }
    }

    fn write_u32(&mut self, value: u32) {
        value
            .to_le_bytes()
            .into_iter()
            .for_each(|byte| self.write_u8(byte));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u8(value as u8);
    }
}

/// The states seen, as hashes.
struct Seen {
    shards: Vec<Mutex<HashSet<u64, BuildHasherDefault<Already>>>>,
}

/// A hash of a hash is the hash.
#[derive(Default)]
struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn new() -> Seen {
        Seen {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Whether the state is new.
    fn insert(&self, state: &State) -> bool {
        let mut hasher = Mix::default();
        state.hash(&mut hasher);
        let hash = hasher.finish();
        lock(&self.shards[(hash >> 32) as usize % SHARDS]).insert(hash)
    }
}

/// Sorts the nodes that may be exchanged; where each of them was before.
pub(crate) fn sort_nodes(config: &Config, state: &mut State) -> [usize; NODES] {
    let mut order: [usize; NODES] = std::array::from_fn(|node| node);
    order[..config.alike()].sort_by(|a, b| state.nodes[*a].cmp(&state.nodes[*b]));
    state.nodes = order.map(|node| state.nodes[node]);
    order
}

/// What the threads share while they go through one depth.
struct Level<'a> {
    config: &'a Config,
    frontier: &'a [State],
    /// The place of the frontier's first state among all.
    first: usize,
    seen: &'a Seen,
    chunks: Mutex<std::slice::Chunks<'a, State>>,
    violations: Mutex<Vec<(u32, Action, String)>>,
    stop: AtomicBool,
}

impl Level<'_> {
    fn work(&self) -> Vec<Found> {
        let mut found = Vec::new();
        loop {
            let chunk = lock(&self.chunks).next();
            let Some(chunk) = chunk.filter(|_| !self.stop.load(Ordering::Relaxed)) else {
                return found;
            };
            let offset =
                (chunk.as_ptr() as usize - self.frontier.as_ptr() as usize) / size_of::<State>();
            for (index, state) in chunk.iter().enumerate() {
                self.expand(state, (self.first + offset + index) as u32, &mut found);
            }
        }
    }

    fn expand(&self, state: &State, place: u32, found: &mut Vec<Found>) {
        for action in state.options(self.config) {
            let (mut next, violation) = state.after(self.config, action);
            next.forget_what_nobody_reads(self.config);
            sort_nodes(self.config, &mut next);
            if violation.is_none() && !self.seen.insert(&next) {
                continue;
            }
            let violation = violation
                .map(str::to_owned)
                .or_else(|| next.violation(self.config));
            if let Some(violation) = violation {
                self.stop.store(true, Ordering::Relaxed);
                lock(&self.violations).push((place, action, violation));
            }
            found.push((next, place, action));
        }
    }
}

/// Searches all states that a configuration can reach, at most about so many.
pub fn search(config: &Config, threads: usize, most_states: usize) -> Outcome {
    let mut start = State::start(config);
    start.forget_what_nobody_reads(config);
    sort_nodes(config, &mut start);
    let seen = Seen::new();
    seen.insert(&start);
    let mut parents = vec![(0, Action::PowerCut)];
    let mut frontier = vec![start];
    let mut depth = 0;
    loop {
        let level = Level {
            config,
            frontier: &frontier,
            first: parents.len() - frontier.len(),
            seen: &seen,
            chunks: Mutex::new(frontier.chunks(CHUNK)),
            violations: Mutex::default(),
            stop: AtomicBool::new(false),
        };
        let found: Vec<Vec<Found>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| level.work())).collect();
            workers
                .into_iter()
                .filter_map(|worker| worker.join().ok())
                .collect()
        });
        let violation = lock(&level.violations).pop();
        let mut next = Vec::with_capacity(found.iter().map(Vec::len).sum());
        for (state, place, action) in found.into_iter().flatten() {
            next.push(state);
            parents.push((place, action));
        }
        let violation = violation.map(|(place, action, what)| {
            let mut way = way_to(&parents, place);
            way.push(action);
            (way, what)
        });
        let is_exhaustive = next.is_empty();
        if violation.is_some() || is_exhaustive || parents.len() >= most_states {
            return Outcome {
                states: parents.len(),
                depth,
                is_exhaustive,
                violation,
            };
        }
        depth += 1;
        frontier = next;
    }
}

fn way_to(parents: &[(u32, Action)], place: u32) -> Vec<Action> {
    let mut way = Vec::new();
    let mut at = place as usize;
    while at != 0 {
        way.push(parents[at].1);
        at = parents[at].0 as usize;
    }
    way.reverse();
    way
}
