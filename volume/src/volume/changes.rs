//! What is worth an event, found by comparing how a volume is with how it was.

use crate::event::{Event, EventKind, spoken};
use crate::limits;
use crate::status::{NodeState, VolumeState};
use crate::time::Instant;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// How a volume is at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    pub(super) state: VolumeState,
    /// Since when.
    pub(super) state_since: Instant,
    pub(super) disk_bytes: u64,
    /// Requests that wait for a quorum that is lost.
    pub(super) waiting: Option<Waiting>,
    pub(super) nodes: Vec<NodeSnapshot>,
    /// Segments that have moved to other nodes, and all that move, while they do.
    pub(super) relocation: Option<(u64, u64)>,
}

/// How a node is at one moment.
#[derive(Clone, Debug)]
pub(super) struct NodeSnapshot {
    pub(super) name: String,
    pub(super) state: NodeState,
    pub(super) reason: Option<String>,
    pub(super) path: PathBuf,
    /// The directory that is to take its place.
    pub(super) successor: Option<PathBuf>,
    pub(super) counters: Counters,
}

/// Requests that wait for a quorum that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) since: Instant,
    /// The most that were seen waiting at once.
    pub(super) most: usize,
}

/// What is counted on a node since the volume was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) read_errors: u64,
    pub(super) write_errors: u64,
    pub(super) checksum_errors: u64,
    pub(super) repaired_blocks: u64,
}

impl Snapshot {
    /// The same, with what it takes from the one before: since when things are as they are.
    /// `requests` are under way.
    pub(super) fn following(self, before: Option<&Snapshot>, requests: usize) -> Snapshot {
        let unchanged = before.filter(|before| before.state == self.state);
        let state_since = unchanged.map_or(self.at, |before| before.state_since);
        let is_stuck = matches!(self.state, VolumeState::ReadOnly | VolumeState::Unreadable);
        let former = before.and_then(|before| before.waiting);
        let waiting = (is_stuck && requests > 0).then(|| Waiting {
            since: former.map_or(self.at, |waiting| waiting.since),
            most: former.map_or(requests, |waiting| waiting.most.max(requests)),
        });
        Snapshot {
            state_since,
            waiting,
            ..self
        }
    }

    fn not_up(&self) -> String {
        let not_up = (self.nodes.iter()).filter(|node| !node.state.is_as_wanted());
        let names: Vec<_> = not_up.map(|node| node.name.as_str()).collect();
        names.join(", ")
    }
}

/// What has happened between two moments. Without an earlier one: what is not as it should be.
pub(super) fn changes(before: Option<&Snapshot>, after: &Snapshot) -> Vec<Event> {
    let mut events = Vec::new();
    for (index, node) in after.nodes.iter().enumerate() {
        let former = before.and_then(|before| before.nodes.get(index));
        events.extend(of_replacement(former, node));
        events.extend(of_node(former, node));
    }
    if let Some(before) = before {
        events.extend(of_state(before, after));
        events.extend(of_waiting(before, after));
        events.extend(of_size(before, after));
    }
    events.extend(of_relocation(before.and_then(|b| b.relocation), after));
    events
}

fn of_node(before: Option<&NodeSnapshot>, after: &NodeSnapshot) -> Option<Event> {
    let former = before.map(|before| before.state);
    if former == Some(after.state) || former.is_none() && after.state.is_as_wanted() {
        return None;
    }
    let was = match former {
        Some(former) => format!("was {}", former.word()),
        None => "found so at the opening".to_owned(),
    };
    let text = match &after.reason {
        Some(reason) if after.state != NodeState::Up => format!("{reason}; {was}"),
        _ => was,
    };
    let event = Event::new(EventKind::NodeState, text).of_node(&after.name);
    Some(event.between(former.map(NodeState::word), after.state.word()))
}

fn of_replacement(before: Option<&NodeSnapshot>, after: &NodeSnapshot) -> Option<Event> {
    let former = before.and_then(|before| before.successor.as_ref());
    let (kind, text) = match (former, &after.successor) {
        (former, Some(path)) if former != Some(path) => {
            let text = format!("{} is to take its place", path.display());
            (EventKind::ReplacementBegan, text)
        }
        (Some(path), None) if *path == after.path => {
            let text = format!("{} has taken its place", path.display());
            (EventKind::ReplacementEnded, text)
        }
        (Some(path), None) => {
            let text = format!("{} is not to take its place any more", path.display());
            (EventKind::ReplacementAborted, text)
        }
        _ => return None,
    };
    Some(Event::new(kind, text).of_node(&after.name))
}

fn of_state(before: &Snapshot, after: &Snapshot) -> Option<Event> {
    if before.state == after.state {
        return None;
    }
    let lasted = after.at.since(before.state_since);
    let mut text = format!("was {} for {}", before.state.word(), spoken(lasted));
    let not_up = after.not_up();
    if !not_up.is_empty() {
        text.push_str(&format!("; not up: {not_up}"));
    }
    let event = Event::new(EventKind::VolumeState, text).lasting(lasted);
    Some(event.between(Some(before.state.word()), after.state.word()))
}

fn of_waiting(before: &Snapshot, after: &Snapshot) -> Option<Event> {
    let requests = |count: usize| match count {
        1 => "1 request".to_owned(),
        count => format!("{count} requests"),
    };
    let (kind, most, lasted, text) = match (before.waiting, after.waiting) {
        (None, Some(waiting)) => {
            let text = format!(
                "{} wait for a fourth copy; not up: {}",
                requests(waiting.most),
                after.not_up()
            );
            (EventKind::WritesWaiting, waiting.most, None, text)
        }
        (Some(waiting), None) => {
            let lasted = after.at.since(waiting.since);
            let is_back = matches!(after.state, VolumeState::Healthy | VolumeState::Degraded);
            let (kind, what) = match is_back {
                true => (EventKind::WritesResumed, "they go on"),
                false => (EventKind::WritesFailed, "no quorum came back: given up"),
            };
            let most = requests(waiting.most);
            let text = format!("{what} after {}; up to {most} waited", spoken(lasted));
            (kind, waiting.most, Some(lasted), text)
        }
        _ => return None,
    };
    let event = Event::new(kind, text).counting(most as u64);
    Some(match lasted {
        Some(lasted) => event.lasting(lasted),
        None => event,
    })
}

fn of_size(before: &Snapshot, after: &Snapshot) -> Option<Event> {
    let (former, bytes) = (before.disk_bytes, after.disk_bytes);
    let text = || format!("the disk has {bytes} bytes now, it had {former}");
    (former != bytes).then(|| Event::new(EventKind::Resized, text()))
}

fn of_relocation(before: Option<(u64, u64)>, after: &Snapshot) -> Option<Event> {
    let (kind, count, text) = match (before, after.relocation) {
        (None, Some((moved, all))) => {
            let text = format!("{all} segments are to be on other nodes, {moved} are already");
            (EventKind::RelocationBegan, all - moved, text)
        }
        (Some((_, all)), None) => {
            let text = format!("all {all} segments are on the nodes where they are to be");
            (EventKind::RelocationEnded, all, text)
        }
        _ => return None,
    };
    Some(Event::new(kind, text).counting(count))
}

/// Gathers what is counted, so that many errors are few events: the first is told at once, more of
/// the same after pauses that grow as long as there are more.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    told: HashMap<(String, &'static str), Told>,
}

#[derive(Debug)]
struct Told {
    total: u64,
    until: Instant,
    pause: Duration,
}

impl Told {
    /// How many more there are than were told of, if it is time to tell.
    fn more(&mut self, now: Instant, total: u64, is_last: bool) -> Option<u64> {
        if total < self.total {
            // A node that was opened again counts anew.
            self.total = 0;
        }
        if now < self.until && !is_last {
            return None;
        }
        let more = total - self.total;
        if more == 0 {
            self.pause = limits::EVENT_GATHERING;
            return None;
        }
        self.total = total;
        self.until = now.plus(self.pause);
        self.pause = (2 * self.pause).min(limits::LONGEST_GATHERING);
        Some(more)
    }
}

impl Gathering {
    /// What was counted since the last time and is to be told now; with `is_last` all of it.
    pub(super) fn news(&mut self, snapshot: &Snapshot, is_last: bool) -> Vec<Event> {
        let counted = snapshot.nodes.iter().flat_map(|node| {
            let counters = node.counters;
            [
                (EventKind::ReadErrors, counters.read_errors),
                (EventKind::WriteErrors, counters.write_errors),
                (EventKind::ChecksumErrors, counters.checksum_errors),
                (EventKind::Repaired, counters.repaired_blocks),
            ]
            .map(|(kind, total)| (node, kind, total))
        });
        let mut events = Vec::new();
        for (node, kind, total) in counted.filter(|(_, _, total)| *total > 0) {
            let key = (node.name.clone(), kind.word());
            let told = self.told.entry(key).or_insert(Told {
                total: 0,
                until: Instant::default(),
                pause: limits::EVENT_GATHERING,
            });
            if let Some(more) = told.more(snapshot.at, total, is_last) {
                let event = Event::new(kind, text_of(kind, more)).of_node(&node.name);
                events.push(event.counting(more));
            }
        }
        events
    }
}

fn text_of(kind: EventKind, count: u64) -> String {
    let what = match kind {
        EventKind::ReadErrors => "reads of its disk failed: another copy answers",
        EventKind::WriteErrors => "writes or syncs of its disk failed: it is fenced",
        EventKind::ChecksumErrors => "reads did not check: another copy answers",
        _ => "blocks were written anew from a proven copy",
    };
    format!("{count} {what}")
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
