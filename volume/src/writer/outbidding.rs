//! Two writers that open a volume at the same moment outbid each other's epochs. Each that is outbid
//! again lets some time pass before it bids more, longer every time and not as long as the other: so
//! one of them comes to its end. Pure.

use crate::limits;
use crate::time::Instant;
use std::time::Duration;

/// Refusals that are answered at once: an open does not know the epoch that it must be above.
const AT_ONCE: u32 = 3;
/// Times that the wait is doubled.
const DOUBLINGS: u32 = 6;

/// How often this open was outbid.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outbidding {
    refusals: u32,
    highest: u64,
    bids_at: Option<Instant>,
}

impl Outbidding {
    /// A node has promised this epoch number, to another writer. The number to bid at once, if any.
    pub(super) fn refused(&mut self, now: Instant, writer: u64, promised: u64) -> Option<u64> {
        self.highest = self.highest.max(promised);
        if self.bids_at.is_some() {
            return None;
        }
        self.refusals = self.refusals.saturating_add(1);
        match self.refusals <= AT_ONCE {
            true => Some(self.highest + 1),
            false => {
                self.bids_at = Some(now.plus(self.wait(writer)));
                None
            }
        }
    }

    /// Some part of a time that grows, which part by the writer's random id.
    fn wait(&self, writer: u64) -> Duration {
        let doublings = (self.refusals - AT_ONCE - 1).min(DOUBLINGS);
        let longest = limits::OUTBID_WAIT * (1 << doublings);
        let seed = writer ^ u64::from(self.refusals);
        let part = crc32fast::hash(&seed.to_le_bytes()) % 1024;
        longest * part / 1024
    }

    /// The number to bid, when it is time.
    pub(super) fn due(&mut self, now: Instant) -> Option<u64> {
        self.bids_at.take_if(|at| now >= *at)?;
        Some(self.highest + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_refusals_are_answered_at_once_and_above_what_was_promised() {
        let mut outbidding = Outbidding::default();
        let now = Instant::default();
        assert_eq!(outbidding.refused(now, 7, 40), Some(41));
        assert_eq!(outbidding.refused(now, 7, 41), Some(42));
        assert_eq!(outbidding.due(now), None);
    }

    #[test]
    fn then_some_time_passes_and_refusals_meanwhile_only_raise_the_bid() {
        let mut outbidding = Outbidding::default();
        let now = Instant::default();
        (0..3).for_each(|_| assert!(outbidding.refused(now, 7, 1).is_some()));
        assert_eq!(outbidding.refused(now, 7, 5), None);
        assert_eq!(outbidding.refused(now, 7, 9), None);
        assert_eq!(outbidding.due(now.plus(SECOND)), Some(10));
        assert_eq!(outbidding.due(now.plus(SECOND)), None);
    }

    #[test]
    fn two_writers_wait_longer_every_time_and_hardly_ever_alike() {
        let wait = |writer: u64, refusals: u32| {
            let highest = 0;
            let bids_at = None;
            Outbidding {
                refusals,
                highest,
                bids_at,
            }
            .wait(writer)
        };
        let longest = |refusals: u32| (0..200).map(|writer| wait(writer, refusals)).max();
        assert!(longest(4) < longest(6) && longest(6) < longest(9));
        assert!(longest(1000) <= Some(limits::OUTBID_WAIT * 64));
        let alike = |writer: &u64| {
            let (one, other) = (wait(*writer, 10), wait(writer + 1, 10));
            one.abs_diff(other) < limits::OUTBID_WAIT
        };
        assert!((0..200).filter(alike).count() < 20);
    }
}
