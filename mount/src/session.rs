//! Mounting a disk, and unmounting what was mounted.

use crate::disk::Disk;
use crate::door::{Door, THREADS};
use crate::error::{MountError, UnmountError};
use crate::fuse_device;
use crate::mount_point::MountPoint;
use crate::mount_table::{self, DeviceNumber, mounted_at};
use crate::operations::DiskFileSystem;
use crate::options::MountOptions;
use fuser::{Config, Session, SessionACL};
use log::{info, warn};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

/// What the kernel reads ahead of a sequential reader: one whole request. It starts at 128 KiB,
/// which FUSE cannot raise by itself.
const READ_AHEAD_KIB: u32 = 1024;

/// What to mount where.
#[derive(Clone, Debug)]
pub struct MountRequest {
    /// Shown as the source of the mount, such as the directory of the volume.
    pub source_name: String,
    /// An empty directory, or a regular file that the disk is to cover.
    pub mountpoint: PathBuf,
    /// How.
    pub options: MountOptions,
}

/// A mounted disk. Dropping it changes nothing: the disk stays mounted and served until it is
/// unmounted or the process ends.
pub struct Mounted {
    session: JoinHandle<io::Result<()>>,
    unmounter: Unmounter,
}

impl Mounted {
    /// Blocks until the disk is unmounted, by [`Unmounter`] or from outside, and its last file is
    /// closed.
    ///
    /// # Errors
    /// The connection to the kernel broke. The mount is dead then; the next one cleans it.
    pub fn wait(self) -> io::Result<()> {
        let panicked = |_| io::Error::other("the thread that serves the disk panicked");
        self.session.join().map_err(panicked)?
    }

    /// A handle that can unmount from another thread.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }
}

/// How to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmount {
    /// Only if nothing uses the disk.
    IfUnused,
    /// Out of the tree at once; open files keep working until they are closed.
    Lazily,
}

/// Unmounts one mount, and never another that took its place.
#[derive(Clone, Debug)]
pub struct Unmounter {
    path: PathBuf,
    /// Ours while the connection lives; later it may be another mount's.
    device: DeviceNumber,
    /// Weak, because a descriptor that outlives the session would let requests wait for ever where
    /// they should fail.
    connection: Weak<OwnedFd>,
}

impl Unmounter {
    /// The mount point, absolute and without symbolic links.
    pub fn mountpoint(&self) -> &Path {
        &self.path
    }

    /// Unmounts the disk; it is no error if somebody else did so before.
    ///
    /// # Errors
    /// [`UnmountError`] says what is in the way.
    pub fn unmount(&self, how: Unmount) -> Result<(), UnmountError> {
        let refused = |source| self.refused(source);
        if !self.is_mounted().map_err(refused)? {
            return Ok(());
        }
        let shown = mounted_at(&self.path).map_err(refused)?;
        if shown.is_none_or(|entry| entry.device != self.device) {
            return Err(UnmountError::Covered(self.path.clone()));
        }
        match how {
            Unmount::IfUnused => fuse_device::unmount(&self.path),
            Unmount::Lazily => fuse_device::detach(&self.path),
        }
        .map_err(refused)
    }

    fn is_mounted(&self) -> io::Result<bool> {
        let connection = self.connection.upgrade();
        if !connection.is_some_and(|device| fuse_device::is_connected(&device)) {
            return Ok(false);
        }
        let here = |entry: &mount_table::MountEntry| {
            entry.device == self.device && entry.mount_point == self.path
        };
        Ok(mount_table::read()?.iter().any(here))
    }

    fn refused(&self, source: io::Error) -> UnmountError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::ResourceBusy => UnmountError::Busy(path),
            _ => UnmountError::Refused { path, source },
        }
    }
}

/// Mounts a disk and serves it on threads of its own. When this returns the disk can be used.
///
/// # Errors
/// [`MountError`] says what is in the way; nothing is mounted then.
pub fn mount(disk: Arc<dyn Disk>, request: &MountRequest) -> Result<Mounted, MountError> {
    let point = MountPoint::prepare(&request.mountpoint)?;
    let device = fuse_device::attach(&point, request)?;
    let connection = Arc::new(device.try_clone().map_err(MountError::Session)?);
    let unmounter = unmounter_of(&point.path, &connection).map_err(MountError::Session)?;
    let door = Door::new(Arc::downgrade(&connection));
    let file_system = DiskFileSystem::new(disk, point.shape, &request.options, door);
    let session = serve(file_system, device, Arc::clone(&connection));
    let session = session.map_err(|error| {
        if let Err(error) = unmounter.unmount(Unmount::Lazily) {
            warn!("{error}");
        }
        MountError::Session(error)
    })?;
    set_read_ahead(unmounter.device);
    Ok(Mounted { session, unmounter })
}

/// Starts a session on threads of its own. `connection` is let go when it ends.
fn serve(
    file_system: DiskFileSystem,
    device: OwnedFd,
    connection: Arc<OwnedFd>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    // Clones of the descriptor measured no better, and what was read from a clone cannot be taken
    // over.
    config.clone_fd = false;
    // Who may enter is for the kernel to say; fuser would also turn away a descriptor that was
    // handed to another user, which no other file system does.
    let session = Session::from_fd(file_system, device, SessionACL::All, config)?;
    thread::Builder::new()
        .name("fuse".to_owned())
        .spawn(move || {
            let result = session.run();
            drop(connection);
            result
        })
}

fn unmounter_of(path: &Path, connection: &Arc<OwnedFd>) -> io::Result<Unmounter> {
    let gone = || io::Error::other("the new mount is not in the mount table");
    Ok(Unmounter {
        path: path.to_owned(),
        device: mounted_at(path)?.ok_or_else(gone)?.device,
        connection: Arc::downgrade(connection),
    })
}

fn set_read_ahead(device: DeviceNumber) {
    let path = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = std::fs::write(&path, READ_AHEAD_KIB.to_string()) {
        info!("read-ahead stays as it is: {path}: {error}");
    }
}
