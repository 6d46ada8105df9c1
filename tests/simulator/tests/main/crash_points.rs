//! Every crash point of a workload: the power is cut after each single event, be it a message or
//! a disk completion.

use crate::{disks, unwatched};
use redoubt_simulator::cluster::{Cluster, Shape};

const BLOCK: u64 = 16384;

/// Writes block `i` with version `v`, flushing now and then; stops after `limit` completions.
/// Returns the versions that were flushed and those that were written.
fn workload(cluster: &mut Cluster, limit: usize) -> (Vec<u8>, Vec<u8>, bool) {
    let mut steps = 0;
    let (mut flushed, mut written) = (vec![0; 8], vec![0; 8]);
    for version in 1..=12u8 {
        let block = u64::from(version) * 5 % 8;
        cluster.start_write(block * BLOCK, &[version; BLOCK as usize], false);
        written[block as usize] = version;
        if version.is_multiple_of(3) {
            let flush = cluster.start_flush();
            while !cluster.is_answered(flush) {
                if steps == limit {
                    return (flushed, written, false);
                }
                steps += 1;
                cluster.step();
            }
            flushed.clone_from(&written);
        }
    }
    (flushed, written, true)
}

fn check(cluster: &mut Cluster, flushed: &[u8], written: &[u8], limit: usize) -> bool {
    let mut ok = true;
    for block in 0..8usize {
        let found = cluster.read(block as u64 * BLOCK, BLOCK as usize);
        let whole = found.iter().all(|byte| *byte == found[0]);
        ok &= whole && found[0] >= flushed[block] && found[0] <= written[block];
        if !ok {
            println!(
                "limit {limit}, block {block}: {} not in {}..={}",
                found[0], flushed[block], written[block]
            );
            return false;
        }
    }
    ok
}

fn crash_everywhere(ignore_syncs: bool) -> usize {
    let mut losses = 0;
    for limit in 0.. {
        let mut cluster = unwatched(Shape::default(), limit as u64);
        cluster.open().expect("a new volume opens");
        for disk in disks(&mut cluster) {
            disk.damage.syncs_are_ignored = ignore_syncs;
        }
        let (flushed, written, ended) = workload(&mut cluster, limit);
        cluster.crash();
        for disk in disks(&mut cluster) {
            disk.damage.syncs_are_ignored = false;
        }
        let opened = cluster.open();
        losses += usize::from(opened.is_err() || !check(&mut cluster, &flushed, &written, limit));
        // What was found must stay, also after another crash.
        if opened.is_ok() {
            let before = cluster.read(0, 8 * BLOCK as usize);
            cluster.crash();
            assert_eq!(cluster.open(), Ok(()));
            let after = cluster.read(0, 8 * BLOCK as usize);
            let changed = before.iter().zip(&after).position(|(a, b)| a != b);
            let values = changed.map(|at| (at as u64 / BLOCK, before[at], after[at]));
            assert_eq!(
                values, None,
                "a read was taken back (crash after {limit} steps)"
            );
        }
        if ended {
            assert!(limit > 30, "the workload has crash points");
            return losses;
        }
    }
    losses
}

#[test]
fn no_crash_point_loses_what_was_flushed() {
    assert_eq!(crash_everywhere(false), 0);
}

#[test]
fn without_syncs_the_same_test_fails() {
    assert!(
        crash_everywhere(true) > 0,
        "a disk that ignores syncs must be found out"
    );
}
