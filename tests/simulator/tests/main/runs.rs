//! Whole runs: the same seed runs the same way; some hundreds of seeds have no violation.

use redoubt_simulator::faults::FaultKind;
use redoubt_simulator::run::{Settings, run};

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn the_same_seed_runs_the_same_way() {
    for seed in 0..6 {
        let (one, other) = (
            run(seed, &Settings::default()),
            run(seed, &Settings::default()),
        );
        assert_eq!(one.digest, other.digest, "seed {seed}");
        assert_eq!(
            (one.steps, one.faults),
            (other.steps, other.faults),
            "seed {seed}"
        );
    }
    let digests = (0..6).map(|seed| run(seed, &Settings::default()).digest);
    let distinct: std::collections::BTreeSet<u64> = digests.collect();
    assert_eq!(distinct.len(), 6, "other seeds run another way");
}

/// The command runs thousands; here are as many as an unoptimized build does in seconds.
#[test]
fn no_law_is_broken_under_faults() {
    let first = number("REDOUBT_FIRST_SEED", 0);
    for seed in first..first + number("REDOUBT_RUNS", 100) {
        let outcome = run(seed, &Settings::default());
        assert_eq!(
            outcome.violation, None,
            "replay: redoubt-simulator --seed {seed} --trace"
        );
    }
}

#[test]
fn without_faults_everything_that_is_asked_is_done() {
    let settings = Settings {
        faults: Vec::new(),
        ..Settings::default()
    };
    for seed in 0..4 {
        let outcome = run(seed, &settings);
        assert_eq!(outcome.violation, None, "seed {seed}");
        assert_eq!(
            (outcome.opens, outcome.operations),
            (1, settings.operations)
        );
    }
}

/// Seeds that once broke a law, or the simulator; `docs/testing.md` tells of those that were found last.
#[test]
fn seeds_that_once_failed_do_not_fail_again() {
    for seed in [
        4, 7, 939, 1002, 1024, 2058, 2250, 2435, 3003, 3010, 3992, 4006, 4055, 5819, 6014, 8167,
        9885, 13091, 13263, 17037, 20135, 20469, 20494, 25948, 31248, 53165, 53292, 58991, 59912,
        61379, 61472, 79704, 120702, 130587, 134395, 197094, 356824, 403697, 479223, 600346,
        652732, 5002811, 5015232,
    ] {
        let outcome = run(seed, &Settings::default());
        assert_eq!(
            outcome.violation, None,
            "replay: redoubt-simulator --seed {seed} --trace"
        );
    }
}

#[test]
fn every_kind_of_fault_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<&str> =
        FaultKind::ALL.iter().map(|kind| kind.name()).collect();
    assert!(names.len() == FaultKind::ALL.len() && names.len() >= 25);
    assert!(names.iter().all(|name| FaultKind::of_name(name).is_some()));
}
