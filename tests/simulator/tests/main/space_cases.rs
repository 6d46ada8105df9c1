//! Space: what happens when the file systems below are full.

use crate::{disks, unwatched};
use redoubt_simulator::cluster::{Cluster, Shape};
use redoubt_simulator::random::Random;
use redoubt_volume::error::IoFailure;
use redoubt_volume::ids::NodeId;
use redoubt_volume::writer::Ticket;

const MIB: usize = 1 << 20;

/// A volume of 64 MiB on disks that give each node `capacity` bytes.
fn cluster_on_small_disks(seed: u64, capacity: usize) -> Cluster {
    let shape = Shape {
        disk_bytes: 64 << 20,
        group_mib: 64,
        ..Shape::default()
    };
    let mut cluster = unwatched(shape, seed);
    cluster.open().expect("a new volume opens");
    for disk in disks(&mut cluster) {
        disk.damage.capacity = Some(capacity);
    }
    cluster
}

/// Writes pieces of the disk's beginning in random order until one fails; gives the failure.
fn write_until_full(cluster: &mut Cluster, random: &mut Random, piece: usize) -> IoFailure {
    for _ in 0..8000 {
        let offset = random.below((64 * MIB / piece) as u64) * piece as u64;
        let write = cluster.start_write(offset, &vec![random.draw() as u8 | 1; piece], true);
        if let Err(failure) = cluster.wait(write) {
            return failure;
        }
    }
    panic!("everything was written");
}

#[test]
fn overwriting_goes_on_while_there_is_garbage_to_collect() {
    let mut cluster = cluster_on_small_disks(1, 20 * MIB);
    let mut random = Random::new(2);
    let chunk = 128 * 1024;
    for round in 0..400 {
        // Eight MiB of data that fit; many requests at a time, as a busy mount has them.
        let tickets: Vec<Ticket> = (0..4)
            .map(|_| {
                let offset = random.below(64) * chunk as u64;
                cluster.start_write(offset, &vec![round as u8; chunk], false)
            })
            .collect();
        for ticket in tickets {
            let result = cluster.wait(ticket);
            assert!(result.is_ok(), "round {round}: {result:?}");
        }
    }
}

#[test]
fn discards_get_through_on_a_full_volume_and_make_room() {
    for piece in [4096, 65536] {
        let mut cluster = cluster_on_small_disks(3, 14 * MIB);
        let mut random = Random::new(4);
        let failure = write_until_full(&mut cluster, &mut random, piece);
        assert_eq!(failure, IoFailure::NoSpace);
        for first in (0..64u64).step_by(2) {
            let discard = cluster.start_discard(first * MIB as u64, MIB as u64);
            let result = cluster.wait(discard);
            assert!(result.is_ok(), "MiB {first}, pieces of {piece}: {result:?}");
        }
        cluster.quiesce(100);
        for index in 0..2 * MIB / piece {
            let write = cluster.start_write((index * piece) as u64, &vec![7; piece], true);
            let result = cluster.wait(write);
            assert!(result.is_ok(), "piece {index} of {piece}: {result:?}");
        }
    }
}

/// What is kept for discards is not spent on tries to collect what cannot be collected, however many
/// frames arrive in a log that is almost full.
#[test]
fn a_volume_that_was_filled_in_order_can_be_discarded_also_behind_a_crash() {
    let request = 128 << 10;
    for seed in 20..40 {
        let mut cluster = cluster_on_small_disks(seed, 14 * MIB + (seed as usize % 8) * 100_000);
        let mut is_full = false;
        let mut firsts = (0..60 * MIB).step_by(MIB);
        while !is_full {
            let first = firsts.next().expect("the disks are smaller");
            let pieces = (first..first + MIB).step_by(request);
            let start =
                |at: usize| cluster.start_write(at as u64, &vec![at as u8 | 1; request], false);
            let tickets: Vec<Ticket> = pieces.map(start).collect();
            let flush = cluster.start_flush();
            for ticket in tickets.into_iter().chain([flush]) {
                is_full |= cluster.wait(ticket).is_err();
            }
        }
        cluster.crash();
        cluster.open().expect("a full volume opens");
        let discard = cluster.start_discard(4 * MIB as u64, 60 * MIB as u64);
        let result = cluster.wait(discard);
        assert!(result.is_ok(), "seed {seed}: {result:?}");
    }
}

#[test]
fn many_small_discards_do_not_run_out_of_room_themselves() {
    let mut cluster = cluster_on_small_disks(5, 14 * MIB);
    let mut random = Random::new(6);
    write_until_full(&mut cluster, &mut random, 16384);
    for round in 0..2000 {
        let block = random.below(4096);
        let discard = cluster.start_discard(block * 16384, 16384);
        let result = cluster.wait(discard);
        assert!(result.is_ok(), "round {round}: {result:?}");
    }
}

#[test]
fn a_volume_full_of_live_data_says_so_without_delay() {
    let mut cluster = cluster_on_small_disks(7, 14 * MIB);
    let mut count = 0;
    let mut before = cluster.now();
    for offset in (0..64 * MIB).step_by(65536) {
        before = cluster.now();
        let write = cluster.start_write(offset as u64, &[1; 65536], true);
        match cluster.wait(write) {
            Ok(_) => count += 1,
            Err(failure) => {
                assert_eq!(failure, IoFailure::NoSpace);
                break;
            }
        }
    }
    assert!(count * 65536 > 7 * MIB, "only {} KiB fitted", count * 64);
    let waited = cluster.now().since(before);
    assert!(waited.as_secs() < 5, "it took {waited:?}");
}

#[test]
fn a_node_whose_disk_is_full_says_so() {
    let mut cluster = cluster_on_small_disks(8, 64 * MIB);
    if let Some(disk) = &mut cluster.hosts[5].disk {
        disk.damage.capacity = Some(6 * MIB);
    }
    for offset in (0..44 * MIB).step_by(65536) {
        let write = cluster.start_write(offset as u64, &[1; 65536], true);
        cluster.wait(write).expect("five nodes have room");
    }
    let reason = |cluster: &mut Cluster| cluster.newest().writer.figures().nodes[5].1.clone();
    let said = reason(&mut cluster).expect("there is something to say");
    assert!(said.contains("full"), "{said}");
    if let Some(disk) = &mut cluster.hosts[5].disk {
        disk.damage.capacity = None;
    }
    cluster.quiesce(400);
    assert_eq!(reason(&mut cluster), None);
    let state = cluster.newest().writer.figures().state;
    assert_eq!(state.word(), "healthy");
}

#[test]
fn requests_that_wait_are_bounded_and_the_others_are_answered() {
    let mut cluster = cluster_on_small_disks(9, 240 * MIB);
    let lost: Vec<_> = (0..3)
        .map(|index| cluster.lose_node(NodeId(index as u16)))
        .collect();
    let mut tickets = Vec::new();
    for offset in (0..600).map(|index| index % 60 * MIB as u64) {
        tickets.push(cluster.start_write(offset, &vec![1; MIB], false));
    }
    let refused = tickets
        .iter()
        .filter(|ticket| cluster.is_answered(**ticket));
    let refused = refused.count();
    assert!((80..100).contains(&refused), "{refused} refused");
    for (index, disk) in lost.into_iter().enumerate() {
        cluster.return_node(NodeId(index as u16), disk.expect("it was there"));
    }
    for (index, ticket) in tickets.into_iter().enumerate() {
        let result = cluster.wait(ticket).map(drop);
        let expected = if index < 600 - refused {
            Ok(())
        } else {
            Err(IoFailure::TooManyWaiting)
        };
        assert_eq!(result, expected, "request {index}");
    }
}
