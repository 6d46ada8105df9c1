use super::*;
use crate::io::test_support::{done, first_bytes, inbox, pattern, six_nodes};
use crate::page::{PAGE_BYTES, PageBuf};

fn append(operation: u64, page: u64) -> NodeEffect {
    NodeEffect::Append {
        operation: OperationId(operation),
        slot: ExtentSlot(0),
        offset: page * PAGE_BYTES as u64,
        parts: vec![pattern(1, operation as u8)],
        overwrites: false,
    }
}

fn start(directories: &Directories, deliver: Deliver) -> DiskThread {
    let device = Device::of(directories.get(NodeId(0)).unwrap().path()).unwrap();
    DiskThread::start(device, directories.clone(), deliver).unwrap()
}

#[test]
fn six_appends_are_one_batch() {
    let temp = tempfile::tempdir().unwrap();
    let directories = six_nodes(temp.path(), 8);
    let (deliver, inbox) = inbox();
    let disk = start(&directories, deliver);
    for round in 0..20 {
        let effects = (0..6).map(|node| (NodeId(node), append(round, round % 8)));
        assert!(disk.submit(effects.collect()).is_empty());
        let batch = inbox.recv().unwrap();
        assert_eq!(batch.len(), 6, "{batch:?}");
    }
}

#[test]
fn appends_do_not_wait_for_allocations_and_stop_finishes_all() {
    let temp = tempfile::tempdir().unwrap();
    let directories = six_nodes(temp.path(), 8);
    let (deliver, inbox) = inbox();
    let disk = start(&directories, deliver);
    let allocate = |operation, slot| NodeEffect::Allocate {
        operation: OperationId(operation),
        slot: ExtentSlot(slot),
        bytes: 1 << 20,
    };
    let mut effects = vec![(NodeId(1), allocate(100, 5)), (NodeId(9), allocate(101, 5))];
    effects.extend((0..8).map(|page| (NodeId(1), append(page, page))));
    effects.push((
        NodeId(0),
        NodeEffect::Remove {
            slot: ExtentSlot(0),
        },
    ));
    assert!(disk.submit(effects).is_empty());
    disk.stop();
    let done = done(&inbox, 10);
    let failed: Vec<_> = done
        .iter()
        .filter(|(_, _, result)| result.is_err())
        .collect();
    assert_eq!(
        failed,
        [&(NodeId(9), OperationId(101), Err(DiskError::Failed))]
    );
    let written = directories.get(NodeId(1)).unwrap();
    let firsts = first_bytes(&written, ExtentSlot(0), 8);
    assert_eq!(firsts, [0, 1, 2, 3, 4, 5, 6, 7]);
    let lengths = |node: u16| directories.get(NodeId(node)).unwrap().extents().unwrap();
    assert_eq!(lengths(1).last(), Some(&(ExtentSlot(5), 1 << 20)));
    assert!(lengths(0).is_empty());
}

#[test]
fn what_is_not_written_is_handed_back() {
    let temp = tempfile::tempdir().unwrap();
    let directories = six_nodes(temp.path(), 1);
    let disk = start(&directories, inbox().0);
    let read = NodeEffect::Read {
        operation: OperationId(1),
        slot: ExtentSlot(0),
        offset: 0,
        pages: 1,
    };
    let others = disk.submit(vec![(NodeId(2), read)]);
    assert!(matches!(
        &others[..],
        [(NodeId(2), NodeEffect::Read { .. })]
    ));
}

#[test]
fn the_receiver_may_drop_the_thread_that_calls_it() {
    let temp = tempfile::tempdir().unwrap();
    let directories = six_nodes(temp.path(), 1);
    let owner = Arc::new(parking_lot::Mutex::new(None));
    let (dropped, wait) = std::sync::mpsc::channel();
    let inner = Arc::clone(&owner);
    let deliver: Deliver = Arc::new(move |_| {
        drop(inner.lock().take());
        dropped.send(()).unwrap();
    });
    let mut slot = owner.lock();
    let disk = slot.insert(start(&directories, deliver));
    disk.submit(vec![(NodeId(0), append(1, 0))]);
    drop(slot);
    wait.recv_timeout(std::time::Duration::from_secs(10))
        .unwrap();
}

#[test]
fn appends_of_a_node_end_in_their_order_and_none_behind_a_failed_one_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let directories = six_nodes(temp.path(), 8);
    let (deliver, inbox) = inbox();
    let disk = start(&directories, deliver);
    let mut effects: Vec<_> = (0..4).map(|page| (NodeId(1), append(page, page))).collect();
    effects.extend((0..4).map(|page| (NodeId(2), append(page, page))));
    // A file that is not there: the append to it fails.
    if let (_, NodeEffect::Append { slot, .. }) = &mut effects[5] {
        *slot = ExtentSlot(9);
    }
    assert!(disk.submit(effects).is_empty());
    disk.stop();
    let done: Vec<_> = inbox.try_iter().flatten().collect();
    let of_node = |wanted: u16| {
        let of_node = done.iter().filter(|(node, _)| *node == NodeId(wanted));
        let ended = |(_, completion): &(NodeId, DiskCompletion)| match completion {
            DiskCompletion::Done { operation, result } => (operation.0, result.is_ok()),
            other => panic!("{other:?}"),
        };
        of_node.map(ended).collect::<Vec<_>>()
    };
    assert_eq!(of_node(1), [(0, true), (1, true), (2, true), (3, true)]);
    assert_eq!(of_node(2), [(0, true), (1, false), (2, false), (3, false)]);
    let mut pages = PageBuf::default();
    let written = directories.get(NodeId(2)).unwrap();
    written.read_at(ExtentSlot(0), 0, 4, &mut pages).unwrap();
    let untouched = pages.bytes()[2 * PAGE_BYTES..]
        .iter()
        .all(|byte| *byte == 0);
    assert!(untouched, "what came behind the failed one was written");
}
