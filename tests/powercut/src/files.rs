//! The files of one node, or of a volume's own folder, in memory: pages are shared, so that a state costs what it changes.

use crate::event::Bytes;
use redoubt_volume::ids::ExtentSlot;
use redoubt_volume::page::PAGE_BYTES;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a disk writes whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;

/// What a page that was never written reads as.
pub(crate) const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// A name in a folder of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// The volume's own folder.
    Volume,
    /// `redoubt.volume`, the address book.
    Book,
    /// `redoubt.volume.new`, which becomes the address book.
    NewBook,
    /// `nodes`
    Nodes,
    /// `nodes/…`, by its number.
    Node(usize),
    /// `nodes/…/superblock`
    Superblock,
    /// `nodes/…/log`
    Log,
    /// `nodes/…/log/….extent`
    Extent(ExtentSlot),
}

/// A folder, whose sync covers the names in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folder {
    /// What the volume's own folder is in.
    Outside,
    /// The volume's own.
    Volume,
    /// `nodes`
    Nodes,
    /// A node's.
    Node,
    /// `log`, of a node.
    Log,
}

impl Name {
    /// The folder that it is in.
    pub(crate) fn folder(self) -> Folder {
        match self {
            Name::Volume => Folder::Outside,
            Name::Book | Name::NewBook | Name::Nodes => Folder::Volume,
            Name::Node(_) => Folder::Nodes,
            Name::Superblock | Name::Log => Folder::Node,
            Name::Extent(_) => Folder::Log,
        }
    }
}

/// A file, whatever its name: a name that is made anew leads to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inode(pub(crate) u64);

/// The bytes of a file.
#[derive(Clone, Default)]
pub(crate) struct Image {
    /// In bytes.
    pub(crate) length: u64,
    /// `None`: never written, so that it reads as zeros.
    pages: Vec<Option<Arc<[u8; PAGE_BYTES]>>>,
}

impl Image {
    /// The page, if it was ever written.
    pub(crate) fn page(&self, index: usize) -> Option<&[u8; PAGE_BYTES]> {
        self.pages.get(index)?.as_deref()
    }

    /// All of its bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let pages = (0..self.page_count()).map(|index| self.page(index).unwrap_or(&ZEROS));
        let mut bytes: Vec<u8> = pages.flatten().copied().collect();
        bytes.truncate(self.length as usize);
        bytes
    }

    /// Pages up to the end of the file.
    pub(crate) fn page_count(&self) -> usize {
        (self.length as usize).div_ceil(PAGE_BYTES)
    }

    /// Whether these bytes are there, at an offset that is a multiple of a page.
    pub(crate) fn holds(&self, offset: u64, bytes: &[u8]) -> bool {
        let pages = (offset as usize / PAGE_BYTES..).zip(bytes.chunks(PAGE_BYTES));
        let mut found = pages.map(|(page, bytes)| {
            let there = self.page(page).unwrap_or(&ZEROS);
            there[..bytes.len()] == *bytes
        });
        found.all(|equal| equal)
    }

    /// Whether every page of the range was written.
    pub(crate) fn is_written(&self, offset: u64, bytes: usize) -> bool {
        let first = offset as usize / PAGE_BYTES;
        let end = (offset as usize + bytes).div_ceil(PAGE_BYTES);
        (first..end).all(|page| self.page(page).is_some())
    }

    fn set_length(&mut self, bytes: u64) {
        self.length = bytes;
        self.pages.truncate(self.page_count());
    }

    /// Writes those sectors that `keep` takes; it is given their number inside the write.
    fn write(&mut self, offset: u64, bytes: &[u8], keep: &mut dyn FnMut(usize) -> bool) {
        let start = offset as usize;
        self.length = self.length.max((start + bytes.len()) as u64);
        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if keep(index) {
                let at = start + index * SECTOR_BYTES;
                let page = self.page_mut(at / PAGE_BYTES);
                let inside = at % PAGE_BYTES;
                page[inside..inside + sector.len()].copy_from_slice(sector);
            }
        }
    }

    fn write_all(&mut self, offset: u64, bytes: &[u8]) {
        if !(offset as usize).is_multiple_of(PAGE_BYTES) || !bytes.len().is_multiple_of(PAGE_BYTES)
        {
            return self.write(offset, bytes, &mut |_| true);
        }
        self.length = self.length.max(offset + bytes.len() as u64);
        let first = offset as usize / PAGE_BYTES;
        let (pages, _) = bytes.as_chunks::<PAGE_BYTES>();
        if self.pages.len() < first + pages.len() {
            self.pages.resize(first + pages.len(), None);
        }
        for (index, page) in pages.iter().enumerate() {
            self.pages[first + index] = Some(Arc::new(*page));
        }
    }

    fn page_mut(&mut self, index: usize) -> &mut [u8; PAGE_BYTES] {
        if self.pages.len() <= index {
            self.pages.resize(index + 1, None);
        }
        let page = self.pages[index].get_or_insert_with(|| Arc::new([0; PAGE_BYTES]));
        Arc::make_mut(page)
    }
}

/// A change of a node's files.
#[derive(Clone)]
pub(crate) enum Change {
    /// Bytes of a file.
    Write {
        file: Inode,
        offset: u64,
        bytes: Bytes,
    },
    /// Its length.
    SetLength { file: Inode, bytes: u64 },
    /// A name for a file.
    Create { name: Name, file: Inode },
    /// Another name for a file, which loses the one that it had.
    Rename { name: Name, file: Inode },
    /// The end of a name.
    Remove { name: Name },
    /// The folder of the extents is moved away, all at once.
    RemoveLog,
}

impl Change {
    /// What a later write of the same file leaves of this one: what lies before it and behind it.
    pub(crate) fn outside(&self, later: &Change) -> Vec<Change> {
        let whole = vec![self.clone()];
        let (Some((file, bytes, offset, length)), Some((other, _, start, later))) =
            (self.written(), later.written())
        else {
            return whole;
        };
        let end = start + later;
        if other != file || end <= offset || offset + length <= start {
            return whole;
        }
        let part = |from: u64, to: u64| {
            let part = (from - offset) as usize..(to - offset) as usize;
            let (offset, bytes) = (from, bytes.part(part));
            Change::Write {
                file,
                offset,
                bytes,
            }
        };
        let before = (offset < start).then(|| part(offset, start));
        let behind = (end < offset + length).then(|| part(end, offset + length));
        before.into_iter().chain(behind).collect()
    }

    /// File, bytes, offset and length of a write.
    fn written(&self) -> Option<(Inode, &Bytes, u64, u64)> {
        match self {
            Change::Write {
                file,
                offset,
                bytes,
            } => Some((*file, bytes, *offset, bytes.len() as u64)),
            _ => None,
        }
    }
}

/// The files of a node at one moment.
#[derive(Clone, Default)]
pub(crate) struct Files {
    names: BTreeMap<Name, Inode>,
    /// Shared, too: most states leave most files as they were.
    images: BTreeMap<Inode, Arc<Image>>,
}

impl Files {
    /// What the name leads to.
    pub(crate) fn inode(&self, name: Name) -> Option<Inode> {
        self.names.get(&name).copied()
    }

    /// The bytes of a file.
    pub(crate) fn image(&self, file: Inode) -> Option<&Image> {
        self.images.get(&file).map(Arc::as_ref)
    }

    fn image_mut(&mut self, file: Inode) -> Option<&mut Image> {
        self.images.get_mut(&file).map(Arc::make_mut)
    }

    /// The bytes under a name.
    pub(crate) fn named(&self, name: Name) -> Option<&Image> {
        self.image(self.inode(name)?)
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> {
        self.names.keys().copied()
    }

    /// A file that has no name yet: its bytes may become durable before it.
    pub(crate) fn add_nameless(&mut self, file: Inode) {
        self.images.insert(file, Arc::default());
    }

    /// Makes a change. What would change a file that is gone changes nothing.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write {
                file,
                offset,
                bytes,
            } => {
                if let Some(image) = self.image_mut(*file) {
                    image.write_all(*offset, bytes);
                }
            }
            Change::SetLength { file, bytes } => {
                if let Some(image) = self.image_mut(*file) {
                    image.set_length(*bytes);
                }
            }
            Change::Create { name, file } => {
                let former = self.names.insert(*name, *file);
                former.map(|former| self.images.remove(&former));
            }
            Change::Rename { name, file } => {
                self.names.retain(|_, named| named != file);
                let former = self.names.insert(*name, *file);
                former.map(|former| self.images.remove(&former));
            }
            Change::Remove { name } => self.remove(*name),
            Change::RemoveLog => {
                let names: Vec<Name> = self.names().collect();
                let is_log = |name: &Name| *name == Name::Log || name.folder() == Folder::Log;
                let gone = names.into_iter().filter(is_log);
                gone.for_each(|name| self.remove(name));
            }
        }
    }

    fn remove(&mut self, name: Name) {
        if let Some(file) = self.names.remove(&name) {
            self.images.remove(&file);
        }
    }

    /// Makes a change in part: those sectors of a write that `keep` takes, or else all of it.
    pub(crate) fn apply_torn(&mut self, change: &Change, keep: &mut dyn FnMut(usize) -> bool) {
        match change {
            Change::Write {
                file,
                offset,
                bytes,
            } => {
                if let Some(image) = self.image_mut(*file) {
                    image.write(*offset, bytes, keep);
                }
            }
            other => self.apply(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_keeps_what_was_there() {
        let mut files = Files::default();
        let (name, file) = (Name::Extent(ExtentSlot(0)), Inode(1));
        files.add_nameless(file);
        files.apply(&Change::Create { name, file });
        let write = |byte: u8| Change::Write {
            file,
            offset: 0,
            bytes: Bytes::from_vec(vec![byte; 2 * PAGE_BYTES]),
        };
        files.apply(&write(1));
        files.apply_torn(&write(2), &mut |sector| sector == 9);
        let image = files.named(name).unwrap();
        assert_eq!(image.page(0).unwrap(), &[1; PAGE_BYTES]);
        let second = image.page(1).unwrap();
        assert_eq!(second[511..514], [1, 2, 2]);
        assert_eq!(second[1024], 1);
    }

    #[test]
    fn a_later_write_leaves_what_it_does_not_cover() {
        let write = |file, pages: std::ops::Range<usize>| Change::Write {
            file: Inode(file),
            offset: (pages.start * PAGE_BYTES) as u64,
            bytes: Bytes::from_vec(pages.flat_map(|page| [page as u8; PAGE_BYTES]).collect()),
        };
        let left = |later: Change| -> Vec<(u64, usize, u8)> {
            let parts = write(1, 2..8).outside(&later);
            let parts = parts.iter().filter_map(Change::written);
            parts
                .map(|(_, bytes, offset, _)| {
                    let pages = bytes.len() / PAGE_BYTES;
                    (offset / PAGE_BYTES as u64, pages, bytes[0])
                })
                .collect()
        };
        assert_eq!(left(write(1, 4..6)), [(2, 2, 2), (6, 2, 6)]);
        assert_eq!(left(write(1, 0..3)), [(3, 5, 3)]);
        assert_eq!(left(write(1, 7..9)), [(2, 5, 2)]);
        assert_eq!(left(write(1, 2..8)), []);
        for untouched in [write(2, 0..9), write(1, 0..2), write(1, 8..9)] {
            assert_eq!(left(untouched), [(2, 6, 2)]);
        }
    }
}
