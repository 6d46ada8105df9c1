//! Every decoder, fed with anything, and with its own example changed in some fields. What it
//! takes for good must say the same when it is written and read again.

use crate::examples::{self, GROUP, NUMBER};
use crate::input::{Edit, Input};
use crate::repair;
use redoubt_volume::format::checkpoint_root::{decode_root, encode_root};
use redoubt_volume::format::index_page::{
    decode_directory, decode_leaf, encode_directory, encode_leaf, leaf_pages, peek,
};
use redoubt_volume::format::log_frame::{DecodedFrame, Frame, FrameError};
use redoubt_volume::format::redo_record::RecordHeader;
use redoubt_volume::format::superblock::{SLOT_BYTES, Superblock};
use redoubt_volume::io::address_book::AddressBook;
use redoubt_volume::limits;
use redoubt_volume::page::{PAGE_BYTES, PageBuf, Pages, pages_for};
use std::path::Path;

/// Takes the input as it is.
const RAW: u8 = 1;
/// Leaves the checksums as they are.
const UNREPAIRED: u8 = 2;
/// Counts on to another example.
const OTHER_EXAMPLE: u8 = 4;

/// The bytes that a decoder is fed with: the input itself, or one of the examples with the edits that
/// the input lists; with right checksums, unless it says otherwise.
fn subject(input: &[u8], examples: &[&[u8]], repair: fn(&mut [u8])) -> Vec<u8> {
    let mut input = Input::new(input);
    let mode = input.u8();
    let example = examples[usize::from(mode / OTHER_EXAMPLE) % examples.len()];
    let mut bytes = if mode & RAW != 0 {
        input.rest().to_vec()
    } else {
        edited(example, input)
    };
    if mode & UNREPAIRED == 0 {
        repair(&mut bytes);
    }
    bytes
}

/// The example with edits, cut at the end as the first number says.
fn edited(example: &[u8], mut input: Input<'_>) -> Vec<u8> {
    let mut bytes = example.to_vec();
    // Most edits belong where the fields are.
    let fields = bytes.len().min(1024);
    let cut = usize::from(input.u16());
    while !input.is_empty() {
        Edit::read(&mut input, fields).apply(&mut bytes);
    }
    bytes.truncate(example.len() - cut.min(example.len()));
    bytes
}

/// A log frame: header, records, payload.
pub fn log_frame(input: &[u8]) {
    let example = examples::frame();
    let mut bytes = example
        .header_for(&examples::frame_identity())
        .bytes()
        .to_vec();
    let payload = example.payload.iter().flat_map(|pages| pages.bytes());
    bytes.extend(payload);
    let bytes = subject(input, &[&bytes], repair::frame);
    match DecodedFrame::decode(&bytes) {
        Ok(frame) => check_frame(&frame, &bytes),
        Err(FrameError::NeedsPages(pages)) => assert!(pages * PAGE_BYTES > bytes.len()),
        Err(_) => {}
    }
}

fn check_frame(frame: &DecodedFrame, bytes: &[u8]) {
    assert!(frame.records.len() <= limits::FRAME_RECORDS);
    assert!(frame.payload_pages as usize <= pages_for(limits::FRAME_PAYLOAD_BYTES));
    let payload = &bytes[frame.header_pages() * PAGE_BYTES..];
    let checks = frame.payload_checks(payload);
    let parts: Option<Vec<_>> = frame
        .records
        .iter()
        .map(|record| Some((*record, payload_of(record, payload)?)))
        .collect();
    let Some(parts) = parts else {
        return assert!(!checks, "a payload that is not there checks");
    };
    let again = Frame::new(frame.stamp, parts);
    let header = again.header_for(&frame.identity);
    // Records that share a page of payload take more of it each on their own.
    if again.payload_pages() <= pages_for(limits::FRAME_PAYLOAD_BYTES) {
        let decoded = DecodedFrame::decode(header.bytes()).expect("what was good is good");
        assert_eq!(decoded.records, again.records);
        assert_eq!(decoded.identity, frame.identity);
        assert_eq!(decoded.stamp, frame.stamp);
    }
}

fn payload_of(record: &RecordHeader, payload: &[u8]) -> Option<Pages> {
    let start = record.payload_page as usize * PAGE_BYTES;
    let end = start + usize::from(record.payload_pages) * PAGE_BYTES;
    Some(PageBuf::from_bytes(payload.get(start..end)?).share())
}

/// A superblock: one slot, and the choice between two.
pub fn superblock(input: &[u8]) {
    let example = examples::superblock().encode();
    let moving = examples::superblock_of_two_tables().encode();
    let both = [example.bytes(), moving.bytes()];
    let mut file = subject(input, &both, repair::superblock);
    let slot = Superblock::decode(&file);
    if let Ok(superblock) = &slot {
        let again = superblock.encode();
        assert_eq!(again.bytes().len(), SLOT_BYTES);
        assert_eq!(Superblock::decode(again.bytes()).as_ref(), Ok(superblock));
        assert!(usize::from(superblock.node.0) < superblock.config.nodes.len());
    }
    file.resize(SLOT_BYTES, 0);
    file.extend_from_slice(example.bytes());
    let newest = Superblock::newest(&file);
    let sequences = [slot, Superblock::decode(example.bytes())];
    let highest = sequences.iter().flatten().map(|slot| slot.sequence).max();
    if let Ok(newest) = newest {
        assert_eq!(Some(newest.sequence), highest);
    }
}

/// Leaves and directories of the block index.
pub fn index_page(input: &[u8]) {
    let identity = examples::index_identity();
    let leaf = encode_leaf(&identity, GROUP, NUMBER, &examples::fragments());
    let bytes = subject(input, &[leaf.bytes()], repair::index_page);
    peek(&bytes);
    if let Some(fragments) = decode_leaf(&identity, GROUP, NUMBER, &bytes) {
        let again = encode_leaf(&identity, GROUP, NUMBER, &fragments);
        assert!(again.page_count() == leaf_pages(fragments.len()));
        let decoded = decode_leaf(&identity, GROUP, NUMBER, again.bytes());
        assert_eq!(decoded, Some(fragments));
    }
    let directory = encode_directory(&identity, GROUP, NUMBER, &examples::directory());
    let bytes = subject(input, &[directory.bytes()], repair::index_page);
    if let Some(leaves) = decode_directory(&identity, GROUP, NUMBER, &bytes) {
        let again = encode_directory(&identity, GROUP, NUMBER, &leaves);
        let decoded = decode_directory(&identity, GROUP, NUMBER, again.bytes());
        assert_eq!(decoded, Some(leaves));
    }
}

/// The root of a checkpoint.
pub fn checkpoint_root(input: &[u8]) {
    let identity = examples::index_identity();
    let example = encode_root(&identity, &examples::root());
    let bytes = subject(input, &[example.bytes()], repair::index_page);
    if let Some(root) = decode_root(&identity, &bytes) {
        let again = encode_root(&identity, &root);
        assert_eq!(decode_root(&identity, again.bytes()), Some(root));
    }
}

/// The text of the address book.
pub fn address_book(input: &[u8]) {
    let volume = Path::new("/volume");
    match AddressBook::parse(input, volume) {
        Ok(book) => {
            let text = book.encode(volume).expect("lines have no line breaks");
            let again = AddressBook::parse(&text, volume).expect("what was good is good");
            assert_eq!(again.volume, book.volume);
            assert_eq!(again.paths(volume), book.paths(volume));
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}
