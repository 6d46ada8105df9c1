//! What happened to a volume: plain data, for people and for JSON.

use std::time::Duration;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The volume was opened: its recovery is over.
    Opened,
    /// It was closed.
    Closed,
    /// Not everything that was written could be made durable before it was closed.
    NotDurable,
    /// A node is in another state.
    NodeState,
    /// The volume is in another state.
    VolumeState,
    /// The directory of a node was made anew.
    MadeAnew,
    /// Requests began to wait for a quorum.
    WritesWaiting,
    /// They go on.
    WritesResumed,
    /// They were given up.
    WritesFailed,
    /// Blocks of a node were written anew from a proven copy.
    Repaired,
    /// Pages of a node did not check.
    ChecksumErrors,
    /// Reads of a node's disk failed.
    ReadErrors,
    /// Writes or syncs of a node's disk failed.
    WriteErrors,
    /// Every copy is being read and compared.
    ScrubStarted,
    /// That is over.
    ScrubEnded,
    /// The disk has another size.
    Resized,
    /// Segments move to other nodes, or go on to.
    RelocationBegan,
    /// All of them are there.
    RelocationEnded,
    /// Another directory is to take a node's place, or goes on to.
    ReplacementBegan,
    /// It has the place.
    ReplacementEnded,
    /// It is not to take the place any more.
    ReplacementAborted,
    /// Events were not recorded.
    EventsLost,
}

impl EventKind {
    /// Every kind there is.
    pub const ALL: [EventKind; 22] = [
        EventKind::Opened,
        EventKind::Closed,
        EventKind::NotDurable,
        EventKind::NodeState,
        EventKind::VolumeState,
        EventKind::MadeAnew,
        EventKind::WritesWaiting,
        EventKind::WritesResumed,
        EventKind::WritesFailed,
        EventKind::Repaired,
        EventKind::ChecksumErrors,
        EventKind::ReadErrors,
        EventKind::WriteErrors,
        EventKind::ScrubStarted,
        EventKind::ScrubEnded,
        EventKind::Resized,
        EventKind::RelocationBegan,
        EventKind::RelocationEnded,
        EventKind::ReplacementBegan,
        EventKind::ReplacementEnded,
        EventKind::ReplacementAborted,
        EventKind::EventsLost,
    ];

    /// The kind's word in the history, in JSON, and for people.
    pub fn word(self) -> &'static str {
        match self {
            EventKind::Opened => "opened",
            EventKind::Closed => "closed",
            EventKind::NotDurable => "not-durable",
            EventKind::NodeState => "node-state",
            EventKind::VolumeState => "volume-state",
            EventKind::MadeAnew => "made-anew",
            EventKind::WritesWaiting => "writes-waiting",
            EventKind::WritesResumed => "writes-resumed",
            EventKind::WritesFailed => "writes-failed",
            EventKind::Repaired => "repaired",
            EventKind::ChecksumErrors => "checksum-errors",
            EventKind::ReadErrors => "read-errors",
            EventKind::WriteErrors => "write-errors",
            EventKind::ScrubStarted => "scrub-started",
            EventKind::ScrubEnded => "scrub-ended",
            EventKind::RelocationBegan => "relocation-began",
            EventKind::RelocationEnded => "relocation-ended",
            EventKind::ReplacementBegan => "replacement-began",
            EventKind::ReplacementEnded => "replacement-ended",
            EventKind::ReplacementAborted => "replacement-aborted",
            EventKind::Resized => "resized",
            EventKind::EventsLost => "events-lost",
        }
    }

    /// The kind with this word.
    pub fn of_word(word: &str) -> Option<EventKind> {
        EventKind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the history, one higher than that of the event before; 0 until it has one.
    pub number: u64,
    /// When: milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// What kind of thing.
    pub kind: EventKind,
    /// The node that it is about, such as `b2`; none: the volume.
    pub node: Option<String>,
    /// The state before, where a state changed and the former one is known.
    pub from: Option<String>,
    /// The state since then, where a state changed.
    pub to: Option<String>,
    /// How many: nodes, blocks, errors, requests; of a scrub, what is still bad.
    pub count: Option<u64>,
    /// How long what is over now has taken or lasted.
    pub duration_ms: Option<u64>,
    /// The rest, for people.
    pub text: String,
}

impl Event {
    /// An event of the whole volume at no time yet.
    pub fn new(kind: EventKind, text: impl Into<String>) -> Event {
        Event {
            number: 0,
            time_ms: 0,
            kind,
            node: None,
            from: None,
            to: None,
            count: None,
            duration_ms: None,
            text: text.into(),
        }
    }

    /// The same of a node.
    #[must_use]
    pub fn of_node(self, node: &str) -> Event {
        let node = Some(node.to_owned());
        Event { node, ..self }
    }

    /// The same as a change of states.
    #[must_use]
    pub fn between(self, from: Option<&str>, to: &str) -> Event {
        let from = from.map(str::to_owned);
        let to = Some(to.to_owned());
        Event { from, to, ..self }
    }

    /// The same with a number of things.
    #[must_use]
    pub fn counting(self, count: u64) -> Event {
        let count = Some(count);
        Event { count, ..self }
    }

    /// The same with a time that it took.
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Event {
        let duration_ms = u64::try_from(duration.as_millis()).ok();
        Event {
            duration_ms,
            ..self
        }
    }
}

/// A duration as people say it, in at most two units.
pub fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, in_large: &str, small: u64, in_small: &str| match small {
        0 => format!("{large} {in_large}"),
        _ => format!("{large} {in_large} {small} {in_small}"),
    };
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::of_word(kind.word()), Some(kind));
            assert!(!kind.word().contains(' '), "{kind:?}");
        }
        assert_eq!(EventKind::of_word("tea-time"), None);
    }

    #[test]
    fn durations_are_said_in_two_units_at_most() {
        let said = |milliseconds| spoken(Duration::from_millis(milliseconds));
        assert_eq!(said(12), "12 ms");
        assert_eq!(said(2_345), "2.3 s");
        assert_eq!(said(60_000), "1 min");
        assert_eq!(said(185_000), "3 min 5 s");
        assert_eq!(said(3_600_000 * 5), "5 h");
        assert_eq!(said(3_600_000 * 50), "2 d 2 h");
    }
}
