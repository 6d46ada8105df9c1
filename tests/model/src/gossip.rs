//! Nodes give each other records, without the writer (`volume/src/segment/gossip.rs`).

use crate::action::Action;
use crate::config::{BrokenRule, Config};
use crate::state::{GROUPS, NODES, State, has};

impl State {
    pub(crate) fn gossip(&self, config: &Config, options: &mut Vec<Action>) {
        if !config.gossips {
            return;
        }
        let nodes = (0..NODES).filter(|node| !self.is_twin(config, *node));
        for node in nodes {
            for group in 0..GROUPS {
                let give = |source| Action::Gossip(node as u8, group as u8, source as u8);
                let mut sources = (0..NODES)
                    .filter(|source| self.next_from(config, node, group, *source).is_some());
                options.extend(sources.next().map(give));
            }
        }
    }

    /// The record that the peer gives, if it has the next one.
    fn next_from(
        &self,
        config: &Config,
        node: usize,
        group: usize,
        source: usize,
    ) -> Option<usize> {
        let (taker, giver) = (&self.nodes[node], &self.nodes[source]);
        let same_list = taker.list == giver.list
            && self.holds_what_it_promised(node)
            && self.holds_what_it_promised(source);
        let may = same_list || config.breaks(BrokenRule::CopyFromOtherList);
        if node == source || !may || !taker.complete[group] || !giver.complete[group] {
            return None;
        }
        let has_taken_in = giver.log & (giver.tail | giver.index);
        let scl = self.scl(node, group);
        let (place, record) = self.next_in(has_taken_in, group, scl)?;
        (record.previous == scl && !has(taker.log, place)).then_some(place)
    }

    /// Whether what the node has is known to be the volume's, and is its own to give.
    fn holds_what_it_promised(&self, node: usize) -> bool {
        let state = &self.nodes[node];
        state.promised == self.list_epoch(node)
            && !state.fresh
            && self.is_admitted(node, state.config)
    }

    pub(crate) fn take_from_peer(
        &mut self,
        config: &Config,
        node: usize,
        group: usize,
        source: usize,
    ) {
        let term = usize::from(self.nodes[node].list);
        if let Some(place) = self.next_from(config, node, group, source) {
            self.take_in(config, node, place, 0);
        }
        if self.nodes[node].views[term].listed {
            self.acknowledge(config, term, node);
        }
    }
}
