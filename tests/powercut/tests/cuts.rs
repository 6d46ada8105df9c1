//! Power cuts of a recorded run, and the negative control. Skipped where there is no FUSE.

#![allow(
    clippy::unwrap_used,
    reason = "a test binary: what it needs is there, or the test fails"
)]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// States that every change is tested with.
const STATES: &str = "500";
/// Within this a volume without syncs must lose something.
const CONTROL_TIME: Duration = Duration::from_secs(60);

fn has_fuse() -> bool {
    let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let Err(error) = fuse else {
        return true;
    };
    let line = format!("power cuts: /dev/fuse cannot be opened: {error}\n");
    // Past the harness, which captures what `eprintln` prints.
    let _ = write!(std::io::stderr(), "\nSKIPPED {line}");
    if let Some(list) = std::env::var_os("REDOUBT_SKIPPED") {
        let mut list = OpenOptions::new().append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
    false
}

fn powercut(option: &str, directory: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redoubt-powercut"));
    command.args(["--states", STATES, option]).arg(directory);
    command.args(more).output().unwrap()
}

fn text(output: &Output) -> String {
    let standard = String::from_utf8_lossy(&output.stdout);
    format!("{standard}{}", String::from_utf8_lossy(&output.stderr))
}

/// A test that cannot fail proves nothing: the same recording must lose data where syncs do nothing.
#[test]
fn a_power_cut_loses_nothing_and_without_syncs_it_does() {
    if !has_fuse() {
        return;
    }
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = powercut("--directory", home.path(), &["--keep"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("losses: 0"), "{}", text(&output));
    assert!(text(&output).contains("failed syncs"), "{}", text(&output));

    let mut recordings = std::fs::read_dir(home.path()).unwrap();
    let recording = recordings.next().unwrap().unwrap().path();
    for ignored in ["all", "files", "flushes", "names"] {
        let started = Instant::now();
        let output = powercut("--recording", &recording, &["--ignore-syncs", ignored]);
        let said = text(&output);
        // Where the device has no flush that can be shared, none was recorded.
        if ignored == "flushes" && !said.contains("shared flushes") {
            continue;
        }
        assert!(!output.status.success(), "{ignored}: {said}");
        assert!(said.contains("LOSS in state"), "{ignored}: {said}");
        assert!(started.elapsed() < CONTROL_TIME, "{ignored}: {said}");
    }
}
