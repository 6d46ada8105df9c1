//! `redoubt events`: tells what has happened to a volume, and goes on telling.

use crate::cli::Events;
use crate::exit::Exit;
use crate::local_time::local_time;
use crate::output::Output;
use redoubt_volume::event::{Event, EventKind};
use redoubt_volume::ids::VolumeId;
use redoubt_volume::io::address_book::AddressBook;
use redoubt_volume::io::event_history;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Pause between two looks for more.
const PAUSE: Duration = Duration::from_millis(250);

/// An event in JSON.
#[derive(Serialize)]
struct EventLine<'a> {
    number: u64,
    time_ms: u64,
    kind: &'static str,
    node: Option<&'a str>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    count: Option<u64>,
    duration_ms: Option<u64>,
    text: &'a str,
}

/// Tells the newest events, or all; with `--follow` until the volume is destroyed.
pub(crate) fn run(events: &Events, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&events.volume)?;
    let id = AddressBook::read(&volume)?.volume;
    let found = event_history::read(&volume);
    let most = events.last.unwrap_or(usize::MAX);
    let newest = found.iter().skip(found.len().saturating_sub(most));
    newest
        .into_iter()
        .try_for_each(|event| show(event, output))?;
    if events.follow {
        let last = found.last().map_or(0, |event| event.number);
        follow(&volume, id, last, output)?;
    } else if found.is_empty() {
        output.line(format!(
            "redoubt: nothing has happened to {} yet: it was never opened",
            events.volume.display()
        ))?;
    }
    Ok(Exit::OK)
}

/// Shows what comes after the event with the number `last`.
fn follow(volume: &Path, id: VolumeId, mut last: u64, output: Output) -> anyhow::Result<()> {
    loop {
        std::thread::sleep(PAUSE);
        if !is_there(volume, id) {
            return Ok(());
        }
        let events = event_history::read(volume);
        let newest = events.last().map_or(last, |event| event.number);
        if newest < last {
            // Somebody has removed the history, and it began anew.
            last = 0;
        }
        for event in events.iter().filter(|event| event.number > last) {
            show(event, output)?;
        }
        last = newest;
    }
}

/// Whether the volume is still there, and not another one in its place.
fn is_there(volume: &Path, id: VolumeId) -> bool {
    let book = AddressBook::read(volume);
    book.is_ok_and(|book| book.volume == id)
}

fn show(event: &Event, output: Output) -> anyhow::Result<()> {
    let line = EventLine {
        number: event.number,
        time_ms: event.time_ms,
        kind: event.kind.word(),
        node: event.node.as_deref(),
        from: event.from.as_deref(),
        to: event.to.as_deref(),
        count: event.count,
        duration_ms: event.duration_ms,
        text: &event.text,
    };
    output.json_line("event", &line)?;
    output.line(line_of(event))?;
    Ok(())
}

fn line_of(event: &Event) -> String {
    let what = match (event.kind, &event.to) {
        (EventKind::NodeState | EventKind::VolumeState, Some(to)) => to,
        (kind, _) => kind.word(),
    };
    format!(
        "{}  {:<6}  {what:<19}  {}",
        local_time(event.time_ms),
        event.node.as_deref().unwrap_or("volume"),
        event.text
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_for_people() {
        let event = Event::new(EventKind::NodeState, "its directory was deleted; was up");
        let mut event = event.of_node("b2").between(Some("up"), "down");
        event.time_ms = 1_795_160_000_000;
        let rest = "  b2      down                 its directory was deleted; was up";
        let expected = local_time(event.time_ms) + rest;
        assert_eq!(line_of(&event), expected);
        let event = Event::new(EventKind::Closed, "the volume is closed");
        let line = line_of(&event.between(Some("healthy"), "offline"));
        assert!(
            line.ends_with("  volume  closed               the volume is closed"),
            "{line}"
        );
    }
}
