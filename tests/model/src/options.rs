//! Which steps a state allows.

use crate::action::Action;
use crate::config::{BrokenRule, Config};
use crate::state::{
    GROUPS, NODES, Nodes, Phase, READ_QUORUM, RECORDS, REPLACED, Records, SUCCESSOR, State,
    WRITE_QUORUM, epoch_number, has, has_lsn,
};

impl State {
    /// All steps that this state allows, up to the exchange of nodes that are alike.
    pub fn options(&self, config: &Config) -> Vec<Action> {
        let mut options = Vec::with_capacity(32);
        self.takeovers(config, &mut options);
        for term in 0..usize::from(config.terms) {
            match self.terms[term].phase {
                Phase::Unused => {}
                Phase::Recovering => self.recovery_steps(config, term, &mut options),
                Phase::Open => self.writing_steps(config, term, &mut options),
            }
        }
        self.gossip(config, &mut options);
        self.faults(config, &mut options);
        options
    }

    /// Whether the node is like the one before it, so that only the first of them need act.
    pub fn is_twin(&self, config: &Config, node: usize) -> bool {
        node > 0 && node < config.alike() && self.nodes[node] == self.nodes[node - 1]
    }

    fn distinct_nodes(&self, config: &Config) -> impl Iterator<Item = usize> {
        (0..config.directories()).filter(|node| !self.is_twin(config, *node))
    }

    /// The sets of nodes that take of nodes that are alike the first ones.
    pub fn first_choices(&self, config: &Config) -> impl Iterator<Item = Nodes> + use<> {
        let twins = (0..NODES).filter(|node| self.is_twin(config, *node));
        let twins: Nodes = twins.fold(0, |set, node| set | 1 << node);
        (1..1 << config.directories()).filter(move |set| set & twins & !(set << 1) == 0)
    }

    fn takeovers(&self, config: &Config, options: &mut Vec<Action>) {
        let unused = |term: &usize| self.terms[*term].phase == Phase::Unused;
        let Some(term) = (0..usize::from(config.terms)).find(unused) else {
            return;
        };
        let [least, most] = config.asked;
        let asks = |set: &Nodes| (least..=most).contains(&(set.count_ones() as u8));
        let sets = self.first_choices(config).filter(asks);
        let able = sets.filter(|set| self.decide(config, term, *set).is_some());
        options.extend(able.map(Action::Takeover));
    }

    fn recovery_steps(&self, config: &Config, term: usize, options: &mut Vec<Action>) {
        let t = term as u8;
        for node in self.distinct_nodes(config) {
            let n = node as u8;
            if self.may_hold_list_in_recovery(config, term, node) {
                options.push(Action::HoldList(t, n));
            }
            for group in 0..GROUPS {
                let g = group as u8;
                let sources =
                    (0..NODES).filter(|source| self.gives_tail(config, term, node, group, *source));
                options.extend(
                    sources
                        .take(1)
                        .map(|source| Action::CopyTail(t, n, g, source as u8)),
                );
                if self.must_be_filled(config, term, node, group) {
                    options.push(Action::BeginFillForQuorum(t, n, g));
                }
            }
            self.filling(config, term, node, options);
        }
        self.endings(config, term, options);
    }

    fn may_hold_list_in_recovery(&self, config: &Config, term: usize, node: usize) -> bool {
        let (state, epoch) = (&self.nodes[node], self.terms[term].epoch);
        let view = &state.views[term];
        let late = config.breaks(BrokenRule::PromiseAfterScan) && state.promised < epoch;
        view.reported
            && !view.listed
            && (state.promised == epoch || late)
            && self.may_replace_list(config, term, node)
    }

    /// A node that has taken in what the list annuls does not go on with it.
    fn may_replace_list(&self, config: &Config, term: usize, node: usize) -> bool {
        config.breaks(BrokenRule::AbandonedLineCounts)
            || !self.is_abandoned(node, self.terms[term].list)
    }

    fn must_be_filled(&self, config: &Config, term: usize, node: usize, group: usize) -> bool {
        let anchor = self.terms[term].anchors[group];
        let listed = self.listed(term);
        let needed = WRITE_QUORUM.min(listed.count_ones() as usize);
        let view = &self.nodes[node].views[term];
        view.listed
            && needed >= READ_QUORUM
            && anchor > 0
            && !view.covers(group, anchor)
            && !view.filling[group]
            && self.covering(config, term, group, listed) < needed
            && !self.has_tail_source(config, term, node, group)
            && self.may_fill_for_quorum(config, term, node, group)
    }

    fn endings(&self, config: &Config, term: usize, options: &mut Vec<Action>) {
        let (t, listed) = (term as u8, self.listed(term));
        let quorum = if config.breaks(BrokenRule::ListOnThree) {
            READ_QUORUM
        } else {
            WRITE_QUORUM
        };
        if listed.count_ones() as usize >= quorum && self.is_settled(config, term, listed) {
            options.push(Action::Serve(t));
        }
        if config.read_only {
            let sets = self.first_choices(config);
            let sets = sets.filter(|set| set & !listed == 0 && set.count_ones() == 3);
            let settled = sets.filter(|set| self.is_settled(config, term, *set));
            options.extend(settled.map(|set| Action::ServeOnThree(t, set)));
        }
    }

    fn writing_steps(&self, config: &Config, term: usize, options: &mut Vec<Action>) {
        self.appends(config, term, options);
        let (t, vdl) = (term as u8, self.terms[term].vdl);
        for node in self.distinct_nodes(config) {
            let n = node as u8;
            if self.may_join(config, term, node) {
                options.push(Action::HoldList(t, n));
            }
            if self.may_be_admitted(term, node) {
                options.push(Action::Admit(t, n));
            }
            if !self.nodes[node].views[term].listed || !self.obeys(node, term) {
                continue;
            }
            self.deliveries(config, term, node, options);
            if self.nodes[node].announced < vdl && self.may_be_told(config, term, node) {
                options.push(Action::Announce(t, n));
            }
            let changing = self.terms[term].changing;
            if changing > 0 && !self.nodes[node].views[term].configured {
                options.push(Action::Configure(t, n));
            }
            if config.fills || config.may_be_emptied(node) || node == SUCCESSOR {
                let behind = (0..GROUPS).filter(|group| self.may_fill(config, term, node, *group));
                options.extend(behind.map(|group| Action::BeginFill(t, n, group as u8)));
            }
            self.filling(config, term, node, options);
        }
        if self.terms[term].changing > 0 && self.is_configured(config, term) {
            options.push(Action::Admitted(t));
        }
        self.replacing(config, term, options);
    }

    fn appends(&self, config: &Config, term: usize, options: &mut Vec<Action>) {
        let view = &self.terms[term];
        let written = self.own(term).count_ones() as u8;
        let most = config.records[usize::from(term > 0)];
        let within =
            view.next <= view.vdl + config.limit || config.breaks(BrokenRule::LimitIgnored);
        if written >= most
            || self.record_places().count() == RECORDS
            || !within
            || !self.can_write(term)
        {
            return;
        }
        let first = self.records[0].lsn == 0;
        for group in 0..GROUPS as u8 {
            if group > 0 && (config.plain || first) {
                continue;
            }
            options.push(Action::Append(term as u8, group, true));
            // A last record that ends nothing adds nothing.
            if !config.plain && written + 1 < most {
                options.push(Action::Append(term as u8, group, false));
            }
        }
    }

    fn deliveries(&self, config: &Config, term: usize, node: usize, options: &mut Vec<Action>) {
        let admitted = config.replaces || self.is_admitted(node, self.nodes[node].config);
        let undelivered = self.undelivered(term, node);
        let missing = self
            .record_places()
            .filter(|place| has(undelivered, *place) && admitted);
        let mut may_jump = self.gaps < config.gaps;
        for (order, place) in missing.enumerate() {
            if order == 0 || may_jump {
                options.push(Action::Deliver(term as u8, node as u8, place as u8));
            }
            may_jump &= self.may_be_left_out(config, term, place);
        }
    }

    /// Whether a node that begins to take frames now may never get this record as a record: it is
    /// given what is above the VDL before anything newer.
    fn may_be_left_out(&self, config: &Config, term: usize, place: usize) -> bool {
        let is_durable = self.records[place].lsn <= self.terms[term].vdl;
        let forgotten =
            config.breaks(BrokenRule::JoinedWithoutPending) && self.is_durable(config, term, place);
        // Both need frames that overtake each other, as those of two sets of nodes do.
        let overtaking =
            config.breaks(BrokenRule::AckPerRecord) || config.breaks(BrokenRule::OwnGroupPgcl);
        is_durable || forgotten || overtaking
    }

    /// Records of the term that have not reached the node.
    pub(crate) fn undelivered(&self, term: usize, node: usize) -> Records {
        let state = &self.nodes[node];
        let list = self.list_of(node);
        let missing = self.own(term) & !(state.log | state.tail | state.index);
        self.select(missing, |record| {
            !has_lsn(list, record.lsn) && record.lsn > state.applied[usize::from(record.group)]
        })
    }

    /// Whether the node may be told the VDL: as long as only three have proved it, to nobody else who
    /// does not hold what is below.
    fn may_be_told(&self, config: &Config, term: usize, node: usize) -> bool {
        let mut groups = (0..GROUPS).filter(|group| self.exists(term, *group));
        !self.terms[term].on_three
            || config.breaks(BrokenRule::ToldTooEarly)
            || groups.all(|group| self.is_current(term, node, group))
    }

    /// Whether the node would promise, or has promised, the term's epoch.
    fn promises(&self, node: usize, term: usize) -> bool {
        let (promised, epoch) = (self.nodes[node].promised, self.terms[term].epoch);
        promised == epoch || epoch_number(promised) < epoch_number(epoch)
    }

    /// Whether a node may promise and hold the list of an open volume.
    fn may_join(&self, config: &Config, term: usize, node: usize) -> bool {
        let (state, view) = (&self.nodes[node], &self.terms[term]);
        let promises = self.promises(node, term);
        let admitted = self.is_admitted(node, view.config) && !(node == REPLACED && view.keeps_out);
        promises
            && (admitted || self.may_succeed(term, node))
            && !state.views[term].listed
            && self.may_replace_list(config, term, node)
    }

    fn may_be_admitted(&self, term: usize, node: usize) -> bool {
        let (state, view) = (&self.nodes[node], &self.terms[term]);
        state.fresh
            && view.changing == 0
            && node != SUCCESSOR
            && !self.is_admitted(node, view.config)
            && self.promises(node, term)
    }

    fn filling(&self, config: &Config, term: usize, node: usize, options: &mut Vec<Action>) {
        for group in 0..GROUPS {
            if !self.nodes[node].views[term].filling[group] || !self.obeys(node, term) {
                continue;
            }
            let fill = |source| Action::Fill(term as u8, node as u8, group as u8, source as u8);
            let sources = (0..NODES).filter(|source| !self.is_twin(config, *source));
            let able =
                sources.filter(|source| self.gives_blocks(config, term, node, group, *source));
            options.extend(able.map(fill));
        }
    }

    fn faults(&self, config: &Config, options: &mut Vec<Action>) {
        if self.crashes < config.crashes {
            options.push(Action::PowerCut);
            options.extend(
                self.distinct_nodes(config)
                    .map(|node| Action::Crash(node as u8)),
            );
        }
        if self.checkpoints < config.checkpoints {
            let useful = self
                .distinct_nodes(config)
                .filter(|node| self.nodes[*node].log != 0);
            options.extend(useful.map(|node| Action::Checkpoint(node as u8)));
        }
        if self.bad_frames < config.bad_frames {
            for node in self.distinct_nodes(config) {
                let bad = self
                    .record_places()
                    .filter(|place| self.may_go_bad(node, *place));
                options.extend(bad.map(|place| Action::BadFrame(node as u8, place as u8)));
            }
        }
        let emptiable =
            (0..NODES).filter(|node| config.may_be_emptied(*node) && !self.nodes[*node].replaced);
        options.extend(emptiable.map(|node| Action::Empty(node as u8)));
    }

    /// A frame that is still read at an open, with a later one behind it.
    fn may_go_bad(&self, node: usize, place: usize) -> bool {
        let (state, record) = (&self.nodes[node], &self.records[place]);
        let later = self.select(state.log, |other| other.lsn > record.lsn);
        has(state.log, place)
            && later != 0
            && record.lsn > state.kept_applied[usize::from(record.group)]
    }
}
