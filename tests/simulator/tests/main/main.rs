//! The volume on simulated disks and network: cases with names, every crash point of a workload, a
//! reference model, and whole runs.

#![allow(
    unreachable_pub,
    missing_docs,
    reason = "a test binary has no public items"
)]

mod crash_points;
mod gossip_cases;
mod healing_cases;
mod health_cases;
mod idle_cases;
mod rebuild_cases;
mod recovery_cases;
mod reference_model;
mod relocation_cases;
mod replacement_cases;
mod runs;
mod scrub_cases;
mod size_cases;
mod space_cases;
mod two_lines;

use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::disk::MemoryDisk;

/// A new volume, in which nobody makes lost directories anew but the test.
fn unwatched(shape: Shape, seed: u64) -> Cluster {
    let mut cluster = Cluster::create(shape, seed);
    cluster.is_watched = false;
    cluster
}

/// The disks that are there.
fn disks(cluster: &mut Cluster) -> impl Iterator<Item = &mut MemoryDisk> {
    let hosts = cluster.hosts.iter_mut();
    hosts.filter_map(|host| host.disk.as_mut())
}

/// So many blocks hold bytes that tell the block and the round in which they were written.
fn expect_blocks(cluster: &mut Cluster, blocks: u64, round: u8) {
    for block in 0..blocks {
        let found = cluster.read(block * 16384, 16384);
        let right = found.iter().all(|byte| *byte == block as u8 ^ round);
        assert!(right, "block {block}: {}", found[0]);
    }
}
