//! One seed from start to end: a volume, its users, its faults; then, with the faults over,
//! whether it heals.
//!
//! `lives` — writers that come and go; `ending` — the liveness phase.

mod ending;
mod lives;

use crate::clock::Clock;
use crate::cluster::{Cluster, Shape};
use crate::coverage::Coverage;
use crate::faults::{FaultCounts, FaultKind, Faults, Heal, Later, RunAction};
use crate::mix::Mix;
use crate::oracle::history::History;
use crate::random::Random;
use crate::workload::{Client, Stage};
use redoubt_volume::geometry::BLOCK_BYTES;
use redoubt_volume::time::Instant;
use redoubt_volume::writer::{CacheMode, RebuildRate};
use std::num::NonZeroU64;
use std::time::Duration;

/// What a run is made of, beside its seed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests of the disk's users.
    pub operations: u64,
    /// Kinds of faults that may be turned on.
    pub faults: Vec<FaultKind>,
    /// Whether the story is told.
    pub is_traced: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            operations: 1000,
            faults: FaultKind::ALL.to_vec(),
            is_traced: false,
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The law that was broken, if one was.
    pub violation: Option<String>,
    /// Events that happened.
    pub steps: u64,
    /// Requests that were made.
    pub operations: u64,
    /// Times that the volume was opened.
    pub opens: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Stands for everything that happened.
    pub digest: u64,
    /// Faults by kind.
    pub faults: FaultCounts,
    /// Situations that were reached.
    pub coverage: Coverage,
}

/// Something that the run has to do.
#[derive(Debug)]
enum Duty {
    Work,
    Strike,
    Heal(Heal),
    /// A writer is to be started.
    Open,
    /// The writer that was taken over is ended.
    EndSuperseded,
}

/// Faster than simulated disks are filled.
const FAST: NonZeroU64 = NonZeroU64::new(1 << 30).unwrap();

/// The largest disk of a run.
const MOST_BYTES: usize = 3 << 20;

/// A run.
pub struct Run {
    cluster: Cluster,
    clients: Vec<Client>,
    /// The client that knows what the disk may hold: the last that has read all of it.
    head: usize,
    faults: Faults,
    agenda: Clock<Duty>,
    mix: Mix,
    random: Random,
    operations_left: u64,
    operations: u64,
    opens: u64,
    /// A start of a writer is on the agenda.
    opening: bool,
    violation: Option<String>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// Runs a seed.
pub fn run(seed: u64, settings: &Settings) -> Outcome {
    let mut run = Run::new(seed, settings);
    run.go();
    run.finish(seed)
}

fn draw_shape(random: &mut Random) -> Shape {
    Shape {
        nodes_per_zone: if random.one_in(8) { 4 } else { 2 },
        // Groups of several leaves are filled leaf by leaf.
        group_mib: [1, 1, 2, 4][random.below(4) as usize],
        disk_bytes: random.between(5, 9) * (256 << 10),
        extent_bytes: 1 << 20,
        index_bytes: if random.one_in(4) { 6 * 8192 } else { 64 << 20 },
        ..Shape::default()
    }
}

impl Run {
    fn new(seed: u64, settings: &Settings) -> Run {
        let mut random = Random::new(seed);
        let shape = draw_shape(&mut random);
        let mut cluster = Cluster::create(shape, random.draw());
        cluster.is_traced = settings.is_traced;
        let mut faults = Faults::draw(&settings.faults, random.fork());
        cluster.network.weather = faults.weather();
        cluster.slow_reads = faults.slow_reads();
        if random.one_in(6) {
            cluster.policy.cache = CacheMode::Writethrough;
        }
        if random.one_in(2) {
            // All leaves at once, whatever the users do: in any order.
            cluster.policy.rebuild_rate = RebuildRate::BytesPerSecond(FAST);
        }
        let mut mix = Mix::draw(&mut random);
        if cluster.policy.cache == CacheMode::Writethrough {
            // Discards that wait may be admitted in any order, and look alike: when they are not
            // acknowledged at once nobody could tell what the order was.
            mix.discard = 0;
        }
        let mut run = Run {
            mix,
            clients: Vec::new(),
            head: 0,
            faults,
            agenda: Clock::default(),
            cluster,
            random,
            operations_left: settings.operations,
            operations: 0,
            opens: 0,
            opening: false,
            violation: None,
        };
        let names: Vec<&str> = run.faults.enabled().map(FaultKind::name).collect();
        let (shape, mix) = (run.cluster.shape, run.mix);
        run.cluster
            .tell(|| format!("seed {seed}: {shape:?}, {mix:?}, faults {names:?}"));
        run.start_client(History::new(MOST_BYTES), shape.disk_bytes);
        run.agenda.after(Duration::from_millis(1), Duty::Work);
        run.agenda.after(Duration::from_millis(20), Duty::Strike);
        run
    }

    fn now(&self) -> Instant {
        self.cluster.now()
    }

    fn has_failed(&self) -> bool {
        self.violation.is_some()
    }

    fn fail(&mut self, reason: String) {
        self.cluster.tell(|| format!("VIOLATION {reason}"));
        self.violation.get_or_insert(reason);
    }

    /// Both phases.
    fn go(&mut self) {
        while self.operations_left > 0 && !self.has_failed() {
            self.next();
        }
        self.end();
    }

    /// Lets the next thing happen: something that the run has to do, or something in the cluster.
    fn next(&mut self) {
        match self.agenda.next_at() {
            Some(at) if at <= self.cluster.next_at() => {
                if let Some(duty) = self.agenda.next_event() {
                    self.cluster.advance_to(at);
                    self.fulfil(duty);
                }
            }
            _ => self.cluster.step(),
        }
        self.look();
    }

    /// Hears every client, and judges what the nodes have said.
    fn look(&mut self) {
        for index in 0..self.clients.len() {
            if self.clients[index].stage == Stage::Gone {
                continue;
            }
            let was = self.clients[index].stage;
            match self.clients[index].listen(&mut self.cluster) {
                Ok(Some(news)) => self.on_news(index, news),
                Ok(None) => {}
                Err(reason) => self.fail(reason),
            }
            if self.clients[index].stage == Stage::Gone {
                self.on_gone(was);
            }
        }
        if std::mem::take(&mut self.cluster.holds_fold) {
            // What a node folds is most likely hot.
            let bytes = self.mix.hot_bytes(self.clients[self.head].disk_bytes);
            self.discard_now(0, bytes);
        }
        if let Some(block) = self.cluster.mended_late.take() {
            self.discard_now(block.0 * BLOCK_BYTES as u64, BLOCK_BYTES);
        }
        if let Some(reason) = self.cluster.laws.violation.take() {
            self.fail(reason);
        }
    }

    /// Discards what a node is about to write.
    fn discard_now(&mut self, offset: u64, bytes: usize) {
        let client = &mut self.clients[self.head];
        let is_there = offset + bytes as u64 <= client.disk_bytes;
        if self.mix.discard > 0 && client.stage == Stage::Working && is_there {
            client.discard(&mut self.cluster, offset, bytes);
        }
    }

    fn after(&mut self, delay: Duration, duty: Duty) {
        let at = self.now().plus(delay);
        self.agenda.advance_to(self.cluster.now());
        self.agenda.at(at, duty);
    }

    fn fulfil(&mut self, duty: Duty) {
        match duty {
            Duty::Work => self.work(),
            Duty::Strike => self.strike(),
            Duty::Heal(heal) => {
                self.cluster.tell(|| format!("heal {heal:?}"));
                let again = self.faults.heal(&mut self.cluster, heal);
                self.put_off(again);
            }
            Duty::Open => self.open_again(),
            Duty::EndSuperseded => self.end_superseded(),
        }
    }

    fn put_off(&mut self, later: impl IntoIterator<Item = Later>) {
        for Later { after, heal } in later {
            self.after(after, Duty::Heal(heal));
        }
    }

    /// One request of every client that works; now and then a pause.
    fn work(&mut self) {
        let burst = match self.random.below(8) {
            0..5 => 1,
            5 | 6 => self.random.between(1, 6),
            _ => self.random.between(4, 24),
        };
        self.burst(burst);
        let pause = match self.random.below(100) {
            0..50 => self.random.between(1, 300),
            50..94 => self.random.between(300, 12_000),
            94..98 => self.random.between(12_000, 120_000),
            _ => self.random.between(120_000, 900_000),
        };
        self.after(Duration::from_micros(pause), Duty::Work);
    }

    /// So many requests at once of every client that works.
    fn burst(&mut self, requests: u64) {
        for _ in 0..requests.min(self.operations_left) {
            for client in &mut self.clients {
                let works = client.stage == Stage::Working
                    || client.stage == Stage::Superseded && self.random.one_in(4);
                if works {
                    client.work(&mut self.cluster, &self.mix, &mut self.random);
                    self.operations += 1;
                }
            }
            // Also when nobody works: a volume that cannot be opened ends the run in time.
            self.operations_left -= 1;
        }
    }

    /// Something is under way when the power goes.
    fn make_busy(&mut self) {
        if !self.random.one_in(4) {
            let burst = self.random.between(1, 8);
            self.burst(burst);
            for _ in 0..self.random.below(120) {
                self.cluster.step();
            }
            self.look();
        }
    }

    fn strike(&mut self) {
        let writer = self.current().map(|index| self.clients[index].writer);
        let (action, later) = self.faults.strike(&mut self.cluster, writer);
        self.put_off(later);
        self.act(action);
        let millis = self.random.between(5, 400);
        self.after(Duration::from_millis(millis), Duty::Strike);
    }

    fn act(&mut self, action: RunAction) {
        let Some(index) = self.current() else { return };
        let writer = self.clients[index].writer;
        match action {
            RunAction::Nothing => {}
            RunAction::CrashWriter => {
                self.make_busy();
                self.cluster.crash_writer(writer);
            }
            RunAction::LightFuse(effects) => self.cluster.light_writers_fuse(writer, effects),
            RunAction::PauseWriter(pause) => self.cluster.pause_writer(writer, pause),
            RunAction::CutPower => {
                self.make_busy();
                self.cluster.crash();
            }
            RunAction::Takeover(pause) => self.take_over(writer, pause),
            RunAction::Resize if self.clients[index].stage != Stage::Working => {}
            RunAction::Resize => self.clients[index].resize(&mut self.cluster, &mut self.random),
            RunAction::Scrub if self.clients[index].stage != Stage::Working => {}
            RunAction::Scrub => self.clients[index].scrub(&mut self.cluster),
            RunAction::Close => self.close(writer),
        }
    }

    fn finish(mut self, seed: u64) -> Outcome {
        self.faults.count_ambient(&self.cluster);
        let mut digest = self.cluster.digest;
        digest.add(self.operations);
        digest.add(self.now().0);
        if let Some(head) = self.clients.get(self.head) {
            digest.add_state(head.history.current());
        }
        Outcome {
            seed,
            violation: self.violation,
            steps: self.cluster.counts.steps,
            operations: self.operations,
            opens: self.opens,
            simulated: Duration::from_nanos(self.cluster.now().0),
            digest: digest.value(),
            faults: self.faults.counts,
            coverage: self.cluster.coverage,
        }
    }
}
