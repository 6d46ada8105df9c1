//! How fast segments are filled: as fast as the disks can while nobody uses the disk, a little at a
//! time while somebody does.
//!
//! Pure: it is told of time and of what happens. Adaptive, it works on one run of leaves at a time
//! while the user's requests are under way or came just now, and rests after each for a multiple of
//! what it took: a share of the disk that stays small whatever the disk can do. The rests are
//! bounded, so that filling always comes to its end. With a rate it never copies more than that.

use crate::limits;
use crate::time::Instant;
use std::num::NonZeroU64;
use std::time::Duration;

/// What the user of the disk chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RebuildRate {
    /// It yields to the user's requests.
    #[default]
    Adaptive,
    /// At most so many bytes a second, whatever the user does.
    BytesPerSecond(NonZeroU64),
}

/// After a request of the user the disk counts as in use for so long.
const FOREGROUND_LASTS: Duration = Duration::from_millis(100);

/// A run beside the user's requests is followed by a rest of so many times what it took.
const REST_FACTOR: u32 = 5;

/// The longest rest: the floor is one run in this time and what it takes.
const LONGEST_REST: Duration = Duration::from_millis(200);

/// What a rate may fall behind and make up for at once: longer than a tick.
const CATCH_UP_TIME: Duration = Duration::from_millis(100);

/// Bytes of a run of leaves that is full.
const RUN_BYTES: u64 = 1 << 20;

/// Says when a run of leaves may be begun.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rate: RebuildRate,
    /// When the user of the disk was seen last.
    foreground_at: Option<Instant>,
    rests_until: Instant,
}

impl Pace {
    pub(super) fn new(rate: RebuildRate) -> Pace {
        Pace {
            rate,
            ..Pace::default()
        }
    }

    pub(super) fn rate(&self) -> RebuildRate {
        self.rate
    }

    /// A request of the disk's user came, or is under way.
    pub(super) fn on_foreground(&mut self, now: Instant) {
        self.foreground_at = Some(now);
    }

    fn is_in_use(&self, now: Instant) -> bool {
        let lasts = |at: Instant| now.since(at) < FOREGROUND_LASTS;
        self.foreground_at.is_some_and(lasts)
    }

    /// Whether another run may be begun for a node that has so many under way, of so many in all.
    pub(super) fn may_begin(&self, now: Instant, of_node: usize, of_all: usize) -> bool {
        let is_bounded = of_node < limits::COPY_RUNS && of_all < limits::COPY_RUNS_OF_ALL;
        let is_due = now >= self.rests_until;
        is_bounded
            && match self.rate {
                RebuildRate::Adaptive if self.is_in_use(now) => of_all == 0 && is_due,
                RebuildRate::Adaptive => true,
                RebuildRate::BytesPerSecond(rate) => {
                    // What is under way is not yet counted.
                    let ahead = (rate.get() / 4 / RUN_BYTES).max(1);
                    (of_all as u64) < ahead && is_due
                }
            }
    }

    /// A run that was begun then has come to its end, and was of so many bytes.
    pub(super) fn on_run(&mut self, now: Instant, began_at: Instant, bytes: u64) {
        match self.rate {
            RebuildRate::Adaptive => {
                let rest = now.since(began_at) * REST_FACTOR;
                // What needed no copying did not disturb anybody.
                let rest = if bytes == 0 { Duration::ZERO } else { rest };
                self.rests_until = now.plus(rest.min(LONGEST_REST));
            }
            RebuildRate::BytesPerSecond(rate) => {
                let takes = u128::from(bytes) * 1_000_000_000 / u128::from(rate.get());
                let takes = Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
                let earliest = Instant(now.0.saturating_sub(CATCH_UP_TIME.as_nanos() as u64));
                self.rests_until = self.rests_until.max(earliest).plus(takes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::default().plus(Duration::from_millis(millis))
    }

    /// Bytes that a pace lets through in ten seconds, when a run takes 10 ms.
    fn bytes_of_ten_seconds(pace: &mut Pace, in_use: bool) -> u64 {
        let mut bytes = 0;
        let mut under_way: Vec<u64> = Vec::new();
        for now in (1000..11_000).step_by(5) {
            if in_use {
                pace.on_foreground(at(now));
            }
            for began in under_way.extract_if(.., |began| now - *began >= 10) {
                bytes += RUN_BYTES;
                pace.on_run(at(now), at(began), RUN_BYTES);
            }
            while pace.may_begin(at(now), under_way.len(), under_way.len()) {
                under_way.push(now);
            }
        }
        bytes
    }

    #[test]
    fn alone_it_takes_all_and_beside_the_user_a_sixth() {
        let alone = bytes_of_ten_seconds(&mut Pace::default(), false);
        assert_eq!(alone >> 20, limits::COPY_RUNS as u64 * 999);
        let beside = bytes_of_ten_seconds(&mut Pace::default(), true);
        assert_eq!(beside >> 20, 10_000_u64.div_ceil(60));
    }

    #[test]
    fn a_run_beside_the_user_comes_after_a_bounded_rest() {
        let mut pace = Pace::default();
        pace.on_foreground(at(1000));
        pace.on_run(at(1000), at(0), RUN_BYTES);
        pace.on_foreground(at(1199));
        assert!(!pace.may_begin(at(1199), 0, 0));
        assert!(pace.may_begin(at(1200), 0, 0) && !pace.may_begin(at(1200), 0, 1));
        // The user has gone.
        assert!(pace.may_begin(at(1299), 9, 9));
        // What was unchanged is followed by no rest.
        pace.on_foreground(at(2000));
        pace.on_run(at(2000), at(1500), 0);
        assert!(pace.may_begin(at(2000), 0, 0));
    }

    #[test]
    fn a_rate_is_kept_whoever_uses_the_disk() {
        for (rate, in_use) in [(100 << 20, false), (100 << 20, true), (3 << 20, false)] {
            let chosen = RebuildRate::BytesPerSecond(NonZeroU64::new(rate).unwrap());
            let copied = bytes_of_ten_seconds(&mut Pace::new(chosen), in_use);
            let expected = 10 * rate;
            assert!(copied > expected / 10 * 9, "{copied} of {expected}");
            assert!(copied < expected / 10 * 11, "{copied} of {expected}");
        }
    }
}
