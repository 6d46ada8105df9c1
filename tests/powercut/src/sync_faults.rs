//! Has syncs of a mounted volume fail: those of two nodes at a time, and the next two only when the
//! volume is healthy again, so that four others always keep what was promised. The recorder does it
//! when it is ordered to: see `volume/src/io/sync_faults.rs`.

use crate::ending;
use crate::playback::NODES;
use crate::random::Random;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nodes whose syncs fail together.
const AT_A_TIME: usize = 2;
/// Before the order, at most: it meets an append, a superblock or an allocation.
const LONGEST_PAUSE_MS: u64 = 100;
/// What a daemon takes at most to see that a node has fenced itself, and to have it made anew.
const NOTICED: Duration = Duration::from_millis(1000);
/// How long a node may take to be made anew and filled.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where it is done.
pub(crate) struct SyncFaults<'a> {
    /// The folder of orders.
    pub(crate) orders: PathBuf,
    /// The command.
    pub(crate) redoubt: &'a Path,
    /// The volume.
    pub(crate) volume: PathBuf,
}

impl SyncFaults<'_> {
    /// Has a sync of every node fail, in an order drawn at random, again and again as long as the disk
    /// is used.
    ///
    /// # Errors
    /// When the volume does not become healthy again.
    pub(crate) fn run(&self, user: &mut Child, random: &mut Random) -> Result<()> {
        while user.try_wait()?.is_none() {
            for nodes in shuffled(random).chunks(AT_A_TIME) {
                self.await_health()?;
                std::thread::sleep(Duration::from_millis(random.below(LONGEST_PAUSE_MS)));
                self.fail(nodes, user)?;
            }
        }
        self.await_health()
    }

    /// Has the next sync of each of these nodes fail, unless the disk is not used any more.
    fn fail(&self, nodes: &[&str], user: &mut Child) -> Result<()> {
        let orders: Vec<PathBuf> = nodes.iter().map(|node| self.orders.join(node)).collect();
        if user.try_wait()?.is_some() {
            return Ok(());
        }
        for order in &orders {
            fs::write(order, "")?;
        }
        while orders.iter().any(|order| order.exists()) && user.try_wait()?.is_none() {
            ending::check()?;
            std::thread::sleep(Duration::from_millis(5));
        }
        for order in orders {
            // It may be taken at this moment.
            let _ = fs::remove_file(order);
        }
        std::thread::sleep(NOTICED);
        Ok(())
    }

    fn await_health(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut status = Command::new(self.redoubt);
            let status = status.args(["status", "--check"]).arg(&self.volume);
            let status = status.stdout(Stdio::null()).status();
            if status.context("the state of the volume")?.success() {
                return Ok(());
            }
            ending::check()?;
            let is_late = Instant::now() >= deadline;
            ensure!(!is_late, "the volume does not become healthy again");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// All nodes in any order.
fn shuffled(random: &mut Random) -> [&'static str; NODES.len()] {
    let mut nodes = NODES;
    for last in (1..nodes.len()).rev() {
        nodes.swap(last, random.below(last as u64 + 1) as usize);
    }
    nodes
}
