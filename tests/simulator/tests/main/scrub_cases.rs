//! What scrubs do beside mending: they pause, go on, end; what nobody can prove is named; and what
//! is damaged on all six nodes in different places is read all the same.

use crate::healing_cases::{BLOCKS, byte_of, clean, expect_good_copies, filled, flush, rot};
use redoubt_simulator::cluster::Cluster;
use redoubt_volume::error::IoFailure;
use redoubt_volume::geometry::BLOCK_BYTES;
use redoubt_volume::ids::GroupId;
use redoubt_volume::status::{DataError, ScrubPlace, ScrubStart};
use redoubt_volume::writer::{Answer, Ticket};

const BYTES: usize = BLOCK_BYTES;

/// First bytes and numbers of bytes that are known to be lost.
fn lost(cluster: &mut Cluster) -> Vec<(u64, u64)> {
    let errors = cluster.newest().writer.figures().data_errors;
    assert_eq!(errors.more, 0);
    let place = |error: &DataError| (error.offset, error.length);
    errors.known.iter().map(place).collect()
}

fn read_block(cluster: &mut Cluster, block: u64) -> Result<u8, IoFailure> {
    let read = cluster.start_read(block * BYTES as u64, BYTES);
    match cluster.wait(read)? {
        Answer::Bytes(bytes) => Ok(bytes.as_ref()[0]),
        other => panic!("a read answered {other:?}"),
    }
}

#[test]
fn what_is_damaged_on_all_six_in_different_places_is_read_as_a_whole() {
    let mut cluster = filled(300);
    for node in 0..6 {
        rot(&mut cluster, node, 10 * u64::from(node) + 3);
    }
    // One request of the whole leaf: no node can give it.
    let bytes = cluster.read(0, 64 * BYTES);
    for (block, content) in bytes.chunks(BYTES).enumerate() {
        let byte = byte_of(block as u64);
        assert!(content.iter().all(|other| *other == byte), "block {block}");
    }
    assert_eq!(lost(&mut cluster), []);
    cluster.quiesce(100);
    assert_eq!(cluster.scrub(), Ok(clean()));
}

#[test]
fn a_block_that_nobody_can_prove_fails_alone_and_is_named() {
    let mut cluster = filled(301);
    for node in 0..6 {
        rot(&mut cluster, node, 20);
        rot(&mut cluster, node, 21);
        rot(&mut cluster, node, 10 * u64::from(node) + 3);
    }
    let whole = cluster.start_read(0, 64 * BYTES);
    assert!(matches!(cluster.wait(whole), Err(IoFailure::Unreadable)));
    for block in 0..64 {
        let expected = match block {
            20 | 21 => Err(IoFailure::Unreadable),
            _ => Ok(byte_of(block)),
        };
        assert_eq!(read_block(&mut cluster, block), expected, "block {block}");
    }
    let (first, two) = (20 * BYTES as u64, 2 * BYTES as u64);
    assert_eq!(lost(&mut cluster), [(first, two)]);
    let report = cluster.scrub().expect("the scrub ends");
    assert_eq!(report.unresolved, 12, "{report:?}");
    assert_eq!(lost(&mut cluster), [(first, two)]);
    // A write makes one good, a discard the other; half a block is not enough.
    cluster.start_write(first, &[7; BYTES / 2], false);
    flush(&mut cluster);
    assert_eq!(lost(&mut cluster), [(first, two)]);
    cluster.start_write(first, &[7; BYTES], false);
    assert_eq!(lost(&mut cluster), [(first + BYTES as u64, BYTES as u64)]);
    cluster.start_discard(first + BYTES as u64, BYTES as u64);
    assert_eq!(lost(&mut cluster), []);
    flush(&mut cluster);
    cluster.quiesce(10);
    assert_eq!(read_block(&mut cluster, 20), Ok(7));
    assert_eq!(read_block(&mut cluster, 21), Ok(0));
    let report = cluster.scrub().expect("the scrub ends");
    assert_eq!((report.damaged, report.unresolved), (0, 0), "{report:?}");
}

#[test]
fn a_scrub_finds_what_nobody_has_read_and_names_it() {
    let mut cluster = filled(302);
    (0..6).for_each(|node| rot(&mut cluster, node, 99));
    assert_eq!(lost(&mut cluster), []);
    let report = cluster.scrub().expect("the scrub ends");
    assert_eq!((report.damaged, report.unresolved), (6, 6));
    assert_eq!(lost(&mut cluster), [(99 * BYTES as u64, BYTES as u64)]);
    // What an earlier process knew is good when its copies are: a look clears it.
    cluster.start_write(99 * BYTES as u64, &[byte_of(99); BYTES], false);
    flush(&mut cluster);
    let (offset, length) = (5 * BYTES as u64, BYTES as u64);
    let mut errors = redoubt_volume::status::DataErrors::default();
    errors.known.push(DataError { offset, length });
    cluster.newest().writer.note_data_errors(&errors);
    assert_eq!(lost(&mut cluster), [(offset, length)]);
    cluster.quiesce(10);
    assert_eq!(cluster.scrub(), Ok(clean()));
    assert_eq!(lost(&mut cluster), []);
}

fn start(cluster: &mut Cluster, start: ScrubStart) -> Ticket {
    let id = cluster.newest().id;
    let ticket = cluster.request(id, |writer, now, ticket| {
        writer.scrub_from(now, ticket, start);
    });
    ticket.expect("the writer runs")
}

fn place(cluster: &mut Cluster) -> ScrubPlace {
    let progress = cluster.newest().writer.scrub_progress();
    progress.expect("a scrub is under way").at.place
}

#[test]
fn a_paused_scrub_stands_still_and_goes_on() {
    let mut cluster = filled(303);
    let paused = ScrubStart {
        is_paused: true,
        ..ScrubStart::default()
    };
    let scrub = start(&mut cluster, paused);
    cluster.quiesce(400);
    assert!(!cluster.is_answered(scrub));
    assert_eq!(place(&mut cluster).leaf, 0);
    assert!(cluster.newest().writer.pause_scrub(false));
    match cluster.wait(scrub) {
        Ok(Answer::Scrubbed(report)) => assert_eq!(report, clean()),
        other => panic!("{other:?}"),
    }
    assert!(!cluster.newest().writer.pause_scrub(true));
}

#[test]
fn a_scrub_goes_on_where_an_earlier_process_was() {
    let mut cluster = filled(304);
    // Of the second group on: what is in the first one is not read again.
    rot(&mut cluster, 1, 5);
    rot(&mut cluster, 1, 70);
    let mut rest = clean();
    (rest.blocks, rest.copies) = (64, 6 * 64);
    let from = ScrubStart {
        place: ScrubPlace {
            group: GroupId(1),
            leaf: 0,
        },
        report: rest,
        ..ScrubStart::default()
    };
    let scrub = start(&mut cluster, from);
    let mut expected = clean();
    (expected.damaged, expected.repaired) = (1, 1);
    match cluster.wait(scrub) {
        Ok(Answer::Scrubbed(report)) => assert_eq!(report, expected),
        other => panic!("{other:?}"),
    }
    // A place that is not there is no place to go on from, and does no harm.
    for (group, leaf) in [(0, u32::MAX), (77, 3)] {
        let group = GroupId(group);
        let place = ScrubPlace { group, leaf };
        let scrub = start(&mut cluster, ScrubStart { place, ..from });
        assert!(matches!(cluster.wait(scrub), Ok(Answer::Scrubbed(_))));
    }
}

#[test]
fn a_cancelled_scrub_ends_and_another_one_may_begin() {
    let mut cluster = filled(305);
    let rate = std::num::NonZeroU64::new(1000);
    let slow = ScrubStart {
        rate,
        ..ScrubStart::default()
    };
    let scrub = start(&mut cluster, slow);
    cluster.quiesce(100);
    assert_eq!(place(&mut cluster).group, GroupId(1));
    assert!(cluster.newest().writer.cancel_scrub());
    assert!(matches!(cluster.wait(scrub), Err(IoFailure::Cancelled)));
    assert!(!cluster.newest().writer.cancel_scrub());
    assert_eq!(cluster.scrub(), Ok(clean()));
    assert_eq!(BLOCKS, clean().blocks);
}

#[test]
fn a_scrub_without_a_cap_gives_way_to_requests() {
    let mut cluster = filled(306);
    let scrub = start(
        &mut cluster,
        ScrubStart {
            is_paused: true,
            ..ScrubStart::default()
        },
    );
    let allowance = |cluster: &mut Cluster| {
        let progress = cluster.newest().writer.scrub_progress();
        progress.expect("it is paused").allowance
    };
    assert_eq!(allowance(&mut cluster), None);
    for _ in 0..200 {
        cluster.read(0, 16);
        cluster.quiesce(1);
    }
    assert_eq!(allowance(&mut cluster), Some(4 << 20));
    cluster.quiesce(400);
    assert_eq!(allowance(&mut cluster), None);
    cluster.newest().writer.pause_scrub(false);
    assert!(cluster.wait(scrub).is_ok());
}

/// Damages the superblock's slots of a node, the newest one last.
fn rot_superblock(cluster: &mut Cluster, node: usize, slots: usize) {
    let disk = cluster.hosts[node].disk.as_mut().expect("it is there");
    let newest = disk.superblock().expect("it checks").slot();
    for slot in [newest, 1 - newest].into_iter().take(slots) {
        disk.corrupt(
            redoubt_simulator::disk::File::Superblock,
            slot * (64 << 10) + 8,
            8,
        );
    }
}

#[test]
fn superblocks_that_rot_are_written_anew_from_memory() {
    let mut cluster = filled(308);
    assert_eq!(cluster.scrub(), Ok(clean()));
    rot_superblock(&mut cluster, 1, 1);
    rot_superblock(&mut cluster, 4, 2);
    let mut mended = clean();
    (mended.metadata_damaged, mended.metadata_repaired) = (3, 3);
    assert_eq!(cluster.scrub(), Ok(mended));
    for node in [1, 4] {
        let disk = cluster.hosts[node].disk.as_ref().expect("it is there");
        assert_eq!(disk.good_superblocks(), 2);
    }
    assert_eq!(cluster.scrub(), Ok(clean()));
    cluster.close();
    cluster.open().expect("the volume opens");
    cluster.quiesce(10);
    expect_good_copies(&mut cluster);
    assert_eq!(cluster.scrub(), Ok(clean()));
}

#[test]
fn the_index_that_rots_on_all_six_is_written_anew_from_memory() {
    let mut cluster = filled(309);
    // A checkpoint on each node: root, directories and leaves are on the disk.
    assert_eq!(cluster.scrub(), Ok(clean()));
    cluster.quiesce(20);
    let is_index = |page: &[u8]| !page.iter().all(|byte| *byte == page[0]);
    let mut hit = 0;
    for host in &mut cluster.hosts {
        // Headers of frames, too, which nobody reads any more.
        hit += host
            .disk
            .as_mut()
            .map_or(0, |disk| disk.corrupt_pages(is_index));
    }
    assert!(hit > 18, "{hit}");
    let report = cluster.scrub().expect("the scrub ends");
    // Two leaves, a directory and a root of each node at least.
    assert!(report.metadata_damaged >= 24, "{report:?}");
    assert_eq!(report.metadata_repaired, report.metadata_damaged);
    assert_eq!((report.damaged, report.unresolved), (0, 0));
    assert_eq!(cluster.scrub(), Ok(clean()));
    cluster.close();
    cluster.open().expect("the volume opens");
    cluster.quiesce(10);
    expect_good_copies(&mut cluster);
    assert_eq!(cluster.scrub(), Ok(clean()));
}
