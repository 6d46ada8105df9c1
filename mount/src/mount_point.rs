//! The place to mount on, checked before anything is done to it.

use crate::error::MountError;
use crate::fuse_device;
use crate::inodes::Shape;
use crate::mount_table::{MountEntry, mounted_at};
use libc::ENOTCONN;
use log::warn;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

/// A path that a disk can be mounted on.
#[derive(Clone, Debug)]
pub(crate) struct MountPoint {
    /// Absolute, without symbolic links: as the mount table will have it.
    pub(crate) path: PathBuf,
    /// What the mount will be.
    pub(crate) shape: Shape,
}

impl MountPoint {
    /// Checks a path, and clears it of dead mounts of our own: after a crash the path answers
    /// ENOTCONN until somebody unmounts it.
    ///
    /// # Errors
    /// What is in the way.
    pub(crate) fn prepare(path: &Path) -> Result<MountPoint, MountError> {
        let path = resolve(path).map_err(|source| unusable(path, source))?;
        let metadata = clear_dead_mounts(&path)?;
        if let Some(entry) = mounted_at(&path).map_err(|source| unusable(&path, source))? {
            return Err(busy(path, entry));
        }
        let shape = shape(&path, &metadata)?;
        Ok(MountPoint { path, shape })
    }
}

fn shape(path: &Path, metadata: &Metadata) -> Result<Shape, MountError> {
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

/// Resolves symbolic links and `..`. A dead mount may keep the last part from being resolved; then
/// it is taken as it is.
fn resolve(path: &Path) -> io::Result<PathBuf> {
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

fn clear_dead_mounts(path: &Path) -> Result<Metadata, MountError> {
    loop {
        match path.metadata() {
            Ok(metadata) => return Ok(metadata),
            Err(error) if is_disconnected(&error) => clear_dead_mount(path, error)?,
            Err(error) => return Err(unusable(path, error)),
        }
    }
}

fn clear_dead_mount(path: &Path, disconnected: io::Error) -> Result<(), MountError> {
    match mounted_at(path).map_err(|source| unusable(path, source))? {
        Some(entry) if entry.is_ours() => {
            warn!(
                "{} is a mount of {} whose process has ended; unmounting it first",
                path.display(),
                entry.source
            );
            fuse_device::detach(path).map_err(|source| unusable(path, source))
        }
        Some(entry) => Err(busy(path.to_owned(), entry)),
        None => Err(unusable(path, disconnected)),
    }
}

fn is_disconnected(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ENOTCONN)
}

fn busy(path: PathBuf, entry: MountEntry) -> MountError {
    MountError::Busy {
        path,
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
