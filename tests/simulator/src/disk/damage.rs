//! What a disk does to its owner, beside forgetting.

use super::file::{SECTOR_BYTES, SECTORS_PER_PAGE};
use super::{DiskImage, File, MemoryDisk};
use crate::random::Random;

/// Something that happens to the next access of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OneShot {
    /// The append or its sync fails; any part of it is there.
    FailAppend,
    /// The same of a superblock.
    FailSuperblock,
    /// The read fails.
    FailRead,
    /// Another place is read.
    MisdirectRead,
    /// The write is acknowledged and not done.
    LoseWrite,
    /// The write goes to another place.
    MisdirectWrite,
}

/// How a disk misbehaves.
#[derive(Clone, Debug, Default)]
pub struct Damage {
    /// Syncs do nothing: the negative control.
    pub syncs_are_ignored: bool,
    /// Allocation fails above so many bytes of extents.
    pub capacity: Option<usize>,
    /// Nothing completes.
    pub stuck: bool,
    /// Everything takes so many times longer.
    pub slowness: u32,
    /// What happens to the next access of its kind.
    pub armed: Vec<OneShot>,
}

impl Damage {
    /// Whether this happens now; it happens once.
    pub(super) fn take(&mut self, shot: OneShot) -> bool {
        let at = self.armed.iter().position(|armed| *armed == shot);
        at.map(|at| self.armed.swap_remove(at)).is_some()
    }
}

/// Damage to content at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One bit is another.
    Bit,
    /// A sector is zeros.
    Zeros,
    /// A page is what it was before its last write.
    Stale,
    /// A page cannot be read until it is written again.
    Unreadable,
}

impl MemoryDisk {
    /// Where a write really goes; `None`: nowhere.
    pub(super) fn aim(&mut self, file: File, first: usize) -> Option<(File, usize)> {
        if file == File::Superblock {
            return Some((file, first));
        }
        if self.damage.take(OneShot::LoseWrite) {
            return None;
        }
        if self.damage.take(OneShot::MisdirectWrite) {
            return Some((file, first / 2));
        }
        Some((file, first))
    }

    pub(super) fn elsewhere(&self, file: File, first: usize, random: &mut Random) -> usize {
        let pages = self
            .image
            .files
            .get(&file)
            .map_or(1, |content| content.page_count());
        let other = random.index(pages.max(1));
        if other == first { other + 1 } else { other }
    }

    /// Flips bytes of a file.
    pub fn corrupt(&mut self, file: File, offset: usize, length: usize) {
        let Some(content) = self.image.files.get_mut(&file) else {
            return;
        };
        for at in offset..offset + length {
            content.change(at / 4096, |page| page[at % 4096] ^= 0x5a);
        }
    }

    /// Flips bytes of every page of the log that `is_hit` accepts; how many these are.
    pub fn corrupt_pages(&mut self, is_hit: impl Fn(&[u8]) -> bool) -> usize {
        let mut hit = Vec::new();
        for (file, content) in &self.image.files {
            let is_extent = matches!(file, File::Extent(_));
            let pages = content.written_pages().filter(|_| is_extent);
            let pages = pages.filter(|page| content.page(*page).is_some_and(|p| is_hit(p.bytes())));
            hit.extend(pages.map(|page| (*file, page)));
        }
        for (file, page) in &hit {
            self.corrupt(*file, page * 4096 + 100, 8);
        }
        hit.len()
    }

    /// Lets something rot in a page of a file.
    pub fn rot(&mut self, kind: Rot, (file, page): (File, usize), random: &mut Random) {
        let Some(content) = self.image.files.get_mut(&file) else {
            return;
        };
        match kind {
            Rot::Bit => {
                let bit = random.index(4096 * 8);
                content.change(page, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            }
            Rot::Zeros => {
                let first = random.index(SECTORS_PER_PAGE) * SECTOR_BYTES;
                content.change(page, |bytes| bytes[first..first + SECTOR_BYTES].fill(0));
            }
            Rot::Stale => {
                content.make_stale(page);
            }
            Rot::Unreadable => {
                self.bad_pages.insert((file, page));
            }
        }
    }

    /// A page of an extent that was written, if there is one.
    pub fn some_page(&self, random: &mut Random) -> Option<(File, usize)> {
        let file = self.some_extent(random)?;
        let written: Vec<usize> = self.image.files.get(&file)?.written_pages().collect();
        Some((file, *random.pick(&written)?))
    }

    /// An extent file, if there is one.
    pub fn some_extent(&self, random: &mut Random) -> Option<File> {
        let extents: Vec<File> = self.extent_files().map(|(file, _)| file).collect();
        random.pick(&extents).copied()
    }

    /// Deletes a file.
    pub fn lose_file(&mut self, file: File) {
        self.image.files.remove(&file);
    }

    /// Makes a file shorter or longer by pages.
    pub fn resize_file(&mut self, file: File, change: impl FnOnce(usize) -> usize) {
        if let Some(content) = self.image.files.get_mut(&file) {
            let pages = change(content.page_count());
            content.resize(pages);
        }
    }

    /// Puts a file of another disk in the place of this one's.
    pub fn swap_file(&mut self, file: File, other: &DiskImage) -> bool {
        let foreign = other.files.get(&file).cloned();
        foreign.is_some_and(|content| self.image.files.insert(file, content).is_some())
    }

    /// Everything is as it was at an earlier moment.
    pub fn roll_back(&mut self, image: DiskImage) {
        self.image = image;
        self.unsynced.clear();
        self.removed.clear();
        self.queue.clear();
    }
}
