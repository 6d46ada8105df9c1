//! What a step does.

use crate::action::Action;
use crate::config::{BrokenRule, Config};
use crate::state::{
    GROUPS, NO_SCL, NODES, Node, Nodes, Phase, Record, SUCCESSOR, State, Term, View, admits,
    config_version, first_version, has, has_lsn, with_version,
};

impl State {
    /// The state after a step, and what the step itself violates.
    pub fn after(&self, config: &Config, action: Action) -> (State, Option<&'static str>) {
        let mut next = *self;
        let violation = next.take(config, action);
        (next, violation)
    }

    fn take(&mut self, config: &Config, action: Action) -> Option<&'static str> {
        let at = usize::from;
        match action {
            Action::Takeover(asked) => self.take_over(config, asked),
            Action::HoldList(term, node) => self.hold_list(config, at(term), at(node)),
            Action::CopyTail(term, node, group, source) => {
                self.copy_tail(config, at(term), at(node), at(group), at(source));
            }
            Action::BeginFillForQuorum(term, node, group) => {
                self.begin_fill_for_quorum(at(term), at(node), at(group));
            }
            Action::Serve(term) => self.serve(config, at(term), self.listed(at(term))),
            Action::ServeOnThree(term, three) => self.serve_on_three(config, at(term), three),
            Action::Append(term, group, ends) => return self.append(at(term), group, ends),
            Action::Deliver(term, node, place) => {
                self.deliver(config, at(term), at(node), at(place));
            }
            Action::Gossip(node, group, source) => {
                self.take_from_peer(config, at(node), at(group), at(source));
            }
            Action::Announce(term, node) => self.announce(at(node), self.terms[at(term)].vdl),
            Action::Crash(_) | Action::PowerCut | Action::BadFrame(..) | Action::Checkpoint(_) => {
                self.fail(action);
            }
            Action::Empty(node) => self.empty(at(node)),
            Action::Admit(term, node) => self.admit(config, at(term), at(node)),
            Action::Configure(term, node) => self.configure(at(term), at(node)),
            Action::Admitted(term) => self.admitted(config, at(term)),
            Action::CountBoth(term) => self.count_both(at(term)),
            Action::CountOne(term) => self.count_one(config, at(term)),
            Action::NameSuccessor(term) => self.change_to(at(term), SUCCESSOR),
            Action::BeginFill(term, node, group) => self.begin_fill(at(term), at(node), at(group)),
            Action::Fill(term, node, group, source) => {
                self.filled(config, at(term), at(node), at(group), at(source));
            }
        }
        None
    }

    fn take_over(&mut self, config: &Config, asked: Nodes) {
        let unused = |term: &usize| self.terms[*term].phase == Phase::Unused;
        let Some(term) = (0..usize::from(config.terms)).find(unused) else {
            return;
        };
        let Some(decision) = self.decide(config, term, asked) else {
            return;
        };
        self.look_for_successor(decision.config, asked);
        for node in (0..NODES).filter(|node| has(decision.opened, *node)) {
            if !config.breaks(BrokenRule::PromiseAfterScan) {
                self.nodes[node].promised = decision.epoch;
            }
            if has(decision.usable, node) {
                let tail = self.nodes[node].tail;
                let view = &mut self.nodes[node].views[term];
                (view.reported, view.reported_tail) = (true, tail);
            }
        }
        self.terms[term] = Term {
            phase: Phase::Recovering,
            epoch: decision.epoch,
            reports: decision.usable.count_ones() as u8,
            seen: decision.seen,
            list: decision.list,
            vdl: decision.vdl,
            top: decision.top,
            next: decision.top + 1,
            anchors: decision.anchors,
            bases: decision.bases,
            announced: decision.announced,
            last: decision.anchors,
            pgcl: decision.anchors,
            kept: decision.kept,
            config: decision.config,
            keeps_out: decision.keeps_out,
            ..Term::default()
        };
    }

    fn hold_list(&mut self, config: &Config, term: usize, node: usize) {
        let view = self.terms[term];
        let state = &mut self.nodes[node];
        state.promised = view.epoch;
        state.list = term as u8;
        state.config = view.config;
        state.views[term].listed = true;
        self.annul(node);
        if self.nodes[node].fresh {
            self.mark_fresh(term, node);
        }
        if view.phase == Phase::Recovering && config.breaks(BrokenRule::ServedBeforeSettled) {
            self.announce(node, view.top);
        }
        self.acknowledge(config, term, node);
    }

    /// A directory without data marks every group before it counts for any.
    fn mark_fresh(&mut self, term: usize, node: usize) {
        for group in 0..GROUPS {
            if self.exists(term, group) {
                self.begin_catch_up(node, group, self.tip(term, group));
                self.nodes[node].views[term].filling[group] = true;
            }
        }
        self.nodes[node].fresh = false;
    }

    fn copy_tail(
        &mut self,
        config: &Config,
        term: usize,
        node: usize,
        group: usize,
        source: usize,
    ) {
        let from = self.nodes[node].views[term].scls[group];
        let anchor = self.terms[term].anchors[group];
        let chain = self
            .chain(self.nodes[source].tail, group, from, anchor)
            .unwrap_or(0);
        for place in self.record_places().filter(|place| has(chain, *place)) {
            self.take_in(config, node, place, 0);
        }
        self.acknowledge(config, term, node);
    }

    fn begin_fill_for_quorum(&mut self, term: usize, node: usize, group: usize) {
        let view = self.terms[term];
        let listed = self.listed(term);
        for other in 0..NODES {
            if has(listed, other) && self.obeys(other, term) {
                self.announce(other, view.announced);
            }
        }
        self.start_filling(term, node, group, view.bases[group]);
    }

    fn start_filling(&mut self, term: usize, node: usize, group: usize, base: u8) {
        let view = &mut self.nodes[node].views[term];
        view.scls[group] = NO_SCL;
        if self.obeys(node, term) {
            self.nodes[node].views[term].filling[group] = true;
            self.begin_catch_up(node, group, base);
        }
    }

    fn begin_fill(&mut self, term: usize, node: usize, group: usize) {
        self.start_filling(term, node, group, self.tip(term, group));
    }

    fn filled(&mut self, config: &Config, term: usize, node: usize, group: usize, source: usize) {
        self.fill(node, group, source);
        self.nodes[node].views[term].filling[group] = false;
        self.acknowledge(config, term, node);
    }

    fn serve(&mut self, config: &Config, term: usize, serving: Nodes) {
        for node in (0..NODES).filter(|node| !has(serving, *node)) {
            self.nodes[node].views[term] = View::NONE;
        }
        self.terms[term].phase = Phase::Open;
        self.terms[term].vdl = self.terms[term].top;
        self.advance(config, term);
    }

    fn serve_on_three(&mut self, config: &Config, term: usize, three: Nodes) {
        self.terms[term].on_three = true;
        for node in (0..NODES).filter(|node| has(three, *node)) {
            self.nodes[node].served |= 1 << term;
        }
        self.serve(config, term, three);
    }

    fn append(&mut self, term: usize, group: u8, ends: bool) -> Option<&'static str> {
        let view = self.terms[term];
        let lsn = view.next;
        let place = self.record_places().count();
        let given_out = self.records.iter().any(|record| record.lsn == lsn);
        self.records[place] = Record {
            lsn,
            group,
            is_consistency_point: ends,
            previous: view.last[usize::from(group)],
            term: term as u8,
            announces: view.vdl,
        };
        if !self.exists(term, usize::from(group)) {
            // A new group is complete everywhere, having nothing.
            self.nodes
                .iter_mut()
                .for_each(|node| node.views[term].scls[usize::from(group)] = 0);
        }
        let view = &mut self.terms[term];
        view.next += 1;
        view.last[usize::from(group)] = lsn;
        view.on_three = false;
        if has_lsn(self.terms[term].list, lsn) {
            return Some("an LSN was given out that its writer's own list annuls");
        }
        given_out.then_some("an LSN was given out twice")
    }

    fn deliver(&mut self, config: &Config, term: usize, node: usize, place: usize) {
        let mut announces = self.records[place].announces;
        let missing = self.undelivered(term, node);
        if self
            .record_places()
            .any(|earlier| earlier < place && has(missing, earlier))
        {
            self.gaps += 1;
            announces = announces.max(self.durable_before(term, place));
        }
        self.take_in(config, node, place, announces);
        self.acknowledge(config, term, node);
    }

    /// The VDL when all records of the term before this one are durable.
    fn durable_before(&self, term: usize, place: usize) -> u8 {
        let lsn = self.records[place].lsn;
        let own = self.own(term);
        let ends = self.select(own, |record| {
            record.is_consistency_point && record.lsn < lsn
        });
        let ends = self.record_places().filter(|place| has(ends, *place));
        let last = ends.map(|place| self.records[place].lsn).max();
        last.unwrap_or(0).min(self.terms[term].vdl)
    }

    fn fail(&mut self, action: Action) {
        match action {
            Action::Crash(node) => {
                self.crashes += 1;
                self.restart(usize::from(node));
            }
            Action::PowerCut => {
                self.crashes += 1;
                (0..NODES).for_each(|node| self.restart(node));
            }
            Action::BadFrame(node, place) => {
                self.bad_frames += 1;
                let node = usize::from(node);
                self.nodes[node].log &= !(1 << place);
                self.nodes[node].damaged = true;
                self.restart(node);
            }
            Action::Checkpoint(node) => {
                self.checkpoints += 1;
                self.checkpoint(usize::from(node));
            }
            _ => {}
        }
    }

    /// The directory is made anew, with a configuration of its neighbours; no writer has noticed.
    fn empty(&mut self, node: usize) {
        let views = self.nodes[node].views;
        let config = self.nodes[0].config;
        self.nodes[node] = Node {
            fresh: true,
            replaced: true,
            config,
            views,
            ..Node::EMPTY
        };
    }

    fn admit(&mut self, config: &Config, term: usize, node: usize) {
        self.change_to(term, node);
        self.nodes[node].promised = self.terms[term].epoch;
        let old = self.nodes[node].views[term].scls;
        self.nodes[node].views[term] = View::NONE;
        if config.breaks(BrokenRule::OldAcksKept) {
            self.nodes[node].views[term].scls = old;
        }
    }

    /// The writer begins to change to a configuration that admits a new directory.
    fn change_to(&mut self, term: usize, node: usize) {
        let view = &mut self.terms[term];
        let version = (config_version(view.config) + 1).max(first_version(view.epoch));
        view.changing = with_version(view.config, version) | admits(node);
        self.nodes
            .iter_mut()
            .for_each(|node| node.views[term].configured = false);
    }

    fn configure(&mut self, term: usize, node: usize) {
        let changing = self.terms[term].changing;
        let state = &mut self.nodes[node];
        if config_version(changing) > config_version(state.config) {
            state.config = changing;
        }
        state.views[term].configured = true;
    }

    fn admitted(&mut self, config: &Config, term: usize) {
        self.terms[term].config = self.terms[term].changing;
        self.terms[term].changing = 0;
        self.nodes
            .iter_mut()
            .for_each(|node| node.views[term].configured = false);
        if self.terms[term].joint {
            self.seat_successor(config, term);
        }
    }
}
