//! What the threads of a disk do with each other.

use super::Deliver;
use super::courier::Courier;
use super::hold_back::{Due, Held, HoldBack, Release};
use crate::Mutex;
use crate::ids::{ExtentSlot, NodeId};
use crate::segment::effect::{DiskCompletion, NodeEffect, OperationId};
use shuttle::rand::Rng;
use shuttle::thread;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NODE: NodeId = NodeId(0);
const HOUR: Duration = Duration::from_secs(3600);

fn is_chosen() -> bool {
    shuttle::rand::thread_rng().gen_bool(0.5)
}

/// What a thread tells itself and what it leaves to the courier arrive in one order.
pub fn a_courier_overtakes_nobody() {
    const COMPLETIONS: u64 = 5;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    let deliver: Deliver = Arc::new(move |completions| {
        for (_, completion) in completions {
            // Apart, so that another thread may come between two of them.
            hearing.lock().push(number_of(&completion));
        }
    });
    let (courier, thread) = Courier::start(deliver).expect("a thread");
    for number in 0..COMPLETIONS {
        let (operation, result) = (OperationId(number), Ok(()));
        let done = DiskCompletion::Done { operation, result };
        courier.deliver(vec![(NODE, done)], is_chosen);
    }
    courier.close();
    thread.join().expect("the courier ends");
    assert!(heard.lock().iter().copied().eq(0..COMPLETIONS));
}

fn number_of(completion: &DiskCompletion) -> u64 {
    match completion {
        DiskCompletion::Done { operation, .. } => operation.0,
        other => panic!("{other:?}"),
    }
}

/// Writes of a node that are held back, or are not, go on in one order, whoever hurries them and
/// however they end.
pub fn held_writes_keep_their_order() {
    const WRITES: u64 = 4;
    let gone_on = Arc::new(Mutex::new(Vec::new()));
    let released = Arc::clone(&gone_on);
    let release: Release = Arc::new(move |due: Vec<Due>| {
        for due in due {
            released.lock().push(written(&due.effect));
        }
    });
    let hold_back = Arc::new(HoldBack::start(release).expect("a thread"));
    let hurrying = {
        let hold_back = Arc::clone(&hold_back);
        thread::spawn(move || (0..2).for_each(|_| hold_back.hurry(|node| node == NODE)))
    };
    for number in 0..WRITES {
        let now = Instant::now();
        let at = if is_chosen() { now + HOUR } else { now };
        let due = Due {
            node: NODE,
            effect: allocate(number),
            failure: None,
        };
        for (_, effect) in hold_back.hold(vec![Held { at, due }], now) {
            gone_on.lock().push(written(&effect));
        }
    }
    hurrying.join().expect("it has nothing to wait for");
    drop(hold_back);
    assert!(gone_on.lock().iter().copied().eq(0..WRITES));
}

fn allocate(number: u64) -> NodeEffect {
    NodeEffect::Allocate {
        operation: OperationId(number),
        slot: ExtentSlot(0),
        bytes: 1,
    }
}

fn written(effect: &NodeEffect) -> u64 {
    match effect {
        NodeEffect::Allocate { operation, .. } => operation.0,
        other => panic!("{other:?}"),
    }
}
