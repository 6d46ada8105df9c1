//! A queue that one thread empties: everything that waits is taken at once.

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the consumer looks for new work before it sleeps, while work comes quickly: less than
/// what a sleep and the wake-up after it cost.
const SPIN: Duration = Duration::from_micros(20);

/// A queue for one consumer. It has no bound of its own: what is put in comes from nodes, each of
/// which keeps a bounded number of operations under way, or answers requests that were admitted.
pub(crate) struct WorkQueue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    /// Something is there, or the queue was closed: looked at without the lock.
    stirred: AtomicBool,
}

struct State<T> {
    items: Vec<T>,
    first_at: Option<Instant>,
    sleeping: bool,
    closed: bool,
}

/// The consumer's pace: whether looking for a moment paid lately.
#[derive(Default)]
pub(crate) struct Pace {
    quick: bool,
}

impl<T> WorkQueue<T> {
    pub(crate) fn new() -> WorkQueue<T> {
        WorkQueue {
            state: Mutex::new(State {
                items: Vec::new(),
                first_at: None,
                sleeping: false,
                closed: false,
            }),
            arrived: Condvar::new(),
            stirred: AtomicBool::new(false),
        }
    }

    /// Adds work. Once the queue is closed it is dropped: nobody would do it.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = T>) {
        self.offer(items.into_iter().collect());
    }

    /// Adds work; gives it back once the queue is closed.
    pub(crate) fn offer(&self, items: Vec<T>) -> Vec<T> {
        let mut state = self.state.lock();
        if state.closed {
            return items;
        }
        let was_empty = state.items.is_empty();
        state.items.extend(items);
        if was_empty && !state.items.is_empty() {
            state.first_at = Some(Instant::now());
            self.stir(state.sleeping);
        }
        Vec::new()
    }

    /// Lets the consumer finish what is queued, and no more.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        self.stir(state.sleeping);
    }

    /// Whether anything is queued.
    pub(crate) fn has_work(&self) -> bool {
        !self.state.lock().items.is_empty()
    }

    /// Everything that is queued, which may be nothing.
    pub(crate) fn take_now(&self) -> Vec<T> {
        self.empty(&mut self.state.lock()).0
    }

    /// Everything that is queued, as soon as there is anything; `None` when the queue is closed
    /// and empty.
    pub(crate) fn take(&self, pace: &mut Pace) -> Option<Vec<T>> {
        let idle_since = Instant::now();
        while pace.quick && !self.stirred.load(Ordering::Acquire) && idle_since.elapsed() < SPIN {
            std::hint::spin_loop();
        }
        let mut state = self.state.lock();
        while state.items.is_empty() && !state.closed {
            state.sleeping = true;
            self.arrived.wait(&mut state);
        }
        state.sleeping = false;
        let (items, first_at) = self.empty(&mut state);
        let gap = first_at.map(|first| first.saturating_duration_since(idle_since));
        pace.quick = gap.is_some_and(|gap| gap < SPIN);
        (!items.is_empty()).then_some(items)
    }

    /// Takes everything out; and since when it waited.
    fn empty(&self, state: &mut State<T>) -> (Vec<T>, Option<Instant>) {
        self.stirred.store(state.closed, Ordering::Release);
        (std::mem::take(&mut state.items), state.first_at.take())
    }

    fn stir(&self, sleeping: bool) {
        self.stirred.store(true, Ordering::Release);
        if sleeping {
            self.arrived.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn everything_arrives_once_and_in_order() {
        let queue = Arc::new(WorkQueue::new());
        let producer = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                for number in 0..20_000 {
                    queue.push([number]);
                }
                queue.close();
                queue.push([20_000]);
            })
        };
        let (mut pace, mut taken) = (Pace::default(), Vec::new());
        while let Some(items) = queue.take(&mut pace) {
            taken.extend(items);
        }
        producer.join().unwrap();
        assert!(taken.into_iter().eq(0..20_000));
    }

    #[test]
    fn a_closed_queue_wakes_its_consumer() {
        let queue = Arc::new(WorkQueue::<u8>::new());
        let closer = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                queue.close();
            })
        };
        assert!(queue.take(&mut Pace::default()).is_none());
        closer.join().unwrap();
    }
}
