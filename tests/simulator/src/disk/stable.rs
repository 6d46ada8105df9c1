//! What a disk holds on stable storage: what was written and not synced may be gone after the next
//! power cut, so nobody may build on it.

use super::{File, MemoryDisk, PagedFile};
use redoubt_volume::format::superblock::{SLOT_BYTES, SLOTS, Superblock};

impl MemoryDisk {
    /// Whether extents have writes that were not synced. A disk that ignores syncs says nothing.
    pub fn has_unsynced_log(&self) -> bool {
        let mut unsynced = self.unsynced.iter();
        !self.damage.syncs_are_ignored && unsynced.any(|write| write.file != File::Superblock)
    }

    /// The disk as it is after a power cut that takes everything that was not synced.
    pub fn stable(&self) -> MemoryDisk {
        let mut stable = MemoryDisk::of_image(self.image.clone());
        stable.bad_pages.clone_from(&self.bad_pages);
        for write in self.unsynced.iter().rev() {
            stable.undo(write);
        }
        stable
    }

    /// The newest superblock that such a power cut leaves.
    pub fn stable_superblock(&self) -> Option<Superblock> {
        let mut file = self.image.files.get(&File::Superblock)?.clone();
        let unsynced = self.unsynced.iter().rev();
        for write in unsynced.filter(|write| write.file == File::Superblock) {
            for (index, old) in write.old.iter().enumerate() {
                file.restore(write.first + index, old.clone());
            }
        }
        newest(&file)
    }
}

/// The newest superblock of a file that checks.
pub(super) fn newest(file: &PagedFile) -> Option<Superblock> {
    let mut bytes = vec![0; SLOTS * SLOT_BYTES];
    file.read(0, &mut bytes);
    Superblock::newest(&bytes).ok()
}
