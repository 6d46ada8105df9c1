//! The place to mount on, checked before anything is done to it.

use crate::error::{MountError, UnmountError};
use crate::fuse_device;
use crate::inodes::Shape;
use crate::mount_table::{MountEntry, mounted_at};
use log::warn;
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use std::io;
use std::path::{Path, PathBuf};

/// Checks that a disk can be mounted on a path, before anything is done for it. Clears the path of
/// dead mounts of our own: after a crash it answers ENOTCONN until somebody unmounts it.
///
/// # Errors
/// What is in the way.
pub fn check(path: &Path) -> Result<(), MountError> {
    MountPoint::prepare(path).map(drop)
}

/// The place that a path names, as the mount table has it: absolute, without symbolic links. A dead
/// mount may keep the last part from being resolved; then that part is taken as it is, like one
/// that does not exist.
///
/// # Errors
/// The directory that holds the place cannot be resolved.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if is_disconnected(&error) || error.kind() == io::ErrorKind::NotFound => {
            let absolute = std::path::absolute(path)?;
            match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
                _ => Err(error),
            }
        }
        resolved => resolved,
    }
}

/// Whether the process behind the FUSE mount on a path has ended. Asks for statistics, because
/// attributes are answered from the kernel's cache for a while.
pub fn is_dead(path: &Path) -> bool {
    // A question that was under way when the process ended is answered ECONNABORTED.
    matches!(statvfs(path), Err(Errno::ENOTCONN | Errno::ECONNABORTED))
}

/// Takes the dead mount on a path out of the tree.
///
/// # Errors
/// The system refused.
pub fn remove_dead(path: &Path) -> Result<(), UnmountError> {
    fuse_device::detach(path).map_err(|source| UnmountError::Refused {
        path: path.to_owned(),
        source,
    })
}

/// A path that a disk can be mounted on.
#[derive(Clone, Debug)]
pub(crate) struct MountPoint {
    /// Absolute, without symbolic links: as the mount table will have it.
    pub(crate) path: PathBuf,
    /// What the mount will be.
    pub(crate) shape: Shape,
}

impl MountPoint {
    /// [`check`]s a path, and says what a mount on it will be.
    ///
    /// # Errors
    /// What is in the way.
    pub(crate) fn prepare(path: &Path) -> Result<MountPoint, MountError> {
        let path = resolve(path).map_err(|source| unusable(path, source))?;
        clear_dead_mounts(&path)?;
        let shape = shape(&path)?;
        Ok(MountPoint { path, shape })
    }
}

fn clear_dead_mounts(path: &Path) -> Result<(), MountError> {
    while let Some(entry) = mounted_at(path).map_err(|source| unusable(path, source))? {
        if !entry.is_ours() || !is_dead(path) {
            return Err(busy(path, entry));
        }
        warn!(
            "{} is a mount of {} whose process has ended; unmounting it first",
            path.display(),
            entry.source
        );
        fuse_device::detach(path).map_err(|source| unusable(path, source))?;
    }
    Ok(())
}

fn shape(path: &Path) -> Result<Shape, MountError> {
    let metadata = path.metadata().map_err(|source| unusable(path, source))?;
    if metadata.is_file() {
        return Ok(Shape::File);
    }
    if !metadata.is_dir() {
        return Err(MountError::WrongKind(path.to_owned()));
    }
    let mut entries = std::fs::read_dir(path).map_err(|source| unusable(path, source))?;
    match entries.next() {
        None => Ok(Shape::Directory),
        Some(_) => Err(MountError::NotEmpty(path.to_owned())),
    }
}

fn is_disconnected(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOTCONN)
}

fn busy(path: &Path, entry: MountEntry) -> MountError {
    MountError::Busy {
        path: path.to_owned(),
        source_name: entry.source,
        file_system_type: entry.file_system_type,
    }
}

fn unusable(path: &Path, source: io::Error) -> MountError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => MountError::Missing(path),
        _ => MountError::Unusable { path, source },
    }
}
