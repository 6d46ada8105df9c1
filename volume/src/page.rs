//! Page-aligned memory: what O_DIRECT reads into and writes from, passed on by reference count.

use std::sync::Arc;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Bytes of a page: the unit of checksums and of direct I/O.
pub const PAGE_BYTES: usize = 4096;

/// One page, aligned to its size.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct Page(pub [u8; PAGE_BYTES]);

/// Pages that somebody owns and may write.
#[derive(Clone, Default)]
pub struct PageBuf {
    pages: Vec<Page>,
}

impl std::fmt::Debug for PageBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PageBuf({} pages)", self.pages.len())
    }
}

impl PageBuf {
    /// `count` pages of zeros.
    pub fn zeroed(count: usize) -> PageBuf {
        let mut pages = Vec::with_capacity(count);
        pages.resize(count, Page::new_zeroed());
        PageBuf { pages }
    }

    /// No pages yet, and memory for `count`.
    pub fn with_capacity(count: usize) -> PageBuf {
        let pages = Vec::with_capacity(count);
        PageBuf { pages }
    }

    /// The bytes, followed by zeros up to a whole page.
    pub fn from_bytes(bytes: &[u8]) -> PageBuf {
        let mut buffer = PageBuf::with_capacity(pages_for(bytes.len()));
        buffer.extend_padded(bytes);
        buffer
    }

    /// Appends the bytes, followed by zeros up to a whole page.
    pub fn extend_padded(&mut self, bytes: &[u8]) {
        let (whole, rest) = bytes.as_chunks::<PAGE_BYTES>();
        self.pages.extend(whole.iter().map(|chunk| Page(*chunk)));
        if !rest.is_empty() {
            let mut last = Page::new_zeroed();
            last.0[..rest.len()].copy_from_slice(rest);
            self.pages.push(last);
        }
    }

    /// Appends pages of zeros until there are `count`, if there are not.
    pub fn grow_to(&mut self, count: usize) {
        let count = count.max(self.pages.len());
        self.pages.resize(count, Page::new_zeroed());
    }

    /// Appends whole pages.
    pub fn extend_from_pages(&mut self, pages: &[Page]) {
        self.pages.extend_from_slice(pages);
    }

    /// Drops the first pages, or all where there are fewer; the memory stays.
    pub fn drop_first(&mut self, count: usize) {
        self.pages.drain(..count.min(self.pages.len()));
    }

    /// No pages again; the memory stays.
    pub fn clear(&mut self) {
        self.pages.clear();
    }

    /// All pages.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Number of pages.
    pub fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        self.pages.as_bytes()
    }

    /// All bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.pages.as_mut_bytes()
    }

    /// Gives the pages up for sharing.
    pub fn share(self) -> Pages {
        let count = self.pages.len();
        Pages {
            buffer: Arc::new(self),
            first: 0,
            count,
        }
    }
}

/// A run of pages shared by reference count; never written again.
#[derive(Clone)]
pub struct Pages {
    buffer: Arc<PageBuf>,
    first: usize,
    count: usize,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pages({}+{})", self.first, self.count)
    }
}

impl Pages {
    /// No pages at all.
    pub fn empty() -> Pages {
        PageBuf::default().share()
    }

    /// Number of pages.
    pub fn page_count(&self) -> usize {
        self.count
    }

    /// Pages of the memory that this run keeps from being given back.
    pub fn kept_pages(&self) -> usize {
        self.buffer.page_count()
    }

    /// The pages of the run.
    pub fn pages(&self) -> &[Page] {
        &self.buffer.pages[self.first..self.first + self.count]
    }

    /// The bytes of the run.
    pub fn bytes(&self) -> &[u8] {
        self.pages().as_bytes()
    }

    /// `count` pages from `first` on, of the same memory.
    ///
    /// # Panics
    /// When the run does not lie inside this one: a programming error.
    pub fn slice(&self, first: usize, count: usize) -> Pages {
        assert!(first + count <= self.count, "page run out of bounds");
        Pages {
            buffer: Arc::clone(&self.buffer),
            first: self.first + first,
            count,
        }
    }

    /// A copy in memory of its own, which keeps nothing else.
    pub fn apart(&self) -> Pages {
        let mut copy = PageBuf::with_capacity(self.count);
        copy.extend_from_pages(self.pages());
        copy.share()
    }
}

/// Pages needed for so many bytes.
pub fn pages_for(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_aligned_and_padded_with_zeros() {
        let shared = PageBuf::from_bytes(&[7; 5000]).share();
        assert_eq!(shared.page_count(), 2);
        assert_eq!(shared.bytes().as_ptr().addr() % PAGE_BYTES, 0);
        let last = shared.slice(1, 1);
        assert_eq!(&last.bytes()[..904], &[7; 904]);
        assert!(last.bytes()[904..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_copy_apart_holds_the_same_and_keeps_nothing_else() {
        let run = PageBuf::from_bytes(&[7; 3 * PAGE_BYTES])
            .share()
            .slice(1, 1);
        let apart = run.apart();
        assert!(apart.bytes() == run.bytes());
        assert_eq!((run.kept_pages(), apart.kept_pages()), (3, 1));
    }
}
