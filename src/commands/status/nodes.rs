//! The nodes in `status`: one line each, or how many are in which state.

use crate::local_time::local_time;
use crate::output::{Color, Output, table};
use crate::report::{NodeHealth, NodeReport};
use crate::size::iec;
use redoubt_volume::status::NodeState;

/// Nodes up to which each has a line of its own.
const NODES_BY_NAME: usize = 12;

/// Which nodes to show, and what of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Those that are not as they should be.
    Unwell,
    /// All, if they are few.
    Usual,
    /// All, with everything.
    Everything,
}

/// The copies by zone, where the nodes are too many to be shown one by one.
pub(super) fn copies(nodes: &[NodeReport], detail: Detail, output: Output) -> Option<String> {
    if nodes.len() <= NODES_BY_NAME || detail == Detail::Everything {
        return None;
    }
    let zone = |az: char| {
        let in_zone: Vec<_> = nodes.iter().filter(|node| node.az == az).collect();
        format!("zone {az}  {}", counted(&in_zone, output).join("  "))
    };
    Some(['a', 'b', 'c'].map(zone).join("  |  "))
}

fn counted(nodes: &[&NodeReport], output: Output) -> Vec<String> {
    let count = |state| nodes.iter().filter(|node| node.state == state).count();
    let states = NodeState::ALL.map(NodeHealth::from).into_iter();
    let states = states.filter(|state| count(*state) > 0);
    states
        .map(|state| format!("{} {}", count(state), painted(state, output)))
        .collect()
}

fn painted(state: NodeHealth, output: Output) -> String {
    let color = match state {
        NodeHealth::Up | NodeHealth::Drained => Color::Green,
        NodeHealth::Slow | NodeHealth::Lagging | NodeHealth::Rebuilding => Color::Yellow,
        NodeHealth::Full | NodeHealth::Failed | NodeHealth::Missing => Color::Red,
    };
    output.paint(&word(state), color)
}

fn word(state: NodeHealth) -> String {
    state.word().to_uppercase()
}

/// Whether a node is up and nothing was wrong with it since the volume was opened.
fn is_well(node: &NodeReport) -> bool {
    let counters = [node.read_errors, node.write_errors, node.checksum_errors];
    let errors: u64 = counters.into_iter().flatten().sum();
    node.state.state().is_as_wanted() && errors == 0
}

/// A line for each node, with its state and what was counted on it.
pub(super) fn node_table(nodes: &[NodeReport], detail: Detail, output: Output) -> Option<String> {
    let all = match detail {
        Detail::Unwell => false,
        Detail::Usual => nodes.len() <= NODES_BY_NAME,
        Detail::Everything => true,
    };
    let shown: Vec<_> = nodes.iter().filter(|node| all || !is_well(node)).collect();
    if shown.is_empty() {
        return None;
    }
    let is_verbose = detail == Detail::Everything;
    let rows = shown.iter().map(|node| row(node, is_verbose)).collect();
    let mut header = vec![
        "          NODE",
        "STATE",
        "READ",
        "WRITE",
        "CKSUM",
        "REPAIRED",
    ];
    header.extend(is_verbose.then_some(["SCL", "LOG"]).into_iter().flatten());
    header.extend(["DIRECTORY", "REASON"]);
    let table = table(&header, rows);
    // Colours would count as width: they come after the columns.
    let mut lines = table.lines();
    let mut painted_lines = vec![lines.next().unwrap_or_default().to_owned()];
    painted_lines.extend(
        lines
            .zip(&shown)
            .map(|(line, node)| line.replacen(&word(node.state), &painted(node.state, output), 1)),
    );
    Some(painted_lines.join("\n"))
}

fn row(node: &NodeReport, is_verbose: bool) -> Vec<String> {
    let number = |value: Option<u64>| value.map_or("-".into(), |value| value.to_string());
    let mut row = vec![
        format!("          {}", node.id),
        word(node.state),
        number(node.read_errors),
        number(node.write_errors),
        number(node.checksum_errors),
        number(node.repaired_blocks),
    ];
    if is_verbose {
        row.extend([number(node.scl), node.log.map_or("-".into(), iec)]);
    }
    row.extend([node.path.clone(), reason(node)]);
    row
}

fn reason(node: &NodeReport) -> String {
    let since = node.since_ms.filter(|_| node.state != NodeHealth::Up);
    let since = since.map(|since| format!("since {}", local_time(since)));
    let parts = since.into_iter().chain(node.reason.clone());
    parts.collect::<Vec<_>>().join(": ")
}
