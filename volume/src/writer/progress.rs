//! How far nodes are filled, how fast, and how long it will take yet: for people to see. Nothing is
//! decided by it.

use crate::status::RebuildFigures;
use crate::time::Instant;
use std::time::Duration;

/// Bytes of a leaf that is full.
const LEAF_BYTES: u64 = 1 << 20;

/// A rate is measured over so long before it counts.
const SAMPLE: Duration = Duration::from_millis(500);

/// Samples that a smoothed rate stands for.
const SAMPLES: u64 = 8;

/// What one segment has of what it is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Portion {
    /// Leaves that exist in the group, as the first peer said that was asked.
    pub(super) leaves: Option<u64>,
    /// Those that are held.
    pub(super) held_leaves: u64,
    /// Bytes of their blocks.
    pub(super) held_bytes: u64,
}

impl Portion {
    /// Another run is held: so many bytes of blocks exist in it.
    pub(super) fn hold(&mut self, bytes: u64) {
        self.held_leaves += u64::from(bytes > 0);
        self.held_bytes += bytes;
    }
}

/// What is known of filling a node since it lacked nothing.
#[derive(Debug)]
pub(super) struct Progress {
    /// Of the segments that are filled.
    finished: Portion,
    finished_segments: u64,
    sample_began: Instant,
    sample_bytes: u64,
    bytes_per_second: Option<u64>,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Progress {
        Progress {
            finished: Portion::default(),
            finished_segments: 0,
            sample_began: now,
            sample_bytes: 0,
            bytes_per_second: None,
        }
    }

    /// So many bytes of blocks are held more.
    pub(super) fn on_bytes(&mut self, bytes: u64) {
        self.sample_bytes += bytes;
    }

    /// A segment is filled.
    pub(super) fn finish(&mut self, portion: Portion) {
        self.finished_segments += 1;
        self.finished.held_leaves += portion.held_leaves;
        self.finished.held_bytes += portion.held_bytes;
    }

    /// Time has passed: the rate is judged anew now and then.
    pub(super) fn tick(&mut self, now: Instant) {
        let passed = now.since(self.sample_began);
        if passed < SAMPLE {
            return;
        }
        let nanos = passed.as_nanos().max(1);
        let sample = u128::from(self.sample_bytes) * 1_000_000_000 / nanos;
        let sample = u64::try_from(sample).unwrap_or(u64::MAX);
        let smoothed = |rate: u64| rate - rate / SAMPLES + sample / SAMPLES;
        self.bytes_per_second = Some(self.bytes_per_second.map_or(sample, smoothed));
        self.sample_began = now;
        self.sample_bytes = 0;
    }

    /// The figures, with what the segments under way have, and how many wait for their turn. What
    /// nobody has told yet is taken to be as the rest.
    pub(super) fn figures(&self, under_way: &[Portion], waiting: u64) -> RebuildFigures {
        let sum = |of: fn(&Portion) -> u64| under_way.iter().map(of).sum::<u64>();
        let held_leaves = self.finished.held_leaves + sum(|portion| portion.held_leaves);
        let done = self.finished.held_bytes + sum(|portion| portion.held_bytes);
        let known = under_way.iter().filter(|portion| portion.leaves.is_some());
        let known_segments = self.finished_segments + known.clone().count() as u64;
        let known_leaves = self.finished.held_leaves
            + known
                .map(|portion| portion.leaves.unwrap_or(0).max(portion.held_leaves))
                .sum::<u64>();
        let unknown = waiting + under_way.iter().filter(|p| p.leaves.is_none()).count() as u64;
        let unknown_leaves = unknown * known_leaves.checked_div(known_segments).unwrap_or(0);
        let leaf_bytes = done.checked_div(held_leaves).unwrap_or(LEAF_BYTES);
        let left_leaves = (known_leaves + unknown_leaves).saturating_sub(held_leaves);
        let left = left_leaves * leaf_bytes;
        let rate = self.bytes_per_second;
        let lasts = |rate: u64| left.checked_div(rate).map(Duration::from_secs);
        RebuildFigures {
            done_bytes: done,
            total_bytes: done + left,
            bytes_per_second: rate.unwrap_or(0),
            time_left: rate.and_then(lasts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(millis: u64) -> Instant {
        Instant::default().plus(Duration::from_millis(millis))
    }

    fn portion(leaves: Option<u64>, held: u64) -> Portion {
        Portion {
            leaves,
            held_leaves: held,
            held_bytes: held * LEAF_BYTES / 2,
        }
    }

    #[test]
    fn what_is_left_is_told_from_the_leaves_that_are_held() {
        let mut progress = Progress::new(after(0));
        let figures = progress.figures(&[portion(Some(100), 0)], 0);
        assert_eq!((figures.done_bytes, figures.total_bytes), (0, 100 << 20));
        assert_eq!(figures.time_left, None);
        let figures = progress.figures(&[portion(Some(100), 40)], 0);
        assert_eq!(
            (figures.done_bytes, figures.total_bytes),
            (20 << 20, 50 << 20)
        );
        progress.finish(portion(Some(100), 100));
        // Two that nobody has told anything of yet, and one that is under way.
        let figures = progress.figures(&[portion(Some(50), 10), portion(None, 0)], 1);
        let expected = (55 << 20, (150 / 2 + 2 * 75 / 2) << 20);
        assert_eq!(figures.done_bytes, expected.0);
        assert_eq!(figures.total_bytes, expected.1);
    }

    #[test]
    fn the_rate_is_smoothed_and_tells_how_long_it_takes() {
        let mut progress = Progress::new(after(0));
        let under_way = [portion(Some(100), 40)];
        progress.on_bytes(5 << 20);
        progress.tick(after(400));
        assert_eq!(progress.figures(&under_way, 0).bytes_per_second, 0);
        progress.tick(after(500));
        let figures = progress.figures(&under_way, 0);
        assert_eq!(figures.bytes_per_second, 10 << 20);
        assert_eq!(figures.time_left, Some(Duration::from_secs(3)));
        progress.tick(after(1000));
        let slower = progress.figures(&under_way, 0).bytes_per_second;
        assert_eq!(slower, (10 << 20) / 8 * 7);
    }
}
