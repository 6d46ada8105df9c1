//! Comparing the copies of a leaf by version. Pure.
//!
//! A copy of a block is a version (the LSN of its newest record) and a checksum. Nodes take records
//! in at different times, so versions may differ and both be right. With a node that has taken in
//! everything up to `p`: the version `x` of a block there must be the version of every node that
//! has taken in at least `x` and at most `p`; a block that is gone there may have been discarded
//! since, unless both have taken in the same.

use super::repair::Expected;
use crate::ids::{GroupBlock, NodeId};
use crate::lsn::Lsn;
use crate::message::{BlockDigest, LeafDigests};
use crate::planted::{Bug, is_planted};
use std::collections::{BTreeMap, BTreeSet};

/// As many copies must agree before one of the others is called wrong.
const WITNESSES: usize = 3;

/// What the copies of a leaf say of each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// Blocks that any copy has.
    pub(super) blocks: u64,
    /// Copies that were read.
    pub(super) copies: u64,
    /// Copies that do not check.
    pub(super) damaged: BTreeSet<(NodeId, GroupBlock)>,
    /// Copies that check, and hold something else than most do at the same version.
    pub(super) differing: BTreeSet<(NodeId, GroupBlock)>,
    /// Nodes that have another version than most, or none: they lost something.
    pub(super) lost: BTreeSet<(NodeId, GroupBlock)>,
    /// Blocks of which nobody can say who is right.
    pub(super) split: BTreeSet<GroupBlock>,
    /// Blocks that could not be compared, since they are being changed.
    pub(super) changing: BTreeSet<GroupBlock>,
    /// Nodes whose page of the index did not check.
    pub(super) index_damaged: BTreeSet<NodeId>,
    /// What the damaged and differing ones should hold.
    pub(super) expected: Expected,
}

/// A node's copy of one block.
#[derive(Clone, Copy, Debug)]
struct Copy {
    node: NodeId,
    applied: Lsn,
    block: Option<BlockDigest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Agree,
    Contradict,
    /// One of them may have what the other has yet to take in.
    Open,
}

impl Copy {
    fn content(&self) -> Option<u32> {
        self.block.and_then(|block| block.content)
    }

    fn version(&self) -> Option<Lsn> {
        self.block.map(|block| block.lsn)
    }

    /// `floor`: what both must have taken in before versions that differ are believed.
    fn relation(&self, other: &Copy, floor: Lsn) -> Relation {
        let (late, early) = if self.applied >= other.applied {
            (self, other)
        } else {
            (other, self)
        };
        if late.version() == early.version() {
            return match (late.content(), early.content()) {
                (Some(one), Some(two)) if one != two => Relation::Contradict,
                _ => Relation::Agree,
            };
        }
        let is_absent = late.block.is_none() || early.block.is_none();
        if is_absent && is_planted(Bug::AbsenceNotCompared) {
            return Relation::Agree;
        }
        let is_due = match late.version() {
            Some(version) => version <= early.applied,
            None => late.applied == early.applied,
        };
        if is_due && early.applied >= floor {
            Relation::Contradict
        } else {
            Relation::Open
        }
    }
}

/// Compares the copies of a leaf. Differences of versions are believed of nodes that have taken in
/// everything up to `floor`: a segment that was filled just now may have blocks, or lack some, as of
/// later than what it has taken in.
pub(super) fn compare(copies: &BTreeMap<NodeId, LeafDigests>, floor: Lsn) -> Verdict {
    let mut verdict = Verdict::default();
    let mut by_block: BTreeMap<GroupBlock, BTreeMap<NodeId, BlockDigest>> = BTreeMap::new();
    for (node, leaf) in copies {
        if leaf.index_damaged {
            verdict.index_damaged.insert(*node);
        }
        for block in &leaf.blocks {
            by_block
                .entry(block.block)
                .or_default()
                .insert(*node, *block);
        }
    }
    for (block, digests) in &by_block {
        let copy = |(node, leaf): (&NodeId, &LeafDigests)| Copy {
            node: *node,
            applied: leaf.applied,
            block: digests.get(node).copied(),
        };
        let of_block: Vec<Copy> = copies.iter().map(copy).collect();
        verdict.blocks += 1;
        verdict.copies += digests.len() as u64;
        verdict.judge(*block, &of_block, floor);
    }
    verdict
}

impl Verdict {
    /// Whether nothing is wrong and nothing is left open.
    pub(super) fn is_clean(&self) -> bool {
        self.damaged.is_empty()
            && self.differing.is_empty()
            && self.lost.is_empty()
            && self.split.is_empty()
            && self.changing.is_empty()
            && self.index_damaged.is_empty()
    }

    fn judge(&mut self, block: GroupBlock, copies: &[Copy], floor: Lsn) {
        let count = |copy: &Copy, relation: Relation| {
            let others = copies.iter().filter(|other| other.node != copy.node);
            others
                .filter(|other| copy.relation(other, floor) == relation)
                .count()
        };
        // Of those that can be compared with it, most say otherwise.
        let is_wrong = |copy: &&Copy| {
            let against = count(copy, Relation::Contradict);
            against >= WITNESSES && against > count(copy, Relation::Agree) + 1
        };
        let (wrong, right): (Vec<&Copy>, Vec<&Copy>) = copies.iter().partition(is_wrong);
        let quarrels = |copy: &&Copy| {
            let mut others = right.iter();
            others.any(|other| copy.relation(other, floor) == Relation::Contradict)
        };
        if right.iter().any(quarrels) || !wrong.is_empty() && right.len() < WITNESSES {
            self.split.insert(block);
        } else {
            self.blame(block, &wrong, &right);
        }
        let is_open = |copy: &Copy| count(copy, Relation::Open) > 0;
        if copies.iter().any(is_open) {
            self.changing.insert(block);
        }
        let is_damaged = |copy: &&Copy| copy.block.is_some_and(|digest| digest.content.is_none());
        let damaged = copies.iter().filter(is_damaged);
        self.damaged.extend(damaged.map(|copy| (copy.node, block)));
    }

    /// Notes who is wrong, and what is right.
    fn blame(&mut self, block: GroupBlock, wrong: &[&Copy], right: &[&Copy]) {
        for copy in wrong {
            let mut others = right.iter();
            let same = others.any(|other| other.version() == copy.version());
            if same {
                self.differing.insert((copy.node, block));
            } else {
                self.lost.insert((copy.node, block));
            }
        }
        let proven = right.iter().filter_map(|copy| {
            let digest = copy.block?;
            Some((digest.lsn, digest.content?))
        });
        if let Some(newest) = proven.max() {
            self.expected.insert(block, newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One block's copies: (applied, version, content); version 0: there is none; content 0: it is
    /// damaged.
    fn verdict(copies: &[(u64, u64, u32)], floor: u64) -> Verdict {
        let leaf = |(node, (applied, lsn, content)): (u16, &(u64, u64, u32))| {
            let block = BlockDigest {
                block: GroupBlock(7),
                lsn: Lsn(*lsn),
                content: Some(*content).filter(|content| *content > 0),
            };
            let leaf = LeafDigests {
                applied: Lsn(*applied),
                blocks: vec![block]
                    .into_iter()
                    .filter(|b| b.lsn.is_some())
                    .collect(),
                next_leaf: None,
                index_damaged: false,
            };
            (NodeId(node), leaf)
        };
        let copies = (0..).zip(copies).map(leaf).collect();
        compare(&copies, Lsn(floor))
    }

    fn nodes(set: &BTreeSet<(NodeId, GroupBlock)>) -> Vec<u16> {
        set.iter().map(|(node, _)| node.0).collect()
    }

    #[test]
    fn copies_that_agree_are_clean_and_damage_is_named() {
        let same = (9, 5, 1);
        assert!(verdict(&[same; 6], 0).is_clean());
        let found = verdict(&[same, (9, 5, 0), same, same, same, (9, 5, 0)], 0);
        assert_eq!(nodes(&found.damaged), [1, 5]);
        assert!(found.differing.is_empty() && found.split.is_empty());
        assert_eq!(found.expected[&GroupBlock(7)], (Lsn(5), 1));
    }

    #[test]
    fn most_copies_of_a_version_decide_what_it_holds() {
        let (one, two) = ((9, 5, 1), (9, 5, 2));
        let found = verdict(&[one, one, two, one, one, two], 0);
        assert_eq!(nodes(&found.differing), [2, 5]);
        assert_eq!(found.expected[&GroupBlock(7)], (Lsn(5), 1));
        for nobody in [
            &[one, one, one, two, two, two][..],
            &[one, one, two],
            &[one, two],
            &[one, one, two, two, (9, 5, 3), (9, 5, 3)],
        ] {
            let found = verdict(nobody, 0);
            assert!(found.split.contains(&GroupBlock(7)), "{nobody:?}");
            assert!(found.differing.is_empty() && found.expected.is_empty());
        }
        assert_eq!(
            nodes(&verdict(&[one, two, one, one, one], 0).differing),
            [1]
        );
    }

    #[test]
    fn a_version_that_a_node_should_have_and_has_not_is_lost() {
        let (new, old, none) = ((9, 5, 1), (9, 3, 2), (9, 0, 0));
        for lost in [old, none, (7, 3, 2)] {
            let found = verdict(&[new, new, lost, new, new, new], 0);
            assert_eq!(nodes(&found.lost), [2], "{lost:?}");
        }
        // A block that comes back after its discard.
        let found = verdict(&[none, none, none, none, old, none], 0);
        assert_eq!(nodes(&found.lost), [4]);
    }

    #[test]
    fn what_may_yet_be_taken_in_is_no_difference() {
        let (new, old, none) = ((9, 8, 1), (7, 3, 2), (9, 0, 0));
        for copies in [[new, old], [none, old], [(9, 8, 1), (7, 0, 0)]] {
            let found = verdict(&[copies[0], copies[0], copies[0], copies[1]], 0);
            assert!(found.lost.is_empty() && found.split.is_empty());
            assert!(found.changing.contains(&GroupBlock(7)), "{copies:?}");
        }
        // It was filled as of later than it has taken in.
        let found = verdict(&[(9, 5, 1), (9, 5, 1), (9, 5, 1), (9, 0, 0)], 10);
        assert!(found.lost.is_empty() && !found.changing.is_empty());
    }
}
