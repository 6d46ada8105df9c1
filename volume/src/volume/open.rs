//! Opening: locks, directories, nodes side by side, then the recovery.

use super::OpenOptions;
use super::driver::{Driver, Parts};
use super::idle;
use super::layout::random_u64;
use super::replace;
use super::scrubbing::{self, Scrubs};
use super::watch;
use crate::config::VolumeConfig;
use crate::embedded::Embedded;
use crate::error::VolumeError;
use crate::format::superblock::{Superblock, SuperblockError};
use crate::ids::{ExtentSlot, NodeId};
use crate::io::Directories;
use crate::io::address_book::{AddressBook, BOOK_NAME};
use crate::io::extent_file::open_extents_per_node;
use crate::io::node_directory::NodeDirectory;
use crate::io::node_lock::NodeLock;
use crate::page::PageBuf;
use crate::segment::effect::DiskError;
use crate::segment::node::Node;
use crate::segment::recovery::LogReader;
use crate::status::NodeState;
use crate::writer::{Writer, WriterPolicy};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Reads a node's log, and keeps the first error of the operating system: one that says nothing
/// of what is on the disk must not pass for damage.
struct Reader<'a> {
    directory: &'a NodeDirectory,
    refused: RefCell<Option<io::Error>>,
}

impl Reader<'_> {
    fn note(&self, error: io::Error) -> DiskError {
        self.refused.borrow_mut().get_or_insert(error);
        DiskError::Failed
    }
}

impl LogReader for Reader<'_> {
    fn extents(&self) -> Result<Vec<(ExtentSlot, u64)>, DiskError> {
        self.directory.extents().map_err(|error| self.note(error))
    }

    fn read(
        &self,
        slot: ExtentSlot,
        offset: u64,
        pages: usize,
        target: &mut PageBuf,
    ) -> Result<(), DiskError> {
        self.directory
            .read_at(slot, offset, pages, target)
            .map_err(|error| self.note(error))
    }

    fn sync_found(&mut self) -> Result<(), DiskError> {
        let superblock = self.directory.superblock_file().sync_data();
        superblock
            .and_then(|()| self.directory.sync_names())
            .map_err(|error| self.note(error))
    }

    fn sync(&mut self, slot: ExtentSlot) -> Result<(), DiskError> {
        let extent = self.directory.extent(slot);
        extent
            .and_then(|extent| extent.sync_data())
            .map_err(|error| self.note(error))
    }
}

/// A node that was opened from its directory.
pub(super) struct OpenNode {
    pub(super) node: Node,
    pub(super) directory: Arc<NodeDirectory>,
    pub(super) lock: NodeLock,
}

/// Why a node's directory cannot be used.
pub(super) enum Unusable {
    /// Nobody may open the volume: it is in use, or too new for this program.
    Fatal(VolumeError),
    /// The directory is not there.
    Missing,
    /// It cannot be looked at now; what is there may be as good as ever.
    Unreachable(String),
    /// What is there cannot be used: it must be rebuilt.
    Damaged(String),
    /// It must be left alone: it is of something else.
    Foreign(String),
}

impl Unusable {
    /// Whether the node is lost until it is made anew, and not merely away.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Unusable::Damaged(_))
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Fatal(error) => error.fmt(f),
            Unusable::Missing => f.write_str(NodeState::Missing.meaning()),
            Unusable::Unreachable(reason)
            | Unusable::Damaged(reason)
            | Unusable::Foreign(reason) => f.write_str(reason),
        }
    }
}

pub(super) fn open(path: &Path, options: &OpenOptions) -> Result<Arc<Driver>, VolumeError> {
    let started = std::time::Instant::now();
    let mut book = AddressBook::read(path)?;
    let is_reseated =
        !book.successors.is_empty() && replace::seat_what_is_configured(path, &mut book);
    let index_bytes_per_node = options.index_bytes / book.nodes.len().max(1);
    let mut results = open_nodes(path, &book, index_bytes_per_node);
    let config = newest_config(&results);
    if let Some(config) = &config {
        check_book(&book, config)?;
        // What the book has more is of an addition that was cut short, and counts for nothing.
        results.truncate(config.nodes.len());
        book.nodes.truncate(config.nodes.len());
    }
    let Sorted {
        nodes,
        directories,
        locks,
        reasons,
    } = sort(results, config.as_ref())?;
    let directories_text = list_reasons(&reasons, &book);
    let config = config.ok_or_else(|| {
        let reason = "no node directory can be opened".to_owned();
        VolumeError::TooFewNodes(with_directories(reason, &directories_text))
    })?;
    let policy = WriterPolicy {
        cache: options.cache,
        on_quorum_loss: options.on_quorum_loss,
        read_only: options.read_only,
        rebuild_rate: options.rebuild_rate,
    };
    let may_write = options.make_anew && !options.read_only;
    let kept_out = replace::not_ruled_out(path, &book, &config, may_write);
    let mut writer = Writer::new(config, random_u64()?, policy);
    kept_out.into_iter().for_each(|node| writer.keep_out(node));
    for (node, (has_failed, reason)) in &reasons {
        writer.node_unusable(*node, *has_failed, reason);
    }
    let driver = Driver::new(Parts {
        embedded: Embedded { writer, nodes },
        directories: directories.into_iter().collect::<Directories>(),
        path: path.to_path_buf(),
        book,
        locks,
        index_bytes_per_node,
        make_anew: options.make_anew,
        started,
        random: random_u64()?,
        scrubs: Scrubs::of_volume(path, options.scrub, options.read_only),
    })
    .map_err(|error| VolumeError::io("cannot start the volume's threads", error))?;
    recover(&driver).map_err(|reason| {
        driver.close();
        VolumeError::TooFewNodes(with_directories(reason, &directories_text))
    })?;
    if is_reseated && options.make_anew {
        driver.write_book();
    }
    driver.begin_events();
    start_looking_after(&driver)
        .map_err(|error| VolumeError::io("cannot start the volume's threads", error))?;
    Ok(driver)
}

/// What came of the opening of each node.
struct Sorted {
    /// By node; their successors' places behind them.
    nodes: Vec<Option<Node>>,
    directories: Vec<(NodeId, Arc<NodeDirectory>)>,
    locks: HashMap<NodeId, NodeLock>,
    /// Why a node is not there, and whether it is lost.
    reasons: HashMap<NodeId, (bool, String)>,
}

fn sort(
    results: Vec<Result<OpenNode, Unusable>>,
    config: Option<&VolumeConfig>,
) -> Result<Sorted, VolumeError> {
    let mut sorted = Sorted {
        nodes: (0..2 * results.len()).map(|_| None).collect(),
        directories: Vec::new(),
        locks: HashMap::new(),
        reasons: HashMap::new(),
    };
    for (index, result) in results.into_iter().enumerate() {
        let id = NodeId(index as u16);
        match result {
            _ if is_drained(config, id) => {}
            Ok(open) => {
                sorted.nodes[index] = Some(open.node);
                sorted.directories.push((id, open.directory));
                sorted.locks.insert(id, open.lock);
            }
            Err(Unusable::Fatal(error)) => return Err(error),
            Err(unusable) => {
                let reason = (unusable.is_failure(), unusable.to_string());
                sorted.reasons.insert(id, reason);
            }
        }
    }
    Ok(sorted)
}

/// Whether nothing is on a node, whatever its directory has.
fn is_drained(config: Option<&VolumeConfig>, node: NodeId) -> bool {
    config.is_some_and(|config| config.is_drained(node))
}

/// The address book must name every node of the configuration.
fn check_book(book: &AddressBook, config: &VolumeConfig) -> Result<(), VolumeError> {
    let (named, needed) = (book.nodes.len(), config.nodes.len());
    match named >= needed {
        true => Ok(()),
        false => Err(VolumeError::Invalid(format!(
            "the volume has {needed} nodes and its file {BOOK_NAME} names only {named}, as it did before \
             the others came; add their lines again, in the order in which the nodes were added"
        ))),
    }
}

/// The newest configuration that a directory holds.
fn newest_config(results: &[Result<OpenNode, Unusable>]) -> Option<VolumeConfig> {
    let open = results.iter().flatten();
    let configs = open.map(|open| &open.node.superblock().config);
    configs.max_by_key(|config| config.version).cloned()
}

/// The threads that see to directories and scrubs.
fn start_looking_after(driver: &Arc<Driver>) -> std::io::Result<()> {
    watch::start_watching(driver)?;
    if driver.make_anew {
        replace::look_after_all(driver)?;
    }
    scrubbing::start_looking(driver)
}

fn recover(driver: &Arc<Driver>) -> Result<(), String> {
    watch::start_ticking(driver).map_err(|error| error.to_string())?;
    idle::start_idling(driver).map_err(|error| error.to_string())?;
    driver.with_core(|core, now| {
        let nodes = core.embedded.nodes.iter().flatten();
        let present: Vec<NodeId> = nodes.map(Node::id).collect();
        present
            .into_iter()
            .for_each(|node| core.embedded.writer.node_up(now, node));
        core.embedded.writer.open(now);
    });
    driver.wait_opened()?;
    driver.refresh();
    Ok(())
}

/// Why the recovery refused, and which directories could not be opened: one need not be the cause
/// of the other.
fn with_directories(reason: String, directories: &str) -> String {
    match directories {
        "" => reason,
        directories => format!("{reason} ({directories})"),
    }
}

fn list_reasons(reasons: &HashMap<NodeId, (bool, String)>, book: &AddressBook) -> String {
    let mut rows: Vec<_> = reasons.iter().collect();
    rows.sort();
    let row = |(node, (_, reason)): (&NodeId, &(bool, String))| {
        format!("{}: {reason}", book.nodes[node.index()].path.display())
    };
    rows.into_iter().map(row).collect::<Vec<_>>().join("; ")
}

/// Opens all nodes side by side: each scans its own log.
fn open_nodes(
    path: &Path,
    book: &AddressBook,
    index_bytes: usize,
) -> Vec<Result<OpenNode, Unusable>> {
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..book.nodes.len())
            .map(|index| {
                let id = NodeId(index as u16);
                scope.spawn(move || open_node(path, book, id, index_bytes, Trust::AsFound))
            })
            .collect();
        let threads = started.into_iter();
        threads
            .map(|thread| thread.join().expect("opening does not panic"))
            .collect()
    })
}

/// What is known of a node directory before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nothing bad: what it holds is what it had put there.
    AsFound,
    /// A write or sync failed: what can be read is put on stable storage first.
    AfterFailure,
}

/// Opens one node from its directory.
pub(super) fn open_node(
    volume: &Path,
    book: &AddressBook,
    id: NodeId,
    index_bytes: usize,
    trust: Trust,
) -> Result<OpenNode, Unusable> {
    let path = volume.join(&book.place(id).ok_or(Unusable::Missing)?.path);
    match std::fs::metadata(&path) {
        Err(error) if is_absence(&error) => return Err(Unusable::Missing),
        Err(error) => return Err(judge(&error)),
        Ok(_) => {}
    }
    let open_extents = open_extents_per_node(book.nodes.len());
    // Before the lock, whose file is made: what is no node's directory is left as it is.
    let directory = NodeDirectory::open(&path, open_extents).map_err(judge_refusal)?;
    let lock = NodeLock::acquire(&path).map_err(|error| match error {
        VolumeError::Locked { .. } => Unusable::Fatal(error),
        error => judge_refusal(error),
    })?;
    if trust == Trust::AfterFailure || !directory.reads_the_disk() {
        directory.stabilize().map_err(|error| judge(&error))?;
    }
    let superblock = read_superblock(&directory, book, id)?;
    let mut reader = Reader {
        directory: &directory,
        refused: RefCell::default(),
    };
    let node = Node::open(superblock, &mut reader, index_bytes);
    if let Some(error) = reader.refused.take() {
        return Err(judge(&error));
    }
    Ok(OpenNode {
        node: node.map_err(|error| Unusable::Damaged(error.to_string()))?,
        directory: Arc::new(directory),
        lock,
    })
}

fn read_superblock(
    directory: &NodeDirectory,
    book: &AddressBook,
    id: NodeId,
) -> Result<Superblock, Unusable> {
    let found = directory.read_superblock().map_err(|error| judge(&error))?;
    let superblock = found.map_err(|error| match error {
        SuperblockError::Newer(version) => Unusable::Fatal(VolumeError::Newer {
            path: directory.path().to_path_buf(),
            version,
        }),
        SuperblockError::Damaged => Unusable::Damaged("its superblock is damaged".to_owned()),
    })?;
    let seat = id.index() % book.nodes.len();
    if superblock.config.volume != book.volume || superblock.node.index() != seat {
        return Err(Unusable::Foreign(
            "its directory belongs to another volume or node".into(),
        ));
    }
    Ok(superblock)
}

fn judge_refusal(error: VolumeError) -> Unusable {
    match error {
        VolumeError::Io { source, .. } => judge(&source),
        error => Unusable::Damaged(error.to_string()),
    }
}

/// Only what is not there, or is something else, is lost for certain. Any other error (too many
/// open files, a bus that was reset, a permission) may be gone at the next look.
fn judge(error: &io::Error) -> Unusable {
    // An error without a number is this program's own word for what it found.
    if is_absence(error) || error.raw_os_error().is_none_or(|code| code == libc::ELOOP) {
        Unusable::Damaged(format!("its directory is not complete: {error}"))
    } else {
        Unusable::Unreachable(format!("its directory cannot be read now: {error}"))
    }
}

fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_own_reason_and_what_is_missing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("v");
        let options = crate::volume::CreateOptions {
            disk_bytes: 1 << 20,
            ..Default::default()
        };
        crate::volume::create(&path, &options).unwrap();
        for node in ["a1", "a2", "b1", "b2"] {
            std::fs::remove_dir_all(path.join("nodes").join(node)).unwrap();
        }
        let Err(refusal) = open(&path, &OpenOptions::default()) else {
            panic!("two nodes prove nothing");
        };
        let text = refusal.to_string();
        assert!(text.contains("incomplete: a1, a2, b1, b2"), "{text}");
        assert!(
            text.contains("nodes/b2: its directory is not there"),
            "{text}"
        );
    }

    #[test]
    fn only_what_is_surely_lost_is_damaged() {
        let judged = |code| judge(&io::Error::from_raw_os_error(code));
        for code in [
            libc::EMFILE,
            libc::ENFILE,
            libc::EIO,
            libc::EACCES,
            libc::ENOMEM,
        ] {
            assert!(matches!(judged(code), Unusable::Unreachable(_)), "{code}");
        }
        for code in [libc::ENOENT, libc::ENOTDIR, libc::ELOOP] {
            assert!(matches!(judged(code), Unusable::Damaged(_)), "{code}");
        }
    }
}
