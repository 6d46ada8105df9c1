//! Nodes whose place another directory takes while the volume is used: making it, looking after it,
//! and opening it as the node's when the writer says that it has the place.
//!
//! The address book knows it as the node's successor. At an open the superblocks decide: a successor
//! that the newest configuration names has the place already, any other one is made anew, since
//! nobody knows what it missed. A node that is not there may know better, and name it; so it is emptied
//! before its node counts, and where it cannot be reached the node is kept out at first.

use super::driver::Driver;
use super::layout::{new_superblock, random_u64};
use super::open::{Trust, Unusable, open_node};
use super::watch::{give_up, note, take_in};
use crate::config::VolumeConfig;
use crate::error::VolumeError;
use crate::format::superblock::Superblock;
use crate::ids::{Incarnation, NodeId};
use crate::io::address_book::{Address, AddressBook};
use crate::io::node_directory::{NodeDirectory, SUPERBLOCK_NAME};
use crate::io::node_remains;
use crate::io::volume_directory::{check_new_node, file_system_of_node, remove_if_empty};
use crate::limits;
use crate::status::{NodeState, SuccessorStatus};
use crate::writer::{Writer, WriterFigures};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long an abort waits for what is under way in the directory that it removes.
const QUIET_PATIENCE: Duration = Duration::from_secs(10);

impl Driver {
    /// The address of a node's successor.
    pub(super) fn successor(&self, node: NodeId) -> NodeId {
        NodeId(self.book.read().nodes.len() as u16 + node.0)
    }

    /// The directory with this address; none any more: the volume's own.
    pub(super) fn path_of(&self, node: NodeId) -> PathBuf {
        let book = self.book.read();
        let place = book.place(node).map(|address| address.path.as_path());
        self.path().join(place.unwrap_or(Path::new("")))
    }

    pub(super) fn node_named(&self, name: &str) -> Result<NodeId, VolumeError> {
        let config = self.config();
        let named = config
            .node_ids()
            .find(|node| config.node_name(*node) == name);
        named.ok_or_else(|| {
            let names: Vec<String> = config
                .node_ids()
                .map(|node| config.node_name(node))
                .collect();
            VolumeError::Invalid(format!(
                "the volume has no node '{name}'; its nodes are {}",
                names.join(", ")
            ))
        })
    }

    /// Makes a directory and begins to fill it, to take a node's place.
    pub(super) fn replace_node(
        self: &Arc<Self>,
        name: &str,
        directory: &Path,
    ) -> Result<(), VolumeError> {
        let node = self.node_named(name)?;
        if self.config().is_drained(node) {
            return Err(VolumeError::Invalid(format!(
                "{name} is drained, so nothing needs its place; add nodes instead"
            )));
        }
        let path = std::path::absolute(directory).map_err(|error| {
            VolumeError::io(format!("cannot find {}", directory.display()), error)
        })?;
        let mut book = self.book.write();
        if let Some(successor) = book.successors.get(&node) {
            return Err(VolumeError::Invalid(format!(
                "{name} is being replaced by {} already; wait for the end of that, or call it off with --abort",
                successor.path.display()
            )));
        }
        check_new_node(self.path(), &book, &path)?;
        let file_system = file_system_of_node(&path)
            .map_err(|error| VolumeError::io(format!("cannot use {}", path.display()), error))?;
        let zone = book.nodes[node.index()].zone;
        let address = Address {
            zone,
            file_system,
            path,
        };
        book.successors.insert(node, address);
        book.write(self.path())
            .inspect_err(|_| drop(book.successors.remove(&node)))?;
        drop(book);
        let begun = make(self, node).and_then(|()| {
            look_after(self, node).map_err(|error| VolumeError::io("cannot start a thread", error))
        });
        begun.inspect_err(|_| self.forget_successor(node))
    }

    /// Calls a replacement off, and removes the directory that was to take the node's place.
    pub(super) fn abort_replacement(&self, name: &str) -> Result<PathBuf, VolumeError> {
        let node = self.node_named(name)?;
        let successor = self.successor(node);
        if !self.book.read().successors.contains_key(&node) {
            return Err(VolumeError::Invalid(format!(
                "{name} is not being replaced, so there is nothing to call off"
            )));
        }
        let path = self.path_of(successor);
        let deadline = Instant::now() + QUIET_PATIENCE;
        while !self.call_off(node) {
            if Instant::now() > deadline {
                return Err(VolumeError::Invalid(format!(
                    "{} was just taking the place of {name}, and four nodes must know that it does not; call it off again when more nodes are back",
                    path.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let config = self.config();
        let is_seated = superblock_of(&path, &self.book.read())
            .is_some_and(|superblock| has_place(&superblock, node, &config));
        if is_seated {
            return Err(VolumeError::Invalid(format!(
                "it was too late to call it off: {} has just taken the place of {name}; replace it again instead",
                path.display()
            )));
        }
        self.forget_successor(node);
        Ok(path)
    }

    /// Whether the writer counts on the node's successor no more.
    fn call_off(&self, node: NodeId) -> bool {
        let successor = self.successor(node);
        self.with_core(|core, now| {
            let called_off = core.embedded.writer.abort_replacement(now, node);
            if called_off {
                core.embedded.nodes[successor.index()] = None;
            }
            called_off
        })
    }

    /// Removes what was made to take a node's place.
    fn forget_successor(&self, node: NodeId) {
        let successor = self.successor(node);
        let path = self.path_of(successor);
        self.directories.remove(successor);
        let mut book = self.book.write();
        book.successors.remove(&node);
        let written = book.write(self.path());
        drop(book);
        let deadline = Instant::now() + QUIET_PATIENCE;
        while !self.is_quiet(successor) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let erased = node_remains::erase(&path).and_then(|()| remove_if_empty(&path));
        self.locks.lock().remove(&successor);
        if let Err(error) = written {
            log::warn!("the address book still names {}: {error}", path.display());
        }
        if let Err(error) = erased {
            log::warn!("{} is not removed: {error}", path.display());
        }
    }

    /// The writer has made it durable that a node's successor has its place. Its directory is opened
    /// as the node's as soon as nothing is under way in it.
    pub(super) fn on_seated(&self, node: NodeId) {
        let successor = self.successor(node);
        for gone in [node, successor] {
            self.directories.remove(gone);
            self.locks.lock().remove(&gone);
            self.failed.lock().remove(&gone);
        }
        let mut book = self.book.write();
        let former = seat(&mut book, node);
        if let Some(former) = former {
            let (former, path) = (former.path.display(), &book.nodes[node.index()].path);
            log::info!(
                "{} has taken the place of {former}, which can be deleted",
                path.display()
            );
        }
        drop(book);
        self.write_book();
    }

    /// Writes down which directory has a node's place now.
    pub(super) fn write_book(&self) {
        if let Err(error) = self.book.read().write(self.path()) {
            // The next open finds the configuration, and writes it again.
            log::warn!("the address book still names a former directory: {error}");
        }
    }
}

/// Gives a successor the node's place in the book; the address that the node had.
fn seat(book: &mut AddressBook, node: NodeId) -> Option<Address> {
    let successor = book.successors.remove(&node)?;
    Some(std::mem::replace(&mut book.nodes[node.index()], successor))
}

/// Before an open: a successor that the newest configuration names has its node's place. Whether the
/// book is to be written anew, once the open has chosen that configuration.
pub(super) fn seat_what_is_configured(volume: &Path, book: &mut AddressBook) -> bool {
    let superblock = |address: &Address| superblock_of(&volume.join(&address.path), book);
    let found = book.nodes.iter().chain(book.successors.values());
    let configs = found.filter_map(|address| Some(superblock(address)?.config));
    let Some(config) = configs.max_by_key(|config| config.version) else {
        return false;
    };
    let is_named = |(node, address): (&NodeId, &Address)| {
        let superblock = superblock(address)?;
        has_place(&superblock, *node, &config).then_some(*node)
    };
    let seated: Vec<NodeId> = book.successors.iter().filter_map(is_named).collect();
    for node in &seated {
        seat(book, *node);
    }
    !seated.is_empty()
}

/// Nodes whose successors are not out of the way: that have not the place, but may be named by a node
/// which was not found. One that can be reached is emptied, and never comes back as what was named.
/// To be called with the nodes' locks held.
pub(super) fn not_ruled_out(
    volume: &Path,
    book: &AddressBook,
    config: &VolumeConfig,
    may_write: bool,
) -> Vec<NodeId> {
    let is_out = |(node, address): &(&NodeId, &Address)| {
        let path = volume.join(&address.path);
        may_write
            && erase_own(&path, book, **node, config).is_ok()
            && path.is_dir()
            && !path.join(SUPERBLOCK_NAME).exists()
    };
    let listed = (book.successors.iter()).filter(|(node, _)| node.index() < config.nodes.len());
    listed
        .filter(|entry| !is_out(entry))
        .map(|(node, _)| *node)
        .collect()
}

fn superblock_of(path: &Path, book: &AddressBook) -> Option<Superblock> {
    let superblock = NodeDirectory::peek(path).ok()?.ok()?;
    (superblock.config.volume == book.volume).then_some(superblock)
}

/// Starts the threads that look after the successors that the address book names.
pub(super) fn look_after_all(driver: &Arc<Driver>) -> std::io::Result<()> {
    let nodes: Vec<NodeId> = driver.book.read().successors.keys().copied().collect();
    nodes
        .into_iter()
        .try_for_each(|node| look_after(driver, node))
}

/// One thread for each: a look at a disk that hangs does not come back.
fn look_after(driver: &Arc<Driver>, node: NodeId) -> std::io::Result<()> {
    let driver: Weak<Driver> = Arc::downgrade(driver);
    let run = move || {
        loop {
            std::thread::sleep(limits::DIRECTORY_CHECK);
            match driver.upgrade() {
                Some(driver) if !driver.is_closed() && is_replaced(&driver, node) => {
                    look_at_successor(&driver, node);
                }
                _ => return,
            }
        }
    };
    let thread = std::thread::Builder::new().name("redoubt-watch".to_owned());
    thread.spawn(run).map(|_| ())
}

fn is_replaced(driver: &Driver, node: NodeId) -> bool {
    driver.book.read().successors.contains_key(&node)
}

/// One round: a successor whose directory is gone, whose disk failed, or that the writer does not
/// take is given up, and made anew in a later round.
fn look_at_successor(driver: &Driver, node: NodeId) {
    let successor = driver.successor(node);
    match driver.directories.get(successor) {
        Some(directory) if !directory.still_there() => {
            let reason = "its directory was deleted, replaced or unmounted";
            give_up(driver, successor, Writer::node_down, reason);
        }
        Some(_) if is_unusable(driver, node) => {
            let reason = "its disk failed, or it missed an open";
            give_up(driver, successor, Writer::node_failed, reason);
        }
        None if driver.is_quiet(successor) => {
            if let Err(error) = make(driver, node) {
                note(driver, successor, true, &error.to_string());
            }
        }
        _ => {}
    }
}

fn is_unusable(driver: &Driver, node: NodeId) -> bool {
    let successor = driver.successor(node);
    driver.with_core(|core, _| {
        let there = core.embedded.nodes[successor.index()].as_ref();
        let figures = core.embedded.writer.figures().replacements;
        let mut figures = figures.into_iter();
        let state = figures.find(|(replaced, ..)| *replaced == node);
        let is_away = |state| matches!(state, NodeState::Missing | NodeState::Failed);
        let refused = state.is_some_and(|(_, state, _)| is_away(state));
        there.is_some_and(|there| there.is_fenced() || refused)
    })
}

/// Makes the directory of a successor, or makes it anew, and opens it.
fn make(driver: &Driver, node: NodeId) -> Result<(), VolumeError> {
    let successor = driver.successor(node);
    let path = driver.path_of(successor);
    let mut config = driver.config();
    let book = driver.book.read().clone();
    erase_own(&path, &book, node, &config)?;
    config.nodes[node.index()].incarnation = Incarnation(random_u64()?);
    NodeDirectory::create(&path, &new_superblock(&config, node, true))?;
    let index_bytes = driver.index_bytes_per_node;
    match open_node(driver.path(), &book, successor, index_bytes, Trust::AsFound) {
        Ok(open) => {
            take_in(driver, successor, open);
            Ok(())
        }
        Err(Unusable::Fatal(error)) => Err(error),
        Err(Unusable::Missing) => Err(VolumeError::Invalid("its directory is gone".to_owned())),
        Err(
            Unusable::Unreachable(reason) | Unusable::Damaged(reason) | Unusable::Foreign(reason),
        ) => Err(VolumeError::Invalid(reason)),
    }
}

/// Whether a configuration names the directory of this superblock in the node's place.
fn has_place(superblock: &Superblock, node: NodeId, config: &VolumeConfig) -> bool {
    let entry = config.nodes.get(node.index());
    entry.is_some_and(|entry| entry.incarnation == superblock.incarnation)
}

/// Removes what an earlier round left in a successor's directory, if the disk is there that it was on.
/// What another volume or node has there is left alone, and so is the directory that has the node's
/// place already.
fn erase_own(
    path: &Path,
    book: &AddressBook,
    node: NodeId,
    config: &VolumeConfig,
) -> Result<(), VolumeError> {
    let address = book.successors.get(&node);
    if file_system_of_node(path).ok() != address.map(|address| address.file_system) {
        return Err(VolumeError::Invalid(
            "its parent is missing, or the disk that it was on is not mounted there".to_owned(),
        ));
    }
    let is_own = superblock_of(path, book)
        .is_some_and(|superblock| superblock.node == node && !has_place(&superblock, node, config));
    match is_own {
        true => node_remains::erase(path)
            .map_err(|error| VolumeError::io(format!("cannot empty {}", path.display()), error)),
        false => Ok(()),
    }
}

/// The directory that is to take a node's place, for status.
pub(super) fn status_of(
    node: NodeId,
    book: &AddressBook,
    volume: &Path,
    figures: &WriterFigures,
) -> Option<SuccessorStatus> {
    let address = book.successors.get(&node)?;
    let mut replacements = figures.replacements.iter();
    let own = replacements.find(|(replaced, ..)| *replaced == node);
    let (state, reason) = match own {
        Some((_, state, reason)) => (*state, reason.clone()),
        None => (NodeState::Missing, None),
    };
    Some(SuccessorStatus {
        path: volume.join(&address.path),
        state,
        reason,
        rebuild: figures.rebuilds[figures.nodes.len() + node.index()],
    })
}
