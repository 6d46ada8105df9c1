//! The threads that tell the core of time, and of directories that vanish, come back, or must be
//! made anew.

use super::driver::{Driver, TICK};
use super::layout::{new_superblock, random_u64};
use super::open::{OpenNode, Trust, Unusable, open_node};
use crate::error::VolumeError;
use crate::event::{Event, EventKind};
use crate::ids::{Incarnation, NodeId};
use crate::io::node_directory::NodeDirectory;
use crate::io::node_remains;
use crate::io::volume_directory::file_system_of_node;
use crate::limits;
use crate::status::VolumeState;
use crate::time::Instant;
use crate::writer::Writer;
use std::path::Path;
use std::sync::{Arc, Weak};

/// Starts the thread that tells the core that time has passed.
pub(super) fn start_ticking(driver: &Arc<Driver>) -> std::io::Result<()> {
    start(driver, "redoubt-tick", TICK, Driver::tick)
}

/// Starts the threads that look after the directories: one a node, since a look at a disk that
/// hangs does not come back, and the others must be noticed within a second all the same.
pub(super) fn start_watching(driver: &Arc<Driver>) -> std::io::Result<()> {
    start_looking(driver, look_at_node)
}

fn start_looking(
    driver: &Arc<Driver>,
    look: impl Fn(&Driver, NodeId) + Copy + Send + 'static,
) -> std::io::Result<()> {
    let count = driver.book.read().nodes.len();
    (0..count).try_for_each(|index| {
        let node = NodeId(index as u16);
        start(
            driver,
            "redoubt-watch",
            limits::DIRECTORY_CHECK,
            move |driver| look(driver, node),
        )
    })
}

pub(super) fn start(
    driver: &Arc<Driver>,
    name: &str,
    pause: std::time::Duration,
    work: impl Fn(&Driver) + Send + 'static,
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

/// One round of a node: it is given up if its directory is gone, and opened or made again if it
/// can be.
fn look_at_node(driver: &Driver, node: NodeId) {
    if driver.is_drained(node) {
        return;
    }
    let directory = driver.directories.get(node);
    if let Some(reason) = driver.switched_off(node) {
        if directory.is_some() {
            give_up(driver, node, Writer::node_down, &reason);
        }
        return;
    }
    match directory {
        Some(directory) if !directory.still_there() => {
            let reason = "its directory was deleted, replaced or unmounted";
            give_up(driver, node, Writer::node_down, reason);
        }
        Some(directory) => look_after(driver, node, &directory),
        // A late write would land in what is opened now.
        None if !driver.is_quiet(node) || !driver.is_quiet(driver.successor(node)) => {}
        None if driver.faults.fails_opening(node) => {}
        None if driver.failed.lock().contains(&node) => bring_back_failed(driver, node),
        None => bring_back(driver, node, Trust::AsFound),
    }
}

fn look_after(driver: &Driver, node: NodeId, directory: &NodeDirectory) {
    match fitness(driver, node) {
        Fitness::Fit => forget_former_life(driver, node, directory),
        Fitness::Failed => {
            driver.failed.lock().insert(node);
            let reason = "its disk failed, or what it holds was annulled";
            give_up(driver, node, Writer::node_failed, reason);
        }
        Fitness::Replaced => {
            let reason = "its directory is of an earlier life";
            give_up(driver, node, Writer::node_failed, reason);
            if driver.is_quiet(node) {
                rebuild(driver, node);
            }
        }
    }
}

/// Takes a node out of service. Its directory is opened again, or made anew, in a later round:
/// what was still asked of the old one has failed by then.
pub(super) fn give_up(
    driver: &Driver,
    node: NodeId,
    tell: fn(&mut Writer, Instant, NodeId, &str),
    reason: &str,
) {
    log::warn!("node {}: {reason}", driver.path_of(node).display());
    driver.directories.remove(node);
    driver.locks.lock().remove(&node);
    driver.with_core(|core, now| {
        core.embedded.nodes[node.index()] = None;
        tell(&mut core.embedded.writer, now, node, reason);
    });
}

/// Whether a node may go on with what it has.
enum Fitness {
    Fit,
    /// It has fenced itself: a write or sync failed, or its index has what was annulled.
    Failed,
    /// Its life is not the admitted one, and it has data: it must not come back as if nothing had
    /// happened.
    Replaced,
}

fn fitness(driver: &Driver, node: NodeId) -> Fitness {
    driver.with_core(|core, _| {
        let admitted = core.embedded.writer.config().nodes[node.index()].incarnation;
        match core.embedded.nodes[node.index()].as_ref() {
            Some(node) if node.is_fenced() => Fitness::Failed,
            Some(node) if node.superblock().fresh => Fitness::Fit,
            Some(node) if node.superblock().incarnation != admitted => Fitness::Replaced,
            _ => Fitness::Fit,
        }
    })
}

/// What a node had before it was made anew is kept until it holds everything; or until there is
/// no room for both, where four others hold everything.
fn forget_former_life(driver: &Driver, node: NodeId, directory: &NodeDirectory) {
    if !node_remains::has_former(directory.path()) {
        return;
    }
    let (figures, full) = driver.with_core(|core, _| {
        let writer = &core.embedded.writer;
        (writer.figures(), writer.is_full(node))
    });
    let filled = figures.nodes[node.index()].0.is_whole();
    if !(filled || full && figures.state == VolumeState::Degraded) {
        return;
    }
    if let Err(error) = node_remains::remove_former(directory.path()) {
        let path = directory.path().display();
        log::warn!("node {path}: what it had before cannot be removed: {error}");
    }
}

/// A node whose write or sync failed never counts again with what it claimed. It is made anew
/// where the others can do without it; else, as when one flush failed for all of them, it comes
/// back with what can still be read after all of that was synced.
fn bring_back_failed(driver: &Driver, node: NodeId) {
    let is_back = if driver.make_anew && others_suffice(driver, node) {
        rebuild(driver, node)
    } else {
        bring_back(driver, node, Trust::AfterFailure);
        driver.directories.get(node).is_some()
    };
    if is_back {
        driver.failed.lock().remove(&node);
    }
}

fn others_suffice(driver: &Driver, node: NodeId) -> bool {
    driver.with_core(|core, _| core.embedded.writer.can_do_without(node))
}

/// Opens a node whose directory is there again; makes it anew where that is safe.
fn bring_back(driver: &Driver, node: NodeId, trust: Trust) {
    let index_bytes = driver.index_bytes_per_node;
    let book = driver.book.read().clone();
    match open_node(driver.path(), &book, node, index_bytes, trust) {
        Ok(open) => take_in(driver, node, open),
        Err(unusable) => {
            note(driver, node, unusable.is_failure(), &unusable.to_string());
            if matches!(unusable, Unusable::Missing | Unusable::Damaged(_)) {
                rebuild(driver, node);
            }
        }
    }
}

/// A node that was opened is there for the core.
pub(super) fn take_in(driver: &Driver, node: NodeId, open: OpenNode) {
    driver.locks.lock().insert(node, open.lock);
    driver.directories.insert(node, open.directory);
    driver.with_core(|core, now| {
        core.embedded.nodes[node.index()] = Some(open.node);
        core.embedded.writer.node_up(now, node);
    });
}

/// Status says why a node is not back.
pub(super) fn note(driver: &Driver, node: NodeId, has_failed: bool, reason: &str) {
    driver.with_core(|core, _| {
        let writer = &mut core.embedded.writer;
        writer.node_unusable(node, has_failed, reason);
    });
}

/// Makes a node's directory anew, if that would be on the file system that it was on: a disk that
/// is not mounted is not an empty one. The new directory counts nowhere until the other nodes have
/// admitted it; unless three others prove everything, nothing could fill it. `false` when nothing
/// was made.
fn rebuild(driver: &Driver, node: NodeId) -> bool {
    if !driver.make_anew || !others_suffice(driver, node) {
        return false;
    }
    let path = driver.path_of(node);
    let file_system = driver.book.read().nodes[node.index()].file_system;
    if file_system_of_node(&path).ok() != Some(file_system) {
        let reason = "its parent is missing, or the disk that it was on is not mounted there";
        note(driver, node, false, reason);
        return false;
    }
    let made = make_anew(driver, node, &path);
    if let Err(error) = &made {
        log::warn!("node {}: cannot be made anew: {error}", path.display());
        note(driver, node, false, &error.to_string());
    }
    made.is_ok()
}

fn make_anew(driver: &Driver, node: NodeId, path: &Path) -> Result<(), VolumeError> {
    let mut config = driver.config();
    config.nodes[node.index()].incarnation = Incarnation(random_u64()?);
    if path.exists() {
        node_remains::set_aside(path)
            .map_err(|error| VolumeError::io(format!("cannot empty {}", path.display()), error))?;
    }
    NodeDirectory::create(path, &new_superblock(&config, node, true))?;
    let text = format!("{} is a new, empty directory", path.display());
    let event = Event::new(EventKind::MadeAnew, text);
    driver.events.note(event.of_node(&config.node_name(node)));
    Ok(())
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
