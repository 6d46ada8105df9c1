//! How fast a scrub goes: at most at its cap, and slower while the disk is in use. The rule is
//! beside [`limits::SCRUB_FLOOR_RATE`]. Pure.

use crate::limits;
use crate::time::Instant;
use std::num::NonZeroU64;
use std::time::Duration;

/// What a scrub that was held up may catch up with, so that ticks do not make it slower than its
/// rate: a few of them.
const SLACK: Duration = Duration::from_millis(100);
/// Halvings at most: [`limits::SCRUB_RATE`] is at its floor by then, and a higher cap close to it.
const MOST_HALVINGS: u32 = 8;

/// The pace of a scrub.
#[derive(Debug)]
pub(super) struct Pace {
    cap: Option<NonZeroU64>,
    /// How often the rate is halved now.
    halvings: u32,
    /// When it was last looked whether the disk is in use, and the requests answered by then.
    looked: (Instant, u64),
    /// When the next bytes may be read.
    due: Instant,
}

impl Pace {
    pub(super) fn new(cap: Option<NonZeroU64>, now: Instant, answered: u64) -> Pace {
        Pace {
            cap,
            halvings: 0,
            looked: (now, answered),
            due: now,
        }
    }

    pub(super) fn cap(&self) -> Option<NonZeroU64> {
        self.cap
    }

    pub(super) fn set_cap(&mut self, cap: Option<NonZeroU64>) {
        self.cap = cap;
    }

    /// Bytes a second now; `None`: as many as the disks give.
    pub(super) fn allowance(&self) -> Option<u64> {
        let cap = self.cap.map(NonZeroU64::get);
        if self.halvings == 0 {
            return cap;
        }
        let full = cap.unwrap_or(limits::SCRUB_RATE);
        let floor = limits::SCRUB_FLOOR_RATE.min(full);
        Some((full >> self.halvings).max(floor))
    }

    /// Looks whether the disk's user had requests answered since the last look. A look that comes
    /// late counts once.
    pub(super) fn look(&mut self, now: Instant, answered: u64) {
        if now.since(self.looked.0) < limits::SCRUB_BREATH {
            return;
        }
        let is_in_use = answered != self.looked.1;
        self.looked = (now, answered);
        self.halvings = match is_in_use {
            true => (self.halvings + 1).min(MOST_HALVINGS),
            false => self.halvings.saturating_sub(1),
        };
    }

    /// So many bytes were read: when the next may be.
    pub(super) fn next(&mut self, now: Instant, bytes: u64) -> Instant {
        let takes = self.allowance().map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)
        });
        let earliest = Instant(now.0.saturating_sub(SLACK.as_nanos() as u64));
        self.due = self.due.plus(takes).max(earliest);
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    #[test]
    fn the_rate_is_kept_over_ticks_that_come_late() {
        let mut pace = Pace::new(NonZeroU64::new(64 * MIB), at(0), 0);
        let (mut now, mut read) = (0, 0);
        while now < 10_000 {
            // A tick every 25 ms: a leaf begins at the first one when it is due.
            let due = pace.next(at(now), 6 * MIB);
            read += 6;
            while at(now) < due {
                now += 25;
            }
        }
        assert!((634..=652).contains(&read), "{read} MiB in 10 s");
    }

    #[test]
    fn a_disk_in_use_slows_it_down_to_the_floor_and_a_quiet_one_lets_it_go() {
        let mut pace = Pace::new(None, at(0), 0);
        assert_eq!(pace.allowance(), None);
        let rates: Vec<_> = (1..=6)
            .map(|breath| {
                pace.look(at(500 * breath), breath);
                pace.allowance().map(|rate| rate / MIB)
            })
            .collect();
        assert_eq!(rates, [32, 16, 8, 4, 4, 4].map(Some));
        // Between two looks nothing changes.
        pace.look(at(3100), 6);
        assert_eq!(pace.allowance(), Some(4 * MIB));
        for breath in 7..=20 {
            pace.look(at(500 * breath), 6);
        }
        assert_eq!(pace.allowance(), None);
    }

    #[test]
    fn a_cap_below_the_floor_is_kept() {
        let mut pace = Pace::new(NonZeroU64::new(MIB), at(0), 0);
        pace.look(at(500), 1);
        assert_eq!(pace.allowance(), Some(MIB));
    }

    #[test]
    fn what_was_held_up_does_not_burst() {
        let mut pace = Pace::new(NonZeroU64::new(MIB), at(0), 0);
        assert_eq!(pace.next(at(60_000), MIB), at(59_900));
        assert_eq!(pace.next(at(60_000), MIB), at(60_900));
    }
}
