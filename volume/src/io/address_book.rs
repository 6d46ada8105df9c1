//! The volume's address book, `VOLUME/redoubt.volume`: where its node directories are.
//!
//! ```text
//! redoubt-volume 1
//! id <volume, 32 hex digits>
//! node <index> <zone letter> <file system, hex> <path>
//! successor <index> <zone letter> <file system, hex> <path>
//! ```
//!
//! It only helps to find the nodes; what counts is in their superblocks. A path is relative to
//! VOLUME when it lies in there, and is the rest of its line, so it may contain spaces.

use super::node_directory::sync_folder;
use super::recorder::{self, Action};
use super::volume_directory::open_parent;
use crate::error::VolumeError;
use crate::format::superblock::MAX_NODES;
use crate::ids::{NodeId, VolumeId, ZoneId};
use crate::planted::{Bug, is_planted};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Name of the file in the volume's directory.
pub const BOOK_NAME: &str = "redoubt.volume";
/// The file before it takes the place of the former one.
const NEW_BOOK_NAME: &str = "redoubt.volume.new";
/// Version of the format that this program writes, and the highest that it reads.
const VERSION: u16 = 1;
/// Most bytes of a book: every node with the longest path (PATH_MAX) and a little more.
const MOST_BYTES: u64 = MAX_NODES as u64 * 4224;

/// Where the nodes of a volume are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressBook {
    /// The volume.
    pub volume: VolumeId,
    /// Its nodes, in order of their ids.
    pub nodes: Vec<Address>,
    /// Directories that are to take the place of a node, by that node's id.
    pub successors: BTreeMap<NodeId, Address>,
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The zone that it fails with.
    pub zone: ZoneId,
    /// Identity of the file system that the directory itself lies in, to tell a directory that
    /// was deleted or emptied from one whose disk is not mounted.
    pub file_system: u64,
    /// The node directory: absolute, or relative to the volume's directory.
    pub path: PathBuf,
}

impl AddressBook {
    /// Reads the book of a volume's directory.
    ///
    /// # Errors
    /// [`VolumeError::NotAVolume`], [`VolumeError::Newer`], or what is wrong with which line.
    pub fn read(volume: &Path) -> Result<AddressBook, VolumeError> {
        let path = volume.join(BOOK_NAME);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes)) {
            Ok(_) => AddressBook::parse(&bytes, volume),
            Err(error) if is_absence(&error) => Err(VolumeError::NotAVolume(volume.to_path_buf())),
            Err(error) => Err(VolumeError::io(
                format!("cannot read {}", path.display()),
                error,
            )),
        }
    }

    /// Understands the text of the book of the volume in this directory.
    ///
    /// # Errors
    /// As [`AddressBook::read`].
    pub fn parse(text: &[u8], volume: &Path) -> Result<AddressBook, VolumeError> {
        let mut lines = text.split(|byte| *byte == b'\n');
        let version = lines.next().and_then(parse_version);
        match version {
            None => return Err(VolumeError::NotAVolume(volume.to_path_buf())),
            Some(version) if version > VERSION => {
                let path = volume.to_path_buf();
                return Err(VolumeError::Newer { path, version });
            }
            Some(_) => {}
        }
        if !text.ends_with(b"\n") {
            // The last line was cut: what is left of a path is another path.
            return Err(damaged(volume, lines.count() + 1));
        }
        let id = lines.next().and_then(parse_id);
        let mut book = AddressBook {
            volume: id.ok_or_else(|| damaged(volume, 2))?,
            nodes: Vec::new(),
            successors: BTreeMap::new(),
        };
        for (number, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
            book.take_line(line)
                .ok_or_else(|| damaged(volume, number + 3))?;
        }
        Ok(book)
    }

    /// A node behind those that are known, or the successor of one of them.
    fn take_line(&mut self, line: &[u8]) -> Option<()> {
        let (word, index, address) = parse_node(line)?;
        match word {
            "node" if index == self.nodes.len() => self.nodes.push(address),
            "successor" if index < self.nodes.len() => {
                let node = NodeId(u16::try_from(index).ok()?);
                let former = self.successors.insert(node, address);
                return former.is_none().then_some(());
            }
            _ => return None,
        }
        Some(())
    }

    /// Writes the book into a volume's directory, in one step and on stable storage.
    ///
    /// # Errors
    /// When a path has a line break, or the operating system refuses.
    pub fn write(&self, volume: &Path) -> Result<(), VolumeError> {
        let text = self.encode(volume)?;
        let path = volume.join(BOOK_NAME);
        replace(&path, &text)
            .map_err(|error| VolumeError::io(format!("cannot write {}", path.display()), error))
    }

    /// The node directories, in order of their ids.
    pub fn paths(&self, volume: &Path) -> Vec<PathBuf> {
        self.nodes
            .iter()
            .map(|node| volume.join(&node.path))
            .collect()
    }

    /// Where the directory with this address is: a node's, or behind those a successor's.
    pub fn place(&self, node: NodeId) -> Option<&Address> {
        let successor = || {
            let seat = node.index().checked_sub(self.nodes.len())?;
            self.successors.get(&NodeId(u16::try_from(seat).ok()?))
        };
        self.nodes.get(node.index()).or_else(successor)
    }

    /// The text of the book of the volume in this directory.
    ///
    /// # Errors
    /// When a path has a line break.
    pub fn encode(&self, volume: &Path) -> Result<Vec<u8>, VolumeError> {
        let mut text = format!("redoubt-volume {VERSION}\nid {}\n", self.volume).into_bytes();
        let nodes = self.nodes.iter().enumerate();
        let nodes = nodes.map(|(index, node)| ("node", index, node));
        let successors = self.successors.iter();
        let successors = successors.map(|(node, address)| ("successor", node.index(), address));
        for (word, index, node) in nodes.chain(successors) {
            let zone = char::from(b'a' + node.zone.0);
            let inside = node.path.strip_prefix(volume).ok();
            // The volume's own directory is nothing, relative to itself: no path at all.
            let inside = inside.filter(|path| !path.as_os_str().is_empty());
            let path = inside.unwrap_or(&node.path);
            if path.as_os_str().as_bytes().contains(&b'\n') {
                return Err(VolumeError::Invalid(format!(
                    "the path {path:?} contains a line break, which {BOOK_NAME} cannot hold; choose another"
                )));
            }
            text.extend_from_slice(
                format!("{word} {index} {zone} {:016x} ", node.file_system).as_bytes(),
            );
            text.extend_from_slice(path.as_os_str().as_bytes());
            text.push(b'\n');
        }
        Ok(text)
    }
}

/// Whether the error says that there is no such file.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Writes beside the file and renames over it: a crash leaves the old or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_file_name(NEW_BOOK_NAME);
    let folder = &open_parent(path)?;
    let name = NEW_BOOK_NAME;
    let file = recorder::during(Action::Create { folder, name }, || File::create(&beside))?;
    let fill = Action::Fill { file: &file, bytes };
    recorder::during(fill, || (&file).write_all(bytes))?;
    if !is_planted(Bug::BookNotSynced) {
        recorder::during(Action::Sync { file: &file }, || file.sync_all())?;
    }
    let (from, to) = (NEW_BOOK_NAME, BOOK_NAME);
    let rename = Action::Rename { folder, from, to };
    recorder::during(rename, || std::fs::rename(&beside, path))?;
    sync_folder(folder)
}

fn damaged(volume: &Path, line: usize) -> VolumeError {
    VolumeError::Invalid(format!(
        "line {line} of {} cannot be understood: the file was changed or cut; restore it from a copy",
        volume.join(BOOK_NAME).display()
    ))
}

fn parse_version(line: &[u8]) -> Option<u16> {
    let number = std::str::from_utf8(line)
        .ok()?
        .strip_prefix("redoubt-volume ")?;
    // A number too large for the type is newer than any that is known.
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse().unwrap_or(u16::MAX))
}

fn parse_id(line: &[u8]) -> Option<VolumeId> {
    let digits = std::str::from_utf8(line).ok()?.strip_prefix("id ")?;
    let hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut id = [0; 16];
    for (at, byte) in id.iter_mut().enumerate().filter(|_| hex) {
        *byte = u8::from_str_radix(digits.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    hex.then_some(VolumeId(id))
}

/// The word of a node's line, the node's id, and where it is.
fn parse_node(line: &[u8]) -> Option<(&str, usize, Address)> {
    let mut fields = line.splitn(5, |byte| *byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (word, index, zone, file_system) = (text()?, text()?, text()?, text()?);
    let path = fields.next().filter(|path| !path.is_empty())?;
    let &[zone] = zone.as_bytes() else {
        return None;
    };
    let zone = zone.is_ascii_lowercase().then(|| ZoneId(zone - b'a'))?;
    let index = index.parse().ok().filter(|index| *index < MAX_NODES)?;
    let address = Address {
        zone,
        file_system: u64::from_str_radix(file_system, 16).ok()?,
        path: PathBuf::from(OsStr::from_bytes(path)),
    };
    Some((word, index, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(paths: &[&[u8]]) -> AddressBook {
        let address = |(index, path): (usize, &&[u8])| Address {
            zone: ZoneId(index as u8 / 2),
            file_system: 0xfeed_0000 + index as u64,
            path: PathBuf::from(OsStr::from_bytes(path)),
        };
        AddressBook {
            volume: VolumeId([0xab; 16]),
            nodes: paths.iter().enumerate().map(address).collect(),
            successors: BTreeMap::new(),
        }
    }

    #[test]
    fn a_book_comes_back_as_it_was_written() {
        let temp = tempfile::tempdir().unwrap();
        let written = book(&[b"nodes/a1", b"/mnt/my disk/ a2 ", b"/mnt/\xff", b"nodes/b2"]);
        written.write(temp.path()).unwrap();
        assert_eq!(AddressBook::read(temp.path()).unwrap(), written);
        assert_eq!(
            written.paths(temp.path())[..2],
            [
                temp.path().join("nodes/a1"),
                PathBuf::from("/mnt/my disk/ a2 ")
            ]
        );
        let left: Vec<_> = std::fs::read_dir(temp.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_path_inside_the_volume_is_written_relative() {
        let temp = tempfile::tempdir().unwrap();
        let mut written = book(&[b"x"]);
        written.nodes[0].path = temp.path().join("nodes/a1");
        written.write(temp.path()).unwrap();
        let read = AddressBook::read(temp.path()).unwrap();
        assert_eq!(read.nodes[0].path, Path::new("nodes/a1"));
    }

    #[test]
    fn the_volume_s_own_directory_comes_back() {
        let volume = Path::new("/volume");
        let written = book(&[b"/volume", b"/volume/a2"]);
        let read = AddressBook::parse(&written.encode(volume).unwrap(), volume).unwrap();
        assert_eq!(read.paths(volume), written.paths(volume));
    }

    #[test]
    fn successors_come_back_and_there_is_one_of_a_node_at_most() {
        let volume = Path::new("/volume");
        let mut written = book(&[b"/a1", b"/a2"]);
        let address = book(&[b"/new disk"]).nodes.remove(0);
        written.successors.insert(NodeId(1), address);
        let text = written.encode(volume).unwrap();
        assert_eq!(AddressBook::parse(&text, volume).unwrap(), written);
        let line = text.split(|byte| *byte == b'\n').nth(4).unwrap();
        let twice = [&text[..], line, b"\n"].concat();
        assert!(AddressBook::parse(&twice, volume).is_err());
        let of_nobody = String::from_utf8(text).unwrap();
        let of_nobody = of_nobody.replace("successor 1", "successor 2");
        assert!(AddressBook::parse(of_nobody.as_bytes(), volume).is_err());
    }

    #[test]
    fn a_line_break_in_a_path_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let result = book(&[b"/mnt/a\nnode"]).write(temp.path());
        assert!(matches!(result, Err(VolumeError::Invalid(_))));
        assert!(!temp.path().join(BOOK_NAME).exists());
    }

    #[test]
    fn what_is_no_book_is_told_apart() {
        let temp = tempfile::tempdir().unwrap();
        let read = || AddressBook::read(temp.path());
        assert!(matches!(read(), Err(VolumeError::NotAVolume(_))));
        let id = "id abababababababababababababababab\n";
        let judge = |text: &str| {
            std::fs::write(temp.path().join(BOOK_NAME), text).unwrap();
            read().unwrap_err()
        };
        assert!(matches!(judge("hello\n"), VolumeError::NotAVolume(_)));
        for (first, expected) in [("2", 2), ("99999999", u16::MAX)] {
            match judge(&format!("redoubt-volume {first}\n???\n")) {
                VolumeError::Newer { version, .. } => assert_eq!(version, expected),
                other => panic!("{other}"),
            }
        }
        for lines in [
            "id abab\n",
            &format!("{id}node 1 a 0 x\n"),
            &format!("{id}node 0 aa 0 x\n"),
            &format!("{id}node 0 A 0 x\n"),
            &format!("{id}node 0 a g x\n"),
            &format!("{id}node 0 a 0 \n"),
            &format!("{id}node 0 a 0\n"),
            &format!("{id}edon 0 a 0 x\n"),
            &format!("{id}node 0 a 0 nodes/a"),
            "id ＋ab＋ab＋ab＋ab＋ab\n",
        ] {
            let error = judge(&format!("redoubt-volume 1\n{lines}"));
            assert!(matches!(error, VolumeError::Invalid(_)), "{lines}: {error}");
        }
    }
}
