//! What the event history adds to the report on a volume: since when things are as they are.

use crate::report::VolumeReport;
use redoubt_volume::event::Event;

/// Adds it.
pub(crate) fn tell(report: &mut VolumeReport, events: &[Event]) {
    report.since_ms = since(events, None, report.state.word());
    for node in &mut report.nodes {
        node.since_ms = since(events, Some(&node.id), node.state.word());
    }
}

/// Since when a node, or the volume, is in the state with this word. What was found again at an
/// opening goes on from before.
fn since(events: &[Event], node: Option<&str>, word: &str) -> Option<u64> {
    let about = |event: &&Event| event.node.as_deref() == node && event.to.is_some();
    let mut since = None;
    for event in events.iter().rev().filter(about) {
        if event.to.as_deref() != Some(word) {
            break;
        }
        since = Some(event.time_ms);
        if event.from.as_deref().is_some_and(|from| from != word) {
            break;
        }
    }
    since
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;
    use redoubt_volume::event::EventKind;

    fn at(time_ms: u64, event: Event) -> Event {
        Event { time_ms, ..event }
    }

    fn states(of: Option<&str>, states: &[(Option<&str>, &str)]) -> Vec<Event> {
        let event = |(index, (from, to)): (usize, &(Option<&str>, &str))| {
            let event = Event::new(EventKind::NodeState, "").between(*from, to);
            at(index as u64, event.of_node(of.unwrap_or_default()))
        };
        let mut events: Vec<_> = states.iter().enumerate().map(event).collect();
        events
            .iter_mut()
            .for_each(|event| event.node = of.map(str::to_owned));
        events
    }

    #[test]
    fn a_state_lasts_since_it_was_entered() {
        let path = [
            (Some("up"), "missing"),
            (None, "missing"),
            (None, "missing"),
        ];
        let events = states(Some("b2"), &path);
        assert_eq!(since(&events, Some("b2"), "missing"), Some(0));
        assert_eq!(since(&events, Some("b2"), "up"), None);
        assert_eq!(since(&events, Some("b1"), "missing"), None);
        assert_eq!(since(&events, None, "missing"), None);
        let path = [
            (Some("up"), "missing"),
            (Some("missing"), "rebuilding"),
            (Some("rebuilding"), "missing"),
        ];
        assert_eq!(
            since(&states(Some("b2"), &path), Some("b2"), "missing"),
            Some(2)
        );
    }

    #[test]
    fn the_report_says_since_when() {
        let mut report = example();
        let mut events = states(
            None,
            &[(Some("offline"), "healthy"), (Some("healthy"), "degraded")],
        );
        events.extend(states(Some("b2"), &[(Some("up"), "missing")]));
        tell(&mut report, &events);
        assert_eq!(report.since_ms, Some(1));
        let since: Vec<_> = report.nodes.iter().map(|node| node.since_ms).collect();
        assert_eq!(since, [None, None, None, Some(0), None, None]);
    }
}
