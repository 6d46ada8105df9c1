//! Attaching a `/dev/fuse` to a place and detaching it: by mount(2) for root, through fusermount3
//! for others. fuser is only given the connected device: what it would mount itself it unmounts by
//! path when the session ends, even if something else is mounted there by then (fuser 0.18).

use crate::error::MountError;
use crate::fusermount;
use crate::mount_point::MountPoint;
use crate::mount_table::FILE_SYSTEM_TYPE;
use crate::session::MountRequest;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{getegid, geteuid};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Mounts a new FUSE connection and returns its device.
///
/// # Errors
/// There is no FUSE, or the mount was refused.
pub(crate) fn attach(point: &MountPoint, request: &MountRequest) -> Result<OwnedFd, MountError> {
    if geteuid().is_root() {
        attach_as_root(point, request)
    } else {
        fusermount::attach(&point.path, request)
    }
}

fn attach_as_root(point: &MountPoint, request: &MountRequest) -> Result<OwnedFd, MountError> {
    let device = open_device().map_err(MountError::NoDevice)?;
    let refused = |source: io::Error| MountError::Refused {
        path: point.path.clone(),
        source,
    };
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_RDONLY, request.options.read_only);
    let data = connection_options(point, request, &device).map_err(refused)?;
    mount(
        Some(request.source_name.as_str()),
        &point.path,
        Some(FILE_SYSTEM_TYPE),
        flags,
        Some(data.as_str()),
    )
    .map_err(|errno| refused(errno.into()))?;
    Ok(device.into())
}

fn open_device() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/fuse")
}

fn connection_options(
    point: &MountPoint,
    request: &MountRequest,
    device: &File,
) -> io::Result<String> {
    let mode = point.path.metadata()?.mode();
    let mut options = format!(
        "fd={},rootmode={mode:o},user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        geteuid(),
        getegid(),
    );
    if request.options.allow_other {
        options.push_str(",allow_other");
    }
    Ok(options)
}

/// Whether the file system of a device still exists, mounted or only held by open files.
pub(crate) fn is_connected(device: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(device.as_fd(), PollFlags::empty())];
    let answered = poll(&mut polled, PollTimeout::ZERO);
    let broken = |flags: PollFlags| flags.contains(PollFlags::POLLERR);
    answered.is_ok() && !polled[0].revents().is_some_and(broken)
}

/// Whether a request waits to be taken.
pub(crate) fn has_request(device: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
    let answered = poll(&mut polled, PollTimeout::ZERO);
    let waits = |flags: PollFlags| flags.contains(PollFlags::POLLIN);
    answered.is_ok() && polled[0].revents().is_some_and(waits)
}

/// Unmounts what a path shows; fails with EBUSY while it is used.
///
/// # Errors
/// What the system says.
pub(crate) fn unmount(path: &Path) -> io::Result<()> {
    if geteuid().is_root() {
        umount2(path, MntFlags::UMOUNT_NOFOLLOW)?;
        return Ok(());
    }
    fusermount::unmount(path, false)
}

/// Takes what a path shows out of the tree; open files keep working until they are closed.
///
/// # Errors
/// What the system says.
pub(crate) fn detach(path: &Path) -> io::Result<()> {
    if geteuid().is_root() {
        umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
        return Ok(());
    }
    fusermount::unmount(path, true)
}
