//! A recording played back onto disks in memory, event by event: one for each node, and one for the
//! volume's own folder and the names of the nodes'.

use crate::event::{Bytes, Event, What};
use crate::files::{Change, Files, Folder, Image, Name, ZEROS};
use crate::node_disk::{Covers, Ignored, NodeDisk};
use crate::random::Random;
use redoubt_volume::ids::ExtentSlot;
use redoubt_volume::page::PAGE_BYTES;
use std::collections::HashMap;

/// The nodes of the volume, in the order of their ids.
pub(crate) const NODES: [&str; 6] = ["a1", "a2", "b1", "b2", "c1", "c2"];

/// The volume's own folder in a recording's.
pub(crate) const VOLUME: &str = "volume";
/// Index of the disk of the volume's own folder, behind those of the nodes.
const VOLUME_DISK: usize = NODES.len();

/// Where a path of an event leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A file on this disk.
    File(usize, Name),
    /// A folder with its name on one disk, and what is in it on another.
    Folder {
        name: (usize, Name),
        holds: (usize, Folder),
    },
}

/// The disks, as far as the recording was played.
pub(crate) struct Playback {
    disks: Vec<NodeDisk>,
    ignored: Ignored,
    /// The disk of each operation that was begun.
    begun: HashMap<u64, usize>,
    /// The folder that the volume's own is in.
    outside: String,
}

/// What a power cut leaves.
pub(crate) struct Remains {
    /// The bytes of the address book, if it is there.
    pub(crate) book: Option<Vec<u8>>,
    /// The files of the nodes: none where no name leads to them.
    pub(crate) nodes: Vec<Files>,
}

impl Playback {
    /// Before there is a volume.
    pub(crate) fn new(ignored: Ignored) -> Playback {
        Playback {
            disks: (0..=VOLUME_DISK).map(|_| NodeDisk::new(ignored)).collect(),
            ignored,
            begun: HashMap::new(),
            outside: String::new(),
        }
    }

    /// Cuts the power of each disk on its own.
    pub(crate) fn cut(&self, random: &mut Random) -> Remains {
        let (volume, nodes) = self.disks.split_last().expect("a disk for the volume");
        let left = volume.cut(random);
        // A name that leads to a folder of former times leads to nothing that is known.
        let leads =
            |name| left.inode(name).is_some() && left.inode(name) == volume.view().inode(name);
        let has_nodes = leads(Name::Volume) && leads(Name::Nodes);
        let book = left.named(Name::Book).filter(|_| leads(Name::Volume));
        let files = |(number, disk): (usize, &NodeDisk)| {
            let files = disk.cut(random);
            let is_found = has_nodes && leads(Name::Node(number));
            if is_found { files } else { Files::default() }
        };
        Remains {
            book: book.map(Image::bytes),
            nodes: nodes.iter().enumerate().map(files).collect(),
        }
    }

    /// A process begins: the snapshot tells what became of what the one before it did not end. That
    /// a directory was emptied is durable.
    pub(crate) fn begin_session(&mut self, snapshot: &[Event]) {
        let mut actual = Playback::new(Ignored::None);
        for (number, event) in snapshot.iter().enumerate() {
            let mut event = event.clone();
            event.operation = number as u64;
            actual.play(&event);
        }
        self.begun.clear();
        for (index, (disk, actual)) in self.disks.iter_mut().zip(actual.disks).enumerate() {
            if index != VOLUME_DISK && actual.view().inode(Name::Superblock).is_none() {
                *disk = NodeDisk::new(self.ignored);
            }
            let killed = disk.lose_process();
            adopt_whole(disk, actual.view(), killed);
            adopt(disk, actual.view());
        }
    }

    /// Plays one event. What is done to files that are none of a node's is passed over.
    pub(crate) fn play(&mut self, event: &Event) {
        let operation = event.operation;
        if let What::End | What::Fail = event.what {
            let disk = self.begun.remove(&operation);
            match disk.map(|disk| &mut self.disks[disk]) {
                Some(disk) if matches!(event.what, What::End) => disk.end(operation),
                Some(disk) => disk.fail(operation),
                None => {}
            }
            return;
        }
        let place = parse(&event.path);
        let disk = match place {
            None if event.path == self.outside => {
                let covers = Covers::Names(Folder::Outside);
                self.disks[VOLUME_DISK].begin_sync(operation, covers);
                VOLUME_DISK
            }
            None => return,
            Some(Place::File(disk, name)) => {
                play_file(&mut self.disks[disk], operation, name, &event.what);
                disk
            }
            Some(Place::Folder { name, holds }) => self.play_folder(event, name, holds),
        };
        self.begun.insert(operation, disk);
    }

    /// Gives back the disk that it is done to.
    fn play_folder(
        &mut self,
        event: &Event,
        (named_on, name): (usize, Name),
        (disk, folder): (usize, Folder),
    ) -> usize {
        match event.what {
            What::Create => {
                if let (Name::Volume, Some((outside, _))) = (name, event.path.rsplit_once('/')) {
                    self.outside = outside.to_owned();
                }
                // Where it is there already, it is not made.
                if self.disks[named_on].view().inode(name).is_none() {
                    play_file(
                        &mut self.disks[named_on],
                        event.operation,
                        name,
                        &event.what,
                    );
                }
                named_on
            }
            What::Remove if folder == Folder::Log => {
                self.disks[disk].begin(event.operation, Change::RemoveLog);
                disk
            }
            _ => {
                self.disks[disk].begin_sync(event.operation, Covers::Names(folder));
                disk
            }
        }
    }
}

fn play_file(disk: &mut NodeDisk, operation: u64, name: Name, what: &What) {
    if matches!(what, What::Create) {
        let file = disk.new_file();
        return disk.begin(operation, Change::Create { name, file });
    }
    let Some(file) = disk.view().inode(name) else {
        return;
    };
    match what {
        What::Write { offset, bytes } => {
            let (offset, bytes) = (*offset, bytes.clone());
            let write = Change::Write {
                file,
                offset,
                bytes,
            };
            disk.begin(operation, write);
        }
        What::SetLength { bytes } => {
            let bytes = *bytes;
            disk.begin(operation, Change::SetLength { file, bytes });
        }
        What::Remove => disk.begin(operation, Change::Remove { name }),
        What::Rename { .. } => {
            // The only one that there is.
            let name = Name::Book;
            disk.begin(operation, Change::Rename { name, file });
        }
        What::Sync => disk.begin_sync(operation, Covers::File(file)),
        What::Flush => disk.begin_sync(operation, Covers::Overwritten(file)),
        What::Create | What::End | What::Fail => {}
    }
}

/// Understands a path such as `/somewhere/volume/nodes/a1/log/00000000.extent`.
fn parse(path: &str) -> Option<Place> {
    let parts: Vec<&str> = path.split('/').collect();
    let folder = |name, folder| Place::Folder {
        name: (VOLUME_DISK, name),
        holds: (VOLUME_DISK, folder),
    };
    Some(match parts[..] {
        [.., VOLUME] => folder(Name::Volume, Folder::Volume),
        [.., VOLUME, "nodes"] => folder(Name::Nodes, Folder::Nodes),
        [.., VOLUME, "redoubt.volume"] => Place::File(VOLUME_DISK, Name::Book),
        [.., VOLUME, "redoubt.volume.new"] => Place::File(VOLUME_DISK, Name::NewBook),
        [.., VOLUME, "nodes", node] => Place::Folder {
            name: (VOLUME_DISK, Name::Node(number_of(node)?)),
            holds: (number_of(node)?, Folder::Node),
        },
        [.., VOLUME, "nodes", node, "superblock"] => {
            Place::File(number_of(node)?, Name::Superblock)
        }
        [.., VOLUME, "nodes", node, "log"] => Place::Folder {
            name: (number_of(node)?, Name::Log),
            holds: (number_of(node)?, Folder::Log),
        },
        [.., VOLUME, "nodes", node, "log", extent] => {
            let slot = extent.strip_suffix(".extent")?.parse().ok()?;
            Place::File(number_of(node)?, Name::Extent(ExtentSlot(slot)))
        }
        _ => return None,
    })
}

fn number_of(node: &str) -> Option<usize> {
    NODES.iter().position(|name| *name == node)
}

/// Does the writes of a killed process that are found whole. A page of zeros looks as if it had never
/// been written, but the kernel ends a direct write that it has begun: it is there as its others are.
fn adopt_whole(disk: &mut NodeDisk, actual: &Files, killed: Vec<Change>) {
    for change in killed {
        let Change::Write {
            file,
            offset,
            bytes,
        } = &change
        else {
            continue;
        };
        let view = disk.view();
        let name = view.names().find(|name| view.inode(*name) == Some(*file));
        let image = name.and_then(|name| actual.named(name));
        if image.is_some_and(|image| image.holds(*offset, bytes)) {
            do_change(disk, change);
        }
    }
}

/// Does what is not durable.
fn do_change(disk: &mut NodeDisk, change: Change) {
    // A number that no recording gives out.
    let operation = u64::MAX;
    disk.begin(operation, change);
    disk.end(operation);
}

/// Makes the disk look like these files, by changes that are done and not durable.
fn adopt(disk: &mut NodeDisk, actual: &Files) {
    let mut changes = Vec::new();
    for name in disk.view().names() {
        if actual.inode(name).is_none() {
            changes.push(Change::Remove { name });
        }
    }
    for name in actual.names() {
        let image = actual.named(name).cloned().unwrap_or_default();
        let file = disk.view().inode(name).unwrap_or_else(|| {
            let file = disk.new_file();
            changes.push(Change::Create { name, file });
            file
        });
        let former = disk.view().image(file).cloned().unwrap_or_default();
        if former.length != image.length {
            let bytes = image.length;
            changes.push(Change::SetLength { file, bytes });
        }
        for page in (0..image.page_count()).filter(|page| differ(&former, &image, *page)) {
            let bytes = image
                .page(page)
                .map_or(vec![0; PAGE_BYTES], |page| page.to_vec());
            changes.push(Change::Write {
                file,
                offset: (page * PAGE_BYTES) as u64,
                bytes: Bytes::from_vec(bytes),
            });
        }
    }
    for change in changes {
        do_change(disk, change);
    }
}

fn differ(former: &Image, image: &Image, page: usize) -> bool {
    former.page(page).unwrap_or(&ZEROS) != image.page(page).unwrap_or(&ZEROS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_understood() {
        let extent = Place::File(5, Name::Extent(ExtentSlot(12)));
        let folder = |name, holds| Some(Place::Folder { name, holds });
        for (path, expected) in [
            (
                "/x/volume/nodes/y/volume/nodes/a1/superblock",
                Some(Place::File(0, Name::Superblock)),
            ),
            ("/x/volume/nodes/c2/log/00000012.extent", Some(extent)),
            (
                "/x/volume/nodes/b1/log",
                folder((2, Name::Log), (2, Folder::Log)),
            ),
            (
                "/x/volume/nodes/b1",
                folder((VOLUME_DISK, Name::Node(2)), (2, Folder::Node)),
            ),
            (
                "/x/volume/redoubt.volume",
                Some(Place::File(VOLUME_DISK, Name::Book)),
            ),
            ("/x/volume/nodes/b1/lock", None),
            ("/x/volume/nodes/b1/former/superblock", None),
            ("/x/volume/nodes/a1/log/00000012.extent (deleted)", None),
            ("/x", None),
        ] {
            assert_eq!(parse(path), expected, "{path}");
        }
    }

    #[test]
    fn what_a_killed_process_left_is_taken_from_the_snapshot() {
        let event = |operation, path: &str, what| Event {
            operation,
            path: path.to_owned(),
            what,
            position: 0,
        };
        let superblock = "/v/volume/nodes/a1/superblock";
        let write = |byte: u8| What::Write {
            offset: 0,
            bytes: Bytes::from_vec(vec![byte; PAGE_BYTES]),
        };
        let create = event(0, superblock, What::Create);
        let snapshot = [create.clone(), event(0, superblock, write(1))];
        let mut playback = Playback::new(Ignored::None);
        playback.begin_session(&snapshot);
        playback.disks[0].settle();
        // Begun, never ended, and half of it is there.
        playback.play(&event(7, superblock, write(2)));
        let mut half = vec![1; PAGE_BYTES];
        half[..512].fill(2);
        let bytes = Bytes::from_vec(half.clone());
        let found = event(0, superblock, What::Write { offset: 0, bytes });
        playback.begin_session(&[create, found]);
        let view = playback.disks[0].view();
        let page = view.named(Name::Superblock).unwrap().page(0).unwrap();
        assert_eq!(page[..], half[..]);
        let first = |seed| {
            let files = playback.disks[0].cut(&mut Random::of(seed, 0));
            files.named(Name::Superblock).unwrap().page(0).unwrap()[0]
        };
        let found: std::collections::BTreeSet<u8> = (0..50).map(first).collect();
        assert_eq!(found, [1, 2].into(), "it is not durable");
    }

    /// The disk of a1 after a write of ones, zeros and ones that was killed, of which a snapshot
    /// found these pages; then it was synced, overwritten with twos, and a flush was shared.
    fn overwritten_after_kill(found: [u8; 3]) -> std::collections::BTreeSet<u8> {
        let extent = "/v/volume/nodes/a1/log/00000000.extent";
        let event = |operation, path: &str, what| Event {
            operation,
            path: path.to_owned(),
            what,
            position: 0,
        };
        let write = |page: usize, pages: &[u8]| What::Write {
            offset: (page * PAGE_BYTES) as u64,
            bytes: Bytes::from_vec(pages.iter().flat_map(|byte| [*byte; PAGE_BYTES]).collect()),
        };
        let length = What::SetLength {
            bytes: 3 * PAGE_BYTES as u64,
        };
        let mut snapshot = vec![
            event(0, "/v/volume/nodes/a1/superblock", What::Create),
            event(0, extent, What::Create),
            event(0, extent, length),
        ];
        let mut playback = Playback::new(Ignored::None);
        playback.begin_session(&snapshot);
        playback.disks[0].settle();
        playback.play(&event(1, extent, write(0, &[1, 0, 1])));
        let pages = found.iter().enumerate().filter(|(_, byte)| **byte != 0);
        snapshot.extend(pages.map(|(page, byte)| event(0, extent, write(page, &[*byte]))));
        playback.begin_session(&snapshot);
        let done = [What::Sync, write(0, &[2, 2, 2]), What::Flush];
        for (operation, what) in (2..).zip(done) {
            playback.play(&event(operation, extent, what));
            playback.play(&event(operation, "", What::End));
        }
        let second = |seed| {
            let files = playback.disks[0].cut(&mut Random::of(seed, 0));
            let image = files.named(Name::Extent(ExtentSlot(0))).unwrap();
            image.page(1).map_or(0, |page| page[0])
        };
        (0..50).map(second).collect()
    }

    #[test]
    fn a_killed_write_that_is_found_whole_has_written_its_zeros() {
        assert_eq!(overwritten_after_kill([1, 0, 1]), [2].into());
        let torn = overwritten_after_kill([1, 0, 0]);
        assert!(
            torn.contains(&0),
            "nothing says that its zeros were written"
        );
    }

    /// The events of a volume's making, up to what is left out: its first node, and the book.
    fn creation(left_out: &str) -> Playback {
        let (book, nodes) = ("/h/volume/redoubt.volume", "/h/volume/nodes/a1");
        let new_book = format!("{book}.new");
        let to = "redoubt.volume".to_owned();
        let bytes = Bytes::from_vec(vec![7; 100]);
        let events = [
            ("volume", "/h/volume", What::Create),
            ("outside", "/h", What::Sync),
            ("nodes", "/h/volume/nodes", What::Create),
            ("node", nodes, What::Create),
            ("names of nodes", "/h/volume/nodes", What::Sync),
            ("superblock", &format!("{nodes}/superblock"), What::Create),
            ("names of a1", nodes, What::Sync),
            ("book", &new_book, What::Create),
            ("bytes", &new_book, What::Write { offset: 0, bytes }),
            ("synced", &new_book, What::Sync),
            ("rename", &new_book, What::Rename { to }),
            ("names of the volume", "/h/volume", What::Sync),
        ];
        let mut playback = Playback::new(Ignored::None);
        let events = events.into_iter().filter(|(name, ..)| *name != left_out);
        for (operation, (_, path, what)) in (1..).zip(events) {
            let end = What::End;
            for (path, what) in [(path, what), ("", end)] {
                let path = path.to_owned();
                playback.play(&Event {
                    operation,
                    path,
                    what,
                    position: 0,
                });
            }
        }
        playback
    }

    #[test]
    fn a_new_volume_needs_every_name_and_the_bytes_of_its_book() {
        let is_whole = |left_out: &str| {
            let playback = creation(left_out);
            (0..50).all(|seed| {
                let left = playback.cut(&mut Random::of(seed, 0));
                let has_node = left.nodes[0].inode(Name::Superblock).is_some();
                has_node && left.book == Some(vec![7; 100])
            })
        };
        assert!(is_whole(""));
        for left_out in [
            "outside",
            "names of nodes",
            "names of a1",
            "synced",
            "names of the volume",
        ] {
            assert!(!is_whole(left_out), "{left_out}");
        }
    }
}
