//! `redoubt doctor`: what on this system would stop Redoubt, and what to do about it.

use crate::exit::Exit;
use crate::output::{Color, Output, table};
use crate::size::iec;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::statvfs::statvfs;
use serde::Serialize;
use std::fs::OpenOptions;
use std::path::Path;

/// Free space below which a volume soon stops its writers.
const LITTLE_SPACE_BYTES: u64 = 1 << 30;
/// Files that a process may open, below which large volumes run out of them.
const FEW_FILES: u64 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    found: String,
    action: Option<&'static str>,
}

#[derive(Serialize)]
struct Diagnosis {
    checks: Vec<Check>,
}

/// Looks at everything; exit code 1 if something would stop Redoubt.
pub(crate) fn run(output: Output) -> anyhow::Result<Exit> {
    let checks = vec![
        fuse_device(),
        fusermount(),
        allow_other(),
        free_space(),
        locked_memory(),
        open_files(),
        io_uring(),
        loop_devices(),
    ];
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    let diagnosis = Diagnosis { checks };
    output.json("doctor", &diagnosis)?;
    for line in lines(&diagnosis.checks, output) {
        output.line(line)?;
    }
    Ok(if failed { Exit::FAILURE } else { Exit::OK })
}

/// The table, its words of state painted afterwards so that colours do not count as width.
fn lines(checks: &[Check], output: Output) -> Vec<String> {
    let row = |check: &Check| {
        let action = check.action.unwrap_or_default();
        vec![
            word(check.verdict).to_owned(),
            check.check.to_owned(),
            check.found.clone(),
            action.to_owned(),
        ]
    };
    let text = table(
        &["", "CHECK", "FOUND", "WHAT TO DO"],
        checks.iter().map(row).collect(),
    );
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (line, check) in lines.iter_mut().skip(1).zip(checks) {
        let word = word(check.verdict);
        *line = line.replacen(word, &output.paint(word, color(check.verdict)), 1);
    }
    lines
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    }
}

fn color(verdict: Verdict) -> Color {
    match verdict {
        Verdict::Ok => Color::Green,
        Verdict::Warn => Color::Yellow,
        Verdict::Fail => Color::Red,
    }
}

impl Check {
    fn ok(check: &'static str, found: impl Into<String>) -> Check {
        Check {
            check,
            verdict: Verdict::Ok,
            found: found.into(),
            action: None,
        }
    }

    fn warn(check: &'static str, found: impl Into<String>, action: &'static str) -> Check {
        Check {
            verdict: Verdict::Warn,
            action: Some(action),
            ..Check::ok(check, found)
        }
    }

    fn fail(check: &'static str, found: impl Into<String>, action: &'static str) -> Check {
        Check {
            verdict: Verdict::Fail,
            ..Check::warn(check, found, action)
        }
    }
}

fn fuse_device() -> Check {
    const CHECK: &str = "/dev/fuse";
    match OpenOptions::new().read(true).write(true).open(CHECK) {
        Ok(_) => Check::ok(CHECK, "can be opened"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Check::fail(
            CHECK,
            "is not there",
            "load the module (modprobe fuse); give a container --device /dev/fuse",
        ),
        Err(error) => Check::fail(
            CHECK,
            error.to_string(),
            "give this user access to /dev/fuse",
        ),
    }
}

fn fusermount() -> Check {
    const CHECK: &str = "fusermount3";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(CHECK))
        .find(|program| program.is_file());
    match found {
        Some(program) => Check::ok(CHECK, program.display().to_string()),
        None if nix::unistd::geteuid().is_root() => Check::warn(
            CHECK,
            "is not there",
            "only users other than root need it: install fuse3",
        ),
        None => Check::fail(CHECK, "is not there", "install the package fuse3"),
    }
}

fn allow_other() -> Check {
    const CHECK: &str = "user_allow_other";
    let configured = std::fs::read_to_string("/etc/fuse.conf")
        .is_ok_and(|text| text.lines().any(|line| line.trim() == CHECK));
    if configured || nix::unistd::geteuid().is_root() {
        return Check::ok(CHECK, "mounts can be opened to other users");
    }
    Check::warn(
        CHECK,
        "not set: not even root can use this user's mounts",
        "for loop devices on a mount: add user_allow_other to /etc/fuse.conf, mount with -o allow_other",
    )
}

fn free_space() -> Check {
    const CHECK: &str = "free space here";
    match statvfs(Path::new(".")) {
        Ok(space) => {
            let bytes = space
                .blocks_available()
                .saturating_mul(space.fragment_size());
            if bytes < LITTLE_SPACE_BYTES {
                Check::warn(
                    CHECK,
                    iec(bytes),
                    "a volume takes six times what it holds: make room",
                )
            } else {
                Check::ok(CHECK, iec(bytes))
            }
        }
        Err(error) => Check::warn(
            CHECK,
            error.to_string(),
            "see whether this directory exists",
        ),
    }
}

/// Tries what a mount does: it lifts the limit where it may.
fn locked_memory() -> Check {
    const CHECK: &str = "RLIMIT_MEMLOCK";
    let lifted = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok();
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        _ if lifted => Check::ok(CHECK, "unlimited for a mount"),
        Ok((soft, _)) => Check::warn(
            CHECK,
            iec(soft),
            "a swap file on a disk of Redoubt may stall: raise it (ulimit -l unlimited)",
        ),
        Err(error) => Check::warn(CHECK, error.to_string(), "see ulimit -l"),
    }
}

fn open_files() -> Check {
    const CHECK: &str = "RLIMIT_NOFILE";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard < FEW_FILES => Check::warn(
            CHECK,
            hard.to_string(),
            "volumes of many nodes need more: raise it (ulimit -n)",
        ),
        Ok((soft, hard)) => Check::ok(CHECK, format!("{soft}, at most {hard}")),
        Err(error) => Check::warn(CHECK, error.to_string(), "see ulimit -n"),
    }
}

fn io_uring() -> Check {
    const CHECK: &str = "io_uring";
    match io_uring::IoUring::new(2) {
        Ok(_) => Check::ok(CHECK, "available"),
        Err(error) => Check::fail(
            CHECK,
            error.to_string(),
            "allow it: sysctl kernel.io_uring_disabled=0, or the container's seccomp profile",
        ),
    }
}

fn loop_devices() -> Check {
    const CHECK: &str = "loop devices";
    const DEVICE: &str = "/dev/loop-control";
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => Check::ok(CHECK, "available"),
        Err(error) => Check::warn(
            CHECK,
            format!("{DEVICE}: {error}"),
            "file systems on the disk need them, and root: modprobe loop",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_tells_what_to_do_unless_all_is_well() {
        let checks = [
            fuse_device(),
            fusermount(),
            allow_other(),
            free_space(),
            locked_memory(),
            open_files(),
            io_uring(),
            loop_devices(),
        ];
        for check in checks {
            assert_eq!(
                check.verdict == Verdict::Ok,
                check.action.is_none(),
                "{check:?}"
            );
            assert!(!check.found.is_empty());
        }
    }
}
