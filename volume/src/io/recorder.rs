//! Writes down what is done to the files of a node, in its order, so that a test can build every
//! state that a power cut could have left. Only in builds with the feature `recorder`; every other
//! build has `unrecorded.rs` in this place, which does nothing.
//!
//! The record is the file that `REDOUBT_RECORD` names. An event is one call of write(2): it is
//! there when the process is killed right after it.
//!
//! ```text
//! kind      u8     what happens: see Kind
//! zeros     u8     3 times
//! path      u32    bytes of the path
//! operation u64    number of the operation; an End has the number of what ended
//! offset    u64    of a Write, in bytes
//! length    u64    bytes of a Write, or of the name of a Rename; new length of a SetLength
//! path, then the bytes of a Write, or the new name of a Rename (in the same folder)
//! ```
//!
//! An operation that has no End may have been done, in part or not at all. Numbers are
//! little-endian.

use crate::page::Pages;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is done to a file.
pub(super) enum Action<'a> {
    /// Pages are written.
    Write {
        file: &'a File,
        offset: u64,
        parts: &'a [Pages],
    },
    /// A file that is no log gets its bytes.
    Fill { file: &'a File, bytes: &'a [u8] },
    /// The file is made longer (or shorter), new bytes are allocated and zero.
    SetLength { file: &'a File, bytes: u64 },
    /// A file, or a folder, appears in a folder.
    Create {
        folder: &'a dyn AsFile,
        name: &'a str,
    },
    /// A file gets the name of another one of its folder, which is gone then.
    Rename {
        folder: &'a dyn AsFile,
        from: &'a str,
        to: &'a str,
    },
    /// A file, or a folder, leaves a folder.
    Remove {
        folder: &'a dyn AsFile,
        name: &'a str,
    },
    /// File or folder is synced.
    Sync { file: &'a File },
    /// Another file of the device is synced, which covers what was overwritten in this one.
    Flush { file: &'a File },
}

/// Something with a descriptor.
pub(super) trait AsFile {
    fn descriptor(&self) -> i32;
}

impl<T: AsFd> AsFile for T {
    fn descriptor(&self) -> i32 {
        self.as_fd().as_raw_fd()
    }
}

/// The kind of an event, as the record has it.
#[derive(Clone, Copy)]
enum Kind {
    Write = 1,
    SetLength = 2,
    Create = 3,
    Remove = 4,
    Sync = 5,
    Flush = 6,
    End = 7,
    Rename = 8,
}

/// Something that was begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation(u64);

static RECORD: OnceLock<Option<File>> = OnceLock::new();
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Writes down that something begins.
pub(super) fn begin(action: Action<'_>) -> Operation {
    let operation = NEXT.fetch_add(1, Ordering::Relaxed);
    if let Some(record) = record() {
        let event = encode(operation, &action);
        append(record, &event);
    }
    Operation(operation)
}

/// Writes down that it was done; what failed is never ended.
pub(super) fn end(operation: Operation) {
    if let Some(record) = record() {
        let event = header(Kind::End, operation.0, "", 0, 0);
        append(record, &event);
    }
}

/// Does something, with its beginning and its end.
pub(super) fn during<T>(action: Action<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let operation = begin(action);
    let done = work()?;
    end(operation);
    Ok(done)
}

fn record() -> Option<&'static File> {
    let open = || {
        let path = std::env::var_os("REDOUBT_RECORD")?;
        let file = OpenOptions::new().create(true).append(true).open(path);
        Some(file.expect("the record can be written"))
    };
    RECORD.get_or_init(open).as_ref()
}

fn append(mut record: &File, event: &[u8]) {
    // A record with a gap would prove nothing.
    record.write_all(event).expect("the record can be written");
}

fn encode(operation: u64, action: &Action<'_>) -> Vec<u8> {
    match action {
        Action::Write {
            file,
            offset,
            parts,
        } => {
            let length = parts.iter().map(|part| part.bytes().len() as u64).sum();
            let path = path_of(*file);
            let mut event = header(Kind::Write, operation, &path, *offset, length);
            for part in *parts {
                event.extend_from_slice(part.bytes());
            }
            event
        }
        Action::Fill { file, bytes } => {
            let length = bytes.len() as u64;
            let mut event = header(Kind::Write, operation, &path_of(*file), 0, length);
            event.extend_from_slice(bytes);
            event
        }
        Action::SetLength { file, bytes } => {
            header(Kind::SetLength, operation, &path_of(*file), 0, *bytes)
        }
        Action::Create { folder, name } => {
            header(Kind::Create, operation, &path_in(*folder, name), 0, 0)
        }
        Action::Rename { folder, from, to } => {
            let (path, length) = (path_in(*folder, from), to.len() as u64);
            let mut event = header(Kind::Rename, operation, &path, 0, length);
            event.extend_from_slice(to.as_bytes());
            event
        }
        Action::Remove { folder, name } => {
            header(Kind::Remove, operation, &path_in(*folder, name), 0, 0)
        }
        Action::Sync { file } => header(Kind::Sync, operation, &path_of(*file), 0, 0),
        Action::Flush { file } => header(Kind::Flush, operation, &path_of(*file), 0, 0),
    }
}

fn header(kind: Kind, operation: u64, path: &str, offset: u64, length: u64) -> Vec<u8> {
    let mut event = vec![kind as u8, 0, 0, 0];
    event.extend((path.len() as u32).to_le_bytes());
    for number in [operation, offset, length] {
        event.extend(number.to_le_bytes());
    }
    event.extend(path.as_bytes());
    event
}

fn path_in(folder: &dyn AsFile, name: &str) -> String {
    format!("{}/{name}", path_of(folder))
}

/// Where a descriptor leads to, as the kernel knows it.
fn path_of(file: &dyn AsFile) -> String {
    let link = PathBuf::from(format!("/proc/self/fd/{}", file.descriptor()));
    let path = std::fs::read_link(link).expect("an open descriptor");
    path.to_string_lossy().into_owned()
}
