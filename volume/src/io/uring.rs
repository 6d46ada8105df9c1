//! Many transfers with one system call: io_uring, and plain system calls where there is none.
//!
//! A [`Ring`] owns the memory of what is in flight until the kernel is through with it, also when
//! it is dropped before; so nothing that a caller does can make the kernel write into freed memory.
#![expect(
    unsafe_code,
    reason = "the kernel is handed raw memory here and nowhere else in this crate"
)]

use super::transfer::{ActiveJob, Direction, Finished, Job, Progress, ReadSpan, Transfer};
use crate::page::PageBuf;
use io_uring::{IoUring, opcode, squeue, types};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

/// Marks the completion that a [`Waker`] caused.
const WAKE: u64 = u64::MAX;
/// Pause before the kernel is asked again when it has no memory for a submission.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);

/// A submission queue of jobs, used by the thread that made it.
pub struct Ring {
    kernel: Option<IoUring>,
    capacity: usize,
    jobs: Slab<ActiveJob>,
    transfers: Slab<Transfer>,
    ready: VecDeque<usize>,
    in_flight: usize,
    finished: Vec<Finished>,
    wake: Arc<EventFd>,
    wake_armed: bool,
}

/// What a round waits for.
#[derive(Clone, Copy)]
enum Awaited {
    /// Everything in flight.
    All,
    /// The first completion or wake.
    Any,
}

/// Ends a [`Ring::wait`] from another thread.
#[derive(Clone)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// Ends the wait that goes on, or the next one.
    pub fn wake(&self) {
        // Fails only when the counter is full: then the waiter has been woken already.
        let _ = self.0.write(1);
    }
}

impl Ring {
    /// A ring that keeps up to `capacity` transfers in flight. Without io_uring (an old kernel,
    /// a container that forbids it) it does them one by one.
    ///
    /// # Errors
    /// When there is no file descriptor left.
    pub fn new(capacity: usize) -> io::Result<Ring> {
        let kernel = kernel_ring(capacity)
            .inspect_err(|error| log::info!("io_uring is not available ({error}): slower I/O"));
        Ring::over(kernel.ok(), capacity)
    }

    /// A ring that does its transfers one by one with plain system calls.
    ///
    /// # Errors
    /// When there is no file descriptor left.
    pub fn without_uring(capacity: usize) -> io::Result<Ring> {
        Ring::over(None, capacity)
    }

    fn over(kernel: Option<IoUring>, capacity: usize) -> io::Result<Ring> {
        Ok(Ring {
            kernel,
            capacity,
            jobs: Slab::new(),
            transfers: Slab::new(),
            ready: VecDeque::new(),
            in_flight: 0,
            finished: Vec::new(),
            wake: Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?),
            wake_armed: false,
        })
    }

    /// What ends a wait from another thread.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// Whether another job would be submitted at once.
    pub fn has_room(&self) -> bool {
        self.in_flight + self.ready.len() < self.capacity
    }

    /// Adds a job; a later wait submits it. Its completion carries the token.
    pub fn push(&mut self, token: u64, job: Job) {
        let index = self.jobs.next_index();
        let (active, transfers) = job.start(token, index);
        if active.is_through() {
            return self.finished.push(active.finish());
        }
        self.jobs.insert(active);
        for transfer in transfers {
            self.ready.push_back(self.transfers.insert(transfer));
        }
    }

    /// Submits what is waiting, and waits until all jobs are through.
    pub fn wait_all(&mut self) -> Vec<Finished> {
        if self.in_flight == 0 && self.ready.len() == 1 {
            // One transfer alone is a plain system call: cheaper than the detour by the ring.
            self.perform_ready();
        }
        while self.in_flight + self.ready.len() > 0 {
            self.turn(Awaited::All);
        }
        std::mem::take(&mut self.finished)
    }

    /// Submits what is waiting, and waits for nothing. Without a kernel ring the next wait does it.
    pub fn submit(&mut self) {
        self.fill();
        if self
            .kernel
            .as_mut()
            .is_some_and(|kernel| !kernel.submission().is_empty())
        {
            self.enter(0);
        }
    }

    /// Submits what is waiting, and waits until some job is through or somebody wakes.
    pub fn wait(&mut self) -> Vec<Finished> {
        if self.finished.is_empty() {
            self.arm_wake();
            self.turn(Awaited::Any);
        }
        std::mem::take(&mut self.finished)
    }

    /// One round: submit, wait, take in what is through.
    fn turn(&mut self, awaited: Awaited) {
        if self.kernel.is_none() {
            if self.ready.is_empty() {
                self.drain_wake();
            }
            return self.perform_ready();
        }
        self.fill();
        self.enter(match awaited {
            Awaited::All => self.in_flight,
            Awaited::Any => 1.min(self.in_flight + usize::from(self.wake_armed)),
        });
        self.reap();
    }

    /// Does everything that is ready by plain system calls.
    fn perform_ready(&mut self) {
        while let Some(index) = self.ready.pop_front() {
            if let Some(transfer) = self.transfers.get_mut(index) {
                let result = perform(transfer);
                self.advance(index, result);
            }
        }
    }

    /// Moves ready transfers into the kernel's queue, as far as they fit.
    fn fill(&mut self) {
        let Some(kernel) = &mut self.kernel else {
            return;
        };
        let mut queue = kernel.submission();
        while self.in_flight < self.capacity
            && !queue.is_full()
            && let Some(index) = self.ready.pop_front()
        {
            let Some(transfer) = self.transfers.get_mut(index) else {
                continue;
            };
            let entry = submission(transfer).user_data(index as u64);
            // SAFETY: file, vectors and memory belong to `self.transfers` and `self.jobs`, which
            // give nothing of it up before the completion is reaped, not even when dropped.
            let pushed = unsafe { queue.push(&entry) };
            debug_assert!(pushed.is_ok(), "the queue was not full");
            self.in_flight += 1;
        }
    }

    fn arm_wake(&mut self) {
        let Some(kernel) = &mut self.kernel else {
            return;
        };
        if self.wake_armed {
            return;
        }
        let poll = opcode::PollAdd::new(types::Fd(self.wake.as_raw_fd()), libc::POLLIN as u32);
        // SAFETY: a poll refers to no memory, and `self.wake` lives as long as the ring.
        let pushed = unsafe { kernel.submission().push(&poll.build().user_data(WAKE)) };
        self.wake_armed = pushed.is_ok();
    }

    fn enter(&mut self, want: usize) {
        let Some(kernel) = &self.kernel else {
            return;
        };
        if let Err(error) = kernel.submit_and_wait(want) {
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // No memory for the submission now: what was completed is reaped, then again.
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => {
                    std::thread::sleep(REFUSED_PAUSE);
                }
                // Nothing may be given up while the kernel could still write to it.
                _ => {
                    log::error!("io_uring_enter: {error}");
                    std::thread::sleep(100 * REFUSED_PAUSE);
                }
            }
        }
    }

    fn reap(&mut self) {
        let Some(kernel) = &mut self.kernel else {
            return;
        };
        let completions: Vec<_> = kernel
            .completion()
            .map(|entry| (entry.user_data(), entry.result()))
            .collect();
        for (user_data, result) in completions {
            if user_data == WAKE {
                self.wake_armed = false;
                self.drain_wake();
            } else {
                self.in_flight -= 1;
                self.advance(user_data as usize, result);
            }
        }
    }

    /// Blocks until there is a wake to take: with a kernel ring there is one already.
    fn drain_wake(&self) {
        // An interruption is as good as a wake: callers look again.
        let _ = self.wake.read();
    }

    fn advance(&mut self, index: usize, result: i32) {
        let Some(transfer) = self.transfers.get_mut(index) else {
            return;
        };
        let progress = transfer.advance(result);
        if matches!(progress, Progress::Again) {
            return self.ready.push_back(index);
        }
        let Some(transfer) = self.transfers.remove(index) else {
            return;
        };
        let job = transfer.job;
        if let Some(active) = self.jobs.get_mut(job) {
            active.settle(&transfer, progress);
            if active.is_through() {
                self.finished
                    .extend(self.jobs.remove(job).map(ActiveJob::finish));
            }
        }
    }
}

impl Drop for Ring {
    /// Waits for what is in flight: its memory is freed afterwards.
    fn drop(&mut self) {
        while self.in_flight > 0 {
            self.ready.clear();
            let awaited = self.in_flight;
            self.enter(awaited);
            self.reap();
        }
    }
}

/// A kernel ring whose completions run in the waiting thread (Linux 6.1), or else a plain one.
fn kernel_ring(capacity: usize) -> io::Result<IoUring> {
    let entries = (capacity + 1).next_power_of_two() as u32;
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    builder.build(entries).or_else(|_| IoUring::new(entries))
}

fn submission(transfer: &mut Transfer) -> squeue::Entry {
    let descriptor = types::Fd(transfer.file.as_raw_fd());
    let (offset, direction) = (transfer.offset, transfer.direction);
    let flags = if transfer.blocks {
        squeue::Flags::ASYNC
    } else {
        squeue::Flags::empty()
    };
    let vectors = transfer.vectors();
    let (base, count) = (vectors.as_ptr(), vectors.len() as u32);
    let entry = match direction {
        Direction::Read => opcode::Readv::new(descriptor, base, count)
            .offset(offset)
            .build(),
        Direction::Write => opcode::Writev::new(descriptor, base, count)
            .offset(offset)
            .build(),
    };
    entry.flags(flags)
}

/// Does a transfer by a plain system call; answers like the kernel's ring.
fn perform(transfer: &mut Transfer) -> i32 {
    let descriptor = transfer.file.as_raw_fd();
    let (offset, direction) = (transfer.offset as libc::off_t, transfer.direction);
    let vectors = transfer.vectors();
    let (base, count) = (vectors.as_ptr(), vectors.len() as libc::c_int);
    // SAFETY: the vectors describe memory that the transfer's job owns; of a read it is owned
    // alone and not borrowed, of a write it is only read.
    let done = unsafe {
        match direction {
            Direction::Read => libc::preadv(descriptor, base, count, offset),
            Direction::Write => libc::pwritev(descriptor, base, count, offset),
        }
    };
    // One call moves less than 2 GiB.
    match i32::try_from(done) {
        Ok(done) if done >= 0 => done,
        _ => -io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO),
    }
}

/// Carries out a job in the calling thread by plain system calls, one transfer after the other.
pub fn run_blocking(job: Job) -> Finished {
    let (mut active, transfers) = job.start(0, 0);
    for mut transfer in transfers {
        let progress = loop {
            let result = perform(&mut transfer);
            match transfer.advance(result) {
                Progress::Again => {}
                progress => break progress,
            }
        };
        active.settle(&transfer, progress);
    }
    active.finish()
}

/// Appends pages of the file to `target`, in the calling thread; behind the file's end there are
/// zeros.
///
/// # Errors
/// As the operating system says; what `target` gained is then of no use.
pub fn read_blocking(
    file: &Arc<File>,
    offset: u64,
    pages: usize,
    target: &mut PageBuf,
) -> io::Result<()> {
    let first_page = target.page_count();
    target.grow_to(first_page + pages);
    let span = ReadSpan {
        file: Arc::clone(file),
        offset,
        buffer: 0,
        first_page,
        pages,
    };
    let mut finished = run_blocking(Job::Read {
        buffers: vec![std::mem::take(target)],
        spans: vec![span],
    });
    *target = finished.buffers.pop().unwrap_or_default();
    finished.result
}

/// Whether direct I/O on the file really goes around the page cache, page by page: some file
/// systems accept O_DIRECT and buffer all the same (encrypted files, journaled data).
pub(super) fn supports_direct_io(file: &File) -> bool {
    // SAFETY: statx is plain integers, for which zeros are a value.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the empty path means the descriptor itself, which is open; `found` is written.
    let result = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &raw mut found,
        )
    };
    let page = crate::page::PAGE_BYTES as u32;
    result == 0
        && found.stx_mask & libc::STATX_DIOALIGN != 0
        && (1..=page).contains(&found.stx_dio_offset_align)
        && (1..=page).contains(&found.stx_dio_mem_align)
}

/// Numbered places; a freed number is used again.
struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slab<T> {
    fn new() -> Slab<T> {
        Slab {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The number that the next insertion gives.
    fn next_index(&self) -> usize {
        self.free.last().copied().unwrap_or(self.places.len())
    }

    fn insert(&mut self, item: T) -> usize {
        let index = self.next_index();
        if self.free.pop().is_some() {
            self.places[index] = Some(item);
        } else {
            self.places.push(Some(item));
        }
        index
    }

    fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.places.get_mut(index)?.as_mut()
    }

    fn remove(&mut self, index: usize) -> Option<T> {
        let item = self.places.get_mut(index)?.take()?;
        self.free.push(index);
        Some(item)
    }
}

#[cfg(test)]
#[path = "uring_tests.rs"]
mod tests;
