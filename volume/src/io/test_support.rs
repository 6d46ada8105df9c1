//! What the tests of this module share: nodes on real files.

use super::node_directory::NodeDirectory;
use super::{Deliver, Directories};
use crate::config::tests::config;
use crate::format::superblock::Superblock;
use crate::ids::{ExtentSlot, Incarnation, NodeId};
use crate::page::{PAGE_BYTES, PageBuf, Pages};
use crate::segment::effect::{DiskCompletion, DiskError, OperationId};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The first superblock of a node of a volume of six.
pub(super) fn superblock(node: u16) -> Superblock {
    let incarnation = Incarnation(100 + u64::from(node));
    Superblock::new(&config(2, 1, 1 << 30), NodeId(node), incarnation, false)
}

/// A new node directory named `node` in `folder`.
pub(super) fn made(folder: &Path) -> NodeDirectory {
    let path = folder.join("node");
    NodeDirectory::create(&path, &superblock(0)).unwrap();
    NodeDirectory::open(&path, 4).unwrap()
}

/// The first byte of each of so many pages of an extent.
pub(super) fn first_bytes(node: &NodeDirectory, slot: ExtentSlot, pages: usize) -> Vec<u8> {
    let mut read = PageBuf::default();
    node.read_at(slot, 0, pages, &mut read).unwrap();
    read.bytes()
        .chunks(PAGE_BYTES)
        .map(|page| page[0])
        .collect()
}

/// Six nodes in `folder`, each with extent 0 of `pages` pages.
pub(super) fn six_nodes(folder: &Path, pages: u64) -> Directories {
    let node = |index: u16| {
        let path = folder.join(index.to_string());
        NodeDirectory::create(&path, &superblock(index)).unwrap();
        let directory = NodeDirectory::open(&path, 4).unwrap();
        let bytes = pages * PAGE_BYTES as u64;
        directory.allocate(ExtentSlot(0), bytes).unwrap();
        (NodeId(index), Arc::new(directory))
    };
    (0..6).map(node).collect()
}

/// Pages whose bytes tell which they are.
pub(super) fn pattern(pages: usize, salt: u8) -> Pages {
    let page = |index: usize| [index as u8 ^ salt; PAGE_BYTES];
    let bytes: Vec<_> = (0..pages).map(page).collect();
    PageBuf::from_bytes(bytes.as_flattened()).share()
}

/// A receiver of completions, and where they arrive batch by batch.
pub(super) fn inbox() -> (Deliver, Receiver<Vec<(NodeId, DiskCompletion)>>) {
    let (sender, receiver) = channel();
    let deliver = move |batch| sender.send(batch).unwrap();
    (Arc::new(deliver), receiver)
}

/// The next `count` completions of writes.
pub(super) fn done(
    inbox: &Receiver<Vec<(NodeId, DiskCompletion)>>,
    count: usize,
) -> Vec<(NodeId, OperationId, Result<(), DiskError>)> {
    let mut all = Vec::new();
    while all.len() < count {
        for (node, completion) in inbox.recv_timeout(Duration::from_secs(10)).unwrap() {
            match completion {
                DiskCompletion::Done { operation, result } => all.push((node, operation, result)),
                other => panic!("{other:?}"),
            }
        }
    }
    all.sort_by_key(|(node, operation, _)| (*node, *operation));
    all
}
