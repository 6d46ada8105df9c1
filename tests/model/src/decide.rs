//! Steps 2 to 4 of a recovery: who counts, what is durable, what is annulled
//! (`volume/src/writer/recovery.rs`).

use crate::config::{BrokenRule, Config};
use crate::state::{
    GROUPS, Lsn, LsnSet, MEMBERS, NODES, Nodes, READ_QUORUM, REPLACED, Records, SUCCESSOR, State,
    TERMS, config_version, epoch, epoch_number, first_version, has, has_lsn, lsns, names_successor,
    with_version,
};

/// What a recovery decides.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// Its epoch.
    pub epoch: u8,
    /// Terms open on three nodes that it goes on from.
    pub seen: u8,
    /// Nodes whose reports count.
    pub usable: Nodes,
    /// The newest configuration.
    pub config: u8,
    /// Nodes that are asked: of the replaced node and its successor that one which is named.
    pub opened: Nodes,
    /// Whether the replaced node stays away.
    pub keeps_out: bool,
    /// Highest announced VDL.
    pub announced: Lsn,
    /// The VDL.
    pub vdl: Lsn,
    /// Last LSN of the new range.
    pub top: Lsn,
    /// The new list.
    pub list: LsnSet,
    /// Each group's last record at or below the VDL,
    pub anchors: [Lsn; GROUPS],
    /// and at or below the announced VDL.
    pub bases: [Lsn; GROUPS],
    /// Records at or below the VDL that were found.
    pub kept: Records,
}

impl State {
    /// What a recovery of `term` decides when the nodes of `asked` promise; nothing, when they
    /// refuse or prove too little.
    pub fn decide(&self, config: &Config, term: usize, asked: Nodes) -> Option<Decision> {
        let config_of = |node: usize| self.nodes[node].config;
        let newest = (0..NODES)
            .filter(|node| has(asked, *node))
            .map(config_of)
            .max_by_key(|c| config_version(*c))?;
        let keeps_out = self.keeps_out(config, asked, newest);
        let asked = self.opened(asked, newest, keeps_out);
        let asked_nodes = || (0..NODES).filter(move |node| has(asked, *node));
        let promised = asked_nodes()
            .map(|node| epoch_number(self.nodes[node].promised))
            .max()?;
        let writer = if config.breaks(BrokenRule::EpochsNotUnique) {
            0
        } else {
            term as u8
        };
        let epoch = epoch(promised + 1, writer);
        let holder = asked_nodes().max_by_key(|node| self.list_epoch(*node))?;
        let mut held = self.list_of(holder);
        if config.breaks(BrokenRule::RangesUnited) {
            held = asked_nodes().fold(held, |set, node| set | self.list_of(node));
        }
        let usable = self.usable(config, asked, newest, held);
        if !self.proves_absence(config, usable) {
            return None;
        }
        let usable_nodes = || (0..NODES).filter(move |node| has(usable, *node));
        let announced = usable_nodes()
            .map(|node| self.nodes[node].announced)
            .max()?;
        let tails = usable_nodes().fold(0, |set, node| set | self.nodes[node].tail);
        let found = usable_nodes().fold(tails, |set, node| set | self.nodes[node].index);
        let vdl = self.durable_point(announced, held, tails);
        let kept = self.select(found, |r| r.lsn <= vdl && !has_lsn(held, r.lsn));
        let held_top = if config.breaks(BrokenRule::TopForgotten) {
            0
        } else {
            top_of(held)
        };
        let top = vdl.max(held_top) + config.limit;
        let everybody = usable.count_ones() as usize == MEMBERS;
        let low = usable_nodes()
            .map(|node| self.nodes[node].replay_low)
            .min()?;
        let still_needed = if everybody {
            drop_below(held, low)
        } else {
            held
        };
        Some(Decision {
            epoch,
            seen: self.seen(usable, usize::from(self.nodes[holder].list)),
            usable,
            config: with_version(newest, config_version(newest).max(first_version(epoch))),
            opened: asked,
            keeps_out,
            announced,
            vdl,
            top,
            list: still_needed | lsns(vdl + 1, top),
            anchors: self.anchors(usable, held, vdl),
            bases: self.anchors(usable, held, announced),
            kept,
        })
    }

    /// Whether the replaced node must stay away: a configuration that was not found may name its
    /// successor, which was not found either.
    fn keeps_out(&self, config: &Config, asked: Nodes, newest: u8) -> bool {
        config.replaces
            && !config.breaks(BrokenRule::SuccessorUnknown)
            && !names_successor(newest)
            && !has(asked, SUCCESSOR)
            && !self.seated
            && self.nodes[SUCCESSOR].replaced
    }

    /// The nodes that are opened of those that are found: one of the replaced node and its successor.
    fn opened(&self, found: Nodes, newest: u8, keeps_out: bool) -> Nodes {
        let seats = self.seated || names_successor(newest) && has(found, SUCCESSOR);
        let replaced_is_out = Nodes::from(seats || keeps_out) << REPLACED;
        let successor_is_out = Nodes::from(!seats) << SUCCESSOR;
        found & !(replaced_is_out | successor_is_out)
    }

    /// Terms open on three nodes that a recovery must go on from: one of the three takes part, and
    /// the newest list is not of a line that went on without them.
    fn seen(&self, usable: Nodes, newest_list: usize) -> u8 {
        let served = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(node, _)| has(usable, *node));
        let served = served.fold(0, |set, (_, node)| set | node.served);
        let newest = &self.terms[newest_list];
        let goes_on = |term: &usize| {
            has(served, *term)
                && (newest.epoch <= self.terms[*term].epoch || has(newest.seen, *term))
        };
        (0..TERMS)
            .filter(goes_on)
            .fold(0, |set, term| set | 1 << term)
    }

    /// Nodes whose directory is the admitted one, not fresh, and of the line that the newest list
    /// goes on with.
    fn usable(&self, config: &Config, asked: Nodes, newest: u8, held: LsnSet) -> Nodes {
        let counts = |node: &usize| {
            if !has(asked, *node) {
                return false;
            }
            if config.breaks(BrokenRule::EmptiedNodeCounts) && self.nodes[*node].fresh {
                return true;
            }
            self.is_admitted(*node, newest)
                && !self.nodes[*node].fresh
                && (config.breaks(BrokenRule::AbandonedLineCounts)
                    || !self.is_abandoned(*node, held))
        };
        (0..NODES)
            .filter(counts)
            .fold(0, |set, node| set | 1 << node)
    }

    /// Whether the node has taken in what the list annuls: it was opened on three nodes, without
    /// those that the volume went on with.
    pub fn is_abandoned(&self, node: usize, list: LsnSet) -> bool {
        let applied = self.nodes[node].applied;
        applied.into_iter().any(|lsn| lsn > 0 && has_lsn(list, lsn))
    }

    /// Whether three members of every group can say what is not there.
    fn proves_absence(&self, config: &Config, usable: Nodes) -> bool {
        (0..GROUPS).all(|group| {
            let can_vote = |node: &usize| {
                let state = &self.nodes[*node];
                has(usable, *node)
                    && (state.complete[group]
                        || (state.damaged && config.breaks(BrokenRule::DamagedNodeVotes)))
            };
            (0..NODES).filter(can_vote).count() >= READ_QUORUM
        })
    }

    fn durable_point(&self, announced: Lsn, held: LsnSet, tails: Records) -> Lsn {
        let (mut vcl, mut vdl) = (announced, announced);
        loop {
            let next = vcl + 1;
            if has_lsn(held, next) {
                vcl = next;
                vdl = next;
                continue;
            }
            let mut places = self.record_places().filter(|place| has(tails, *place));
            let Some(place) = places.find(|place| self.records[*place].lsn == next) else {
                return vdl;
            };
            vcl = next;
            if self.records[place].is_consistency_point {
                vdl = next;
            }
        }
    }

    /// Each group's last record at or below `upto`, as far as reports show it.
    fn anchors(&self, usable: Nodes, held: LsnSet, upto: Lsn) -> [Lsn; GROUPS] {
        let mut anchors = [0; GROUPS];
        for node in (0..NODES).filter(|node| has(usable, *node)) {
            let state = &self.nodes[node];
            for (group, anchor) in anchors.iter_mut().enumerate() {
                let tail = self.record_places().filter(|place| has(state.tail, *place));
                let tail = tail.map(|place| self.records[place]);
                let of_group = tail
                    .filter(|r| usize::from(r.group) == group)
                    .map(|r| r.lsn);
                let counts = |lsn: &Lsn| *lsn <= upto && !has_lsn(held, *lsn);
                let highest = of_group.chain([state.applied[group]]).filter(counts).max();
                *anchor = highest.unwrap_or(0).max(*anchor);
            }
        }
        anchors
    }
}

fn top_of(list: LsnSet) -> Lsn {
    list.checked_ilog2().map_or(0, |top| top as Lsn)
}

/// The list without the ranges that end below `low`.
fn drop_below(list: LsnSet, low: Lsn) -> LsnSet {
    let mut kept = list;
    let mut range = 0;
    for lsn in 0..LsnSet::BITS as Lsn {
        if has_lsn(list, lsn) {
            range |= 1 << lsn;
        } else {
            if lsn <= low {
                kept &= !range;
            }
            range = 0;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_below_the_lowest_record_to_be_met_are_dropped_whole() {
        let list = lsns(2, 4) | lsns(7, 9);
        assert_eq!(drop_below(list, 5), lsns(7, 9));
        assert_eq!(drop_below(list, 4), list, "LSN 4 may be met");
        assert_eq!(drop_below(list, 20), 0);
    }

    #[test]
    fn the_top_is_the_last_lsn_of_any_range() {
        assert_eq!(top_of(0), 0);
        assert_eq!(top_of(lsns(2, 4) | lsns(7, 9)), 9);
    }
}
