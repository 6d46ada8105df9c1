use super::super::read_plan::tests::piece;
use super::*;
use crate::geometry::BLOCK_BYTES;
use crate::io::test_support::{inbox, pattern, six_nodes};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::Receiver;

const SLOT: ExtentSlot = ExtentSlot(0);
const NODE: NodeId = NodeId(0);

/// A node whose extent holds a pattern of `pages` pages, and the pattern.
fn filled(pages: usize) -> (tempfile::TempDir, Directories, Vec<u8>) {
    let temp = tempfile::tempdir().unwrap();
    let directories = six_nodes(temp.path(), pages as u64);
    let content = pattern(pages, 0x55);
    let extent = directories.get(NODE).unwrap().extent(SLOT).unwrap();
    extent.file().write_all_at(content.bytes(), 0).unwrap();
    (temp, directories, content.bytes().to_vec())
}

/// A plan with whole pages that are neighbours, parts of pages and a hole; and what it gives.
fn mixed_plan(content: &[u8]) -> (ReadPlan, Vec<u8>) {
    let pages =
        |first: usize, count: usize| &content[first * PAGE_BYTES..(first + count) * PAGE_BYTES];
    let block = BLOCK_BYTES as u32;
    let pieces = vec![
        piece(0, 4, pages(4, 4), 0, block),
        piece(0, 8, pages(8, 4), block, 2 * block),
        piece(0, 1, pages(1, 1), 2 * block + 100, 2 * block + 4096),
        piece(0, 2, pages(2, 2), 2 * block + 4096, 2 * block + 12288),
    ];
    let mut expected = vec![0; 4 * BLOCK_BYTES];
    expected[..2 * BLOCK_BYTES].copy_from_slice(pages(4, 8));
    expected[2 * BLOCK_BYTES + 100..2 * BLOCK_BYTES + 4096].copy_from_slice(&pages(1, 1)[100..]);
    expected[2 * BLOCK_BYTES + 4096..2 * BLOCK_BYTES + 12288].copy_from_slice(pages(2, 2));
    (ReadPlan { pages: 16, pieces }, expected)
}

fn start(directories: &Directories) -> (ReadPool, Receiver<Vec<(NodeId, DiskCompletion)>>) {
    let (deliver, inbox) = inbox();
    let pool = ReadPool::start(directories.clone(), deliver).unwrap();
    (pool, inbox)
}

fn read_blocks(operation: u64, plan: ReadPlan) -> (NodeId, NodeEffect) {
    let operation = OperationId(operation);
    (NODE, NodeEffect::Materialize { operation, plan })
}

#[test]
fn a_plan_gives_its_blocks_inline() {
    let (_temp, directories, content) = filled(16);
    let (plan, expected) = mixed_plan(&content);
    let result = execute_inline(&directories.get(NODE).unwrap(), plan).unwrap();
    assert!(result.bytes() == expected);
    let one = ReadPlan {
        pages: 4,
        pieces: vec![piece(0, 0, &content[..BLOCK_BYTES], 0, BLOCK_BYTES as u32)],
    };
    let result = execute_inline(&directories.get(NODE).unwrap(), one).unwrap();
    assert!(result.bytes() == &content[..BLOCK_BYTES]);
    let nothing = ReadPlan {
        pages: 8,
        pieces: Vec::new(),
    };
    let result = execute_inline(&directories.get(NODE).unwrap(), nothing).unwrap();
    assert!(result.bytes() == [0; 2 * BLOCK_BYTES]);
}

#[test]
fn many_plans_are_read_by_the_pool() {
    let (_temp, directories, content) = filled(16);
    let (pool, inbox) = start(&directories);
    let count = 500;
    for first in (0..count).step_by(50) {
        let plans = (first..first + 50).map(|operation| {
            let (plan, _) = mixed_plan(&content);
            read_blocks(operation, plan)
        });
        assert!(pool.submit(plans.collect()).is_empty());
    }
    pool.stop();
    let (_, expected) = mixed_plan(&content);
    let mut seen = std::collections::BTreeSet::new();
    for (_, completion) in inbox.iter().flatten() {
        let DiskCompletion::Materialized { operation, result } = completion else {
            panic!("{completion:?}");
        };
        assert!(result.unwrap().bytes() == expected);
        seen.insert(operation);
    }
    assert_eq!(seen.len(), count as usize);
}

#[test]
fn damage_is_detected_in_whole_and_in_part() {
    for damaged_page in [5, 1, 3] {
        let (_temp, directories, content) = filled(16);
        let mut page = PageBuf::from_bytes(&content[damaged_page * 4096..][..4096]);
        page.bytes_mut()[4000] ^= 1;
        let extent = directories.get(NODE).unwrap().extent(SLOT).unwrap();
        let offset = (damaged_page * 4096) as u64;
        extent.file().write_all_at(page.bytes(), offset).unwrap();
        let plan = || mixed_plan(&content).0;
        let inline = execute_inline(&directories.get(NODE).unwrap(), plan());
        assert_eq!(inline.unwrap_err(), DiskError::Damaged);
        let (pool, inbox) = start(&directories);
        pool.submit(vec![read_blocks(7, plan())]);
        match inbox.recv().unwrap().remove(0).1 {
            DiskCompletion::Materialized { operation, result } => {
                assert_eq!(operation, OperationId(7));
                assert_eq!(result.unwrap_err(), DiskError::Damaged);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_plan_that_cannot_be_is_refused_and_the_pool_goes_on() {
    let (_temp, directories, content) = filled(16);
    let (pool, inbox) = start(&directories);
    let missing = ReadPlan {
        pages: 4,
        pieces: vec![piece(77, 0, &content[..4096], 0, 4096)],
    };
    let (mut outside, _) = mixed_plan(&content);
    outside.pages = 8;
    pool.submit(vec![read_blocks(1, missing), read_blocks(2, outside)]);
    pool.submit(vec![read_blocks(3, mixed_plan(&content).0)]);
    pool.stop();
    let mut results: Vec<_> = inbox
        .iter()
        .flatten()
        .map(|(_, completion)| match completion {
            DiskCompletion::Materialized { operation, result } => (operation.0, result.err()),
            other => panic!("{other:?}"),
        })
        .collect();
    results.sort_unstable_by_key(|(operation, _)| *operation);
    let expected = [
        (1, Some(DiskError::Failed)),
        (2, Some(DiskError::Damaged)),
        (3, None),
    ];
    assert_eq!(results, expected);
}

#[test]
fn raw_pages_are_read_and_padded() {
    let (_temp, directories, content) = filled(16);
    let (pool, inbox) = start(&directories);
    let read = |operation, offset| {
        let effect = NodeEffect::Read {
            operation: OperationId(operation),
            slot: SLOT,
            offset,
            pages: 4,
        };
        (NODE, effect)
    };
    pool.submit(vec![read(1, 14 * 4096), read(2, 100)]);
    pool.stop();
    for (_, completion) in inbox.iter().flatten() {
        match completion {
            DiskCompletion::Read { operation, result } if operation.0 == 1 => {
                let pages = result.unwrap();
                assert!(pages.bytes()[..8192] == content[14 * 4096..]);
                assert!(pages.bytes()[8192..].iter().all(|byte| *byte == 0));
            }
            DiskCompletion::Read { result, .. } => {
                assert_eq!(result.unwrap_err(), DiskError::Failed);
            }
            other => panic!("{other:?}"),
        }
    }
}
