//! A node's block index: block of a group → the records that it is built from.
//!
//! Holds only records at or below the applied point. Leaves are evictable pages of the node's log;
//! what is not in memory is asked for with [`MissingLeaf`], loaded by the node, and handed in with
//! [`BlockIndex::leaf_loaded`]. Inserting and discarding never wait for a leaf. How a checkpoint
//! writes the index is in `index_checkpoint`.

use crate::format::index_page::{
    Fragment, IndexIdentity, LEAF_BLOCKS, Location, PageRef, decode_leaf,
};
use crate::ids::{GroupBlock, GroupId};
use crate::lsn::Lsn;
use crate::page::PAGE_BYTES;
use crate::segment::coverage::recency;
use crate::segment::extent_usage::ExtentUsage;
use crate::segment::leaf::Leaf;
use crate::segment::leaf_cache::LeafCache;
use crate::segment::leaf_directory::{LeafDirectories, LeafId, PageDamaged};
use std::collections::VecDeque;

/// A leaf that must be loaded before the question can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingLeaf {
    /// The group.
    pub group: GroupId,
    /// Number of the leaf in the group.
    pub leaf: u32,
    /// Its page in the log.
    pub page: PageRef,
}

impl MissingLeaf {
    fn id(&self) -> LeafId {
        let (group, leaf) = (self.group, self.leaf);
        LeafId { group, leaf }
    }

    /// Its fragments, if these are the page's bytes.
    pub(super) fn decode(&self, identity: &IndexIdentity, bytes: &[u8]) -> Option<Vec<Fragment>> {
        let fragments = decode_leaf(identity, self.group, self.leaf, bytes);
        fragments.filter(|_| self.page.is(bytes))
    }
}

impl LeafId {
    fn missing_at(self, page: PageRef) -> MissingLeaf {
        MissingLeaf {
            group: self.group,
            leaf: self.leaf,
            page,
        }
    }
}

/// The index of all groups of a node.
#[derive(Debug)]
pub struct BlockIndex {
    pub(super) leaves: LeafCache,
    pub(super) directories: LeafDirectories,
    /// Leaves that a discard dropped unread: what they refer to is still charged.
    pub(super) orphans: VecDeque<MissingLeaf>,
    budget_bytes: usize,
}

impl BlockIndex {
    /// An empty index that keeps to so many bytes of memory, as far as its dirty leaves and its
    /// directories let it.
    pub fn new(budget_bytes: usize) -> BlockIndex {
        BlockIndex {
            leaves: LeafCache::default(),
            directories: LeafDirectories::default(),
            orphans: VecDeque::new(),
            budget_bytes,
        }
    }

    /// Memory of leaves and directories.
    pub fn memory_bytes(&self) -> usize {
        self.leaves.memory_bytes() + self.directories.memory_bytes()
    }

    /// Memory that only a checkpoint can free.
    pub fn dirty_bytes(&self) -> usize {
        self.leaves.dirty_bytes()
    }

    /// Bytes that the leaves of a checkpoint take now, about: each is filled up to whole pages.
    pub fn checkpoint_bytes(&self) -> u64 {
        (self.leaves.dirty_count() * PAGE_BYTES + self.dirty_bytes()) as u64
    }

    /// Whether a checkpoint is due: the dirty leaves take more than half of what leaves may take,
    /// and reads need room for clean ones while the checkpoint runs.
    pub fn wants_checkpoint(&self) -> bool {
        self.dirty_bytes() > self.leaf_budget() / 2
    }

    /// Directories come first, yet never leave less than a quarter for leaves.
    fn leaf_budget(&self) -> usize {
        let rest = self
            .budget_bytes
            .saturating_sub(self.directories.memory_bytes());
        rest.max(self.budget_bytes / 4)
    }

    pub(super) fn evict(&mut self) {
        self.leaves.evict(self.leaf_budget());
    }

    /// Puts a record in: of the group's chain in LSN order, or one of the node's own at any time.
    /// `fragment.block` is the block's number in its leaf. Returns how many fragments of the
    /// block are known now.
    pub fn insert(
        &mut self,
        group: GroupId,
        block: GroupBlock,
        fragment: Fragment,
        usage: &mut ExtentUsage,
    ) -> usize {
        let (id, in_leaf) = LeafId::of(group, block);
        let fragment = Fragment {
            block: in_leaf,
            ..fragment
        };
        let count = self.change(id, |leaf| {
            let changed = leaf.insert(fragment, usage);
            (changed, leaf.block(in_leaf).len())
        });
        self.evict();
        count
    }

    /// Changes a leaf; one that is not in memory becomes an overlay of what lies on disk.
    pub(super) fn change<R>(
        &mut self,
        id: LeafId,
        apply: impl FnOnce(&mut Leaf) -> (bool, R),
    ) -> R {
        let directories = &self.directories;
        let fresh = || match directories.find(id) {
            Some((_, newest)) => Leaf::overlay(newest),
            None => Leaf::default(),
        };
        self.leaves.change(id, fresh, apply)
    }

    /// Drops what `count` blocks from `first` on hold of records up to `upto`. Costs what exists
    /// there, not the length of the run; loads nothing.
    pub fn discard(
        &mut self,
        group: GroupId,
        first: GroupBlock,
        count: u32,
        upto: Lsn,
        usage: &mut ExtentUsage,
    ) {
        let end = first.0.saturating_add(count);
        let mut from = first.0 / LEAF_BLOCKS;
        while let Some(id) = self.next(group, from, end.div_ceil(LEAF_BLOCKS)) {
            let leaf_start = id.leaf * LEAF_BLOCKS;
            let start = first.0.max(leaf_start) - leaf_start;
            let blocks = (end - leaf_start).min(LEAF_BLOCKS) - start;
            if blocks < LEAF_BLOCKS || !self.orphan(id, upto) {
                self.change(id, |leaf| {
                    (leaf.discard(start as u8, blocks, upto, usage), ())
                });
            }
            from = id.leaf + 1;
        }
        self.evict();
    }

    /// Drops a leaf that is not in memory and holds nothing above `upto`, unread.
    fn orphan(&mut self, leaf: LeafId, upto: Lsn) -> bool {
        if self.leaves.get(leaf).is_some() {
            return false;
        }
        let older = self
            .directories
            .find(leaf)
            .filter(|(_, newest)| *newest <= upto);
        let Some((page, _)) = older else {
            return false;
        };
        self.directories.clear(leaf);
        self.orphans.push_back(leaf.missing_at(page));
        true
    }

    /// The first leaf of the group from number `from` up to `end` (exclusive), in memory or on
    /// disk.
    fn next(&self, group: GroupId, from: u32, end: u32) -> Option<LeafId> {
        let on_disk = self.directories.next(group, from, end);
        let range = [from, end].map(|leaf| LeafId { group, leaf });
        let in_memory = self.leaves.next(range[0], range[1]);
        on_disk.into_iter().chain(in_memory).min()
    }

    /// The first leaf of the group from number `from` on that exists.
    pub fn next_leaf(&self, group: GroupId, from: u32) -> Option<u32> {
        self.next(group, from, u32::MAX).map(|id| id.leaf)
    }

    /// How many leaves of the group exist.
    pub fn count_leaves(&self, group: GroupId) -> u32 {
        let first = self.next_leaf(group, 0);
        let next = |leaf: &u32| self.next_leaf(group, leaf + 1);
        std::iter::successors(first, next).count() as u32
    }

    /// All groups that have a leaf, ascending.
    pub fn groups(&self) -> Vec<GroupId> {
        let mut groups = Vec::new();
        let mut next = self.next_group(GroupId(0));
        while let Some(group) = next {
            groups.push(group);
            next = group
                .0
                .checked_add(1)
                .and_then(|from| self.next_group(GroupId(from)));
        }
        groups
    }

    fn next_group(&self, from: GroupId) -> Option<GroupId> {
        let first = LeafId {
            group: from,
            leaf: 0,
        };
        let last = LeafId {
            group: GroupId(u32::MAX),
            leaf: u32::MAX,
        };
        let in_memory = self.leaves.next(first, last).map(|id| id.group);
        let on_disk = self.directories.next_group(from);
        in_memory.into_iter().chain(on_disk).min()
    }

    /// Where the leaf lies on disk, if it does.
    pub fn leaf_location(&self, group: GroupId, leaf: u32) -> Option<Location> {
        let found = self.directories.find(LeafId { group, leaf });
        found.map(|(page, _)| page.at)
    }

    /// The page of a leaf, if it lies anywhere.
    pub fn leaf_page(&self, group: GroupId, leaf: u32) -> Option<PageRef> {
        let found = self.directories.find(LeafId { group, leaf });
        found.map(|(page, _)| page)
    }

    /// The fragments that `count` blocks from `block` on are built from, ascending by block, then
    /// oldest first, each with its block counted from `block`. A block without fragments is zeros.
    ///
    /// # Errors
    /// A leaf that must be loaded first.
    pub fn lookup(
        &mut self,
        group: GroupId,
        block: GroupBlock,
        count: u32,
    ) -> Result<Vec<(u32, Fragment)>, MissingLeaf> {
        let mut found = Vec::new();
        let end = block.0.saturating_add(count);
        let mut from = block.0 / LEAF_BLOCKS;
        while let Some(id) = self.next(group, from, end.div_ceil(LEAF_BLOCKS)) {
            let first = id.block(0).0.max(block.0);
            for number in first..end.min(id.block(0).0 + LEAF_BLOCKS) {
                let fragments = self.block(group, GroupBlock(number))?;
                found.extend(fragments.iter().map(|f| (number - block.0, *f)));
            }
            self.leaves.touch(id);
            from = id.leaf + 1;
        }
        Ok(found)
    }

    /// The fragments of one block, oldest first.
    fn block(&self, group: GroupId, block: GroupBlock) -> Result<&[Fragment], MissingLeaf> {
        let (id, in_leaf) = LeafId::of(group, block);
        let leaf = self.leaves.get(id).filter(|leaf| leaf.knows(in_leaf));
        match leaf {
            Some(leaf) => Ok(leaf.block(in_leaf)),
            None => self.missing(id).map_or(Ok(&[]), Err),
        }
    }

    /// The leaf as something to be loaded; `None` when it does not lie on disk.
    pub(super) fn missing(&self, leaf: LeafId) -> Option<MissingLeaf> {
        let (page, _) = self.directories.find(leaf)?;
        Some(leaf.missing_at(page))
    }

    /// The newest LSN in a block; `None` when nothing was written there.
    ///
    /// # Errors
    /// A leaf that must be loaded first.
    pub fn newest(&self, group: GroupId, block: GroupBlock) -> Result<Option<Lsn>, MissingLeaf> {
        let fragments = self.block(group, block)?;
        Ok(fragments.last().map(|fragment| fragment.lsn))
    }

    /// Which blocks of a leaf have any content, a bit per block.
    ///
    /// # Errors
    /// The leaf must be loaded first.
    pub fn presence(&mut self, group: GroupId, leaf: u32) -> Result<u64, MissingLeaf> {
        let id = LeafId { group, leaf };
        match self.leaves.touch(id).map(Leaf::present) {
            Some(Some(present)) => Ok(present),
            _ => self.missing(id).map_or(Ok(0), Err),
        }
    }

    /// Whether the index refers to this record at this very place.
    ///
    /// # Errors
    /// A leaf that must be loaded first.
    pub fn is_live(
        &self,
        group: GroupId,
        block: GroupBlock,
        record: &Fragment,
    ) -> Result<bool, MissingLeaf> {
        let (id, in_leaf) = LeafId::of(group, block);
        let in_memory = self
            .leaves
            .get(id)
            .map_or(&[][..], |leaf| leaf.block(in_leaf));
        let same = in_memory
            .iter()
            .find(|known| recency(known) == recency(record));
        let Some(known) = same else {
            // The base may have it; a leaf that needs no base has shown what there is.
            return self.block(group, block).map(|_| false);
        };
        Ok((known.extent, known.page) == (record.extent, record.page))
    }

    /// Takes in a leaf that was missing, as it was read from its place. A leaf that has moved or is
    /// in memory already is ignored.
    ///
    /// # Errors
    /// The pages are damaged: the index is as before.
    pub fn leaf_loaded(
        &mut self,
        identity: &IndexIdentity,
        missing: MissingLeaf,
        bytes: &[u8],
        usage: &mut ExtentUsage,
    ) -> Result<(), PageDamaged> {
        if !self.lacks(missing) {
            return Ok(());
        }
        let fragments = missing.decode(identity, bytes);
        let fragments = fragments.ok_or(PageDamaged(missing.page.at))?;
        let id = missing.id();
        if self.leaves.get(id).is_some() {
            self.leaves.change(id, Leaf::default, |leaf| {
                leaf.merge_base(fragments, usage);
                (true, ())
            });
        } else {
            self.leaves.add_clean(id, Leaf::loaded(fragments));
        }
        self.evict();
        Ok(())
    }

    /// Whether content of the leaf lies there and was not read.
    fn lacks(&self, leaf: MissingLeaf) -> bool {
        let resident = self.leaves.get(leaf.id());
        let resident = resident.is_some_and(|leaf| !leaf.is_overlay());
        !resident && self.missing(leaf.id()) == Some(leaf)
    }

    /// Gives up a missing leaf that cannot be read: what it located is not there any more. Its
    /// pages are taken out of `usage`; what it referred to is unknown and stays charged until its
    /// extents are emptied. Ignored where [`BlockIndex::leaf_loaded`] would be.
    pub fn forget_base(&mut self, missing: MissingLeaf, usage: &mut ExtentUsage) {
        if !self.lacks(missing) {
            return;
        }
        let (id, at) = (missing.id(), missing.page.at);
        self.directories.clear(id);
        usage.subtract(at.extent, at.bytes());
        usage.lose_track();
        if self.leaves.get(id).is_some() {
            self.leaves.change(id, Leaf::default, |leaf| {
                leaf.forget_base();
                (true, ())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::checksum::checksum;
    use crate::format::index_page::encode_leaf;
    use crate::geometry::BLOCK_BYTES;
    use crate::ids::{ExtentSequence, Incarnation, NodeId, VolumeId};
    use crate::segment::leaf::payload_bytes;

    const GROUP: GroupId = GroupId(3);

    fn image(lsn: u64, page: u32) -> Fragment {
        Fragment {
            lsn: Lsn(lsn),
            extent: ExtentSequence(1),
            page,
            start: 0,
            end: BLOCK_BYTES as u16,
            block: 0,
            checksums: [0; 4],
        }
    }

    #[test]
    fn hot_images_take_at_most_48_bytes_a_block() {
        let (mut index, mut usage) = (BlockIndex::new(1 << 30), ExtentUsage::default());
        for block in 0..64 * 256 {
            index.insert(GROUP, GroupBlock(block), image(1, block), &mut usage);
        }
        assert!(
            index.memory_bytes() <= 48 * 64 * 256,
            "{}",
            index.memory_bytes()
        );
    }

    #[test]
    fn a_discard_of_a_whole_group_touches_only_what_exists() {
        let (mut index, mut usage) = (BlockIndex::new(1 << 20), ExtentUsage::default());
        for (lsn, block) in [(1, 0), (2, 70), (3, 655_359)] {
            index.insert(GROUP, GroupBlock(block), image(lsn, block), &mut usage);
        }
        index.insert(GroupId(4), GroupBlock(5), image(4, 9), &mut usage);
        index.discard(GROUP, GroupBlock(0), 655_360, Lsn(2), &mut usage);
        assert_eq!(usage.total(), 2 * BLOCK_BYTES as u64);
        assert_eq!(index.newest(GROUP, GroupBlock(70)), Ok(None));
        assert_eq!(index.newest(GROUP, GroupBlock(655_359)), Ok(Some(Lsn(3))));
        assert_eq!(index.newest(GroupId(4), GroupBlock(5)), Ok(Some(Lsn(4))));
        assert_eq!(index.groups(), [GROUP, GroupId(4)]);
        for block in [0, 70] {
            index.discard(GROUP, GroupBlock(block), u32::MAX, Lsn::MAX, &mut usage);
        }
        assert_eq!(usage.total(), BLOCK_BYTES as u64);
    }

    #[test]
    fn what_the_replay_meets_again_does_not_drop_what_is_newer_on_disk() {
        let identity = IndexIdentity {
            volume: VolumeId([1; 16]),
            node: NodeId(0),
            incarnation: Incarnation(1),
        };
        let (mut index, mut usage) = (BlockIndex::new(1 << 20), ExtentUsage::default());
        let newer = Fragment {
            block: 1,
            ..image(5, 4)
        };
        for fragment in [image(3, 0), newer] {
            usage.add(fragment.extent, payload_bytes(&fragment));
        }
        let pages = encode_leaf(&identity, GROUP, 0, &[image(3, 0), newer]);
        let (leaf, _) = LeafId::of(GROUP, GroupBlock(0));
        let at = Location {
            extent: ExtentSequence(2),
            page: 7,
            pages: 1,
        };
        let page = PageRef {
            at,
            checksum: checksum(pages.bytes()),
        };
        index.directories.place(leaf, page, Lsn(5));
        index.discard(GROUP, GroupBlock(0), LEAF_BLOCKS, Lsn(4), &mut usage);
        assert_eq!(index.next_orphan(), None);

        let missing = leaf.missing_at(page);
        assert_eq!(index.lookup(GROUP, GroupBlock(0), 2), Err(missing));
        let mut load = |leaf, bytes| index.leaf_loaded(&identity, leaf, bytes, &mut usage);
        let elsewhere = leaf.missing_at(PageRef::default());
        assert_eq!(load(elsewhere, pages.bytes()), Ok(()));
        let older = encode_leaf(&identity, GROUP, 0, &[image(3, 0)]);
        for wrong in [&[][..], older.bytes()] {
            assert_eq!(load(missing, wrong), Err(PageDamaged(at)));
        }
        assert_eq!(index.lookup(GROUP, GroupBlock(0), 2), Err(missing));

        let bytes = pages.bytes();
        let loaded = index.leaf_loaded(&identity, missing, bytes, &mut usage);
        assert_eq!(loaded, Ok(()));
        let found = index.lookup(GROUP, GroupBlock(0), 2);
        assert_eq!(found, Ok(vec![(1, newer)]));
        assert_eq!(usage.total(), payload_bytes(&newer));
    }

    #[test]
    fn a_leaf_that_cannot_be_read_is_given_up() {
        let (mut index, mut usage) = (BlockIndex::new(1 << 20), ExtentUsage::default());
        let at = Location {
            extent: ExtentSequence(2),
            page: 7,
            pages: 1,
        };
        let page = PageRef { at, checksum: 9 };
        for leaf in 0..2 {
            let id = LeafId { group: GROUP, leaf };
            index.directories.place(id, page, Lsn(5));
            usage.add(at.extent, at.bytes());
        }
        index.insert(GROUP, GroupBlock(1), image(6, 0), &mut usage);
        for leaf in 0..2 {
            let id = LeafId { group: GROUP, leaf };
            index.forget_base(id.missing_at(PageRef::default()), &mut usage);
            assert!(index.presence(GROUP, leaf).is_err());
            index.forget_base(id.missing_at(page), &mut usage);
        }
        assert_eq!(
            [index.presence(GROUP, 0), index.presence(GROUP, 1)],
            [Ok(2), Ok(0)]
        );
        assert_eq!(usage.get(at.extent), 0);
    }
}
