//! A term's side: what acknowledgements prove, and when something may be done
//! (as `volume/src/writer` does it).

use crate::config::{BrokenRule, Config};
use crate::state::{
    GROUPS, Lsn, MEMBERS, NO_SCL, NODES, Nodes, Phase, READ_QUORUM, State, View, WRITE_QUORUM, has,
};

impl State {
    /// The node tells the term's writer its SCLs.
    pub fn acknowledge(&mut self, config: &Config, term: usize, node: usize) {
        for group in 0..GROUPS {
            let view = self.nodes[node].views[term];
            if !self.nodes[node].complete[group] || view.filling[group] {
                continue;
            }
            let before = if view.scls[group] == NO_SCL {
                0
            } else {
                view.scls[group]
            };
            let proved = before.max(self.scl(node, group));
            self.nodes[node].views[term].scls[group] = proved;
        }
        self.advance(config, term);
    }

    /// Moves each group's PGCL, and the VDL.
    pub fn advance(&mut self, config: &Config, term: usize) {
        for group in 0..GROUPS {
            let mut scls = self.counted(config, term, group);
            scls.sort_unstable();
            let quorum = if config.breaks(BrokenRule::AckAtThree) {
                READ_QUORUM
            } else {
                WRITE_QUORUM
            };
            let pgcl = &mut self.terms[term].pgcl[group];
            *pgcl = scls[MEMBERS - quorum].max(*pgcl);
        }
        if self.terms[term].phase == Phase::Open {
            self.terms[term].vdl = self.durable_by(config, term);
        }
    }

    fn durable_by(&self, config: &Config, term: usize) -> Lsn {
        let own = self.own(term);
        let lowest = self.terms[term].pgcl.into_iter().min().unwrap_or(0);
        let mut vdl = self.terms[term].vdl;
        for place in self.record_places().filter(|place| has(own, *place)) {
            let record = self.records[place];
            let durable = if config.breaks(BrokenRule::LowestPgcl) {
                record.lsn <= lowest
            } else {
                self.is_durable(config, term, place)
            };
            if durable && record.is_consistency_point {
                vdl = vdl.max(record.lsn);
            }
            if !durable && !config.breaks(BrokenRule::OwnGroupPgcl) {
                break;
            }
        }
        vdl
    }

    /// Whether four SCLs cover the record.
    pub fn is_durable(&self, config: &Config, term: usize, place: usize) -> bool {
        let record = self.records[place];
        if config.breaks(BrokenRule::AckPerRecord) {
            let holds = |node: &&crate::state::Node| {
                node.views[term].listed && has(node.tail | node.index, place)
            };
            return self.nodes.iter().filter(holds).count() >= WRITE_QUORUM;
        }
        record.lsn <= self.terms[term].pgcl[usize::from(record.group)]
    }

    /// Whether the segment can serve reads at the VDL, as far as the writer knows.
    pub fn is_current(&self, term: usize, node: usize, group: usize) -> bool {
        self.nodes[node].views[term].covers(group, self.tip(term, group))
    }

    /// Whether the term knows the group.
    pub fn exists(&self, term: usize, group: usize) -> bool {
        self.terms[term].last[group] > 0
    }

    /// Whether writes can become durable: four members of every group take frames and count.
    pub fn can_write(&self, term: usize) -> bool {
        let count = |accept: &dyn Fn(&View) -> bool| {
            let able = |node: usize| {
                let view = &self.nodes[node].views[term];
                view.listed && accept(view)
            };
            self.count_places(term, able)
        };
        let groups = (0..GROUPS).filter(|group| self.exists(term, *group));
        count(&|_| true) >= WRITE_QUORUM
            && groups
                .into_iter()
                .all(|group| count(&|view| view.covers(group, 0)) >= WRITE_QUORUM)
    }

    /// Nodes that hold the recovery's list.
    pub fn listed(&self, term: usize) -> Nodes {
        let listed = (0..NODES).filter(|node| self.nodes[*node].views[term].listed);
        listed.fold(0, |set, node| set | 1 << node)
    }

    /// Whether enough of these nodes' segments cover the tail in every group.
    pub fn is_settled(&self, config: &Config, term: usize, listed: Nodes) -> bool {
        if config.breaks(BrokenRule::ServedBeforeSettled) {
            return true;
        }
        let quorum = if config.breaks(BrokenRule::SettledOnThree) {
            READ_QUORUM
        } else {
            WRITE_QUORUM
        };
        let needed = quorum.min(listed.count_ones() as usize);
        let anchored = (0..GROUPS).filter(|group| self.terms[term].anchors[*group] > 0);
        anchored
            .into_iter()
            .all(|group| self.covering(config, term, group, listed) >= needed)
    }

    /// How many of these nodes' segments cover the group's anchor.
    pub fn covering(&self, config: &Config, term: usize, group: usize, listed: Nodes) -> usize {
        let anchor = match config.breaks(BrokenRule::SclWithoutAnchor) {
            true => 0,
            false => self.terms[term].anchors[group],
        };
        let covers = |node: &usize| {
            has(listed, *node) && self.nodes[*node].views[term].covers(group, anchor)
        };
        (0..NODES).filter(covers).count()
    }

    /// Whether a peer's tail leads from what the segment has up to the group's anchor.
    pub fn has_tail_source(&self, config: &Config, term: usize, node: usize, group: usize) -> bool {
        (0..NODES).any(|source| self.gives_tail(config, term, node, group, source))
    }

    /// Whether this peer's does.
    pub fn gives_tail(
        &self,
        config: &Config,
        term: usize,
        node: usize,
        group: usize,
        source: usize,
    ) -> bool {
        let view = &self.nodes[node].views[term];
        let anchor = self.terms[term].anchors[group];
        let from = view.scls[group];
        let may_give = config.breaks(BrokenRule::CopyFromOtherList)
            || (self.nodes[source].views[term].listed && self.obeys(source, term));
        source != node
            && may_give
            && view.listed
            && self.obeys(node, term)
            && from != NO_SCL
            && from < anchor
            && !view.filling[group]
            && self
                .chain(self.tail_to_give(config, term, source), group, from, anchor)
                .is_some()
    }

    /// The records that a peer reported, and still has in its tail.
    fn tail_to_give(&self, config: &Config, term: usize, source: usize) -> u8 {
        let tail = self.nodes[source].tail;
        match config.breaks(BrokenRule::CopyFromOtherList) {
            true => tail,
            false => tail & self.nodes[source].views[term].reported_tail,
        }
    }

    /// Whether this peer can give all blocks that the segment is being filled with.
    pub fn gives_blocks(
        &self,
        config: &Config,
        term: usize,
        node: usize,
        group: usize,
        source: usize,
    ) -> bool {
        let base = self.nodes[node].kept_applied[group];
        let peer = &self.nodes[source];
        if source == node || !peer.complete[group] || peer.applied[group] < base {
            return false;
        }
        let view = &peer.views[term];
        let obeys = has(self.members(term), source)
            && view.listed
            && view.covers(group, base)
            && self.obeys(source, term);
        obeys || config.breaks(BrokenRule::CopyFromOtherList)
    }

    /// Whether a segment that lags may be filled while the volume is open.
    pub fn may_fill(&self, config: &Config, term: usize, node: usize, group: usize) -> bool {
        let view = &self.nodes[node].views[term];
        let mut others = self.complete_others(term, node, group);
        view.listed
            && !view.filling[group]
            && self.exists(term, group)
            && !self.is_current(term, node, group)
            && self.may_stop_voting(config, term, node, group)
            && others.clone().count() >= READ_QUORUM
            && others.any(|other| self.is_current(term, other, group))
    }

    /// Whether a recovery may fill a segment that no tail leads up to the anchor: three others can
    /// vote meanwhile, or two and one that is away.
    pub fn may_fill_for_quorum(
        &self,
        config: &Config,
        term: usize,
        node: usize,
        group: usize,
    ) -> bool {
        let others = self.complete_others(term, node, group).count();
        let three_are_left = self.listed(term).count_ones() as usize == READ_QUORUM;
        let view = &self.nodes[node].views[term];
        let is_behind = view.scls[group] < self.terms[term].bases[group];
        let may_miss_one = others >= READ_QUORUM - usize::from(three_are_left);
        view.scls[group] == NO_SCL
            || is_behind && may_miss_one && self.may_stop_voting(config, term, node, group)
    }

    /// The other nodes that hold the list and whose segment is complete.
    fn complete_others(
        &self,
        term: usize,
        node: usize,
        group: usize,
    ) -> impl Iterator<Item = usize> + Clone {
        let listed = self.listed(term) & self.members(term);
        let complete = move |other: &usize| {
            let scl = self.nodes[*other].views[term].scls[group];
            *other != node && has(listed, *other) && scl != NO_SCL
        };
        (0..NODES).filter(complete)
    }

    /// Of a group one segment at a time is made incomplete to be filled; one that cannot vote anyway
    /// may always be.
    fn may_stop_voting(&self, config: &Config, term: usize, node: usize, group: usize) -> bool {
        let listed = self.listed(term) & self.members(term) & !(1 << node);
        let others = listed.count_ones() as usize;
        self.nodes[node].views[term].scls[group] == NO_SCL
            || self.complete_others(term, node, group).count() == others
            || config.breaks(BrokenRule::TwoFilledAtOnce)
    }

    /// Whether enough members hold the changed configuration: four, or all three that are left.
    pub fn is_configured(&self, config: &Config, term: usize) -> bool {
        let view = |node: usize| &self.nodes[node].views[term];
        let taking = self.count_places(term, |node| view(node).listed);
        let holding = self.count_places(term, |node| view(node).configured);
        if self.terms[term].joint {
            return holding >= WRITE_QUORUM;
        }
        if config.breaks(BrokenRule::AdmittedByTwo) {
            return holding >= 2;
        }
        holding >= WRITE_QUORUM || (holding == taking && holding >= READ_QUORUM)
    }
}
