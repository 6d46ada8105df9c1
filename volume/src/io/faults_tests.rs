use super::*;
use crate::ids::ExtentSlot;
use crate::segment::effect::{DiskCompletion, OperationId, ReadPlan};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

const MINUTE: Duration = Duration::from_secs(60);

fn faults() -> (Faults, Receiver<Vec<Due>>) {
    let (sender, receiver) = channel();
    let release: Release = Arc::new(move |due| sender.send(due).unwrap());
    (Faults::new(7, release), receiver)
}

fn append(operation: u64) -> NodeEffect {
    NodeEffect::Append {
        operation: OperationId(operation),
        slot: ExtentSlot(0),
        offset: 0,
        parts: Vec::new(),
        overwrites: true,
    }
}

fn materialize(operation: u64) -> NodeEffect {
    NodeEffect::Materialize {
        operation: OperationId(operation),
        plan: ReadPlan::default(),
    }
}

fn all_six(effect: impl Fn() -> NodeEffect) -> Vec<(NodeId, NodeEffect)> {
    (0..6).map(|node| (NodeId(node), effect())).collect()
}

#[test]
fn a_share_of_reads_and_writes_fails() {
    let failure = FaultKind::DiskFailure { percent: 5 };
    for access in [Access::Read, Access::Write, Access::Allocate] {
        for (random, fails) in [(0, true), (4, true), (5, false), (99, false), (104, true)] {
            let verdict = failure.verdict(access, random);
            assert_eq!(verdict.delay, Duration::ZERO);
            assert_eq!(verdict.failure, fails.then_some(DiskError::Failed));
        }
        let always = FaultKind::DiskFailure { percent: 100 };
        assert!((0..200).all(|random| always.verdict(access, random).failure.is_some()));
    }
}

#[test]
fn congestion_is_drawn_evenly_between_its_bounds() {
    let [least, most] = [200, 300].map(Duration::from_millis);
    let congestion = FaultKind::Congestion { least, most };
    let delay = |random| congestion.verdict(Access::Write, random).delay;
    assert_eq!((delay(0), delay(100_000)), (least, most));
    assert_eq!(delay(100_001), least);
    assert_eq!(delay(50_000), Duration::from_millis(250));
    let fixed = FaultKind::Congestion { least, most: least };
    assert_eq!(fixed.verdict(Access::Read, u64::MAX).delay, least);
    assert_eq!(fixed.verdict(Access::Read, 1).failure, None);
}

#[test]
fn a_full_disk_gives_no_space_and_does_all_else() {
    let full = FaultKind::DiskFull;
    let failure = full.verdict(Access::Allocate, 0).failure;
    assert_eq!(failure, Some(DiskError::Full));
    for access in [Access::Read, Access::Write] {
        assert_eq!(full.verdict(access, 0), Verdict::default());
        assert_eq!(FaultKind::NodeDown.verdict(access, 0), Verdict::default());
    }
}

#[test]
fn while_nothing_is_asked_for_everything_passes() {
    let (faults, _) = faults();
    assert_eq!(faults.pass(all_six(|| append(1))).len(), 6);
    assert!(faults.hold_back.get().is_none(), "no thread");
    assert_eq!(faults.down(NodeId(0)), None);
}

#[test]
fn a_slow_disk_holds_up_nobody_else() {
    let (faults, released) = faults();
    let time = Duration::from_millis(30);
    let congestion = FaultKind::Congestion {
        least: time,
        most: time,
    };
    faults.begin(congestion, vec![NodeId(2)], MINUTE).unwrap();
    let began = Instant::now();
    let passing = faults.pass(all_six(|| append(1)));
    let nodes: Vec<u16> = passing.iter().map(|(node, _)| node.0).collect();
    assert_eq!(nodes, [0, 1, 3, 4, 5]);
    let due = released.recv().unwrap();
    assert!(began.elapsed() >= time);
    assert!(matches!(&due[..], [due] if due.node == NodeId(2) && due.failure.is_none()));
    // Nobody waits for what has no completion.
    let slot = ExtentSlot(1);
    let removal = faults.pass(vec![(NodeId(2), NodeEffect::Remove { slot })]);
    assert_eq!(removal.len(), 1);
}

#[test]
fn what_fails_is_told_as_its_disk_would() {
    let (faults, released) = faults();
    let failure = FaultKind::DiskFailure { percent: 100 };
    faults.begin(failure, vec![NodeId(1)], MINUTE).unwrap();
    let effects = vec![(NodeId(1), append(4)), (NodeId(1), materialize(5))];
    assert!(faults.pass(effects).is_empty());
    let mut due = Vec::new();
    while due.len() < 2 {
        due.extend(released.recv().unwrap());
    }
    let mut failed = due.into_iter().map(|due| due.failed().unwrap());
    let failed: Vec<_> = failed.by_ref().collect();
    assert!(matches!(
        &failed[..],
        [
            (
                NodeId(1),
                DiskCompletion::Done {
                    operation: OperationId(4),
                    result: Err(DiskError::Failed)
                }
            ),
            (
                NodeId(1),
                DiskCompletion::Materialized {
                    operation: OperationId(5),
                    result: Err(DiskError::Failed)
                }
            ),
        ]
    ));
    assert!(faults.fails_opening(NodeId(1)) && !faults.fails_opening(NodeId(2)));
}

#[test]
fn faults_end_by_themselves_or_when_told_and_let_go() {
    let (faults, released) = faults();
    let begin = |kind, node, interval| {
        let fault = faults.begin(kind, vec![NodeId(node)], interval);
        fault.unwrap().unwrap().id
    };
    let hour = Duration::from_secs(3600);
    let congestion = FaultKind::Congestion {
        least: hour,
        most: hour,
    };
    let (down, slow) = (
        begin(FaultKind::NodeDown, 3, MINUTE),
        begin(congestion, 4, hour),
    );
    assert_eq!(faults.down(NodeId(3)), Some(down));
    assert_eq!(faults.down(NodeId(4)), None);
    assert!(faults.pass(vec![(NodeId(4), append(1))]).is_empty());
    assert!(faults.expire(Instant::now()).is_empty());
    let ended = faults.expire(Instant::now() + 2 * MINUTE);
    assert_eq!((ended.len(), ended[0].id), (1, down));
    assert!(faults.is_active() && released.try_recv().is_err());
    let ended = faults.end(|fault| fault.id == slow);
    assert_eq!((ended.len(), faults.list().len()), (1, 0));
    assert_eq!(released.recv_timeout(MINUTE).unwrap().len(), 1);
    assert!(!faults.is_active());
    // What went on is with its disk when it was handed over, and not before.
    while faults.hold_back.get().is_some_and(HoldBack::is_busy) {
        std::thread::yield_now();
    }
    assert_eq!(faults.pass(vec![(NodeId(4), append(2))]).len(), 1);
}

#[test]
fn there_are_only_so_many() {
    let (faults, _released) = faults();
    let begin = || faults.begin(FaultKind::DiskFull, vec![NodeId(0)], MINUTE);
    for _ in 0..limits::FAULTS {
        assert!(begin().unwrap().is_some());
    }
    assert!(begin().unwrap().is_none());
}
