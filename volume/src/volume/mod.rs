//! The handle that callers use: a volume of this machine, opened from its directories.
//!
//! `layout` — creating and removing; `open` — opening; `driver` — the lock around writer and
//! nodes, and what is done outside it; `explain` — what status says; `watch` — directories that
//! vanish and come back; `replace` — others that take their place; `relocate` — segments that move between nodes; `seek` and `verify` — looking for
//! data, comparing copies; `changes` and `events` — what is told to the event history, and how;
//! `faults` and `corrupt` — faults on demand; `scrubbing` — when copies are read and mended while the
//! volume is used.

mod add;
mod answers;
mod changes;
mod corrupt;
mod disk_errors;
mod driver;
mod events;
mod explain;
mod faults;
mod hand_out;
mod idle;
mod layout;
mod open;
mod relocate;
mod replace;
mod scrubbing;
mod seek;
mod verify;
mod watch;

pub use crate::io::faults::FaultKind;
pub use crate::writer::{CacheMode, QuorumLoss, ReadBytes, RebuildRate};
pub use add::{add_nodes, rebalance};
pub use faults::{FaultError, FaultStatus, FaultTarget};
pub use layout::{CreateOptions, create, destroy};
pub use scrubbing::ScrubPolicy;
pub use verify::VerifyReport;

use crate::error::{IoFailure, VolumeError};
use crate::event::{Event, EventKind};
use crate::geometry::MAX_DISK_BYTES;
use crate::limits;
use crate::status::{NodeState, NodeStatus, ScrubReport, ScrubStatus, VolumeStatus};
use crate::writer::Answer;
use crate::writer::payload::cut;
use answers::Callback;
use driver::{Caller, Driver};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How a volume is opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// When a WRITE is answered.
    pub cache: CacheMode,
    /// What waits for a lost quorum.
    pub on_quorum_loss: QuorumLoss,
    /// Memory of the block index of all nodes together, in bytes.
    pub index_bytes: usize,
    /// Writes are refused.
    pub read_only: bool,
    /// How fast nodes are filled.
    pub rebuild_rate: RebuildRate,
    /// When it is scrubbed by itself. Never where writes are refused.
    pub scrub: ScrubPolicy,
    /// Node directories that are gone or damaged are made anew and filled. Without it a node that
    /// is not there stays away, and nothing is erased.
    pub make_anew: bool,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions {
            cache: CacheMode::Writeback,
            on_quorum_loss: QuorumLoss::After(limits::QUORUM_WAIT),
            index_bytes: limits::INDEX_BYTES,
            read_only: false,
            rebuild_rate: RebuildRate::Adaptive,
            scrub: ScrubPolicy::OFF,
            make_anew: true,
        }
    }
}

/// What is called when a request is answered: on any thread, also before the call returns.
pub type Done<T> = Box<dyn FnOnce(Result<T, IoFailure>) + Send>;

/// An open volume. Clones are handles of the same one.
#[derive(Clone)]
pub struct Volume {
    driver: Arc<Driver>,
}

impl Volume {
    /// Opens the volume in directory `path`: every open is a recovery.
    ///
    /// # Errors
    /// [`VolumeError`] when it is no volume, in use, or too few of its nodes are usable.
    pub fn open(path: &Path, options: OpenOptions) -> Result<Volume, VolumeError> {
        Ok(Volume {
            driver: open::open(path, &options)?,
        })
    }

    /// Bytes of the disk.
    pub fn disk_bytes(&self) -> u64 {
        self.driver.disk_bytes()
    }

    /// Bytes of blocks that exist, about.
    pub fn live_bytes(&self) -> u64 {
        self.driver.live_bytes()
    }

    /// Writes at any byte offset, at most 1 MiB. The bytes are copied before this returns.
    /// `durable`: answered when four nodes have them on stable storage.
    pub fn write(&self, offset: u64, data: &[u8], durable: bool, done: Done<()>) {
        let pieces = cut(offset, data);
        self.driver
            .request(Callback::Done(done), |writer, now, ticket| {
                writer.write(now, ticket, pieces, durable);
            });
    }

    /// Reads any bytes of the disk. With `may_block` the calling thread waits for the disk itself
    /// if no other read is under way: that spares two hand-offs.
    pub fn read(&self, offset: u64, length: usize, may_block: bool, done: Done<ReadBytes>) {
        let caller = if may_block {
            Caller::MayBlock
        } else {
            Caller::HasMoreToDo
        };
        self.driver
            .request_from(caller, Callback::Bytes(done), |writer, now, ticket| {
                writer.read(now, ticket, offset, length);
            });
    }

    /// Answers when everything answered before is durable.
    pub fn flush(&self, done: Done<()>) {
        self.driver
            .request(Callback::Done(done), |writer, now, ticket| {
                writer.flush(now, ticket)
            });
    }

    /// Makes any byte range read as zeros and gives its blocks back.
    pub fn discard(&self, offset: u64, length: u64, done: Done<()>) {
        self.driver
            .request(Callback::Done(done), |writer, now, ticket| {
                writer.discard(now, ticket, offset, length);
            });
    }

    /// The first byte at or behind `offset` in a block that exists. Blocks the caller.
    ///
    /// # Errors
    /// [`IoFailure`] when no segment answers.
    pub fn next_data(&self, offset: u64) -> Result<Option<u64>, IoFailure> {
        seek::next_data(&self.driver, offset)
    }

    /// The first byte at or behind `offset` in a block that does not exist; the disk's end is
    /// one. Blocks the caller.
    ///
    /// # Errors
    /// [`IoFailure`] when no segment answers.
    pub fn next_hole(&self, offset: u64) -> Result<u64, IoFailure> {
        seek::next_hole(&self.driver, offset)
    }

    /// Makes the disk larger. Blocks the caller until four nodes know the new size: while three
    /// are left, until a fourth is back.
    ///
    /// # Errors
    /// [`VolumeError::Invalid`] when it would be smaller or too large.
    pub fn resize(&self, disk_bytes: u64) -> Result<(), VolumeError> {
        if disk_bytes < self.disk_bytes() {
            return Err(VolumeError::Invalid(format!(
                "the disk has {} bytes and cannot be made smaller: data behind the new end would \
                 be lost; copy what you need to a new volume",
                self.disk_bytes()
            )));
        }
        if disk_bytes > MAX_DISK_BYTES {
            return Err(VolumeError::Invalid(
                "the largest disk has 128 TiB; choose a smaller size".to_owned(),
            ));
        }
        let resized = self
            .driver
            .ask(|writer, _, ticket| writer.resize(ticket, disk_bytes));
        resized?;
        self.driver.refresh();
        Ok(())
    }

    /// Waits until no copy is being filled any more; `progress` is told now and then which ones
    /// are. Gives up when that takes longer than `patience`.
    pub fn wait_filled(&self, patience: Duration, progress: &mut dyn FnMut(&[NodeStatus])) {
        let deadline = Instant::now() + patience;
        loop {
            let mut nodes = self.status().nodes;
            nodes.retain(|node| matches!(node.state, NodeState::Rebuilding | NodeState::Lagging));
            if nodes.is_empty() || Instant::now() > deadline {
                return;
            }
            progress(&nodes);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Reads every copy of every block and compares them. Blocks the caller; `progress` is told
    /// the blocks done and the blocks known so far.
    ///
    /// # Errors
    /// [`VolumeError`] when the volume cannot be read at all.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, VolumeError> {
        verify::verify(&self.driver, progress)
    }

    /// Reads every copy of every block while the volume is used, compares them, and mends what is
    /// damaged or wrong. `bytes_per_second`: what is read at most, of all nodes together. Blocks the
    /// caller; one scrub at a time.
    ///
    /// # Errors
    /// [`IoFailure::TooManyWaiting`] while another one is under way, [`IoFailure::Closed`] when the
    /// volume is closed meanwhile.
    pub fn scrub(&self, bytes_per_second: Option<NonZeroU64>) -> Result<ScrubReport, IoFailure> {
        let (sender, receiver) = channel();
        scrubbing::start(&self.driver, bytes_per_second, move |result| {
            // The receiver waits below until this is called or dropped.
            let _ = sender.send(result);
        })?;
        receiver.recv().unwrap_or(Err(IoFailure::Closed))
    }

    /// The same without waiting for the end: the scrub's number, which its result names.
    ///
    /// # Errors
    /// As [`Volume::scrub`].
    pub fn start_scrub(&self, bytes_per_second: Option<NonZeroU64>) -> Result<u64, IoFailure> {
        scrubbing::start(&self.driver, bytes_per_second, |_| {})
    }

    /// Has the scrub under way wait, or go on. `false`: there is none.
    pub fn pause_scrub(&self, is_paused: bool) -> bool {
        scrubbing::change(&self.driver, |writer| writer.pause_scrub(is_paused))
    }

    /// Changes how many bytes a second the scrub under way reads at most. `false`: there is none.
    pub fn set_scrub_rate(&self, bytes_per_second: Option<NonZeroU64>) -> bool {
        scrubbing::change(&self.driver, |writer| {
            writer.set_scrub_rate(bytes_per_second)
        })
    }

    /// Ends the scrub under way where it is. `false`: there is none.
    pub fn cancel_scrub(&self) -> bool {
        scrubbing::change(&self.driver, crate::writer::Writer::cancel_scrub)
    }

    /// What is known of the volume's scrubs.
    pub fn scrub_status(&self) -> ScrubStatus {
        scrubbing::status(&self.driver)
    }

    /// Begins to fill a new directory that is to take the place of the node with this name. The
    /// node serves on until it has everything; it can be called off until then.
    ///
    /// # Errors
    /// [`VolumeError`] when there is no such node, it is being replaced already, or the directory
    /// cannot be made.
    pub fn replace_node(&self, name: &str, directory: &Path) -> Result<(), VolumeError> {
        self.driver.replace_node(name, directory)
    }

    /// Calls the replacement of a node off; the directory that is removed.
    ///
    /// # Errors
    /// [`VolumeError::Invalid`] when the node is not being replaced, or it is too late.
    pub fn abort_replacement(&self, name: &str) -> Result<PathBuf, VolumeError> {
        self.driver.abort_replacement(name)
    }

    /// Has all groups leave the node with this name, for good, while the disk is used.
    ///
    /// # Errors
    /// [`VolumeError`] when there is no such node, its zone would keep fewer than two, or nodes are
    /// changing already.
    pub fn drain_node(&self, name: &str) -> Result<(), VolumeError> {
        self.driver.drain_node(name)
    }

    /// Has the groups that there were before nodes were added spread over all nodes, while the disk
    /// is used.
    ///
    /// # Errors
    /// [`VolumeError`] when they are, or nodes are changing already.
    pub fn rebalance(&self) -> Result<(), VolumeError> {
        self.driver.rebalance()
    }

    /// How the volume is.
    pub fn status(&self) -> VolumeStatus {
        let figures = self.driver.figures();
        let nodes = self.driver.node_statuses(&figures);
        VolumeStatus {
            id: self.driver.volume_id(),
            path: self.driver.path().to_path_buf(),
            disk_bytes: self.disk_bytes(),
            state: figures.state,
            explanation: explain::explain(&figures, &nodes),
            epoch: figures.epoch,
            groups: figures.groups,
            vcl: figures.vcl,
            vdl: figures.vdl,
            recovery: self.driver.recovery_time(),
            written_bytes: figures.written_bytes,
            live_bytes: self.live_bytes(),
            log_bytes: nodes.iter().map(|node| node.log_bytes).sum(),
            nodes,
            scrub: self.scrub_status(),
            relocation: figures.relocation,
            data_errors: figures.data_errors,
        }
    }

    /// Makes everything durable, writes checkpoints so that the next open is short, and releases
    /// the directories. Requests after it fail.
    ///
    /// # Errors
    /// [`VolumeError::Request`] when not everything could be made durable in
    /// [`limits::CLOSE_PATIENCE`].
    pub fn close(&self) -> Result<(), VolumeError> {
        self.close_within(limits::CLOSE_PATIENCE)
    }

    fn close_within(&self, patience: Duration) -> Result<(), VolumeError> {
        let (sender, receiver) = channel();
        self.flush(Box::new(move |result| {
            // Nobody waits any more when the receiver is gone.
            let _ = sender.send(result);
        }));
        let flushed = receiver.recv_timeout(patience).unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Timeout => IoFailure::QuorumLost,
                RecvTimeoutError::Disconnected => IoFailure::Closed,
            })
        });
        if let Err(failure) = flushed {
            let text = format!("not everything that was written is durable: {failure}");
            self.driver
                .events
                .note(Event::new(EventKind::NotDurable, text));
        }
        self.driver.close();
        Ok(flushed?)
    }
}

/// The answer of a request that only succeeds.
fn done(answer: Result<Answer, IoFailure>) -> Result<(), IoFailure> {
    answer.map(|_| ())
}

#[cfg(test)]
mod scrub_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    #[test]
    fn a_volume_that_lost_its_quorum_closes_all_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("v");
        let options = CreateOptions {
            disk_bytes: 16 << 20,
            extent_bytes: 1 << 20,
            ..CreateOptions::default()
        };
        create(&path, &options).unwrap();
        let options = OpenOptions {
            on_quorum_loss: QuorumLoss::Wait,
            ..OpenOptions::default()
        };
        let volume = Volume::open(&path, options).unwrap();
        volume
            .driver
            .ask(|writer, now, ticket| writer.write(now, ticket, cut(0, &[0; 4096]), true))
            .unwrap();
        // Three nodes are gone before they have taken what is written.
        let ticket = crate::writer::Ticket(u64::MAX);
        volume.driver.with_core(|core, now| {
            let writer = &mut core.embedded.writer;
            writer.write(now, ticket, cut(0, &[1; 4096]), false);
            for node in [0, 1, 2] {
                core.embedded.nodes[node] = None;
                core.embedded
                    .writer
                    .node_down(now, NodeId(node as u16), "lost");
            }
        });
        let began = Instant::now();
        let closed = volume.close_within(Duration::from_millis(50));
        assert!(
            matches!(closed, Err(VolumeError::Request(IoFailure::QuorumLost))),
            "{closed:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
