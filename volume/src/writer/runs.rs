//! Which leaves of a segment are still to be copied, which are under way, and how far it is done.
//!
//! Several leaves are under way at a time, from several peers, and come to their end in any order.
//! What failed or came late is to be copied again, before anything behind it.

use crate::ids::NodeId;
use crate::message::RequestId;
use crate::planted::{Bug, is_planted};
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// Leaves from `first` up to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u32,
    pub(super) end: u32,
}

/// What is done with the leaves of a span now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Asked of this peer.
    Fetching(NodeId),
    /// On their way into the segment.
    Putting,
}

/// Leaves under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) span: Span,
    pub(super) stage: Stage,
    /// Since when an answer is waited for.
    pub(super) asked_at: Instant,
    /// When the first question was asked.
    pub(super) began_at: Instant,
    /// What is in it, once that is known.
    pub(super) content: Content,
}

/// Bytes of the blocks in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Of all that exist.
    pub(super) existing_bytes: u64,
    /// Of those that are copied.
    pub(super) copied_bytes: u64,
}

/// The leaves of a segment that is being filled.
#[derive(Debug)]
pub(super) struct Runs {
    leaves: u32,
    /// Ascending, disjoint; nothing of it is under way.
    todo: Vec<Span>,
    under_way: BTreeMap<RequestId, Run>,
    /// Peers that could not give a leaf that is still to be copied.
    failed: BTreeMap<u32, BTreeSet<NodeId>>,
    /// The end of what was ever held.
    highest: u32,
}

impl Runs {
    /// All leaves of a segment that has so many.
    pub(super) fn new(leaves: u32) -> Runs {
        let all = Span {
            first: 0,
            end: leaves,
        };
        Runs {
            leaves,
            todo: vec![all],
            under_way: BTreeMap::new(),
            failed: BTreeMap::new(),
            highest: 0,
        }
    }

    /// The next leaf to be asked for.
    pub(super) fn next_leaf(&self) -> Option<u32> {
        self.todo.first().map(|span| span.first)
    }

    /// The leaf is asked of a peer.
    pub(super) fn fetch(&mut self, id: RequestId, leaf: u32, source: NodeId, now: Instant) {
        let span = Span {
            first: leaf,
            end: leaf + 1,
        };
        self.take(span);
        let run = Run {
            span,
            stage: Stage::Fetching(source),
            asked_at: now,
            began_at: now,
            content: Content::default(),
        };
        self.under_way.insert(id, run);
    }

    /// The answer to a run that was fetched: these leaves are put, which may be more than were asked
    /// for.
    pub(super) fn put(&mut self, id: RequestId, fetched: Run, put: Run) {
        self.take(put.span);
        self.failed.remove(&fetched.span.first);
        self.under_way.insert(id, put);
    }

    /// What was under way by this name.
    pub(super) fn end(&mut self, id: RequestId) -> Option<Run> {
        self.under_way.remove(&id)
    }

    /// The leaves are in the segment, durably.
    pub(super) fn held(&mut self, run: &Run) {
        self.highest = self.highest.max(run.span.end);
    }

    /// A peer could not give a leaf: another one is asked.
    pub(super) fn fetch_failed(&mut self, run: &Run) {
        self.give_back(run.span);
        if let Stage::Fetching(source) = run.stage {
            let failed = self.failed.entry(run.span.first).or_default();
            failed.insert(source);
        }
    }

    /// Whether this peer has failed to give the leaf.
    pub(super) fn has_failed(&self, leaf: u32, source: NodeId) -> bool {
        let failed = self.failed.get(&leaf);
        failed.is_some_and(|failed| failed.contains(&source))
    }

    /// Every peer has failed in turn: all may be asked again. Whether any had.
    pub(super) fn forgive(&mut self, leaf: u32) -> bool {
        self.failed.remove(&leaf).is_some()
    }

    /// Gives up what `is_lost` says of; it is to be copied again. Returns the names.
    pub(super) fn lose(&mut self, is_lost: impl Fn(&Run) -> bool) -> Vec<RequestId> {
        let lost = self.under_way.extract_if(.., |_, run| is_lost(run));
        let lost: Vec<(RequestId, Run)> = lost.collect();
        for (_, run) in &lost {
            self.give_back(run.span);
        }
        lost.into_iter().map(|(id, _)| id).collect()
    }

    /// The runs under way, and their names.
    pub(super) fn under_way(&self) -> impl Iterator<Item = (&RequestId, &Run)> {
        self.under_way.iter()
    }

    /// Whether this peer is asked for leaves by this name.
    pub(super) fn is_asked(&self, id: RequestId, source: NodeId) -> bool {
        let run = self.under_way.get(&id);
        run.is_some_and(|run| run.stage == Stage::Fetching(source))
    }

    /// Every leaf before this one is in the segment, durably.
    pub(super) fn filled(&self) -> u32 {
        let is_under_way = |_: &&Run| !is_planted(Bug::FilledBeforeDurable);
        let todo = self.todo.first().map(|span| span.first);
        let under_way = self.under_way.values().filter(is_under_way);
        let unfinished = under_way.map(|run| run.span.first).chain(todo).min();
        match unfinished {
            Some(_) if is_planted(Bug::FilledUpToHighest) => self.highest,
            unfinished => unfinished.unwrap_or(self.leaves),
        }
    }

    /// Whether every leaf was put.
    pub(super) fn are_done(&self) -> bool {
        self.todo.is_empty() && self.under_way.is_empty()
    }

    /// Takes a span out of what is still to be done.
    fn take(&mut self, taken: Span) {
        let rest = |span: &Span| {
            let before = Span {
                first: span.first,
                end: span.end.min(taken.first),
            };
            let behind = Span {
                first: span.first.max(taken.end),
                end: span.end,
            };
            [before, behind]
        };
        let rests = self.todo.iter().flat_map(rest);
        self.todo = rests.filter(|span| span.first < span.end).collect();
    }

    /// Puts a span back to what is still to be done.
    fn give_back(&mut self, span: Span) {
        self.take(span);
        let at = self.todo.partition_point(|other| other.first < span.first);
        self.todo.insert(at, span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VolumeEpoch;

    const NOW: Instant = Instant(0);

    fn id(number: u64) -> RequestId {
        RequestId {
            epoch: VolumeEpoch {
                number: 1,
                writer: 1,
            },
            number,
        }
    }

    fn span(first: u32, end: u32) -> Span {
        Span { first, end }
    }

    fn fetched(runs: &mut Runs, number: u64, leaf: u32) -> Run {
        runs.fetch(id(number), leaf, NodeId(1), NOW);
        runs.end(id(number)).unwrap()
    }

    fn put(run: Run, span: Span) -> Run {
        let stage = Stage::Putting;
        Run { span, stage, ..run }
    }

    /// A leaf that is held, from the first question on.
    fn hold(runs: &mut Runs, number: u64, leaf: u32, end: u32) {
        let run = fetched(runs, number, leaf);
        runs.put(id(number), run, put(run, span(leaf, end)));
        let run = runs.end(id(number)).unwrap();
        runs.held(&run);
    }

    #[test]
    fn it_is_filled_up_to_the_first_leaf_that_is_not_held() {
        let mut runs = Runs::new(4);
        (0..3).for_each(|leaf| runs.fetch(id(leaf), leaf as u32, NodeId(1), NOW));
        for leaf in [2, 0] {
            let run = runs.end(id(leaf)).unwrap();
            runs.put(id(10 + leaf), run, put(run, run.span));
            assert_eq!(runs.filled(), 0);
            let run = runs.end(id(10 + leaf)).unwrap();
            runs.held(&run);
        }
        assert_eq!(runs.filled(), 1);
        let run = runs.end(id(1)).unwrap();
        runs.put(id(11), run, put(run, run.span));
        assert_eq!(runs.filled(), 1);
        runs.end(id(11)).unwrap();
        assert_eq!((runs.filled(), runs.next_leaf()), (3, Some(3)));
        hold(&mut runs, 3, 3, 4);
        assert!(runs.are_done());
        assert_eq!(runs.filled(), 4);
    }

    #[test]
    fn what_no_peer_has_is_passed_over_at_once() {
        let mut runs = Runs::new(100);
        hold(&mut runs, 0, 0, 1);
        hold(&mut runs, 1, 1, 90);
        assert_eq!((runs.filled(), runs.next_leaf()), (90, Some(90)));
    }

    #[test]
    fn what_fails_or_is_late_comes_first_again() {
        let mut runs = Runs::new(4);
        let run = fetched(&mut runs, 0, 0);
        runs.fetch(id(1), 1, NodeId(2), NOW);
        runs.fetch_failed(&run);
        assert_eq!(runs.next_leaf(), Some(0));
        assert!(runs.has_failed(0, NodeId(1)) && !runs.has_failed(0, NodeId(2)));
        let lost = runs.lose(|run| run.stage == Stage::Fetching(NodeId(2)));
        assert_eq!(lost, [id(1)]);
        hold(&mut runs, 2, 0, 1);
        assert_eq!((runs.filled(), runs.next_leaf()), (1, Some(1)));
        assert!(!runs.has_failed(0, NodeId(1)));
    }
}
