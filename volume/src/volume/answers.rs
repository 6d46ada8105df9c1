//! Who is told of an answer, and by which thread.
//!
//! Answering takes a system call. A few answers are given by the thread that knows them. Many at a
//! time, when writes that wait for their quorum become durable together, have a thread of their own
//! if there is more to write: it is the disk's thread that knows them, and the disk would wait.

use super::Done;
use crate::error::IoFailure;
use crate::io::thread_start::{JoinHandle, join};
use crate::io::work_queue::{Pace, WorkQueue};
use crate::writer::{Answer, ReadBytes};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

/// From so many answers on a hand-over takes less time than they do.
const MANY: usize = 3;

/// Who is to be told of an answer.
pub(super) enum Callback {
    Done(Done<()>),
    Bytes(Done<ReadBytes>),
    Any(Box<dyn FnOnce(Result<Answer, IoFailure>) + Send>),
}

impl Callback {
    pub(super) fn call(self, result: Result<Answer, IoFailure>) {
        match self {
            Callback::Done(done) => done(super::done(result)),
            Callback::Any(done) => done(result),
            Callback::Bytes(done) => done(result.and_then(|answer| match answer {
                Answer::Bytes(bytes) => Ok(bytes),
                _ => Err(IoFailure::Unreadable),
            })),
        }
    }
}

/// An answer and who is to be told of it.
type Due = (Callback, Result<Answer, IoFailure>);

/// The thread that gives many answers. What comes after its end is given by who brings it.
pub(super) struct Answers {
    queue: Arc<WorkQueue<Due>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Answers {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has none left.
    pub(super) fn start() -> io::Result<Answers> {
        let queue = Arc::new(WorkQueue::new());
        let own = Arc::clone(&queue);
        let builder = std::thread::Builder::new().name("redoubt-durable".to_owned());
        let thread = Mutex::new(Some(builder.spawn(move || answer(&own))?));
        Ok(Answers { queue, thread })
    }

    /// Ends the thread when it has given what it has.
    pub(super) fn end(&self) {
        self.queue.close();
        let thread = self.thread.lock().take();
        thread.into_iter().for_each(join);
    }

    /// Has these given, by the calling thread unless they are many and `others_wait` for it.
    pub(super) fn give(&self, due: Vec<Due>, others_wait: bool) {
        let left = match others_wait && due.len() >= MANY {
            true => self.queue.offer(due),
            false => due,
        };
        call_all(left);
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.end();
    }
}

fn answer(queue: &WorkQueue<Due>) {
    let mut pace = Pace::default();
    while let Some(due) = queue.take(&mut pace) {
        call_all(due);
    }
}

fn call_all(due: Vec<Due>) {
    due.into_iter()
        .for_each(|(callback, result)| callback.call(result));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{ThreadId, current};

    fn due(count: usize, sender: &Sender<ThreadId>) -> Vec<Due> {
        let one = |_| {
            let sender = sender.clone();
            let told = move |_| sender.send(current().id()).unwrap();
            (Callback::Any(Box::new(told)), Ok(Answer::Done))
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn many_are_given_by_the_thread_of_their_own_when_others_wait() {
        let answers = Answers::start().unwrap();
        let (sender, told) = channel();
        answers.give(due(MANY, &sender), true);
        let others: Vec<_> = told.iter().take(MANY).collect();
        assert!(others.iter().all(|thread| *thread != current().id()));
        answers.give(due(MANY - 1, &sender), true);
        answers.give(due(MANY, &sender), false);
        let own: Vec<_> = told.iter().take(2 * MANY - 1).collect();
        assert!(own.iter().all(|thread| *thread == current().id()));
    }

    #[test]
    fn none_is_lost_when_it_ends() {
        let answers = Answers::start().unwrap();
        let (sender, told) = channel();
        (0..100).for_each(|_| answers.give(due(MANY, &sender), true));
        answers.end();
        assert_eq!(told.try_iter().count(), 100 * MANY);
        answers.give(due(MANY, &sender), true);
        assert_eq!(told.try_iter().count(), MANY);
    }
}
