//! What lies below a directory: its device, and whether one flush of it covers several files.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The device of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number (`st_dev`).
    pub number: u64,
    /// Whether one flush covers what was overwritten in any file on it: known of ext4 and xfs on
    /// a plain disk with barriers, assumed of nothing else.
    pub single_flush: bool,
}

impl Device {
    /// The device that a directory lies on.
    ///
    /// # Errors
    /// When the directory cannot be looked at. What cannot be found out about its device makes
    /// `single_flush` false.
    pub fn of(directory: &Path) -> io::Result<Device> {
        let number = std::fs::metadata(directory)?.dev();
        let (major, minor) = (libc::major(number), libc::minor(number));
        let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mounts = String::from_utf8_lossy(&mounts);
        let single_flush = flush_covers_file_system(&mounts, major, minor)
            && is_plain_disk(Path::new("/sys/dev/block"), major, minor);
        Ok(Device {
            number,
            single_flush,
        })
    }
}

/// Whether `mountinfo` shows the device as a file system whose sync of one file flushes the device
/// for all of them.
fn flush_covers_file_system(mountinfo: &str, major: u32, minor: u32) -> bool {
    let device = format!("{major}:{minor}");
    let mut mounts = mountinfo
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some(&device))
        .peekable();
    mounts.peek().is_some() && mounts.all(flushes_for_all)
}

/// Judges one line of mountinfo: `id parent dev root point options [tags] - type source super`.
fn flushes_for_all(line: &str) -> bool {
    let Some((_, behind)) = line.split_once(" - ") else {
        return false;
    };
    let mut fields = behind.split(' ');
    let (kind, _source, options) = (fields.next(), fields.next(), fields.next());
    let harmful = |option: &str| {
        // Without barriers nothing is flushed; journaled data does not go to its place; an xfs
        // real-time or log device is another device.
        matches!(option, "nobarrier" | "barrier=0" | "data=journal")
            || option.starts_with("rtdev=")
            || option.starts_with("logdev=")
    };
    matches!(kind, Some("ext4" | "xfs"))
        && options.is_some_and(|options| !options.split(',').any(harmful))
}

/// Whether the block device is one disk or a partition of one: not dm, md, loop or the like,
/// where a flush may reach several devices one by one, and fail for some of them.
fn is_plain_disk(block_devices: &Path, major: u32, minor: u32) -> bool {
    let Ok(device) = block_devices
        .join(format!("{major}:{minor}"))
        .canonicalize()
    else {
        return false;
    };
    let disk = match device.join("partition").exists() {
        true => device.parent().unwrap_or(&device),
        false => &device,
    };
    let plain = ["sd", "vd", "xvd", "hd", "nvme", "mmcblk"];
    let name = disk.file_name().unwrap_or_default().to_string_lossy();
    let has_slaves =
        std::fs::read_dir(disk.join("slaves")).is_ok_and(|mut slaves| slaves.next().is_some());
    plain.iter().any(|prefix| name.starts_with(prefix)) && !has_slaves
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_ext4_and_xfs_with_barriers_flush_for_all() {
        let judge = |kind: &str, options: &str| {
            let line = format!("27 1 254:0 / / rw,relatime shared:1 - {kind} /dev/vda {options}\n");
            flush_covers_file_system(&line, 254, 0)
        };
        assert!(judge("ext4", "rw,discard"));
        assert!(judge("xfs", "rw,attr2,inode64,noquota"));
        for (kind, options) in [
            ("ext4", "rw,nobarrier"),
            ("ext4", "rw,barrier=0"),
            ("ext4", "rw,data=journal"),
            ("xfs", "rw,logdev=/dev/vdb"),
            ("btrfs", "rw"),
            ("ext3", "rw"),
            ("tmpfs", "rw"),
        ] {
            assert!(!judge(kind, options), "{kind} {options}");
        }
        assert!(!flush_covers_file_system("", 254, 0));
        assert!(!flush_covers_file_system(
            "27 1 254:1 / / rw - ext4 /dev/vda rw",
            254,
            0
        ));
    }

    #[test]
    fn only_a_disk_or_its_partition_is_plain() {
        let temp = tempfile::tempdir().unwrap();
        let make = |number: &str, path: &str| {
            let target = temp.path().join(path);
            fs::create_dir_all(&target).unwrap();
            std::os::unix::fs::symlink(&target, temp.path().join(number)).unwrap();
            target
        };
        make("8:0", "sda");
        let partition = make("8:1", "sda/sda1");
        fs::write(partition.join("partition"), "1").unwrap();
        make("253:0", "dm-0");
        make("7:0", "loop0");
        fs::create_dir_all(make("8:16", "sdb").join("slaves/sdc")).unwrap();
        let plain = |major, minor| is_plain_disk(temp.path(), major, minor);
        assert!(plain(8, 0) && plain(8, 1));
        assert!(!plain(253, 0) && !plain(7, 0) && !plain(8, 16) && !plain(9, 9));
    }

    #[test]
    fn a_directory_in_memory_has_no_flush() {
        let shared_memory = Path::new("/dev/shm");
        if shared_memory.exists() {
            assert!(!Device::of(shared_memory).unwrap().single_flush);
        }
    }
}
