//! A batch of writes of several nodes: all submitted at once, then as few syncs as are safe.
//!
//! An acknowledgement stands on what is decided here: a write is done when a sync that began
//! after it has covered it, and a sync that failed fails everything that it was for (law 6).

use super::Directories;
use super::device::Device;
use super::extent_file::ExtentFile;
use super::node_directory::NodeDirectory;
use super::recorder::{self, Action};
use super::transfer::Job;
use super::uring::Ring;
use crate::format::superblock::SLOT_BYTES;
use crate::ids::{ExtentSlot, NodeId};
use crate::page::Pages;
use crate::planted::{Bug, is_planted};
use crate::segment::effect::{DiskCompletion, DiskError, NodeEffect, OperationId};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;

/// Pages to write and sync for a node.
#[derive(Debug)]
pub struct PageWrite {
    node: NodeId,
    operation: OperationId,
    target: Target,
    parts: Vec<Pages>,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Extent {
        slot: ExtentSlot,
        offset: u64,
        overwrites: bool,
    },
    Superblock {
        slot: usize,
    },
}

impl PageWrite {
    /// The write that an effect asks for; any other effect is handed back.
    ///
    /// # Errors
    /// The effect, when it is neither `Append` nor `WriteSuperblock`.
    pub fn from_effect(node: NodeId, effect: NodeEffect) -> Result<PageWrite, NodeEffect> {
        let (operation, target, parts) = match effect {
            NodeEffect::Append {
                operation,
                slot,
                offset,
                parts,
                overwrites,
            } => {
                let target = Target::Extent {
                    slot,
                    offset,
                    overwrites,
                };
                (operation, target, parts)
            }
            NodeEffect::WriteSuperblock {
                operation,
                slot,
                bytes,
            } => (operation, Target::Superblock { slot }, vec![bytes]),
            other => return Err(other),
        };
        Ok(PageWrite {
            node,
            operation,
            target,
            parts,
        })
    }
}

/// Takes out of `writes` what must not be written along with the rest: appends of a node behind its
/// first one, each of which is begun when the one before it is synced.
pub(super) fn split_off_later(writes: &mut Vec<PageWrite>) -> Vec<PageWrite> {
    let mut appending = HashSet::new();
    let is_later = |write: &mut PageWrite| {
        matches!(write.target, Target::Extent { .. }) && !appending.insert(write.node)
    };
    writes.extract_if(.., is_later).collect()
}

impl Target {
    /// Whether a planted bug leaves it out of all syncs.
    fn is_left_unsynced(self) -> bool {
        is_planted(match self {
            Target::Extent { .. } => Bug::AppendNotSynced,
            Target::Superblock { .. } => Bug::SuperblockNotSynced,
        })
    }
}

/// Writes batches to one device. Belongs to the thread that made it, like its ring.
pub struct BatchWriter {
    device: Device,
    directories: Directories,
    ring: Ring,
}

/// What became of a write so far.
struct Outcome {
    node: NodeId,
    operation: OperationId,
    directory: Option<Arc<NodeDirectory>>,
    file: Option<Arc<ExtentFile>>,
    shares_flush: bool,
    write: Option<recorder::Operation>,
    result: Result<(), DiskError>,
}

impl BatchWriter {
    /// A writer for directories on `device`.
    ///
    /// # Errors
    /// When there is no file descriptor left.
    pub fn new(device: Device, directories: Directories) -> io::Result<BatchWriter> {
        Ok(BatchWriter {
            device,
            directories,
            // As many writes as a batch has: one append per node, now and then a superblock.
            ring: Ring::new(WRITES_IN_FLIGHT)?,
        })
    }

    /// Writes and syncs all of it; every write gets its completion.
    pub fn run(&mut self, writes: Vec<PageWrite>) -> Vec<(NodeId, DiskCompletion)> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            let outcome = self.submit(outcomes.len() as u64, write);
            outcomes.push(outcome);
        }
        if is_planted(Bug::SyncBeforeWrite) {
            sync(&mut outcomes, ExtentFile::sync_data);
        }
        for finished in self.ring.wait_all() {
            let outcome = &mut outcomes[finished.token as usize];
            match finished.result {
                Ok(()) => outcome.write.into_iter().for_each(recorder::end),
                Err(error) => outcome.fail("write", &error),
            }
        }
        if !is_planted(Bug::SyncBeforeWrite) {
            sync(&mut outcomes, ExtentFile::sync_data);
        }
        outcomes.into_iter().map(Outcome::completion).collect()
    }

    fn submit(&mut self, token: u64, write: PageWrite) -> Outcome {
        let mut outcome = Outcome {
            node: write.node,
            operation: write.operation,
            directory: self.directories.get(write.node),
            file: None,
            shares_flush: false,
            write: None,
            result: Ok(()),
        };
        let found = outcome.directory.as_deref();
        match found.map_or_else(
            || Err(io::ErrorKind::NotFound.into()),
            |directory| find(directory, write.target),
        ) {
            Ok((file, offset)) => {
                let overwrites = matches!(
                    write.target,
                    Target::Extent {
                        overwrites: true,
                        ..
                    }
                );
                let is_old = overwrites || is_planted(Bug::FlushSharedTooEarly);
                outcome.shares_flush = is_old && self.device.single_flush && file.shares_flush();
                outcome.write = Some(recorder::begin(Action::Write {
                    file: file.file(),
                    offset,
                    parts: &write.parts,
                }));
                let job = Job::Write {
                    file: Arc::clone(file.file()),
                    offset,
                    parts: write.parts,
                    blocks: !overwrites,
                };
                self.ring.push(token, job);
                outcome.file = Some(file).filter(|_| !write.target.is_left_unsynced());
            }
            Err(error) => outcome.fail("open", &error),
        }
        outcome
    }
}

/// The file of a write, and where in it the write begins.
fn find(directory: &NodeDirectory, target: Target) -> io::Result<(Arc<ExtentFile>, u64)> {
    if directory.has_failed() {
        return Err(io::Error::other("an earlier write failed"));
    }
    match target {
        Target::Extent { slot, offset, .. } => Ok((directory.extent_to_append(slot)?, offset)),
        Target::Superblock { slot } => {
            let offset = (slot * SLOT_BYTES) as u64;
            Ok((Arc::clone(directory.superblock_file()), offset))
        }
    }
}

/// Writes of one batch that are in flight together.
const WRITES_IN_FLIGHT: usize = 64;

impl Outcome {
    fn fail(&mut self, what: &str, error: &io::Error) {
        log::error!("node {}: cannot {what}: {error}", self.node.0);
        if let Some(directory) = &self.directory {
            directory.give_up();
        }
        self.result = Err(DiskError::Failed);
    }

    fn completion(self) -> (NodeId, DiskCompletion) {
        let done = DiskCompletion::Done {
            operation: self.operation,
            result: self.result,
        };
        (self.node, done)
    }
}

/// What a sync says. It is asked once: the kernel tells an error once, and a second sync succeeds
/// without what the first one lost.
fn answer(mut sync: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    match sync() {
        Err(_) if is_planted(Bug::SyncRetried) => sync(),
        answer => answer,
    }
}

/// Syncs what was written: those that share a flush by one of them, every other by its own.
fn sync(outcomes: &mut [Outcome], mut sync_file: impl FnMut(&ExtentFile) -> io::Result<()>) {
    let (mut shared, mut own) = (Vec::new(), Vec::new());
    for outcome in outcomes.iter_mut().filter(|outcome| outcome.result.is_ok()) {
        if outcome.shares_flush {
            shared.push(outcome);
        } else {
            own.push(outcome);
        }
    }
    for outcome in own {
        let Some(file) = outcome.file.clone() else {
            continue;
        };
        match answer(|| sync_file(&file)) {
            Ok(()) => file.settle(),
            Err(error) => outcome.fail("sync", &error),
        }
    }
    let Some(first) = shared.first().and_then(|outcome| outcome.file.clone()) else {
        return;
    };
    let flushed = answer(|| flush(&shared, || sync_file(&first)));
    if let Err(error) = flushed {
        shared
            .into_iter()
            .for_each(|outcome| outcome.fail("sync", &error));
    }
}

/// Syncs one of the files of these writes for all of them.
fn flush(shared: &[&mut Outcome], sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let files = shared.iter().filter_map(|outcome| outcome.file.as_deref());
    let begin = |file: &ExtentFile| recorder::begin(Action::Flush { file: file.file() });
    let flushes: Vec<recorder::Operation> = files.map(begin).collect();
    let flushed = sync();
    flushes.into_iter().for_each(match flushed {
        Ok(()) => recorder::end,
        Err(_) => recorder::fail,
    });
    flushed
}

#[cfg(test)]
#[path = "write_batch_tests.rs"]
mod tests;
