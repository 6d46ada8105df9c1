//! Volumes in a directory of their own, and their mounts.

use super::{MIB, await_that, pattern, redoubt};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Small groups and extents, so that little data crosses many of them.
const SMALL: [&str; 4] = ["--group-size", "64M", "--extent-size", "1M"];

/// A volume in a new directory on the disk that holds the build; removed when dropped.
pub(crate) struct TempVolume {
    home: TempDir,
    volume: PathBuf,
}

impl TempVolume {
    /// A volume of this size with small groups and extents, its nodes in the default places.
    pub(crate) fn create(size: &str) -> TempVolume {
        TempVolume::with(size, &SMALL)
    }

    /// A volume with all defaults.
    pub(crate) fn with_defaults(size: &str) -> TempVolume {
        TempVolume::with(size, &[])
    }

    fn with(size: &str, more: &[&str]) -> TempVolume {
        let home = temp_directory();
        let volume = home.path().join("volume");
        create(&volume, size, more);
        TempVolume { home, volume }
    }

    /// A volume with small groups whose nodes lie each on a "disk" of its own,
    /// `zone-a/disk1/node` and so on. When a disk's directory is moved away, the node's parent is
    /// gone and nothing makes it again: the way a disk goes that is unplugged.
    pub(crate) fn on_disks(size: &str, disks_per_zone: usize) -> TempVolume {
        let home = temp_directory();
        let mut nodes = Vec::new();
        for zone in ["a", "b", "c"] {
            for number in 1..=disks_per_zone {
                let disk = home.path().join(format!("zone-{zone}/disk{number}"));
                fs::create_dir_all(&disk).unwrap();
                nodes.push((zone, disk.join("node")));
            }
        }
        TempVolume::on_nodes(home, size, &nodes)
    }

    /// A volume with small groups and these node directories, each after its zone's letter.
    pub(crate) fn on_nodes(home: TempDir, size: &str, nodes: &[(&str, PathBuf)]) -> TempVolume {
        let volume = home.path().join("volume");
        let mut more = SMALL.map(str::to_owned).to_vec();
        for (zone, node) in nodes {
            more.extend(["--node".into(), format!("{zone}={}", node.display())]);
        }
        let more: Vec<_> = more.iter().map(String::as_str).collect();
        create(&volume, size, &more);
        TempVolume { home, volume }
    }

    /// A small volume with all its nodes below `directory`, which somebody else removes.
    pub(crate) fn create_in(directory: &Path, size: &str) -> TempVolume {
        let volume = directory.join("volume");
        create(&volume, size, &SMALL);
        TempVolume {
            home: temp_directory(),
            volume,
        }
    }

    /// A volume with all defaults and all its nodes below `directory`, which somebody else removes.
    pub(crate) fn with_defaults_in(directory: &Path, size: &str) -> TempVolume {
        let volume = directory.join("volume");
        create(&volume, size, &[]);
        TempVolume {
            home: temp_directory(),
            volume,
        }
    }

    /// The directory around the volume, for the test's own files.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The volume.
    pub(crate) fn path(&self) -> &Path {
        &self.volume
    }

    /// Takes a "disk" or a zone of [`TempVolume::on_disks`] away, such as `zone-a/disk1`.
    pub(crate) fn take_away(&self, disk: &str) {
        fs::rename(self.home().join(disk), self.away(disk)).unwrap();
    }

    /// Deletes the node's directory on a "disk". The daemon may make a file in it meanwhile, as it
    /// may for anybody who deletes it.
    pub(crate) fn delete_node(&self, disk: &str) {
        let node = self.home().join(disk).join("node");
        while let Err(error) = fs::remove_dir_all(&node) {
            assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty, "{error}");
        }
    }

    /// Brings it back as it was.
    pub(crate) fn bring_back(&self, disk: &str) {
        fs::rename(self.away(disk), self.home().join(disk)).unwrap();
    }

    fn away(&self, disk: &str) -> PathBuf {
        self.home().join(format!("away-{}", disk.replace('/', "-")))
    }

    /// Mounts it; the daemon is a child of the test.
    pub(crate) fn mount(&self) -> Mounted {
        self.mount_with(&[])
    }

    /// Mounts it with `-o` options.
    pub(crate) fn mount_with(&self, options: &[&str]) -> Mounted {
        let point = self.home().join("mount");
        // On a dead mount this fails; the mount command cleans that.
        let _ = fs::create_dir(&point);
        Mounted::start(&self.volume, &point, options)
    }

    /// The `volume` object of `redoubt status --json`; the command succeeds.
    pub(crate) fn status(&self) -> Value {
        let output = redoubt(["status", "--json"]).arg(&self.volume).output();
        let mut status: Value = serde_json::from_str(&text_of(output.unwrap())).unwrap();
        status["volume"].take()
    }

    /// Waits until the volume is in this state.
    pub(crate) fn await_state(&self, word: &str) {
        self.await_status(word, |status| status["state"] == word);
    }

    /// Waits until it is healthy and all nodes hold everything, also if one is slow; but for those
    /// that were drained.
    pub(crate) fn await_healthy(&self) {
        let whole = |node: &Value| {
            let state = node["state"].as_str().unwrap();
            ["up", "slow", "drained"].contains(&state)
        };
        let all = |status: &Value| status["nodes"].as_array().unwrap().iter().all(whole);
        self.await_status("healthy, all nodes whole", |status| {
            status["state"] == "healthy" && all(status)
        });
    }

    fn await_status(&self, what: &str, reached: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status();
            if reached(&status) {
                return;
            }
            assert!(Instant::now() < deadline, "not {what}: {status:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Bytes on disk of every node's directory, by node.
    pub(crate) fn node_usage(&self) -> BTreeMap<String, u64> {
        let nodes = self.status()["nodes"].as_array().unwrap().clone();
        let usage = |node: &Value| {
            let path = Path::new(node["path"].as_str().unwrap());
            (node["id"].as_str().unwrap().to_owned(), disk_usage(path))
        };
        nodes.iter().map(usage).collect()
    }

    /// Waits until every node takes less than this.
    pub(crate) fn await_usage_below(&self, bytes: u64, seconds: u64) {
        let what = format!("every node under {} MiB", bytes / MIB);
        await_that(&what, seconds, || {
            self.node_usage().values().all(|usage| *usage < bytes)
        });
    }

    /// `redoubt fsck` of the unmounted volume finds nothing. Where it does, the volume's history says
    /// how that came.
    pub(crate) fn check(&self) {
        let found = redoubt(["fsck"]).arg(&self.volume).output().unwrap();
        if !found.status.success() {
            let events = redoubt(["events"]).arg(&self.volume).output().unwrap();
            eprintln!("{}", String::from_utf8_lossy(&events.stdout));
        }
        text_of(found);
    }
}

impl Drop for TempVolume {
    fn drop(&mut self) {
        remove_mount(&self.home().join("mount")); // left by a test that ended after a kill
    }
}

/// A new directory below the build directory: a real disk with room, not a /tmp in memory.
pub(crate) fn temp_directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("outside-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap()
}

fn create(volume: &Path, size: &str, more: &[&str]) {
    let mut command = redoubt(["create", "--size", size]);
    text_of(command.args(more).arg(volume).output().unwrap());
}

/// Standard output of a command that succeeded.
fn text_of(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {text}{error}", output.status);
    text
}

/// Bytes that a directory and all in it take on its disk, as `du` counts. Files that go away
/// meanwhile count nothing.
pub(crate) fn disk_usage(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    metadata.blocks() * 512 + inside.map(|entry| disk_usage(&entry.path())).sum::<u64>()
}

/// A mounted volume; its daemon is killed and the mount removed when dropped.
pub(crate) struct Mounted {
    daemon: Child,
    point: PathBuf,
}

impl Mounted {
    /// Mounts `volume` and waits until it says that it is mounted. On a directory the disk is
    /// `point/disk`, on a file the file itself.
    pub(crate) fn start(volume: &Path, point: &Path, options: &[&str]) -> Mounted {
        let log_path = point.with_extension("log");
        let log = File::create(&log_path).unwrap();
        let mut command = redoubt(["mount", "-f"]);
        command.args([volume, point]);
        for option in options {
            command.args(["-o", option]);
        }
        let daemon = command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut mounted = Mounted {
            daemon: daemon.spawn().unwrap(),
            point: point.into(),
        };
        // Its own word, not a look at the disk: a dead mount answers from the kernel's cache.
        await_that("the mount", 60, || {
            let said = fs::read_to_string(&log_path).unwrap();
            if let Some(status) = mounted.daemon.try_wait().unwrap() {
                panic!("{status}: {said}");
            }
            said.contains("is mounted at")
        });
        mounted
    }

    /// The disk.
    pub(crate) fn disk(&self) -> PathBuf {
        if self.point.is_file() {
            return self.point.clone();
        }
        self.point.join("disk")
    }

    /// The mount point.
    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// Opens the disk for reading and writing, with more flags of open(2).
    pub(crate) fn open(&self, flags: i32) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags);
        options.open(self.disk()).unwrap()
    }

    /// Writes patterns of so many bytes one after the other, each of the number of its round where `place`
    /// says, and synced, until it is told to stop. Counts those that are done.
    pub(crate) fn write_until(
        &self,
        stop: &AtomicBool,
        done: &AtomicU64,
        bytes: usize,
        place: impl Fn(u64) -> u64,
    ) {
        let file = self.open(0);
        while !stop.load(Ordering::Relaxed) {
            let round = done.load(Ordering::Relaxed);
            file.write_all_at(&pattern(round, bytes), place(round))
                .unwrap();
            file.sync_data().unwrap();
            done.store(round + 1, Ordering::Relaxed);
        }
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.daemon.id()).unwrap())
    }

    /// The most memory that the daemon has had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.unwrap().parse::<u64>().unwrap() * 1024
    }

    /// kill -9, and the dead mount stays as it is: the next mount has to clean it.
    pub(crate) fn kill(mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        self.point = PathBuf::new();
    }

    /// `redoubt umount`; the daemon ends with success.
    pub(crate) fn unmount(mut self) {
        text_of(redoubt(["umount"]).arg(&self.point).output().unwrap());
        assert!(self.daemon.wait().unwrap().success());
    }

    /// Sends a signal, and waits for the daemon's end, which is a success.
    pub(crate) fn end_by(mut self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
        assert!(self.daemon.wait().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // It may have ended, and been unmounted, already.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        if !self.point.as_os_str().is_empty() {
            remove_mount(&self.point);
        }
    }
}

/// Removes a mount, whatever state it is in, if it is there.
pub(crate) fn remove_mount(point: &Path) {
    if umount2(point, MntFlags::MNT_DETACH).is_err() && !nix::unistd::geteuid().is_root() {
        let _ = Command::new("fusermount3").arg("-uz").arg(point).output();
    }
}
