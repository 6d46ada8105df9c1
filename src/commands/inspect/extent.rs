//! Log extents: their frames, the records in them, and what the index pages among those hold.

use super::walk::{Item, Walk};
use crate::exit::Exit;
use crate::output::{Color, Output};
use redoubt_volume::format::checkpoint_root::decode_root;
use redoubt_volume::format::index_page::{IndexIdentity, decode_directory, decode_leaf};
use redoubt_volume::format::log_frame::{DecodedFrame, record_checks};
use redoubt_volume::format::redo_record::{RecordHeader, RecordKind};
use redoubt_volume::ids::ExtentSequence;
use redoubt_volume::page::PAGE_BYTES;
use serde::Serialize;
use std::path::Path;

/// A line of JSON: a frame, pages that are none, or the sum at the end.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Frame(Box<FrameLine>),
    Damaged {
        page: usize,
        error: String,
    },
    Unused {
        page: usize,
        pages: usize,
        zero: bool,
    },
    Summary(Summary),
}

#[derive(Serialize)]
struct FrameLine {
    page: usize,
    pages: usize,
    number: u64,
    extent: u32,
    node: u16,
    epoch: u64,
    writer_id: String,
    vdl: u64,
    wall_time_ns: u64,
    payload_checks: bool,
    in_place: bool,
    records: usize,
    first_lsn: Option<u64>,
    last_lsn: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Vec<RecordLine>>,
}

#[derive(Serialize)]
struct RecordLine {
    kind: &'static str,
    lsn: u64,
    group: u32,
    block: u32,
    blocks: u32,
    start: u16,
    end: u16,
    previous_in_volume: u64,
    previous_in_group: u64,
    previous_of_block: u64,
    consistency_point: bool,
    local: bool,
    checks: bool,
    index: Option<String>,
}

#[derive(Default, Serialize)]
struct Summary {
    path: String,
    frames: u64,
    records: u64,
    damaged_payloads: u64,
    damaged_headers: u64,
}

/// Shows an extent, piece by piece.
pub(crate) fn show(
    path: &Path,
    bytes: &[u8],
    records: bool,
    output: Output,
) -> anyhow::Result<Exit> {
    let mut summary = Summary {
        path: path.display().to_string(),
        ..Summary::default()
    };
    let mut extent = None;
    for item in Walk::over(bytes) {
        let line = line(item, &mut extent, records);
        summary.count(&line);
        print(&line, output)?;
    }
    print(&Line::Summary(summary), output)?;
    Ok(Exit::OK)
}

fn print(line: &Line, output: Output) -> std::io::Result<()> {
    output.json("inspect", line)?;
    text(line, output)
        .into_iter()
        .try_for_each(|line| output.line(line))
}

/// `extent` is the life of the file that its first frame belongs to.
fn line(item: Item<'_>, extent: &mut Option<ExtentSequence>, records: bool) -> Line {
    match item {
        Item::Frame {
            page,
            frame,
            payload,
        } => {
            let life = *extent.get_or_insert(frame.identity.extent);
            let in_place = frame.identity.page as usize == page && frame.identity.extent == life;
            Line::Frame(Box::new(FrameLine {
                in_place,
                table: records.then(|| table(&frame, payload)),
                ..frame_line(page, &frame, payload)
            }))
        }
        Item::Damaged { page, error } => Line::Damaged {
            page,
            error: error.to_string(),
        },
        Item::Unused { page, pages, zero } => Line::Unused { page, pages, zero },
    }
}

fn frame_line(page: usize, frame: &DecodedFrame, payload: &[u8]) -> FrameLine {
    let lsns = || frame.records.iter().map(|record| record.lsn.0);
    FrameLine {
        page,
        pages: frame.pages(),
        number: frame.identity.number,
        extent: frame.identity.extent.0,
        node: frame.identity.node.0,
        epoch: frame.stamp.epoch.number,
        writer_id: format!("{:016x}", frame.stamp.epoch.writer),
        vdl: frame.stamp.vdl.0,
        wall_time_ns: frame.stamp.wall_time_ns,
        payload_checks: frame.payload_checks(payload),
        in_place: true,
        records: frame.records.len(),
        first_lsn: lsns().min(),
        last_lsn: lsns().max(),
        table: None,
    }
}

fn table(frame: &DecodedFrame, payload: &[u8]) -> Vec<RecordLine> {
    let identity = IndexIdentity {
        volume: frame.identity.volume,
        node: frame.identity.node,
        incarnation: frame.identity.incarnation,
    };
    let record = |record: &RecordHeader| {
        let start = record.payload_page as usize * PAGE_BYTES;
        let end = start + usize::from(record.payload_pages) * PAGE_BYTES;
        let bytes = payload.get(start..end);
        RecordLine {
            kind: kind(record.kind),
            lsn: record.lsn.0,
            group: record.group.0,
            block: record.block.0,
            blocks: record.blocks,
            start: record.start,
            end: record.end,
            previous_in_volume: record.previous_in_volume.0,
            previous_in_group: record.previous_in_group.0,
            previous_of_block: record.previous_of_block.0,
            consistency_point: record.is_consistency_point(),
            local: record.is_local(),
            checks: bytes.is_some_and(|bytes| record_checks(record, bytes)),
            index: bytes.and_then(|bytes| index_content(&identity, record, bytes)),
        }
    };
    frame.records.iter().map(record).collect()
}

fn kind(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Image => "image",
        RecordKind::Delta => "delta",
        RecordKind::Discard => "discard",
        RecordKind::Incomplete => "incomplete",
        RecordKind::Complete => "complete",
        RecordKind::IndexLeaf => "index-leaf",
        RecordKind::IndexDirectory => "index-directory",
        RecordKind::CheckpointRoot => "checkpoint-root",
        RecordKind::Filled => "filled",
        RecordKind::Released => "released",
    }
}

/// What a page of the block index holds, in a sentence; `None` of all other records.
fn index_content(identity: &IndexIdentity, record: &RecordHeader, bytes: &[u8]) -> Option<String> {
    let (group, number) = (record.group, record.block.0);
    let content = match record.kind {
        RecordKind::IndexLeaf => decode_leaf(identity, group, number, bytes).map(|fragments| {
            let images = fragments.iter().filter(|fragment| fragment.is_image()).count();
            format!("{} fragments, {images} of them images", fragments.len())
        }),
        RecordKind::IndexDirectory => {
            decode_directory(identity, group, number, bytes).map(|leaves| {
                let there = leaves.iter().filter(|leaf| leaf.is_some()).count();
                format!("{there} leaves")
            })
        }
        RecordKind::CheckpointRoot => decode_root(identity, bytes).map(|root| {
            format!(
                "checkpoint {}: {} groups, {} directories, {} extents, announced VDL {}, replay from extent {} page {}",
                root.number,
                root.groups.len(),
                root.directories.len(),
                root.extents.len(),
                root.announced,
                root.replay_from.extent.0,
                root.replay_from.page
            )
        }),
        _ => return None,
    };
    // A root in several parts is no whole in any of them.
    Some(content.unwrap_or_else(|| "not readable by itself".into()))
}

impl Summary {
    fn count(&mut self, line: &Line) {
        match line {
            Line::Frame(frame) => {
                self.frames += 1;
                self.records += frame.records as u64;
                self.damaged_payloads += u64::from(!frame.payload_checks);
            }
            Line::Damaged { .. } => self.damaged_headers += 1,
            Line::Unused { .. } | Line::Summary(_) => {}
        }
    }
}

fn text(line: &Line, output: Output) -> Vec<String> {
    match line {
        Line::Frame(frame) => frame_text(frame, output),
        Line::Damaged { page, error } => {
            vec![format!(
                "page {page:>6}  {}",
                output.paint(error, Color::Red)
            )]
        }
        Line::Unused { page, pages, zero } => {
            let what = if *zero {
                "zeros"
            } else {
                "no frame begins here"
            };
            vec![format!("page {page:>6}  {pages} pages: {what}")]
        }
        Line::Summary(summary) => vec![format!(
            "{} frames, {} records, {} damaged headers, {} damaged payloads (the last frame may be torn, older ones partly overwritten)",
            summary.frames, summary.records, summary.damaged_headers, summary.damaged_payloads
        )],
    }
}

fn frame_text(frame: &FrameLine, output: Output) -> Vec<String> {
    let lsns = match (frame.first_lsn, frame.last_lsn) {
        (Some(first), Some(last)) if first == last => format!("LSN {first}"),
        (Some(first), Some(last)) => format!("LSN {first}-{last}"),
        _ => "no LSN".into(),
    };
    let check = match (frame.in_place, frame.payload_checks) {
        (false, _) => output.paint("from an older life of the file", Color::Yellow),
        (true, true) => output.paint("ok", Color::Green),
        (true, false) => output.paint("payload does not check", Color::Red),
    };
    let mut lines = vec![format!(
        "page {:>6}  frame {} of extent {}, {} pages, {} records, {lsns}, VDL {}, epoch {}, {}: {check}",
        frame.page,
        frame.number,
        frame.extent,
        frame.pages,
        frame.records,
        frame.vdl,
        frame.epoch,
        wall_time(frame.wall_time_ns),
    )];
    let records = frame.table.iter().flatten();
    lines.extend(records.map(|record| record_text(record, output)));
    lines
}

fn wall_time(nanoseconds: u64) -> String {
    match jiff::Timestamp::from_nanosecond(nanoseconds.into()) {
        Ok(time) if nanoseconds > 0 => format!("{time:.3}"),
        _ => "no time".into(),
    }
}

fn record_text(record: &RecordLine, output: Output) -> String {
    let mut line = format!(
        "             {:<15} LSN {} group {} block {}",
        record.kind, record.lsn, record.group, record.block
    );
    match record.kind {
        "delta" => line.push_str(&format!(" bytes {}-{}", record.start, record.end)),
        "discard" => line.push_str(&format!(" and on, {} blocks", record.blocks)),
        _ => {}
    }
    line.push_str(&format!(
        ", after {} in volume, {} in group, {} of block",
        record.previous_in_volume, record.previous_in_group, record.previous_of_block
    ));
    for (is, word) in [
        (record.consistency_point, ", CPL"),
        (record.local, ", local"),
    ] {
        line.push_str(if is { word } else { "" });
    }
    if let Some(index) = &record.index {
        line.push_str(": ");
        line.push_str(index);
    }
    if !record.checks {
        line.push_str(&output.paint(", does not check", Color::Red));
    }
    line
}

#[cfg(test)]
#[path = "extent_tests.rs"]
mod tests;
