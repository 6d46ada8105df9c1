//! The event history of a volume: `VOLUME/events.log`, and `VOLUME/events.old` before it.
//!
//! ```text
//! <CRC-32 of the rest, 8 hex digits> <number> <time, ms> <kind> <node> <from> <to> <count> <duration, ms> <text>
//! ```
//!
//! One event a line; what an event does not have is `-`. When the newer file is full it takes the
//! place of the older one. The history is for people and counts for nothing: it is not synced, and
//! a line that does not check is skipped.

use crate::event::{Event, EventKind};
use crate::limits;
use crc32fast::hash;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Name of the newer file in the volume's directory.
pub const NEW_NAME: &str = "events.log";
/// Name of the older one.
pub const OLD_NAME: &str = "events.old";

/// The history, for the one process that has the volume open.
#[derive(Debug)]
pub struct EventHistory {
    volume: PathBuf,
    last: u64,
    /// Bytes of the newer file.
    bytes: u64,
    /// The newer file may end in the middle of a line.
    torn: bool,
    last_kind: Option<EventKind>,
}

impl EventHistory {
    /// Goes on with the history of the volume in this directory.
    pub fn of(volume: &Path) -> EventHistory {
        let last = read(volume).pop();
        let newer = read_file(&volume.join(NEW_NAME));
        EventHistory {
            volume: volume.to_path_buf(),
            last: last.as_ref().map_or(0, |event| event.number),
            bytes: newer.len() as u64,
            torn: newer.last().is_some_and(|byte| *byte != b'\n'),
            last_kind: last.map(|event| event.kind),
        }
    }

    /// What happened last before.
    pub fn last_kind(&self) -> Option<EventKind> {
        self.last_kind
    }

    /// Gives the events their numbers and adds them.
    ///
    /// # Errors
    /// What the operating system says. Some of the events may be in the history all the same; a
    /// line that was cut off harms no other.
    pub fn append(&mut self, events: &mut [Event]) -> io::Result<()> {
        if self.bytes >= limits::EVENT_FILE_BYTES {
            let path = |name| self.volume.join(name);
            std::fs::rename(path(NEW_NAME), path(OLD_NAME))?;
            (self.bytes, self.torn) = (0, false);
        }
        let mut text = String::from(if self.torn { "\n" } else { "" });
        for event in events {
            self.last += 1;
            event.number = self.last;
            text.push_str(&encode(event));
        }
        // Until all of it is written.
        self.torn = true;
        open_to_append(&self.volume.join(NEW_NAME))?.write_all(text.as_bytes())?;
        self.torn = false;
        self.bytes += text.len() as u64;
        Ok(())
    }
}

/// The history of the volume in this directory, oldest first; what cannot be read is not in it.
pub fn read(volume: &Path) -> Vec<Event> {
    // The newer one first: what is moved meanwhile is met twice, and not missed.
    let texts = [NEW_NAME, OLD_NAME].map(|name| read_file(&volume.join(name)));
    let lines = texts
        .iter()
        .flat_map(|text| text.split(|byte| *byte == b'\n'));
    let events = lines.filter_map(decode).map(|event| (event.number, event));
    events.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// The files of the history of the volume in this directory.
pub fn files(volume: &Path) -> [PathBuf; 2] {
    [NEW_NAME, OLD_NAME].map(|name| volume.join(name))
}

/// Opens a file that may be anything: neither a pipe nor a link leads away or holds up.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

fn open_to_append(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().append(true).create(true))
}

fn read_file(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A batch of events may go over the bound before the file is moved.
    let most = limits::EVENT_FILE_BYTES + (limits::EVENT_QUEUE * limits::EVENT_LINE_BYTES) as u64;
    let read = open(path, OpenOptions::new().read(true))
        .and_then(|file| file.take(most).read_to_end(&mut bytes));
    if let Err(error) = read
        && error.kind() != io::ErrorKind::NotFound
    {
        log::debug!("{} cannot be read: {error}", path.display());
    }
    bytes
}

/// The line of an event, with its end. What would not be one line is changed or cut.
pub fn encode(event: &Event) -> String {
    let word = |text: &Option<String>| match text.as_deref() {
        Some(text) if is_word(text) => text.to_owned(),
        _ => "-".to_owned(),
    };
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let mut line = format!(
        "{} {} {} {} {} {} {} {} ",
        event.number,
        event.time_ms,
        event.kind.word(),
        word(&event.node),
        word(&event.from),
        word(&event.to),
        number(event.count),
        number(event.duration_ms),
    );
    // The checksum, its space and the line's end.
    let room = limits::EVENT_LINE_BYTES - 10;
    for letter in event.text.chars() {
        let letter = if letter.is_control() { ' ' } else { letter };
        if line.len() + letter.len_utf8() > room {
            break;
        }
        line.push(letter);
    }
    format!("{:08x} {line}\n", hash(line.as_bytes()))
}

fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic();
    (1..=64).contains(&text.len()) && text.bytes().all(plain) && text != "-"
}

/// The event of a line without its end; `None` when it does not check.
pub fn decode(line: &[u8]) -> Option<Event> {
    let line = std::str::from_utf8(line).ok()?;
    let (checksum, rest) = line.split_once(' ')?;
    if u32::from_str_radix(checksum, 16).ok()? != hash(rest.as_bytes()) {
        return None;
    }
    let mut fields = rest.splitn(9, ' ');
    let mut field = || fields.next();
    Some(Event {
        number: field()?
            .parse()
            .ok()
            .filter(|at| *at <= limits::LARGEST_NUMBER)?,
        time_ms: field()?.parse().ok()?,
        kind: EventKind::of_word(field()?)?,
        node: optional(field()?),
        from: optional(field()?),
        to: optional(field()?),
        count: optional_number(field()?)?,
        duration_ms: optional_number(field()?)?,
        text: field()?.to_owned(),
    })
}

fn optional(text: &str) -> Option<String> {
    (text != "-").then(|| text.to_owned())
}

fn optional_number(text: &str) -> Option<Option<u64>> {
    match text {
        "-" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

#[cfg(test)]
#[path = "event_history_tests.rs"]
mod tests;
