//! What is said of a volume's scrubs, and of what is lost, as plain data.

use redoubt_volume::io::scrub_record::ScrubRecord;
use redoubt_volume::status::{self, DataErrors, ScrubResult, ScrubStatus};
use serde::{Deserialize, Serialize};

/// What a scrub found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScrubFindings {
    /// Blocks that exist.
    pub blocks: u64,
    /// Copies of them that were read.
    pub copies: u64,
    /// Copies that did not check.
    pub damaged: u64,
    /// Copies that checked, and were not what most of the others are.
    pub differing: u64,
    /// Of both, those that are right now.
    pub repaired: u64,
    /// Segments that had lost changes, and are being filled anew.
    pub refilled: u64,
    /// What is still bad, or could not be decided.
    pub unresolved: u64,
    /// Blocks that could not be compared, since they were being changed.
    pub changing: u64,
    /// Pieces of nodes' metadata that did not check.
    pub metadata_damaged: u64,
    /// Of these, those that are right now.
    pub metadata_repaired: u64,
}

impl From<status::ScrubReport> for ScrubFindings {
    fn from(report: status::ScrubReport) -> ScrubFindings {
        ScrubFindings {
            blocks: report.blocks,
            copies: report.copies,
            damaged: report.damaged,
            differing: report.differing,
            repaired: report.repaired,
            refilled: report.refilled,
            unresolved: report.unresolved,
            changing: report.changing,
            metadata_damaged: report.metadata_damaged,
            metadata_repaired: report.metadata_repaired,
        }
    }
}

/// A scrub under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunningScrub {
    /// Which of this process: they are counted from 1.
    pub number: u64,
    /// When it began, in seconds since 1970; in an earlier process perhaps.
    pub began: u64,
    /// Whether it waits until it is told to go on.
    pub paused: bool,
    /// How much of it is done.
    pub percent: u64,
    /// Groups that it is through with.
    pub groups_done: u64,
    /// Groups that have anything in them.
    pub groups: u64,
    /// Bytes of copies that it has read.
    pub read: u64,
    /// Bytes of copies that there are, about.
    pub total: u64,
    /// Bytes a second that it reads.
    pub rate: u64,
    /// Bytes a second that it may read now; null: as many as the disks give.
    pub allowed_rate: Option<u64>,
    /// Seconds that it takes from now on, at this rate.
    pub seconds_left: Option<u64>,
    /// What it has found so far.
    pub found: ScrubFindings,
}

/// A scrub that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndedScrub {
    /// Which of this process; 0: of an earlier one.
    pub number: u64,
    /// When, in seconds since 1970.
    pub ended: u64,
    /// What it found.
    pub found: ScrubFindings,
}

/// A volume's scrubs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScrubReport {
    /// The number of the one that began last.
    pub number: u64,
    /// The one under way.
    pub running: Option<RunningScrub>,
    /// The last one that ended.
    pub last: Option<EndedScrub>,
    /// When the next one begins by itself, in seconds since 1970.
    pub next: Option<u64>,
}

impl From<&ScrubStatus> for ScrubReport {
    fn from(status: &ScrubStatus) -> ScrubReport {
        let running = status.running.map(|running| RunningScrub {
            number: status.number,
            began: status.began_s,
            paused: running.at.is_paused,
            percent: status.percent(),
            groups_done: running.groups_done,
            groups: running.groups,
            read: status.read_bytes,
            total: status.expected_bytes,
            rate: status.rate,
            allowed_rate: running.allowance,
            seconds_left: status.time_left().map(|left| left.as_secs()),
            found: running.at.report.into(),
        });
        let ended = |last: ScrubResult| EndedScrub {
            number: last.number,
            ended: last.ended_s,
            found: last.report.into(),
        };
        ScrubReport {
            number: status.number,
            running,
            last: status.last.map(ended),
            next: status.next_s,
        }
    }
}

impl From<&ScrubRecord> for ScrubReport {
    /// Of a volume that nobody serves.
    fn from(record: &ScrubRecord) -> ScrubReport {
        let ended = |(ended, report): (u64, status::ScrubReport)| EndedScrub {
            number: 0,
            ended,
            found: report.into(),
        };
        ScrubReport {
            last: record.last.map(ended),
            ..ScrubReport::default()
        }
    }
}

/// Bytes of the disk of which no copy can be proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LostBytes {
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// What cannot be read any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataErrorsReport {
    /// Where.
    pub known: Vec<LostBytes>,
    /// Blocks beside those.
    pub more: u64,
}

impl From<&DataErrors> for DataErrorsReport {
    fn from(errors: &DataErrors) -> DataErrorsReport {
        let known = errors.known.iter().map(|error| LostBytes {
            offset: error.offset,
            length: error.length,
        });
        DataErrorsReport {
            known: known.collect(),
            more: errors.more,
        }
    }
}
