use super::*;
use crate::io::test_support::{done, first_bytes, inbox, pattern, six_nodes};
use crate::page::PAGE_BYTES;

const SLOT: ExtentSlot = ExtentSlot(0);

fn append(node: u16, parts: Vec<Pages>, overwrites: bool) -> PageWrite {
    let effect = NodeEffect::Append {
        operation: OperationId(u64::from(node)),
        slot: SLOT,
        offset: PAGE_BYTES as u64,
        parts,
        overwrites,
    };
    PageWrite::from_effect(NodeId(node), effect).unwrap()
}

fn writer(directories: &Directories, single_flush: bool) -> BatchWriter {
    let number = directories.get(NodeId(0)).unwrap().device_number();
    let device = Device {
        number,
        single_flush,
    };
    BatchWriter::new(device, directories.clone()).unwrap()
}

fn results(completions: Vec<(NodeId, DiskCompletion)>) -> Vec<Result<(), DiskError>> {
    let (deliver, inbox) = inbox();
    let count = completions.len();
    deliver(completions);
    let done = done(&inbox, count).into_iter();
    done.map(|(_, _, result)| result).collect()
}

#[test]
fn every_node_gets_its_own_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let directories = six_nodes(temp.path(), 16);
    let mut writer = writer(&directories, true);
    for overwrites in [false, true] {
        let shared = pattern(8, 0x40);
        let writes = (0..6).map(|node| {
            let parts = vec![pattern(1, node as u8), shared.slice(2, 6)];
            append(node, parts, overwrites)
        });
        assert_eq!(results(writer.run(writes.collect())), [Ok(()); 6]);
        for node in 0..6 {
            let directory = directories.get(NodeId(node)).unwrap();
            let firsts = first_bytes(&directory, SLOT, 9);
            let head = node as u8;
            assert_eq!(firsts, [0, head, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0]);
        }
    }
}

#[test]
fn a_node_that_fails_leaves_the_others_alone() {
    let temp = tempfile::tempdir().unwrap();
    let directories = six_nodes(temp.path(), 4);
    directories.get(NodeId(2)).unwrap().remove(SLOT).unwrap();
    let mut writes: Vec<_> = (0..6)
        .map(|node| append(node, vec![pattern(1, 1)], false))
        .collect();
    writes.push(append(9, vec![pattern(1, 1)], false));
    let mut expected = [Ok(()); 7];
    expected[2] = Err(DiskError::Failed);
    expected[6] = Err(DiskError::Failed);
    assert_eq!(results(writer(&directories, true).run(writes)), expected);
}

#[test]
fn a_superblock_is_written_to_its_slot() {
    let temp = tempfile::tempdir().unwrap();
    let directories = six_nodes(temp.path(), 4);
    let mut newer = crate::io::test_support::superblock(3);
    newer.sequence = 8;
    let effect = NodeEffect::WriteSuperblock {
        operation: OperationId(1),
        slot: newer.slot(),
        bytes: newer.encode().share(),
    };
    let writes = vec![
        append(3, vec![pattern(1, 1)], false),
        PageWrite::from_effect(NodeId(3), effect).unwrap(),
    ];
    assert_eq!(results(writer(&directories, true).run(writes)), [Ok(()); 2]);
    assert_eq!(
        directories
            .get(NodeId(3))
            .unwrap()
            .read_superblock()
            .unwrap()
            .unwrap(),
        newer
    );
}

fn outcomes(directories: &Directories, shares: [bool; 6]) -> Vec<Outcome> {
    let outcome = |node: u16| Outcome {
        node: NodeId(node),
        operation: OperationId(0),
        directory: directories.get(NodeId(node)),
        file: Some(directories.get(NodeId(node)).unwrap().extent(SLOT).unwrap()),
        shares_flush: shares[usize::from(node)],
        write: None,
        result: Ok(()),
    };
    (0..6).map(outcome).collect()
}

#[test]
fn those_that_share_a_flush_are_synced_once_and_fail_together() {
    let temp = tempfile::tempdir().unwrap();
    let directories = six_nodes(temp.path(), 4);
    let shares = [false, true, true, true, false, true];
    for shared_fails in [false, true] {
        let mut outcomes = outcomes(&directories, shares);
        outcomes[1].result = Err(DiskError::Failed);
        let mut synced = Vec::new();
        sync(&mut outcomes, |file| {
            let is_own = |node: u16| {
                let own = directories.get(NodeId(node)).unwrap().extent(SLOT).unwrap();
                std::ptr::eq(Arc::as_ptr(&own), file)
            };
            let node = (0..6).find(|node| is_own(*node)).unwrap();
            synced.push(node);
            match node {
                0 => Err(io::ErrorKind::Other.into()),
                2 if shared_fails => Err(io::ErrorKind::Other.into()),
                _ => Ok(()),
            }
        });
        assert_eq!(synced, [0, 4, 2]);
        let shared = if shared_fails {
            Err(DiskError::Failed)
        } else {
            Ok(())
        };
        let failed = Err(DiskError::Failed);
        let expected = [failed, failed, shared, shared, Ok(()), shared];
        let results: Vec<_> = outcomes.iter().map(|outcome| outcome.result).collect();
        assert_eq!(results, expected);
    }
}

#[test]
fn a_file_shares_a_flush_only_after_its_own_first_sync() {
    let temp = tempfile::tempdir().unwrap();
    drop(six_nodes(temp.path(), 4));
    let path = temp.path().join("0");
    let directory = super::super::node_directory::NodeDirectory::open(&path, 4).unwrap();
    let extent = directory.extent(SLOT).unwrap();
    assert!(!extent.shares_flush());
    let directories = Directories::from_iter([(NodeId(0), Arc::new(directory))]);
    let mut writer = writer(&directories, true);
    let write = append(0, vec![pattern(1, 1)], true);
    assert_eq!(results(writer.run(vec![write])), [Ok(())]);
    let direct = super::super::uring::supports_direct_io(extent.file());
    assert_eq!(extent.shares_flush(), direct);
}
