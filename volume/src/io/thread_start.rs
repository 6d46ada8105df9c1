//! Starting a thread that first makes something which must not leave it, such as a ring; and
//! waiting for its end.

use std::io;
use std::sync::mpsc;
use std::thread::Builder;
pub(crate) use std::thread::JoinHandle;

/// Starts a thread that calls `make` and then `run` with its first half; waits for the second
/// half, which the thread shares with its starter.
///
/// # Errors
/// When no thread can be started, or `make` failed in it.
pub(super) fn start_thread<Own, Shared: Send + 'static>(
    name: &str,
    make: impl FnOnce() -> io::Result<(Own, Shared)> + Send + 'static,
    run: impl FnOnce(Own) + Send + 'static,
) -> io::Result<(JoinHandle<()>, Shared)> {
    let (sender, receiver) = mpsc::channel();
    let thread = Builder::new().name(name.into()).spawn(move || {
        let (own, shared) = match make() {
            Ok((own, shared)) => (Some(own), Ok(shared)),
            Err(error) => (None, Err(error)),
        };
        // The starter waits for it, so somebody receives.
        let _ = sender.send(shared);
        own.map(run);
    })?;
    let shared = receiver
        .recv()
        .map_err(|_| io::Error::other("a thread ended before it began"))?;
    Ok((thread, shared?))
}

/// Waits for a thread that was told to end. One that drops its own owner (the last handle may go
/// in its callback) is not waited for: it ends by itself.
pub(crate) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
        log::error!("a thread ended with a panic");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_made_is_an_error_of_the_starter() {
        let failing = start_thread::<(), ()>(
            "test",
            || Err(io::ErrorKind::OutOfMemory.into()),
            |()| unreachable!(),
        );
        assert_eq!(failing.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        let (thread, shared) =
            start_thread("test", || Ok((1, 2)), |own| assert_eq!(own, 1)).unwrap();
        thread.join().unwrap();
        assert_eq!(shared, 2);
    }
}
