//! The threads that tell the core of time, and of directories that vanish, come back, or must be
//! made anew.

use super::driver::{Driver, TICK};
use super::layout::{new_superblock, random_u64};
use super::open::{Unusable, open_node};
use crate::error::VolumeError;
use crate::ids::{Incarnation, NodeId};
use crate::io::node_directory::NodeDirectory;
use crate::io::volume_directory::file_system_of_node;
use crate::limits;
use crate::status::VolumeState;
use std::path::Path;
use std::sync::{Arc, Weak};

/// Starts the thread that tells the core that time has passed.
pub(super) fn start_ticking(driver: &Arc<Driver>) -> std::io::Result<()> {
    start(driver, "redoubt-tick", TICK, Driver::tick)
}

/// Starts the thread that looks after the directories.
pub(super) fn start_watching(driver: &Arc<Driver>) -> std::io::Result<()> {
    start(
        driver,
        "redoubt-watch",
        limits::DIRECTORY_CHECK,
        look_after_nodes,
    )
}

fn start(
    driver: &Arc<Driver>,
    name: &str,
    pause: std::time::Duration,
    work: fn(&Driver),
) -> std::io::Result<()> {
    let driver: Weak<Driver> = Arc::downgrade(driver);
    let run = move || {
        loop {
            std::thread::sleep(pause);
            match driver.upgrade() {
                Some(driver) if !driver.is_closed() => work(&driver),
                _ => return,
            }
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map(|_| ())
}

/// One round: nodes whose directory is gone are given up; those that can be opened or made again
/// are.
fn look_after_nodes(driver: &Driver) {
    for index in 0..driver.book.nodes.len() {
        let node = NodeId(index as u16);
        match driver.directories.get(node) {
            Some(directory) if !directory.still_there() => {
                give_up(
                    driver,
                    node,
                    "its directory was deleted, replaced or unmounted",
                );
            }
            Some(_) if must_be_rebuilt(driver, node) => {
                give_up(
                    driver,
                    node,
                    "its disk failed, or its directory is of an earlier life",
                );
                if driver.is_quiet(node) {
                    rebuild(driver, node);
                }
            }
            Some(_) => {}
            None if driver.is_quiet(node) => bring_back(driver, node),
            None => {}
        }
    }
}

/// Takes a node out of service. Its directory is opened again, or made anew, in a later round:
/// what was still asked of the old one has failed by then.
fn give_up(driver: &Driver, node: NodeId, reason: &str) {
    log::warn!(
        "node {}: {reason}",
        driver.book.nodes[node.index()].path.display()
    );
    driver.directories.remove(node);
    driver.locks.lock().remove(&node);
    driver.reasons.lock().insert(node, reason.to_owned());
    driver.with_core(|core, now| {
        core.embedded.nodes[node.index()] = None;
        core.embedded.writer.node_down(now, node, reason);
    });
}

/// A fenced node must not go on with what it has; a directory whose life is not the admitted one
/// and that has data must not come back as if nothing had happened.
fn must_be_rebuilt(driver: &Driver, node: NodeId) -> bool {
    driver.with_core(|core, _| {
        let admitted = core.embedded.writer.config().nodes[node.index()].incarnation;
        core.embedded.nodes[node.index()]
            .as_ref()
            .is_some_and(|node| {
                let superblock = node.superblock();
                node.is_fenced() || (superblock.incarnation != admitted && !superblock.fresh)
            })
    })
}

/// Opens a node whose directory is there again; makes it anew where that is safe.
fn bring_back(driver: &Driver, node: NodeId) {
    match open_node(
        driver.path(),
        &driver.book,
        node,
        driver.index_bytes_per_node,
    ) {
        Ok(open) => {
            driver.locks.lock().insert(node, open.lock);
            driver.reasons.lock().remove(&node);
            driver.directories.insert(node, open.directory);
            driver.with_core(|core, now| {
                core.embedded.nodes[node.index()] = Some(open.node);
                core.embedded.writer.node_up(now, node);
            });
        }
        Err(Unusable::Missing | Unusable::Damaged(_)) => rebuild(driver, node),
        Err(Unusable::Foreign(reason)) => {
            driver.reasons.lock().insert(node, reason);
        }
        Err(Unusable::Fatal(error)) => {
            driver.reasons.lock().insert(node, error.to_string());
        }
    }
}

/// Makes a node's directory anew, if that would be on the file system that it was on: a disk that
/// is not mounted is not an empty one. The new directory counts nowhere until the other
/// nodes have admitted it. With fewer than three others nothing could fill it.
fn rebuild(driver: &Driver, node: NodeId) {
    let state = driver.figures().state;
    let others_serve = matches!(state, VolumeState::Degraded | VolumeState::ReadOnly);
    if !driver.make_anew || !others_serve {
        return;
    }
    let address = &driver.book.nodes[node.index()];
    let path = driver.book.paths(driver.path()).swap_remove(node.index());
    if file_system_of_node(&path).ok() != Some(address.file_system) {
        let reason = "its parent is missing, or the disk that it was on is not mounted there";
        driver.reasons.lock().insert(node, reason.to_owned());
        return;
    }
    if let Err(error) = make_anew(driver, node, &path) {
        log::warn!("node {}: cannot be made anew: {error}", path.display());
        driver.reasons.lock().insert(node, error.to_string());
    }
}

fn make_anew(driver: &Driver, node: NodeId, path: &Path) -> Result<(), VolumeError> {
    let mut config = driver.with_core(|core, _| core.embedded.writer.config().clone());
    config.nodes[node.index()].incarnation = Incarnation(random_u64()?);
    if path.exists() {
        NodeDirectory::erase(path)
            .map_err(|error| VolumeError::io(format!("cannot empty {}", path.display()), error))?;
    }
    NodeDirectory::create(path, &new_superblock(&config, node, true))
}
