//! What is said of nodes that are being filled, as plain data and in words.

use crate::size::iec;
use redoubt_volume::status::RebuildFigures;
use serde::{Deserialize, Serialize};

/// How far a node is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RebuildReport {
    /// How much of it is done.
    pub percent: u64,
    /// Bytes of blocks that are there.
    pub done: u64,
    /// Bytes of blocks that are to be there, about.
    pub total: u64,
    /// Bytes a second, smoothed.
    pub rate: u64,
    /// Seconds that it takes from now on, if that can be said.
    pub seconds_left: Option<u64>,
}

impl RebuildReport {
    /// In words.
    pub(crate) fn words(&self) -> String {
        let (done, total, rate) = (iec(self.done), iec(self.total), iec(self.rate));
        let left = self.seconds_left.map_or(String::new(), |seconds| {
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            format!(", {hours:02}:{minutes:02}:{:02} to go", seconds % 60)
        });
        format!("{}% done, {done} of {total}, {rate}/s{left}", self.percent)
    }
}

impl From<RebuildFigures> for RebuildReport {
    fn from(figures: RebuildFigures) -> RebuildReport {
        // All of it is there only when nothing is said of it any more.
        let percent = figures.done_bytes.saturating_mul(100) / figures.total_bytes.max(1);
        RebuildReport {
            percent: percent.min(99),
            done: figures.done_bytes,
            total: figures.total_bytes,
            rate: figures.bytes_per_second,
            seconds_left: figures.time_left.map(|time| time.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_is_told_with_its_end_if_that_is_known() {
        let figures = RebuildFigures {
            done_bytes: 13 << 27,
            total_bytes: 41 << 27,
            bytes_per_second: 71 << 20,
            time_left: Some(Duration::from_secs(3661)),
        };
        let said = RebuildReport::from(figures).words();
        assert_eq!(
            said,
            "31% done, 1.6 GiB of 5.1 GiB, 71 MiB/s, 01:01:01 to go"
        );
        let nothing = RebuildReport::from(RebuildFigures::default());
        assert_eq!(nothing.words(), "0% done, 0 B of 0 B, 0 B/s");
        let all = RebuildFigures {
            done_bytes: 41 << 27,
            ..figures
        };
        assert_eq!(RebuildReport::from(all).percent, 99);
    }
}
