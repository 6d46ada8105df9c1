//! Time as the core is told it: it never asks a clock (law 8).

use std::time::Duration;

/// A point on the driver's monotonic clock, in nanoseconds from a start that only it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub u64);

impl Instant {
    /// Time since `earlier`, zero if that is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `later` after this one.
    pub fn plus(self, later: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}
