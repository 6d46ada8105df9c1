//! The lock of a node's directory: one process has a volume open, and others learn which.

use crate::error::VolumeError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Name of the lock's file in a node directory.
pub(super) const LOCK_NAME: &str = "lock";
/// How long a lock may outlive the process that held it: the kernel ends its last I/O first.
const DYING_HOLDER: Duration = Duration::from_secs(3);
/// Flag of a process that is ending (PF_EXITING).
const EXITING: u64 = 4;
/// SIGKILL among the pending signals.
const KILL_PENDING: u64 = 1 << (libc::SIGKILL - 1);
/// Pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// An exclusive lock on a node's directory, given up when dropped. The file holds the process id.
#[derive(Debug)]
pub struct NodeLock {
    file: File,
}

impl Drop for NodeLock {
    /// Unlocks rather than only closes: a process that is being started shares the open file for
    /// a moment, and would keep the lock as long.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            log::warn!("cannot unlock a node: {error}");
        }
    }
}

impl NodeLock {
    /// Locks the node directory at `path`. A holder that is dead already is waited for, up to
    /// three seconds; one that lives (or is stopped) is not.
    ///
    /// # Errors
    /// [`VolumeError::Locked`] names the process that has it.
    pub fn acquire(path: &Path) -> Result<NodeLock, VolumeError> {
        let path = path.join(LOCK_NAME);
        let failed = |error| VolumeError::io(format!("cannot lock {}", path.display()), error);
        let deadline = Instant::now() + DYING_HOLDER;
        let mut suspect = None;
        loop {
            if let Some(file) = try_lock(&path).map_err(failed)? {
                write_pid(&file).map_err(failed)?;
                return Ok(NodeLock { file });
            }
            let holder = read_pid(&path);
            let living = holder.filter(|pid| is_alive(*pid));
            // Looked at twice: it may have been killed a moment ago, or the lock just taken over.
            if Instant::now() >= deadline || (living.is_some() && living == suspect) {
                return Err(VolumeError::Locked {
                    pid: holder.unwrap_or(0),
                });
            }
            suspect = living;
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}

/// Locks every one of these directories, or none.
///
/// # Errors
/// As [`NodeLock::acquire`]; also when two of the paths are one directory.
pub fn lock_all(paths: &[PathBuf]) -> Result<Vec<NodeLock>, VolumeError> {
    paths.iter().map(|path| NodeLock::acquire(path)).collect()
}

/// The locked file; `None` while somebody else has it.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Somebody may have deleted the file between the opening and the locking of it.
    let (ours, named) = (file.metadata()?, std::fs::symlink_metadata(path));
    let same = named.is_ok_and(|named| named.ino() == ours.ino() && named.dev() == ours.dev());
    Ok(same.then_some(file))
}

fn write_pid(mut file: &File) -> io::Result<()> {
    let text = format!("{}\n", std::process::id());
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

fn read_pid(path: &Path) -> Option<u32> {
    let mut text = String::new();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// Whether a process lives, be it stopped. One that was killed and is still ending does not, and
/// a zombie only waits to be counted.
fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The fields follow the command's name, which is in parentheses and may contain any. See
    // proc_pid_stat(5): 3 is the state, 9 the flags, 31 the pending signals.
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .map_or("", |(_, rest)| rest)
        .split(' ')
        .collect();
    let has_bit = |field: usize, bit: u64| {
        let number = fields
            .get(field - 3)
            .and_then(|text| text.parse::<u64>().ok());
        number.is_some_and(|number| number & bit != 0)
    };
    !matches!(fields[0], "Z" | "X") && !has_bit(9, EXITING) && !has_bit(31, KILL_PENDING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_second_opener_learns_the_pid() {
        let temp = tempfile::tempdir().unwrap();
        let lock = NodeLock::acquire(temp.path()).unwrap();
        let paths = [temp.path().to_path_buf()];
        match lock_all(&paths) {
            Err(VolumeError::Locked { pid }) => assert_eq!(pid, std::process::id()),
            other => panic!("{other:?}"),
        }
        drop(lock);
        lock_all(&paths).unwrap();
    }

    #[test]
    fn one_directory_named_twice_is_refused_and_given_up() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().to_path_buf();
        assert!(lock_all(&[path.clone(), path.clone()]).is_err());
        NodeLock::acquire(&path).unwrap();
    }

    /// A process that holds the lock and says its own id in the file, as a volume does.
    fn child(path: &Path, command: &str) -> std::process::Child {
        let script = format!("exec 9<>lock; flock 9; echo $$ >lock; echo held; {command}");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .current_dir(path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut held = [0; 5];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut held)
            .unwrap();
        child
    }

    #[test]
    fn a_stopped_process_keeps_its_lock_and_a_killed_one_does_not() {
        let temp = tempfile::tempdir().unwrap();
        let mut child = child(temp.path(), "kill -STOP $$");
        let before = Instant::now();
        match NodeLock::acquire(temp.path()) {
            Err(VolumeError::Locked { pid }) => assert_eq!(pid, child.id()),
            other => panic!("{other:?}"),
        }
        assert!(before.elapsed() < Duration::from_secs(1));
        child.kill().unwrap();
        NodeLock::acquire(temp.path()).unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_dying_holder_is_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        // The lock's file stays open in a grandchild for a while after its holder has ended.
        let mut child = child(temp.path(), "sleep 0.3 & exit 0");
        child.wait().unwrap();
        NodeLock::acquire(temp.path()).unwrap();
    }
}
