//! A file in memory, page by page, each page by reference count: a write of shared pages copies
//! nothing, and a snapshot of a whole disk costs a reference a page.

use redoubt_volume::page::{PAGE_BYTES, Page, PageBuf, Pages};

/// Bytes of a sector: what a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// Sectors of a page.
pub(super) const SECTORS_PER_PAGE: usize = PAGE_BYTES / SECTOR_BYTES;

static ZEROS: [Page; 1] = [Page([0; PAGE_BYTES])];

/// Pages of memory that may be kept for the sake of any of them.
const KEPT_PAGES: usize = 64;

/// What a file keeps of pages that are written: a copy where they are a small part of the memory
/// that they would keep, as a copied leaf's blocks may be of all that was read with them.
pub(super) fn to_keep(part: &Pages) -> Pages {
    if part.kept_pages() <= KEPT_PAGES || part.page_count() * 4 > part.kept_pages() {
        part.clone()
    } else {
        part.apart()
    }
}

/// A file. Pages that were never written are zeros.
#[derive(Clone, Debug, Default)]
pub struct PagedFile {
    pages: Vec<Option<Pages>>,
    /// What the page held before it was last written: what a stale sector shows.
    before: Vec<Option<Pages>>,
}

impl PagedFile {
    /// A file of zeros.
    pub fn of_pages(count: usize) -> PagedFile {
        let mut file = PagedFile::default();
        file.resize(count);
        file
    }

    /// Pages of the file.
    pub fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Makes the file shorter, or longer by zeros.
    pub fn resize(&mut self, pages: usize) {
        self.pages.resize(pages, None);
        self.before.resize(pages, None);
    }

    /// A page, if the file reaches there and it was ever written.
    pub fn page(&self, index: usize) -> Option<&Pages> {
        self.pages.get(index)?.as_ref()
    }

    /// Pages that were ever written.
    pub fn written_pages(&self) -> impl Iterator<Item = usize> + '_ {
        let pages = self.pages.iter().enumerate();
        pages.filter_map(|(index, page)| page.as_ref().map(|_| index))
    }

    /// Replaces a whole page; behind the file's end nothing happens.
    pub fn put(&mut self, index: usize, page: Pages) {
        if let Some(slot) = self.pages.get_mut(index) {
            self.before[index] = slot.replace(page);
        }
    }

    /// Puts a page back as it was, as if the write since had not been.
    pub fn restore(&mut self, index: usize, old: Option<Pages>) {
        if let Some(slot) = self.pages.get_mut(index) {
            *slot = old;
        }
    }

    /// Replaces the sectors of a page that `keep` names (a bit each) by those of another.
    pub fn put_sectors(&mut self, index: usize, page: &Pages, keep: u8) {
        match keep {
            0 => {}
            u8::MAX => self.put(index, page.clone()),
            _ => self.change(index, |bytes| {
                for sector in (0..SECTORS_PER_PAGE).filter(|sector| keep & (1 << sector) != 0) {
                    let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                    bytes[range.clone()].copy_from_slice(&page.bytes()[range]);
                }
            }),
        }
    }

    /// Changes the bytes of a page.
    pub fn change(&mut self, index: usize, change: impl FnOnce(&mut [u8])) {
        if index < self.pages.len() {
            let mut bytes = PageBuf::zeroed(1);
            if let Some(old) = &self.pages[index] {
                bytes.bytes_mut().copy_from_slice(old.bytes());
            }
            change(bytes.bytes_mut());
            self.put(index, bytes.share());
        }
    }

    /// Brings the content back that a page had before its last write. Whether there was any.
    pub fn make_stale(&mut self, index: usize) -> bool {
        match self.before.get_mut(index).and_then(Option::take) {
            Some(old) => {
                self.pages[index] = Some(old);
                true
            }
            None => false,
        }
    }

    /// A copy of pages; what lies behind the file's end reads as zeros.
    pub fn copy(&self, first: usize, count: usize) -> PageBuf {
        let mut copy = PageBuf::with_capacity(count);
        self.read(first, count, &mut copy);
        copy
    }

    /// Appends pages to `target`; what lies behind the file's end reads as zeros.
    pub fn read(&self, first: usize, count: usize, target: &mut PageBuf) {
        for index in first..first + count {
            let page = self.page(index).map_or(&ZEROS[..], Pages::pages);
            target.extend_from_pages(page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(byte: u8) -> Pages {
        PageBuf::from_bytes(&[byte; PAGE_BYTES]).share()
    }

    #[test]
    fn sectors_are_put_one_by_one_and_a_page_can_go_stale() {
        let mut file = PagedFile::of_pages(2);
        file.put(0, page(1));
        file.put_sectors(0, &page(2), 0b1000_0001);
        let read = file.copy(0, 2);
        let sectors = read.bytes().chunks(SECTOR_BYTES).map(|sector| sector[511]);
        assert_eq!(
            sectors.take(9).collect::<Vec<_>>(),
            [2, 1, 1, 1, 1, 1, 1, 2, 0]
        );
        assert!(file.make_stale(0) && !file.make_stale(0));
        assert!(file.copy(0, 1).bytes().iter().all(|byte| *byte == 1));
        file.put(7, page(3));
        assert_eq!(file.written_pages().collect::<Vec<_>>(), [0]);
    }
}
