//! Mounting and unmounting for ordinary users, through the set-user-ID program `fusermount3`.

use crate::error::MountError;
use crate::session::MountRequest;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

const PROGRAM: &str = "fusermount3";

/// Mounts a new FUSE connection and returns its device.
///
/// # Errors
/// [`MountError::Helper`] with what the program said.
pub(crate) fn attach(path: &Path, request: &MountRequest) -> Result<OwnedFd, MountError> {
    let failed = |error: io::Error| MountError::Helper(error.to_string());
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    // The program sends the device through a socket whose number it is told; given as standard
    // input, the socket is inherited without any tricks.
    let child = Command::new(PROGRAM)
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .arg("-o")
        .arg(options(request))
        .arg("--")
        .arg(path)
        .spawn()
        .map_err(failed)?;
    let device = receive_device(&ours);
    let said = child.wait_with_output().map_err(failed)?.stderr;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    device.map_err(|error| match said.is_empty() {
        true => failed(error),
        false => MountError::Helper(said),
    })
}

fn options(request: &MountRequest) -> String {
    let name = request.source_name.replace('\\', r"\\").replace(',', r"\,");
    let mut options = format!("fsname={name},subtype=redoubt,nosuid,nodev,default_permissions");
    if request.options.read_only {
        options.push_str(",ro");
    }
    if request.options.allow_other {
        options.push_str(",allow_other");
    }
    options
}

#[expect(unsafe_code, reason = "a received descriptor has no owner yet")]
fn receive_device(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let [descriptor] = descriptors[..]
        {
            // SAFETY: the kernel has just made this descriptor for us; nothing else knows it.
            return Ok(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
    }
    Err(io::Error::other("it sent no device"))
}

/// Unmounts what a path shows.
///
/// # Errors
/// EBUSY if it is in use, otherwise what the program said.
pub(crate) fn unmount(path: &Path, lazily: bool) -> io::Result<()> {
    let mut command = Command::new(PROGRAM);
    command.arg("-u").args(lazily.then_some("-z"));
    let output = command.arg("--").arg(path).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("busy") {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    Err(io::Error::other(said.trim().to_owned()))
}
