//! The fault budget: of everything that is durable one provable copy is left, always, so that a
//! loss is the volume's fault and not that of the faults.
//!
//! A record is durable on four of six. What destroys a copy in a way that the node itself can
//! tell (an emptied directory, a failed disk) may happen to two nodes at once: three others that
//! promise meet the four. A node whose disk lies (rolled back, a write that is not there) takes
//! part in recoveries and says less than it once acknowledged: that may happen to one node, and
//! then to no other. What is only away for a while comes back; with the destroyed it may be
//! three. A node counts as destroyed until the writer says that it holds everything again.

use crate::cluster::Cluster;
use crate::network::WriterId;
use redoubt_volume::ids::{Incarnation, NodeId};
use redoubt_volume::status::NodeState;
use redoubt_volume::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Nodes whose copies may be bad at a time, and away or bad: then nobody may be able to open the
/// volume until some return.
const MOST_DESTROYED: usize = 2;
const MOST_IMPAIRED: usize = 4;
/// After so long every writer that is connected has noticed.
const NOTICED_AFTER: Duration = Duration::from_millis(200);

/// How bad a node's copies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Gone, in a way that the node can tell.
    Destroyed,
    /// Something is not what it was, and the node may not know.
    Lying,
    /// The same of pages of the log: what has others behind it the node can tell.
    Rotten,
}

#[derive(Clone, Copy, Debug)]
struct Bad {
    harm: Harm,
    since: Instant,
    /// The life of the directory that was harmed.
    life: Option<Incarnation>,
    /// The same life may be whole again, since all of it is consistently older.
    may_recover: bool,
}

/// Who is harmed, and who is away.
#[derive(Debug, Default)]
pub struct Budget {
    bad: BTreeMap<NodeId, Bad>,
    away: BTreeSet<NodeId>,
    /// Nodes that the writer did not count as whole when it was last asked.
    incomplete: BTreeSet<NodeId>,
    /// Those of them that left before they were whole.
    unfinished: BTreeSet<NodeId>,
    /// Nodes that are being replaced: a crash in the middle of an exchange may cost the copy.
    replaced: BTreeSet<NodeId>,
}

impl Budget {
    /// Asks the writer who is whole by now. Without an open writer, which was not paused just now
    /// and knows of everything, nobody is whole again.
    pub fn refresh(&mut self, cluster: &Cluster, writer: Option<WriterId>) {
        let process = writer.and_then(|id| cluster.writer(id));
        let Some(process) = process.filter(|process| process.writer.is_open()) else {
            return;
        };
        let now = cluster.now();
        if process
            .goes_for(now)
            .is_none_or(|time| time <= NOTICED_AFTER)
        {
            return;
        }
        self.replaced.retain(|node| cluster.is_replaced(*node));
        let states = process.writer.figures().nodes;
        for (index, (state, _)) in states.iter().enumerate() {
            let node = NodeId(index as u16);
            if *state == NodeState::Drained {
                self.forget(node);
                continue;
            }
            if !state.is_whole() {
                self.incomplete.insert(node);
                continue;
            }
            self.incomplete.remove(&node);
            self.unfinished.remove(&node);
            let is_whole = |bad: &Bad| {
                now.since(bad.since) > NOTICED_AFTER
                    && (bad.may_recover || life_of(cluster, node) != bad.life)
            };
            let connected = cluster.network.connection(process.id, node).is_some();
            if connected && self.bad.get(&node).is_some_and(is_whole) {
                self.bad.remove(&node);
            }
        }
    }

    /// Nothing is on the node any more.
    fn forget(&mut self, node: NodeId) {
        self.bad.remove(&node);
        for nodes in [
            &mut self.away,
            &mut self.incomplete,
            &mut self.unfinished,
            &mut self.replaced,
        ] {
            nodes.remove(&node);
        }
    }

    fn destroyed(&self) -> BTreeSet<NodeId> {
        let bad = self.bad.keys().copied();
        let incomplete = self.incomplete.difference(&self.away).copied();
        let unfinished = self.unfinished.iter().copied();
        let replaced = self.replaced.iter().copied();
        let gone = bad.chain(incomplete).chain(unfinished);
        gone.chain(replaced).collect()
    }

    fn impaired(&self) -> BTreeSet<NodeId> {
        self.destroyed().union(&self.away).copied().collect()
    }

    /// Whether somebody's disk lies.
    pub fn has_liar(&self) -> bool {
        self.bad.values().any(|bad| bad.harm != Harm::Destroyed)
    }

    /// Whether these nodes may be harmed now.
    pub fn allows_harm(&self, nodes: &[NodeId], harm: Harm) -> bool {
        let mut destroyed = self.destroyed();
        let mut impaired = self.impaired();
        destroyed.extend(nodes);
        impaired.extend(nodes);
        let others_lie = self.has_liar() && !nodes.iter().all(|node| self.bad.contains_key(node));
        match harm {
            Harm::Lying | Harm::Rotten => destroyed.len() <= 1 && impaired.len() <= 2,
            Harm::Destroyed => {
                !others_lie && destroyed.len() <= MOST_DESTROYED && impaired.len() <= MOST_IMPAIRED
            }
        }
    }

    /// Whether these nodes may be away for a while.
    pub fn allows_absence(&self, nodes: &[NodeId]) -> bool {
        let mut impaired = self.impaired();
        impaired.extend(nodes);
        let most = if self.has_liar() { 2 } else { MOST_IMPAIRED };
        impaired.len() <= most
    }

    /// A node is harmed. `may_recover`: the same directory can be whole again.
    pub fn harm(&mut self, cluster: &mut Cluster, node: NodeId, harm: Harm, may_recover: bool) {
        let life = life_of(cluster, node);
        let since = cluster.now();
        if harm != Harm::Destroyed {
            cluster.laws.excuse(node, life, harm == Harm::Rotten);
        }
        self.bad.insert(
            node,
            Bad {
                harm,
                since,
                life,
                may_recover,
            },
        );
    }

    /// A node is being replaced.
    pub fn is_replaced(&mut self, node: NodeId) {
        self.replaced.insert(node);
        // Its new directory counts for nothing until the writer says so.
        self.incomplete.insert(node);
    }

    /// A node is away.
    pub fn leaves(&mut self, node: NodeId) {
        if self.away.insert(node) && self.incomplete.contains(&node) {
            self.unfinished.insert(node);
        }
    }

    /// It is back, though it may lack something.
    pub fn returns(&mut self, node: NodeId) {
        self.away.remove(&node);
        self.incomplete.insert(node);
    }

    /// What was to harm a node did not happen.
    pub fn spared(&mut self, node: NodeId) {
        self.bad.remove(&node);
    }

    /// Whether a node is away.
    pub fn is_away(&self, node: NodeId) -> bool {
        self.away.contains(&node)
    }

    /// Whether a node is harmed.
    pub fn is_bad(&self, node: NodeId) -> bool {
        self.bad.contains_key(&node)
    }
}

/// The life of a node's directory.
fn life_of(cluster: &Cluster, node: NodeId) -> Option<Incarnation> {
    let host = &cluster.hosts[node.index()];
    let disk = host.disk.as_ref()?;
    Some(disk.superblock()?.incarnation)
}
