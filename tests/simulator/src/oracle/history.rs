//! What the disk may hold: every change in the order in which it was asked for, how many of them
//! must have survived, and what a read may see.
//!
//! The durability ledger (law 2), the prefix rule (law 3), no flip-flop (law 4), and right bytes
//! or an error (laws 5 and 7) are judged here and nowhere else.

use crate::oracle::state::{Excerpt, State};
use crate::pattern;
use redoubt_volume::geometry::{BLOCK_BYTES, PAGES_PER_BLOCK};
use redoubt_volume::lsn::Lsn;
use std::collections::VecDeque;

/// What a change looks like on its way to the nodes: its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// First byte of the disk that the record changes.
    pub offset: u64,
    /// Bytes that it changes.
    pub length: u64,
    /// Checksums of its payload; a discard of whole blocks has none.
    pub checksums: Option<[u32; PAGES_PER_BLOCK]>,
    /// It may be of a discard.
    pub holds_zeros: bool,
}

/// One WRITE or discard.
#[derive(Clone, Copy, Debug)]
struct Change {
    number: u64,
    offset: u64,
    length: usize,
    /// Which pattern; none: zeros.
    stamp: Option<u64>,
    /// The checksums of a write's last record, which no other write has.
    checksums: [u32; PAGES_PER_BLOCK],
    /// It was seen on its way. A discard of what does not exist never is.
    was_sent: bool,
}

impl Change {
    fn apply(&self, disk: &mut State) {
        let range = self.offset as usize..self.offset as usize + self.length;
        match self.stamp {
            Some(stamp) => disk.change(range, |first, bytes| {
                pattern::fill(stamp, first as u64, bytes);
            }),
            None => disk.clear(range),
        }
    }

    fn end(&self) -> u64 {
        self.offset + self.length as u64
    }

    /// The blocks that it touches.
    fn blocks(&self) -> std::ops::Range<usize> {
        let end = (self.end() as usize).div_ceil(BLOCK_BYTES);
        self.offset as usize / BLOCK_BYTES..end.max(self.offset as usize / BLOCK_BYTES)
    }

    /// Whether a record could be its last one. A discard leaves groups out that do not exist.
    fn ends_with(&self, last: &LastRecord) -> bool {
        let end = last.offset + last.length;
        match self.stamp {
            Some(_) => last.checksums == Some(self.checksums) && end == self.end(),
            None => last.holds_zeros && last.offset < self.end() && self.offset < end,
        }
    }
}

/// A read under way: what it may see.
#[derive(Clone, Debug)]
pub struct ReadCheck {
    offset: u64,
    /// What was acknowledged when it began.
    expected: Excerpt,
    /// Changes that were not: they may be seen or not.
    open: Vec<u64>,
    /// The first change that was asked for later.
    from: u64,
}

impl ReadCheck {
    /// First byte of the disk that is read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What was acknowledged when the read began.
    pub fn expected(&self) -> &Excerpt {
        &self.expected
    }

    fn may_see(&self, change: &Change) -> bool {
        change.number >= self.from || self.open.contains(&change.number)
    }
}

/// What a crash has left of the changes that were not durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survivors {
    /// Changes that are there.
    pub changes: usize,
    /// Changes that did not have to survive and did.
    pub kept: u64,
    /// Changes that did not survive, and did not have to.
    pub lost: u64,
}

/// The changes of a disk.
#[derive(Clone, Debug)]
pub struct History {
    /// The state that the last open found.
    base: State,
    /// The state after every change in `log`.
    current: State,
    /// Changes since `base` that were admitted, in the order of their LSNs. That is the order of
    /// their acknowledgements, unless they are acknowledged only when they are durable: those are
    /// put in their place when their records are sent.
    log: Vec<Change>,
    /// Changes that were neither acknowledged nor sent: they may be admitted in any order.
    open: Vec<Change>,
    /// The changes of the log up to here were sent.
    sent: usize,
    /// So many changes of the log must survive everything.
    required: usize,
    /// Acknowledged changes with an LSN that is not below that of their last record.
    lsns: VecDeque<(Lsn, u64)>,
    next: u64,
    /// Another writer has taken over and kept so many changes of the log: no later one may be
    /// said to be durable.
    limit: Option<usize>,
}

impl History {
    /// The history of a disk of zeros, which may grow to `bytes`.
    pub fn new(bytes: usize) -> History {
        let zeros = State::zeros(bytes);
        History {
            base: zeros.clone(),
            current: zeros,
            log: Vec::new(),
            open: Vec::new(),
            sent: 0,
            required: 0,
            lsns: VecDeque::new(),
            next: 1,
            limit: None,
        }
    }

    /// A write (with a stamp; the checksums are those of its last piece) or discard was asked
    /// for: its number.
    pub fn begin(
        &mut self,
        offset: u64,
        length: usize,
        written: Option<(u64, [u32; PAGES_PER_BLOCK])>,
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        self.open.push(Change {
            number,
            offset,
            length,
            stamp: written.map(|(stamp, _)| stamp),
            checksums: written.map(|(_, checksums)| checksums).unwrap_or_default(),
            was_sent: false,
        });
        number
    }

    fn take_open(&mut self, number: u64) -> Option<Change> {
        let place = self.open.iter().position(|change| change.number == number);
        place.map(|place| self.open.remove(place))
    }

    /// A change was refused: it has not happened.
    pub fn refused(&mut self, number: u64) {
        self.take_open(number);
    }

    /// A change was acknowledged, when the writer had given out LSNs up to `last`: later reads
    /// see it. One that is acknowledged when it is durable was sent before, and has its place.
    pub fn acknowledged(&mut self, number: u64, last: Lsn) {
        if let Some(change) = self.take_open(number) {
            change.apply(&mut self.current);
            self.log.push(change);
        }
        self.lsns.push_back((last, number));
    }

    /// The last record of a change was sent; changes are sent in the order of their LSNs.
    ///
    /// # Errors
    /// When no change that was asked for looks like that.
    pub fn sent(&mut self, last: &LastRecord) -> Result<(), String> {
        let unsent = &self.log[self.sent..];
        // Discards of what does not exist have no records.
        let skipped = unsent.iter().take_while(|change| change.stamp.is_none());
        let first = skipped.count().min(unsent.len().saturating_sub(1));
        let candidates = unsent.iter().take(first + 1);
        let mut places = candidates.enumerate();
        if let Some((place, _)) = places.find(|(_, change)| change.ends_with(last)) {
            self.sent += place + 1;
            self.log[self.sent - 1].was_sent = true;
            return self.check_limit();
        }
        let place = self.open.iter().position(|change| change.ends_with(last));
        let Some(place) = place else {
            return Err(format!("records were sent that nobody asked for: {last:?}"));
        };
        let mut change = self.open.remove(place);
        change.was_sent = true;
        let is_earlier = |other: &&Change| other.stamp.is_none() && other.number < change.number;
        self.sent += self.log[self.sent..].iter().take_while(is_earlier).count();
        self.log.insert(self.sent, change);
        let (log, current) = (&self.log[self.sent..], &mut self.current);
        log.iter().for_each(|change| change.apply(current));
        self.sent += 1;
        self.check_limit()
    }

    /// What a flush that begins now makes durable: everything up to this change.
    pub fn mark(&self) -> u64 {
        self.log.last().map_or(0, |change| change.number)
    }

    /// Everything up to a change was said to be durable.
    ///
    /// # Errors
    /// When that cannot be: another writer has annulled it.
    pub fn require(&mut self, number: u64) -> Result<(), String> {
        let place = self.log.iter().rposition(|change| change.number == number);
        let Some(place) = place else { return Ok(()) };
        self.required = self.required.max(place + 1);
        self.check_limit()
    }

    fn check_limit(&self) -> Result<(), String> {
        let Some(limit) = self.limit.filter(|limit| *limit < self.required) else {
            return Ok(());
        };
        let beyond = self.log[limit..self.required].iter();
        match beyond.filter(|change| change.was_sent).count() {
            0 => Ok(()),
            count => Err(format!(
                "{count} changes were said to be durable though another writer had taken over \
                 without them"
            )),
        }
    }

    /// The writer's VDL has moved: what lies at or below it never goes away (law 4).
    ///
    /// # Errors
    /// See [`History::require`].
    pub fn on_vdl(&mut self, vdl: Lsn) -> Result<(), String> {
        let mut durable = None;
        while self.lsns.front().is_some_and(|(lsn, _)| *lsn <= vdl) {
            durable = self.lsns.pop_front().map(|(_, number)| number);
        }
        durable.map_or(Ok(()), |number| self.require(number))
    }

    /// The state after every acknowledged change.
    pub fn current(&self) -> &State {
        &self.current
    }

    /// A read begins.
    pub fn begin_read(&self, offset: u64, length: usize) -> ReadCheck {
        let range = offset as usize..offset as usize + length;
        ReadCheck {
            offset,
            expected: self.current.excerpt(range),
            open: self.open.iter().map(|change| change.number).collect(),
            from: self.next,
        }
    }

    /// The changes that a read may see beside what was acknowledged when it began.
    fn visible<'a>(&'a self, check: &'a ReadCheck) -> impl Iterator<Item = &'a Change> {
        let changes = self.log.iter().chain(&self.open);
        changes.filter(|change| check.may_see(change))
    }

    /// Whether a change that touches the range came while a read was under way.
    pub fn changed_meanwhile(&self, check: &ReadCheck) -> bool {
        let end = check.offset + check.expected.length() as u64;
        let touches = |change: &Change| change.offset < end && check.offset < change.end();
        self.visible(check).any(touches)
    }

    /// A read has ended: every byte must be what was acknowledged when it began, or of a change
    /// that came meanwhile.
    ///
    /// # Errors
    /// Where the bytes are wrong.
    pub fn end_read(&self, check: &ReadCheck, found: &[u8]) -> Result<(), String> {
        if check.expected.is(found) {
            return Ok(());
        }
        if found.len() != check.expected.length() {
            return Err(format!(
                "a read of {} bytes at {} gave {}",
                check.expected.length(),
                check.offset,
                found.len()
            ));
        }
        let mut good: Vec<bool> = found
            .iter()
            .zip(check.expected.copy())
            .map(|(a, b)| *a == b)
            .collect();
        let (start, end) = (check.offset, check.offset + found.len() as u64);
        for change in self.visible(check) {
            let (from, to) = (change.offset.max(start), change.end().min(end));
            if from < to {
                let mut bytes = vec![0; (to - from) as usize];
                if let Some(stamp) = change.stamp {
                    pattern::fill(stamp, from, &mut bytes);
                }
                let at = (from - start) as usize;
                for (index, byte) in bytes.iter().enumerate() {
                    good[at + index] |= found[at + index] == *byte;
                }
            }
        }
        match good.iter().position(|good| !good) {
            None => Ok(()),
            Some(at) => Err(format!(
                "a read of {} bytes at {start} is wrong from byte {} of the disk on: {}",
                found.len(),
                start + at as u64,
                self.explain(start + at as u64, found[at])
            )),
        }
    }

    /// Who wrote a byte last, and who could have written what was found.
    fn explain(&self, at: u64, found: u8) -> String {
        let covers = |change: &&Change| change.offset <= at && at < change.end();
        let names: Vec<String> = self
            .log
            .iter()
            .filter(covers)
            .map(|change| {
                let mut byte = [0];
                if let Some(stamp) = change.stamp {
                    pattern::fill(stamp, at, &mut byte);
                }
                let seen = if byte[0] == found { " (as found)" } else { "" };
                format!("{}{seen}", change.number)
            })
            .collect();
        let block = at as usize / BLOCK_BYTES;
        let [now, base] =
            [&self.current, &self.base].map(|state| state.block(block)[at as usize % BLOCK_BYTES]);
        format!(
            "found {found:#x}, now {now:#x}; changed by [{}], base {base:#x}",
            names.join(", "),
        )
    }

    /// After an open the disk holds `found`: it must be the state after some prefix of the
    /// changes that includes all that were required. From now on that is what there is.
    ///
    /// # Errors
    /// How far it is from every such state.
    pub fn settle(&mut self, found: &[u8]) -> Result<Survivors, String> {
        let mut state = self.base.clone();
        let durable = self.required;
        self.log[..durable]
            .iter()
            .for_each(|change| change.apply(&mut state));
        let mut wrong = Differences::between(&state, found);
        let mut kept = wrong.is_none().then(|| (durable, state.clone()));
        let mut nearest = (wrong.count, durable, wrong.first());
        for (index, change) in self.log.iter().enumerate().skip(durable) {
            change.apply(&mut state);
            wrong.update(change, &state, found);
            if wrong.is_none() {
                kept = Some((index + 1, state.clone()));
            }
            if wrong.count < nearest.0 {
                nearest = (wrong.count, index + 1, wrong.first());
            }
        }
        let Some((kept, state)) = kept else {
            return Err(self.tell_difference(nearest));
        };
        let survivors = Survivors {
            changes: kept,
            kept: (kept - durable) as u64,
            lost: (self.log.len() - kept) as u64,
        };
        self.start_from(state);
        Ok(survivors)
    }

    fn tell_difference(&self, (blocks, prefix, first): (usize, usize, usize)) -> String {
        let of = self.log.len();
        let touching: Vec<String> = self
            .log
            .iter()
            .enumerate()
            .filter(|(_, change)| change.blocks().contains(&first))
            .map(|(index, change)| format!("{}#{}", index + 1, change.number))
            .collect();
        format!(
            "the disk is in no state that it may be in: nearest is the state after {prefix} of \
             {of} changes since the last open, with {blocks} blocks different, first block \
             {first} (changed by {}); required up to change {}",
            touching.join(", "),
            self.required
        )
    }

    fn start_from(&mut self, state: State) {
        self.current = state.clone();
        self.base = state;
        self.log.clear();
        self.open.clear();
        self.sent = 0;
        self.required = 0;
        self.lsns.clear();
        self.limit = None;
    }

    /// Another writer has taken over with so many of the changes.
    ///
    /// # Errors
    /// When more than that was said to be durable.
    pub fn superseded(&mut self, kept: usize) -> Result<(), String> {
        self.limit = Some(kept);
        self.check_limit()
    }
}

/// The blocks in which two states differ.
struct Differences {
    wrong: Vec<bool>,
    count: usize,
}

impl Differences {
    fn between(state: &State, found: &[u8]) -> Differences {
        let blocks = 0..state.bytes() / BLOCK_BYTES;
        let wrong: Vec<bool> = blocks.map(|block| state.differs(block, found)).collect();
        let count = wrong.iter().filter(|wrong| **wrong).count();
        Differences { wrong, count }
    }

    fn is_none(&self) -> bool {
        self.count == 0
    }

    fn first(&self) -> usize {
        self.wrong.iter().position(|wrong| *wrong).unwrap_or(0)
    }

    fn update(&mut self, change: &Change, state: &State, found: &[u8]) {
        for block in change.blocks() {
            let wrong = state.differs(block, found);
            self.count = self.count + usize::from(wrong) - usize::from(self.wrong[block]);
            self.wrong[block] = wrong;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 4 * BLOCK_BYTES;

    fn state(changes: &[(u64, usize, Option<u64>)]) -> Vec<u8> {
        let mut disk = State::zeros(BYTES);
        for (offset, length, stamp) in changes.iter().copied() {
            let change = Change {
                number: 0,
                offset,
                length,
                stamp,
                checksums: [0; PAGES_PER_BLOCK],
                was_sent: true,
            };
            change.apply(&mut disk);
        }
        disk.excerpt(0..BYTES).copy()
    }

    const CHANGES: [(u64, usize, Option<u64>); 3] = [
        (100, 20_000, Some(1)),
        (16_384, 16_384, Some(2)),
        (0, 16_384, None),
    ];

    fn history(durable: u64) -> History {
        let mut history = History::new(BYTES);
        for (offset, length, stamp) in CHANGES {
            let written = stamp.map(|stamp| (stamp, [stamp as u32; PAGES_PER_BLOCK]));
            let number = history.begin(offset, length, written);
            history.acknowledged(number, Lsn(number));
        }
        history.require(durable).expect("nobody took over");
        history
    }

    #[test]
    fn a_crash_may_leave_any_prefix_from_the_durable_one_on_and_nothing_else() {
        for (durable, prefix, fits) in [(0, 0, true), (1, 0, false), (1, 1, true), (2, 3, true)] {
            let found = history(durable).settle(&state(&CHANGES[..prefix]));
            assert_eq!(found.is_ok(), fits, "{durable} {prefix}");
        }
        let skipped = state(&[CHANGES[0], CHANGES[2]]);
        assert!(
            history(0).settle(&skipped).is_err(),
            "a change in the middle is missing"
        );
        let mut torn = state(&CHANGES[..1]);
        torn[100] ^= 1;
        assert!(history(0).settle(&torn).is_err());
    }

    #[test]
    fn what_an_open_found_must_stay() {
        let mut history = history(0);
        let found = state(&CHANGES[..2]);
        let survivors = history.settle(&found).expect("a prefix");
        assert_eq!(
            (survivors.kept, survivors.lost, survivors.changes),
            (2, 1, 2)
        );
        assert!(
            history.settle(&state(&CHANGES[..1])).is_err(),
            "a flip-flop"
        );
    }

    #[test]
    fn a_read_sees_what_was_acknowledged_or_what_came_meanwhile() {
        let mut history = history(0);
        let read = history.begin_read(0, BLOCK_BYTES);
        let old = history.current().excerpt(0..BLOCK_BYTES).copy();
        let number = history.begin(8_000, 100, Some((9, [9; PAGES_PER_BLOCK])));
        history.acknowledged(number, Lsn(9));
        let new = history.current().excerpt(0..BLOCK_BYTES).copy();
        assert!(history.end_read(&read, &old).is_ok() && history.end_read(&read, &new).is_ok());
        let later = history.begin_read(0, BLOCK_BYTES);
        assert!(
            history.end_read(&later, &old).is_err(),
            "it was acknowledged before"
        );
    }

    #[test]
    fn a_change_that_is_acknowledged_late_has_its_place_by_its_records() {
        let mut history = History::new(BYTES);
        // A discard of what does not exist has no records.
        let discard = history.begin(0, BYTES, None);
        history.acknowledged(discard, Lsn(0));
        let durable = history.begin(0, 8_192, Some((1, [1; PAGES_PER_BLOCK])));
        let quick = history.begin(4_096, 8_192, Some((2, [2; PAGES_PER_BLOCK])));
        history.acknowledged(quick, Lsn(2));
        for (end, stamp) in [(8_192, 1), (12_288, 2)] {
            let last = LastRecord {
                offset: end - 8_192,
                length: 8_192,
                checksums: Some([stamp; PAGES_PER_BLOCK]),
                holds_zeros: false,
            };
            history.sent(&last).expect("it was asked for");
        }
        history.acknowledged(durable, Lsn(2));
        let expected = state(&[(0, 8_192, Some(1)), (4_096, 8_192, Some(2))]);
        assert!(history.current().excerpt(0..BYTES).is(&expected));
        assert!(history.settle(&expected).is_ok());
    }

    #[test]
    fn nothing_is_durable_at_a_writer_that_was_taken_over() {
        let mut old = history(2);
        let mut new = old.clone();
        let kept = new.settle(&state(&CHANGES[..2])).expect("a prefix").changes;
        assert!(old.superseded(kept).is_ok() && old.require(2).is_ok());
        assert!(old.require(3).is_ok(), "a discard may have had no records");
        let heard = CHANGES.map(|(offset, length, stamp)| {
            old.sent(&LastRecord {
                offset,
                length: length as u64,
                checksums: stamp.map(|stamp| [stamp as u32; PAGES_PER_BLOCK]),
                holds_zeros: stamp.is_none(),
            })
        });
        assert_eq!(heard.map(|heard| heard.is_ok()), [true, true, false]);
    }
}
