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
//! operation u64    number of the operation; an End or a Fail has that of what ended or failed
//! offset    u64    of a Write, in bytes
//! length    u64    bytes of a Write, or of the name of a Rename; new length of a SetLength
//! path, then the bytes of a Write, or the new name of a Rename (in the same folder)
//! ```
//!
//! An operation that has no End may have been done, in part or not at all. A sync with a Fail was not
//! done, and what it was for may be lost though a later one succeeds. Numbers are little-endian.
//!
//! A test may have syncs fail: see `sync_faults.rs`.

use super::sync_faults;
use crate::page::Pages;
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
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
    Fail = 9,
}

/// Something that was begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation(u64);

static RECORD: OnceLock<Option<File>> = OnceLock::new();
static NEXT: AtomicU64 = AtomicU64::new(1);
/// The files for which the sync of another one is relied upon now.
static SHARING: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());

/// Writes down that something begins.
pub(super) fn begin(action: Action<'_>) -> Operation {
    let operation = NEXT.fetch_add(1, Ordering::Relaxed);
    if let Some(record) = record() {
        let event = encode(operation, &action);
        append(record, &event);
        if let Action::Flush { file } = action {
            SHARING.lock().push((operation, path_of(file)));
        }
    }
    Operation(operation)
}

/// Writes down that it was done.
pub(super) fn end(operation: Operation) {
    finish(Kind::End, operation);
}

/// Writes down that a sync failed; whatever else fails is never ended.
pub(super) fn fail(operation: Operation) {
    finish(Kind::Fail, operation);
}

fn finish(kind: Kind, Operation(operation): Operation) {
    if let Some(record) = record() {
        let event = header(kind, operation, "", 0, 0);
        append(record, &event);
        SHARING.lock().retain(|(shared, _)| *shared != operation);
    }
}

/// Does something, with its beginning and its end.
pub(super) fn during<T>(action: Action<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let is_sync = matches!(action, Action::Sync { .. });
    let is_to_fail = is_to_fail(&action);
    let operation = begin(action);
    let done = match is_to_fail {
        true => Err(io::Error::from_raw_os_error(libc::EIO)),
        false => work(),
    };
    match done {
        Ok(_) => end(operation),
        Err(_) if is_sync => fail(operation),
        Err(_) => {}
    }
    done
}

/// Whether a test has ordered that this sync fails.
fn is_to_fail(action: &Action<'_>) -> bool {
    let Action::Sync { file } = action else {
        return false;
    };
    let sharing = SHARING.lock();
    let shared = sharing.iter().map(|(_, path)| Path::new(path));
    let own = path_of(*file);
    sync_faults::take_orders(shared.chain([Path::new(&own)]))
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
