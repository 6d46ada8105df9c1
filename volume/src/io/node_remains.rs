//! What a node's directory leaves behind: removed for good, or set aside in `NODE/former` until
//! a new life of the node holds everything.

use super::node_directory::{
    LOG_NAME, SUPERBLOCK_NAME, make_folder_in, open_folder, open_path, parse_extent_name,
    sync_folder,
};
use super::node_lock::LOCK_NAME;
use super::recorder::{self, Action};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Folder of a node's directory that holds the superblock and the log of its former life.
pub(super) const FORMER_NAME: &str = "former";

/// Removes what a creation, the log and a former life made in a node directory; the directory
/// itself stays. The superblock goes last, so that an interrupted removal can be repeated; when this
/// returns it does not come back.
///
/// # Errors
/// When a file could not be removed. A directory that is not there is as good.
pub fn erase(path: &Path) -> io::Result<()> {
    match open_path(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        opened => {
            let folder = opened?;
            erase_former(&folder)?;
            erase_life(&folder)?;
            sync_folder(&folder)
        }
    }
}

/// Makes room for a new life of the node: what is there is moved aside. What was set aside
/// before stays: whatever came between never held everything.
///
/// # Errors
/// When something could not be moved; repeating it goes on where it ended.
pub fn set_aside(path: &Path) -> io::Result<()> {
    let folder = open_path(path)?;
    match make_folder_in(&folder, FORMER_NAME) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let former = open_folder(&folder, FORMER_NAME)?;
    for name in [SUPERBLOCK_NAME, LOG_NAME] {
        if fstatat(&former, name, AtFlags::AT_SYMLINK_NOFOLLOW) == Err(Errno::ENOENT) {
            let folder = &folder;
            let away = Action::Remove { folder, name };
            recorder::during(away, || match renameat(folder, name, &former, name) {
                Err(error) if error != Errno::ENOENT => Err(error.into()),
                _ => Ok(()),
            })?;
        }
    }
    sync_folder(&former)?;
    erase_life(&folder)?;
    // Where there was nothing to keep.
    remove_folder_if_empty(&folder, FORMER_NAME)?;
    sync_folder(&folder)
}

/// Whether something was set aside in the node directory.
pub fn has_former(path: &Path) -> bool {
    path.join(FORMER_NAME).is_dir()
}

/// Removes what was set aside.
///
/// # Errors
/// When a file could not be removed.
pub fn remove_former(path: &Path) -> io::Result<()> {
    erase_former(&open_path(path)?)
}

fn erase_former(folder: &File) -> io::Result<()> {
    match open_folder(folder, FORMER_NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        opened => {
            erase_life(&opened?)?;
            remove_folder_if_empty(folder, FORMER_NAME)
        }
    }
}

fn erase_life(folder: &File) -> io::Result<()> {
    match open_folder(folder, LOG_NAME) {
        Ok(log) => erase_log(folder, &log)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    remove_file(folder, LOCK_NAME)?;
    remove_file(folder, SUPERBLOCK_NAME)
}

fn erase_log(folder: &File, log: &File) -> io::Result<()> {
    let mut listing = Dir::openat(log, ".", OFlag::O_RDONLY, Mode::empty())?;
    for entry in listing.iter() {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && parse_extent_name(name).is_some()
        {
            remove_file(log, name)?;
        }
    }
    remove_folder_if_empty(folder, LOG_NAME)
}

fn remove_folder_if_empty(parent: &File, name: &str) -> io::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOENT) => Ok(()),
        removed => Ok(removed?),
    }
}

/// Removes a file; one that is not there is as good.
pub(super) fn remove_file(folder: impl AsFd, name: &str) -> io::Result<()> {
    let folder = &folder;
    recorder::during(Action::Remove { folder, name }, || {
        match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            removed => Ok(removed?),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ExtentSlot;
    use crate::io::node_directory::NodeDirectory;
    use crate::io::test_support::superblock;
    use std::fs;

    fn extents(life: &Path) -> usize {
        fs::read_dir(life.join(LOG_NAME)).map_or(0, |log| log.count())
    }

    #[test]
    fn a_former_life_is_kept_until_it_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node");
        let former = path.join(FORMER_NAME);
        NodeDirectory::create(&path, &superblock(0)).unwrap();
        let first = NodeDirectory::open(&path, 8).unwrap();
        first.allocate(ExtentSlot(0), 4096).unwrap();
        let bytes = fs::read(path.join(SUPERBLOCK_NAME)).unwrap();
        // The second time it is a life that was never filled.
        for _ in 0..2 {
            set_aside(&path).unwrap();
            assert!(has_former(&path));
            assert_eq!(fs::read(former.join(SUPERBLOCK_NAME)).unwrap(), bytes);
            assert_eq!((extents(&former), extents(&path)), (1, 0));
            NodeDirectory::create(&path, &superblock(1)).unwrap();
        }
        assert!(!first.still_there());
        remove_former(&path).unwrap();
        assert!(!has_former(&path));
        let second = NodeDirectory::open(&path, 8).unwrap();
        assert_eq!(second.read_superblock().unwrap().unwrap(), superblock(1));
    }

    #[test]
    fn an_interrupted_move_loses_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node");
        NodeDirectory::create(&path, &superblock(0)).unwrap();
        let node = NodeDirectory::open(&path, 8).unwrap();
        node.allocate(ExtentSlot(0), 4096).unwrap();
        fs::create_dir(path.join(FORMER_NAME)).unwrap();
        let moved = path.join(FORMER_NAME).join(SUPERBLOCK_NAME);
        fs::rename(path.join(SUPERBLOCK_NAME), moved).unwrap();
        set_aside(&path).unwrap();
        assert_eq!(extents(&path.join(FORMER_NAME)), 1);
    }

    #[test]
    fn everything_is_erased_and_an_empty_directory_has_nothing_to_keep() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node");
        NodeDirectory::create(&path, &superblock(0)).unwrap();
        set_aside(&path).unwrap();
        NodeDirectory::create(&path, &superblock(0)).unwrap();
        erase(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        set_aside(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }
}
