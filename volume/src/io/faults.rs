//! Faults on demand: what the disks of some nodes are made to do for a while, so that a user can see
//! before he trusts.
//!
//! Every effect of a node passes here once on its way to a disk ([`Faults::pass`]): most go on,
//! some are to fail, some to take longer. Those are held back (`HoldBack`) and come out
//! when their time has come; no other node's I/O waits for them. What happens to one access is
//! decided by a pure function ([`FaultKind::verdict`]). While nothing is asked for, all this costs
//! one relaxed load.
//!
//! That a node is down is only noted here: who looks after the directories takes it out.

use super::hold_back::{Due, Held, HoldBack, Release};
use crate::ids::NodeId;
use crate::limits;
use crate::segment::effect::{DiskError, NodeEffect};
use parking_lot::Mutex;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is to happen to a node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The node's host is off: it answers nothing, and nothing touches its disk.
    NodeDown,
    /// So many of a hundred reads and writes fail.
    DiskFailure {
        /// 1 to 100.
        percent: u8,
    },
    /// Every access takes longer, by a time drawn evenly between the two.
    Congestion {
        /// At least so much.
        least: Duration,
        /// At most so much.
        most: Duration,
    },
    /// There is no space left.
    DiskFull,
}

/// What an effect asks of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Bytes of it.
    Read,
    /// To take bytes.
    Write,
    /// To set space aside.
    Allocate,
}

impl Access {
    /// What the effect asks; `None` for what nobody waits for.
    fn of(effect: &NodeEffect) -> Option<Access> {
        match effect {
            NodeEffect::Append { .. } | NodeEffect::WriteSuperblock { .. } => Some(Access::Write),
            NodeEffect::Read { .. }
            | NodeEffect::ReadSuperblock { .. }
            | NodeEffect::Materialize { .. } => Some(Access::Read),
            NodeEffect::Allocate { .. } => Some(Access::Allocate),
            NodeEffect::Remove { .. }
            | NodeEffect::Send(_)
            | NodeEffect::Tell { .. }
            | NodeEffect::Idle => None,
        }
    }
}

/// What becomes of one access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It begins so much later.
    pub delay: Duration,
    /// It is not carried out, and ends like this.
    pub failure: Option<DiskError>,
}

impl Verdict {
    /// Both: delays add up, the first failure counts.
    fn and(self, other: Verdict) -> Verdict {
        Verdict {
            delay: self.delay + other.delay,
            failure: self.failure.or(other.failure),
        }
    }
}

impl FaultKind {
    /// What becomes of an access under this fault; `random` decides where there is a choice.
    pub fn verdict(self, access: Access, random: u64) -> Verdict {
        let mut verdict = Verdict::default();
        match self {
            FaultKind::DiskFailure { percent } if random % 100 < u64::from(percent) => {
                verdict.failure = Some(DiskError::Failed);
            }
            FaultKind::DiskFull if access == Access::Allocate => {
                verdict.failure = Some(DiskError::Full);
            }
            FaultKind::Congestion { least, most } => {
                let span = most.saturating_sub(least).as_micros() as u64;
                verdict.delay = least + Duration::from_micros(random % (span + 1));
            }
            FaultKind::NodeDown | FaultKind::DiskFailure { .. } | FaultKind::DiskFull => {}
        }
        verdict
    }
}

/// A fault that was asked for, until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Names it while it is active; never given out twice by a process.
    pub id: u64,
    /// What happens.
    pub kind: FaultKind,
    /// To these nodes.
    pub nodes: Vec<NodeId>,
    /// It ends by itself then.
    pub until: Instant,
}

/// The faults of a volume.
pub struct Faults {
    /// Whether there are any: all that an effect is asked of while there are none.
    active: AtomicBool,
    table: Mutex<Table>,
    release: Release,
    hold_back: OnceLock<HoldBack>,
}

struct Table {
    faults: Vec<Fault>,
    next_id: u64,
    random: Random,
}

impl Faults {
    /// None yet. `seed` decides which accesses they will meet; what was held back goes to `release`.
    pub fn new(seed: u64, release: Release) -> Faults {
        Faults {
            active: AtomicBool::new(false),
            table: Mutex::new(Table {
                faults: Vec::new(),
                next_id: 1,
                random: Random(seed),
            }),
            release,
            hold_back: OnceLock::new(),
        }
    }

    /// Whether any fault is active.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Begins a fault; `None` when there are as many as may be ([`limits::FAULTS`]).
    ///
    /// # Errors
    /// When the system has no thread left to hold effects back.
    pub fn begin(
        &self,
        kind: FaultKind,
        nodes: Vec<NodeId>,
        interval: Duration,
    ) -> io::Result<Option<Fault>> {
        let mut table = self.table.lock();
        if table.faults.len() >= limits::FAULTS {
            return Ok(None);
        }
        if self.hold_back.get().is_none() {
            // Only whoever holds the table's lock sets it.
            let _ = self.hold_back.set(HoldBack::start(self.release.clone())?);
        }
        let fault = Fault {
            id: table.next_id,
            kind,
            nodes,
            until: Instant::now() + interval,
        };
        table.next_id += 1;
        table.faults.push(fault.clone());
        self.active.store(true, Ordering::Relaxed);
        Ok(Some(fault))
    }

    /// The faults that are active, in the order in which they began.
    pub fn list(&self) -> Vec<Fault> {
        self.table.lock().faults.clone()
    }

    /// Ends those whose time is over, and returns them.
    pub fn expire(&self, now: Instant) -> Vec<Fault> {
        if self.is_active() {
            self.end(|fault| fault.until <= now)
        } else {
            Vec::new()
        }
    }

    /// Ends some, and returns them. What they held back goes on at once.
    pub fn end(&self, is_over: impl Fn(&Fault) -> bool) -> Vec<Fault> {
        let mut table = self.table.lock();
        let ended: Vec<Fault> = table
            .faults
            .extract_if(.., |fault| is_over(fault))
            .collect();
        self.active
            .store(!table.faults.is_empty(), Ordering::Relaxed);
        if let Some(hold_back) = self.hold_back.get() {
            hold_back.hurry(|node| ended.iter().any(|fault| fault.nodes.contains(&node)));
        }
        ended
    }

    /// The fault by which a node is down, if one is.
    pub fn down(&self, node: NodeId) -> Option<u64> {
        if !self.is_active() {
            return None;
        }
        let table = self.table.lock();
        let mut faults = table.faults.iter();
        let down = faults.find(|f| f.kind == FaultKind::NodeDown && f.nodes.contains(&node));
        down.map(|fault| fault.id)
    }

    /// Whether a node's directory cannot be opened now: opening reads.
    pub fn fails_opening(&self, node: NodeId) -> bool {
        let judged = || self.table.lock().judge(node, Access::Read);
        self.is_active() && judged().failure.is_some()
    }

    /// The effects that are to be carried out now, which are all of them while no fault is active and
    /// nothing of an earlier one is left. The others are held back.
    pub fn pass(&self, effects: Vec<(NodeId, NodeEffect)>) -> Vec<(NodeId, NodeEffect)> {
        match self.hold_back.get() {
            Some(hold_back) if self.is_active() || hold_back.is_busy() => {
                self.judge(hold_back, effects)
            }
            _ => effects,
        }
    }

    fn judge(
        &self,
        hold_back: &HoldBack,
        effects: Vec<(NodeId, NodeEffect)>,
    ) -> Vec<(NodeId, NodeEffect)> {
        let now = Instant::now();
        let mut table = self.table.lock();
        let mut judged = |(node, effect): (NodeId, NodeEffect)| {
            let access = Access::of(&effect);
            let verdict = access.map_or_else(Verdict::default, |access| table.judge(node, access));
            Held {
                at: now + verdict.delay,
                due: Due {
                    node,
                    effect,
                    failure: verdict.failure,
                },
            }
        };
        let judged = effects.into_iter().map(&mut judged).collect();
        // With the table's lock: a fault that ended meanwhile would hurry what is not there yet.
        hold_back.hold(judged, now)
    }
}

impl Table {
    fn judge(&mut self, node: NodeId, access: Access) -> Verdict {
        let random = &mut self.random;
        let of_node = self.faults.iter().filter(|f| f.nodes.contains(&node));
        of_node
            .map(|fault| fault.kind.verdict(access, random.draw()))
            .fold(Verdict::default(), Verdict::and)
    }
}

/// Numbers that nobody can foresee well enough to mind (SplitMix64).
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
