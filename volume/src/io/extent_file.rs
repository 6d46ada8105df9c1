//! Files of a node's directory that are open: what is known of each, and a bounded table of them.

use super::recorder::{self, Action};
use super::uring::supports_direct_io;
use crate::ids::ExtentSlot;
use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, openat, posix_fadvise};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a sector as `stat` counts blocks.
const STAT_BLOCK_BYTES: u64 = 512;

/// Extents that a node keeps open at least, whatever the limit: those that it appends to and reads.
const FEWEST_OPEN: usize = 8;
/// Extents that a node keeps open at most: 256 GiB of log, at a few hundred bytes of kernel memory
/// each.
const MOST_OPEN: usize = 4096;

/// A file opened for direct I/O.
#[derive(Debug)]
pub struct ExtentFile {
    file: Arc<File>,
    may_share: bool,
    settled: AtomicBool,
}

impl ExtentFile {
    /// Opens `name` in `folder`, without following a link, around the page cache where the file
    /// system can do that.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn open(folder: impl AsFd, name: &str, extra: OFlag) -> io::Result<ExtentFile> {
        let file = open_direct(folder, name, extra)?;
        ExtentFile::of(file, name)
    }

    /// Makes `name` in `folder`, where there is none.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn create(folder: impl AsFd, name: &str) -> io::Result<ExtentFile> {
        let folder = folder.as_fd();
        let create = Action::Create {
            folder: &folder,
            name,
        };
        let new = OFlag::O_CREAT | OFlag::O_EXCL;
        let file = recorder::during(create, || open_direct(folder, name, new))?;
        ExtentFile::of(file, name)
    }

    fn of(file: File, name: &str) -> io::Result<ExtentFile> {
        let data = file.metadata()?;
        if !data.is_file() {
            return Err(io::Error::other(format!("{name} is not a regular file")));
        }
        // A write into a hole changes metadata, which the flush of another file does not commit.
        let dense = data.blocks().saturating_mul(STAT_BLOCK_BYTES) >= data.len();
        Ok(ExtentFile {
            may_share: dense && supports_direct_io(&file),
            settled: AtomicBool::new(false),
            file: Arc::new(file),
        })
    }

    /// The file.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Puts its bytes on stable storage, and what of its metadata leads to them.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn sync_data(&self) -> io::Result<()> {
        let sync = Action::Sync { file: &self.file };
        recorder::during(sync, || self.file.sync_data())
    }

    /// Puts all of the file on stable storage; its name is the folder's.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        let sync = Action::Sync { file: &self.file };
        recorder::during(sync, || self.file.sync_all())
    }

    /// Whether a flush of the device covers what is overwritten in this file. Not before the file
    /// was synced once since it was opened: a copy made just now may lie in memory still.
    pub fn shares_flush(&self) -> bool {
        self.may_share && self.settled.load(Ordering::Acquire)
    }

    /// Whether the file itself was synced since it was opened.
    #[cfg(test)]
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// Whether reads and writes pass the page cache by.
    pub(super) fn is_direct(&self) -> bool {
        supports_direct_io(&self.file)
    }

    /// Syncs the file, and empties the page cache of it, so that what is read is on the disk.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn stabilize(&self) -> io::Result<()> {
        self.sync_all()?;
        posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        self.settle();
        Ok(())
    }

    /// Takes in that the file itself was synced.
    pub fn settle(&self) {
        self.settled.store(true, Ordering::Release);
    }
}

fn open_direct(folder: impl AsFd, name: &str, extra: OFlag) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | extra;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    match openat(folder.as_fd(), name, flags | OFlag::O_DIRECT, mode) {
        // O_CREAT may have made the file before O_DIRECT was refused.
        Err(Errno::EINVAL) => Ok(openat(folder, name, flags - OFlag::O_EXCL, mode)?.into()),
        opened => Ok(opened?.into()),
    }
}

/// How many extents each of `nodes` nodes may keep open: what the process's limit of open files
/// leaves when half of it is for everything else.
pub fn open_extents_per_node(nodes: usize) -> usize {
    // 1024 is the usual limit where it cannot be read.
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    (limit / 2 / nodes.max(1)).clamp(FEWEST_OPEN, MOST_OPEN)
}

/// The extents of a node that are open, at most so many: the least recently used gives way.
#[derive(Debug)]
pub(super) struct OpenExtents {
    files: HashMap<ExtentSlot, (Arc<ExtentFile>, u64)>,
    clock: u64,
    most: usize,
}

impl OpenExtents {
    /// None yet, at most `most` (at least one).
    pub(super) fn new(most: usize) -> OpenExtents {
        OpenExtents {
            files: HashMap::new(),
            clock: 0,
            most: most.max(1),
        }
    }

    /// The extent's file if it is open.
    pub(super) fn get(&mut self, slot: ExtentSlot) -> Option<Arc<ExtentFile>> {
        self.clock += 1;
        let (file, used) = self.files.get_mut(&slot)?;
        *used = self.clock;
        Some(Arc::clone(file))
    }

    /// Adds an open file; one that somebody else added first is kept instead.
    pub(super) fn insert(&mut self, slot: ExtentSlot, file: ExtentFile) -> Arc<ExtentFile> {
        if let Some(present) = self.get(slot) {
            return present;
        }
        if self.files.len() >= self.most {
            let oldest = self.files.iter().min_by_key(|(_, (_, used))| *used);
            let oldest = oldest.map(|(slot, _)| *slot);
            oldest.and_then(|slot| self.files.remove(&slot));
        }
        let file = Arc::new(file);
        self.files.insert(slot, (Arc::clone(&file), self.clock));
        file
    }

    /// Closes the extent's file once nobody uses it.
    pub(super) fn remove(&mut self, slot: ExtentSlot) {
        self.files.remove(&slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(folder: &File, name: &str) -> ExtentFile {
        ExtentFile::open(folder, name, OFlag::O_CREAT).unwrap()
    }

    #[test]
    fn the_least_recently_used_extent_gives_way() {
        let temp = tempfile::tempdir().unwrap();
        let folder = File::open(temp.path()).unwrap();
        let mut open = OpenExtents::new(2);
        for slot in [0, 1] {
            open.insert(ExtentSlot(slot), opened(&folder, &slot.to_string()));
        }
        assert!(open.get(ExtentSlot(0)).is_some());
        open.insert(ExtentSlot(2), opened(&folder, "2"));
        assert!(open.get(ExtentSlot(1)).is_none());
        assert!(open.get(ExtentSlot(0)).is_some() && open.get(ExtentSlot(2)).is_some());
    }

    #[test]
    fn a_file_with_holes_never_shares_a_flush() {
        let temp = tempfile::tempdir().unwrap();
        let folder = File::open(temp.path()).unwrap();
        File::create(temp.path().join("holes"))
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        let file = opened(&folder, "holes");
        file.settle();
        assert!(!file.shares_flush());
    }

    #[test]
    fn a_link_is_not_followed_and_a_folder_is_no_file() {
        let temp = tempfile::tempdir().unwrap();
        let folder = File::open(temp.path()).unwrap();
        std::fs::write(temp.path().join("target"), b"x").unwrap();
        std::os::unix::fs::symlink("target", temp.path().join("link")).unwrap();
        assert!(ExtentFile::open(&folder, "link", OFlag::empty()).is_err());
        std::fs::create_dir(temp.path().join("folder")).unwrap();
        assert!(ExtentFile::open(&folder, "folder", OFlag::empty()).is_err());
    }
}
