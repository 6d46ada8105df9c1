//! The network between writers and nodes: every message takes its time, and on a bad day it is
//! lost, doubled, overtaken, or meets a cut.
//!
//! A pair of processes talks over a connection. When one of them ends, or the transport gives the
//! other one up, the connection is closed: what it still carries does not arrive, as with TCP.

use crate::random::{Random, Rate};
use redoubt_volume::ids::NodeId;
use redoubt_volume::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From a writer to a node.
    ToNode,
    /// From a node to a writer.
    ToWriter,
}

/// Names a writer's process: no two of a run are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriterId(pub u64);

/// Names a connection between two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection(pub u64);

/// What happens to messages all the time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// A message is lost.
    pub drop: Rate,
    /// A message comes twice.
    pub duplicate: Rate,
    /// A message takes much longer, and those behind it wait.
    pub delay: Rate,
    /// A message takes longer, and those behind it overtake it.
    pub reorder: Rate,
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkCounts {
    /// Messages handed over.
    pub sent: u64,
    /// Lost.
    pub dropped: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Held up.
    pub delayed: u64,
    /// Overtaken.
    pub reordered: u64,
    /// Met a cut.
    pub cut: u64,
}

/// The network.
#[derive(Debug, Default)]
pub struct Network {
    /// What happens to messages all the time.
    pub weather: Weather,
    /// What became of them.
    pub counts: NetworkCounts,
    cuts: BTreeSet<(NodeId, Way)>,
    slow: BTreeMap<NodeId, Duration>,
    connections: BTreeMap<(WriterId, NodeId), Connection>,
    last_arrival: BTreeMap<(Connection, Way), Instant>,
    next_connection: u64,
}

impl Network {
    /// Opens a connection in the place of any older one.
    pub fn connect(&mut self, writer: WriterId, node: NodeId) -> Connection {
        self.disconnect(writer, node);
        self.next_connection += 1;
        let connection = Connection(self.next_connection);
        self.connections.insert((writer, node), connection);
        connection
    }

    /// Closes the connection, if there is one.
    pub fn disconnect(&mut self, writer: WriterId, node: NodeId) {
        if let Some(old) = self.connections.remove(&(writer, node)) {
            self.last_arrival.remove(&(old, Way::ToNode));
            self.last_arrival.remove(&(old, Way::ToWriter));
        }
    }

    /// The connection between two processes.
    pub fn connection(&self, writer: WriterId, node: NodeId) -> Option<Connection> {
        self.connections.get(&(writer, node)).copied()
    }

    /// Nothing goes this way any more.
    pub fn cut(&mut self, node: NodeId, way: Way) {
        self.cuts.insert((node, way));
    }

    /// Whether a node is cut off, at least one way.
    pub fn is_cut(&self, node: NodeId) -> bool {
        self.cuts.contains(&(node, Way::ToNode)) || self.cuts.contains(&(node, Way::ToWriter))
    }

    /// Ends the node's cuts.
    pub fn mend(&mut self, node: NodeId) {
        self.cuts.retain(|(cut, _)| *cut != node);
    }

    /// Everything from and to the node takes longer by this.
    pub fn set_slow(&mut self, node: NodeId, delay: Option<Duration>) {
        match delay {
            Some(delay) => self.slow.insert(node, delay),
            None => self.slow.remove(&node),
        };
    }

    /// Whether messages come twice now and then.
    pub fn may_duplicate(&self) -> bool {
        self.weather.duplicate != Rate::NEVER
    }

    /// When a message from one node to another arrives that is sent now. No connection keeps these in
    /// order.
    pub fn peer_arrivals(
        &mut self,
        random: &mut Random,
        now: Instant,
        from: NodeId,
        to: NodeId,
    ) -> [Option<Instant>; 2] {
        self.counts.sent += 1;
        if self.cuts.contains(&(from, Way::ToWriter)) || self.cuts.contains(&(to, Way::ToNode)) {
            self.counts.cut += 1;
            return [None, None];
        }
        if random.happens(self.weather.drop) {
            self.counts.dropped += 1;
            return [None, None];
        }
        let slow = |node: NodeId| self.slow.get(&node).copied().unwrap_or_default();
        let way = slow(from) + slow(to) + Duration::from_nanos(random.between(15_000, 60_000));
        let mut at = now.plus(way);
        if random.happens(self.weather.delay) || random.happens(self.weather.reorder) {
            self.counts.delayed += 1;
            at = at.plus(Duration::from_micros(random.between(1_000, 400_000)));
        }
        let again = random.happens(self.weather.duplicate).then(|| {
            self.counts.duplicated += 1;
            at.plus(Duration::from_micros(random.between(1, 5_000)))
        });
        [Some(at), again]
    }

    /// When a message arrives that is sent now: never, once or twice.
    pub fn arrivals(
        &mut self,
        random: &mut Random,
        now: Instant,
        connection: Connection,
        node: NodeId,
        way: Way,
    ) -> [Option<Instant>; 2] {
        self.counts.sent += 1;
        if self.cuts.contains(&(node, way)) {
            self.counts.cut += 1;
            return [None, None];
        }
        if random.happens(self.weather.drop) {
            self.counts.dropped += 1;
            return [None, None];
        }
        let slow = self.slow.get(&node).copied().unwrap_or_default();
        let mut at = now.plus(slow + Duration::from_nanos(random.between(15_000, 60_000)));
        if random.happens(self.weather.reorder) {
            self.counts.reordered += 1;
            let held = Duration::from_micros(random.between(20, 20_000));
            return [Some(at.plus(held)), None];
        }
        if random.happens(self.weather.delay) {
            self.counts.delayed += 1;
            at = at.plus(Duration::from_micros(random.between(1_000, 400_000)));
        }
        let last = self.last_arrival.entry((connection, way)).or_default();
        at = at.max(*last);
        *last = at;
        let again = random.happens(self.weather.duplicate).then(|| {
            self.counts.duplicated += 1;
            let most = if random.one_in(8) { 2_000_000 } else { 5_000 };
            at.plus(Duration::from_micros(random.between(1, most)))
        });
        [Some(at), again]
    }
}
