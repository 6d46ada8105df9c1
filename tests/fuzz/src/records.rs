//! What a volume keeps for people, and for its next process, beside what counts.

use crate::scrub_report::ScrubReport;
use crate::volume;
use redoubt_volume::format::checksum::checksum;
use redoubt_volume::io::event_history::{decode, encode};
use redoubt_volume::io::scrub_record::ScrubRecord;
use redoubt_volume::limits;

/// The text of the record of scrubs: the same when it is written and read again; and a volume goes on
/// with the scrub and the lost blocks that it names.
pub fn scrub_record(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Some(record) = ScrubRecord::parse(text) else {
        return;
    };
    assert!(record.data_errors.more <= limits::LARGEST_NUMBER);
    let report = ScrubReport::from(&record);
    assert_eq!(report.last.is_some(), record.last.is_some());
    let again = ScrubRecord::parse(&record.encode());
    assert_eq!(again.as_ref(), Some(&record));
    volume::go_on_scrubbing(&record);
}

/// Lines of the event history, as they are and with right checksums: none hides another, and what is
/// read of one is the same when it is written and read again.
pub fn event_history(input: &[u8]) {
    for line in input.split(|byte| *byte == b'\n') {
        check_line(line);
        let sum = checksum(line);
        check_line(&[format!("{sum:08x} ").as_bytes(), line].concat());
    }
}

fn check_line(line: &[u8]) {
    let Some(event) = decode(line) else {
        return;
    };
    assert!(event.number <= limits::LARGEST_NUMBER);
    let written = encode(&event);
    assert!(written.len() <= limits::EVENT_LINE_BYTES);
    let (line, rest) = written.split_once('\n').expect("a line has an end");
    assert_eq!(rest, "");
    let again = decode(line.as_bytes()).expect("what was written checks");
    assert_eq!((again.number, again.kind), (event.number, event.kind));
    assert_eq!(encode(&again), written);
}
