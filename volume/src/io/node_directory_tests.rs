use super::*;
use crate::io::test_support::{first_bytes, made, superblock};
use std::fs;

const SLOT: ExtentSlot = ExtentSlot(3);

#[test]
fn a_new_directory_has_its_superblock_twice() {
    let temp = tempfile::tempdir().unwrap();
    let node = made(temp.path());
    let mut expected = superblock(0);
    assert_eq!(node.read_superblock().unwrap().unwrap(), expected);
    let path = temp.path().join("node/superblock");
    let mut bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), SLOTS * SLOT_BYTES);
    bytes[expected.slot() * SLOT_BYTES] ^= 1;
    fs::write(&path, bytes).unwrap();
    expected.sequence -= 1;
    let node = NodeDirectory::open(node.path(), 4).unwrap();
    assert_eq!(node.read_superblock().unwrap().unwrap(), expected);
}

#[test]
fn what_is_not_empty_is_not_made_into_a_node() {
    let temp = tempfile::tempdir().unwrap();
    let node = made(temp.path());
    let again = NodeDirectory::create(node.path(), &superblock(0));
    assert!(matches!(again, Err(VolumeError::Exists(_))), "{again:?}");
    let file = temp.path().join("file");
    fs::write(&file, b"x").unwrap();
    let over_file = NodeDirectory::create(&file, &superblock(0));
    assert!(matches!(over_file, Err(VolumeError::Exists(_))));
}

#[test]
fn extents_are_allocated_grown_listed_and_removed() {
    let temp = tempfile::tempdir().unwrap();
    let node = made(temp.path());
    node.allocate(SLOT, 1 << 20).unwrap();
    node.allocate(ExtentSlot(1), 8192).unwrap();
    node.allocate(SLOT, 2 << 20).unwrap();
    node.allocate(SLOT, 4096).unwrap();
    fs::write(node.path().join("log/3.extent"), b"x").unwrap();
    fs::write(node.path().join("log/notes"), b"x").unwrap();
    std::os::unix::fs::symlink("notes", node.path().join("log/00000009.extent")).unwrap();
    let expected = [(ExtentSlot(1), 8192), (SLOT, 2 << 20)];
    assert_eq!(node.extents().unwrap(), expected);
    assert!(node.extent(ExtentSlot(9)).is_err());
    let data = fs::metadata(node.path().join("log/00000003.extent")).unwrap();
    assert!(data.blocks() * 512 >= 2 << 20);
    node.remove(SLOT).unwrap();
    node.remove(SLOT).unwrap();
    assert!(node.extent(SLOT).is_err());
    assert_eq!(node.extents().unwrap(), expected[..1]);
}

#[test]
fn reads_give_what_is_there_and_zeros_behind_it() {
    let temp = tempfile::tempdir().unwrap();
    let node = made(temp.path());
    node.allocate(SLOT, 8192).unwrap();
    let pages = PageBuf::from_bytes(&[5; 4096]);
    let extent = node.extent(SLOT).unwrap();
    extent.file().write_all_at(pages.bytes(), 4096).unwrap();
    assert_eq!(first_bytes(&node, SLOT, 4), [0, 5, 0, 0]);
    let mut behind = PageBuf::from_bytes(&[9]);
    node.read_at(SLOT, 4096, 2, &mut behind).unwrap();
    let firsts: Vec<u8> = behind.bytes().chunks(4096).map(|page| page[0]).collect();
    assert_eq!(firsts, [9, 5, 0]);
    assert!(node.read_at(ExtentSlot(7), 0, 1, &mut behind).is_err());
}

/// A folder on a file system that can be asked for too much without harm: a small one, if
/// TMPDIR names it, else one in memory, which refuses at once what is larger than itself.
fn small_folder() -> Option<(tempfile::TempDir, u64)> {
    let sized = |folder: tempfile::TempDir| {
        let numbers = nix::sys::statvfs::statvfs(folder.path()).unwrap();
        (folder, numbers.blocks() * numbers.fragment_size())
    };
    let temp = sized(tempfile::tempdir().unwrap());
    if temp.1 < 1 << 30 {
        return Some(temp);
    }
    let memory = sized(tempfile::tempdir_in("/dev/shm").ok()?);
    (memory.1 > 0).then_some(memory)
}

#[test]
fn without_room_nothing_is_allocated() {
    let Some((folder, file_system_bytes)) = small_folder() else {
        return;
    };
    let node = made(folder.path());
    node.allocate(SLOT, 8192).unwrap();
    let too_much = file_system_bytes + 4096;
    assert_eq!(node.allocate(SLOT, too_much), Err(DiskError::Full));
    assert_eq!(node.allocate(ExtentSlot(4), too_much), Err(DiskError::Full));
    assert_eq!(node.extents().unwrap(), [(SLOT, 8192)]);
    let data = fs::metadata(node.path().join("log/00000003.extent")).unwrap();
    assert!(data.blocks() * 512 < 1 << 20);
}

#[test]
fn zeros_are_written_where_nothing_can_be_allocated() {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&[7; 4096], 0).unwrap();
    write_zeros(&file, 4096, (3 << 20) + 4096).unwrap();
    let mut first = [0; 4097];
    file.read_exact_at(&mut first, 0).unwrap();
    assert_eq!((first[4095], first[4096]), (7, 0));
    let data = file.metadata().unwrap();
    assert_eq!(data.len(), (3 << 20) + 4096);
    assert!(data.blocks() * 512 >= data.len());
}

#[test]
fn a_node_notices_that_it_was_moved_replaced_or_deleted() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 7] = [
        ("renamed", |node| {
            fs::rename(node, node.with_extension("old")).unwrap();
        }),
        ("replaced", |node| {
            fs::rename(node, node.with_extension("old")).unwrap();
            NodeDirectory::create(node, &superblock(0)).unwrap();
        }),
        ("deleted", |node| fs::remove_dir_all(node).unwrap()),
        ("superblock deleted", |node| {
            fs::remove_file(node.join("superblock")).unwrap();
        }),
        ("superblock replaced", |node| {
            fs::copy(node.join("superblock"), node.join("copy")).unwrap();
            fs::rename(node.join("copy"), node.join("superblock")).unwrap();
        }),
        ("log deleted", |node| {
            fs::remove_dir_all(node.join("log")).unwrap();
        }),
        ("extent deleted", |node| {
            fs::remove_file(node.join("log/00000003.extent")).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let temp = tempfile::tempdir().unwrap();
        let node = made(temp.path());
        node.allocate(SLOT, 4096).unwrap();
        node.extent_to_append(SLOT).unwrap();
        assert!(node.still_there(), "{name}");
        harm(node.path());
        assert!(!node.still_there(), "{name}");
    }
}

#[test]
fn a_node_that_removes_its_extent_itself_is_still_there() {
    let temp = tempfile::tempdir().unwrap();
    let node = made(temp.path());
    node.allocate(SLOT, 4096).unwrap();
    node.extent_to_append(SLOT).unwrap();
    node.remove(SLOT).unwrap();
    assert!(node.still_there());
}

#[test]
fn only_what_is_ours_is_erased() {
    let temp = tempfile::tempdir().unwrap();
    let node = made(temp.path());
    node.allocate(SLOT, 4096).unwrap();
    fs::write(node.path().join("mine"), b"x").unwrap();
    fs::write(node.path().join("log/mine"), b"x").unwrap();
    crate::io::node_remains::erase(node.path()).unwrap();
    let left = |folder: &str| -> Vec<_> {
        let entries = fs::read_dir(node.path().join(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(left(""), ["log", "mine"]);
    assert_eq!(left("log"), ["mine"]);
    crate::io::node_remains::erase(&temp.path().join("nothing")).unwrap();
}
