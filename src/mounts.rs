//! Which volume is mounted where, as the kernel's table of mounts has it, and what to do about a
//! mount whose process has ended.

use anyhow::Context;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Type of our mounts in the table.
const FILE_SYSTEM_TYPE: &[u8] = b"fuse.redoubt";

/// The volume that is mounted at this place, if one is.
///
/// # Errors
/// The table could not be read.
pub(crate) fn volume_mounted_at(place: &Path) -> io::Result<Option<PathBuf>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let mut mounts = table.split(|byte| *byte == b'\n').filter_map(parse);
    Ok(mounts
        .rfind(|(mount_point, _)| mount_point == place)
        .map(|(_, volume)| volume))
}

/// The place that a path names, as the table would have it. What lies under a dead mount cannot be
/// resolved, so there the path is taken as it is.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if is_disconnected(&error) => std::path::absolute(path),
        resolved => resolved,
    }
}

/// Whether the process behind a mount has ended. Asks for statistics, because attributes may be
/// answered from the kernel's cache for a long time.
pub(crate) fn is_dead(place: &Path) -> bool {
    nix::sys::statvfs::statvfs(place) == Err(nix::errno::Errno::ENOTCONN)
}

fn is_disconnected(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::ENOTCONN)
}

/// Takes a mount without a process out of the tree.
///
/// # Errors
/// The system refused.
pub(crate) fn detach(place: &Path) -> anyhow::Result<()> {
    let refused = || {
        format!(
            "{} cannot be unmounted; try 'umount -l' as root",
            place.display()
        )
    };
    if nix::unistd::geteuid().is_root() {
        let flags = nix::mount::MntFlags::MNT_DETACH | nix::mount::MntFlags::UMOUNT_NOFOLLOW;
        return nix::mount::umount2(place, flags).with_context(refused);
    }
    let ended = Command::new("fusermount3")
        .args(["-u", "-z", "--"])
        .arg(place)
        .status()
        .with_context(refused)?;
    anyhow::ensure!(ended.success(), refused());
    Ok(())
}

/// Mount point and source of a line, if it is one of ours (proc_pid_mountinfo(5)).
fn parse(line: &[u8]) -> Option<(PathBuf, PathBuf)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mount_point = fields.nth(4)?;
    let mut behind_dash = fields.skip_while(|field| *field != b"-").skip(1);
    let is_ours = behind_dash.next()? == FILE_SYSTEM_TYPE;
    let source = behind_dash.next()?;
    is_ours.then(|| (unescape(mount_point), unescape(source)))
}

/// Undoes the octal escapes of white space and backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..3).filter(|_| *first == b'\\');
        let code = code.and_then(|code| u8::from_str_radix(str::from_utf8(code).ok()?, 8).ok());
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { &behind[3..] } else { behind };
    }
    OsString::from_vec(plain).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_mounts_are_found_with_their_escapes() {
        let line = br"36 35 0:41 / /mnt/my\040disk rw,nosuid shared:1 - fuse.redoubt /v/a\134b rw";
        let found = parse(line).unwrap();
        assert_eq!(found, ("/mnt/my disk".into(), r"/v/a\b".into()));
        for line in [
            &b""[..],
            b"1 0 8:1 / / rw - ext4 /dev/sda1 rw",
            b"1 0 8:1 / /x rw - fuse.redoubt",
            b"1 0 8:1 / /x rw fuse.redoubt /v rw",
        ] {
            assert_eq!(parse(line), None);
        }
        assert_eq!(volume_mounted_at(Path::new("/proc")).unwrap(), None);
    }
}
