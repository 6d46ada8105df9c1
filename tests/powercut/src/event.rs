//! The events of a record: what was done to the files of the nodes, in order. Their bytes are
//! described in `volume/src/io/recorder.rs`.

use anyhow::{Context, Result, bail, ensure};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const HEADER_BYTES: usize = 32;

/// Bytes inside a record that is in memory.
#[derive(Clone)]
pub(crate) struct Bytes {
    buffer: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl Bytes {
    /// Bytes of their own.
    pub(crate) fn from_vec(bytes: Vec<u8>) -> Bytes {
        let range = 0..bytes.len();
        Bytes {
            buffer: Arc::new(bytes),
            range,
        }
    }

    /// Some of them.
    pub(crate) fn part(&self, part: Range<usize>) -> Bytes {
        Bytes {
            buffer: Arc::clone(&self.buffer),
            range: self.range.start + part.start..self.range.start + part.end,
        }
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

/// What an event says.
#[derive(Clone)]
pub(crate) enum What {
    /// Bytes are written.
    Write { offset: u64, bytes: Bytes },
    /// A file gets another length.
    SetLength { bytes: u64 },
    /// A file, or a folder, appears.
    Create,
    /// A file takes the name of another one of its folder.
    Rename { to: String },
    /// A file goes away.
    Remove,
    /// A file or folder is synced.
    Sync,
    /// The sync of another file is relied upon for what was overwritten in this one.
    Flush,
    /// An operation was done.
    End,
    /// A sync failed.
    Fail,
}

impl What {
    /// Many of them, in words.
    pub(crate) fn plural(&self) -> &'static str {
        match self {
            What::Write { .. } => "writes",
            What::SetLength { .. } => "allocations",
            What::Create => "creations",
            What::Rename { .. } => "renames",
            What::Remove => "removals",
            What::Sync => "syncs",
            What::Flush => "shared flushes",
            What::End => "ends",
            What::Fail => "failed syncs",
        }
    }
}

/// One event of a record.
#[derive(Clone)]
pub(crate) struct Event {
    /// Of the process that made the record.
    pub(crate) operation: u64,
    /// The file; empty at an end or a failure.
    pub(crate) path: String,
    /// What is done to it.
    pub(crate) what: What,
    /// Bytes of the record up to the end of this event.
    pub(crate) position: u64,
}

/// Reads a record. Its last event may be cut off: the process was killed while it wrote it.
pub(crate) fn read_record(path: &Path) -> Result<Vec<Event>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let buffer = Arc::new(bytes);
    let (mut events, mut at) = (Vec::new(), 0);
    while let Some(event) = decode(&buffer, at)
        .with_context(|| format!("{} is no record at byte {at}", path.display()))?
    {
        at = event.position as usize;
        events.push(event);
    }
    Ok(events)
}

fn decode(buffer: &Arc<Vec<u8>>, at: usize) -> Result<Option<Event>> {
    let rest = &buffer[at..];
    if rest.len() < HEADER_BYTES {
        return Ok(None);
    }
    ensure!(rest[1..4] == [0; 3], "three bytes are not zero");
    let number = |at: usize| {
        let bytes: [u8; 8] = rest[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    let path_bytes = (number(0) >> 32) as usize;
    let (operation, offset, length) = (number(8), number(16), number(24));
    let data_bytes = match rest[0] {
        1 | 8 => length as usize,
        _ => 0,
    };
    let end = HEADER_BYTES + path_bytes + data_bytes;
    if rest.len() < end {
        return Ok(None);
    }
    let path = std::str::from_utf8(&rest[HEADER_BYTES..HEADER_BYTES + path_bytes])?.to_owned();
    let what = match rest[0] {
        1 => What::Write {
            offset,
            bytes: Bytes {
                buffer: Arc::clone(buffer),
                range: at + HEADER_BYTES + path_bytes..at + end,
            },
        },
        2 => What::SetLength { bytes: length },
        3 => What::Create,
        4 => What::Remove,
        5 => What::Sync,
        6 => What::Flush,
        7 => What::End,
        8 => What::Rename {
            to: std::str::from_utf8(&rest[end - data_bytes..end])?.to_owned(),
        },
        9 => What::Fail,
        kind => bail!("there is no event of kind {kind}"),
    };
    Ok(Some(Event {
        operation,
        path,
        what,
        position: (at + end) as u64,
    }))
}

/// The bytes of an event, for the snapshots that the tool itself makes.
pub(crate) fn encode(path: &str, what: &What) -> Vec<u8> {
    let (kind, offset, length): (u8, u64, u64) = match what {
        What::Write { offset, bytes } => (1, *offset, bytes.len() as u64),
        What::SetLength { bytes } => (2, 0, *bytes),
        What::Create => (3, 0, 0),
        What::Rename { to } => (8, 0, to.len() as u64),
        What::Remove => (4, 0, 0),
        What::Sync => (5, 0, 0),
        What::Flush => (6, 0, 0),
        What::End => (7, 0, 0),
        What::Fail => (9, 0, 0),
    };
    let mut event = vec![kind, 0, 0, 0];
    event.extend((path.len() as u32).to_le_bytes());
    for number in [0, offset, length] {
        event.extend(number.to_le_bytes());
    }
    event.extend(path.as_bytes());
    match what {
        What::Write { bytes, .. } => event.extend_from_slice(bytes),
        What::Rename { to } => event.extend_from_slice(to.as_bytes()),
        _ => {}
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_up_to_what_was_cut_off() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("record");
        let write = What::Write {
            offset: 4096,
            bytes: Bytes::from_vec(vec![7; 100]),
        };
        let to = "name".to_owned();
        let mut bytes = encode("nodes/a1/superblock", &write);
        bytes.extend(encode("nodes/a1/x", &What::Rename { to }));
        bytes.extend(encode("nodes/a1/log", &What::Sync));
        let whole = bytes.len();
        bytes.extend(&encode("nodes/a1/log", &What::Remove)[..40]);
        std::fs::write(&path, &bytes).unwrap();
        let events = read_record(&path).unwrap();
        assert_eq!(events.len(), 3);
        assert!(matches!(&events[1].what, What::Rename { to } if to == "name"));
        assert_eq!(events[2].position, whole as u64);
        let What::Write { offset, bytes } = &events[0].what else {
            panic!("a write");
        };
        assert_eq!((*offset, &bytes[..]), (4096, &[7; 100][..]));
    }
}
