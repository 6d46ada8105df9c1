//! Where each leaf of the block index lies on disk. Always in memory, for what exists.

use crate::format::index_page::{
    DIRECTORY_LEAVES, IndexIdentity, LEAF_BLOCKS, Location, PageRef, decode_directory,
    encode_directory,
};
use crate::ids::{GroupBlock, GroupId};
use crate::lsn::Lsn;
use crate::page::PageBuf;
use crate::segment::extent_usage::ExtentUsage;
use std::collections::BTreeMap;

const ROWS: u32 = DIRECTORY_LEAVES as u32;

/// A leaf of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeafId {
    /// The group.
    pub group: GroupId,
    /// Number of the leaf in the group.
    pub leaf: u32,
}

impl LeafId {
    /// The leaf of a block, and the block's number in it.
    pub fn of(group: GroupId, block: GroupBlock) -> (LeafId, u8) {
        let leaf = block.0 / LEAF_BLOCKS;
        (LeafId { group, leaf }, (block.0 % LEAF_BLOCKS) as u8)
    }

    /// A block of the leaf.
    pub fn block(self, in_leaf: u8) -> GroupBlock {
        GroupBlock(self.leaf * LEAF_BLOCKS + u32::from(in_leaf))
    }

    fn directory(self) -> (DirectoryId, usize) {
        let id = DirectoryId {
            group: self.group,
            number: self.leaf / ROWS,
        };
        (id, (self.leaf % ROWS) as usize)
    }
}

/// A directory of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirectoryId {
    /// The group.
    pub group: GroupId,
    /// Number of the directory in the group.
    pub number: u32,
}

/// How a leaf or directory in memory stands to its pages on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageState {
    /// The same.
    Clean,
    /// Changed since it was encoded, or never encoded.
    #[default]
    Dirty,
    /// Encoded as it is, not yet placed in the log.
    Writing,
}

impl PageState {
    /// The state when the encoded pages have got their place.
    pub fn written(self) -> PageState {
        match self {
            PageState::Dirty => PageState::Dirty,
            PageState::Writing | PageState::Clean => PageState::Clean,
        }
    }
}

/// An index page that is not what it should be, or does not check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an index page at {0:?} is damaged")]
pub struct PageDamaged(pub Location);

#[derive(Debug)]
struct Directory {
    leaves: Box<[PageRef]>,
    used: usize,
    page: PageRef,
    newest: Lsn,
    state: PageState,
}

impl Directory {
    fn empty() -> Directory {
        Directory {
            leaves: vec![PageRef::default(); DIRECTORY_LEAVES].into_boxed_slice(),
            used: 0,
            page: PageRef::default(),
            newest: Lsn::NONE,
            state: PageState::Dirty,
        }
    }

    fn set(&mut self, row: usize, leaf: PageRef) {
        self.used -= usize::from(self.leaves[row].is_some());
        self.used += usize::from(leaf.is_some());
        self.leaves[row] = leaf;
        self.state = PageState::Dirty;
    }
}

/// All directories of a node.
#[derive(Debug, Default)]
pub struct LeafDirectories {
    directories: BTreeMap<DirectoryId, Directory>,
}

impl LeafDirectories {
    /// The leaf's page, and a bound: no record in it is newer. `None`: it lies nowhere.
    pub fn find(&self, leaf: LeafId) -> Option<(PageRef, Lsn)> {
        let (id, row) = leaf.directory();
        let directory = self.directories.get(&id)?;
        let page = directory.leaves[row];
        page.is_some().then_some((page, directory.newest))
    }

    /// The first leaf of the group from leaf number `from` up to `end` (exclusive) that lies
    /// somewhere.
    pub fn next(&self, group: GroupId, from: u32, end: u32) -> Option<LeafId> {
        if from >= end {
            return None;
        }
        let first = LeafId { group, leaf: from }.directory().0;
        let last = LeafId {
            group,
            leaf: end - 1,
        }
        .directory()
        .0;
        let mut rows = self
            .directories
            .range(first..=last)
            .flat_map(|(id, directory)| {
                let base = id.number * ROWS;
                let start = from.saturating_sub(base) as usize;
                let row = (start..DIRECTORY_LEAVES).find(|row| directory.leaves[*row].is_some());
                row.map(|row| base + row as u32)
            });
        rows.next()
            .filter(|leaf| *leaf < end)
            .map(|leaf| LeafId { group, leaf })
    }

    /// Sets the leaf's page and how new its newest record can be; returns where it lay.
    pub fn place(&mut self, leaf: LeafId, page: PageRef, newest: Lsn) -> Location {
        let (id, row) = leaf.directory();
        let directory = self.directories.entry(id).or_insert_with(Directory::empty);
        let old = directory.leaves[row];
        directory.set(row, page);
        directory.newest = directory.newest.max(newest);
        old.at
    }

    /// The leaf lies nowhere any more; returns where it lay.
    pub fn clear(&mut self, leaf: LeafId) -> Option<Location> {
        let (old, _) = self.find(leaf)?;
        let (id, row) = leaf.directory();
        if let Some(directory) = self.directories.get_mut(&id) {
            directory.set(row, PageRef::default());
        }
        Some(old.at)
    }

    /// Takes a directory in as a checkpoint left it. `newest`: a bound for the records of all its
    /// leaves.
    pub fn load(
        &mut self,
        identity: &IndexIdentity,
        id: DirectoryId,
        page: PageRef,
        newest: Lsn,
        bytes: &[u8],
    ) -> Result<(), PageDamaged> {
        let leaves = decode_directory(identity, id.group, id.number, bytes);
        let leaves = leaves.filter(|_| page.is(bytes));
        let leaves = leaves.ok_or(PageDamaged(page.at))?.into_boxed_slice();
        let directory = Directory {
            used: leaves.iter().filter(|leaf| leaf.is_some()).count(),
            leaves,
            page,
            newest,
            state: PageState::Clean,
        };
        self.directories.insert(id, directory);
        Ok(())
    }

    /// The directories that are on disk, with their pages.
    pub fn on_disk(&self) -> impl Iterator<Item = (DirectoryId, PageRef)> + '_ {
        let on_disk = self
            .directories
            .iter()
            .filter(|(_, directory)| directory.page.is_some());
        on_disk.map(|(id, directory)| (*id, directory.page))
    }

    /// The directories that differ from what is on disk.
    pub fn dirty(&self) -> impl Iterator<Item = DirectoryId> + '_ {
        let rows = self.directories.iter();
        let dirty = rows.filter(|(_, directory)| directory.state != PageState::Clean);
        dirty.map(|(id, _)| *id)
    }

    /// The page of a directory, to be placed in the log; `None` when it is empty: then it is gone
    /// and its old page is taken out of `usage`.
    pub fn encode(
        &mut self,
        identity: &IndexIdentity,
        id: DirectoryId,
        usage: &mut ExtentUsage,
    ) -> Option<PageBuf> {
        let directory = self.directories.get_mut(&id)?;
        if directory.used == 0 {
            usage.subtract(directory.page.at.extent, directory.page.at.bytes());
            self.directories.remove(&id);
            return None;
        }
        directory.state = PageState::Writing;
        Some(encode_directory(
            identity,
            id.group,
            id.number,
            &directory.leaves,
        ))
    }

    /// The encoded page has its place.
    pub fn written(&mut self, id: DirectoryId, page: PageRef, usage: &mut ExtentUsage) {
        if let Some(directory) = self.directories.get_mut(&id) {
            usage.subtract(directory.page.at.extent, directory.page.at.bytes());
            usage.add(page.at.extent, page.at.bytes());
            directory.page = page;
            directory.state = directory.state.written();
        }
    }

    /// Makes the directory dirty if its page lies there; returns whether it does.
    pub fn relocate_if_at(&mut self, id: DirectoryId, at: Location) -> bool {
        let directory = self.directories.get_mut(&id);
        let directory = directory.filter(|directory| directory.page.at == at);
        directory
            .map(|directory| directory.state = PageState::Dirty)
            .is_some()
    }

    /// The first group from `from` on that has a directory.
    pub fn next_group(&self, from: GroupId) -> Option<GroupId> {
        let first = DirectoryId {
            group: from,
            number: 0,
        };
        self.directories
            .range(first..)
            .next()
            .map(|(id, _)| id.group)
    }

    /// Memory that the directories take.
    pub fn memory_bytes(&self) -> usize {
        let each = size_of::<(DirectoryId, Directory)>() + size_of::<[PageRef; DIRECTORY_LEAVES]>();
        self.directories.len() * each
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ExtentSequence;

    fn at(page: u32) -> PageRef {
        let at = Location {
            extent: ExtentSequence(1),
            page,
            pages: 1,
        };
        PageRef { at, checksum: 7 }
    }

    fn leaf(group: u32, leaf: u32) -> LeafId {
        let group = GroupId(group);
        LeafId { group, leaf }
    }

    #[test]
    fn the_next_leaf_is_found_across_directories_and_not_across_groups() {
        let mut directories = LeafDirectories::default();
        let leaves = [
            leaf(1, 3),
            leaf(1, ROWS * 2),
            leaf(1, ROWS * 2 + 7),
            leaf(2, 0),
        ];
        for (page, leaf) in leaves.into_iter().enumerate() {
            directories.place(leaf, at(page as u32), Lsn(9));
        }
        let next = |from, end| directories.next(GroupId(1), from, end).map(|id| id.leaf);
        assert_eq!(next(0, u32::MAX), Some(3));
        assert_eq!(next(4, u32::MAX), Some(ROWS * 2));
        assert_eq!(next(4, ROWS * 2), None);
        assert_eq!(next(ROWS * 2 + 1, u32::MAX), Some(ROWS * 2 + 7));
        assert_eq!(next(ROWS * 2 + 8, u32::MAX), None);
        assert_eq!(directories.next_group(GroupId(2)), Some(GroupId(2)));
        assert_eq!(directories.find(leaf(2, 0)), Some((at(3), Lsn(9))));
        assert_eq!(directories.find(leaf(2, 1)), None);
    }
}
