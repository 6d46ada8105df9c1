//! The simulator's command: many seeds, or the story of one.

use clap::Parser;
use redoubt_simulator::faults::FaultKind;
use redoubt_simulator::report::Report;
use redoubt_simulator::run::{Outcome, Settings, run};
use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Pages come and go by the thousand: the system's allocator gives them back to the kernel.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs a whole volume under simulated faults, one run a seed, and judges it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads; as many as there are processors unless said otherwise.
    #[arg(long)]
    jobs: Option<usize>,
    /// Kinds of faults that may happen: names, 'all' or 'none'.
    #[arg(long, default_value = "all", value_parser = parse_faults)]
    faults: Arc<[FaultKind]>,
    /// Requests of a run.
    #[arg(long, default_value_t = 1000)]
    operations: u64,
    /// Run this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Tell the story of the run.
    #[arg(long)]
    trace: bool,
    /// Name the bugs that can be planted, by the variable REDOUBT_PLANTED_BUG.
    #[cfg(feature = "planted-bugs")]
    #[arg(long)]
    bugs: bool,
}

fn parse_faults(text: &str) -> Result<Arc<[FaultKind]>, String> {
    match text {
        "all" => Ok(FaultKind::ALL.into()),
        "none" => Ok([].into()),
        names => names
            .split(',')
            .map(|name| {
                FaultKind::of_name(name).ok_or_else(|| {
                    let known: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
                    format!("there is no fault '{name}'; there are {}", known.join(", "))
                })
            })
            .collect(),
    }
}

/// Starts the command again with an allocator that keeps what it was given: a run takes and gives
/// back megabytes, and every page that comes from the kernel anew is cleared there first.
fn keep_memory() {
    const SWITCH: &str = "MIMALLOC_PURGE_DELAY";
    if std::env::var_os(SWITCH).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        let mut command = std::process::Command::new(program);
        command.args(std::env::args_os().skip(1)).env(SWITCH, "-1");
        // It returns only when it fails; then everything goes on, more slowly.
        let error = command.exec();
        eprintln!("memory is given back to the kernel after each run: {error}");
    }
}

fn main() -> ExitCode {
    keep_memory();
    let arguments = Arc::new(Arguments::parse());
    #[cfg(feature = "planted-bugs")]
    if arguments.bugs {
        let bugs = redoubt_volume::planted::Bug::OF_SIMULATOR.iter();
        bugs.for_each(|bug| println!("{}: {}", bug.name(), bug.text()));
        return ExitCode::SUCCESS;
    }
    let settings = Settings {
        operations: arguments.operations,
        faults: arguments.faults.to_vec(),
        is_traced: arguments.trace,
    };
    let (from, seeds) = match arguments.seed {
        Some(seed) => (seed, 1),
        None => (arguments.from, arguments.seeds),
    };
    tell_seeds_of_panics(Arc::clone(&arguments));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(processors).max(1);
    let (report, violation) = run_all(from, seeds, jobs, &settings);
    print!("{report}");
    match violation {
        None => {
            println!("no violation in seeds {from}..{}", from + seeds);
            ExitCode::SUCCESS
        }
        Some(outcome) => {
            let reason = outcome.violation.unwrap_or_default();
            println!("VIOLATION at seed {}: {reason}", outcome.seed);
            println!("replay: {}", replay_command(outcome.seed, &arguments));
            ExitCode::FAILURE
        }
    }
}

fn replay_command(seed: u64, arguments: &Arguments) -> String {
    let mut command = format!("redoubt-simulator --seed {seed} --trace");
    if arguments.operations != 1000 {
        command += &format!(" --operations {}", arguments.operations);
    }
    if arguments.faults.len() != FaultKind::ALL.len() {
        let names: Vec<&str> = arguments.faults.iter().map(|kind| kind.name()).collect();
        let names = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(",")
        };
        command += &format!(" --faults {names}");
    }
    command
}

/// Runs seeds on some threads; stops at the first violation, the one of the lowest seed.
fn run_all(from: u64, seeds: u64, jobs: usize, settings: &Settings) -> (Report, Option<Outcome>) {
    let started = Instant::now();
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let sum = Mutex::new((Report::default(), None::<Outcome>));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let outcome = run_checked(seed, settings);
                    let mut sum = sum
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    sum.0.add(&outcome);
                    if outcome.violation.is_some() {
                        stop.store(true, Ordering::Relaxed);
                        if sum.1.as_ref().is_none_or(|first| seed < first.seed) {
                            sum.1 = Some(outcome);
                        }
                    }
                }
            });
        }
    });
    let (mut report, violation) = sum
        .into_inner()
        .unwrap_or_else(|poison| poison.into_inner());
    report.elapsed = started.elapsed();
    (report, violation)
}

thread_local! {
    /// The seed that a thread is running.
    static SEED: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// Has a panic end the process like any other violation: it says in which seed it was.
fn tell_seeds_of_panics(arguments: Arc<Arguments>) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        if let Some(seed) = SEED.get() {
            println!("VIOLATION at seed {seed}: a panic");
            println!("replay: {}", replay_command(seed, &arguments));
            std::process::exit(1);
        }
    }));
}

/// Runs a seed; every hundredth twice: the same must happen.
fn run_checked(seed: u64, settings: &Settings) -> Outcome {
    SEED.set(Some(seed));
    let mut outcome = run(seed, settings);
    if seed.is_multiple_of(100) && !settings.is_traced {
        let again = run(seed, settings);
        if again.digest != outcome.digest {
            let reason = "the same seed ran another way: something is not deterministic";
            outcome.violation.get_or_insert(reason.to_owned());
        }
    }
    outcome
}
