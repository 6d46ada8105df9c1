//! What the disk may hold: every change in the order in which it was asked for, how many of them
//! must have survived, and what a read may see.
//!
//! The durability ledger (law 2), the prefix rule (law 3), no flip-flop (law 4), and right bytes
//! or an error (laws 5 and 7) are judged here and nowhere else.

use crate::pattern;
use redoubt_volume::geometry::BLOCK_BYTES;
use redoubt_volume::lsn::Lsn;
use std::collections::VecDeque;

/// One WRITE or discard.
#[derive(Clone, Copy, Debug)]
struct Change {
    number: u64,
    offset: u64,
    length: usize,
    /// Which pattern; none: zeros.
    stamp: Option<u64>,
}

impl Change {
    fn apply(&self, disk: &mut [u8]) {
        let range = self.offset as usize..self.offset as usize + self.length;
        match self.stamp {
            Some(stamp) => pattern::fill(stamp, self.offset, &mut disk[range]),
            None => disk[range].fill(0),
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
}

/// A read under way: what it may see.
#[derive(Clone, Debug)]
pub struct ReadCheck {
    offset: u64,
    /// What was acknowledged when it began.
    expected: Vec<u8>,
    /// The first change that was not: it and all later ones may be seen or not.
    from: u64,
}

impl ReadCheck {
    /// First byte of the disk that is read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What was acknowledged when the read began.
    pub fn expected(&self) -> &[u8] {
        &self.expected
    }
}

/// What a crash has left of the changes that were not durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survivors {
    /// The last change that is there.
    pub last: u64,
    /// Changes that did not have to survive and did.
    pub kept: u64,
    /// Changes that did not survive, and did not have to.
    pub lost: u64,
}

/// The changes of a disk.
#[derive(Clone, Debug)]
pub struct History {
    /// The state that the last open found.
    base: Vec<u8>,
    /// The state after every change that was acknowledged.
    current: Vec<u8>,
    /// Changes since `base`, ascending by number.
    log: Vec<Change>,
    /// How many of them `current` has.
    applied: usize,
    /// The last change that was acknowledged.
    acknowledged: u64,
    /// The last change that must survive everything.
    required: u64,
    /// Acknowledged changes with an LSN that is not below that of their last record.
    lsns: VecDeque<(Lsn, u64)>,
    next: u64,
    /// Another writer has taken over and kept the changes up to this one: no later one may be
    /// said to be durable.
    limit: Option<u64>,
}

impl History {
    /// The history of a disk of zeros, which may grow to `bytes`.
    pub fn new(bytes: usize) -> History {
        History {
            base: vec![0; bytes],
            current: vec![0; bytes],
            log: Vec::new(),
            applied: 0,
            acknowledged: 0,
            required: 0,
            lsns: VecDeque::new(),
            next: 1,
            limit: None,
        }
    }

    /// A change was asked for: its number.
    pub fn begin(&mut self, offset: u64, length: usize, stamp: Option<u64>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.log.push(Change {
            number,
            offset,
            length,
            stamp,
        });
        number
    }

    /// A change was refused: it has not happened.
    pub fn refused(&mut self, number: u64) {
        if let Ok(at) = self
            .log
            .binary_search_by_key(&number, |change| change.number)
            && at >= self.applied
        {
            self.log.remove(at);
        }
    }

    /// A change was acknowledged, when the writer had given out LSNs up to `last`: later reads
    /// see it, and all before it.
    pub fn acknowledged(&mut self, number: u64, last: Lsn) {
        self.acknowledged = self.acknowledged.max(number);
        while let Some(change) = self.log.get(self.applied)
            && change.number <= self.acknowledged
        {
            change.apply(&mut self.current);
            self.applied += 1;
        }
        self.lsns.push_back((last, number));
    }

    /// The last change that was acknowledged: what a flush that begins now makes durable.
    pub fn mark(&self) -> u64 {
        self.acknowledged
    }

    /// Everything up to a change was said to be durable.
    ///
    /// # Errors
    /// When that cannot be: another writer has annulled it.
    pub fn require(&mut self, number: u64) -> Result<(), String> {
        self.required = self.required.max(number);
        match self.limit {
            Some(limit) if number > limit => Err(format!(
                "change {number} was said to be durable after another writer had taken over and \
                 kept the changes up to {limit} only"
            )),
            _ => Ok(()),
        }
    }

    /// The writer's VDL has moved: what lies at or below it never goes away (law 4).
    ///
    /// # Errors
    /// See [`History::require`].
    pub fn on_vdl(&mut self, vdl: Lsn) -> Result<(), String> {
        let mut durable = 0;
        while self.lsns.front().is_some_and(|(lsn, _)| *lsn <= vdl) {
            if let Some((_, number)) = self.lsns.pop_front() {
                durable = durable.max(number);
            }
        }
        if durable > 0 {
            self.require(durable)?;
        }
        Ok(())
    }

    /// The state after every acknowledged change.
    pub fn current(&self) -> &[u8] {
        &self.current
    }

    /// A read begins.
    pub fn begin_read(&self, offset: u64, length: usize) -> ReadCheck {
        let range = offset as usize..offset as usize + length;
        let next = self.log.get(self.applied);
        ReadCheck {
            offset,
            expected: self.current[range].to_vec(),
            from: next.map_or(self.next, |change| change.number),
        }
    }

    /// Whether a change that touches the range came while a read was under way.
    pub fn changed_meanwhile(&self, check: &ReadCheck) -> bool {
        let end = check.offset + check.expected.len() as u64;
        let first = self
            .log
            .partition_point(|change| change.number < check.from);
        let later = &self.log[first..];
        later
            .iter()
            .any(|change| change.offset < end && check.offset < change.end())
    }

    /// A read has ended: every byte must be what was acknowledged when it began, or of a change
    /// that came meanwhile.
    ///
    /// # Errors
    /// Where the bytes are wrong.
    pub fn end_read(&self, check: &ReadCheck, found: &[u8]) -> Result<(), String> {
        if found == check.expected {
            return Ok(());
        }
        if found.len() != check.expected.len() {
            return Err(format!(
                "a read of {} bytes at {} gave {}",
                check.expected.len(),
                check.offset,
                found.len()
            ));
        }
        let mut good: Vec<bool> = found
            .iter()
            .zip(&check.expected)
            .map(|(a, b)| a == b)
            .collect();
        let (start, end) = (check.offset, check.offset + found.len() as u64);
        for change in self.log.iter().filter(|change| change.number >= check.from) {
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
        format!(
            "found {found:#x}, expected {:#x}; changed by [{}], {} acknowledged, base {:#x}",
            self.current[at as usize],
            names.join(", "),
            self.acknowledged,
            self.base[at as usize]
        )
    }

    /// After an open the disk holds `found`: it must be the state after some prefix of the
    /// changes that includes all that were required. From now on that is what there is.
    ///
    /// # Errors
    /// How far it is from every such state.
    pub fn settle(&mut self, found: &[u8]) -> Result<Survivors, String> {
        let mut state = std::mem::take(&mut self.base);
        let durable = self
            .log
            .partition_point(|change| change.number <= self.required);
        self.log[..durable]
            .iter()
            .for_each(|change| change.apply(&mut state));
        let mut wrong = Differences::between(&state, found);
        let mut kept = wrong.is_none().then_some(durable);
        let mut nearest = (wrong.count, durable, wrong.first());
        for (index, change) in self.log.iter().enumerate().skip(durable) {
            change.apply(&mut state);
            wrong.update(change, &state, found);
            if wrong.is_none() {
                kept = Some(index + 1);
            }
            if wrong.count < nearest.0 {
                nearest = (wrong.count, index + 1, wrong.first());
            }
        }
        let Some(kept) = kept else {
            return Err(self.tell_difference(nearest));
        };
        let number = |end: usize| end.checked_sub(1).map_or(0, |last| self.log[last].number);
        let survivors = Survivors {
            last: number(kept).max(self.required),
            kept: (kept - durable) as u64,
            lost: (self.log.len() - kept) as u64,
        };
        self.start_from(found.to_vec());
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

    fn start_from(&mut self, state: Vec<u8>) {
        self.current.clone_from(&state);
        self.base = state;
        self.log.clear();
        self.applied = 0;
        self.lsns.clear();
        self.acknowledged = self.next - 1;
        self.required = self.next - 1;
        self.limit = None;
    }

    /// Another writer has taken over with the changes up to this one.
    ///
    /// # Errors
    /// When more than that was said to be durable.
    pub fn superseded(&mut self, kept: u64) -> Result<(), String> {
        self.limit = Some(kept);
        self.require(self.required)
    }
}

/// The blocks in which two states differ.
struct Differences {
    wrong: Vec<bool>,
    count: usize,
}

impl Differences {
    fn between(state: &[u8], found: &[u8]) -> Differences {
        let blocks = state.chunks(BLOCK_BYTES).zip(found.chunks(BLOCK_BYTES));
        let wrong: Vec<bool> = blocks.map(|(one, other)| one != other).collect();
        let count = wrong.iter().filter(|wrong| **wrong).count();
        Differences { wrong, count }
    }

    fn is_none(&self) -> bool {
        self.count == 0
    }

    fn first(&self) -> usize {
        self.wrong.iter().position(|wrong| *wrong).unwrap_or(0)
    }

    fn update(&mut self, change: &Change, state: &[u8], found: &[u8]) {
        for block in change.blocks() {
            let range = block * BLOCK_BYTES..((block + 1) * BLOCK_BYTES).min(state.len());
            let wrong = state[range.clone()] != found[range];
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
        let mut disk = vec![0; BYTES];
        for (offset, length, stamp) in changes.iter().copied() {
            let number = 0;
            Change {
                number,
                offset,
                length,
                stamp,
            }
            .apply(&mut disk);
        }
        disk
    }

    const CHANGES: [(u64, usize, Option<u64>); 3] = [
        (100, 20_000, Some(1)),
        (16_384, 16_384, Some(2)),
        (0, 16_384, None),
    ];

    fn history(durable: u64) -> History {
        let mut history = History::new(BYTES);
        for (offset, length, stamp) in CHANGES {
            let number = history.begin(offset, length, stamp);
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
        assert_eq!((survivors.kept, survivors.lost, survivors.last), (2, 1, 2));
        assert!(
            history.settle(&state(&CHANGES[..1])).is_err(),
            "a flip-flop"
        );
    }

    #[test]
    fn a_read_sees_what_was_acknowledged_or_what_came_meanwhile() {
        let mut history = history(0);
        let read = history.begin_read(0, BLOCK_BYTES);
        let old = history.current()[..BLOCK_BYTES].to_vec();
        let number = history.begin(8_000, 100, Some(9));
        history.acknowledged(number, Lsn(9));
        let new = history.current()[..BLOCK_BYTES].to_vec();
        assert!(history.end_read(&read, &old).is_ok() && history.end_read(&read, &new).is_ok());
        let later = history.begin_read(0, BLOCK_BYTES);
        assert!(
            history.end_read(&later, &old).is_err(),
            "it was acknowledged before"
        );
    }

    #[test]
    fn nothing_is_durable_at_a_writer_that_was_taken_over() {
        let mut old = history(2);
        let mut new = old.clone();
        let kept = new.settle(&state(&CHANGES[..2])).expect("a prefix").last;
        assert!(old.superseded(kept).is_ok());
        assert!(old.require(2).is_ok() && old.require(3).is_err());
    }
}
