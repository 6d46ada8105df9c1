//! Simulated time: what is going to happen, in order.

use redoubt_volume::time::Instant;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Debug)]
struct Entry<E> {
    at: Instant,
    sequence: u64,
    /// Events are large, and the queue moves its entries about.
    event: Box<E>,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// The clock and the events that it will reach: of two at the same time the one that was asked
/// for first comes first.
#[derive(Debug)]
pub struct Clock<E> {
    now: Instant,
    sequence: u64,
    queue: BinaryHeap<Reverse<Entry<E>>>,
}

impl<E> Default for Clock<E> {
    fn default() -> Self {
        Clock {
            now: Instant(1),
            sequence: 0,
            queue: BinaryHeap::new(),
        }
    }
}

impl<E> Clock<E> {
    /// The present.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Lets an event happen at a time (not before now).
    pub fn at(&mut self, at: Instant, event: E) {
        self.sequence += 1;
        let (at, sequence) = (at.max(self.now), self.sequence);
        self.queue.push(Reverse(Entry {
            at,
            sequence,
            event: Box::new(event),
        }));
    }

    /// Lets an event happen after a while.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now.plus(delay), event);
    }

    /// Whether such an event is to come.
    pub fn any(&self, is_such: impl Fn(&E) -> bool) -> bool {
        self.queue
            .iter()
            .any(|Reverse(entry)| is_such(&entry.event))
    }

    /// When the next event is.
    pub fn next_at(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse(entry)| entry.at)
    }

    /// Goes on to a time before which nothing happens.
    pub fn advance_to(&mut self, at: Instant) {
        self.now = self.now.max(at);
    }

    /// Goes on to the next event.
    pub fn next_event(&mut self) -> Option<E> {
        let Reverse(entry) = self.queue.pop()?;
        self.now = self.now.max(entry.at);
        Some(*entry.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_their_time_then_of_their_making() {
        let mut clock = Clock::default();
        clock.after(Duration::from_nanos(9), "late");
        clock.after(Duration::from_nanos(3), "first");
        clock.after(Duration::from_nanos(3), "second");
        assert_eq!(clock.next_event(), Some("first"));
        assert_eq!(clock.next_event(), Some("second"));
        clock.after(Duration::from_nanos(1), "before it");
        assert_eq!(clock.next_event(), Some("before it"));
        assert_eq!(clock.next_event(), Some("late"));
        assert_eq!((clock.next_event(), clock.now()), (None, Instant(10)));
    }
}
