//! A node's directory: superblock, lock and log extents.
//!
//! ```text
//! NODE/superblock             two slots, written in turn
//! NODE/lock                   locked by the process that has the volume open; holds its id
//! NODE/log/00000000.extent    the log, in files of one size
//! NODE/former                 superblock and log that were replaced, until the node is filled
//! ```
//!
//! Everything is opened relative to the directory that was opened first, and no link inside it is
//! followed.

use super::extent_file::{ExtentFile, OpenExtents};
use super::node_lock::LOCK_NAME;
use super::node_remains::{FORMER_NAME, remove_file};
use super::recorder::{self, Action};
use super::uring;
use super::volume_directory::{holds_at_most, make_folder, sync_parent};
use crate::error::VolumeError;
use crate::format::superblock::{SLOT_BYTES, SLOTS, Superblock, SuperblockError};
use crate::ids::ExtentSlot;
use crate::page::{PAGE_BYTES, PageBuf, Pages};
use crate::planted::{Bug, is_planted};
use crate::segment::effect::DiskError;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, OFlag, fallocate, openat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use parking_lot::Mutex;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) const SUPERBLOCK_NAME: &str = "superblock";
pub(super) const LOG_NAME: &str = "log";
const EXTENT_SUFFIX: &str = ".extent";
/// Bytes written at a time where the file system cannot allocate.
const ZEROS_BYTES: u64 = 1 << 20;

/// An open node directory.
#[derive(Debug)]
pub struct NodeDirectory {
    path: PathBuf,
    folder: File,
    log: File,
    /// Of the folder, which stays where it is.
    device_number: u64,
    superblock: Arc<ExtentFile>,
    extents: Mutex<OpenExtents>,
    /// The extent that was written last: it must stay where it is.
    appended: Mutex<Option<(ExtentSlot, Arc<ExtentFile>)>>,
    /// A write or sync failed.
    has_failed: AtomicBool,
}

impl NodeDirectory {
    /// Makes the directory (or fills an empty one) with the superblock in both slots, on stable
    /// storage; a former life that was set aside in it stays. What a failed creation leaves
    /// behind, [`erase`](super::node_remains::erase) removes.
    ///
    /// # Errors
    /// [`VolumeError::Exists`] when there is something already.
    pub fn create(path: &Path, superblock: &Superblock) -> Result<(), VolumeError> {
        if !holds_at_most(path, FORMER_NAME)? {
            return Err(VolumeError::Exists(path.to_path_buf()));
        }
        fill_new(path, superblock)
            .map_err(|error| VolumeError::io(format!("cannot make {}", path.display()), error))
    }

    /// Opens the directory; at most `open_extents` files of its log are kept open at a time.
    ///
    /// # Errors
    /// When the directory, its log or its superblock file is not there.
    pub fn open(path: &Path, open_extents: usize) -> Result<NodeDirectory, VolumeError> {
        NodeDirectory::open_parts(path, open_extents)
            .map_err(|error| VolumeError::io(format!("cannot open {}", path.display()), error))
    }

    fn open_parts(path: &Path, open_extents: usize) -> io::Result<NodeDirectory> {
        let folder = open_path(path)?;
        let log = open_folder(&folder, LOG_NAME)?;
        let superblock = ExtentFile::open(&folder, SUPERBLOCK_NAME, OFlag::empty())?;
        Ok(NodeDirectory {
            path: path.to_path_buf(),
            superblock: Arc::new(superblock),
            device_number: folder.metadata()?.dev(),
            folder,
            log,
            extents: Mutex::new(OpenExtents::new(open_extents)),
            appended: Mutex::new(None),
            has_failed: AtomicBool::new(false),
        })
    }

    /// A write or sync failed: nothing is written any more to the directory that was opened here, not
    /// even what was asked for before the failure is known (law 6).
    pub fn give_up(&self) {
        self.has_failed.store(true, Ordering::Release);
    }

    /// Whether nothing is to be written any more.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of the file system's device.
    pub fn device_number(&self) -> u64 {
        self.device_number
    }

    /// The superblock that counts.
    ///
    /// # Errors
    /// When a slot cannot be read: the other one may be of a time before a promise. Inside, when
    /// no slot checks, or one is of a newer version.
    pub fn read_superblock(&self) -> io::Result<Result<Superblock, SuperblockError>> {
        newest_slot(self.superblock.file())
    }

    /// Both slots of the superblock, as they are.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn read_superblock_slots(&self) -> io::Result<PageBuf> {
        both_slots(self.superblock.file())
    }

    /// The superblock of the node directory at `path`, if there is a file of that name.
    ///
    /// # Errors
    /// When it cannot be opened or read; inside, as [`NodeDirectory::read_superblock`].
    pub fn peek(path: &Path) -> io::Result<Result<Superblock, SuperblockError>> {
        let folder = open_path(path)?;
        let file = ExtentFile::open(&folder, SUPERBLOCK_NAME, OFlag::empty())?;
        newest_slot(file.file())
    }

    /// The superblock's file, for the writer of its slots.
    pub fn superblock_file(&self) -> &Arc<ExtentFile> {
        &self.superblock
    }

    /// The extents that are there, in order, with their lengths in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn extents(&self) -> io::Result<Vec<(ExtentSlot, u64)>> {
        let mut extents = Vec::new();
        let mut listing = Dir::openat(&self.log, ".", OFlag::O_RDONLY, Mode::empty())?;
        for entry in listing.iter() {
            let entry = entry?;
            let Some(slot) = entry.file_name().to_str().ok().and_then(parse_extent_name) else {
                continue;
            };
            let data = fstatat(&self.log, entry.file_name(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if data.st_mode & libc::S_IFMT == libc::S_IFREG {
                extents.push((slot, u64::try_from(data.st_size).unwrap_or(0)));
            }
        }
        extents.sort_unstable();
        Ok(extents)
    }

    /// Puts everything that can be read of the node on stable storage, and lets go of what only
    /// the page cache has: pages that failed to be written count as clean there, so that a later
    /// sync succeeds without them.
    ///
    /// # Errors
    /// As the operating system says: what is read is not proven to be stable.
    pub fn stabilize(&self) -> io::Result<()> {
        for (slot, _) in self.extents()? {
            self.extent(slot)?.stabilize()?;
        }
        self.superblock.stabilize()?;
        self.sync_names()
    }

    /// Puts the names of the node's files on stable storage.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn sync_names(&self) -> io::Result<()> {
        sync_folder(&self.log)?;
        sync_folder(&self.folder)
    }

    /// Whether reads pass the page cache by.
    pub fn reads_the_disk(&self) -> bool {
        self.superblock.is_direct()
    }

    /// Whether the path still leads to what was opened, and its files are still in it: else the
    /// node would go on writing into files that nobody can find again.
    pub fn still_there(&self) -> bool {
        let appended = self.appended.lock().clone();
        let same_folder = std::fs::metadata(&self.path)
            .and_then(|named| Ok(identity(&named) == identity(&self.folder.metadata()?)));
        same_folder.unwrap_or(false)
            && holds(&self.folder, SUPERBLOCK_NAME, self.superblock.file())
            && holds(&self.folder, LOG_NAME, &self.log)
            && appended
                .is_none_or(|(slot, extent)| holds(&self.log, &extent_name(slot), extent.file()))
    }

    /// The extent's file, opened when it is first asked for.
    ///
    /// # Errors
    /// When it is not there.
    pub fn extent(&self, slot: ExtentSlot) -> io::Result<Arc<ExtentFile>> {
        if let Some(file) = self.extents.lock().get(slot) {
            return Ok(file);
        }
        let file = ExtentFile::open(&self.log, &extent_name(slot), OFlag::empty())?;
        Ok(self.extents.lock().insert(slot, file))
    }

    /// The extent's file, to be written.
    ///
    /// # Errors
    /// When it is not there.
    pub fn extent_to_append(&self, slot: ExtentSlot) -> io::Result<Arc<ExtentFile>> {
        let mut appended = self.appended.lock();
        match &*appended {
            Some((last, file)) if *last == slot => Ok(Arc::clone(file)),
            _ => {
                let file = self.extent(slot)?;
                *appended = Some((slot, Arc::clone(&file)));
                Ok(file)
            }
        }
    }

    /// Appends `pages` pages from `offset` (a multiple of the page size) of an extent to `target`,
    /// blocking; behind the file's end there are zeros.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn read_at(
        &self,
        slot: ExtentSlot,
        offset: u64,
        pages: usize,
        target: &mut PageBuf,
    ) -> io::Result<()> {
        uring::read_blocking(self.extent(slot)?.file(), offset, pages, target)
    }

    /// Makes the extent if it is not there, and allocates it up to `bytes`, on stable storage.
    /// Without room for all of it nothing changes.
    ///
    /// # Errors
    /// [`DiskError::Full`] without room, [`DiskError::Failed`] for anything else.
    pub fn allocate(&self, slot: ExtentSlot, bytes: u64) -> Result<(), DiskError> {
        self.allocate_extent(slot, bytes).map_err(|error| {
            let full = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
            if !full {
                log::error!("{}: extent {}: {error}", self.path.display(), slot.0);
            }
            if full {
                DiskError::Full
            } else {
                // A failed sync of a file that is appended to is told once, and not to the next append.
                self.give_up();
                DiskError::Failed
            }
        })
    }

    fn allocate_extent(&self, slot: ExtentSlot, bytes: u64) -> io::Result<()> {
        let name = extent_name(slot);
        let (extent, made) = match self.extent(slot) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let extent = ExtentFile::create(&self.log, &name)?;
                (self.extents.lock().insert(slot, extent), true)
            }
            opened => (opened?, false),
        };
        let file = extent.file();
        let former = file.metadata()?.len();
        if let Err(error) = grow(file, former, bytes) {
            if made {
                self.remove(slot)?;
            } else {
                set_length(file, former)?;
            }
            return Err(error);
        }
        extent.sync_all()?;
        extent.settle();
        if made && !is_planted(Bug::ExtentNameNotSynced) {
            sync_folder(&self.log)?;
        }
        Ok(())
    }

    /// Deletes the extent; one that is not there is as good.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn remove(&self, slot: ExtentSlot) -> io::Result<()> {
        let mut appended = self.appended.lock();
        if appended.as_ref().is_some_and(|(last, _)| *last == slot) {
            *appended = None;
        }
        self.extents.lock().remove(slot);
        remove_file(&self.log, &extent_name(slot))
    }
}

/// The superblock that counts.
fn newest_slot(file: &Arc<File>) -> io::Result<Result<Superblock, SuperblockError>> {
    Ok(Superblock::newest(both_slots(file)?.bytes()))
}

fn both_slots(file: &Arc<File>) -> io::Result<PageBuf> {
    let mut both = PageBuf::default();
    for slot in 0..SLOTS {
        let offset = (slot * SLOT_BYTES) as u64;
        uring::read_blocking(file, offset, SLOT_BYTES / PAGE_BYTES, &mut both)?;
    }
    Ok(both)
}

pub(super) fn open_path(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(path)
}

fn fill_new(path: &Path, superblock: &Superblock) -> io::Result<()> {
    match make_folder(path, DirBuilder::new().mode(0o700)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let folder = File::open(path)?;
    let file = ExtentFile::create(&folder, SUPERBLOCK_NAME)?;
    // The older slot says the same, one sequence number before.
    let mut older = superblock.clone();
    older.sequence = superblock.sequence.saturating_sub(1);
    for version in [older, superblock.clone()] {
        let offset = (version.slot() * SLOT_BYTES) as u64;
        write_pages(file.file(), version.encode().share(), offset)?;
    }
    file.sync_all()?;
    ExtentFile::create(&folder, LOCK_NAME)?;
    make_folder_in(&folder, LOG_NAME)?;
    sync_folder(&open_folder(&folder, LOG_NAME)?)?;
    if !is_planted(Bug::NodeNamesNotSynced) {
        sync_folder(&folder)?;
    }
    sync_parent(path)
}

/// Makes a folder in a folder.
pub(super) fn make_folder_in(folder: &File, name: &str) -> io::Result<()> {
    let create = Action::Create {
        folder: &folder,
        name,
    };
    recorder::during(create, || Ok(mkdirat(folder, name, Mode::S_IRWXU)?))
}

pub(super) fn open_folder(folder: &File, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?.into())
}

/// Puts the names in a folder on stable storage.
pub(super) fn sync_folder(folder: &File) -> io::Result<()> {
    recorder::during(Action::Sync { file: folder }, || folder.sync_all())
}

fn set_length(file: &File, bytes: u64) -> io::Result<()> {
    recorder::during(Action::SetLength { file, bytes }, || file.set_len(bytes))
}

fn write_pages(file: &File, pages: Pages, offset: u64) -> io::Result<()> {
    let write = Action::Write {
        file,
        offset,
        parts: std::slice::from_ref(&pages),
    };
    recorder::during(write, || file.write_all_at(pages.bytes(), offset))
}

/// Device and number of a file: what makes it this one.
fn identity(data: &std::fs::Metadata) -> (u64, u64) {
    (data.dev(), data.ino())
}

/// Whether the name in the folder still leads to the file that was opened.
fn holds(folder: &File, name: &str, file: &File) -> bool {
    let named = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    match (named, file.metadata()) {
        (Ok(named), Ok(opened)) => (named.st_dev, named.st_ino) == identity(&opened),
        _ => false,
    }
}

fn extent_name(slot: ExtentSlot) -> String {
    format!("{:08}{EXTENT_SUFFIX}", slot.0)
}

pub(super) fn parse_extent_name(name: &str) -> Option<ExtentSlot> {
    let slot = ExtentSlot(name.strip_suffix(EXTENT_SUFFIX)?.parse().ok()?);
    (extent_name(slot) == name).then_some(slot)
}

/// Makes the file at least `bytes` long, without holes.
fn grow(file: &File, former: u64, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes.max(former))
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let bytes = bytes.max(former);
    recorder::during(Action::SetLength { file, bytes }, || {
        loop {
            match fallocate(file, FallocateFlags::empty(), 0, length) {
                Err(Errno::EINTR) => {}
                Err(Errno::EOPNOTSUPP) => return write_zeros(file, former, bytes),
                allocated => return Ok(allocated?),
            }
        }
    })
}

fn write_zeros(file: &File, former: u64, bytes: u64) -> io::Result<()> {
    let zeros = PageBuf::zeroed(ZEROS_BYTES as usize / PAGE_BYTES);
    let mut at = former;
    while at < bytes {
        let step = ZEROS_BYTES.min(bytes - at);
        file.write_all_at(&zeros.bytes()[..step as usize], at)?;
        at += step;
    }
    Ok(())
}

#[cfg(test)]
#[path = "node_directory_tests.rs"]
mod tests;
