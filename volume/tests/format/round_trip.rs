//! What is written comes back.

use super::examples::{self, GROUP, NUMBER};
use super::strategies;
use proptest::collection::vec;
use proptest::prelude::*;
use redoubt_volume::format::checkpoint_root::{decode_root, encode_root};
use redoubt_volume::format::index_page::{
    decode_directory, decode_leaf, encode_directory, encode_leaf, leaf_pages,
};
use redoubt_volume::format::log_frame::{DecodedFrame, Frame, FrameError};
use redoubt_volume::format::superblock::{SLOT_BYTES, SLOTS, Superblock};
use redoubt_volume::page::{PAGE_BYTES, Pages};

fn log_bytes(header: &Pages, frame: &Frame) -> Vec<u8> {
    let parts = std::iter::once(header).chain(&frame.payload);
    parts.flat_map(|pages| pages.bytes()).copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frame(
        identity in strategies::frame_identity(),
        stamp in strategies::frame_stamp(),
        parts in vec(strategies::record(), 0..80),
    ) {
        let frame = Frame::new(stamp, parts);
        let bytes = log_bytes(&frame.header_for(&identity), &frame);
        prop_assert_eq!(bytes.len(), frame.bytes());
        let decoded = DecodedFrame::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.identity, identity);
        prop_assert_eq!(decoded.stamp, stamp);
        prop_assert_eq!(&decoded.records, &frame.records);
        prop_assert_eq!(decoded.pages(), frame.pages());
        let payload = &bytes[decoded.header_pages() * PAGE_BYTES..];
        prop_assert!(decoded.payload_checks(payload));
    }

    #[test]
    fn frame_whose_first_page_alone_is_there(parts in vec(strategies::record(), 0..200)) {
        let frame = Frame::new(examples::frame_stamp(), parts);
        let header = frame.header_for(&examples::frame_identity());
        let first = DecodedFrame::decode(&header.bytes()[..PAGE_BYTES]);
        match frame.header_pages() {
            1 => prop_assert!(first.is_ok()),
            pages => prop_assert_eq!(first, Err(FrameError::NeedsPages(pages))),
        }
    }

    #[test]
    fn superblock(superblock in strategies::superblock()) {
        let slot = superblock.encode();
        prop_assert_eq!(slot.bytes().len(), SLOT_BYTES);
        prop_assert_eq!(Superblock::decode(slot.bytes()), Ok(superblock));
    }

    #[test]
    fn leaf(fragments in strategies::fragments()) {
        let identity = examples::index_identity();
        let pages = encode_leaf(&identity, GROUP, NUMBER, &fragments);
        prop_assert_eq!(pages.page_count(), leaf_pages(fragments.len()));
        prop_assert_eq!(decode_leaf(&identity, GROUP, NUMBER, pages.bytes()), Some(fragments));
    }

    #[test]
    fn directory(leaves in strategies::directory()) {
        let identity = examples::index_identity();
        let page = encode_directory(&identity, GROUP, NUMBER, &leaves);
        prop_assert_eq!(page.page_count(), 1);
        prop_assert_eq!(decode_directory(&identity, GROUP, NUMBER, page.bytes()), Some(leaves));
    }

    #[test]
    fn root(root in strategies::root()) {
        let identity = examples::index_identity();
        let pages = encode_root(&identity, &root);
        prop_assert_eq!(decode_root(&identity, pages.bytes()), Some(root));
    }

    #[test]
    fn the_newer_slot_of_a_superblock_file_counts(sequence in 0..u64::MAX) {
        let mut file = vec![0; SLOTS * SLOT_BYTES];
        let mut superblock = examples::superblock();
        for sequence in [sequence, sequence + 1] {
            superblock.sequence = sequence;
            let at = superblock.slot() * SLOT_BYTES;
            file[at..at + SLOT_BYTES].copy_from_slice(superblock.encode().bytes());
        }
        prop_assert_eq!(Superblock::newest(&file), Ok(superblock));
    }
}
