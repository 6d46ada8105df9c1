//! Mounting and unmounting, on this machine's kernel.

use crate::support::{Cleanup, DISK_BYTES, MemoryDisk, TestMount, fuse_or_skip, request};
use nix::mount::{MsFlags, mount as mount_anything};
use redoubt_mount::error::{MountError, UnmountError};
use redoubt_mount::mount_point::check;
use redoubt_mount::session::{Unmount, mount};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Set for the child of a test: where it is to mount a disk and then be killed.
const CHILD_MOUNTS_AT: &str = "REDOUBT_TEST_CHILD_MOUNTS_AT";

fn table_line(point: &Path) -> Option<String> {
    let escaped = point.to_str().unwrap().replace(' ', "\\040");
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let here = |line: &&str| line.split(' ').nth(4) == Some(&escaped);
    table.lines().find(here).map(str::to_owned)
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "waited for {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_mount_table_shows_type_source_and_flags() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let line = table_line(&test.point).unwrap();
    assert!(
        line.contains(" - fuse.redoubt /test\\040volume rw,"),
        "{line}"
    );
    for flag in ["nosuid", "nodev", "default_permissions"] {
        assert!(line.contains(flag), "{line}");
    }
    assert!(!line.contains("allow_other"), "{line}");
    let other = TestMount::directory("allow_other,ro");
    let line = table_line(&other.point).unwrap();
    assert!(
        line.contains("allow_other") && line.contains(" ro,"),
        "{line}"
    );
    assert!(File::options().write(true).open(other.disk_path()).is_err());
}

#[test]
fn the_tree_is_fixed_and_its_inodes_are_stable() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let names: Vec<_> = std::fs::read_dir(&test.point)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .map(|(name, path)| (name, path.metadata().unwrap().ino()))
        .collect();
    assert_eq!(names, [("disk".into(), 2), (".redoubt".into(), 3)]);
    let status = test.point.join(".redoubt/status");
    assert_eq!(status.metadata().unwrap().ino(), 4);
    assert_eq!(status.metadata().unwrap().size(), 0);
    let text = std::fs::read_to_string(&status).unwrap();
    assert_eq!(text, format!("{{\"disk_bytes\":{DISK_BYTES}}}\n"));

    let refused = |result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EPERM));
    };
    refused(File::create(test.point.join("new")).map(drop));
    refused(std::fs::create_dir(test.point.join("new")));
    refused(std::fs::remove_file(test.disk_path()));
    refused(std::fs::remove_dir(test.point.join(".redoubt")));
    refused(std::fs::rename(test.disk_path(), test.point.join("new")));
    refused(std::fs::hard_link(test.disk_path(), test.point.join("new")));
    refused(std::os::unix::fs::symlink("disk", test.point.join("new")));
    assert!(File::options().write(true).open(&status).is_err());
    assert!(!test.point.join("nothing").exists());
}

#[test]
fn a_file_mount_is_the_disk_alone() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::file("");
    let file = File::options()
        .read(true)
        .write(true)
        .open(&test.point)
        .unwrap();
    assert_eq!(file.metadata().unwrap().size(), DISK_BYTES);
    assert_eq!(file.metadata().unwrap().ino(), 1);
    file.write_all_at(b"hello", 5000).unwrap();
    assert_eq!(test.disk.bytes(5000..5005), b"hello");
    drop(file);
    test.unmounter.unmount(Unmount::IfUnused).unwrap();
    assert_eq!(std::fs::read(&test.point).unwrap(), b"below");
}

#[test]
fn unmounting_ends_the_wait_and_is_done_once() {
    if !fuse_or_skip() {
        return;
    }
    let mut test = TestMount::directory("");
    let open = test.open(0);
    let busy = test.unmounter.unmount(Unmount::IfUnused);
    assert!(matches!(busy, Err(UnmountError::Busy(_))), "{busy:?}");
    drop(open);
    test.unmounter.unmount(Unmount::IfUnused).unwrap();
    test.mounted.take().unwrap().wait().unwrap();
    test.unmounter.unmount(Unmount::IfUnused).unwrap();
    assert_eq!(table_line(&test.point), None);
    // Everything that held the disk is gone.
    wait_until("the disk to be let go", || {
        std::sync::Arc::strong_count(&test.disk) == 1
    });
}

#[test]
fn open_files_outlive_a_lazy_unmount() {
    if !fuse_or_skip() {
        return;
    }
    let mut test = TestMount::directory("");
    let file = test.open(0);
    test.unmounter.unmount(Unmount::Lazily).unwrap();
    assert_eq!(table_line(&test.point), None);
    file.write_all_at(b"late", 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(test.disk.bytes(0..4), b"late");
    drop(file);
    test.mounted.take().unwrap().wait().unwrap();
}

#[test]
fn another_mount_that_took_the_place_is_left_alone() {
    if !fuse_or_skip() {
        return;
    }
    let mut first = TestMount::directory("");
    let table = || table_line(&first.point);
    nix::mount::umount2(&first.point, nix::mount::MntFlags::empty()).unwrap();
    first.mounted.take().unwrap().wait().unwrap();
    let second = mount(MemoryDisk::new(), &request(&first.point, "")).unwrap();
    first.unmounter.unmount(Unmount::Lazily).unwrap();
    assert!(table().is_some());

    let covered = second.unmounter();
    let none: Option<&str> = None;
    mount_anything(
        Some("cover"),
        &first.point,
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )
    .unwrap();
    let error = covered.unmount(Unmount::Lazily).unwrap_err();
    assert!(matches!(error, UnmountError::Covered(_)), "{error}");
    nix::mount::umount2(&first.point, nix::mount::MntFlags::empty()).unwrap();
    covered.unmount(Unmount::Lazily).unwrap();
    second.wait().unwrap();
}

#[test]
fn places_that_cannot_be_mounted_on_are_refused_and_stay_as_they_are() {
    if !fuse_or_skip() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let refusal = |path: &Path| {
        let error = mount(MemoryDisk::new(), &request(path, "")).err().unwrap();
        assert_eq!(table_line(path), None, "{error}");
        let checked = check(path).unwrap_err();
        assert_eq!(checked.to_string(), error.to_string());
        error
    };
    let missing = refusal(&directory.path().join("missing"));
    assert!(matches!(missing, MountError::Missing(_)), "{missing}");
    let missing = refusal(&directory.path().join("no/such/place"));
    assert!(matches!(missing, MountError::Missing(_)), "{missing}");

    let full = directory.path().join("full");
    std::fs::create_dir_all(full.join("something")).unwrap();
    let error = refusal(&full);
    assert!(matches!(error, MountError::NotEmpty(_)), "{error}");
    let error = refusal(Path::new("/dev/null"));
    assert!(matches!(error, MountError::WrongKind(_)), "{error}");
}

#[test]
fn a_busy_mount_point_is_refused_by_name() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let link = test.point.with_file_name("link");
    std::os::unix::fs::symlink(&test.point, &link).unwrap();
    for path in [&test.point, &link] {
        let error = mount(MemoryDisk::new(), &request(path, "")).err().unwrap();
        assert!(matches!(error, MountError::Busy { .. }), "{error}");
        assert!(error.to_string().contains("/test volume"), "{error}");
    }
}

#[test]
fn read_ahead_is_one_whole_request() {
    if !fuse_or_skip() {
        return;
    }
    let test = TestMount::directory("");
    let line = table_line(&test.point).unwrap();
    let device = line.split(' ').nth(2).unwrap();
    let value = std::fs::read_to_string(format!("/sys/class/bdi/{device}/read_ahead_kb"));
    assert_eq!(value.unwrap().trim(), "1024");
}

/// Not a test of its own: the process that [`a_dead_mount_of_ours_is_cleaned`] kills.
#[test]
fn child_that_mounts_and_is_killed() {
    let Some(point) = std::env::var_os(CHILD_MOUNTS_AT) else {
        return;
    };
    let mounted = mount(MemoryDisk::new(), &request(Path::new(&point), "")).unwrap();
    mounted.wait().unwrap();
}

fn leave_dead_mount(point: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "mounting::child_that_mounts_and_is_killed"])
        .env(CHILD_MOUNTS_AT, point)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the child to mount", || table_line(point).is_some());
    // The kernel goes on answering from what it learns here for a second.
    wait_until("the child to serve", || point.metadata().is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_dead_mount_of_ours_is_cleaned() {
    if !fuse_or_skip() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let on_directory = directory.path().join("directory");
    std::fs::create_dir(&on_directory).unwrap();
    let on_file = directory.path().join("file");
    File::create(&on_file).unwrap();
    for point in [on_directory, on_file] {
        let _cleanup = Cleanup(point.clone());
        leave_dead_mount(&point);
        let mounted = mount(MemoryDisk::new(), &request(&point, "")).unwrap();
        assert!(point.metadata().is_ok());
        mounted.unmounter().unmount(Unmount::IfUnused).unwrap();
        mounted.wait().unwrap();
        assert_eq!(table_line(&point), None);
    }
}
