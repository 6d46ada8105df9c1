use super::*;
use crate::ids::ExtentSlot;
use crate::segment::effect::OperationId;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn started() -> (HoldBack, Receiver<Vec<Due>>) {
    let (sender, receiver) = channel();
    let release: Release = Arc::new(move |due| sender.send(due).unwrap());
    (HoldBack::start(release).unwrap(), receiver)
}

fn allocate(operation: u64) -> NodeEffect {
    NodeEffect::Allocate {
        operation: OperationId(operation),
        slot: ExtentSlot(0),
        bytes: 1 << 20,
    }
}

fn read(operation: u64) -> NodeEffect {
    NodeEffect::Read {
        operation: OperationId(operation),
        slot: ExtentSlot(0),
        offset: 0,
        pages: 1,
    }
}

fn held(node: u16, effect: NodeEffect, after: Duration) -> Held {
    let node = NodeId(node);
    Held {
        at: Instant::now() + after,
        due: Due {
            node,
            effect,
            failure: None,
        },
    }
}

fn number(due: &Due) -> u64 {
    match &due.effect {
        NodeEffect::Allocate { operation, .. } | NodeEffect::Read { operation, .. } => operation.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_comes_out_in_its_time_and_no_write_overtakes_one_of_its_node() {
    let (hold_back, released) = started();
    let ms = Duration::from_millis;
    hold_back.hold(
        vec![
            held(0, allocate(1), ms(60)),
            held(0, allocate(2), ms(5)),
            held(0, read(3), ms(10)),
            held(1, allocate(4), ms(20)),
        ],
        Instant::now(),
    );
    let mut order = Vec::new();
    while order.len() < 4 {
        let due = released.recv_timeout(HOUR).unwrap();
        order.extend(due.iter().map(number));
    }
    assert_eq!(order, [3, 4, 1, 2]);
}

#[test]
fn what_finds_no_room_is_not_delayed_but_fails_all_the_same() {
    let (hold_back, released) = started();
    let most = limits::HELD_EFFECTS as u64;
    let effects = (0..most).map(|at| held(0, read(at), HOUR)).collect();
    assert!(hold_back.hold(effects, Instant::now()).is_empty());
    let mut failing = held(1, read(most), Duration::ZERO);
    failing.due.failure = Some(DiskError::Failed);
    let passing = hold_back.hold(vec![held(1, read(most + 1), HOUR), failing], Instant::now());
    assert_eq!(passing.len(), 1);
    let due = released.recv_timeout(HOUR).unwrap();
    assert_eq!(due.iter().map(number).collect::<Vec<_>>(), [most]);
    // Nothing is kept when it ends.
    drop(hold_back);
    assert_eq!(released.iter().flatten().count() as u64, most);
}

#[test]
fn only_those_who_are_meant_are_hurried() {
    let (hold_back, released) = started();
    hold_back.hold(
        vec![held(0, read(1), HOUR), held(1, read(2), HOUR)],
        Instant::now(),
    );
    hold_back.hurry(|node| node == NodeId(1));
    let due = released.recv_timeout(HOUR).unwrap();
    assert_eq!(due.iter().map(number).collect::<Vec<_>>(), [2]);
    assert!(released.try_recv().is_err());
}

#[test]
fn a_write_that_is_not_meant_waits_for_those_of_its_node() {
    let (hold_back, released) = started();
    let now = Instant::now();
    let first = held(0, allocate(1), HOUR);
    let later = vec![
        held(0, allocate(2), Duration::ZERO),
        held(0, read(3), Duration::ZERO),
        held(1, allocate(4), Duration::ZERO),
    ];
    assert!(!hold_back.is_busy());
    assert!(hold_back.hold(vec![first], now).is_empty());
    let passing = hold_back.hold(later, now + HOUR / 2);
    let nodes: Vec<_> = passing.iter().map(|(node, _)| node.0).collect();
    assert_eq!(nodes, [0, 1]);
    assert!(hold_back.is_busy());
    hold_back.hurry(|_| true);
    let mut order = Vec::new();
    while order.len() < 2 {
        let due = released.recv_timeout(HOUR).unwrap();
        order.extend(due.iter().map(number));
    }
    assert_eq!(order, [1, 2]);
    while hold_back.is_busy() {
        std::thread::yield_now();
    }
}
