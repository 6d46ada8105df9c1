//! `redoubt umount`: has everything flushed and unmounted, and waits for the process to end.

use crate::cli::Umount;
use crate::control::{Reply, Request, client};
use crate::exit::{Exit, Refusal};
use crate::output::Output;
use redoubt_mount::{mount_point, mount_table};
use redoubt_volume::error::VolumeError;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the process may take to end after it has flushed and unmounted: it frees its memory.
const LAST_BREATH: Duration = Duration::from_secs(30);
/// Pause between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Serialize)]
struct Unmounted {
    path: String,
}

/// Unmounts a volume, named by itself or by its mount point.
pub(crate) fn run(umount: &Umount, output: Output) -> anyhow::Result<Exit> {
    let (volume, place) = find(&umount.target)?;
    match (client::request(&volume, Request::Unmount)?, place) {
        (Some(Reply::Unmount { pid }), _) => {
            wait_for_end(pid)?;
            output.line(format!("redoubt: {} is unmounted", umount.target.display()))?;
        }
        (Some(_), _) => anyhow::bail!("the process that serves the volume gave another answer"),
        (None, Some(place)) if !mount_point::is_dead(&place) => anyhow::bail!(
            "{} is served by a process without a control socket; use 'umount {}'",
            volume.display(),
            place.display()
        ),
        (None, Some(place)) => {
            mount_point::remove_dead(&place)?;
            output.line(format!(
                "redoubt: the process that served {} had ended already; its mount is removed",
                umount.target.display()
            ))?;
        }
        (None, None) => return Err(not_mounted(&umount.target)),
    }
    let path = volume.display().to_string();
    output.json("umount", &Unmounted { path })?;
    Ok(Exit::OK)
}

/// The volume, and its mount point when that is what was named.
fn find(target: &Path) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    let place = mount_point::resolve(target).map_err(|_| not_mounted(target))?;
    if let Some(volume) = mount_table::volume_mounted_at(&place)? {
        return Ok((volume, Some(place)));
    }
    match super::existing_volume(target) {
        Ok(volume) => Ok((volume, None)),
        Err(VolumeError::NotAVolume(_)) => Err(not_mounted(target)),
        Err(error) => Err(error.into()),
    }
}

fn not_mounted(target: &Path) -> anyhow::Error {
    let message = format!(
        "{} is not mounted: it is neither the mount point of a volume nor a volume that is in use; 'redoubt status VOLUME' says where one is mounted",
        target.display()
    );
    Refusal::error(Exit::NO_VOLUME, message)
}

/// Waits until the process has let go of all its files, and so of the volume's locks.
fn wait_for_end(pid: u32) -> anyhow::Result<()> {
    let deadline = Instant::now() + LAST_BREATH;
    while is_running(pid) {
        anyhow::ensure!(
            Instant::now() < deadline,
            "process {pid} has unmounted but does not end; end it with 'kill {pid}'"
        );
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Whether a process still has threads; one that only waits to be reaped has none.
fn is_running(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    tasks.flatten().any(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may hold any character.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        state.is_some_and(|state| state != 'Z' && state != 'X')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_runs_until_it_ends_reaped_or_not() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(is_running(child.id()));
        child.kill().unwrap();
        wait_for_end(child.id()).unwrap();
        child.wait().unwrap();
        wait_for_end(child.id()).unwrap();
    }

    #[test]
    fn what_is_no_volume_is_not_mounted() {
        let folder = tempfile::tempdir().unwrap();
        for target in [folder.path(), &folder.path().join("missing")] {
            let error = find(target).unwrap_err();
            assert_eq!(crate::exit::code_of(&error), Exit::NO_VOLUME);
        }
    }
}
