use super::*;
use redoubt_volume::format::checksum::page_checksums;
use redoubt_volume::format::log_frame::{Frame, FrameIdentity, FrameStamp};
use redoubt_volume::ids::{GroupBlock, GroupId, Incarnation, NodeId, VolumeId};
use redoubt_volume::lsn::Lsn;
use redoubt_volume::page::PageBuf;

const BLOCK: usize = 16 * 1024;

fn frame_bytes(page: u32, number: u64, lsn: u64) -> Vec<u8> {
    let block = vec![number as u8; BLOCK];
    let mut record = RecordHeader::bare(RecordKind::Image, Lsn(lsn), GroupId(1), GroupBlock(2));
    record.end = BLOCK as u16;
    record.checksums = page_checksums(&block);
    let stamp = FrameStamp::default();
    let frame = Frame::new(stamp, vec![(record, PageBuf::from_bytes(&block).share())]);
    let identity = FrameIdentity {
        volume: VolumeId([7; 16]),
        node: NodeId(3),
        incarnation: Incarnation(9),
        extent: ExtentSequence(5),
        page,
        number,
    };
    let mut bytes = frame.header_for(&identity).bytes().to_vec();
    bytes.extend_from_slice(&block);
    bytes
}

/// Two frames of five pages, three pages of zeros.
fn extent() -> Vec<u8> {
    let mut bytes = frame_bytes(0, 1, 10);
    bytes.extend(frame_bytes(5, 2, 11));
    bytes.resize(13 * PAGE_BYTES, 0);
    bytes
}

fn lines(bytes: &[u8]) -> Vec<Line> {
    let mut extent = None;
    Walk::over(bytes)
        .map(|item| line(item, &mut extent, true))
        .collect()
}

#[test]
fn frames_and_records_of_an_extent_are_shown() {
    let bytes = extent();
    let lines = lines(&bytes);
    let [
        Line::Frame(first),
        Line::Frame(second),
        Line::Unused {
            page: 10,
            pages: 3,
            zero: true,
        },
    ] = lines.as_slice()
    else {
        panic!("other lines");
    };
    assert_eq!((first.page, first.pages, first.first_lsn), (0, 5, Some(10)));
    assert_eq!(
        (second.page, second.number, second.last_lsn),
        (5, 2, Some(11))
    );
    assert!(second.payload_checks && second.in_place);
    let record = &second.table.as_ref().unwrap()[0];
    assert_eq!(
        (record.kind, record.lsn, record.group, record.block),
        ("image", 11, 1, 2)
    );
    assert!(record.checks);
}

#[test]
fn damage_is_shown_where_it_is() {
    let mut bytes = extent();
    bytes[2 * PAGE_BYTES] ^= 1;
    bytes[5 * PAGE_BYTES + 60] ^= 1;
    let lines = lines(&bytes);
    let Line::Frame(first) = &lines[0] else {
        panic!("no frame");
    };
    assert!(!first.payload_checks && !first.table.as_ref().unwrap()[0].checks);
    assert!(matches!(lines[1], Line::Damaged { page: 5, .. }));
    assert!(matches!(
        lines[2],
        Line::Unused {
            page: 6,
            pages: 7,
            zero: false
        }
    ));
}

#[test]
fn a_frame_of_another_place_is_told() {
    let mut bytes = frame_bytes(0, 1, 10);
    bytes.extend(frame_bytes(6, 2, 11));
    let lines = lines(&bytes);
    assert!(matches!(&lines[1], Line::Frame(frame) if !frame.in_place));
}

#[test]
fn any_bytes_are_walked_over_to_their_end() {
    let whole = extent();
    for length in (0..whole.len()).step_by(997) {
        lines(&whole[..length]);
    }
    // A cheap generator: what matters is that the bytes are many and odd.
    let mut state = 1_u64;
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at % (6 * PAGE_BYTES)] = (state >> 20) as u8;
        }
        let pages: usize = lines(&bytes)
            .iter()
            .map(|line| match line {
                Line::Frame(frame) => frame.pages,
                Line::Damaged { .. } => 1,
                Line::Unused { pages, .. } => *pages,
                Line::Summary(_) => 0,
            })
            .sum();
        assert_eq!(pages, 13);
    }
}
