//! What a disk holds on stable storage: what was written and not synced may be gone after the next
//! power cut, so nobody may build on it.

use super::{File, MemoryDisk};
use redoubt_volume::format::superblock::{SLOT_BYTES, SLOTS, Superblock, SuperblockError};
use redoubt_volume::page::{PAGE_BYTES, PageBuf, Pages};

/// Pages of a slot.
const SLOT_PAGES: usize = SLOT_BYTES / PAGE_BYTES;

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
        let file = self.image.files.get(&File::Superblock)?;
        newest(|page| match self.oldest_unsynced(page) {
            Some(old) if page < file.page_count() => old,
            _ => file.page(page),
        })
    }

    /// What a page of the superblock was before all writes to it that were not synced, if there
    /// are any.
    fn oldest_unsynced(&self, page: usize) -> Option<Option<&Pages>> {
        let writes = self.unsynced.iter();
        let mut writes = writes.filter(|write| write.file == File::Superblock);
        let old = writes.find_map(|write| write.old.get(page.checked_sub(write.first)?));
        old.map(Option::as_ref)
    }
}

/// The newest superblock that checks, in a file of such pages.
pub(super) fn newest<'a>(page: impl Fn(usize) -> Option<&'a Pages>) -> Option<Superblock> {
    let slots = (0..SLOTS).map(|slot| decode(slot * SLOT_PAGES, &page));
    Superblock::newest_of(slots).ok()
}

/// Decodes a slot from its first page, which mostly holds all that is in it; then from all pages.
fn decode<'a>(
    first: usize,
    page: &impl Fn(usize) -> Option<&'a Pages>,
) -> Result<Superblock, SuperblockError> {
    let of_first = Superblock::decode(page(first).map_or(&[], |page| page.bytes()));
    of_first.or_else(|_| {
        let mut slot = PageBuf::zeroed(SLOT_PAGES);
        for (index, bytes) in slot.bytes_mut().chunks_mut(PAGE_BYTES).enumerate() {
            if let Some(page) = page(first + index) {
                bytes.copy_from_slice(page.bytes());
            }
        }
        Superblock::decode(slot.bytes())
    })
}
