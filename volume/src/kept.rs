//! What an incomplete segment has for sure: where a copy to it may go on.
//!
//! A copy makes a segment complete as of a base, leaf after leaf, and may be interrupted: by a crash,
//! an unmount, a node that goes away. What it had done is not done again. The segment remembers two
//! claims, in its log and in its checkpoints:
//!
//! * every leaf has what was durable up to `since` (it was complete as of that, once);
//! * every leaf before `filled` has what was durable up to `filled_since` (it was copied).
//!
//! The next copy, as of a later base, then takes from a peer only what changed after that. It is right
//! because of what "has" means: a block's content has all records up to the claim's LSN, and may have
//! later ones. When the peer's newest record of a block is not above the claim, there is no later
//! one: records of the index are never annulled (law 11), so both have the same. When it is above, the
//! whole block is copied, whatever the segment took in of its own chain, with holes, since the claim.
//! A block that the peer does not have is discarded, whoever's record did it and whether it ever came
//! here (absence is always copied). So a claim needs nothing to be true of what came after it, and
//! later copies and records make it no less true: it only ends when something of the segment is lost.
//!
//! * A claim counts when what it claims is durable, not before (law 1): the writer lets leaves count
//!   as filled when the segment has said that it holds them, durably, and with all before them; the
//!   mark comes into the log behind them. A checkpoint takes the claims as they are when it begins,
//!   and writes every leaf that was changed until then before its root counts.
//! * A damaged tail (law 5), a lost page of the index, and a copy that was asked for because what the
//!   segment has is not trusted, end all claims; a new directory has none (law 12): each of them
//!   says so by a mark in the log before anything is copied. From the first leaf is always right.
//! * The claims that count are those that the segment itself tells when a copy begins.

use crate::lsn::{Lsn, TruncationList};
use crate::planted::{Bug, is_planted};

/// The claims of a segment; see the module's page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// All leaves have everything up to here.
    pub since: Lsn,
    /// The leaves before this one
    pub filled: u32,
    /// have everything up to here.
    pub filled_since: Lsn,
}

impl Kept {
    /// What a segment has that was complete as of an LSN.
    pub fn complete_as_of(since: Lsn) -> Kept {
        Kept {
            since,
            ..Kept::default()
        }
    }

    /// Up to where a leaf has everything.
    pub fn since_of(&self, leaf: u32) -> Lsn {
        if leaf >= self.filled {
            self.since
        } else if is_planted(Bug::ResumedWithoutChanges) {
            Lsn::MAX
        } else {
            self.since.max(self.filled_since)
        }
    }

    /// The leaves before `filled` were copied as of `base`. A copy that goes on says so again from
    /// the first leaf on: until it has come as far as the one before, that one's claim says more.
    pub fn fill(&mut self, filled: u32, base: Lsn) {
        if filled > 0 && filled >= self.filled {
            self.filled = filled;
            self.filled_since = base;
        }
    }

    /// Whether the list annuls what a claim was made as of.
    pub fn is_annulled_by(&self, list: &TruncationList) -> bool {
        list.annuls(self.since) || list.annuls(self.filled_since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_replaced_by_one_that_says_as_much() {
        let mut kept = Kept::complete_as_of(Lsn(5));
        kept.fill(0, Lsn(10));
        assert_eq!(kept, Kept::complete_as_of(Lsn(5)));
        kept.fill(3, Lsn(10));
        let since = |kept: &Kept| [0, 2, 3].map(|leaf| kept.since_of(leaf).0);
        assert_eq!(since(&kept), [10, 10, 5]);
        kept.fill(2, Lsn(20));
        assert_eq!(since(&kept), [10, 10, 5]);
        kept.fill(3, Lsn(20));
        assert_eq!(since(&kept), [20, 20, 5]);
    }
}
