//! A recording played back onto six disks in memory, event by event.

use crate::event::{Bytes, Event, What};
use crate::files::{Change, Files, Image, Name, ZEROS};
use crate::node_disk::{Covers, Ignored, NodeDisk};
use redoubt_volume::ids::ExtentSlot;
use redoubt_volume::page::PAGE_BYTES;
use std::collections::HashMap;

/// The nodes of the volume, in the order of their ids.
pub(crate) const NODES: [&str; 6] = ["a1", "a2", "b1", "b2", "c1", "c2"];

/// Where a path of an event leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    File(Name),
    Log,
    Folder,
}

/// Six disks, as far as the recording was played.
pub(crate) struct Playback {
    disks: Vec<NodeDisk>,
    ignored: Ignored,
    /// The node of each operation that was begun.
    nodes: HashMap<u64, usize>,
}

impl Playback {
    /// Before the first session.
    pub(crate) fn new(ignored: Ignored) -> Playback {
        Playback {
            disks: NODES.map(|_| NodeDisk::new(ignored)).into(),
            ignored,
            nodes: HashMap::new(),
        }
    }

    /// The disks now.
    pub(crate) fn disks(&self) -> &[NodeDisk] {
        &self.disks
    }

    /// A process begins: the snapshot tells what became of what the one before it did not end.
    /// The files of the first session, and a directory that was emptied, are durable as they are.
    pub(crate) fn begin_session(&mut self, snapshot: &[Event], first: bool) {
        let mut actual = Playback::new(Ignored::None);
        for (number, event) in snapshot.iter().enumerate() {
            let mut event = event.clone();
            event.operation = number as u64;
            actual.play(&event);
        }
        self.nodes.clear();
        for (disk, actual) in self.disks.iter_mut().zip(actual.disks) {
            if actual.view().inode(Name::Superblock).is_none() {
                *disk = NodeDisk::new(self.ignored);
            }
            let killed = disk.lose_process();
            adopt_whole(disk, actual.view(), killed);
            adopt(disk, actual.view());
            if first {
                disk.settle();
            }
        }
    }

    /// Plays one event. What is done to files that are none of a node's is passed over.
    pub(crate) fn play(&mut self, event: &Event) {
        let operation = event.operation;
        if matches!(event.what, What::End) {
            if let Some(node) = self.nodes.remove(&operation) {
                self.disks[node].end(operation);
            }
            return;
        }
        let Some((node, place)) = parse(&event.path) else {
            return;
        };
        self.nodes.insert(operation, node);
        let disk = &mut self.disks[node];
        match place {
            Place::File(name) => play_file(disk, operation, name, &event.what),
            Place::Log if matches!(event.what, What::Remove) => {
                disk.begin(operation, Change::RemoveExtents);
            }
            Place::Log => disk.begin_sync(operation, Covers::ExtentNames),
            Place::Folder => disk.begin_sync(operation, Covers::NodeNames),
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
        What::Sync => disk.begin_sync(operation, Covers::File(file)),
        What::Flush => disk.begin_sync(operation, Covers::Overwritten(file)),
        What::Create | What::End => {}
    }
}

/// Finds node and place in a path such as `/somewhere/nodes/a1/log/00000000.extent`.
fn parse(path: &str) -> Option<(usize, Place)> {
    let (_, inside) = path.rsplit_once("/nodes/")?;
    let (node, rest) = inside.split_once('/').unwrap_or((inside, ""));
    let node = NODES.iter().position(|name| *name == node)?;
    let place = match rest {
        "" => Place::Folder,
        "log" => Place::Log,
        "superblock" => Place::File(Name::Superblock),
        other => {
            let slot = other.strip_prefix("log/")?.strip_suffix(".extent")?;
            Place::File(Name::Extent(ExtentSlot(slot.parse().ok()?)))
        }
    };
    Some((node, place))
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
        let extent = Place::File(Name::Extent(ExtentSlot(12)));
        for (path, expected) in [
            (
                "/x/nodes/y/nodes/a1/superblock",
                Some((0, Place::File(Name::Superblock))),
            ),
            ("/x/nodes/c2/log/00000012.extent", Some((5, extent))),
            ("/x/nodes/b1/log", Some((2, Place::Log))),
            ("/x/nodes/b1", Some((2, Place::Folder))),
            ("/x/nodes/b1/lock", None),
            ("/x/nodes/a1/log/00000012.extent (deleted)", None),
            ("/x/redoubt.volume", None),
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
        let superblock = "/v/nodes/a1/superblock";
        let write = |byte: u8| What::Write {
            offset: 0,
            bytes: Bytes::from_vec(vec![byte; PAGE_BYTES]),
        };
        let create = event(0, superblock, What::Create);
        let snapshot = [create.clone(), event(0, superblock, write(1))];
        let mut playback = Playback::new(Ignored::None);
        playback.begin_session(&snapshot, true);
        // Begun, never ended, and half of it is there.
        playback.play(&event(7, superblock, write(2)));
        let mut half = vec![1; PAGE_BYTES];
        half[..512].fill(2);
        let bytes = Bytes::from_vec(half.clone());
        let found = event(0, superblock, What::Write { offset: 0, bytes });
        playback.begin_session(&[create, found], false);
        let view = playback.disks()[0].view();
        let page = view.named(Name::Superblock).unwrap().page(0).unwrap();
        assert_eq!(page[..], half[..]);
        let first = |seed| {
            let files = playback.disks()[0].cut(&mut crate::random::Random::of(seed, 0));
            files.named(Name::Superblock).unwrap().page(0).unwrap()[0]
        };
        let found: std::collections::BTreeSet<u8> = (0..50).map(first).collect();
        assert_eq!(found, [1, 2].into(), "it is not durable");
    }

    /// The disk of a1 after a write of ones, zeros and ones that was killed, of which a snapshot
    /// found these pages; then it was synced, overwritten with twos, and a flush was shared.
    fn overwritten_after_kill(found: [u8; 3]) -> std::collections::BTreeSet<u8> {
        let extent = "/v/nodes/a1/log/00000000.extent";
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
            event(0, "/v/nodes/a1/superblock", What::Create),
            event(0, extent, What::Create),
            event(0, extent, length),
        ];
        let mut playback = Playback::new(Ignored::None);
        playback.begin_session(&snapshot, true);
        playback.play(&event(1, extent, write(0, &[1, 0, 1])));
        let pages = found.iter().enumerate().filter(|(_, byte)| **byte != 0);
        snapshot.extend(pages.map(|(page, byte)| event(0, extent, write(page, &[*byte]))));
        playback.begin_session(&snapshot, false);
        let done = [What::Sync, write(0, &[2, 2, 2]), What::Flush];
        for (operation, what) in (2..).zip(done) {
            playback.play(&event(operation, extent, what));
            playback.play(&event(operation, "", What::End));
        }
        let second = |seed| {
            let files = playback.disks()[0].cut(&mut crate::random::Random::of(seed, 0));
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
}
