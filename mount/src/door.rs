//! Who waits for the kernel's next request.
//!
//! The kernel wakes threads that read from one device in turn (`fs/fuse/dev.c`: exclusive waiters,
//! first come, first woken). With three of them every request of a program that sends one at a
//! time wakes the thread that has slept longest, on whatever core. So one thread waits at the
//! door, two when requests come in crowds, and the others sleep here until one is kept inside.

use crate::fuse_device::{has_request, is_connected};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::os::fd::OwnedFd;
use std::sync::Weak;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Threads that take turns: one or two at the door, one that may be kept by a disk that does not answer,
/// and one or two that look for data in an index.
pub(crate) const THREADS: usize = 4;

/// How long the door may be left alone: what a request waits at most when a disk stands still
/// under the thread that reads from it.
const UNATTENDED: Duration = Duration::from_millis(20);

/// Reads that are not done at the door after somebody was seen to wait there; then it is looked
/// again. A program that goes over from many requests to single ones pays that many hand-offs.
const CROWDED_READS: u32 = 256;

/// The door; see the module's page.
pub(crate) struct Door {
    /// Weak: a descriptor that outlives the session would let requests wait for ever.
    device: Weak<OwnedFd>,
    state: Mutex<State>,
    called: Condvar,
    /// Reads to come that are not to be done at the door.
    crowded: AtomicU32,
}

struct State {
    /// Threads that wait for the kernel, or soon will.
    at_door: usize,
    /// One of those who sleep looks from time to time whether the door is attended.
    watched: bool,
}

/// A thread that came in with a request. When this is dropped the thread goes back to the door,
/// or sleeps as long as another is there.
pub(crate) struct Visit<'a>(&'a Door);

impl Door {
    /// The door of a connection that [`THREADS`] threads are about to read from.
    pub(crate) fn new(device: Weak<OwnedFd>) -> Door {
        Door {
            device,
            state: Mutex::new(State {
                at_door: THREADS,
                watched: false,
            }),
            called: Condvar::new(),
            crowded: AtomicU32::new(0),
        }
    }

    /// The calling thread has taken a request.
    pub(crate) fn come_in(&self) -> Visit<'_> {
        let mut state = self.state.lock();
        state.at_door = state.at_door.saturating_sub(1);
        Visit(self)
    }

    /// Whether a read may keep the calling thread: as far as is known, nobody waits behind it.
    pub(crate) fn may_be_kept(&self) -> bool {
        let crowded = self.crowded.load(Ordering::Relaxed);
        if crowded > 0 {
            // Two threads that meet here count one read: it is an estimate.
            self.crowded.store(crowded - 1, Ordering::Relaxed);
            return false;
        }
        !self.look_out()
    }

    /// Looks whether somebody waits, and remembers it.
    pub(crate) fn look_out(&self) -> bool {
        let device = self.device.upgrade();
        let waits = device.is_some_and(|device| has_request(&device));
        if waits {
            self.crowded.store(CROWDED_READS, Ordering::Relaxed);
        }
        waits
    }

    fn go_back(&self) {
        let mut state = self.state.lock();
        let mut slept = false;
        while state.at_door >= self.places() && self.is_open() {
            slept = true;
            self.sleep(&mut state);
        }
        state.at_door += 1;
        if slept {
            // Another has to watch now, or to learn that there is no door any more.
            self.called.notify_one();
        }
    }

    /// Until it is time to look at the door.
    fn sleep(&self, state: &mut MutexGuard<'_, State>) {
        if state.watched {
            return self.called.wait(state);
        }
        state.watched = true;
        self.called.wait_for(state, UNATTENDED);
        state.watched = false;
    }

    /// Threads that may wait at the door: where several requests come at a time, two share the
    /// work.
    fn places(&self) -> usize {
        match self.crowded.load(Ordering::Relaxed) {
            0 => 1,
            _ => 2,
        }
    }

    fn is_open(&self) -> bool {
        let device = self.device.upgrade();
        device.is_some_and(|device| is_connected(&device))
    }
}

impl Visit<'_> {
    /// The thread will be kept: another goes to the door.
    pub(crate) fn is_kept(&self) {
        if self.0.state.lock().at_door == 0 {
            self.0.called.notify_one();
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.go_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
    use std::thread;
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(20);

    /// A door whose device is connected as long as both ends of a stream are there.
    struct Scene {
        door: Arc<Door>,
        device: Arc<OwnedFd>,
        /// The other end, which may send a request.
        kernel: UnixStream,
    }

    fn scene() -> Scene {
        let (device, kernel) = UnixStream::pair().unwrap();
        let device = Arc::new(OwnedFd::from(device));
        let door = Arc::new(Door::new(Arc::downgrade(&device)));
        Scene {
            door,
            device,
            kernel,
        }
    }

    /// A thread that takes a request and goes back; says when it is at the door again.
    fn visitor(door: &Arc<Door>) -> Receiver<()> {
        let (sender, receiver) = channel();
        let door = Arc::clone(door);
        thread::spawn(move || {
            drop(door.come_in());
            sender.send(()).unwrap();
        });
        receiver
    }

    /// All but one thread have taken their first request and sleep.
    fn all_but_one_sleep(door: &Arc<Door>) -> Vec<Receiver<()>> {
        let sleeping: Vec<_> = (1..THREADS).map(|_| visitor(door)).collect();
        while door.state.lock().at_door > 1 {
            thread::yield_now();
        }
        sleeping
    }

    #[test]
    fn one_thread_stays_at_the_door() {
        let scene = scene();
        let sleeping = all_but_one_sleep(&scene.door);
        let (sender, walker) = channel();
        let door = Arc::clone(&scene.door);
        thread::spawn(move || {
            (0..1000).for_each(|_| drop(door.come_in()));
            sender.send(()).unwrap();
        });
        let is_away = |thread: &Receiver<()>| thread.try_recv() != Err(TryRecvError::Empty);
        // A machine that lets it stand inside for long has one of the others take its place for good.
        while !is_away(&walker) && !sleeping.iter().any(is_away) {
            thread::yield_now();
        }
        assert!(sleeping.iter().any(|thread| !is_away(thread)));
        assert_eq!(scene.door.state.lock().at_door, 1);
        drop(scene.device);
        sleeping.into_iter().chain([walker]).for_each(|thread| {
            let _ = thread.recv_timeout(LONG);
        });
    }

    #[test]
    fn another_comes_when_one_is_kept() {
        for says_so in [false, true] {
            let scene = scene();
            let sleeping = all_but_one_sleep(&scene.door);
            let visit = scene.door.come_in();
            if says_so {
                visit.is_kept();
            }
            let start = Instant::now();
            while scene.door.state.lock().at_door == 0 && start.elapsed() < LONG {
                thread::yield_now();
            }
            assert_eq!(scene.door.state.lock().at_door, 1);
            drop(scene.device);
            drop(visit);
            let left = |thread: Receiver<()>| thread.recv_timeout(LONG);
            assert!(sleeping.into_iter().map(left).all(|end| end.is_ok()));
        }
    }

    #[test]
    fn all_leave_when_the_door_is_gone() {
        let scene = scene();
        let sleeping = all_but_one_sleep(&scene.door);
        let early = sleeping[0].recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(RecvTimeoutError::Timeout));
        drop(scene.device);
        for thread in sleeping {
            thread.recv_timeout(LONG).unwrap();
        }
    }

    #[test]
    fn a_crowd_is_remembered_for_a_while() {
        use std::io::{Read, Write};
        let mut scene = scene();
        assert!(!scene.door.look_out());
        assert!(scene.door.may_be_kept());
        scene.kernel.write_all(b"request").unwrap();
        assert!(!scene.door.may_be_kept());
        let mut request = [0; 7];
        let device = UnixStream::from(scene.device.try_clone().unwrap());
        (&device).read_exact(&mut request).unwrap();
        for _ in 0..CROWDED_READS {
            assert!(!scene.door.may_be_kept());
        }
        assert!(scene.door.may_be_kept());
    }
}
