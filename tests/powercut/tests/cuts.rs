//! Power cuts of a recorded run, and the negative control. Skipped where there is no FUSE.

#![allow(
    clippy::unwrap_used,
    reason = "a test binary: what it needs is there, or the test fails"
)]

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// States that every change is tested with.
const STATES: &str = "500";

fn powercut(arguments: &[&str]) -> Option<Output> {
    let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    if let Err(error) = fuse {
        let line = format!("power cuts: /dev/fuse cannot be opened: {error}\n");
        // Past the harness, which captures what `eprintln` prints.
        let _ = write!(std::io::stderr(), "\nSKIPPED {line}");
        if let Some(list) = std::env::var_os("REDOUBT_SKIPPED") {
            let mut list = OpenOptions::new().append(true).open(list).unwrap();
            list.write_all(line.as_bytes()).unwrap();
        }
        return None;
    }
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_redoubt-powercut"));
    command.args(arguments).arg("--directory").arg(home.path());
    Some(command.output().unwrap())
}

fn text(output: &Output) -> String {
    let standard = String::from_utf8_lossy(&output.stdout);
    format!("{standard}{}", String::from_utf8_lossy(&output.stderr))
}

#[test]
fn no_power_cut_loses_anything() {
    let Some(output) = powercut(&["--states", STATES]) else {
        return;
    };
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("losses: 0"), "{}", text(&output));
}

/// A test that cannot fail proves nothing: a volume whose syncs do nothing must lose data.
#[test]
fn without_syncs_the_loss_is_found_within_a_minute() {
    let started = Instant::now();
    let Some(output) = powercut(&["--states", "5000", "--ignore-syncs"]) else {
        return;
    };
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("LOSS in state"), "{said}");
    // The recording takes some seconds, building the command for it as long as it takes.
    if let Some(line) = said.lines().find(|line| line.contains("states/s")) {
        let seconds = line
            .split(" in ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let seconds: f64 = seconds.unwrap().parse().unwrap();
        assert!(seconds < 60.0, "{said}");
    }
    assert!(started.elapsed() < Duration::from_secs(1200), "{said}");
}
