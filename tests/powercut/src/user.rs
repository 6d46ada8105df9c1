//! The process that uses the disk, and keeps the ledger.

use crate::history::History;
use crate::ledger::{Ledger, LedgerWriter};
use crate::random::Random;
use crate::workload::{DISK_BYTES, Kind, Operation};
use anyhow::{Context, Result, anyhow};
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

/// What the process is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UserArguments {
    /// The mounted disk.
    #[arg(long)]
    pub(crate) disk: PathBuf,
    /// The ledger, which is appended to.
    #[arg(long)]
    pub(crate) ledger: PathBuf,
    /// The record of the session.
    #[arg(long)]
    pub(crate) record: PathBuf,
    /// Seed of the operations.
    #[arg(long)]
    pub(crate) seed: u64,
    /// Session, from 0.
    #[arg(long)]
    pub(crate) session: usize,
    /// Operations to do.
    #[arg(long)]
    pub(crate) operations: u64,
    /// Milliseconds from the end of an operation to the next.
    #[arg(long)]
    pub(crate) pause: u64,
}

/// Memory that O_DIRECT takes, for the largest operation.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new() -> Buffer {
        let memory = vec![0; (1 << 20) + 4096];
        let start = memory.as_ptr().align_offset(4096);
        Buffer { memory, start }
    }

    fn filled(&mut self, bytes: &[u8]) -> &[u8] {
        let place = &mut self.memory[self.start..self.start + bytes.len()];
        place.copy_from_slice(bytes);
        place
    }
}

/// Reads the disk and checks it, then uses it until all is done or the disk is gone. An error of
/// the disk ends the work and is none of this process: daemons are killed on purpose.
///
/// # Errors
/// When what the disk holds is not what it must hold, or the ledger cannot be kept.
pub(crate) fn use_disk(arguments: &UserArguments) -> Result<()> {
    let ledger = Ledger::read(&arguments.ledger, arguments.seed)?;
    let (mut history, demanded) = ledger.at(arguments.session, 0);
    let open = |flags: OFlag| {
        let mut options = OpenOptions::new();
        let flags = OFlag::O_DIRECT | flags;
        options.read(true).write(true).custom_flags(flags.bits());
        options.open(&arguments.disk)
    };
    let Ok((disk, durable)) =
        open(OFlag::empty()).and_then(|disk| Ok((disk, open(OFlag::O_DSYNC)?)))
    else {
        return Ok(());
    };
    let Ok(bytes) = read_all(&disk) else {
        return Ok(());
    };
    let survived = check(&history, &bytes, demanded)?;
    history.truncate(survived);
    let mut ledger_writer =
        LedgerWriter::append(&arguments.ledger, &arguments.record, arguments.seed)?;
    ledger_writer.opened(survived)?;
    let first = ledger.next_sequence();
    let mut user = User {
        disk,
        durable,
        buffer: Buffer::new(),
        ledger: ledger_writer,
        seed: arguments.seed,
    };
    for sequence in first..first + arguments.operations {
        if !user.work(Operation::of(arguments.seed, sequence))? {
            break;
        }
        std::thread::sleep(Duration::from_millis(arguments.pause));
    }
    Ok(())
}

fn check(history: &History, bytes: &[u8], demanded: usize) -> Result<usize> {
    let prefix = history.prefix_of(bytes, demanded);
    prefix.map_err(|why| anyhow!("after a kill and a mount, {why}"))
}

fn read_all(disk: &File) -> std::io::Result<Vec<u8>> {
    let mut buffer = Buffer::new();
    let mut bytes = Vec::with_capacity(DISK_BYTES as usize);
    while (bytes.len() as u64) < DISK_BYTES {
        let place = &mut buffer.memory[buffer.start..buffer.start + (1 << 20)];
        disk.read_exact_at(place, bytes.len() as u64)?;
        bytes.extend_from_slice(place);
    }
    Ok(bytes)
}

struct User {
    disk: File,
    durable: File,
    buffer: Buffer,
    ledger: LedgerWriter,
    seed: u64,
}

impl User {
    /// Does one operation; false when the disk is gone.
    fn work(&mut self, operation: Operation) -> Result<bool> {
        self.ledger.begin(operation)?;
        if self.perform(operation).is_err() {
            return Ok(false);
        }
        if operation.flush && self.disk.sync_data().is_err() {
            return Ok(false);
        }
        if operation.flush || operation.kind == Kind::DurableWrite {
            self.ledger.durable().context("cannot keep the ledger")?;
        }
        // Now and then a pause, so that requests meet an idle volume, too.
        let mut random = Random::of(!self.seed, operation.sequence);
        if random.one_in(8) {
            std::thread::sleep(Duration::from_millis(random.below(12)));
        }
        Ok(true)
    }

    fn perform(&mut self, operation: Operation) -> std::io::Result<()> {
        let bytes = operation.bytes(self.seed);
        match operation.kind {
            Kind::Write => {
                let bytes = self.buffer.filled(&bytes);
                self.disk.write_all_at(bytes, operation.offset)
            }
            Kind::DurableWrite => {
                let bytes = self.buffer.filled(&bytes);
                self.durable.write_all_at(bytes, operation.offset)
            }
            Kind::Discard => {
                let hole =
                    FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                let (offset, length) = (operation.offset as i64, operation.length as i64);
                Ok(fallocate(&self.disk, hole, offset, length)?)
            }
        }
    }
}
