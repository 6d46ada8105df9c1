//! A leaf of the block index in memory: the fragments of 64 blocks.
//!
//! What a leaf holds is a function of the set of records put into it, not of their order: of each
//! block it keeps exactly those fragments that give a byte which no newer one gives. Its old
//! content may still lie on disk: then the leaf is an overlay, takes new fragments all the same,
//! and is merged with its base when somebody has loaded it.

use crate::format::index_page::{Fragment, LEAF_BLOCKS};
use crate::lsn::Lsn;
use crate::page::PAGE_BYTES;
use crate::planted::{Bug, is_planted};
use crate::segment::coverage::{Uncovered, byte_range, recency};
use crate::segment::extent_usage::{ExtentUsage, UsageChange};
use std::ops::Range;

/// How much room for fragments is added at least when it runs out: divides 64, so that a leaf of
/// 64 images wastes none.
const GROWTH_FRAGMENTS: usize = 8;

/// The part of an overlay's content that lies on disk.
#[derive(Debug)]
struct Base {
    /// No record in it is newer.
    newest: Lsn,
    /// For each block: records of the base up to here were discarded. None where no block was.
    discarded: Option<Box<[Lsn; LEAF_BLOCKS as usize]>>,
}

/// The fragments of 64 blocks.
#[derive(Debug, Default)]
pub struct Leaf {
    /// Ascending by block, then by recency.
    fragments: Vec<Fragment>,
    /// Not loaded yet, if any.
    base: Option<Base>,
    /// Charged since the content was last read from disk or encoded for it.
    change: UsageChange,
}

/// Payload bytes of a fragment in the log.
pub fn payload_bytes(fragment: &Fragment) -> u64 {
    u64::from(fragment.pages()) * PAGE_BYTES as u64
}

impl Leaf {
    /// A leaf whose content lies on disk; no record there is newer than `newest`.
    pub fn overlay(newest: Lsn) -> Leaf {
        let base = Base {
            newest,
            discarded: None,
        };
        Leaf {
            base: Some(base),
            ..Leaf::default()
        }
    }

    /// A leaf as it was read from disk.
    pub fn loaded(fragments: Vec<Fragment>) -> Leaf {
        let mut leaf = Leaf::default();
        leaf.set_fragments(fragments);
        leaf
    }

    fn set_fragments(&mut self, mut fragments: Vec<Fragment>) {
        fragments.sort_unstable_by_key(|fragment| (fragment.block, recency(fragment)));
        fragments.shrink_to_fit();
        self.fragments = fragments;
    }

    /// Whether a part of its content lies on disk, unread.
    pub fn is_overlay(&self) -> bool {
        self.base.is_some()
    }

    /// Whether it holds nothing, in memory or on disk.
    pub fn is_empty(&self) -> bool {
        self.fragments.is_empty() && self.base.is_none()
    }

    /// All fragments in memory, ascending by block, then oldest first.
    pub fn fragments(&self) -> &[Fragment] {
        &self.fragments
    }

    /// The fragments of a block that are in memory, oldest first.
    pub fn block(&self, block: u8) -> &[Fragment] {
        &self.fragments[self.run(block, 1)]
    }

    fn run(&self, first: u8, count: u32) -> Range<usize> {
        let end = u32::from(first) + count;
        self.first_of(u32::from(first))..self.first_of(end)
    }

    /// Where the fragments of `block` begin, or would. Looked for from where they would be if all
    /// blocks had as many: the memory of leaves is seldom in a cache, and every step may miss it.
    fn first_of(&self, block: u32) -> usize {
        let all = &self.fragments[..];
        let is_before = |at: usize| u32::from(all[at].block) < block;
        // Before `low` are fragments of earlier blocks only, from `high` on none.
        let (mut low, mut high, mut step) = (0, all.len(), 1);
        let guess = all.len() * block as usize / LEAF_BLOCKS as usize;
        if guess < high && is_before(guess) {
            low = guess + 1;
            while low + step <= high {
                let probe = low + step - 1;
                if !is_before(probe) {
                    high = probe;
                    break;
                }
                (low, step) = (probe + 1, 2 * step);
            }
        } else {
            high = guess;
            while step <= high {
                let probe = high - step;
                if is_before(probe) {
                    low = probe + 1;
                    break;
                }
                (high, step) = (probe, 2 * step);
            }
        }
        let between = &all[low..high];
        low + between.partition_point(|fragment| u32::from(fragment.block) < block)
    }

    /// The newest LSN in memory; none without fragments.
    pub fn newest(&self) -> Lsn {
        let lsns = self.fragments.iter().map(|fragment| fragment.lsn);
        lsns.max().unwrap_or(Lsn::NONE)
    }

    /// Memory besides the struct itself.
    pub fn heap_bytes(&self) -> usize {
        let discarded = self.base.as_ref().and_then(|base| base.discarded.as_ref());
        self.fragments.capacity() * size_of::<Fragment>()
            + discarded.map_or(0, |discarded| size_of_val(&**discarded))
            + self.change.heap_bytes()
    }

    /// Whether the block can be built from what is in memory: there is no base, or all that it
    /// may have of the block is discarded or covered.
    pub fn knows(&self, block: u8) -> bool {
        let Some(base) = &self.base else {
            return true;
        };
        if base.hides_all_of(block) {
            return true;
        }
        let mut uncovered = Uncovered::block();
        let newer = |fragment: &&Fragment| fragment.lsn >= base.newest;
        for fragment in self.block(block).iter().filter(newer) {
            uncovered.take(byte_range(fragment), |_| ());
        }
        uncovered.is_empty()
    }

    /// Bit per block that has any content; `None` when that depends on the base.
    pub fn present(&self) -> Option<u64> {
        let bit = |fragment: &Fragment| 1_u64 << fragment.block;
        let present = self.fragments.iter().map(bit).fold(0, |all, bit| all | bit);
        let certain = |base: &Base| {
            (0..LEAF_BLOCKS as u8)
                .all(|block| present & (1 << block) != 0 || base.hides_all_of(block))
        };
        self.base.as_ref().is_none_or(certain).then_some(present)
    }

    /// Puts a fragment in, wherever it belongs, and drops what it makes superfluous. A record that
    /// is there already is moved to the new place. Returns whether anything changed.
    pub fn insert(&mut self, fragment: Fragment, usage: &mut ExtentUsage) -> bool {
        let run = self.run(fragment.block, 1);
        let older = |known: &Fragment| recency(known) < recency(&fragment);
        let at = run.start + self.fragments[run.clone()].partition_point(older);
        if at < run.end && recency(&self.fragments[at]) == recency(&fragment) {
            return self.relocate(at, fragment, usage);
        }
        if self.covers(at..run.end, &fragment) {
            return false;
        }
        if at == run.end && !fragment.is_image() && self.overwrite(run.start..at, &fragment, usage)
        {
            return true;
        }
        self.charge(&fragment, usage);
        self.make_room();
        if fragment.is_image() {
            let upto = if is_planted(Bug::ImageHidesNewer) {
                run.end
            } else {
                at
            };
            self.release(run.start..upto, usage);
            self.fragments.splice(run.start..upto, [fragment]);
        } else {
            self.fragments.insert(at, fragment);
            self.prune(run.start, run.end + 1, usage);
        }
        true
    }

    /// Puts the newest fragment of a block in the place of the only one that it makes superfluous,
    /// as an overwrite of the same bytes does: what is behind the block stays where it is. `false`
    /// where it is not so.
    fn overwrite(
        &mut self,
        older: Range<usize>,
        fragment: &Fragment,
        usage: &mut ExtentUsage,
    ) -> bool {
        let bytes = byte_range(fragment);
        let meets = |known: &Fragment| {
            let known = byte_range(known);
            known.start < bytes.end && bytes.start < known.end
        };
        // What is older than one of the same bytes gives none of them already.
        let last = self.fragments[older.clone()].iter().rposition(meets);
        let place = last.map(|last| older.start + last);
        let Some(place) = place.filter(|place| byte_range(&self.fragments[*place]) == bytes) else {
            return false;
        };
        self.charge(fragment, usage);
        self.release(place..place + 1, usage);
        self.fragments[place] = *fragment;
        self.fragments[place..older.end].rotate_left(1);
        true
    }

    fn relocate(&mut self, at: usize, fragment: Fragment, usage: &mut ExtentUsage) -> bool {
        if self.fragments[at] == fragment {
            return false;
        }
        self.release(at..at + 1, usage);
        self.charge(&fragment, usage);
        self.fragments[at] = fragment;
        true
    }

    fn covers(&self, newer: Range<usize>, fragment: &Fragment) -> bool {
        if newer.is_empty() {
            return false;
        }
        let mut uncovered = Uncovered::range(byte_range(fragment));
        for known in &self.fragments[newer] {
            uncovered.take(byte_range(known), |_| ());
        }
        uncovered.is_empty()
    }

    /// Drops the fragments of one block (those of `start..end`) that give no byte any more.
    fn prune(&mut self, start: usize, end: usize, usage: &mut ExtentUsage) {
        let mut uncovered = Uncovered::block();
        for at in (start..end).rev() {
            if !uncovered.take(byte_range(&self.fragments[at]), |_| ()) {
                self.release(at..at + 1, usage);
                self.fragments.remove(at);
            }
        }
    }

    /// Exact growth in small steps: doubling would cost more memory than it saves time.
    fn make_room(&mut self) {
        if self.fragments.len() == self.fragments.capacity() {
            let more = GROWTH_FRAGMENTS.max(self.fragments.len() / GROWTH_FRAGMENTS);
            self.fragments.reserve_exact(more);
        }
    }

    fn charge(&mut self, fragment: &Fragment, usage: &mut ExtentUsage) {
        let bytes = payload_bytes(fragment);
        usage.add(fragment.extent, bytes);
        self.change.note(fragment.extent, bytes as i64);
    }

    fn release(&mut self, dead: Range<usize>, usage: &mut ExtentUsage) {
        for fragment in &self.fragments[dead] {
            release(fragment, &mut self.change, usage);
        }
    }

    /// Drops what `count` blocks from `first` on hold of records up to `upto`, in memory and on
    /// disk. Returns whether anything changed.
    pub fn discard(&mut self, first: u8, count: u32, upto: Lsn, usage: &mut ExtentUsage) -> bool {
        let run = self.run(first, count);
        let change = &mut self.change;
        let dead = self
            .fragments
            .extract_if(run, |fragment| fragment.lsn <= upto);
        let dropped = dead
            .map(|fragment| release(&fragment, change, usage))
            .count();
        if let Some(base) = &mut self.base {
            base.discard(first, count, upto);
        }
        dropped > 0 || self.base.is_some()
    }

    /// Joins the overlay with its base, now loaded; without a base nothing happens.
    pub fn merge_base(&mut self, fragments: Vec<Fragment>, usage: &mut ExtentUsage) {
        let Some(base) = self.base.take() else {
            return;
        };
        let overlay = std::mem::take(&mut self.fragments);
        let discarded = |f: &Fragment| f.lsn <= base.discarded_upto(f.block);
        let (dead, alive): (Vec<_>, Vec<_>) = fragments.into_iter().partition(discarded);
        self.set_fragments(alive);
        for fragment in &dead {
            release(fragment, &mut self.change, usage);
        }
        for fragment in overlay {
            // Charged already: `insert` charges it anew if it is to stay.
            release(&fragment, &mut self.change, usage);
            self.insert(fragment, usage);
        }
    }

    /// Gives up what lies on disk: it cannot be read.
    pub fn forget_base(&mut self) {
        self.base = None;
    }

    /// Notes that the content is encoded as it is now, to be written.
    pub fn note_encoded(&mut self) {
        self.change = UsageChange::default();
    }

    /// Takes out of `usage` what the leaf charged since it was read or encoded.
    pub fn undo_unwritten(&self, usage: &mut ExtentUsage) {
        self.change.undo(usage);
    }
}

fn release(fragment: &Fragment, change: &mut UsageChange, usage: &mut ExtentUsage) {
    let bytes = payload_bytes(fragment);
    usage.subtract(fragment.extent, bytes);
    change.note(fragment.extent, -(bytes as i64));
}

impl Base {
    fn discarded_upto(&self, block: u8) -> Lsn {
        let upto = |discarded: &[Lsn; 64]| discarded[usize::from(block)];
        self.discarded.as_deref().map_or(Lsn::NONE, upto)
    }

    fn hides_all_of(&self, block: u8) -> bool {
        self.discarded_upto(block) >= self.newest
    }

    fn discard(&mut self, first: u8, count: u32, upto: Lsn) {
        let blocks = usize::from(first)..usize::from(first) + count as usize;
        let none = || Box::new([Lsn::NONE; LEAF_BLOCKS as usize]);
        for known in &mut self.discarded.get_or_insert_with(none)[blocks] {
            *known = upto.max(*known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::BLOCK_BYTES;
    use crate::ids::ExtentSequence;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    enum Change {
        Put { block: u8, start: u16, end: u16 },
        Discard { first: u8, count: u32 },
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let block = 0..3_u8;
        let bytes = prop_oneof![
            Just((0, BLOCK_BYTES as u16)),
            (0..4_u16, 1..3_u16).prop_map(|(page, pages)| {
                let end = (page + pages).min(4) * PAGE_BYTES as u16;
                (page * PAGE_BYTES as u16, end)
            }),
            (0..BLOCK_BYTES as u16, 1..6000_u16)
                .prop_map(|(start, length)| (start, (start + length).min(BLOCK_BYTES as u16))),
        ];
        let put =
            (block, bytes).prop_map(|(block, (start, end))| Change::Put { block, start, end });
        let discard =
            (0..3_u8, 1..3_u32).prop_map(|(first, count)| Change::Discard { first, count });
        prop::collection::vec(prop_oneof![9 => put, 1 => discard], 1..60)
    }

    fn fragment(lsn: usize, block: u8, start: u16, end: u16) -> Fragment {
        Fragment {
            lsn: Lsn(lsn as u64),
            extent: ExtentSequence(1 + lsn as u32 / 7),
            page: lsn as u32,
            start,
            end,
            block,
            checksums: [0; 4],
        }
    }

    /// LSN n is change n - 1.
    fn apply(leaf: &mut Leaf, changes: &[Change], lsns: Range<usize>, usage: &mut ExtentUsage) {
        for lsn in lsns {
            match changes[lsn - 1] {
                Change::Put { block, start, end } => {
                    leaf.insert(fragment(lsn, block, start, end), usage);
                }
                Change::Discard { first, count } => {
                    leaf.discard(first, count, Lsn(lsn as u64), usage);
                }
            }
        }
    }

    /// The LSN that wrote each byte, found by writing bytes in LSN order.
    fn model(changes: &[Change]) -> Vec<u64> {
        let mut bytes = vec![0; 6 * BLOCK_BYTES];
        for (lsn, change) in (1..).zip(changes) {
            let (block, range, value) = match *change {
                Change::Put { block, start, end } => (block, usize::from(start)..end.into(), lsn),
                Change::Discard { first, count } => (first, 0..count as usize * BLOCK_BYTES, 0),
            };
            let at = usize::from(block) * BLOCK_BYTES;
            bytes[at + range.start..at + range.end].fill(value);
        }
        bytes
    }

    fn visible(leaf: &Leaf) -> Vec<u64> {
        let mut bytes = vec![0; 6 * BLOCK_BYTES];
        for fragment in leaf.fragments() {
            let at = usize::from(fragment.block) * BLOCK_BYTES;
            bytes[at + usize::from(fragment.start)..at + usize::from(fragment.end)]
                .fill(fragment.lsn.0);
        }
        bytes
    }

    fn charged(leaf: &Leaf) -> ExtentUsage {
        let row = |fragment: &Fragment| (fragment.extent, payload_bytes(fragment));
        leaf.fragments().iter().map(row).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 400 }))]

        #[test]
        fn content_is_a_function_of_the_set(
            changes in changes(),
            [split, replay, load] in any::<[prop::sample::Index; 3]>(),
        ) {
            let end = changes.len() + 1;
            let (mut straight, mut usage) = (Leaf::default(), ExtentUsage::default());
            apply(&mut straight, &changes, 1..end, &mut usage);
            prop_assert_eq!(visible(&straight), model(&changes));
            prop_assert_eq!(&usage, &charged(&straight));

            // Written and evicted after `split`, replayed from `replay`, merged before `load`.
            let split = split.index(end) + 1;
            let replay = replay.index(split) + 1;
            let load = load.index(end - replay + 1) + replay;
            let (mut base, mut usage) = (Leaf::default(), ExtentUsage::default());
            apply(&mut base, &changes, 1..split, &mut usage);
            let mut overlay = Leaf::overlay(Lsn(split as u64 - 1));
            apply(&mut overlay, &changes, replay..load, &mut usage);
            for block in (0..3).filter(|block| load >= split && overlay.knows(*block)) {
                let expected = model(&changes[..load - 1]);
                let block = usize::from(block) * BLOCK_BYTES..usize::from(block + 1) * BLOCK_BYTES;
                prop_assert_eq!(&visible(&overlay)[block.clone()], &expected[block]);
            }
            overlay.merge_base(base.fragments().to_vec(), &mut usage);
            apply(&mut overlay, &changes, load..end, &mut usage);
            prop_assert_eq!(visible(&overlay), model(&changes));
            prop_assert_eq!(overlay.fragments(), straight.fragments());
            prop_assert_eq!(&usage, &charged(&overlay));

            // What happened since the base was encoded can be taken back.
            overlay.undo_unwritten(&mut usage);
            prop_assert_eq!(&usage, &charged(&base));
        }
    }

    #[test]
    fn four_page_deltas_end_a_chain_like_an_image() {
        let (mut leaf, mut usage) = (Leaf::overlay(Lsn(3)), ExtentUsage::default());
        leaf.insert(fragment(3, 0, 0, 16384), &mut usage);
        assert!(leaf.knows(0) && !leaf.knows(1) && leaf.present().is_none());
        for page in 0..4 {
            leaf.insert(
                fragment(4 + page, 0, page as u16 * 4096, page as u16 * 4096 + 4096),
                &mut usage,
            );
        }
        let lsns: Vec<u64> = leaf
            .block(0)
            .iter()
            .map(|fragment| fragment.lsn.0)
            .collect();
        assert_eq!(lsns, [4, 5, 6, 7]);
    }

    #[test]
    fn an_image_beats_deltas_of_its_lsn_whichever_comes_first() {
        let (image, delta) = (fragment(5, 0, 0, 16384), fragment(5, 0, 10, 20));
        for order in [[image, delta], [delta, image]] {
            let (mut leaf, mut usage) = (Leaf::default(), ExtentUsage::default());
            for fragment in order {
                leaf.insert(fragment, &mut usage);
            }
            assert_eq!(leaf.block(0), [image]);
            assert_eq!(usage, charged(&leaf));
        }
    }

    #[test]
    fn an_older_local_image_does_not_hide_the_base() {
        let (mut leaf, mut usage) = (Leaf::overlay(Lsn(60)), ExtentUsage::default());
        leaf.insert(fragment(50, 0, 0, 16384), &mut usage);
        assert!(!leaf.knows(0));
        let newer = fragment(60, 0, 0, 100);
        usage.add(newer.extent, payload_bytes(&newer));
        leaf.merge_base(vec![newer], &mut usage);
        assert_eq!(leaf.block(0).len(), 2);
        assert_eq!(usage, charged(&leaf));
    }
}
