//! A node's side: chains, index, what a crash leaves (as `volume/src/segment` does it).

use crate::config::{BrokenRule, Config};
use crate::state::{GROUPS, Lsn, Record, Records, State, TERMS, View, has, has_lsn};

impl State {
    /// The lowest record of a group in a set with an LSN above `after`.
    pub(crate) fn next_in(
        &self,
        set: Records,
        group: usize,
        after: Lsn,
    ) -> Option<(usize, Record)> {
        let wanted = |place: &usize| {
            let record = &self.records[*place];
            has(set, *place) && usize::from(record.group) == group && record.lsn > after
        };
        let place = self
            .record_places()
            .filter(wanted)
            .min_by_key(|place| self.records[*place].lsn)?;
        Some((place, self.records[place]))
    }

    /// The end of the chain that begins behind `after` and is in `set` (`Segment::advance`).
    pub fn chain_end(&self, set: Records, group: usize, after: Lsn) -> Lsn {
        let mut end = after;
        while let Some((_, record)) = self.next_in(set, group, end) {
            if record.previous != end {
                break;
            }
            end = record.lsn;
        }
        end
    }

    /// The records of the chain after one LSN up to another, if all are in `set`.
    pub fn chain(&self, set: Records, group: usize, after: Lsn, upto: Lsn) -> Option<Records> {
        let (mut end, mut found) = (after, 0);
        while let Some((place, record)) = self.next_in(set, group, end) {
            if record.lsn > upto {
                break;
            }
            if record.previous != end {
                return None;
            }
            end = record.lsn;
            found |= 1 << place;
        }
        (end == upto).then_some(found)
    }

    /// A segment's SCL.
    pub fn scl(&self, node: usize, group: usize) -> Lsn {
        let state = &self.nodes[node];
        self.chain_end(state.tail, group, state.applied[group])
    }

    /// Takes into the index what is announced and without a gap before it.
    pub fn apply(&mut self, node: usize) {
        for group in 0..GROUPS {
            let limit = self.nodes[node].announced.min(self.scl(node, group));
            while let Some((place, record)) = self.next_in(self.nodes[node].tail, group, 0) {
                if record.lsn > limit {
                    break;
                }
                let state = &mut self.nodes[node];
                state.tail &= !(1 << place);
                state.index |= 1 << place;
                state.applied[group] = record.lsn;
            }
        }
    }

    /// The VDL is at least this.
    pub fn announce(&mut self, node: usize, vdl: Lsn) {
        if vdl > self.nodes[node].announced {
            self.nodes[node].announced = vdl;
            self.apply(node);
        }
    }

    /// A record is on stable storage, in a frame that announces `vdl`.
    pub fn take_in(&mut self, config: &Config, node: usize, place: usize, vdl: Lsn) {
        let record = self.records[place];
        let state = &mut self.nodes[node];
        state.log |= 1 << place;
        if !config.breaks(BrokenRule::RangesDroppedEarly) {
            state.replay_low = state.replay_low.min(record.lsn);
        }
        if record.lsn > state.applied[usize::from(record.group)] {
            state.tail |= 1 << place;
        }
        state.announced = state.announced.max(vdl);
        state.logged_announced = state.logged_announced.max(vdl);
        self.apply(node);
    }

    /// Drops what the node's list annuls.
    pub fn annul(&mut self, node: usize) {
        let list = self.list_of(node);
        self.nodes[node].tail = self.select(self.nodes[node].tail, |r| !has_lsn(list, r.lsn));
    }

    /// The process ends and the directory is opened again: what was not logged is forgotten, and
    /// every writer notices.
    pub fn restart(&mut self, node: usize) {
        let list = self.list_of(node);
        let state = &mut self.nodes[node];
        state.views = [View::NONE; TERMS];
        state.announced = state.logged_announced;
        state.index = state.kept_index;
        state.applied = state.kept_applied;
        state.since = [0; GROUPS];
        if state.damaged {
            state.complete = [false; GROUPS];
        }
        let (log, applied) = (state.log, state.applied);
        let met = self.select(log, |r| r.lsn > applied[usize::from(r.group)]);
        let low = self
            .record_places()
            .filter(|place| has(met, *place))
            .map(|p| self.records[p].lsn);
        self.nodes[node].replay_low = low.min().unwrap_or(Lsn::MAX);
        self.nodes[node].tail = self.select(met, |r| !has_lsn(list, r.lsn));
        self.apply(node);
    }

    /// The index goes to disk; the log before its tail is not read again.
    pub fn checkpoint(&mut self, node: usize) {
        let tail = self.nodes[node].tail;
        let places = self.record_places().filter(|place| has(tail, *place));
        let low = places.map(|place| self.records[place].lsn).min();
        self.nodes[node].replay_low = low.unwrap_or(Lsn::MAX);
        let state = &mut self.nodes[node];
        state.log = state.tail;
        state.kept_index = state.index;
        state.kept_applied = state.applied;
        state.logged_announced = state.announced;
        if state.complete == [true; GROUPS] {
            state.damaged = false;
        }
    }

    /// Marks a segment incomplete until it was filled as of `base` (`on_begin_catch_up`).
    pub fn begin_catch_up(&mut self, node: usize, group: usize, base: Lsn) {
        let scl = self.scl(node, group);
        self.announce(node, base);
        let of_group = self.select(Records::MAX, |record| usize::from(record.group) == group);
        let state = &mut self.nodes[node];
        state.since[group] = if state.complete[group] { scl } else { 0 };
        state.complete[group] = false;
        state.fresh = false;
        state.applied[group] = state.applied[group].max(base);
        let applied = state.applied[group];
        state.kept_applied[group] = applied;
        state.kept_index |= state.index & of_group;
        state.logged_announced = state.announced;
        let tail = state.tail;
        let dropped = self.select(tail & of_group, |record| record.lsn <= applied);
        self.nodes[node].tail &= !dropped;
        self.apply(node);
    }

    /// Everything that a peer has in its index was copied: the segment is complete. What did not
    /// change since the copying began is not copied.
    pub fn fill(&mut self, node: usize, group: usize, source: usize) {
        let since = self.nodes[node].since[group];
        let index = self.nodes[source].index;
        let copied = self.select(index, |r| usize::from(r.group) == group && r.lsn > since);
        let state = &mut self.nodes[node];
        state.index |= copied;
        state.kept_index |= copied;
        state.since[group] = 0;
        state.complete[group] = true;
        state.logged_announced = state.announced;
        self.apply(node);
    }
}
