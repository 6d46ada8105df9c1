use super::*;

fn at(milliseconds: u64) -> Instant {
    Instant(milliseconds * 1_000_000)
}

/// Two nodes that are up in a healthy volume.
fn well(milliseconds: u64) -> Snapshot {
    let node = |name: &str| NodeSnapshot {
        name: name.to_owned(),
        state: NodeState::Up,
        reason: None,
        path: PathBuf::from("/nodes").join(name),
        successor: None,
        counters: Counters::default(),
    };
    Snapshot {
        at: at(milliseconds),
        state: VolumeState::Healthy,
        state_since: at(milliseconds),
        disk_bytes: 1 << 30,
        waiting: None,
        nodes: vec![node("a1"), node("b2")],
        relocation: None,
    }
}

fn with_state(milliseconds: u64, state: VolumeState, node: NodeState) -> Snapshot {
    let mut snapshot = well(milliseconds);
    snapshot.state = state;
    snapshot.nodes[1].state = node;
    snapshot
}

#[test]
fn nothing_happens_where_nothing_changes() {
    let before = well(0).following(None, 0);
    let after = well(100).following(Some(&before), 8);
    assert_eq!(changes(None, &before), []);
    assert_eq!(changes(Some(&before), &after), []);
    assert_eq!(after.state_since, at(0));
}

#[test]
fn a_node_and_the_volume_tell_of_their_new_states_and_of_the_old() {
    let before = well(0).following(None, 0);
    let mut after = with_state(2_500, VolumeState::Degraded, NodeState::Missing);
    after.nodes[1].reason = Some("its directory was deleted".into());
    let after = after.following(Some(&before), 0);
    let events = changes(Some(&before), &after);
    let node = Event::new(EventKind::NodeState, "its directory was deleted; was up");
    let volume = Event::new(EventKind::VolumeState, "was healthy for 2.5 s; not up: b2");
    let expected = [
        node.of_node("b2").between(Some("up"), "missing"),
        volume
            .between(Some("healthy"), "degraded")
            .lasting(Duration::from_millis(2_500)),
    ];
    assert_eq!(events, expected);
    let again = well(3_500).following(Some(&after), 0);
    let events = changes(Some(&after), &again);
    assert_eq!(events[0].text, "was missing");
    assert_eq!(events[1].text, "was degraded for 1.0 s");
}

#[test]
fn what_is_wrong_at_the_opening_is_told_without_a_former_state() {
    let first = with_state(0, VolumeState::Degraded, NodeState::Rebuilding);
    let events = changes(None, &first);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].from, None);
    assert_eq!(events[0].to.as_deref(), Some("rebuilding"));
    assert_eq!(events[0].text, "found so at the opening");
}

#[test]
fn requests_that_wait_are_told_of_when_they_begin_and_when_they_end() {
    let stuck = |milliseconds, before: &Snapshot, requests| {
        with_state(milliseconds, VolumeState::ReadOnly, NodeState::Missing)
            .following(Some(before), requests)
    };
    let kinds = |events: &[Event]| events.iter().map(|event| event.kind).collect::<Vec<_>>();
    let before = well(0).following(None, 5);
    let idle = stuck(100, &before, 0);
    assert!(!kinds(&changes(Some(&before), &idle)).contains(&EventKind::WritesWaiting));
    let begun = stuck(200, &idle, 2);
    let events = changes(Some(&idle), &begun);
    assert_eq!(kinds(&events), [EventKind::WritesWaiting]);
    assert_eq!(
        events[0].text,
        "2 requests wait for a fourth copy; not up: b2"
    );
    let more = stuck(300, &begun, 7);
    assert_eq!(changes(Some(&begun), &more), []);
    let less = stuck(400, &more, 3);
    let back = well(1_200).following(Some(&less), 3);
    let events = changes(Some(&less), &back);
    let resumed = events.last().unwrap();
    assert_eq!(resumed.kind, EventKind::WritesResumed);
    assert_eq!((resumed.count, resumed.duration_ms), (Some(7), Some(1_000)));
    let given_up = stuck(60_200, &less, 0);
    let events = changes(Some(&less), &given_up);
    assert_eq!(kinds(&events), [EventKind::WritesFailed]);
}

#[test]
fn another_size_is_told() {
    let before = well(0);
    let mut after = well(100);
    after.disk_bytes = 2 << 30;
    let events = changes(Some(&before), &after);
    assert_eq!(events[0].kind, EventKind::Resized);
    let text = "the disk has 2147483648 bytes now, it had 1073741824";
    assert_eq!(events[0].text, text);
}

#[test]
fn segments_that_begin_to_move_and_have_moved_are_told() {
    let moving = |milliseconds: u64, relocation: Option<(u64, u64)>| Snapshot {
        relocation,
        ..well(milliseconds)
    };
    let kinds = |before: &Snapshot, after: &Snapshot| {
        let events = changes(Some(before), after).into_iter();
        events.map(|event| event.kind).collect::<Vec<_>>()
    };
    let (rest, begun) = (moving(0, None), moving(100, Some((0, 8))));
    let (middle, end) = (moving(200, Some((3, 8))), moving(300, None));
    assert_eq!(kinds(&rest, &begun), [EventKind::RelocationBegan]);
    assert_eq!(kinds(&begun, &middle), []);
    assert_eq!(kinds(&middle, &end), [EventKind::RelocationEnded]);
    let goes_on = changes(None, &middle);
    assert_eq!(goes_on[0].kind, EventKind::RelocationBegan);
    assert!(goes_on[0].text.contains("8 segments"));
}

#[test]
fn a_replacement_is_told_with_its_end() {
    let with = |place: &str, successor: Option<&str>| {
        let mut snapshot = well(0);
        snapshot.nodes[1].path = place.into();
        snapshot.nodes[1].successor = successor.map(PathBuf::from);
        snapshot
    };
    let (rest, begun) = (with("/old", None), with("/old", Some("/new")));
    let kinds = |before: Option<&Snapshot>, after: &Snapshot| {
        let events = changes(before, after).into_iter();
        events
            .map(|event| (event.kind, event.node))
            .collect::<Vec<_>>()
    };
    let of_b2 = |kind| vec![(kind, Some("b2".to_owned()))];
    assert_eq!(
        kinds(Some(&rest), &begun),
        of_b2(EventKind::ReplacementBegan)
    );
    assert_eq!(kinds(None, &begun), of_b2(EventKind::ReplacementBegan));
    assert_eq!(kinds(Some(&begun), &begun), []);
    let seated = with("/new", None);
    assert_eq!(
        kinds(Some(&begun), &seated),
        of_b2(EventKind::ReplacementEnded)
    );
    assert_eq!(
        kinds(Some(&begun), &rest),
        of_b2(EventKind::ReplacementAborted)
    );
    let other = with("/old", Some("/other"));
    assert_eq!(
        changes(Some(&begun), &other)[0].text,
        "/other is to take its place"
    );
}

fn counted(milliseconds: u64, repaired_blocks: u64) -> Snapshot {
    let mut snapshot = well(milliseconds);
    snapshot.nodes[1].counters.repaired_blocks = repaired_blocks;
    snapshot
}

#[test]
fn many_repairs_are_few_events_and_all_are_counted() {
    let mut gathering = Gathering::default();
    let mut told = Vec::new();
    // A thousand blocks a second, for ten minutes.
    for look in 1..=6_000 {
        let events = gathering.news(&counted(look * 100, look * 100), false);
        told.extend(events.into_iter().filter_map(|event| event.count));
    }
    assert_eq!(told[0], 100, "the first at once");
    assert!(told.len() < 10, "{told:?}");
    let last = gathering.news(&counted(600_100, 600_000), true);
    told.extend(last.iter().filter_map(|event| event.count));
    assert_eq!(told.iter().sum::<u64>(), 600_000);
    assert_eq!(last[0].node.as_deref(), Some("b2"));
}

#[test]
fn what_is_counted_after_a_pause_is_told_at_once_again() {
    let mut gathering = Gathering::default();
    assert_eq!(gathering.news(&counted(1_000, 1), false).len(), 1);
    assert_eq!(gathering.news(&counted(1_100, 2), false), []);
    assert_eq!(gathering.news(&counted(12_000, 2), false).len(), 1);
    assert_eq!(gathering.news(&counted(60_000, 2), false), []);
    assert_eq!(gathering.news(&counted(60_100, 3), false).len(), 1);
    // The node was opened again, and counts from nothing.
    assert_eq!(gathering.news(&counted(90_000, 1), false)[0].count, Some(1));
}
