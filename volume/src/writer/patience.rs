//! Messages may be lost: what was asked and not answered in time is asked again. Everything that is
//! asked here may be asked twice.

use super::Writer;
use super::node_view::Phase;
use super::recovery::Step;
use crate::ids::NodeId;
use crate::limits;
use crate::message::Request;
use crate::time::Instant;
use std::collections::BTreeSet;

impl Writer {
    /// Whether it is time to ask again.
    fn is_time_to_ask(&mut self, now: Instant) -> bool {
        let is_time = now.since(self.asked_again) > limits::REPLY_PATIENCE;
        if is_time {
            self.asked_again = now;
        }
        is_time
    }

    /// While the volume is open: nodes that join, nodes that lack something though they take
    /// frames, a new configuration, reads, room.
    pub(super) fn ask_again(&mut self, now: Instant) {
        if !self.is_time_to_ask(now) {
            return;
        }
        for node in self.addresses() {
            match self.nodes[node.index()].phase {
                Phase::Promising => self.ask_to_join(node),
                Phase::Listing => self.send_list(node),
                Phase::Marking => {
                    self.catch_up.drop_node(node);
                    self.ask_to_join(node);
                }
                // What it has outstanding may never have reached it.
                Phase::Behind if self.has_rested(node) => self.ask_to_join(node),
                Phase::Behind => self.announce_to(node),
                // It may have space again, and not have said so to anybody who heard it.
                Phase::Streaming if self.is_full(node) => self.announce_to(node),
                Phase::Down | Phase::Admitting | Phase::Streaming => {}
            }
        }
        self.examine_laggards();
        if let Some(change) = &mut self.reconfiguring {
            change.asked.clone_from(&change.held_by);
        }
        self.reask_reads(now);
        self.ask_for_room();
    }

    /// Nodes that stand still below what they were sent, or could not prove what they had proved
    /// once, are asked what they have: they get again what is pending, and are filled with what is
    /// not.
    fn examine_laggards(&mut self) {
        let mut suspects: BTreeSet<NodeId> = std::mem::take(&mut self.suspects);
        for (id, group) in &mut self.groups {
            let filling = |node: &NodeId| self.catch_up.is_lacking(*node, *id);
            let laggards = group.laggards().into_iter();
            suspects.extend(laggards.filter(|node| !filling(node)));
        }
        for node in suspects {
            if self.nodes[node.index()].is_streaming() {
                self.nodes[node.index()].is_examined = true;
                self.send_list(node);
            }
        }
    }

    /// A request waits to be admitted: the nodes say how much room they have when they are told
    /// the VDL.
    fn ask_for_room(&mut self) {
        if self.parked.is_empty() {
            return;
        }
        for node in self.streaming_nodes() {
            self.announce_to(node);
        }
    }

    /// In a recovery: promises and lists.
    pub(super) fn ask_recovery_again(&mut self, now: Instant) {
        if !self.is_time_to_ask(now) {
            return;
        }
        let Some(recovery) = &self.recovery else {
            return;
        };
        let (step, epoch) = (recovery.step, self.epoch);
        let silent: Vec<NodeId> = match step {
            Step::Promising => {
                let silent = recovery.asked.iter();
                let silent = silent.filter(|node| !recovery.reports.contains_key(node));
                silent.copied().collect()
            }
            Step::Listing | Step::Settling => {
                let silent = recovery.asked.difference(&recovery.listed);
                silent.copied().collect()
            }
        };
        for node in silent {
            match step {
                Step::Promising => self.send(node, Request::Promise { epoch }),
                Step::Listing | Step::Settling => self.send_list(node),
            }
        }
    }
}
