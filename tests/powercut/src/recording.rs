//! Makes a recording: a volume is created, mounted, used, and its daemon killed or unmounted, again
//! and again; what each of these processes does to the volume's files and folders is written down.
//!
//! ```text
//! DIRECTORY/seed           of the operations
//! DIRECTORY/ledger         see `ledger`
//! DIRECTORY/record-create  what the command did that made the volume
//! DIRECTORY/snapshot-N     files and folders before session N, as events
//! DIRECTORY/record-N       what the daemon of session N did
//! ```

use crate::ending;
use crate::event::{Bytes, What, encode};
use crate::ledger::LedgerWriter;
use crate::playback::{NODES, VOLUME};
use crate::random::Random;
use crate::sync_faults::SyncFaults;
use crate::workload::{DISK_BYTES, GROUP_BYTES, Workload};
use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, umount2};
use redoubt_volume::io::address_book::BOOK_NAME;
use redoubt_volume::page::PAGE_BYTES;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Sessions of a recording.
const SESSIONS: usize = 8;
/// The session in which syncs fail: it ends by unmounting, when all nodes are whole again.
const FAILING_SESSION: usize = 3;
/// How long that session is used, such that all nodes can be made anew meanwhile.
const FAILING_SESSION_MS: u64 = 12_000;
/// It has so many times fewer operations: a node's next checkpoint comes after syncs of others have
/// failed, too.
const FAILING_SESSION_SLOWNESS: u64 = 4;
/// How long a daemon may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the parts of a recording lie.
#[derive(Clone, Debug)]
pub(crate) struct Recording(pub(crate) PathBuf);

impl Recording {
    /// The ledger.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.0.join("ledger")
    }

    /// What the making of the volume did.
    pub(crate) fn creation(&self) -> PathBuf {
        self.0.join("record-create")
    }

    /// The files before a session.
    pub(crate) fn snapshot(&self, session: usize) -> PathBuf {
        self.0.join(format!("snapshot-{session}"))
    }

    /// What a session's daemon did.
    pub(crate) fn record(&self, session: usize) -> PathBuf {
        self.0.join(format!("record-{session}"))
    }

    /// Seed of the operations.
    pub(crate) fn seed(&self) -> Result<u64> {
        let path = self.0.join("seed");
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("{} is no recording", self.0.display()))?;
        Ok(text.trim().parse()?)
    }

    /// Number of sessions.
    pub(crate) fn sessions(&self) -> usize {
        (0..)
            .take_while(|session| self.record(*session).exists())
            .count()
    }

    /// Makes the recording with this build of the command.
    pub(crate) fn make(&self, redoubt: &Path, seed: u64) -> Result<()> {
        fs::create_dir_all(&self.0)?;
        fs::write(self.0.join("seed"), format!("{seed}\n"))?;
        let mut studio = Studio {
            recording: self.clone(),
            redoubt: redoubt.to_path_buf(),
            home: self.0.canonicalize()?,
            random: Random::of(seed, u64::MAX),
            daemon: None,
        };
        studio.create()?;
        for session in 0..SESSIONS {
            studio.session(session, seed)?;
        }
        fs::remove_dir_all(studio.volume())?;
        fs::remove_dir_all(studio.orders())?;
        Ok(())
    }
}

/// Where a recording is made. Ends its daemon and its mount when dropped.
struct Studio {
    recording: Recording,
    redoubt: PathBuf,
    home: PathBuf,
    random: Random,
    daemon: Option<Child>,
}

impl Studio {
    fn volume(&self) -> PathBuf {
        self.home.join(VOLUME)
    }

    fn point(&self) -> PathBuf {
        self.home.join("mount")
    }

    /// Where the recorder looks for orders to have a sync fail.
    fn orders(&self) -> PathBuf {
        self.home.join("failing-syncs")
    }

    fn create(&self) -> Result<()> {
        fs::create_dir_all(self.point())?;
        fs::create_dir_all(self.orders())?;
        let mut create = Command::new(&self.redoubt);
        create.args(["create", "--extent-size", "1M", "--size"]);
        create.args([
            DISK_BYTES.to_string(),
            "--group-size".into(),
            GROUP_BYTES.to_string(),
        ]);
        create.env("REDOUBT_RECORD", self.recording.creation());
        run(create.arg(self.volume()))
    }

    fn session(&mut self, number: usize, seed: u64) -> Result<()> {
        if number % 3 == 2 {
            // The daemon finds one of its directories gone, and makes it anew.
            let node = self.random.below(6) as usize;
            let node = self.volume().join("nodes").join(NODES[node]);
            fs::remove_dir_all(node)?;
        }
        snapshot(&self.volume(), &self.recording.snapshot(number))?;
        self.mount(number)?;
        let mut user = Command::new(std::env::current_exe()?);
        user.arg("use").arg("--disk").arg(self.point().join("disk"));
        user.arg("--ledger").arg(self.recording.ledger());
        user.arg("--record").arg(self.recording.record(number));
        user.args(["--seed", &seed.to_string()]);
        user.args(["--session", &number.to_string()]);
        let operations = Workload::of(seed).operations();
        let slower = operations / FAILING_SESSION_SLOWNESS;
        let (operations, pause) = match number {
            FAILING_SESSION => (slower, FAILING_SESSION_MS / slower),
            _ => (operations, 0),
        };
        user.args(["--operations", &operations.to_string()]);
        user.args(["--pause", &pause.to_string()]);
        let mut user = user.spawn()?;
        let kill_after = match number % 4 {
            3 => None,
            _ => Some(Duration::from_millis(200 + self.random.below(1500))),
        };
        let failed = match number {
            FAILING_SESSION => self.fail_syncs(&mut user),
            _ => Ok(()),
        };
        let ended = failed.and_then(|()| self.watch(&mut user, kill_after));
        if ended.is_err() {
            let _ = user.kill();
        }
        ended?;
        LedgerWriter::end(&self.recording.ledger())
    }

    fn fail_syncs(&mut self, user: &mut Child) -> Result<()> {
        let faults = SyncFaults {
            orders: self.orders(),
            redoubt: &self.redoubt,
            volume: self.volume(),
        };
        faults.run(user, &mut self.random)
    }

    /// Waits for the user's end; the daemon is killed at its time, or unmounted at the end.
    fn watch(&mut self, user: &mut Child, kill_after: Option<Duration>) -> Result<()> {
        if let Some(pause) = kill_after {
            std::thread::sleep(pause);
            self.kill()?;
        }
        let status = await_end(user).context("the process that uses the disk")?;
        ending::check()?;
        ensure!(status, "LOSS: the process that uses the disk says so above");
        if kill_after.is_none() {
            run(Command::new(&self.redoubt).arg("umount").arg(self.point()))?;
            if let Some(mut daemon) = self.daemon.take() {
                ensure!(await_end(&mut daemon)?, "the daemon ended with an error");
            }
        }
        Ok(())
    }

    fn mount(&mut self, number: usize) -> Result<()> {
        let log_path = self.home.join(format!("log-{number}"));
        let log = File::create(&log_path)?;
        // A daemon without this process would go on for ever.
        let mut mount = Command::new("setpriv");
        mount
            .args(["--pdeathsig", "KILL"])
            .arg(&self.redoubt)
            .args(["mount", "-f"])
            .args([self.volume(), self.point()]);
        mount.env("REDOUBT_RECORD", self.recording.record(number));
        mount.env("REDOUBT_FAIL_SYNCS", self.orders());
        let daemon = mount
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let daemon = daemon.spawn().context("setpriv (of util-linux)")?;
        let daemon = self.daemon.insert(daemon);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = fs::read_to_string(&log_path)?;
            if said.contains("is mounted at") {
                break;
            }
            ending::check()?;
            if let Some(status) = daemon.try_wait()? {
                bail!("the volume cannot be mounted ({status}): {said}");
            }
            ensure!(
                Instant::now() < deadline,
                "the volume is not mounted in time: {said}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        ensure!(
            self.recording.record(number).exists(),
            "{} writes no record: it was built without its feature 'recorder'",
            self.redoubt.display()
        );
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill()?;
            daemon.wait()?;
        }
        Ok(())
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        let _ = self.kill();
        let point = self.point();
        if umount2(&point, MntFlags::MNT_DETACH).is_err() {
            let mut unmount = Command::new("fusermount3");
            unmount.arg("-uz").arg(&point).stderr(Stdio::null());
            let _ = unmount.status();
        }
        // Not when a mount is still there.
        let _ = fs::remove_dir(&point);
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}

/// Whether the process ended well; an error when it does not end.
fn await_end(process: &mut Child) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(status.success());
        }
        ending::check()?;
        ensure!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes down the volume's folders and the files of all nodes; pages of zeros are left out.
fn snapshot(volume: &Path, to: &Path) -> Result<()> {
    let mut events = File::create(to)?;
    let nodes = volume.join("nodes");
    let of_nodes = NODES.map(|node| [nodes.join(node), nodes.join(node).join("log")]);
    let folders = [volume.to_path_buf(), nodes.clone()];
    for folder in folders.iter().chain(of_nodes.iter().flatten()) {
        if folder.exists() {
            events.write_all(&encode(text_of(folder)?, &What::Create))?;
        }
    }
    events.write_all(&events_of(&volume.join(BOOK_NAME))?)?;
    for node in NODES {
        let folder = nodes.join(node);
        let extents = fs::read_dir(folder.join("log")).into_iter().flatten();
        let mut files: Vec<PathBuf> = extents
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.push(folder.join("superblock"));
        for file in files.iter().filter(|file| file.exists()) {
            events.write_all(&events_of(file)?)?;
        }
    }
    Ok(())
}

fn text_of(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

fn events_of(file: &Path) -> Result<Vec<u8>> {
    let path = text_of(file)?;
    let content = fs::read(file)?;
    let mut events = encode(path, &What::Create);
    let bytes = content.len() as u64;
    events.extend(encode(path, &What::SetLength { bytes }));
    for (index, page) in content.chunks(PAGE_BYTES).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            let offset = (index * PAGE_BYTES) as u64;
            let bytes = Bytes::from_vec(page.to_vec());
            events.extend(encode(path, &What::Write { offset, bytes }));
        }
    }
    Ok(events)
}
