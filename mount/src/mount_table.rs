//! The kernel's table of mounts, `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Type of our mounts, as the table and `mount -t` name it.
pub(crate) const FILE_SYSTEM_TYPE: &str = "fuse.redoubt";

/// Number of a mounted file system, unique while it exists; what `st_dev` of its files is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceNumber {
    major: u32,
    minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.major, self.minor)
    }
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountEntry {
    /// Which file system.
    pub(crate) device: DeviceNumber,
    /// Where.
    pub(crate) mount_point: PathBuf,
    /// Its type, such as `ext4`.
    pub(crate) file_system_type: String,
    /// Its source.
    pub(crate) source: String,
}

impl MountEntry {
    /// Whether it is a volume of ours.
    pub(crate) fn is_ours(&self) -> bool {
        self.file_system_type == FILE_SYSTEM_TYPE
    }
}

/// Source of our mount on a path, which is the directory of its volume; `None` without one. It may be
/// covered by another mount.
///
/// # Errors
/// The table could not be read.
pub fn volume_mounted_at(path: &Path) -> io::Result<Option<PathBuf>> {
    let ours = |entry: &MountEntry| entry.mount_point == path && entry.is_ours();
    let entry = read()?.into_iter().rfind(ours);
    Ok(entry.map(|entry| entry.source.into()))
}

/// The mount that a path shows: the last one of those stacked on it. Placeholders of the
/// automounter do not count: they are there to be mounted on.
///
/// # Errors
/// The table could not be read.
pub(crate) fn mounted_at(path: &Path) -> io::Result<Option<MountEntry>> {
    let here = |entry: &MountEntry| entry.mount_point == path && entry.file_system_type != "autofs";
    Ok(read()?.into_iter().rfind(here))
}

/// All mounts, in the order in which they were stacked.
///
/// # Errors
/// The table could not be read.
pub(crate) fn read() -> io::Result<Vec<MountEntry>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(table
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .collect())
}

/// Parses a line (proc_pid_mountinfo(5)):
/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/root rw,errors=continue`.
fn parse(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (major, minor) = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
    let mount_point = unescape(fields.nth(1)?);
    let mut after_dash = fields.skip_while(|field| *field != b"-").skip(1);
    Some(MountEntry {
        device: DeviceNumber {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        },
        mount_point: PathBuf::from(OsString::from_vec(mount_point)),
        file_system_type: String::from_utf8_lossy(after_dash.next()?).into_owned(),
        source: String::from_utf8_lossy(&unescape(after_dash.next()?)).into_owned(),
    })
}

/// Undoes the octal escapes of white space and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = octal(tail).filter(|_| *first == b'\\');
        plain.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    plain
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..3)?).ok()?;
    u8::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parsed_with_its_escapes() {
        let line = br"36 35 0:41 / /mnt/my\040disk\134x rw,nosuid shared:1 master:2 - fuse.redoubt a\011b rw";
        let entry = parse(line).unwrap();
        assert_eq!(entry.mount_point, Path::new(r"/mnt/my disk\x"));
        assert_eq!(entry.device.to_string(), "0:41");
        assert_eq!(entry.source, "a\tb");
        assert!(entry.is_ours());
    }

    #[test]
    fn lines_without_optional_fields_are_parsed_and_broken_ones_are_not() {
        let line = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw,errors=continue";
        assert_eq!(parse(line).unwrap().file_system_type, "ext4");
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"1 0 8-1 / / rw - ext4 x rw"), None);
        assert_eq!(parse(b"1 0 8:1 / / rw ext4 x rw"), None);
    }

    #[test]
    fn the_root_is_in_the_table_of_this_system() {
        let root = Path::new("/");
        assert!(mounted_at(root).unwrap().is_some());
        assert_eq!(volume_mounted_at(root).unwrap(), None);
    }
}
