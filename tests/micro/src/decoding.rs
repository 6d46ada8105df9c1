//! Decoding a frame and checking its payload: what an open does with each frame behind the last
//! checkpoint.

use crate::frame_shape::{FrameShape, IDENTITY, SHAPES, STAMP};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use redoubt_volume::format::log_frame::{DecodedFrame, Frame};
use redoubt_volume::page::{PAGE_BYTES, PageBuf};

#[divan::bench(args = SHAPES)]
fn decode(bencher: Bencher, shape: FrameShape) {
    let frame = Frame::new(STAMP, shape.parts());
    let mut log = in_log(&frame);
    check(&frame, &mut log);
    bencher
        .counter(BytesCount::of_slice(log.bytes()))
        .bench(|| decoded(black_box(log.bytes())));
}

/// The frame as it lies in a log.
fn in_log(frame: &Frame) -> PageBuf {
    let mut log = PageBuf::with_capacity(frame.pages());
    log.extend_from_pages(frame.header_for(&IDENTITY).pages());
    for payload in &frame.payload {
        log.extend_from_pages(payload.pages());
    }
    log
}

/// The frame at the start of a log, if it is good.
fn decoded(log: &[u8]) -> Option<DecodedFrame> {
    let frame = DecodedFrame::decode(log).ok()?;
    let payload = &log[frame.header_pages() * PAGE_BYTES..];
    frame.payload_checks(payload).then_some(frame)
}

/// What was decoded is what was encoded, and no bit of its last page may be another.
fn check(frame: &Frame, log: &mut PageBuf) {
    let found = decoded(log.bytes()).expect("a frame that checks");
    assert_eq!((found.identity, found.stamp), (IDENTITY, STAMP));
    assert_eq!(found.records, frame.records);
    let last = log.bytes().len() - 1;
    log.bytes_mut()[last] ^= 1;
    assert_eq!(decoded(log.bytes()), None);
    log.bytes_mut()[last] ^= 1;
}
