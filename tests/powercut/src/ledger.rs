//! The durability ledger: what was asked, and what was promised, written by the process that
//! uses the disk, outside of it.
//!
//! ```text
//! opened SURVIVED POSITION                           the disk was read and holds that prefix
//! begin SEQUENCE                                     before an operation
//! durable SEQUENCE OFFSET LENGTH HASH POSITION       after the fsync (or O_DSYNC) that covers it
//! end                                                a session is over
//! ```
//!
//! A position is the length of the session's record in bytes: what the record says up to there
//! had happened.

use crate::history::History;
use crate::workload::Operation;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What the ledger says of one session.
#[derive(Clone, Default)]
pub(crate) struct Session {
    /// Operations that had survived, and where in the record that was known.
    opened: Option<(usize, u64)>,
    begun: Vec<u64>,
    durable: Vec<Durable>,
}

/// A promise.
#[derive(Clone, Copy)]
struct Durable {
    sequence: u64,
    position: u64,
}

/// The ledger of a recording.
pub(crate) struct Ledger {
    seed: u64,
    sessions: Vec<Session>,
}

impl Ledger {
    /// Reads it; no file is an empty one.
    pub(crate) fn read(path: &Path, seed: u64) -> Result<Ledger> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let mut ledger = Ledger {
            seed,
            sessions: vec![Session::default()],
        };
        for line in text.lines() {
            ledger
                .take(line)
                .with_context(|| format!("{}: '{line}'", path.display()))?;
        }
        Ok(ledger)
    }

    fn take(&mut self, line: &str) -> Result<()> {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let numbers = words.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let session = self.sessions.last_mut().expect("one at least");
        match (kind, &numbers[..]) {
            ("opened", [survived, position]) => {
                session.opened = Some((*survived as usize, *position));
            }
            ("begin", [sequence]) => session.begun.push(*sequence),
            ("durable", [sequence, offset, length, hash, position]) => {
                let operation = Operation::of(self.seed, *sequence);
                ensure!(
                    (operation.offset, operation.length) == (*offset, *length)
                        && hash_of(&operation.bytes(self.seed)) == *hash,
                    "the operation of this number is another one"
                );
                session.durable.push(Durable {
                    sequence: *sequence,
                    position: *position,
                });
            }
            ("end", []) => self.sessions.push(Session::default()),
            _ => bail!("it is no line of a ledger"),
        }
        Ok(())
    }

    /// The number of the next operation.
    pub(crate) fn next_sequence(&self) -> u64 {
        let begun = self.sessions.iter().flat_map(|session| &session.begun);
        begun.max().map_or(1, |last| last + 1)
    }

    /// What may have happened up to a position in the record of a session, and how much of it
    /// must be there.
    pub(crate) fn at(&self, session: usize, position: u64) -> (History, usize) {
        let (mut history, mut demanded) = (History::new(self.seed), 0);
        for (number, entry) in self.sessions.iter().enumerate().take(session + 1) {
            let until = if number == session {
                position
            } else {
                u64::MAX
            };
            let Some((survived, _)) = entry.opened.filter(|(_, at)| *at <= until) else {
                continue;
            };
            history.truncate(survived);
            demanded = survived;
            for sequence in &entry.begun {
                history.push(Operation::of(self.seed, *sequence));
            }
            demanded = demanded.max(entry.demanded(&history, until));
        }
        (history, demanded)
    }

    /// Whether the user of a session had read the disk by this position in its record.
    pub(crate) fn was_opened_by(&self, session: usize, position: u64) -> bool {
        let session = self.sessions.get(session);
        session
            .and_then(|session| session.opened)
            .is_some_and(|(_, at)| at <= position)
    }

    /// How much must be there at a position, given what may have happened by then.
    pub(crate) fn demanded(&self, session: usize, position: u64, history: &History) -> usize {
        let entry = &self.sessions[session];
        let survived = entry.opened.map_or(0, |(survived, _)| survived);
        survived.max(entry.demanded(history, position))
    }
}

impl Session {
    fn demanded(&self, history: &History, until: u64) -> usize {
        let promised = self.durable.iter().filter(|line| line.position <= until);
        let last = promised.map(|line| line.sequence).max();
        last.map_or(0, |sequence| history.up_to(sequence))
    }
}

/// Writes the ledger of a running session.
pub(crate) struct LedgerWriter {
    file: File,
    record: PathBuf,
    seed: u64,
    waiting: Vec<Operation>,
}

impl LedgerWriter {
    /// Appends to the ledger at `path`; positions are of the record at `record`.
    pub(crate) fn append(path: &Path, record: &Path, seed: u64) -> Result<LedgerWriter> {
        Ok(LedgerWriter {
            file: OpenOptions::new().create(true).append(true).open(path)?,
            record: record.to_path_buf(),
            seed,
            waiting: Vec::new(),
        })
    }

    /// The disk was read.
    pub(crate) fn opened(&mut self, survived: usize) -> Result<()> {
        let line = format!("opened {survived} {}\n", self.position()?);
        Ok(self.file.write_all(line.as_bytes())?)
    }

    /// An operation begins.
    pub(crate) fn begin(&mut self, operation: Operation) -> Result<()> {
        self.waiting.push(operation);
        let line = format!("begin {}\n", operation.sequence);
        Ok(self.file.write_all(line.as_bytes())?)
    }

    /// Everything that was begun is durable.
    pub(crate) fn durable(&mut self) -> Result<()> {
        let position = self.position()?;
        let mut lines = String::new();
        for operation in self.waiting.drain(..) {
            let hash = hash_of(&operation.bytes(self.seed));
            lines += &format!(
                "durable {} {} {} {hash} {position}\n",
                operation.sequence, operation.offset, operation.length
            );
        }
        Ok(self.file.write_all(lines.as_bytes())?)
    }

    /// The session is over: whatever comes is of the next one.
    pub(crate) fn end(path: &Path) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(file.write_all(b"end\n")?)
    }

    fn position(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.record)?.len())
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    u64::from(crc32fast::hash(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_follow_what_was_written_down() {
        let temp = tempfile::tempdir().unwrap();
        let (path, record) = (temp.path().join("ledger"), temp.path().join("record"));
        std::fs::write(&record, [0; 10]).unwrap();
        let mut writer = LedgerWriter::append(&path, &record, 4).unwrap();
        writer.opened(0).unwrap();
        for sequence in 1..=3 {
            writer.begin(Operation::of(4, sequence)).unwrap();
        }
        std::fs::write(&record, [0; 30]).unwrap();
        writer.durable().unwrap();
        writer.begin(Operation::of(4, 4)).unwrap();
        LedgerWriter::end(&path).unwrap();
        std::fs::write(&record, [0; 5]).unwrap();
        writer.opened(3).unwrap();
        writer.begin(Operation::of(4, 5)).unwrap();

        let ledger = Ledger::read(&path, 4).unwrap();
        assert_eq!(ledger.next_sequence(), 6);
        let at = |session, position| {
            let (history, demanded) = ledger.at(session, position);
            (history.len(), demanded)
        };
        assert_eq!(at(0, 9), (0, 0), "not yet opened");
        assert_eq!(at(0, 29), (4, 0), "not yet promised");
        assert_eq!(at(0, 30), (4, 3));
        assert_eq!(at(1, 4), (4, 3), "the recovery is not over");
        assert_eq!(at(1, 5), (4, 3), "operation 4 is lost for ever, 5 came");
        assert!(Ledger::read(&path, 5).is_err(), "another seed");
    }
}
