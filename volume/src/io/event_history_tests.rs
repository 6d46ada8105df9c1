use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn event(text: &str) -> Event {
    let event = Event::new(EventKind::NodeState, text).of_node("b2");
    let event = event.between(Some("up"), "rebuilding");
    Event {
        time_ms: 1_700_000_000_000,
        ..event
    }
}

fn texts(volume: &Path) -> Vec<String> {
    read(volume).into_iter().map(|event| event.text).collect()
}

#[test]
fn what_is_added_is_read_again_by_whoever_comes_later() {
    let volume = tempfile::tempdir().unwrap();
    assert_eq!(read(volume.path()), []);
    let mut first = EventHistory::of(volume.path());
    let full = event("its directory was deleted").counting(3);
    let mut events = [full.lasting(Duration::from_millis(1500)), event("")];
    first.append(&mut events).unwrap();
    assert_eq!(events[1].number, 2);
    assert_eq!(read(volume.path()), events);
    let mut second = EventHistory::of(volume.path());
    assert_eq!(second.last_kind(), Some(EventKind::NodeState));
    second.append(&mut [event("later")]).unwrap();
    assert_eq!(read(volume.path())[2].number, 3);
}

#[test]
fn torn_and_damaged_lines_are_skipped_and_harm_no_other() {
    let volume = tempfile::tempdir().unwrap();
    let newer = volume.path().join(NEW_NAME);
    let add = |text: &str| {
        let mut history = EventHistory::of(volume.path());
        history.append(&mut [event(text)]).unwrap();
    };
    add("first");
    add("second");
    let mut bytes = std::fs::read(&newer).unwrap();
    let whole = bytes.clone();
    bytes[whole.len() / 2 - 3] ^= 1;
    std::fs::write(&newer, &bytes[..whole.len() - 4]).unwrap();
    assert_eq!(texts(volume.path()), Vec::<String>::new());
    add("third");
    assert_eq!(texts(volume.path()), ["third"]);
    std::fs::write(&newer, b"\xff\xfe\n00000000 \n\n").unwrap();
    add("fourth");
    assert_eq!(texts(volume.path()), ["fourth"]);
}

#[test]
fn the_history_stays_within_its_bound_and_keeps_the_newest() {
    let volume = tempfile::tempdir().unwrap();
    let mut history = EventHistory::of(volume.path());
    let long = "x".repeat(2 * limits::EVENT_LINE_BYTES);
    let lines = limits::EVENT_FILE_BYTES as usize / limits::EVENT_LINE_BYTES;
    for _ in 0..lines * 3 {
        history.append(&mut [event(&long)]).unwrap();
    }
    let sizes = files(volume.path()).map(|path| std::fs::metadata(path).unwrap().len());
    let most = limits::EVENT_FILE_BYTES + limits::EVENT_LINE_BYTES as u64;
    assert!(sizes.iter().all(|bytes| *bytes <= most), "{sizes:?}");
    let events = read(volume.path());
    assert!(events.len() > lines, "{}", events.len());
    assert_eq!(events.last().unwrap().number, lines as u64 * 3);
    let numbers = events.windows(2).map(|two| two[1].number - two[0].number);
    assert!(numbers.into_iter().all(|step| step == 1), "no gap");
}

#[test]
fn what_is_no_file_is_left_alone() {
    let volume = tempfile::tempdir().unwrap();
    let newer = volume.path().join(NEW_NAME);
    nix::unistd::mkfifo(&newer, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(read(volume.path()), []);
    let mut history = EventHistory::of(volume.path());
    assert!(history.append(&mut [event("")]).is_err());
    std::fs::remove_file(&newer).unwrap();
    history.append(&mut [event("after")]).unwrap();
    assert_eq!(texts(volume.path()), ["after"]);
}

proptest! {
    #[test]
    fn any_text_makes_one_line(text in ".*", node in ".*") {
        let mut written = event(&text);
        written.node = Some(node);
        let line = encode(&written);
        prop_assert!(line.len() <= limits::EVENT_LINE_BYTES);
        prop_assert_eq!(line.matches('\n').count(), 1);
        let found = decode(line.trim_end_matches('\n').as_bytes()).expect("it checks");
        prop_assert_eq!(found.to.as_deref(), Some("rebuilding"));
        prop_assert_eq!(encode(&found), line);
    }

    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        prop_assert_eq!(decode(&bytes), None);
    }
}
