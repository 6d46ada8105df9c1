//! What the users of a queue and of the door do with each other; like each scenario these end, or
//! shuttle says how they did not.

use crate::Mutex;
use crate::door::{Door, THREADS};
use crate::io::work_queue::{Pace, WorkQueue};
use shuttle::thread::{self, yield_now};
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Two producers and one consumer: everything arrives once, in each producer's order, and the
/// consumer ends when the queue is closed.
pub fn a_queue_loses_nothing() {
    const ITEMS: u32 = 3;
    let queue = Arc::new(WorkQueue::new());
    let producers: Vec<_> = (0..2_u32)
        .map(|producer| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                (0..ITEMS).for_each(|item| queue.push([(producer, item)]));
            })
        })
        .collect();
    let consumer = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            let (mut pace, mut taken) = (Pace::default(), Vec::new());
            while let Some(items) = queue.take(&mut pace) {
                taken.extend(items);
                if queue.has_work() {
                    taken.extend(queue.take_now());
                }
            }
            taken
        })
    };
    for producer in producers {
        producer.join().expect("a producer ends");
    }
    queue.close();
    let taken = consumer.join().expect("the consumer ends");
    for producer in 0..2 {
        let of_one = taken.iter().filter(|(from, _)| *from == producer);
        assert!(of_one.map(|(_, item)| *item).eq(0..ITEMS));
    }
    assert_eq!(taken.len(), 2 * ITEMS as usize);
}

/// Requests of a kernel that has three: the first keeps its thread until the others are answered.
#[derive(Default)]
struct Kernel {
    requests: Mutex<VecDeque<usize>>,
    answered: Mutex<usize>,
}

const REQUESTS: usize = 3;

/// A thread that is kept, and says so or does not, keeps nobody else; all leave when the door is
/// gone.
pub fn a_door_is_attended(says_so: bool) {
    let device: Arc<OwnedFd> = Arc::new(File::open("/dev/null").expect("a file").into());
    let door = Arc::new(Door::new(Arc::downgrade(&device)));
    let kernel = Arc::new(Kernel::default());
    kernel.requests.lock().extend(0..REQUESTS);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (door, kernel) = (Arc::clone(&door), Arc::clone(&kernel));
            thread::spawn(move || serve(&door, &kernel, says_so))
        })
        .collect();
    while *kernel.answered.lock() < REQUESTS {
        yield_now();
    }
    drop(device);
    for thread in threads {
        thread.join().expect("a thread ends");
    }
}

/// What a session's thread does until the kernel has nothing more.
fn serve(door: &Door, kernel: &Kernel, says_so: bool) {
    loop {
        let request = kernel.requests.lock().pop_front();
        let Some(request) = request else {
            if *kernel.answered.lock() == REQUESTS {
                return;
            }
            yield_now();
            continue;
        };
        let visit = door.come_in();
        if request == 0 {
            if says_so {
                visit.is_kept();
            }
            while *kernel.answered.lock() < REQUESTS - 1 {
                yield_now();
            }
        }
        *kernel.answered.lock() += 1;
        drop(visit);
    }
}
