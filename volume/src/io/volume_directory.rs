//! Making and removing a volume's directories.

use super::address_book::{Address, AddressBook, BOOK_NAME};
use super::event_history;
use super::node_directory::{NodeDirectory, sync_folder};
use super::node_lock::lock_all;
use super::node_remains;
use super::recorder::{self, Action};
use super::scrub_record::ScrubRecord;
use crate::error::VolumeError;
use crate::format::superblock::{Superblock, SuperblockError};
use crate::planted::{Bug, is_planted};
use nix::sys::statvfs::statvfs;
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::path::{Path, PathBuf};

/// Folder of a volume that node directories are made in unless the user names others.
pub const NODES_NAME: &str = "nodes";

/// What a new volume is made of.
#[derive(Clone, Debug)]
pub struct CreateLayout {
    /// Its nodes, in order of their ids.
    pub nodes: Vec<NewNode>,
}

/// A node of a new volume.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// Its directory; `None`: `nodes/<name>` in the volume's.
    pub path: Option<PathBuf>,
    /// What it knows of itself.
    pub superblock: Superblock,
}

/// Makes the volume's directory, its nodes and, when all of that is on stable storage, its
/// address book. What was made is removed again when something fails.
///
/// # Errors
/// [`VolumeError::Exists`] when a directory is not empty, [`VolumeError::Invalid`] when two nodes
/// lie in one place.
pub fn create(volume: &Path, layout: &CreateLayout) -> Result<(), VolumeError> {
    let volume = absolute(volume)?;
    let paths = node_paths(&volume, layout)?;
    check_apart(&volume, &paths)?;
    for path in paths.iter().chain([&volume]) {
        if !is_free(path)? {
            return Err(VolumeError::Exists(path.clone()));
        }
    }
    let mut made = Made::default();
    made.folder(&volume)?;
    if paths
        .iter()
        .any(|path| path.starts_with(volume.join(NODES_NAME)))
    {
        made.folder(&volume.join(NODES_NAME))?;
    }
    for (path, node) in paths.iter().zip(&layout.nodes) {
        made.node(path, &node.superblock)?;
    }
    address_book(layout, &paths)?.write(&volume)?;
    made.keep();
    Ok(())
}

/// Removes a volume: the directories of its nodes, its address book and, if nothing else is in
/// it, its directory. A directory that now belongs to another volume is left alone.
///
/// # Errors
/// [`VolumeError::Locked`] when a process has the volume open.
pub fn destroy(volume: &Path) -> Result<(), VolumeError> {
    let book = AddressBook::read(volume)?;
    let mut nodes = Vec::new();
    let mut paths = places(volume, &book);
    let replaced = former_nodes(volume).filter(|path| !paths.contains(path));
    paths.extend(replaced.collect::<Vec<_>>());
    for path in paths {
        if belongs_to(&path, volume, &book)? {
            nodes.push(path);
        } else {
            log::warn!("{} is left alone: no node of this volume", path.display());
        }
    }
    let _locks = lock_all(&nodes)?;
    for path in &nodes {
        node_remains::erase(path)
            .and_then(|()| remove_if_empty(path))
            .map_err(|error| cannot("remove", path, error))?;
    }
    for path in event_history::files(volume) {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(cannot("remove", &path, error));
            }
            _ => {}
        }
    }
    ScrubRecord::remove(volume)
        .map_err(|error| cannot("remove what scrubs left in", volume, error))?;
    let book_path = volume.join(BOOK_NAME);
    std::fs::remove_file(&book_path).map_err(|error| cannot("remove", &book_path, error))?;
    for folder in [volume.join(NODES_NAME), volume.to_path_buf()] {
        remove_if_empty(&folder).map_err(|error| cannot("remove", &folder, error))?;
    }
    Ok(())
}

/// Bytes that may still be written to the file system of a directory.
///
/// # Errors
/// As the operating system says.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let numbers = statvfs(directory)?;
    Ok(numbers
        .blocks_available()
        .saturating_mul(numbers.fragment_size()))
}

/// Identity of the file system that a directory lies in, be it mounted right there.
///
/// # Errors
/// As the operating system says.
pub fn file_system_id(directory: &Path) -> io::Result<u64> {
    Ok(statvfs(directory)?.filesystem_id())
}

/// Identity of the file system that a node's directory lies in, or would be made in.
///
/// # Errors
/// As the operating system says: also when neither it nor its parent is there.
pub fn file_system_of_node(directory: &Path) -> io::Result<u64> {
    match file_system_id(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            file_system_id(directory.parent().unwrap_or(directory))
        }
        found => found,
    }
}

/// Checks that a directory may be made into a node's beside those that are there.
///
/// # Errors
/// [`VolumeError::Exists`] when there is something in it, [`VolumeError::Invalid`] when a node or the
/// volume lies there.
pub fn check_new_node(volume: &Path, book: &AddressBook, path: &Path) -> Result<(), VolumeError> {
    let mut paths = places(volume, book);
    paths.push(path.to_path_buf());
    check_apart(volume, &paths)?;
    match is_free(path)? {
        true => Ok(()),
        false => Err(VolumeError::Exists(path.to_path_buf())),
    }
}

/// The directories of nodes, and those that are to take their places.
fn places(volume: &Path, book: &AddressBook) -> Vec<PathBuf> {
    let successors = book.successors.values();
    let successors = successors.map(|address| volume.join(&address.path));
    book.paths(volume).into_iter().chain(successors).collect()
}

/// What is where nodes are made by default: also those whose place another directory has taken.
fn former_nodes(volume: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(volume.join(NODES_NAME));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// Whether nothing is there, or an empty directory.
fn is_free(path: &Path) -> Result<bool, VolumeError> {
    // No entry has an empty name.
    holds_at_most(path, "")
}

/// Whether nothing is there, or a directory with at most an entry of this name.
pub(super) fn holds_at_most(path: &Path, name: &str) -> Result<bool, VolumeError> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => {
            Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == name)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link that leads nowhere is not free.
            Ok(std::fs::symlink_metadata(path).is_err())
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(cannot("read", path, error)),
    }
}

/// Removes a directory unless something is in it, or mounted on it, or it is gone.
///
/// # Errors
/// What else the operating system says.
pub fn remove_if_empty(path: &Path) -> io::Result<()> {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound, ResourceBusy};
    match std::fs::remove_dir(path) {
        Err(error) if matches!(error.kind(), DirectoryNotEmpty | NotFound | ResourceBusy) => Ok(()),
        removed => removed,
    }
}

/// Makes a folder where there is nothing.
pub(super) fn make_folder(path: &Path, builder: &DirBuilder) -> io::Result<()> {
    let folder = &open_parent(path)?;
    let name = &path.file_name().unwrap_or_default().to_string_lossy();
    recorder::during(Action::Create { folder, name }, || builder.create(path))
}

/// Puts the entry of a file in its directory on stable storage.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    sync_folder(&open_parent(path)?)
}

/// Opens the directory that a file is in; the root is in itself.
pub(super) fn open_parent(path: &Path) -> io::Result<File> {
    let path = std::path::absolute(path)?;
    File::open(path.parent().unwrap_or(&path))
}

fn cannot(what: &str, path: &Path, error: io::Error) -> VolumeError {
    VolumeError::io(format!("cannot {what} {}", path.display()), error)
}

fn absolute(path: &Path) -> Result<PathBuf, VolumeError> {
    std::path::absolute(path).map_err(|error| cannot("find", path, error))
}

fn node_paths(volume: &Path, layout: &CreateLayout) -> Result<Vec<PathBuf>, VolumeError> {
    let path = |node: &NewNode| match &node.path {
        Some(path) => absolute(path),
        None => {
            let name = node.superblock.config.node_name(node.superblock.node);
            Ok(volume.join(NODES_NAME).join(name))
        }
    };
    layout.nodes.iter().map(path).collect()
}

/// Checks that no node lies where the volume or another node lies, nor inside another node.
fn check_apart(volume: &Path, paths: &[PathBuf]) -> Result<(), VolumeError> {
    for (index, path) in paths.iter().enumerate() {
        let others = paths.iter().enumerate();
        let inside = others
            .filter(|(other, _)| *other != index)
            .find(|(_, other)| path.starts_with(other));
        if let Some((_, other)) = inside {
            return Err(VolumeError::Invalid(format!(
                "two nodes cannot share a place: {} lies in {}; give each a directory of its own",
                path.display(),
                other.display()
            )));
        }
        if volume.starts_with(path) {
            return Err(VolumeError::Invalid(format!(
                "{} holds the volume's own directory, so it cannot be a node's; choose another",
                path.display()
            )));
        }
    }
    Ok(())
}

fn address_book(layout: &CreateLayout, paths: &[PathBuf]) -> Result<AddressBook, VolumeError> {
    let Some(first) = layout.nodes.first() else {
        return Err(VolumeError::Invalid(
            "a volume needs nodes; name some".into(),
        ));
    };
    let config = &first.superblock.config;
    let address = |(path, node): (&PathBuf, &NewNode)| {
        // The directory's own: it may be where a disk is mounted.
        let file_system = file_system_id(path).map_err(|error| cannot("read", path, error))?;
        Ok(Address {
            zone: config.nodes[node.superblock.node.index()].zone,
            file_system,
            path: path.clone(),
        })
    };
    Ok(AddressBook {
        volume: config.volume,
        nodes: (paths.iter().zip(&layout.nodes))
            .map(address)
            .collect::<Result<_, VolumeError>>()?,
        successors: BTreeMap::new(),
    })
}

/// Whether a directory holds a node of this volume. One whose superblock is damaged does if it
/// lies inside the volume.
fn belongs_to(path: &Path, volume: &Path, book: &AddressBook) -> Result<bool, VolumeError> {
    match NodeDirectory::peek(path) {
        // Not there, or not to be reached: nothing that could be removed.
        Err(_) => Ok(false),
        Ok(Ok(superblock)) => Ok(superblock.config.volume == book.volume),
        Ok(Err(SuperblockError::Damaged)) => Ok(path.starts_with(volume)),
        Ok(Err(SuperblockError::Newer(version))) => {
            let path = path.to_path_buf();
            Err(VolumeError::Newer { path, version })
        }
    }
}

/// What a creation has made so far; removed again, last first, unless it is kept.
#[derive(Default)]
struct Made {
    folders: Vec<PathBuf>,
    nodes: Vec<PathBuf>,
}

impl Made {
    /// Makes a folder unless it is there.
    fn folder(&mut self, path: &Path) -> Result<(), VolumeError> {
        match make_folder(path, &DirBuilder::new()) {
            Ok(()) => self.folders.push(path.to_path_buf()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot("make", path, error)),
        }
        if is_planted(Bug::FolderNamesNotSynced) {
            return Ok(());
        }
        sync_parent(path).map_err(|error| cannot("sync", path, error))
    }

    fn node(&mut self, path: &Path, superblock: &Superblock) -> Result<(), VolumeError> {
        self.folder(path)?;
        let created = NodeDirectory::create(path, superblock);
        // What somebody else put there since the check is not ours to remove.
        if !matches!(created, Err(VolumeError::Exists(_))) {
            self.nodes.push(path.to_path_buf());
        }
        created
    }

    fn keep(mut self) {
        self.folders.clear();
        self.nodes.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.nodes.iter().rev() {
            if let Err(error) = node_remains::erase(path) {
                log::warn!("cannot remove {}: {error}", path.display());
            }
        }
        for path in self.folders.iter().rev() {
            if let Err(error) = remove_if_empty(path) {
                log::warn!("cannot remove {}: {error}", path.display());
            }
        }
    }
}

#[cfg(test)]
#[path = "volume_directory_tests.rs"]
mod tests;
