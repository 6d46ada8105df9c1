//! The simulated disk of one node: files in memory that take what the node asks of its disk, and
//! forget at a power cut some of what was not synced, sector by sector.
//!
//! `file` — pages; `damage` — everything that a disk does to its owner; `power` — power cuts;
//! `stable` — what one of them must leave.

mod damage;
mod file;
mod power;
mod stable;

pub use damage::{Damage, OneShot, Rot};
pub use file::{PagedFile, SECTOR_BYTES};
pub use power::CutStory;

use crate::random::Random;
use power::Unsynced;
use redoubt_volume::format::superblock::{SLOT_BYTES, SLOTS, Superblock};
use redoubt_volume::ids::ExtentSlot;
use redoubt_volume::page::{PAGE_BYTES, PageBuf, Pages};
use redoubt_volume::segment::effect::{DiskCompletion, DiskError, NodeEffect, OperationId};
use redoubt_volume::segment::materialize;
use redoubt_volume::segment::recovery::LogReader;
use std::collections::{BTreeMap, BTreeSet};

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum File {
    /// The two slots of the superblock.
    Superblock,
    /// An extent of the log.
    Extent(ExtentSlot),
}

/// Everything that is on a disk at a moment.
#[derive(Clone, Debug, Default)]
pub struct DiskImage {
    files: BTreeMap<File, PagedFile>,
}

/// Names an effect that the disk works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskToken(u64);

/// A disk; see the module's page.
#[derive(Debug)]
pub struct MemoryDisk {
    image: DiskImage,
    /// Writes that were carried out and not yet synced, oldest first.
    unsynced: Vec<Unsynced>,
    /// Files that were deleted since the last power cut: their folder was not synced.
    removed: Vec<(File, PagedFile)>,
    queue: BTreeMap<DiskToken, NodeEffect>,
    next_token: u64,
    /// Pages that cannot be read until they are written again.
    bad_pages: BTreeSet<(File, usize)>,
    /// How the disk misbehaves.
    pub damage: Damage,
}

impl MemoryDisk {
    /// A disk with a node's first superblock on it.
    pub fn create(superblock: &Superblock) -> MemoryDisk {
        let file = PagedFile::of_pages(SLOTS * SLOT_BYTES / PAGE_BYTES);
        let mut disk = MemoryDisk::of_image(DiskImage {
            files: BTreeMap::from([(File::Superblock, file)]),
        });
        disk.write_superblock(superblock);
        disk
    }

    /// Puts a superblock into its slot.
    pub fn write_superblock(&mut self, superblock: &Superblock) {
        let first = superblock.slot() * SLOT_BYTES / PAGE_BYTES;
        let slot = superblock.encode().share();
        if let Some(file) = self.image.files.get_mut(&File::Superblock) {
            (0..slot.page_count()).for_each(|page| file.put(first + page, slot.slice(page, 1)));
        }
    }

    /// A disk with this on it.
    pub fn of_image(image: DiskImage) -> MemoryDisk {
        MemoryDisk {
            image,
            unsynced: Vec::new(),
            removed: Vec::new(),
            queue: BTreeMap::new(),
            next_token: 0,
            bad_pages: BTreeSet::new(),
            damage: Damage::default(),
        }
    }

    /// What is on it now.
    pub fn image(&self) -> &DiskImage {
        &self.image
    }

    /// The newest superblock that checks.
    pub fn superblock(&self) -> Option<Superblock> {
        let file = self.image.files.get(&File::Superblock)?;
        stable::newest(|page| file.page(page))
    }

    /// Slots of the superblock that check.
    pub fn good_superblocks(&self) -> usize {
        let file = self.image.files.get(&File::Superblock);
        let slots = (0..SLOTS).filter(|slot| {
            let pages = SLOT_BYTES / PAGE_BYTES;
            let slot = file.map(|file| file.copy(slot * pages, pages));
            slot.is_some_and(|slot| Superblock::decode(slot.bytes()).is_ok())
        });
        slots.count()
    }

    /// Bytes of all extent files.
    pub fn log_bytes(&self) -> usize {
        self.extent_files().map(|(_, bytes)| bytes).sum()
    }

    /// Extent files and their lengths in bytes.
    pub fn extent_files(&self) -> impl Iterator<Item = (File, usize)> + '_ {
        let extents = self.image.files.iter();
        let extents = extents.filter(|(file, _)| **file != File::Superblock);
        extents.map(|(file, content)| (*file, content.page_count() * PAGE_BYTES))
    }

    /// Takes an effect; its completion is asked for by [`MemoryDisk::complete`]. What needs no
    /// completion gives no token.
    pub fn submit(&mut self, effect: NodeEffect) -> Option<DiskToken> {
        let token = DiskToken(self.next_token);
        match &effect {
            NodeEffect::Remove { slot } => {
                let file = File::Extent(*slot);
                let content = self.image.files.remove(&file);
                self.removed.extend(content.map(|content| (file, content)));
                return None;
            }
            NodeEffect::Append {
                slot,
                offset,
                parts,
                ..
            } => self.write(
                token,
                File::Extent(*slot),
                *offset as usize / PAGE_BYTES,
                parts,
            ),
            NodeEffect::WriteSuperblock { slot, bytes, .. } => {
                let first = slot * SLOT_BYTES / PAGE_BYTES;
                self.write(token, File::Superblock, first, std::slice::from_ref(bytes));
            }
            _ => {}
        }
        self.next_token += 1;
        self.queue.insert(token, effect);
        Some(token)
    }

    /// Whether effects are under way.
    pub fn is_busy(&self) -> bool {
        !self.queue.is_empty()
    }

    fn write(&mut self, token: DiskToken, file: File, first: usize, parts: &[Pages]) {
        let Some((file, first)) = self.aim(file, first) else {
            return;
        };
        let Some(content) = self.image.files.get_mut(&file) else {
            return;
        };
        let new: Vec<Pages> = parts.iter().map(file::to_keep).collect();
        let mut old = Vec::with_capacity(new.iter().map(Pages::page_count).sum());
        for page in power::pages_of(&new) {
            let index = first + old.len();
            old.push(content.page(index).cloned());
            content.put(index, page);
            self.bad_pages.remove(&(file, index));
        }
        self.unsynced.push(Unsynced {
            token,
            file,
            first,
            new,
            old,
        });
    }

    /// Ends an effect: what was to be synced is. `None` for what is not under way any more.
    pub fn complete(&mut self, token: DiskToken, random: &mut Random) -> Option<DiskCompletion> {
        match self.queue.remove(&token)? {
            NodeEffect::Append { operation, .. } => {
                Some(self.written(token, operation, OneShot::FailAppend, random))
            }
            NodeEffect::WriteSuperblock { operation, .. } => {
                Some(self.written(token, operation, OneShot::FailSuperblock, random))
            }
            NodeEffect::Allocate {
                operation,
                slot,
                bytes,
            } => {
                let result = self.allocate(File::Extent(slot), bytes as usize);
                Some(DiskCompletion::Done { operation, result })
            }
            NodeEffect::Read {
                operation,
                slot,
                offset,
                pages,
            } => {
                let first = offset as usize / PAGE_BYTES;
                let source = self.source_of_read(slot, first, pages, random);
                let result = source.map(|(file, first)| file.copy(first, pages));
                Some(DiskCompletion::Read { operation, result })
            }
            NodeEffect::ReadSuperblock { operation } => {
                let pages = SLOTS * SLOT_BYTES / PAGE_BYTES;
                let content = self.image.files.get(&File::Superblock);
                let result = content
                    .ok_or(DiskError::Failed)
                    .map(|file| file.copy(0, pages));
                Some(DiskCompletion::Read { operation, result })
            }
            NodeEffect::Materialize { operation, plan } => {
                let result = materialize::assemble(&plan, |slot, page, pages, target| {
                    let source = self.source_of_read(slot, page as usize, pages, random);
                    source.map(|(file, first)| file.read(first, pages, target))
                });
                Some(DiskCompletion::Materialized { operation, result })
            }
            NodeEffect::Remove { .. }
            | NodeEffect::Send(_)
            | NodeEffect::Tell { .. }
            | NodeEffect::Idle => None,
        }
    }

    /// A write has ended: it is on stable storage, or failed in the middle.
    fn written(
        &mut self,
        token: DiskToken,
        operation: OperationId,
        failure: OneShot,
        random: &mut Random,
    ) -> DiskCompletion {
        let result = if self.damage.take(failure) {
            self.fail_write(token, random);
            Err(DiskError::Failed)
        } else {
            let written = self.unsynced.iter().find(|write| write.token == token);
            if let Some(file) = written.map(|write| write.file) {
                self.sync_file(file);
            }
            Ok(())
        };
        DiskCompletion::Done { operation, result }
    }

    fn sync_file(&mut self, file: File) {
        if !self.damage.syncs_are_ignored {
            self.unsynced.retain(|write| write.file != file);
        }
    }

    fn allocate(&mut self, file: File, bytes: usize) -> Result<(), DiskError> {
        let pages = bytes.div_ceil(PAGE_BYTES);
        let now = self.image.files.get(&file).map_or(0, PagedFile::page_count);
        let total = self.log_bytes() + pages.saturating_sub(now) * PAGE_BYTES;
        if self.damage.capacity.is_some_and(|most| total > most) {
            return Err(DiskError::Full);
        }
        let content = self.image.files.entry(file).or_default();
        content.resize(pages.max(now));
        Ok(())
    }

    /// The file that a read gets, and from which page on, after what happens to reads.
    fn source_of_read(
        &mut self,
        slot: ExtentSlot,
        first: usize,
        pages: usize,
        random: &mut Random,
    ) -> Result<(&PagedFile, usize), DiskError> {
        let file = File::Extent(slot);
        if self.damage.take(OneShot::FailRead) || self.touches_bad_page(file, first, pages) {
            return Err(DiskError::Failed);
        }
        let mut from = first;
        if self.damage.take(OneShot::MisdirectRead) {
            from = self.elsewhere(file, first, random);
        }
        let content = self.image.files.get(&file).ok_or(DiskError::Failed)?;
        Ok((content, from))
    }

    fn touches_bad_page(&self, file: File, first: usize, pages: usize) -> bool {
        let mut bad = self.bad_pages.range((file, first)..(file, first + pages));
        bad.next().is_some()
    }
}

impl LogReader for MemoryDisk {
    fn extents(&self) -> Result<Vec<(ExtentSlot, u64)>, DiskError> {
        let extent = |(file, bytes)| match file {
            File::Extent(slot) => Some((slot, bytes as u64)),
            File::Superblock => None,
        };
        Ok(self.extent_files().filter_map(extent).collect())
    }

    fn sync_found(&mut self) -> Result<(), DiskError> {
        self.sync_file(File::Superblock);
        Ok(())
    }

    fn sync(&mut self, slot: ExtentSlot) -> Result<(), DiskError> {
        self.sync_file(File::Extent(slot));
        Ok(())
    }

    fn read(
        &self,
        slot: ExtentSlot,
        offset: u64,
        pages: usize,
        target: &mut PageBuf,
    ) -> Result<(), DiskError> {
        let (file, first) = (File::Extent(slot), offset as usize / PAGE_BYTES);
        if self.touches_bad_page(file, first, pages) {
            return Err(DiskError::Failed);
        }
        let content = self.image.files.get(&file).ok_or(DiskError::Failed)?;
        content.read(first, pages, target);
        Ok(())
    }
}
