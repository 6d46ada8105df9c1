//! What threads do that leave the core one after the other.

use super::driver::Driver;
use crate::ids::NodeId;
use crate::io::faults::FaultKind;
use crate::segment::effect::OperationId;
use shuttle::thread::{self, yield_now};
use std::sync::Arc;
use std::time::Duration;

const NODES: usize = 2;
const THREADS: u64 = 2;
/// Of each node, by each thread.
const APPENDS: u64 = 2;
const HOUR: Duration = Duration::from_secs(3600);

/// Appends of a node reach its disk in the order in which the node asked for them, and the node hears
/// of them in that order, whoever leaves the core with them; also where a fault holds some of them
/// back and ends meanwhile.
pub fn appends_keep_their_order(with_fault: bool) {
    let driver = Driver::new(NODES);
    let (kind, nodes) = (congestion(), vec![NodeId(0)]);
    if with_fault {
        let begun = driver.faults.begin(kind, nodes, HOUR);
        assert!(begun.expect("a thread").is_some());
    }
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let driver = Arc::clone(&driver);
            thread::spawn(move || (0..APPENDS).for_each(|_| driver.append()))
        })
        .collect();
    driver.faults.end(|_| true);
    for thread in threads {
        thread.join().expect("a thread ends");
    }
    while done(&driver)
        .iter()
        .any(|done| done.len() < expected().count())
    {
        yield_now();
    }
    driver.close();
    for (index, done) in done(&driver).into_iter().enumerate() {
        let node = NodeId(index as u16);
        let appended = driver.directories.get(node).map(|all| all.appended());
        let of_node = appended.into_iter().flatten().filter(|(of, _)| *of == node);
        assert!(of_node.map(|(_, operation)| operation).eq(expected()));
        assert!(done.into_iter().eq(expected()));
    }
}

/// Longer than anything lasts here: who is held back goes on when the fault ends.
fn congestion() -> FaultKind {
    FaultKind::Congestion {
        least: HOUR,
        most: HOUR,
    }
}

fn expected() -> impl Iterator<Item = OperationId> {
    (1..=THREADS * APPENDS).map(OperationId)
}

fn done(driver: &Driver) -> Vec<Vec<OperationId>> {
    driver.with_core(|core, ()| {
        let nodes = core.embedded.nodes.iter().flatten();
        nodes.map(|node| node.done.clone()).collect()
    })
}
