//! The fixed tree of a mount, with inode numbers that never change.

use fuser::{FileType, INodeNo};
use std::ffi::OsStr;

/// What a mount shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A directory with `disk` and the hidden `.redoubt/status`.
    Directory,
    /// The disk alone: the mount point is the file.
    File,
}

/// A file or directory of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// The root of a directory mount.
    Root,
    /// The disk.
    Disk,
    /// `.redoubt`.
    Hidden,
    /// `.redoubt/status`.
    Status,
}

/// A directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it is.
    pub(crate) node: Node,
    /// Its name.
    pub(crate) name: &'static str,
}

const ROOT_ENTRIES: [Entry; 4] = [
    Entry::new(Node::Root, "."),
    Entry::new(Node::Root, ".."),
    Entry::new(Node::Disk, "disk"),
    Entry::new(Node::Hidden, ".redoubt"),
];

const HIDDEN_ENTRIES: [Entry; 3] = [
    Entry::new(Node::Hidden, "."),
    Entry::new(Node::Root, ".."),
    Entry::new(Node::Status, "status"),
];

impl Entry {
    const fn new(node: Node, name: &'static str) -> Entry {
        Entry { node, name }
    }
}

impl Shape {
    /// The inode number of a node; the kernel calls every root 1.
    pub(crate) fn number(self, node: Node) -> INodeNo {
        match (self, node) {
            (Shape::File, Node::Disk) | (_, Node::Root) => INodeNo::ROOT,
            (_, Node::Disk) => INodeNo(2),
            (_, Node::Hidden) => INodeNo(3),
            (_, Node::Status) => INodeNo(4),
        }
    }

    /// The node of an inode number.
    pub(crate) fn node(self, number: INodeNo) -> Option<Node> {
        let nodes: &[Node] = match self {
            Shape::File => &[Node::Disk],
            Shape::Directory => &[Node::Root, Node::Disk, Node::Hidden, Node::Status],
        };
        let numbered = |node: &&Node| self.number(**node) == number;
        nodes.iter().find(numbered).copied()
    }
}

impl Node {
    /// File or directory.
    pub(crate) fn kind(self) -> FileType {
        match self {
            Node::Root | Node::Hidden => FileType::Directory,
            Node::Disk | Node::Status => FileType::RegularFile,
        }
    }

    /// Entries of a directory, with `.` and `..`, in the order in which they are listed; none for
    /// a file.
    pub(crate) fn entries(self) -> &'static [Entry] {
        match self {
            Node::Root => &ROOT_ENTRIES,
            Node::Hidden => &HIDDEN_ENTRIES,
            Node::Disk | Node::Status => &[],
        }
    }

    /// The entry of a name in a directory.
    pub(crate) fn child(self, name: &OsStr) -> Option<Node> {
        let named = |entry: &&Entry| name == entry.name;
        self.entries().iter().find(named).map(|entry| entry.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_found_by_its_own_number() {
        for node in [Node::Root, Node::Disk, Node::Hidden, Node::Status] {
            let number = Shape::Directory.number(node);
            assert_eq!(Shape::Directory.node(number), Some(node));
        }
        assert_eq!(Shape::File.node(INodeNo::ROOT), Some(Node::Disk));
        assert_eq!(Shape::File.node(INodeNo(2)), None);
        assert_eq!(Shape::Directory.node(INodeNo(5)), None);
    }

    #[test]
    fn names_are_found_in_their_directory_only() {
        assert_eq!(Node::Root.child(OsStr::new("disk")), Some(Node::Disk));
        assert_eq!(Node::Hidden.child(OsStr::new("status")), Some(Node::Status));
        assert_eq!(Node::Root.child(OsStr::new("status")), None);
        assert_eq!(Node::Disk.child(OsStr::new(".")), None);
    }
}
