//! Opening what somebody changed: a node, and a whole volume.
//!
//! The files of a small volume, written by the production code, lie in memory; an input lists
//! changes to them ([`mutation`]); the production code opens them ([`cluster`]).

mod cluster;
mod disk;
mod image;
mod mutation;

use crate::input::Input;
use cluster::{Cluster, Outcome};
use image::{BLOCKS, Image};
use mutation::Mutations;
use redoubt_volume::geometry::BLOCK_BYTES;
use redoubt_volume::io::scrub_record::ScrubRecord;

/// Bytes of a read: a few blocks, so that one damaged block spoils few.
const READ_BYTES: usize = 4 * BLOCK_BYTES;

/// One node opens from changed files, or says why not.
pub fn open_node(input: &[u8]) {
    let mut input = Input::new(input);
    let image = Image::choose(input.u8());
    let index = input.below(image.disks.len());
    let mutations = Mutations::read(&mut input, image, Some(index));
    let mut disks = image.disks.clone();
    mutations.apply(image, &mut disks);
    let index_bytes = image::INDEX_BYTES;
    if let Some(mut node) = cluster::open_node(index, &mut disks[index], index_bytes) {
        let figures = node.figures();
        assert!(figures.log_bytes <= disks[index].log_bytes());
        node.want_checkpoint();
        disks[index].run_alone(&mut node);
    }
}

/// A volume opens from changed files, or says why not; reads give bytes or an error. With at most
/// two nodes damaged, and checksums that tell, it opens, and every flushed byte is right.
pub fn open_volume(input: &[u8]) {
    let mut input = Input::new(input);
    let image = Image::choose(input.u8());
    let mutations = Mutations::read(&mut input, image, None);
    let mut disks = image.disks.clone();
    mutations.apply(image, &mut disks);
    let mut cluster = Cluster::new(disks, 2);
    let opened = cluster.open();
    let is_survivable = mutations.are_survivable();
    match opened {
        Ok(()) => read_everything(&mut cluster, image, is_survivable),
        Err(reason) => {
            assert!(!reason.is_empty());
            assert!(!is_survivable, "four good nodes do not open: {reason}");
        }
    }
}

/// A volume goes on with what an earlier process has written down of its scrub.
pub(crate) fn go_on_scrubbing(record: &ScrubRecord) {
    let mut cluster = Cluster::new(Image::choose(0).disks.clone(), 2);
    cluster.open().expect("nothing is damaged");
    cluster.core().writer.note_data_errors(&record.data_errors);
    if let Some((_, start)) = record.under_way {
        assert!(cluster.scrub_for_a_while(start), "a scrub has no end");
    }
    let errors = cluster.core().writer.data_errors();
    assert!(errors.more <= record.data_errors.more);
    let bytes = cluster.read(0, BLOCK_BYTES).expect("nothing is damaged");
    assert!(Image::choose(0).allows(0, &bytes));
}

fn read_everything(cluster: &mut Cluster, image: &Image, must_succeed: bool) {
    let bytes_of = |outcome: Outcome| match outcome {
        Err(failure) if must_succeed => panic!("with four good nodes: {failure}"),
        outcome => outcome.ok(),
    };
    let disk_bytes = cluster.disk_bytes();
    let readable = disk_bytes.min((BLOCKS * BLOCK_BYTES) as u64) as usize;
    for offset in (0..readable).step_by(READ_BYTES) {
        let length = READ_BYTES.min(readable - offset);
        let bytes = bytes_of(cluster.read(offset as u64, length));
        let is_right = bytes.is_none_or(|bytes| image.allows(offset, &bytes));
        assert!(is_right || !must_succeed, "wrong bytes at {offset}");
    }
    let _ = cluster.read(disk_bytes.saturating_sub(1), 1);
    let last = [0xee; BLOCK_BYTES];
    bytes_of(cluster.write_and_flush(0, &last));
    cluster.work_in_background();
    let bytes = bytes_of(cluster.read(0, BLOCK_BYTES.min(readable)));
    let is_right = bytes.is_none_or(|bytes| bytes == last);
    assert!(is_right || !must_succeed, "not what was written last");
}
