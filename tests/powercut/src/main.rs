//! `redoubt-powercut`: opens a volume on the states that a power cut could have left.
//!
//! `recording` makes one run of the real command through the real mount, `user` is the process that
//! uses its disk and keeps the `ledger`, `sync_faults` has syncs fail meanwhile. `event` reads what was recorded, `playback` plays it onto
//! six disks (`node_disk`, `files`), `replay` cuts them, `machine` opens what is left, `history`
//! judges it. `ending` cleans up after a run that ends early.

mod ending;
mod event;
mod files;
mod history;

mod ledger;
mod machine;
mod node_disk;
mod playback;
mod random;
mod recording;
mod replay;
mod sync_faults;
mod user;
mod workload;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use node_disk::Ignored;
use recording::Recording;
use replay::{Loss, Plan, Replay, Tally};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use user::UserArguments;
use workload::Workload;

/// Recordings after which it is told how it goes.
const RECORDINGS_PER_REPORT: u64 = 10;
/// Losses that are told in full.
const LOSSES_SHOWN: usize = 10;

/// Opens a volume on the states that a power cut could have left of its files.
///
/// A run of the command through its mount is recorded: every write and sync. Then each node's power
/// is cut at a moment of its own; what was not synced is kept, lost or torn. The volume must open
/// on what is left and hold a prefix of what was done to it, with everything that an fsync promised.
#[derive(Debug, Parser)]
#[command(name = "redoubt-powercut", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Hidden>,
    /// States to build [default: 1000, unless --hours].
    #[arg(long)]
    states: Option<u64>,
    /// End with the recording that is replayed after so many hours.
    #[arg(long)]
    hours: Option<f64>,
    /// States that are built of one recording before the next is made.
    #[arg(long, value_name = "STATES", default_value_t = 5000)]
    per_recording: u64,
    /// End at the first loss, instead of telling all of a recording.
    #[arg(long)]
    first_loss: bool,
    /// Seed of recordings and states.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Negative control: all syncs do nothing, or those of one kind. Must end with a loss.
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "all")]
    ignore_syncs: Option<Ignored>,
    /// The command, built with its feature 'recorder' [default: it is built].
    #[arg(long, value_name = "FILE")]
    redoubt: Option<PathBuf>,
    /// Use a recording that is there, instead of making some.
    #[arg(long, value_name = "DIRECTORY")]
    recording: Option<PathBuf>,
    /// Keep the recordings; those that show a loss are kept anyway.
    #[arg(long)]
    keep: bool,
    /// Build this state only.
    #[arg(long, requires = "recording")]
    state: Option<u64>,
    /// Where recordings are made, on a real disk [default: powercut in the build directory].
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Name the bugs that can be planted, by the variable REDOUBT_PLANTED_BUG.
    #[cfg(feature = "planted-bugs")]
    #[arg(long)]
    bugs: bool,
}

#[derive(Debug, Subcommand)]
enum Hidden {
    /// Use the disk of a recording.
    #[command(hide = true)]
    Use(UserArguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    #[cfg(feature = "planted-bugs")]
    if cli.bugs {
        let bugs = redoubt_volume::planted::Bug::OF_POWER_CUTS.iter();
        bugs.for_each(|bug| println!("{}: {}", bug.name(), bug.text()));
        return ExitCode::SUCCESS;
    }
    let result = match &cli.command {
        Some(Hidden::Use(arguments)) => user::use_disk(arguments).map(|()| true),
        None => run(&cli),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("redoubt-powercut: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    ending::hide_mounts()?;
    ending::listen()?;
    if let Some(directory) = &cli.recording {
        let states = match cli.state {
            Some(state) => state..state + 1,
            None => 0..cli.states(),
        };
        let (tally, time) = replay(cli, &Recording(directory.clone()), cli.seed, states)?;
        return Ok(report(cli, &tally, time));
    }
    let home = match &cli.directory {
        Some(directory) => directory.clone(),
        None => target_directory().join("powercut"),
    };
    let redoubt = match &cli.redoubt {
        Some(redoubt) => redoubt.canonicalize().context("the command")?,
        None => build()?,
    };
    let started = Instant::now();
    let (mut total, mut time) = (Tally::default(), Duration::ZERO);
    let mut seed = cli.seed;
    while !cli.is_done(&total, started.elapsed()) {
        let recordings = seed - cli.seed;
        if recordings > 0 && recordings.is_multiple_of(RECORDINGS_PER_REPORT) {
            report(cli, &total, time);
        }
        let states = cli.per_recording.max(1).min(cli.states() - total.states);
        let directory = home.join(format!("seed-{seed}-{}", std::process::id()));
        let (tally, took) = record_and_replay(cli, &redoubt, seed, states, directory)?;
        total.add(tally);
        time += took;
        seed += 1;
    }
    let good = report(cli, &total, time);
    ending::check()?;
    Ok(good)
}

/// Makes a recording and builds states of it.
fn record_and_replay(
    cli: &Cli,
    redoubt: &Path,
    seed: u64,
    states: u64,
    directory: PathBuf,
) -> Result<(Tally, Duration)> {
    let recording = Recording(directory.clone());
    let made = recording.make(redoubt, seed);
    if ending::is_interrupted() {
        std::fs::remove_dir_all(&directory)?;
    }
    made.with_context(|| format!("the recording in {}", directory.display()))?;
    ending::check()?;
    let (tally, took) = replay(cli, &recording, seed, 0..states)?;
    tell(&tally.losses, seed, &directory, cli.ignore_syncs.is_some());
    let shows_loss = !tally.losses.is_empty() && cli.ignore_syncs.is_none();
    if !shows_loss && !cli.keep {
        std::fs::remove_dir_all(&directory)?;
    }
    Ok((tally, took))
}

impl Cli {
    fn states(&self) -> u64 {
        let default = if self.hours.is_some() { u64::MAX } else { 1000 };
        self.states.unwrap_or(default)
    }

    fn is_done(&self, total: &Tally, time: Duration) -> bool {
        let seconds = self.hours.map_or(f64::INFINITY, |hours| hours * 3600.0);
        total.states >= self.states()
            || time.as_secs_f64() >= seconds
            || !total.losses.is_empty()
            || ending::is_interrupted()
    }
}

fn replay(
    cli: &Cli,
    recording: &Recording,
    seed: u64,
    states: std::ops::Range<u64>,
) -> Result<(Tally, Duration)> {
    let replay = Replay::read(recording)?;
    println!(
        "seed {seed}, {}, {} sessions: {}",
        Workload::of(seed).name(),
        recording.sessions(),
        replay.summary()
    );
    let plan = Plan {
        seed,
        jobs: cli.jobs,
        ignored: cli.ignore_syncs.unwrap_or_default(),
        ends_at_loss: cli.first_loss || cli.ignore_syncs.is_some(),
    };
    let started = Instant::now();
    let tally = replay.run(&plan, states);
    if cli.recording.is_some() {
        tell(
            &tally.losses,
            seed,
            &recording.0,
            cli.ignore_syncs.is_some(),
        );
    }
    Ok((tally, started.elapsed()))
}

fn tell(losses: &[Loss], seed: u64, directory: &Path, ignore_syncs: bool) {
    for loss in losses.iter().take(LOSSES_SHOWN) {
        println!("LOSS in state {}: {}", loss.state, loss.why);
        if !ignore_syncs {
            println!(
                "  again: redoubt-powercut --recording {} --seed {seed} --state {}",
                directory.display(),
                loss.state
            );
        }
    }
}

/// Says what came of it; whether that is good.
fn report(cli: &Cli, tally: &Tally, time: Duration) -> bool {
    let rate = tally.states as f64 / time.as_secs_f64().max(1e-9);
    println!(
        "{} states in {:.1} s, {rate:.0} states/s ({} cut again while they were opened, {} opened \
         twice), losses: {}",
        tally.states,
        time.as_secs_f64(),
        tally.cut_again,
        tally.opened_again,
        tally.losses.len()
    );
    if cli.ignore_syncs.is_some() {
        println!("syncs were ignored: a loss was to be found");
    }
    tally.losses.is_empty()
}

/// The build directory.
fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => std::path::absolute(directory).expect("a build directory"),
        None => workspace().join("target"),
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds the command with its recorder, in a directory of its own: the one that everybody uses
/// has none.
fn build() -> Result<PathBuf> {
    let target = target_directory().join("recorder");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace());
    cargo.args(["build", "--quiet", "--locked", "--package", "redoubt"]);
    cargo
        .args(["--features", "recorder", "--target-dir"])
        .arg(&target);
    let status = cargo.status().context("cargo cannot be started")?;
    ensure!(status.success(), "the command cannot be built");
    Ok(target.join("debug/redoubt"))
}
