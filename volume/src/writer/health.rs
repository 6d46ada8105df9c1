//! How nodes are doing: which answer far more slowly than the others, which give pages that do not
//! check. Pure: what was measured goes in with its time, judgements come out.
//!
//! A node is judged by the others, not by a clock: where all are slow nobody is. It becomes slow
//! when it is far above them for a while, and is fit again when it is well below that for longer,
//! so that it does not go to and fro.

use crate::ids::NodeId;
use crate::limits;
use crate::planted::{Bug, is_planted};
use crate::status::NodeState;
use crate::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// Peers that must have been measured before a node is compared with them.
const LEAST_PEERS: usize = 2;
/// A read goes elsewhere first when the node takes so many times as long as the others, and more
/// than this: that costs nothing, so it needs neither proof nor patience.
const AVOID_FACTOR: u32 = 4;
const AVOID_FLOOR: Duration = Duration::from_millis(2);

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// From sending a frame to its acknowledgement.
    Append,
    /// From asking for pages to their arrival.
    Read,
}

/// A smoothed latency.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    latency: Duration,
    measured: Option<Instant>,
}

impl Pace {
    fn measure(&mut self, now: Instant, sample: Duration) {
        self.latency = match self.latency_at(now) {
            Some(latency) => latency - latency / 8 + sample / 8,
            None => sample,
        };
        self.measured = Some(now);
    }

    fn latency_at(&self, now: Instant) -> Option<Duration> {
        let measured = self.measured?;
        (now.since(measured) <= limits::LATENCY_MEMORY).then_some(self.latency)
    }
}

/// One of the latencies of a node.
type PaceOf = fn(&NodeHealth) -> &Pace;

/// The state that a node seems to be changing to.
#[derive(Clone, Copy, Debug)]
struct Turn {
    since: Instant,
    samples: u32,
}

#[derive(Clone, Debug, Default)]
struct NodeHealth {
    appends: Pace,
    reads: Pace,
    /// Frames that are not acknowledged: the bytes sent up to the end of each, and when.
    frames: VecDeque<(u64, Instant)>,
    sent_bytes: u64,
    acked_bytes: u64,
    is_slow: bool,
    turn: Option<Turn>,
    probed: Instant,
    /// When pages of it did not check, the last few times.
    damaged: VecDeque<Instant>,
    is_doubtful: bool,
    left_behind: Option<Instant>,
    rests: Duration,
}

/// How all nodes are doing.
#[derive(Debug)]
pub(super) struct Health {
    nodes: Vec<NodeHealth>,
}

impl Health {
    /// Of so many nodes nothing is known.
    pub(super) fn new(nodes: usize) -> Health {
        Health {
            nodes: vec![NodeHealth::default(); nodes],
        }
    }

    fn of(&mut self, node: NodeId) -> &mut NodeHealth {
        &mut self.nodes[node.index()]
    }

    /// The node is gone, or there again: what was measured was another's.
    pub(super) fn forget(&mut self, node: NodeId) {
        *self.of(node) = NodeHealth::default();
    }

    /// Something took so long.
    pub(super) fn measured(
        &mut self,
        now: Instant,
        node: NodeId,
        measure: Measure,
        latency: Duration,
    ) {
        let health = self.of(node);
        let pace = match measure {
            Measure::Append => &mut health.appends,
            Measure::Read => &mut health.reads,
        };
        pace.measure(now, latency);
        if let Some(turn) = &mut health.turn {
            turn.samples += 1;
        }
    }

    /// A frame is on its way to a node.
    pub(super) fn frame_sent(&mut self, now: Instant, node: NodeId, bytes: u64) {
        let health = self.of(node);
        health.sent_bytes += bytes;
        health.frames.push_back((health.sent_bytes, now));
    }

    /// A node has acknowledged the next of its frames.
    pub(super) fn frame_acked(&mut self, now: Instant, node: NodeId, bytes: u64) {
        let health = self.of(node);
        health.acked_bytes = health.sent_bytes.min(health.acked_bytes + bytes);
        let mut sent = None;
        while let Some((end, at)) = health.frames.front().copied()
            && end <= health.acked_bytes
        {
            health.frames.pop_front();
            sent = Some(at);
        }
        if let Some(sent) = sent {
            // A frame that waited behind this one is taken only from now on.
            if let Some((_, next)) = health.frames.front_mut() {
                *next = now.max(*next);
            }
            self.measured(now, node, Measure::Append, now.since(sent));
        }
    }

    /// What was sent to a node before is not waited for any more.
    pub(super) fn frames_dropped(&mut self, node: NodeId) {
        let health = self.of(node);
        health.frames.clear();
        health.acked_bytes = health.sent_bytes;
    }

    /// The node takes its frames only from now on.
    pub(super) fn frames_restarted(&mut self, now: Instant, node: NodeId) {
        let frames = self.of(node).frames.iter_mut();
        frames.for_each(|(_, sent)| *sent = now);
    }

    /// A node is being filled: how long it takes meanwhile says nothing of its disk.
    pub(super) fn being_filled(&mut self, now: Instant, node: NodeId) {
        let health = self.of(node);
        health.appends = Pace::default();
        health.reads = Pace::default();
        self.frames_restarted(now, node);
    }

    /// Since when a node owes an acknowledgement.
    pub(super) fn owes_since(&self, node: NodeId) -> Option<Instant> {
        let frames = &self.nodes[node.index()].frames;
        frames.front().map(|(_, sent)| *sent)
    }

    /// The median of what the others take.
    fn median_of_peers(&self, now: Instant, node: NodeId, pace: PaceOf) -> Option<Duration> {
        let others = self.nodes.iter().enumerate();
        let others = others.filter(|(index, _)| *index != node.index());
        let latencies = others.filter_map(|(_, health)| pace(health).latency_at(now));
        let mut latencies: Vec<Duration> = latencies.collect();
        if latencies.len() < LEAST_PEERS {
            return None;
        }
        latencies.sort_unstable();
        Some(latencies[(latencies.len() - 1) / 2])
    }

    /// Whether a node takes longer than `floor` and than `factor` times the median of the others, in
    /// anything that it does.
    fn exceeds(&self, now: Instant, node: NodeId, factor: u32, floor: Duration) -> bool {
        let exceeds = |pace: PaceOf| {
            let own = pace(&self.nodes[node.index()]).latency_at(now);
            // Most nodes are below the floor, and need no median.
            own.filter(|own| *own > floor).is_some_and(|own| {
                let median = self.median_of_peers(now, node, pace);
                median.is_some_and(|median| own > median * factor)
            })
        };
        exceeds(|health| &health.appends) || exceeds(|health| &health.reads)
    }

    /// Judges a node anew. `stuck`: it owes an answer since so long ago. Whether it has become slow,
    /// or fit again.
    pub(super) fn judge(&mut self, now: Instant, node: NodeId, stuck: Option<Instant>) -> bool {
        let is_stuck = stuck.is_some_and(|since| now.since(since) > limits::STUCK_AFTER);
        let was_slow = self.nodes[node.index()].is_slow;
        let turns = if was_slow {
            !is_stuck && !self.exceeds(now, node, limits::FIT_FACTOR, limits::SLOW_FLOOR / 2)
        } else {
            is_stuck || self.exceeds(now, node, limits::SLOW_FACTOR, limits::SLOW_FLOOR)
        };
        let health = self.of(node);
        if !turns {
            health.turn = None;
            return false;
        }
        let (since, samples) = (now, 0);
        let turn = *health.turn.get_or_insert(Turn { since, samples });
        let lasted = now.since(turn.since);
        let has_turned = if is_planted(Bug::NoHysteresis) {
            true
        } else if was_slow {
            lasted >= limits::FIT_AFTER
        } else {
            is_stuck || lasted >= limits::SLOW_AFTER && turn.samples >= limits::SLOW_SAMPLES
        };
        if has_turned {
            health.is_slow = !was_slow;
            health.turn = None;
        }
        has_turned
    }

    /// Whether a node answers far more slowly than the others.
    pub(super) fn is_slow(&self, node: NodeId) -> bool {
        self.nodes[node.index()].is_slow
    }

    /// In what a node is slow, in words.
    pub(super) fn describe(&self, now: Instant, node: NodeId) -> String {
        let own = &self.nodes[node.index()];
        let kinds: [(&str, PaceOf); 2] = [
            ("writes", |health| &health.appends),
            ("reads", |health| &health.reads),
        ];
        let measured = kinds.into_iter().filter_map(|(what, pace)| {
            let median = self.median_of_peers(now, node, pace)?;
            Some((pace(own).latency_at(now)?, median, what))
        });
        match measured.max() {
            Some((latency, median, what)) if latency > median => format!(
                "its {what} take {} ms, those of the others {} ms",
                latency.as_millis(),
                median.as_millis().max(1)
            ),
            _ => NodeState::Slow.meaning().to_owned(),
        }
    }

    /// How much a read should rather go elsewhere: not at all, if it makes no difference, only where
    /// nobody else is left.
    pub(super) fn reluctance(&self, now: Instant, node: NodeId) -> u32 {
        let health = &self.nodes[node.index()];
        if is_planted(Bug::SlowNodeAskedFirst) || self.is_fit(now, node) {
            0
        } else {
            1 + u32::from(health.is_slow || health.is_doubtful)
        }
    }

    /// Whether there is no reason to ask another node.
    pub(super) fn is_fit(&self, now: Instant, node: NodeId) -> bool {
        let health = &self.nodes[node.index()];
        let is_bad = health.is_slow || health.is_doubtful;
        !is_bad && !self.exceeds(now, node, AVOID_FACTOR, AVOID_FLOOR)
    }

    /// Whether it is time to ask a node that is avoided, so that its recovery is noticed.
    pub(super) fn is_probe_due(&self, now: Instant, node: NodeId) -> bool {
        now.since(self.nodes[node.index()].probed) >= limits::PROBE_EVERY
            && self.reluctance(now, node) > 0
    }

    /// A node that is avoided is asked.
    pub(super) fn probed(&mut self, now: Instant, node: NodeId) {
        self.of(node).probed = now;
    }

    /// Pages of a node did not check.
    pub(super) fn damaged(&mut self, now: Instant, node: NodeId) {
        let health = self.of(node);
        let old = |at: &Instant| now.since(*at) > limits::DAMAGE_WINDOW;
        while health.damaged.front().is_some_and(old)
            || health.damaged.len() >= limits::DAMAGE_LIMIT
        {
            health.damaged.pop_front();
        }
        health.damaged.push_back(now);
        health.is_doubtful |= health.damaged.len() >= limits::DAMAGE_LIMIT;
    }

    /// Whether so much of a node did not check that it is to be scrubbed.
    pub(super) fn is_doubtful(&self, node: NodeId) -> bool {
        self.nodes[node.index()].is_doubtful
    }

    /// Everything was looked at, and mended.
    pub(super) fn scrubbed(&mut self) {
        for health in &mut self.nodes {
            health.is_doubtful = false;
            health.damaged.clear();
        }
    }

    /// A node is left behind; the more often in a row, the longer it rests.
    pub(super) fn left_behind(&mut self, now: Instant, node: NodeId) {
        let health = self.of(node);
        let again = health
            .left_behind
            .is_some_and(|last| now.since(last) < health.rests + 2 * limits::REJOIN_AFTER_MOST);
        health.rests = match again {
            true => (health.rests * 2).clamp(limits::REJOIN_AFTER, limits::REJOIN_AFTER_MOST),
            false => Duration::ZERO,
        };
        health.left_behind = Some(now);
    }

    /// Whether a node that was left behind has rested. Without space nothing but time helps.
    pub(super) fn has_rested(&self, now: Instant, node: NodeId, is_full: bool) -> bool {
        let health = &self.nodes[node.index()];
        let rests = match is_full {
            true => limits::REJOIN_AFTER_MOST,
            false => health.rests,
        };
        health
            .left_behind
            .is_none_or(|since| now.since(since) >= rests)
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
