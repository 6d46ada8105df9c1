//! Threads of shuttle, started as the volume starts its own.

use shuttle::sync::mpsc;
pub(super) use shuttle::thread::JoinHandle;
use std::io;

/// Starts a thread that calls `make` and then `run` with its first half; waits for the second.
pub(super) fn start_thread<Own, Shared: Send + 'static>(
    _: &str,
    make: impl FnOnce() -> io::Result<(Own, Shared)> + Send + 'static,
    run: impl FnOnce(Own) + Send + 'static,
) -> io::Result<(JoinHandle<()>, Shared)> {
    let (sender, receiver) = mpsc::channel();
    let thread = shuttle::thread::spawn(move || {
        let (own, shared) = make().expect("nothing is missing here");
        sender.send(shared).expect("the starter waits");
        run(own);
    });
    let shared = receiver.recv().expect("the thread has begun");
    Ok((thread, shared))
}

/// Waits for a thread that was told to end, unless it is the calling one.
pub(super) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != shuttle::thread::current().id() {
        thread.join().expect("a panic ends the run");
    }
}
