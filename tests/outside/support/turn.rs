//! Whether a test can run here, and when: those that measure time run alone.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

/// A test's time on the machine, while it is held.
pub(crate) enum Turn {
    /// Others may run.
    Shared(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'static, ()>),
    /// Nothing else of this binary runs.
    Alone(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'static, ()>),
}

/// A turn for a test that needs FUSE and these programs; `None` skips it.
pub(crate) fn fuse(programs: &[&str]) -> Option<Turn> {
    possible(false, programs).then(shared)
}

/// As [`fuse`], and root, for loop devices.
pub(crate) fn root(programs: &[&str]) -> Option<Turn> {
    possible(true, programs).then(shared)
}

/// As [`fuse`], and nothing else runs meanwhile.
pub(crate) fn fuse_alone(programs: &[&str]) -> Option<Turn> {
    possible(false, programs).then(alone)
}

/// As [`root`], and nothing else runs meanwhile.
pub(crate) fn root_alone(programs: &[&str]) -> Option<Turn> {
    possible(true, programs).then(alone)
}

fn shared() -> Turn {
    Turn::Shared(MACHINE.read().unwrap_or_else(PoisonError::into_inner))
}

fn alone() -> Turn {
    Turn::Alone(MACHINE.write().unwrap_or_else(PoisonError::into_inner))
}

fn possible(needs_root: bool, programs: &[&str]) -> bool {
    let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let missing = programs.iter().find(|program| !installed(program));
    let reason = match (fuse, missing) {
        (Err(error), _) => format!("/dev/fuse cannot be opened: {error}"),
        (_, Some(program)) => format!("{program} is not installed"),
        _ if needs_root && !nix::unistd::geteuid().is_root() => "it takes root".to_owned(),
        _ if needs_root && !Path::new("/dev/loop-control").exists() => {
            "there are no loop devices".to_owned()
        }
        _ => return true,
    };
    say_skipped(&reason);
    false
}

fn installed(program: &str) -> bool {
    let path = super::shell::search_path();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

/// Says it where it is seen: the test harness captures what `eprintln` prints, not this.
fn say_skipped(reason: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {reason}\n", thread.name().unwrap_or("a test"));
    let _ = write!(std::io::stderr(), "\nSKIPPED {line}");
    if let Some(list) = std::env::var_os("REDOUBT_SKIPPED") {
        let mut list = OpenOptions::new().append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}
