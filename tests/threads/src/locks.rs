//! Mutex and condition variable with the signatures of `parking_lot`, on shuttle's scheduler.

use shuttle::rand::Rng;
use shuttle::sync as shuttled;
use shuttle::thread::yield_now;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// A lock.
#[derive(Debug, Default)]
pub struct Mutex<T>(shuttled::Mutex<T>);

/// A held lock; lets go of it while it waits.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    held: Option<shuttled::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// A lock around a value.
    pub fn new(value: T) -> Mutex<T> {
        Mutex(shuttled::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            held: Some(self.hold()),
        }
    }

    fn hold(&self) -> shuttled::MutexGuard<'_, T> {
        self.0.lock().expect("a panic ends the run")
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("held but while it waits")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("held but while it waits")
    }
}

/// A condition variable. Time passes when the scheduler says so: a wait with a time-out may end at
/// any moment. One that nobody wakes goes on until shuttle has enough of it.
#[derive(Debug, Default)]
pub struct Condvar(shuttled::Mutex<Waiters>);

#[derive(Debug, Default)]
struct Waiters {
    /// Who waits, in the order they came.
    sleeping: VecDeque<u64>,
    next: u64,
}

impl Condvar {
    /// A condition variable that nobody waits for.
    pub fn new() -> Condvar {
        Condvar::default()
    }

    /// Waits until somebody notifies.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.sleep(guard, false);
    }

    /// Waits until somebody notifies, or for some time.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) {
        self.sleep(guard, true);
    }

    /// Waits until somebody notifies, or until then.
    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) {
        self.sleep(guard, true);
    }

    /// Wakes one of those who wait, whichever it is.
    pub fn notify_one(&self) {
        let mut waiters = self.waiters();
        let count = waiters.sleeping.len();
        if count > 0 {
            let which = shuttle::rand::thread_rng().gen_range(0..count);
            waiters.sleeping.remove(which);
        }
    }

    fn waiters(&self) -> shuttled::MutexGuard<'_, Waiters> {
        self.0.lock().expect("a panic ends the run")
    }

    fn sleep<T>(&self, guard: &mut MutexGuard<'_, T>, timed: bool) {
        let own = {
            let mut waiters = self.waiters();
            waiters.next += 1;
            let own = waiters.next;
            waiters.sleeping.push_back(own);
            own
        };
        guard.held = None;
        loop {
            yield_now();
            let mut waiters = self.waiters();
            if timed && shuttle::rand::thread_rng().gen_range(0..8) == 0 {
                waiters.sleeping.retain(|waiter| *waiter != own);
            }
            if !waiters.sleeping.contains(&own) {
                break;
            }
        }
        guard.held = Some(guard.mutex.hold());
    }
}
