//! Tells the event history what happens: a queue with a bound and a thread that writes, so that
//! nobody waits for the disk that the history is on; and a look at the figures now and then.

use super::changes::{Counters, Gathering, NodeSnapshot, Snapshot, changes};
use super::driver::Driver;
use crate::event::{Event, EventKind, spoken};
use crate::io::event_history::EventHistory;
use crate::limits;
use crate::status::{NodeState, ScrubReport, VolumeState};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, SystemTime};

/// The way into the history of one open volume.
pub(super) struct Events {
    queue: Mutex<Option<SyncSender<Event>>>,
    /// Ends when the thread does.
    ended: Mutex<Receiver<()>>,
    lost: Arc<AtomicU64>,
    seen: Mutex<Option<Seen>>,
}

/// What was seen last.
#[derive(Default)]
struct Seen {
    snapshot: Option<Snapshot>,
    gathering: Gathering,
}

impl Events {
    /// Goes on with the history of the volume in this directory. Call it with the nodes' locks
    /// held: one process writes.
    pub(super) fn start(volume: &Path) -> std::io::Result<Events> {
        let (queue, events) = sync_channel(limits::EVENT_QUEUE);
        let (ending, ended) = channel();
        let lost = Arc::new(AtomicU64::new(0));
        let (volume, lost_too) = (volume.to_path_buf(), Arc::clone(&lost));
        let work = move || {
            write_all(EventHistory::of(&volume), &events, &lost_too);
            drop(ending);
        };
        std::thread::Builder::new()
            .name("redoubt-events".to_owned())
            .spawn(work)?;
        Ok(Events {
            queue: Mutex::new(Some(queue)),
            ended: Mutex::new(ended),
            lost,
            seen: Mutex::default(),
        })
    }

    /// Notes that something has happened just now. Never waits: what has no place is counted.
    pub(super) fn note(&self, event: Event) {
        let event = Event {
            time_ms: wall_time_ms(),
            ..event
        };
        let queue = self.queue.lock();
        let is_taken = |queue: &SyncSender<Event>| queue.try_send(event).is_ok();
        if !queue.as_ref().is_some_and(is_taken) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes no more, and waits a while for what there is to be written.
    pub(super) fn end(&self) {
        *self.queue.lock() = None;
        // Disconnected when all is written; else the disk hangs, and the events are lost.
        let _ = self.ended.lock().recv_timeout(limits::EVENT_PATIENCE);
    }
}

fn wall_time_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Writes what comes until nobody is left who could send any.
fn write_all(mut history: EventHistory, events: &Receiver<Event>, lost: &AtomicU64) {
    let mut is_first = true;
    while let Ok(event) = events.recv() {
        let mut batch = vec![event];
        batch.extend(events.try_iter().take(limits::EVENT_QUEUE - 1));
        if std::mem::take(&mut is_first) {
            say_if_not_closed(&history, &mut batch[0]);
        }
        let before = lost.swap(0, Ordering::Relaxed);
        if before > 0 {
            batch.push(lost_event(before));
        }
        if let Err(error) = history.append(&mut batch) {
            log::debug!("the event history cannot be written: {error}");
            // With what was lost before, which has an event of its own in the batch.
            let told = u64::from(before > 0);
            lost.fetch_add(before + batch.len() as u64 - told, Ordering::Relaxed);
        }
    }
}

fn say_if_not_closed(history: &EventHistory, event: &mut Event) {
    let was_closed = matches!(history.last_kind(), None | Some(EventKind::Closed));
    if event.kind == EventKind::Opened && !was_closed {
        event.text.push_str("; it had not been closed before");
    }
}

fn lost_event(count: u64) -> Event {
    let text = format!(
        "{count} events are missing here: too many came at once, or the disk did not take them"
    );
    let event = Event::new(EventKind::EventsLost, text).counting(count);
    Event {
        time_ms: wall_time_ms(),
        ..event
    }
}

impl Driver {
    /// The recovery is over: from now on changes are events.
    pub(super) fn begin_events(&self) {
        let snapshot = self.snapshot(None);
        let up = |node: &&NodeSnapshot| node.state == NodeState::Up;
        let in_use = |node: &&NodeSnapshot| node.state != NodeState::Drained;
        let (epoch, took) = (self.figures().epoch.number, self.recovery_time());
        let text = format!(
            "epoch {epoch}, recovered in {}, {} of {} nodes up",
            spoken(took),
            snapshot.nodes.iter().filter(up).count(),
            snapshot.nodes.iter().filter(in_use).count()
        );
        let opened = Event::new(EventKind::Opened, text).lasting(took);
        let offline = VolumeState::Offline.word();
        self.events
            .note(opened.between(Some(offline), snapshot.state.word()));
        changes(None, &snapshot)
            .into_iter()
            .for_each(|event| self.events.note(event));
        *self.events.seen.lock() = Some(Seen {
            snapshot: Some(snapshot),
            gathering: Gathering::default(),
        });
    }

    /// Notes what has changed since the last look, if that was long enough ago.
    pub(super) fn look_for_events(&self) {
        let now = self.now();
        let mut seen = self.events.seen.lock();
        let Some(seen) = seen.as_mut() else { return };
        let is_due = |last: &Snapshot| now.since(last.at) >= limits::EVENT_LOOK;
        if seen.snapshot.as_ref().is_none_or(is_due) {
            self.look(seen, false);
        }
    }

    fn look(&self, seen: &mut Seen, is_last: bool) {
        let snapshot = self.snapshot(seen.snapshot.as_ref());
        let mut events = changes(seen.snapshot.as_ref(), &snapshot);
        events.extend(seen.gathering.news(&snapshot, is_last));
        events.into_iter().for_each(|event| self.events.note(event));
        seen.snapshot = Some(snapshot);
    }

    /// The last events of an open volume; call it while the nodes are locked. A volume that was
    /// not opened has none.
    pub(super) fn end_events(&self) {
        if let Some(mut seen) = self.events.seen.lock().take() {
            self.look(&mut seen, true);
            let state = seen.snapshot.map(|snapshot| snapshot.state.word());
            let closed = Event::new(EventKind::Closed, "the volume is closed");
            let offline = VolumeState::Offline.word();
            self.events.note(closed.between(state, offline));
        }
        self.events.end();
    }

    fn snapshot(&self, before: Option<&Snapshot>) -> Snapshot {
        let figures = self.figures();
        let nodes = self.node_statuses(&figures).into_iter();
        let nodes = nodes.map(|node| NodeSnapshot {
            name: node.name,
            state: node.state,
            reason: node.reason,
            path: node.path,
            successor: node.successor.map(|successor| successor.path),
            counters: Counters {
                read_errors: node.read_errors,
                write_errors: node.write_errors,
                checksum_errors: node.checksum_errors,
                repaired_blocks: node.repairs.repaired_blocks,
            },
        });
        let at = self.now();
        let snapshot = Snapshot {
            at,
            state: figures.state,
            state_since: at,
            disk_bytes: self.disk_bytes(),
            waiting: None,
            nodes: nodes.collect(),
            relocation: figures.relocation,
        };
        snapshot.following(before, figures.waiting_requests)
    }

    /// A scrub begins.
    pub(super) fn note_scrub_started(&self, bytes_per_second: Option<u64>) {
        let text = match bytes_per_second {
            Some(rate) => format!("every copy is read and compared, at {rate} bytes a second"),
            None => "every copy is read and compared".to_owned(),
        };
        self.events.note(Event::new(EventKind::ScrubStarted, text));
    }

    /// A scrub is over; `report` is what it found if it came to its end.
    pub(super) fn note_scrub_ended(&self, report: Option<&ScrubReport>, took: Duration) {
        let event = match report {
            Some(report) => Event::new(EventKind::ScrubEnded, found(report)),
            None => Event::new(EventKind::ScrubEnded, "it was not brought to its end"),
        };
        let event = event.lasting(took);
        self.events.note(match report {
            Some(report) => event.counting(report.unresolved),
            None => event,
        });
    }
}

fn found(report: &ScrubReport) -> String {
    let (blocks, copies) = (report.blocks, report.copies);
    let mut text = format!("{blocks} blocks in {copies} copies read: ");
    if report.damaged + report.differing + report.unresolved == 0 {
        text.push_str("all good");
    } else {
        let ScrubReport {
            damaged,
            differing,
            repaired,
            unresolved,
            ..
        } = report;
        text.push_str(&format!(
            "{damaged} damaged, {differing} differing, {repaired} written anew, {unresolved} left"
        ));
    }
    text
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
