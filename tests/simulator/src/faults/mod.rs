//! What goes wrong in a run. Each seed turns a random subset of the kinds on, each with a weight
//! of its own (swarm), so that rare combinations come up; the budget keeps the oracle honest.
//!
//! `kinds` — their names; `budget` — what may be harmed at a time; `inject` — how each is done,
//! `rot` those of disks that change what they hold, `membership` those of replacements, and of nodes that
//! come and go; `heal` — how each ends.

pub mod budget;
mod foreign;
mod heal;
mod inject;
mod kinds;
mod membership;
mod rot;

pub use heal::Heal;
pub use kinds::{FaultCounts, FaultKind};

use crate::cluster::Cluster;
use crate::disk::DiskImage;
use crate::network::{Weather, WriterId};
use crate::random::{Random, Rate};
use budget::Budget;
use redoubt_volume::ids::{Incarnation, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the run itself must do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunAction {
    /// Nothing.
    Nothing,
    /// The writer's process dies.
    CrashWriter,
    /// The writer's process dies when it has asked for so many more effects.
    LightFuse(u32),
    /// The writer's process stands still for so long.
    PauseWriter(Duration),
    /// Everything loses power.
    CutPower,
    /// A second writer opens while the first lives, which stands still for so long.
    Takeover(Option<Duration>),
    /// The disk's user makes it larger.
    Resize,
    /// The disk's user has everything looked at.
    Scrub,
    /// The volume is closed in order and opened again.
    Close,
}

/// Something that is to happen later.
#[derive(Debug)]
pub struct Later {
    /// After so long.
    pub after: Duration,
    /// This.
    pub heal: Heal,
}

/// What may go wrong in a run, and what has.
#[derive(Debug)]
pub struct Faults {
    /// The kinds that are on, each with its weight.
    enabled: Vec<(FaultKind, u64)>,
    /// What may be harmed.
    pub budget: Budget,
    /// What has happened.
    pub counts: FaultCounts,
    random: Random,
    /// Disks as they were at an earlier moment.
    snapshots: BTreeMap<NodeId, Vec<(Incarnation, DiskImage)>>,
}

impl Faults {
    /// A random subset of these kinds.
    pub fn draw(allowed: &[FaultKind], mut random: Random) -> Faults {
        let share = random.between(15, 100);
        let enabled = allowed.iter().filter_map(|kind| {
            let weight = random.between(1, 10) * heaviness(*kind);
            (random.below(100) < share).then_some((*kind, weight))
        });
        Faults {
            enabled: enabled.collect(),
            budget: Budget::default(),
            counts: FaultCounts::default(),
            random,
            snapshots: BTreeMap::new(),
        }
    }

    /// The kinds that are on.
    pub fn enabled(&self) -> impl Iterator<Item = FaultKind> + '_ {
        self.enabled.iter().map(|(kind, _)| *kind)
    }

    fn rate(&mut self, kind: FaultKind, most: u64) -> Rate {
        let is_on = self.enabled.iter().any(|(on, _)| *on == kind);
        let rate = Rate(self.random.between(50, most) as u32);
        if is_on { rate } else { Rate::NEVER }
    }

    /// What happens to messages all the time.
    pub fn weather(&mut self) -> Weather {
        Weather {
            drop: self.rate(FaultKind::Drop, 20_000),
            duplicate: self.rate(FaultKind::Duplicate, 30_000),
            delay: self.rate(FaultKind::Delay, 2_000),
            reorder: self.rate(FaultKind::Reorder, 30_000),
        }
    }

    /// How many reads take long.
    pub fn slow_reads(&mut self) -> Rate {
        self.rate(FaultKind::SlowRead, 100_000)
    }

    /// Lets something go wrong that is on, if the budget allows it.
    pub fn strike(
        &mut self,
        cluster: &mut Cluster,
        writer: Option<WriterId>,
    ) -> (RunAction, Vec<Later>) {
        self.budget.refresh(cluster, writer);
        let total = self.enabled.iter().map(|(_, weight)| weight).sum();
        let mut roll = self.random.below(total);
        for (kind, weight) in self.enabled.clone() {
            if roll < weight {
                return self.inject(kind, cluster, writer);
            }
            roll -= weight;
        }
        (RunAction::Nothing, Vec::new())
    }

    /// Takes over what the cluster has counted by itself.
    pub fn count_ambient(&mut self, cluster: &Cluster) {
        let (network, cuts) = (cluster.network.counts, cluster.counts.cuts);
        for (kind, count) in [
            (FaultKind::Drop, network.dropped),
            (FaultKind::Duplicate, network.duplicated),
            (FaultKind::Delay, network.delayed),
            (FaultKind::Reorder, network.reordered),
            (FaultKind::LostUnsynced, u64::from(cuts.lost)),
            (FaultKind::TornWrite, u64::from(cuts.torn)),
            (FaultKind::ReorderedWrite, u64::from(cuts.reordered)),
            (FaultKind::UndeletedFile, u64::from(cuts.undeleted)),
            (FaultKind::CrashAtEffect, cluster.counts.died_at_effect),
            (FaultKind::SlowRead, cluster.counts.slow_reads),
        ] {
            self.counts.add(kind, count);
        }
    }
}

/// How often a kind comes up beside others: those that end a life of the volume cost much time.
fn heaviness(kind: FaultKind) -> u64 {
    match kind {
        FaultKind::LostUnsynced
        | FaultKind::TornWrite
        | FaultKind::ReorderedWrite
        | FaultKind::UndeletedFile
        | FaultKind::Drop
        | FaultKind::Duplicate
        | FaultKind::Delay
        | FaultKind::Reorder
        | FaultKind::SlowRead => 0,
        FaultKind::NodeCrash
        | FaultKind::NodePowerCut
        | FaultKind::CrashAtEffect
        | FaultKind::Checkpoint => 3,
        _ => 2,
    }
}
