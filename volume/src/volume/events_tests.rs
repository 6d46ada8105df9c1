use super::*;
use crate::io::event_history::{self, NEW_NAME};
use crate::volume::{CreateOptions, OpenOptions, Volume, create, destroy};

fn kinds(volume: &Path) -> Vec<&'static str> {
    let events = event_history::read(volume).into_iter();
    events.map(|event| event.kind.word()).collect()
}

fn small_volume(path: &Path) {
    let options = CreateOptions {
        disk_bytes: 16 << 20,
        extent_bytes: 1 << 20,
        ..CreateOptions::default()
    };
    create(path, &options).unwrap();
}

#[test]
fn a_life_is_told_from_its_opening_to_its_close() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("v");
    small_volume(&path);
    let volume = Volume::open(&path, OpenOptions::default()).unwrap();
    volume.resize(32 << 20).unwrap();
    std::thread::sleep(3 * limits::EVENT_LOOK);
    volume.scrub(None).unwrap();
    volume.close().unwrap();
    let expected = [
        "opened",
        "resized",
        "scrub-started",
        "scrub-ended",
        "closed",
    ];
    assert_eq!(kinds(&path), expected);
    let events = event_history::read(&path);
    assert_eq!(events[0].to.as_deref(), Some("healthy"));
    assert!(events[0].text.starts_with("epoch 1, recovered in "));
    assert!(events.iter().all(|event| event.time_ms > 1_600_000_000_000));
    assert_eq!(events[4].number, 5);
    // A life without a close is noticed by the next one.
    let volume = Volume::open(&path, OpenOptions::default()).unwrap();
    volume.driver.events.end();
    drop(volume);
    let volume = Volume::open(&path, OpenOptions::default()).unwrap();
    volume.close().unwrap();
    let events = event_history::read(&path);
    assert!(!events[5].text.contains("not been closed"));
    assert!(events[6].text.contains("not been closed"));
    destroy(&path).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_history_that_cannot_be_written_is_no_error_and_what_is_lost_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("v");
    small_volume(&path);
    let history = path.join(NEW_NAME);
    std::fs::create_dir(&history).unwrap();
    let volume = Volume::open(&path, OpenOptions::default()).unwrap();
    std::thread::sleep(2 * limits::EVENT_LOOK);
    std::fs::remove_dir(&history).unwrap();
    volume.scrub(None).unwrap();
    volume.close().unwrap();
    let expected = ["scrub-started", "events-lost", "scrub-ended", "closed"];
    let mut found = kinds(&path);
    found.sort_unstable();
    let mut sorted = expected;
    sorted.sort_unstable();
    assert_eq!(found, sorted);
    let events = event_history::read(&path);
    let lost = events
        .iter()
        .find(|event| event.kind == EventKind::EventsLost);
    assert_eq!(lost.unwrap().count, Some(1));
}

#[test]
fn a_full_queue_drops_counts_and_does_not_wait() {
    let (queue, receiver) = sync_channel(1);
    let events = Events {
        queue: Mutex::new(Some(queue)),
        ended: Mutex::new(channel().1),
        lost: Arc::default(),
        seen: Mutex::default(),
    };
    for _ in 0..4 {
        events.note(Event::new(EventKind::Repaired, ""));
    }
    assert_eq!(events.lost.load(Ordering::Relaxed), 3);
    let temp = tempfile::tempdir().unwrap();
    *events.queue.lock() = None;
    write_all(EventHistory::of(temp.path()), &receiver, &events.lost);
    assert_eq!(kinds(temp.path()), ["repaired", "events-lost"]);
}
