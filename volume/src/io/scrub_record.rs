//! What is remembered of a volume's scrubs between mounts, in `VOLUME/redoubt.scrub`:
//!
//! ```text
//! redoubt-scrub 1
//! since <seconds since 1970: when no scrub has ended, the next one is an interval after this>
//! last <ended, seconds since 1970> <what it found>
//! at <began> <group> <leaf> <bytes a second, 0: any> <1: paused> <what it has found>
//! lost <first byte on the disk> <bytes>
//! more <blocks that are lost beside those>
//! ```
//!
//! What was found is ten numbers, in the order of [`ScrubReport`]'s fields. Nothing depends on the
//! file: where it is gone or cannot be understood, a scrub begins at the start, or earlier than it
//! had to. So no recorder is told of it.

use super::node_directory::sync_folder;
use super::volume_directory::open_parent;
use crate::ids::GroupId;
use crate::limits;
use crate::status::{DataError, DataErrors, ScrubPlace, ScrubReport, ScrubStart};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::num::NonZeroU64;
use std::path::Path;

/// Name of the file in the volume's directory.
pub const RECORD_NAME: &str = "redoubt.scrub";
/// The file before it takes the place of the former one.
const NEW_RECORD_NAME: &str = "redoubt.scrub.new";
const HEADER: &str = "redoubt-scrub 1";
/// Most bytes of a record: twice what the longest list of errors takes.
const MOST_BYTES: u64 = 32 << 10;
const COUNTS: usize = 10;

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubRecord {
    /// Where no scrub has ended, the next one is due an interval after this.
    pub since_s: u64,
    /// When the last one ended, and what it found.
    pub last: Option<(u64, ScrubReport)>,
    /// When the one under way began, and where it is.
    pub under_way: Option<(u64, ScrubStart)>,
    /// What is known to be lost.
    pub data_errors: DataErrors,
}

impl ScrubRecord {
    /// Reads the record of a volume; `None` where there is none that can be understood.
    pub fn read(volume: &Path) -> Option<ScrubRecord> {
        let mut text = String::new();
        let file = File::open(volume.join(RECORD_NAME)).ok()?;
        file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
        ScrubRecord::parse(&text)
    }

    /// Writes it beside the file and renames it over that: a crash leaves the old or the new one.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn write(&self, volume: &Path) -> io::Result<()> {
        let (new, path) = (volume.join(NEW_RECORD_NAME), volume.join(RECORD_NAME));
        let mut file = File::create(&new)?;
        file.write_all(self.encode().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        sync_folder(&open_parent(&path)?)
    }

    /// Removes the record of a volume.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn remove(volume: &Path) -> io::Result<()> {
        for name in [NEW_RECORD_NAME, RECORD_NAME] {
            match std::fs::remove_file(volume.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The text of the file.
    pub fn encode(&self) -> String {
        let mut text = format!("{HEADER}\nsince {}\n", self.since_s);
        let mut line = |word: &str, numbers: &[u64]| {
            let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
            // Memory takes everything.
            let _ = writeln!(text, "{word} {}", numbers.join(" "));
        };
        if let Some((ended, report)) = &self.last {
            line("last", &[&[*ended][..], &counts(report)].concat());
        }
        if let Some((began, start)) = &self.under_way {
            let ScrubPlace { group, leaf } = start.place;
            let rate = start.rate.map_or(0, NonZeroU64::get);
            let (group, leaf) = (u64::from(group.0), u64::from(leaf));
            let place = [*began, group, leaf, rate, u64::from(start.is_paused)];
            line("at", &[&place[..], &counts(&start.report)].concat());
        }
        for error in &self.data_errors.known {
            line("lost", &[error.offset, error.length]);
        }
        if self.data_errors.more > 0 {
            line("more", &[self.data_errors.more]);
        }
        text
    }

    /// The record that a text is; `None` when it is none.
    pub fn parse(text: &str) -> Option<ScrubRecord> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) || !text.ends_with('\n') {
            return None;
        }
        let mut record = ScrubRecord::default();
        for line in lines {
            let (word, numbers) = line.split_once(' ')?;
            let numbers: Result<Vec<u64>, _> = numbers.split(' ').map(str::parse).collect();
            record.take(word, &numbers.ok()?)?;
        }
        (record.data_errors.known.len() <= limits::DATA_ERRORS).then_some(record)
    }

    fn take(&mut self, word: &str, numbers: &[u64]) -> Option<()> {
        match (word, numbers) {
            ("since", [since]) => self.since_s = *since,
            ("last", [ended, found @ ..]) => self.last = Some((*ended, report(found)?)),
            ("at", [began, group, leaf, rate, paused, found @ ..]) => {
                let place = ScrubPlace {
                    group: GroupId(u32::try_from(*group).ok()?),
                    leaf: u32::try_from(*leaf).ok()?,
                };
                let start = ScrubStart {
                    place,
                    report: report(found)?,
                    rate: NonZeroU64::new(*rate),
                    is_paused: *paused == 1,
                };
                self.under_way = Some((*began, start));
            }
            ("lost", [offset, length]) => self.data_errors.known.push(DataError {
                offset: *offset,
                length: *length,
            }),
            // It is counted on from.
            ("more", [more]) if *more <= limits::LARGEST_NUMBER => self.data_errors.more = *more,
            _ => return None,
        }
        Some(())
    }
}

fn counts(report: &ScrubReport) -> [u64; COUNTS] {
    let ScrubReport {
        blocks,
        copies,
        damaged,
        differing,
        repaired,
        refilled,
        unresolved,
        changing,
        metadata_damaged,
        metadata_repaired,
    } = *report;
    [
        blocks,
        copies,
        damaged,
        differing,
        repaired,
        refilled,
        unresolved,
        changing,
        metadata_damaged,
        metadata_repaired,
    ]
}

/// Counts that could not be counted on from are not taken for what was counted.
fn report(counts: &[u64]) -> Option<ScrubReport> {
    let counts: [u64; COUNTS] = counts.try_into().ok()?;
    let [
        blocks,
        copies,
        damaged,
        differing,
        repaired,
        refilled,
        unresolved,
        changing,
        metadata_damaged,
        metadata_repaired,
    ] = counts;
    let is_countable = counts.iter().all(|count| *count <= limits::LARGEST_NUMBER);
    is_countable.then_some(ScrubReport {
        blocks,
        copies,
        damaged,
        differing,
        repaired,
        refilled,
        unresolved,
        changing,
        metadata_damaged,
        metadata_repaired,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> ScrubRecord {
        let found = report(&[10, 60, 1, 2, 3, 0, 0, 4, 5, 5]).unwrap();
        let start = ScrubStart {
            place: ScrubPlace {
                group: GroupId(3),
                leaf: 77,
            },
            report: found,
            rate: NonZeroU64::new(1 << 20),
            is_paused: true,
        };
        let known = vec![DataError {
            offset: 16384,
            length: 32768,
        }];
        ScrubRecord {
            since_s: 1000,
            last: Some((2000, found)),
            under_way: Some((3000, start)),
            data_errors: DataErrors { known, more: 7 },
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(ScrubRecord::read(temp.path()), None);
        for record in [example(), ScrubRecord::default()] {
            record.write(temp.path()).unwrap();
            assert_eq!(ScrubRecord::read(temp.path()), Some(record));
        }
        let left = || std::fs::read_dir(temp.path()).unwrap().count();
        assert_eq!(left(), 1);
        ScrubRecord::remove(temp.path()).unwrap();
        ScrubRecord::remove(temp.path()).unwrap();
        assert_eq!(left(), 0);
    }

    #[test]
    fn what_is_no_record_is_none() {
        let text = example().encode();
        assert!(ScrubRecord::parse(&text).is_some());
        for end in 0..text.len() {
            // What was cut between two lines is a shorter record.
            let is_cut = !text[..end].ends_with('\n');
            assert_eq!(ScrubRecord::parse(&text[..end]).is_none(), is_cut, "{end}");
        }
        for line in [
            "",
            "since",
            "since -1",
            "since 1 2",
            "later 1",
            "last 1",
            "last 1 1 1 1 1 1 1 1 1 1 18446744073709551615",
            "at 1 4294967296 0 0 0 1 1 1 1 1 1 1 1 1 1",
            "lost 1",
            "more 18446744073709551615",
        ] {
            let text = format!("{HEADER}\n{line}\n");
            assert_eq!(ScrubRecord::parse(&text), None, "{line}");
        }
        let newer = text.replace(HEADER, "redoubt-scrub 2");
        assert_eq!(ScrubRecord::parse(&newer), None);
    }
}
