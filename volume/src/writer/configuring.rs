//! Changes of the configuration: one at a time is on its way to the nodes. A larger disk, and other
//! places for groups, give way to the admission of a new directory, since the fourth node that they
//! wait for may be that one.

use super::node_view::Phase;
use super::{Answer, Ticket, Writer};
use crate::config::{NodeEntry, SEGMENTS, VolumeConfig};
use crate::error::IoFailure;
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::message::Request;
use crate::planted::{Bug, is_planted};
use crate::quorum::{READ_QUORUM, WRITE_QUORUM};
use crate::time::Instant;
use std::collections::BTreeSet;

/// A change of the configuration on its way to four nodes.
#[derive(Debug)]
pub(super) struct Reconfiguration {
    pub(super) config: VolumeConfig,
    pub(super) held_by: BTreeSet<NodeId>,
    pub(super) asked: BTreeSet<NodeId>,
    pub(super) then: AfterReconfiguration,
}

/// What a change is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterReconfiguration {
    /// The disk is larger, and who asked for it is answered.
    Enlarge,
    /// A new directory joins.
    Admit(NodeId),
    /// Nodes have come to the volume; who asked for it is answered. This writer goes on without
    /// them, and changes nothing any more: they are there from the next open on.
    Widen(Option<Ticket>),
    /// Groups are placed otherwise: see `relocation`.
    Relocate,
    /// The successor of this node takes its place.
    Seat(NodeId),
    /// The successor of this node does not take its place after all.
    TakeBack(NodeId),
}

/// A larger disk that was asked for, until four nodes know of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Enlarging {
    ticket: Ticket,
    disk_bytes: u64,
}

impl Writer {
    /// Makes the disk larger, durably, before it is answered.
    pub fn resize(&mut self, ticket: Ticket, disk_bytes: u64) {
        if let Err(refusal) = self.check_change(self.enlarging.is_some()) {
            return self.complete(ticket, Err(refusal));
        }
        self.enlarging = Some(Enlarging { ticket, disk_bytes });
        self.enlarge_next();
    }

    fn enlarge_next(&mut self) {
        if let (Some(asked), None) = (self.enlarging, &self.reconfiguring) {
            let mut config = self.config.clone();
            config.disk_bytes = asked.disk_bytes;
            self.reconfigure(config, AfterReconfiguration::Enlarge);
        }
    }

    /// Adds nodes to the volume, durably, from the next open on. Groups that there are stay where they
    /// are, unless all are to be spread. Refused while a configuration changes, or an earlier addition
    /// is not done.
    pub fn widen(&mut self, ticket: Ticket, nodes: Vec<NodeEntry>, spread: bool) {
        let config = self.config.widened(nodes, self.first_new_group());
        let is_impossible = self.config.has_two_tables() || !config.can_place();
        if let Err(refusal) = self.check_change(self.is_changing_nodes() || is_impossible) {
            return self.complete(ticket, Err(refusal));
        }
        let config = match spread && config.has_two_tables() {
            true => config.spread(),
            false => config,
        };
        self.reconfigure(config, AfterReconfiguration::Widen(Some(ticket)));
    }

    /// The group behind all that exist.
    pub(super) fn first_new_group(&self) -> GroupId {
        let last = self.groups.keys().next_back();
        GroupId(last.map_or(0, |last| last.0 + 1))
    }

    pub(super) fn check_change(&self, is_busy: bool) -> Result<(), IoFailure> {
        match () {
            () if self.policy.read_only || !self.is_open() => Err(IoFailure::ReadOnly),
            () if is_busy => Err(IoFailure::Busy),
            () => Ok(()),
        }
    }

    /// Whether a configuration is on its way, or a node is being replaced.
    pub(super) fn is_changing_nodes(&self) -> bool {
        self.reconfiguring.is_some() || self.named.is_some() || !self.replacing.is_empty()
    }

    /// Whether four members of every placement would hold a change.
    pub fn can_change_nodes(&self) -> bool {
        let streams = |node: NodeId| self.nodes[node.index()].is_streaming();
        self.fewest_of_a_placement(streams) >= WRITE_QUORUM
    }

    /// Sends a configuration, above one that is on its way and may be on some nodes already.
    pub(super) fn reconfigure(&mut self, mut config: VolumeConfig, then: AfterReconfiguration) {
        let under_way = self.reconfiguring.take();
        let newest = under_way.map_or(config.version, |change| change.config.version);
        config.version = newest + 1;
        let asked: BTreeSet<NodeId> = self.streaming_nodes().into_iter().collect();
        self.send_config(&asked, &config);
        self.reconfiguring = Some(Reconfiguration {
            config,
            held_by: BTreeSet::new(),
            asked,
            then,
        });
    }

    pub(super) fn send_config(&mut self, nodes: &BTreeSet<NodeId>, config: &VolumeConfig) {
        let epoch = self.epoch;
        for node in nodes {
            let config = config.clone();
            self.send(*node, Request::Configure { epoch, config });
        }
    }

    pub(super) fn on_configured(&mut self, now: Instant, from: NodeId, version: u64) {
        let view = &mut self.nodes[from.index()];
        view.held_config = view.held_config.max(version);
        if let Some(change) = &mut self.reconfiguring
            && change.config.version == version
        {
            change.held_by.insert(from);
            self.finish_reconfiguration(now);
        }
    }

    /// Asks nodes that joined meanwhile, and looks whether enough are left that hold it.
    pub(super) fn reconfigure_next(&mut self) {
        let Some(change) = &self.reconfiguring else {
            return;
        };
        let config = change.config.clone();
        let new = self
            .streaming_nodes()
            .into_iter()
            .filter(|node| !change.asked.contains(node));
        let new: BTreeSet<NodeId> = new.collect();
        self.send_config(&new, &config);
        if let Some(change) = &mut self.reconfiguring {
            change.asked.extend(new);
        }
        self.finish_reconfiguration(self.now);
    }

    fn finish_reconfiguration(&mut self, now: Instant) {
        let enough = self
            .reconfiguring
            .as_ref()
            .is_some_and(|change| self.config_is_held(change));
        if enough && self.is_widened() {
            return;
        }
        if let Some(change) = enough.then(|| self.reconfiguring.take()).flatten() {
            self.set_config(change.config);
            match change.then {
                AfterReconfiguration::Enlarge => {
                    if let Some(asked) = self.enlarging.take() {
                        self.complete(asked.ticket, Ok(Answer::Done));
                    }
                }
                AfterReconfiguration::Admit(node) => {
                    if self.nodes[node.index()].phase == Phase::Admitting {
                        self.hold_list(node);
                    }
                }
                AfterReconfiguration::Widen(_) => {}
                AfterReconfiguration::Relocate => self.relocated(now),
                AfterReconfiguration::Seat(node) => self.seat_successor(now, node),
                AfterReconfiguration::TakeBack(node) => self.part_both(node),
            }
            self.enlarge_next();
            self.review(now);
        }
    }

    /// Answers who asked for more nodes, if that is the change that is durable.
    fn is_widened(&mut self) -> bool {
        let then = self.reconfiguring.as_mut().map(|change| &mut change.then);
        let Some(AfterReconfiguration::Widen(ticket)) = then else {
            return false;
        };
        if let Some(ticket) = ticket.take() {
            self.complete(ticket, Ok(Answer::Done));
        }
        true
    }

    /// Whether four members of every placement hold a configuration: also of those by another one that
    /// may be found after a crash, since who finds that asks three of each of its own. All three that
    /// are left are enough to admit a fourth, and for nothing else: another writer may have the other
    /// three. Where one is known to have asked, not even for that: it may have been promised more by
    /// the directory that the new one takes the place of.
    /// Where a node is exchanged it counts with its successor.
    fn config_is_held(&self, change: &Reconfiguration) -> bool {
        let holds = |node: NodeId| {
            let both = self.is_exchanged(node);
            let both = both.then(|| self.config.successor(node));
            let mut needed = [Some(node), both].into_iter().flatten();
            needed.all(|node| change.held_by.contains(&node))
        };
        let admits =
            matches!(change.then, AfterReconfiguration::Admit(_)) && self.outbid_on.is_empty();
        let named = self.named.iter().flat_map(|named| &named.placements);
        let mut placements = self.placements.iter().chain(named);
        placements.all(|members: &[NodeId; SEGMENTS]| {
            let held = members.iter().filter(|node| holds(**node)).count();
            let able = members.iter().filter(|node| change.asked.contains(node));
            held >= WRITE_QUORUM || admits && held == able.count() && held >= READ_QUORUM
        })
    }

    /// The versions that this writer gives begin here: above all that an earlier writer may have
    /// left on a node.
    pub(super) fn first_version(&self) -> u64 {
        (self.epoch.number << limits::CONFIGURATION_BITS)
            * u64::from(!is_planted(Bug::ConfigurationComesBack))
    }

    pub(super) fn set_config(&mut self, config: VolumeConfig) {
        self.placements = config.placements().into_iter().collect();
        self.config = config;
    }
}
