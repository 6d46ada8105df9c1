//! The lines `scan` and `errors` of `status`: what is running, what was found.

use crate::local_time::local_time;
use crate::output::{Color, Output};
use crate::report::{NodeHealth, NodeReport, VolumeReport};

/// What is being read, filled or compared now, and how the last scrub ended.
pub(super) fn scan(report: &VolumeReport) -> String {
    let since = |time: Option<u64>| {
        time.map_or(String::new(), |time| format!(" since {}", local_time(time)))
    };
    let filling = report.nodes.iter().filter(|node| is_filling(node));
    let mut parts: Vec<_> = filling
        .map(|node| format!("{} is being filled{}", node.id, since(node.since_ms)))
        .collect();
    if report.scrub_since_ms.is_some() {
        parts.push(format!("scrub running{}", since(report.scrub_since_ms)));
    }
    parts.push(match &report.last_scrub {
        Some(scrub) => format!("last scrub {}: {}", local_time(scrub.ended_ms), scrub.found),
        None => "no scrub in the event history".to_owned(),
    });
    parts.join("; ")
}

fn is_filling(node: &NodeReport) -> bool {
    matches!(node.state, NodeHealth::Lagging | NodeHealth::Rebuilding)
}

/// Blocks and copies that nobody could mend, as far as the last scrub has seen.
pub(super) fn lasting_errors(report: &VolumeReport) -> u64 {
    let scrub = report.last_scrub.as_ref();
    scrub.map_or(0, |scrub| scrub.unresolved)
}

/// What is lost, or that nothing is; and what was bad and could be mended.
pub(super) fn errors(report: &VolumeReport, output: Output) -> String {
    let lasting = lasting_errors(report);
    if lasting > 0 {
        let text = format!("{lasting} copies or blocks were bad when the last scrub ended");
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
