//! Another directory takes a node's place (`volume/src/writer/replacement.rs`).

use crate::action::Action;
use crate::config::{BrokenRule, Config};
use crate::state::{
    GROUPS, Lsn, MEMBERS, NO_SCL, NODES, Node, Nodes, REPLACED, SUCCESSOR, State, View, has,
    is_member, names_successor,
};

impl State {
    /// The six that hold the term's groups.
    pub fn members(&self, term: usize) -> Nodes {
        let config = self.terms[term].config;
        let members = (0..NODES).filter(|node| is_member(*node, config));
        members.fold(0, |set, node| set | 1 << node)
    }

    /// What the six places count for in a group: while a node is exchanged, for what both hold.
    pub fn counted(&self, config: &Config, term: usize, group: usize) -> [Lsn; MEMBERS] {
        let scl = |node: usize| match self.nodes[node].views[term].scls[group] {
            NO_SCL => 0,
            scl => scl,
        };
        std::array::from_fn(|place| {
            let (node, both) = self.holders(term, place);
            let successor = both.then(|| scl(SUCCESSOR));
            match successor {
                Some(successor) if config.breaks(BrokenRule::CountedInUnion) => {
                    scl(node).max(successor)
                }
                Some(successor) => scl(node).min(successor),
                None => scl(node),
            }
        })
    }

    /// How many of the six places count, while a node is exchanged those where both do.
    pub fn count_places(&self, term: usize, accept: impl Fn(usize) -> bool) -> usize {
        let counts = |place: &usize| {
            let (node, both) = self.holders(term, *place);
            accept(node) && (!both || accept(SUCCESSOR))
        };
        (0..MEMBERS).filter(counts).count()
    }

    /// The node that has the place, and whether its successor must hold everything, too.
    fn holders(&self, term: usize, place: usize) -> (usize, bool) {
        let view = &self.terms[term];
        match place {
            REPLACED if names_successor(view.config) => (SUCCESSOR, false),
            REPLACED => (REPLACED, view.joint),
            _ => (place, false),
        }
    }

    /// How a replacement may go on.
    pub(crate) fn replacing(&self, config: &Config, term: usize, options: &mut Vec<Action>) {
        let (t, view) = (term as u8, &self.terms[term]);
        if !config.replaces || names_successor(view.config) || view.changing > 0 {
            return;
        }
        if !view.joint {
            if self.successor_is_filled(term) && self.can_write_jointly(term) {
                options.push(Action::CountBoth(t));
            }
            return;
        }
        options.push(Action::CountOne(t));
        let is_ready = self.successor_is_filled(term) && self.can_write(term);
        if is_ready && (self.holds_all(term) || config.breaks(BrokenRule::NamedTooEarly)) {
            options.push(Action::NameSuccessor(t));
        }
    }

    /// Whether the node is the successor and may take frames: new, or with this term's list.
    pub(crate) fn may_succeed(&self, term: usize, node: usize) -> bool {
        let state = &self.nodes[node];
        let is_known = state.fresh || usize::from(state.list) == term && self.obeys(node, term);
        let is_wanted = !names_successor(self.terms[term].config);
        node == SUCCESSOR && state.replaced && is_known && is_wanted
    }

    fn successor_is_filled(&self, term: usize) -> bool {
        let view = &self.nodes[SUCCESSOR].views[term];
        let mut groups = (0..GROUPS).filter(|group| self.exists(term, *group));
        view.listed && groups.all(|group| view.covers(group, 0))
    }

    fn can_write_jointly(&self, term: usize) -> bool {
        let mut joint = *self;
        joint.terms[term].joint = true;
        joint.can_write(term)
    }

    /// Whether the successor holds what counted before both had to hold it.
    fn holds_all(&self, term: usize) -> bool {
        let (view, since) = (
            &self.nodes[SUCCESSOR].views[term],
            &self.terms[term].joint_since,
        );
        let mut groups = (0..GROUPS).filter(|group| self.exists(term, *group));
        groups.all(|group| view.covers(group, since[group]))
    }

    pub(crate) fn count_both(&mut self, term: usize) {
        let view = &mut self.terms[term];
        (view.joint, view.joint_since) = (true, view.pgcl);
    }

    pub(crate) fn count_one(&mut self, config: &Config, term: usize) {
        let view = &mut self.terms[term];
        (view.joint, view.joint_since) = (false, [0; GROUPS]);
        self.advance(config, term);
    }

    /// The configuration is durable: the successor's directory is opened again, as the node's.
    pub(crate) fn seat_successor(&mut self, config: &Config, term: usize) {
        self.seated = true;
        self.nodes[REPLACED].views[term] = View::NONE;
        self.restart(SUCCESSOR);
        self.count_one(config, term);
    }

    /// An open that finds the successor gives it the node's place, or makes another one where nobody
    /// names it: then this life never comes back.
    pub(crate) fn look_for_successor(&mut self, config: u8, found: Nodes) {
        if !has(found, SUCCESSOR) || self.seated {
            return;
        }
        match names_successor(config) {
            true => self.seated = true,
            false => self.nodes[SUCCESSOR] = Node::EMPTY,
        }
    }
}
