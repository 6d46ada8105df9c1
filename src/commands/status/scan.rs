//! The lines `scan` and `errors` of `status`: what is running, what was found.

use crate::commands::scrub_text;
use crate::local_time::local_time;
use crate::output::{Color, Output};
use crate::rebuild_report::RebuildReport;
use crate::report::{NodeHealth, NodeReport, VolumeReport};

/// What is being filled, read or compared now, and how the last scrub ended.
pub(super) fn scan(report: &VolumeReport) -> Vec<String> {
    let since = |time: Option<u64>| {
        time.map_or(String::new(), |time| format!(" since {}", local_time(time)))
    };
    let filling = report.nodes.iter().flat_map(|node| {
        let own = is_filling(node.state)
            .then(|| format!("{} is being filled{}", node.id, since(node.since_ms)));
        let own = own.map(|text| text + &progress(node.rebuild));
        let successor = node.successor.as_ref();
        let successor = successor.filter(|successor| is_filling(successor.state));
        let successor = successor.map(|successor| {
            let (path, progress) = (&successor.path, progress(successor.rebuild));
            format!(
                "{path} is being filled to take the place of {}{progress}",
                node.id
            )
        });
        own.into_iter().chain(successor)
    });
    let moving = report.relocation.map(|relocation| {
        let (moved, total) = (relocation.moved, relocation.total);
        format!("segments move to other nodes: {moved} of {total} are there")
    });
    let scrubs = report.scrub.iter().flat_map(scrub_text::lines);
    filling.chain(moving).chain(scrubs).collect()
}

fn is_filling(state: NodeHealth) -> bool {
    matches!(state, NodeHealth::Lagging | NodeHealth::Rebuilding)
}

/// Nothing while nobody knows yet how much there is.
fn progress(rebuild: Option<RebuildReport>) -> String {
    let rebuild = rebuild.filter(|rebuild| rebuild.total > 0);
    rebuild.map_or(String::new(), |rebuild| format!(": {}", rebuild.words()))
}

/// What nobody could mend: blocks without a copy that checks, and what the last scrub left.
pub(super) fn lasting_errors(report: &VolumeReport) -> Option<String> {
    let lost = report.data_errors.as_ref();
    let lost = lost.and_then(scrub_text::data_errors);
    let last = report.scrub.and_then(|scrub| scrub.last);
    let left = last
        .map(|last| last.found.unresolved)
        .filter(|left| *left > 0);
    lost.or_else(|| {
        left.map(|left| format!("{left} copies or blocks were bad when the last scrub ended"))
    })
}

/// What is lost, or that nothing is; and what was bad and could be mended.
pub(super) fn errors(report: &VolumeReport, output: Output) -> String {
    if let Some(text) = lasting_errors(report) {
        return output.paint(&text, Color::Red);
    }
    let none = "No known data errors";
    match mended(report) {
        Some(mended) => output.paint(&format!("{none} ({mended})"), Color::Yellow),
        None => none.to_owned(),
    }
}

fn mended(report: &VolumeReport) -> Option<String> {
    let sum = |count: fn(&NodeReport) -> Option<u64>| -> u64 {
        report.nodes.iter().filter_map(count).sum()
    };
    let unchecked = sum(|node| node.checksum_errors) + sum(|node| node.read_errors);
    let damaged = sum(|node| node.damaged_blocks);
    let repaired = sum(|node| node.repaired_blocks);
    let seen = (unchecked > 0).then(|| {
        format!("{unchecked} reads failed or did not check and were answered by another copy")
    });
    let bad = (damaged > 0)
        .then(|| format!("{damaged} copies of blocks were bad, {repaired} were written anew"));
    let parts: Vec<_> = seen.into_iter().chain(bad).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
