//! Encoding a frame: what the writer does once for all six nodes, and each node once for itself.
//! It touches the records and not their payload, whose checksums came with them: so what it takes
//! follows the number of the records and not the bytes.

use crate::frame_shape::{FrameShape, IDENTITY, SHAPES, STAMP};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use redoubt_volume::format::log_frame::{DecodedFrame, Frame};
use redoubt_volume::format::redo_record::RecordHeader;
use redoubt_volume::page::Pages;

#[divan::bench(args = SHAPES)]
fn encode(bencher: Bencher, shape: FrameShape) {
    let parts = shape.parts();
    check(shape, &encoded(parts.clone()));
    bencher
        .counter(ItemsCount::new(shape.records))
        .with_inputs(|| parts.clone())
        .bench_values(|parts| encoded(black_box(parts)));
}

fn encoded(parts: Vec<(RecordHeader, Pages)>) -> (Frame, Pages) {
    let frame = Frame::new(STAMP, parts);
    let header = frame.header_for(&IDENTITY);
    (frame, header)
}

/// What was encoded is what was to be.
fn check(shape: FrameShape, (frame, header): &(Frame, Pages)) {
    let decoded = DecodedFrame::decode(header.bytes()).expect("a frame that checks");
    assert_eq!(decoded.identity, IDENTITY);
    assert_eq!(decoded.stamp, STAMP);
    assert_eq!(decoded.records, frame.records);
    assert_eq!(decoded.payload_pages as usize, shape.payload_pages());
    let given = shape.parts().into_iter().map(|(record, _)| record.lsn);
    assert!(given.eq(decoded.records.iter().map(|record| record.lsn)));
}
