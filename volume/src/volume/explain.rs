//! What status says of a volume: what is wrong with which nodes, what that means, what to do.

use crate::status::{NodeState, NodeStatus, OUTBID, VolumeState};
use crate::writer::WriterFigures;
use std::collections::BTreeMap;

/// What a state that is not the usual one means, and what to do.
pub(super) fn explain(figures: &WriterFigures, nodes: &[NodeStatus]) -> Option<(String, String)> {
    let wrong = by_state(nodes);
    if wrong.is_empty() && figures.state == VolumeState::Healthy {
        return None;
    }
    let worst = wrong.keys().last().copied().unwrap_or(NodeState::Lagging);
    let list: Vec<String> = wrong.iter().map(of_state).collect();
    // Every node may be up again a moment before the last copy is complete.
    let list = match list.is_empty() {
        true => "nodes are just joining".to_owned(),
        false => list.join("; "),
    };
    let waiting = match figures.waiting_requests {
        0 => String::new(),
        1 => ": 1 request waits".to_owned(),
        count => format!(": {count} requests wait"),
    };
    let is_outbid = nodes
        .iter()
        .any(|node| node.reason.as_deref() == Some(OUTBID));
    // One node that only a new mount brings back is more than one that comes back by itself.
    let of_worst = worst.action_for(is_outbid.then_some(OUTBID));
    let of_worst = of_worst.unwrap_or("none needed").to_owned();
    let go_on = |what: &str| match is_outbid {
        true => of_worst.clone(),
        false => format!("{}: {what}", wanted(&wrong)),
    };
    Some(match figures.state {
        VolumeState::Healthy | VolumeState::Degraded => {
            (format!("{list}; reads and writes go on"), of_worst.clone())
        }
        VolumeState::ReadOnly => (
            format!("only three copies are left ({list}); reads go on, writes wait{waiting}"),
            go_on("writes go on by themselves"),
        ),
        VolumeState::Unreadable | VolumeState::Offline => (
            format!("fewer than three copies are left of some data ({list}){waiting}"),
            go_on("the rest goes on by itself"),
        ),
    })
}

/// The names of the nodes that are not up, by their state.
fn by_state(nodes: &[NodeStatus]) -> BTreeMap<NodeState, Vec<&str>> {
    let mut names: BTreeMap<NodeState, Vec<&str>> = BTreeMap::new();
    for node in nodes.iter().filter(|node| !node.state.is_as_wanted()) {
        names.entry(node.state).or_default().push(&node.name);
    }
    names
}

fn of_state((state, names): (&NodeState, &Vec<&str>)) -> String {
    format!("{} {}", names.join(", "), state.word())
}

/// The nodes that writes wait for: one more of them is enough for a fourth copy.
fn wanted(wrong: &BTreeMap<NodeState, Vec<&str>>) -> String {
    let is_away = |state: &NodeState| *state >= NodeState::Full;
    let away = wrong.iter().filter(|(state, _)| is_away(state));
    let away: Vec<&str> = away.flat_map(|(_, names)| names).copied().collect();
    match away.as_slice() {
        [] => "none needed, the others are filling a fourth copy".to_owned(),
        [one] => format!("bring {one} back"),
        several => format!("bring one of {} back", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VolumeEpoch;
    use crate::lsn::Lsn;
    use crate::status::{DataErrors, RepairFigures};

    fn node(name: &str, state: NodeState) -> NodeStatus {
        NodeStatus {
            name: name.to_owned(),
            zone: 'a',
            path: name.into(),
            state,
            reason: None,
            action: None,
            scl: Lsn::NONE,
            log_bytes: 0,
            live_bytes: 0,
            checksum_errors: 0,
            read_errors: 0,
            write_errors: 0,
            repairs: RepairFigures::default(),
            rebuild: None,
            successor: None,
        }
    }

    fn said(state: VolumeState, waiting_requests: usize, nodes: &[NodeStatus]) -> String {
        let figures = WriterFigures {
            state,
            epoch: VolumeEpoch::default(),
            groups: 1,
            vcl: Lsn::NONE,
            vdl: Lsn::NONE,
            written_bytes: 0,
            nodes: Vec::new(),
            repairs: Vec::new(),
            rebuilds: Vec::new(),
            scrub_due: Vec::new(),
            data_errors: DataErrors::default(),
            replacements: Vec::new(),
            relocation: None,
            waiting_requests,
        };
        let said = explain(&figures, nodes);
        said.map_or_else(String::new, |(what, action)| format!("{what}. {action}"))
    }

    #[test]
    fn a_lost_quorum_says_for_what_writes_wait() {
        let nodes = [
            node("a1", NodeState::Missing),
            node("a2", NodeState::Missing),
            node("b1", NodeState::Failed),
            node("b2", NodeState::Up),
        ];
        assert_eq!(
            said(VolumeState::ReadOnly, 7, &nodes),
            "only three copies are left (b1 failed; a1, a2 missing); reads go on, writes wait: \
             7 requests wait. bring one of b1, a1, a2 back: writes go on by themselves"
        );
    }

    #[test]
    fn the_worst_state_says_what_to_do() {
        let up = node("a1", NodeState::Up);
        assert_eq!(said(VolumeState::Healthy, 3, std::slice::from_ref(&up)), "");
        let slow = node("c2", NodeState::Slow);
        let of_slow = said(VolumeState::Healthy, 0, &[up, slow.clone()]);
        assert!(of_slow.starts_with("c2 slow; reads and writes go on. none needed: reads"));
        let full = node("c1", NodeState::Full);
        let of_full = said(VolumeState::Degraded, 0, &[slow, full]);
        assert!(of_full.starts_with("c2 slow; c1 full; reads and writes go on. make space"));
    }

    #[test]
    fn nodes_that_promised_another_writer_more_come_back_with_a_new_mount() {
        let mut promised = node("a1", NodeState::Missing);
        promised.reason = Some(OUTBID.to_owned());
        let nodes = [node("b1", NodeState::Missing), promised];
        let of_promised = said(VolumeState::Degraded, 0, &nodes);
        assert!(of_promised.starts_with("b1, a1 missing; reads and writes go on. if no other"));
        assert!(said(VolumeState::ReadOnly, 0, &nodes).contains("writes wait. if no other mount"));
    }

    #[test]
    fn every_state_says_what_it_is_and_what_to_do_where_something_is_to_be_done() {
        for state in NodeState::ALL {
            assert!(!state.meaning().is_empty());
            let is_healing = matches!(
                state,
                NodeState::Up | NodeState::Drained | NodeState::Lagging | NodeState::Rebuilding
            );
            assert_eq!(state.action().is_none(), is_healing, "{state:?}");
        }
    }
}
