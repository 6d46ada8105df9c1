use super::super::test_support::superblock;
use super::*;
use crate::ids::{VolumeId, ZoneId};
use std::fs;

fn layout(paths: [Option<PathBuf>; 6]) -> CreateLayout {
    let nodes = paths.into_iter().zip(0..).map(|(path, node)| NewNode {
        path,
        superblock: superblock(node),
    });
    CreateLayout {
        nodes: nodes.collect(),
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_volume_is_made_found_and_destroyed() {
    let temp = tempfile::tempdir().unwrap();
    let (volume, elsewhere) = (temp.path().join("v"), temp.path().join("else where"));
    create(
        &volume,
        &layout([None, None, None, Some(elsewhere.clone()), None, None]),
    )
    .unwrap();
    assert_eq!(entries(&volume), ["nodes", BOOK_NAME]);
    assert_eq!(
        entries(&volume.join("nodes")),
        ["a1", "a2", "b1", "c1", "c2"]
    );
    let book = AddressBook::read(&volume).unwrap();
    assert_eq!(book.volume, superblock(0).config.volume);
    assert_eq!(book.nodes[0].path, Path::new("nodes/a1"));
    assert_eq!(book.nodes[3].path, elsewhere);
    assert_eq!(book.nodes[3].zone, ZoneId(1));
    assert_eq!(
        book.nodes[3].file_system,
        file_system_id(temp.path()).unwrap()
    );
    for (path, node) in book.paths(&volume).iter().zip(0..) {
        let directory = NodeDirectory::open(path, 1).unwrap();
        assert_eq!(
            directory.read_superblock().unwrap().unwrap(),
            superblock(node)
        );
    }
    assert!(matches!(
        create(&volume, &layout([const { None }; 6])),
        Err(VolumeError::Exists(_))
    ));
    destroy(&volume).unwrap();
    assert!(entries(temp.path()).is_empty());
    assert!(matches!(destroy(&volume), Err(VolumeError::NotAVolume(_))));
}

#[test]
fn a_creation_that_fails_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let volume = temp.path().join("v");
    fs::create_dir(temp.path().join("empty")).unwrap();
    let mut paths = [const { None }; 6];
    paths[1] = Some(temp.path().join("empty"));
    paths[5] = Some(temp.path().join("no/such/folder"));
    assert!(matches!(
        create(&volume, &layout(paths)),
        Err(VolumeError::Io { .. })
    ));
    assert_eq!(entries(temp.path()), ["empty"]);
    assert!(entries(&temp.path().join("empty")).is_empty());
}

#[test]
fn nodes_need_places_of_their_own() {
    let temp = tempfile::tempdir().unwrap();
    let volume = temp.path().join("v");
    let inside = |name: &str| Some(temp.path().join(name));
    for (one, other) in [
        (inside("x"), inside("x")),
        (inside("x"), inside("./x")),
        (inside("x/log"), inside("x")),
        (inside("x"), inside("v")),
        (None, Some(volume.join("nodes/a1"))),
        (inside("x"), Some(temp.path().to_path_buf())),
    ] {
        let mut paths = [const { None }; 6];
        (paths[0], paths[4]) = (one, other);
        let result = create(&volume, &layout(paths));
        assert!(matches!(result, Err(VolumeError::Invalid(_))), "{result:?}");
        assert!(entries(temp.path()).is_empty());
    }
    fs::create_dir(temp.path().join("full")).unwrap();
    fs::write(temp.path().join("full/file"), b"x").unwrap();
    let mut paths = [const { None }; 6];
    paths[3] = inside("full");
    let result = create(&volume, &layout(paths));
    assert!(matches!(result, Err(VolumeError::Exists(_))), "{result:?}");
    assert_eq!(entries(temp.path()), ["full"]);
}

#[test]
fn a_volume_in_use_is_not_destroyed() {
    let temp = tempfile::tempdir().unwrap();
    let volume = temp.path().join("v");
    create(&volume, &layout([const { None }; 6])).unwrap();
    let locks = lock_all(&[volume.join("nodes/b2")]).unwrap();
    assert!(matches!(destroy(&volume), Err(VolumeError::Locked { .. })));
    drop(locks);
    assert_eq!(entries(&volume.join("nodes")).len(), 6);
    destroy(&volume).unwrap();
}

#[test]
fn only_the_volumes_own_directories_are_destroyed() {
    let temp = tempfile::tempdir().unwrap();
    let (volume, other) = (temp.path().join("v"), temp.path().join("other"));
    let mut paths = [const { None }; 6];
    paths[0] = Some(other.clone());
    create(&volume, &layout(paths)).unwrap();
    fs::remove_dir_all(&other).unwrap();
    let mut stranger = superblock(0);
    stranger.config.volume = VolumeId([9; 16]);
    NodeDirectory::create(&other, &stranger).unwrap();
    fs::write(volume.join("notes"), b"x").unwrap();
    fs::remove_dir_all(volume.join("nodes/c2")).unwrap();
    destroy(&volume).unwrap();
    assert_eq!(entries(&volume), ["notes"]);
    let left = NodeDirectory::open(&other, 1).unwrap();
    assert_eq!(left.read_superblock().unwrap().unwrap(), stranger);
}

#[test]
fn free_space_is_known() {
    let temp = tempfile::tempdir().unwrap();
    assert!(free_bytes(temp.path()).unwrap() > 0);
    assert!(free_bytes(&temp.path().join("nothing")).is_err());
}
