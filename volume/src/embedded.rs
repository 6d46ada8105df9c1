//! Writer and nodes in one process: a Send is a direct call. This is all that the production
//! driver and the deterministic tests share of a cluster, and neither side knows of it.

use crate::error::IoFailure;
use crate::ids::NodeId;
use crate::message::Request;
use crate::segment::effect::{DiskCompletion, NodeEffect};
use crate::segment::node::Node;
use crate::time::Instant;
use crate::writer::{Answer, Ticket, Writer, WriterEffect};

/// What is left to be done outside when the messages have been passed on.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Disk effects of nodes.
    pub disk: Vec<(NodeId, NodeEffect)>,
    /// Requests that are answered.
    pub completed: Vec<(Ticket, Result<Answer, IoFailure>)>,
    /// The recovery's end.
    pub opened: Option<Result<(), String>>,
    /// Nodes that have work for which nobody waits.
    pub idle: Vec<NodeId>,
    /// Nodes whose successor has taken their place; neither is there any more.
    pub seated: Vec<NodeId>,
    /// Nodes that were drained; they are not there any more.
    pub drained: Vec<NodeId>,
}

/// Writer and nodes.
#[derive(Debug)]
pub struct Embedded {
    /// The writer.
    pub writer: Writer,
    /// The nodes that are there, by id; behind them their successors, where there are any.
    pub nodes: Vec<Option<Node>>,
}

impl Embedded {
    /// Gives disk completions to their nodes. Those of a node that is gone are dropped.
    pub fn on_disk(&mut self, now: Instant, completions: Vec<(NodeId, DiskCompletion)>) {
        for (node, completion) in completions {
            if let Some(node) = self.nodes.get_mut(node.index()).and_then(Option::as_mut) {
                node.on_disk(now, completion);
            }
        }
    }

    /// There is time for what nobody waits for.
    pub fn on_idle(&mut self, now: Instant, node: NodeId) {
        if let Some(node) = self.nodes.get_mut(node.index()).and_then(Option::as_mut) {
            node.on_idle(now);
        }
    }

    /// Time has passed for everybody.
    pub fn on_tick(&mut self, now: Instant, wall_time_ns: u64) {
        self.nodes
            .iter_mut()
            .flatten()
            .for_each(|node| node.on_tick(now));
        self.writer.on_tick(now, wall_time_ns);
    }

    /// Passes messages on until nobody has anything to say, and returns what is left to be done.
    pub fn settle(&mut self, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            let mut quiet = true;
            while let Some(effect) = self.writer.poll() {
                quiet = false;
                match effect {
                    WriterEffect::Send { to, request } => self.pass_on(now, to, request),
                    WriterEffect::Complete { ticket, result } => {
                        outcome.completed.push((ticket, result));
                    }
                    WriterEffect::Opened(result) => outcome.opened = Some(result),
                    WriterEffect::Seated(node) => {
                        self.remove_both(node);
                        outcome.seated.push(node);
                    }
                    WriterEffect::Drained(node) => {
                        self.remove(node);
                        outcome.drained.push(node);
                    }
                }
            }
            let mut told = Vec::new();
            for (index, node) in self.nodes.iter_mut().enumerate() {
                // A successor has the name of the node whose place it is to take.
                let id = NodeId(index as u16);
                let Some(node) = node else { continue };
                while let Some(effect) = node.poll() {
                    quiet = false;
                    match effect {
                        NodeEffect::Send(reply) => self.writer.on_reply(now, id, reply),
                        NodeEffect::Tell { to, message } => told.push((id, to, message)),
                        NodeEffect::Idle => outcome.idle.push(id),
                        effect => outcome.disk.push((id, effect)),
                    }
                }
            }
            for (from, to, message) in told {
                if let Some(node) = self.nodes.get_mut(to.index()).and_then(Option::as_mut) {
                    node.on_peer(now, from, message);
                }
            }
            if quiet {
                return outcome;
            }
        }
    }

    /// A node and its successor hear nothing any more: the successor is opened as the node.
    fn remove_both(&mut self, node: NodeId) {
        let successor = self.writer.config().successor(node);
        [node, successor]
            .into_iter()
            .for_each(|gone| self.remove(gone));
    }

    fn remove(&mut self, node: NodeId) {
        if let Some(place) = self.nodes.get_mut(node.index()) {
            *place = None;
        }
    }

    fn pass_on(&mut self, now: Instant, to: NodeId, request: Request) {
        if let Some(node) = self.nodes.get_mut(to.index()).and_then(Option::as_mut) {
            node.on_request(now, request);
        }
    }
}
