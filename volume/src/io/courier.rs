//! Tells what became of writes: by the thread that wrote them when it has nothing else to do, by one of
//! its own while the next batch is written.
//!
//! A commit that is alone is told without a hand-off. Under load the disk does not wait until answers
//! are given.

use super::Deliver;
use super::thread_start::{JoinHandle, start_thread};
use super::work_queue::{Pace, WorkQueue};
use crate::ids::NodeId;
use crate::segment::effect::DiskCompletion;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Completion = (NodeId, DiskCompletion);

/// Delivers completions in the order in which they come.
pub(super) struct Courier {
    deliver: Deliver,
    queue: WorkQueue<Completion>,
    /// Completions that its thread was given and has not delivered.
    under_way: AtomicUsize,
}

impl Courier {
    /// Starts its thread, which ends when it is closed and has delivered what it has.
    ///
    /// # Errors
    /// When the system has none left.
    pub(super) fn start(deliver: Deliver) -> io::Result<(Arc<Courier>, JoinHandle<()>)> {
        let courier = Arc::new(Courier {
            deliver,
            queue: WorkQueue::new(),
            under_way: AtomicUsize::new(0),
        });
        let own = Arc::clone(&courier);
        let (thread, ()) = start_thread("redoubt-answer", || Ok(((), ())), move |()| own.carry())?;
        Ok((courier, thread))
    }

    /// Delivers, by the calling thread unless `others_wait` for it, or its own is still delivering what
    /// came before.
    pub(super) fn deliver(&self, completions: Vec<Completion>, others_wait: impl FnOnce() -> bool) {
        if self.under_way.load(Ordering::Acquire) == 0 && !others_wait() {
            return (self.deliver)(completions);
        }
        self.under_way
            .fetch_add(completions.len(), Ordering::Relaxed);
        self.queue.push(completions);
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.queue.close();
    }

    fn carry(&self) {
        let mut pace = Pace::default();
        while let Some(completions) = self.queue.take(&mut pace) {
            let count = completions.len();
            (self.deliver)(completions);
            self.under_way.fetch_sub(count, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::effect::OperationId;
    use parking_lot::Mutex;
    use std::sync::mpsc::channel;

    fn done(number: u64) -> Completion {
        let operation = OperationId(number);
        (
            NodeId(0),
            DiskCompletion::Done {
                operation,
                result: Ok(()),
            },
        )
    }

    fn number_of(completion: &Completion) -> u64 {
        match completion.1 {
            DiskCompletion::Done { operation, .. } => operation.0,
            _ => u64::MAX,
        }
    }

    #[test]
    fn all_arrive_in_order_whoever_delivers() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (receiver, hearing) = (Arc::clone(&heard), std::thread::current().id());
        let (courier, thread) = Courier::start(Arc::new(move |completions: Vec<Completion>| {
            let is_own = std::thread::current().id() != hearing;
            let numbers = completions.iter().map(number_of);
            receiver
                .lock()
                .extend(numbers.map(|number| (number, is_own)));
        }))
        .unwrap();
        for number in 0..10_000 {
            courier.deliver(vec![done(number)], || number % 7 > 3);
        }
        courier.close();
        thread.join().unwrap();
        let heard = heard.lock();
        assert!(heard.iter().map(|(number, _)| *number).eq(0..10_000));
        assert_eq!(heard[0], (0, false), "nobody waited");
        assert!(heard.iter().any(|(_, is_own)| *is_own));
    }

    #[test]
    fn nobody_is_overtaken_by_the_calling_thread() {
        let (let_go, gate) = channel::<()>();
        let (sender, heard) = channel();
        let gate = Mutex::new(gate);
        let (courier, thread) = Courier::start(Arc::new(move |completions: Vec<Completion>| {
            if number_of(&completions[0]) == 1 {
                let _ = gate.lock().recv();
            }
            completions
                .iter()
                .for_each(|one| sender.send(number_of(one)).unwrap());
        }))
        .unwrap();
        courier.deliver(vec![done(1)], || true);
        courier.deliver(vec![done(2)], || false);
        assert!(heard.try_recv().is_err());
        let_go.send(()).unwrap();
        courier.close();
        thread.join().unwrap();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [1, 2]);
    }
}
