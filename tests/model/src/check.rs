//! What must hold in every state.

use crate::config::{BrokenRule, Config};
use crate::state::{GROUPS, NO_SCL, NODES, Phase, READ_QUORUM, Records, State, TERMS, has};

impl State {
    /// What is violated, in words; `node N` stands for the N-th node as the state has it.
    pub fn violation(&self, config: &Config) -> Option<String> {
        let open = |term: &usize| self.terms[*term].phase == Phase::Open;
        for term in (0..TERMS).filter(|term| self.terms[*term].phase != Phase::Unused) {
            if !self.is_prefix(term, self.terms[term].kept) {
                return Some(format!(
                    "writer {} decided on a state that is no prefix",
                    term + 1
                ));
            }
            let lost = self.first_lost(term);
            if lost.is_some() {
                return lost;
            }
        }
        for term in (0..TERMS).filter(open) {
            let wrong = self
                .stuck(config, term)
                .or_else(|| self.dishonest(config, term));
            let wrong = wrong.or_else(|| self.wrong_read(config, term));
            if wrong.is_some() {
                return wrong;
            }
        }
        let recovering = |term: &usize| self.terms[*term].phase == Phase::Recovering;
        let mut recovering = (0..TERMS).filter(recovering);
        if let Some(term) = recovering.find(|term| self.comes_no_further(config, *term)) {
            return Some(format!("the recovery of writer {} never ends", term + 1));
        }
        self.next_recovery_loses(config)
            .or_else(|| self.does_not_open_without_two(config))
    }

    /// Where nothing but filling keeps segments from voting, any two nodes may be lost.
    fn does_not_open_without_two(&self, config: &Config) -> Option<String> {
        let mut fours = self
            .first_choices(config)
            .filter(|set| set.count_ones() == 4);
        let refused = fours.find(|set| self.decide(config, TERMS, *set).is_none());
        let refused = refused.filter(|_| config.only_fills())?;
        let lost = (0..NODES).filter(|node| !has(refused, *node));
        let lost: Vec<String> = lost.map(|node| format!("node {node}")).collect();
        Some(format!(
            "the volume does not open without {}",
            lost.join(" and ")
        ))
    }

    /// Every node that the recovery began with holds the list, and nothing that is left to do makes
    /// more of them cover the tail. (When one is lost on the way, the recovery begins again.)
    fn comes_no_further(&self, config: &Config, term: usize) -> bool {
        let listed = self.listed(term);
        let reported = |node: &usize| self.nodes[*node].views[term].reported;
        let mut counted_on = (0..NODES).filter(reported);
        let all_there = counted_on.clone().count() == usize::from(self.terms[term].reports);
        if !all_there || !counted_on.all(|node| has(listed, node) && self.obeys(node, term)) {
            return false;
        }
        let helps = |node: usize, group: usize| {
            let (view, wanted) = (&self.nodes[node].views[term], &self.terms[term]);
            let proved = if view.scls[group] == NO_SCL {
                0
            } else {
                view.scls[group]
            };
            let lags = view.listed && !view.covers(group, wanted.anchors[group]);
            let fills =
                view.filling[group] || proved < wanted.bases[group] || view.scls[group] == NO_SCL;
            lags && (fills || self.has_tail_source(config, term, node, group))
        };
        let nodes = || (0..NODES).flat_map(|node| (0..GROUPS).map(move |group| (node, group)));
        listed.count_ones() as usize >= READ_QUORUM
            && !self.is_settled(config, term, listed)
            && !nodes().any(|(node, group)| helps(node, group))
    }

    /// What a term has shown and a newer one, decided already, does not have.
    fn first_lost(&self, newer: usize) -> Option<String> {
        let epoch = self.terms[newer].epoch;
        for older in (0..TERMS).filter(|term| *term != newer && self.terms[*term].epoch < epoch) {
            let binds = !self.terms[older].on_three || has(self.terms[newer].seen, older);
            let lost = self.shown(older) & !self.line(newer);
            if binds && lost != 0 {
                let (older, newer) = (older + 1, newer + 1);
                let lost = self.words_of(lost);
                return Some(format!(
                    "{lost}, acknowledged or shown by writer {older}, is not in what writer {newer} recovered"
                ));
            }
        }
        let same = (0..newer).find(|older| self.terms[*older].epoch == epoch && epoch > 0);
        let both_open = |older: &usize| {
            self.terms[*older].phase == Phase::Open && self.terms[newer].phase == Phase::Open
        };
        same.filter(both_open).map(|older| {
            format!(
                "writers {} and {} are both open with one epoch",
                older + 1,
                newer + 1
            )
        })
    }

    fn words_of(&self, records: Records) -> String {
        let places = self.record_places().filter(|place| has(records, *place));
        let lsns: Vec<String> = places
            .map(|place| self.records[place].lsn.to_string())
            .collect();
        format!("LSN {}", lsns.join(", "))
    }

    /// Whether records are what some writers wrote up to a point between two mini-transactions.
    fn is_prefix(&self, term: usize, kept: Records) -> bool {
        let closed = |writer: usize| {
            let own = self.own(writer);
            let (has_some, mut ended, mut missing) = (own & kept != 0, true, false);
            for place in self.record_places().filter(|place| has(own, *place)) {
                if !has(kept, place) {
                    missing = true;
                } else if missing {
                    return false;
                } else {
                    ended = self.records[place].is_consistency_point;
                }
            }
            let follows = !has_some || writer == term || self.terms[writer].kept & !kept == 0;
            ended && follows
        };
        (0..TERMS).all(closed)
    }

    /// Everything that was written is durable, and is not acknowledged.
    fn stuck(&self, config: &Config, term: usize) -> Option<String> {
        let own = self.own(term);
        let durable = |place: usize| {
            let record = self.records[place];
            record.lsn <= self.terms[term].pgcl[usize::from(record.group)]
        };
        let places = || self.record_places().filter(|place| has(own, *place));
        let ends = places().filter(|place| self.records[*place].is_consistency_point);
        let last = ends.map(|place| self.records[place].lsn).max()?;
        let behind = !config.breaks(BrokenRule::AckPerRecord) && self.terms[term].vdl < last;
        (behind && places().all(durable)).then(|| {
            format!(
                "four SCLs cover LSN {last} and all before, and writer {} never acknowledges it",
                term + 1
            )
        })
    }

    /// A segment's SCL, as the writer counts it, claims what the segment does not have.
    fn dishonest(&self, config: &Config, term: usize) -> Option<String> {
        let line = self.line(term);
        for node in (0..NODES).filter(|node| self.obeys(*node, term)) {
            let state = &self.nodes[node];
            for (group, scl) in state.views[term].scls.into_iter().enumerate() {
                if scl == NO_SCL || config.breaks(BrokenRule::EpochsNotUnique) {
                    continue;
                }
                let claimed = self.select(line, |r| usize::from(r.group) == group && r.lsn <= scl);
                let lacking = claimed & !(state.tail | state.index);
                if lacking != 0 {
                    return Some(format!(
                        "node {node}'s SCL, as writer {} counts it, claims {}, which it does not have",
                        term + 1,
                        self.words_of(lacking)
                    ));
                }
            }
        }
        None
    }

    /// A segment that may be read gives something else than the disk's state at the VDL.
    fn wrong_read(&self, _config: &Config, term: usize) -> Option<String> {
        let shown = self.shown(term);
        for node in (0..NODES).filter(|node| self.obeys(*node, term)) {
            let view = self.nodes[node].views[term];
            let mut asked = *self;
            asked.announce(node, self.terms[term].vdl);
            let served = &asked.nodes[node];
            for group in 0..GROUPS {
                let tip = self.tip(term, group);
                let serves = view.listed
                    && view.covers(group, tip)
                    && served.complete[group]
                    && served.applied[group] >= tip;
                let of_group = |set| self.select(set, |r| usize::from(r.group) == group);
                let differing = of_group(served.index ^ shown);
                if serves && differing != 0 {
                    let extra = if differing & served.index != 0 {
                        "with"
                    } else {
                        "without"
                    };
                    return Some(format!(
                        "node {node} answers reads of writer {} {extra} {}",
                        term + 1,
                        self.words_of(differing)
                    ));
                }
            }
        }
        None
    }

    /// The recovery that could come next, with any nodes, would lose something.
    fn next_recovery_loses(&self, config: &Config) -> Option<String> {
        let full =
            |term: &usize| self.terms[*term].phase == Phase::Open && !self.terms[*term].on_three;
        let sets = self.first_choices(config);
        for asked in sets.filter(|set| set.count_ones() as usize >= READ_QUORUM) {
            let Some(decision) = self.decide(config, TERMS, asked) else {
                continue;
            };
            let binds = |term: &usize| full(term) || has(decision.seen, *term);
            let shown = (0..TERMS)
                .filter(binds)
                .fold(0, |set, term| set | self.shown(term));
            let lost = shown & !decision.kept;
            let names = (0..NODES)
                .filter(|node| has(asked, *node))
                .map(|node| format!("node {node}"));
            let names = || names.clone().collect::<Vec<_>>().join(", ");
            if lost != 0 {
                return Some(format!(
                    "{}, acknowledged or shown, would be lost by the next recovery with {}",
                    self.words_of(lost),
                    names()
                ));
            }
            if !self.is_prefix(TERMS, decision.kept) {
                return Some(format!(
                    "the next recovery with {} would find no prefix",
                    names()
                ));
            }
        }
        None
    }
}
