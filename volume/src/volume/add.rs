//! Nodes that come to a volume while nobody uses it: groups that are made later are placed on them,
//! too, and those that there are, if they are to be spread, as soon as the volume is used.
//!
//! The address book names them first, then their directories are made, then the configuration that
//! lists them is made durable by the nodes that there were. An open uses as many of the book's nodes
//! as the configuration has: what a crash leaves undone counts for nothing, and is done when the same
//! nodes are added again.

use super::driver::Driver;
use super::layout::{new_superblock, random_u64};
use super::relocate::check_one_table;
use super::{OpenOptions, Volume};
use crate::config::{NodeEntry, VolumeConfig, check_zones};
use crate::error::VolumeError;
use crate::format::superblock::{MAX_NODES, SuperblockError};
use crate::ids::{GroupId, Incarnation, NodeId, ZoneId};
use crate::io::address_book::{Address, AddressBook};
use crate::io::node_directory::NodeDirectory;
use crate::io::node_remains;
use crate::io::volume_directory::{check_new_node, file_system_of_node, remove_if_empty};
use std::path::{Path, PathBuf};

/// Adds nodes to the volume in directory `path`, which nobody has open, and returns their names.
/// Directories are made; groups that there are stay where they are, unless `spread` is set: then they
/// move when the volume is used.
///
/// # Errors
/// [`VolumeError`] when the volume cannot be opened, as many nodes cannot be, or a directory is not
/// empty; nothing is changed then.
pub fn add_nodes(
    path: &Path,
    nodes: &[(ZoneId, PathBuf)],
    spread: bool,
) -> Result<Vec<String>, VolumeError> {
    with_open(path, |volume| volume.driver.add_nodes(nodes, spread))
}

/// Has the groups of the volume in directory `path`, which nobody has open, spread over all nodes:
/// they move when the volume is used.
///
/// # Errors
/// [`VolumeError`] when they are, or the volume cannot be opened.
pub fn rebalance(path: &Path) -> Result<(), VolumeError> {
    with_open(path, Volume::rebalance)
}

fn with_open<T>(
    path: &Path,
    change: impl FnOnce(&Volume) -> Result<T, VolumeError>,
) -> Result<T, VolumeError> {
    // Nothing else is to change the address book meanwhile.
    let options = OpenOptions {
        make_anew: false,
        ..OpenOptions::default()
    };
    let volume = Volume::open(path, options)?;
    let changed = change(&volume);
    let closed = volume.close();
    let changed = changed?;
    closed?;
    Ok(changed)
}

impl Driver {
    fn add_nodes(
        &self,
        nodes: &[(ZoneId, PathBuf)],
        spread: bool,
    ) -> Result<Vec<String>, VolumeError> {
        let config = self.config();
        check_one_table(&config, "add nodes")?;
        check_count(&config, nodes)?;
        self.check_steady("add nodes")?;
        let entries: Vec<NodeEntry> = nodes
            .iter()
            .map(|(zone, _)| Ok(NodeEntry::new(*zone, Incarnation(random_u64()?))))
            .collect::<Result<_, VolumeError>>()?;
        if !config.widened(entries.clone(), GroupId(1)).can_place() {
            return Err(VolumeError::Invalid(
                "with as many nodes groups would be placed in too many ways; add so many that the zones \
                 have twice as many nodes as before, or another multiple"
                    .to_owned(),
            ));
        }
        let book = self.book_with(nodes)?;
        book.write(self.path())?;
        // Theirs is older than any that counts: they are told the right one.
        let mut listed = config.widened(entries.clone(), GroupId(0));
        listed.version = 0;
        let new: Vec<NodeId> = listed.node_ids().skip(config.nodes.len()).collect();
        if let Err(error) = self.make_all(&book, &listed, &new) {
            self.undo(&book, &listed, &new)?;
            return Err(error);
        }
        self.ask(|writer, _, ticket| writer.widen(ticket, entries, spread))?;
        Ok(new.into_iter().map(|node| listed.node_name(node)).collect())
    }

    fn make_all(
        &self,
        book: &AddressBook,
        listed: &VolumeConfig,
        new: &[NodeId],
    ) -> Result<(), VolumeError> {
        new.iter().try_for_each(|node| {
            let path = self.path().join(&book.nodes[node.index()].path);
            erase_own(&path, listed, *node)?;
            NodeDirectory::create(&path, &new_superblock(listed, *node, false))
        })
    }

    /// No configuration lists the new nodes yet: what was made of them is removed.
    fn undo(
        &self,
        book: &AddressBook,
        listed: &VolumeConfig,
        new: &[NodeId],
    ) -> Result<(), VolumeError> {
        for node in new {
            let path = self.path().join(&book.nodes[node.index()].path);
            erase_own(&path, listed, *node)?;
            remove_if_empty(&path).map_err(|error| {
                VolumeError::io(format!("cannot remove {}", path.display()), error)
            })?;
        }
        self.book.read().write(self.path())
    }

    /// The address book with these nodes behind those that there are, as an earlier addition that
    /// was cut short may have left it.
    fn book_with(&self, nodes: &[(ZoneId, PathBuf)]) -> Result<AddressBook, VolumeError> {
        let mut book = self.book.read().clone();
        let found = AddressBook::read(self.path())?;
        let mut known = found.nodes.into_iter().skip(book.nodes.len()).peekable();
        let is_again = known.peek().is_some();
        for (zone, directory) in nodes {
            let path = std::path::absolute(directory).map_err(|error| {
                VolumeError::io(format!("cannot find {}", directory.display()), error)
            })?;
            let begun = known.next().map(|address| self.path().join(address.path));
            if is_again && begun.as_ref() != Some(&path) {
                let begun = begun.unwrap_or_default();
                return Err(VolumeError::Invalid(format!(
                    "an addition of other nodes, with {}, was cut short; ask for the same again first",
                    begun.display()
                )));
            }
            if !is_again {
                check_new_node(self.path(), &book, &path)?;
            }
            let file_system = file_system_of_node(&path).map_err(|error| {
                VolumeError::io(format!("cannot use {}", path.display()), error)
            })?;
            book.nodes.push(Address {
                zone: *zone,
                file_system,
                path,
            });
        }
        Ok(book)
    }
}

fn check_count(config: &VolumeConfig, nodes: &[(ZoneId, PathBuf)]) -> Result<(), VolumeError> {
    let invalid = |text: String| Err(VolumeError::Invalid(text));
    let there = config.nodes.iter().filter(|entry| entry.in_current);
    let there = there.map(|entry| entry.zone);
    let zones: Vec<ZoneId> = there.chain(nodes.iter().map(|(zone, _)| *zone)).collect();
    if nodes.is_empty() {
        return invalid(
            "no node was named; name as many in each of the zones a, b and c".to_owned(),
        );
    }
    if config.nodes.len() + nodes.len() > MAX_NODES {
        return invalid(format!("a volume has at most {MAX_NODES} nodes"));
    }
    check_zones(&zones).or_else(|error| invalid(format!("{error}; add as many in each zone")))
}

/// Removes what an addition that was cut short has made: its superblock may not be whole. What is
/// another volume's or node's is left alone.
fn erase_own(path: &Path, config: &VolumeConfig, node: NodeId) -> Result<(), VolumeError> {
    let cannot = |error| VolumeError::io(format!("cannot empty {}", path.display()), error);
    let is_own = match NodeDirectory::peek(path) {
        Ok(Ok(found)) => found.config.volume == config.volume && found.node == node,
        Ok(Err(SuperblockError::Damaged)) => true,
        Ok(Err(SuperblockError::Newer(_))) => false,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.exists(),
        Err(error) => return Err(cannot(error)),
    };
    match is_own {
        true => node_remains::erase(path).map_err(cannot),
        false => Ok(()),
    }
}

#[cfg(test)]
#[path = "add_tests.rs"]
mod tests;
