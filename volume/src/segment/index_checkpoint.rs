//! How a checkpoint writes the block index.
//!
//! The order: write the leaves of [`BlockIndex::dirty_leaves`]; load and report all orphans
//! ([`BlockIndex::next_orphan`]); with none left, encode all of [`BlockIndex::dirty_directories`]
//! at once and write them; then the root, with [`BlockIndex::directories`] and
//! [`BlockIndex::usage_on_disk`]. Records may be applied all the while: what they change is not
//! part of this checkpoint, and is found again by the replay.

use crate::format::index_page::{IndexIdentity, Location, PageRef, encode_leaf};
use crate::ids::GroupId;
use crate::lsn::Lsn;
use crate::page::PageBuf;
use crate::segment::block_index::{BlockIndex, MissingLeaf};
use crate::segment::extent_usage::ExtentUsage;
use crate::segment::leaf::payload_bytes;
use crate::segment::leaf_directory::{DirectoryId, LeafId, PageDamaged, PageState};

impl BlockIndex {
    /// The leaves that differ from what is on disk: group and number.
    pub fn dirty_leaves(&self) -> Vec<(GroupId, u32)> {
        let ids = self.leaves.dirty().map(|(id, _)| (id.group, id.leaf));
        ids.collect()
    }

    /// The pages of a leaf, to be placed in the log; then call [`BlockIndex::leaf_written`] before
    /// the leaf is encoded again. `None` when there is nothing to write: the leaf is not in
    /// memory, or is empty and with that gone, its old pages taken out of `usage`.
    ///
    /// # Errors
    /// The leaf is an overlay: its base must be loaded first.
    pub fn encode_leaf(
        &mut self,
        identity: &IndexIdentity,
        group: GroupId,
        leaf: u32,
        usage: &mut ExtentUsage,
    ) -> Result<Option<PageBuf>, MissingLeaf> {
        let id = LeafId { group, leaf };
        let Some(leaf) = self.leaves.get(id) else {
            return Ok(None);
        };
        if leaf.is_empty() {
            self.leaves.remove(id);
            if let Some(old) = self.directories.clear(id) {
                usage.subtract(old.extent, old.bytes());
            }
            return Ok(None);
        }
        if let Some(missing) = self.missing(id).filter(|_| leaf.is_overlay()) {
            return Err(missing);
        }
        let pages = encode_leaf(identity, group, id.leaf, leaf.fragments());
        self.leaves.set_state(id, |leaf, _| {
            leaf.note_encoded();
            PageState::Writing
        });
        Ok(Some(pages))
    }

    /// The encoded leaf has its place in the log. It is clean now, unless it was changed since.
    pub fn leaf_written(
        &mut self,
        group: GroupId,
        leaf: u32,
        page: PageRef,
        usage: &mut ExtentUsage,
    ) {
        let id = LeafId { group, leaf };
        let newest = self.leaves.get(id).map_or(Lsn::MAX, |leaf| leaf.newest());
        let old = self.directories.place(id, page, newest);
        usage.subtract(old.extent, old.bytes());
        usage.add(page.at.extent, page.at.bytes());
        self.leaves.set_state(id, |_, state| state.written());
        self.evict();
    }

    /// Gives out the next leaf that a discard dropped unread. It must be loaded and handed to
    /// [`BlockIndex::orphan_loaded`] before a directory is encoded: an orphan that no directory
    /// names any more would stay charged for ever after a reopen.
    pub fn next_orphan(&mut self) -> Option<MissingLeaf> {
        self.orphans.pop_front()
    }

    /// Takes what an orphan refers to, and its own pages, out of `usage`. To be called once for
    /// each. Without bytes, or with damaged ones, what it refers to is unknown and stays charged
    /// until its extents are emptied.
    pub fn orphan_loaded(
        &mut self,
        identity: &IndexIdentity,
        orphan: &MissingLeaf,
        bytes: Option<&[u8]>,
        usage: &mut ExtentUsage,
    ) {
        let at = orphan.page.at;
        usage.subtract(at.extent, at.bytes());
        let decode = |bytes| orphan.decode(identity, bytes);
        match bytes.and_then(decode) {
            Some(fragments) => fragments
                .iter()
                .for_each(|fragment| usage.subtract(fragment.extent, payload_bytes(fragment))),
            None => usage.lose_track(),
        }
    }

    /// The directories that differ from what is on disk: group and number.
    pub fn dirty_directories(&self) -> Vec<(GroupId, u32)> {
        let ids = self.directories.dirty();
        ids.map(|id| (id.group, id.number)).collect()
    }

    /// The page of a directory, to be placed in the log; then call
    /// [`BlockIndex::directory_written`]. `None` when it is empty and with that gone, its old page
    /// taken out of `usage`.
    pub fn encode_directory(
        &mut self,
        identity: &IndexIdentity,
        group: GroupId,
        number: u32,
        usage: &mut ExtentUsage,
    ) -> Option<PageBuf> {
        let id = DirectoryId { group, number };
        self.directories.encode(identity, id, usage)
    }

    /// The encoded directory has its place in the log. It is clean now, unless it was changed
    /// since.
    pub fn directory_written(
        &mut self,
        group: GroupId,
        number: u32,
        page: PageRef,
        usage: &mut ExtentUsage,
    ) {
        let id = DirectoryId { group, number };
        self.directories.written(id, page, usage);
    }

    /// The directories that are on disk, for the root.
    pub fn directories(&self) -> Vec<(GroupId, u32, PageRef)> {
        let rows = self.directories.on_disk();
        rows.map(|(id, page)| (id.group, id.number, page)).collect()
    }

    /// The part of `usage` that the pages on disk account for, for the root: the rest comes from
    /// records that the replay puts in again, which charges them again. To be asked when all
    /// leaves and directories that were encoded have their place. `usage` may contain charges of
    /// others besides.
    pub fn usage_on_disk(&self, usage: &ExtentUsage) -> ExtentUsage {
        let mut on_disk = usage.clone();
        for (_, leaf) in self.leaves.dirty() {
            leaf.undo_unwritten(&mut on_disk);
        }
        on_disk
    }

    /// Takes in a directory at open, as a checkpoint's root locates it. Charges nothing: the
    /// root's extent rows contain it. `announced` is the VDL that the root names: what its leaves
    /// hold above that, the replay puts in again.
    ///
    /// # Errors
    /// The page is damaged: the index is as before.
    pub fn load_directory(
        &mut self,
        identity: &IndexIdentity,
        group: GroupId,
        number: u32,
        page: PageRef,
        announced: Lsn,
        bytes: &[u8],
    ) -> Result<(), PageDamaged> {
        let id = DirectoryId { group, number };
        self.directories.load(identity, id, page, announced, bytes)
    }

    /// Whether the leaf lies there; then it is dirty, so that the next checkpoint moves it.
    pub fn relocate_leaf_if_at(&mut self, group: GroupId, leaf: u32, location: Location) -> bool {
        let lies_there = self.leaf_location(group, leaf) == Some(location);
        if lies_there {
            self.change(LeafId { group, leaf }, |_| (true, ()));
        }
        lies_there
    }

    /// Whether the directory lies there; then it is dirty, so that the next checkpoint moves it.
    pub fn relocate_directory_if_at(
        &mut self,
        group: GroupId,
        number: u32,
        location: Location,
    ) -> bool {
        let id = DirectoryId { group, number };
        self.directories.relocate_if_at(id, location)
    }
}
