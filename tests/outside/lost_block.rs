//! A block that rots on all six nodes: it alone cannot be read, it is named, and a write makes it good.

use crate::support::{
    Mounted, TempVolume, aligned, await_that, fuse, pattern, read_direct, redoubt,
};
use nix::libc;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK: usize = 16 << 10;
const PAGE: usize = 4096;
const BLOCKS: u64 = 256;
const LOST: u64 = 77;
/// What of the volume's disk is lost.
const OFFSET: u64 = LOST * BLOCK as u64;

/// Changes a byte of each page in a node's log that has one of these contents, and says how many.
fn damage_pages(node: &Path, contents: &[u8]) -> usize {
    let mut damaged = 0;
    for entry in fs::read_dir(node.join("log")).unwrap() {
        let path = entry.unwrap().path();
        // One that was collected meanwhile has nothing that counts.
        let options = OpenOptions::new().read(true).write(true).open(&path);
        let file = match options {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            file => file.unwrap(),
        };
        let log = fs::read(&path).unwrap();
        for (number, page) in log.chunks_exact(PAGE).enumerate() {
            if contents.chunks_exact(PAGE).any(|content| content == page) {
                let at = (number * PAGE + PAGE / 2) as u64;
                file.write_all_at(&[!page[PAGE / 2]], at).unwrap();
                damaged += 1;
            }
        }
        file.sync_data().unwrap();
    }
    damaged
}

fn damage_all_copies(volume: &TempVolume, contents: &[u8]) {
    let status = volume.status();
    for node in status["nodes"].as_array().unwrap() {
        let path = Path::new(node["path"].as_str().unwrap());
        assert!(damage_pages(path, contents) >= BLOCK / PAGE, "{path:?}");
    }
}

fn read(mounted: &Mounted, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let file: File = mounted.open(libc::O_DIRECT);
    aligned(length, |buffer| {
        file.read_exact_at(buffer, offset)?;
        Ok(buffer.to_vec())
    })
}

fn assert_is_lost(mounted: &Mounted, offset: u64, length: usize) {
    let error = read(mounted, offset, length).expect_err("no copy checks");
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
}

/// All blocks but one, each by itself.
fn assert_others_read(mounted: &Mounted) {
    for block in (0..BLOCKS).filter(|block| *block != LOST) {
        let found = read_direct(&mounted.disk(), block * BLOCK as u64, BLOCK);
        assert!(found == pattern(block, BLOCK), "block {block}");
    }
}

/// What a command says, and with what code it ends.
fn said(words: &[&str], volume: &TempVolume) -> (String, Option<i32>) {
    let output = redoubt(words.iter().copied()).arg(volume.path()).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (said, output.status.code())
}

fn named() -> Value {
    json!({ "known": [{ "offset": OFFSET, "length": BLOCK }], "more": 0 })
}

/// That `status` names the block, for people and for programs.
fn assert_status_names_it(volume: &TempVolume) {
    assert_eq!(volume.status()["data_errors"], named());
    let (text, _) = said(&["status"], volume);
    assert!(text.contains(&format!("16 KiB at {OFFSET}")), "{text}");
}

fn assert_fsck_names_it(volume: &TempVolume) {
    let (text, code) = said(&["fsck"], volume);
    assert_eq!(code, Some(26), "{text}");
    assert!(text.contains(&format!("16 KiB at {OFFSET}")), "{text}");
    let (json, code) = said(&["fsck", "--json"], volume);
    let checked: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&checked["data_errors"], code), (&named(), Some(26)));
}

#[test]
fn a_block_without_a_good_copy_fails_alone_is_named_and_is_good_when_written() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    let mounted = volume.mount();
    let file = mounted.open(0);
    for block in 0..BLOCKS {
        let content = pattern(block, BLOCK);
        file.write_all_at(&content, block * BLOCK as u64).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    volume.await_healthy();
    assert_eq!(volume.status()["data_errors"]["known"], json!([]));
    damage_all_copies(&volume, &pattern(LOST, BLOCK));

    assert_is_lost(&mounted, OFFSET, BLOCK);
    assert_is_lost(&mounted, OFFSET - 4 * BLOCK as u64, 8 * BLOCK);
    assert_others_read(&mounted);
    assert_status_names_it(&volume);
    mounted.unmount();
    assert_fsck_names_it(&volume);

    let mounted = volume.mount();
    assert_is_lost(&mounted, OFFSET, BLOCK);
    assert_status_names_it(&volume);
    let file = mounted.open(0);
    file.write_all_at(&pattern(1000, BLOCK), OFFSET).unwrap();
    file.sync_all().unwrap();
    drop(file);
    await_that("no data errors", 30, || {
        volume.status()["data_errors"]["known"] == json!([])
    });
    let (text, _) = said(&["status"], &volume);
    assert!(text.contains("No known data errors"), "{text}");
    assert!(read_direct(&mounted.disk(), OFFSET, BLOCK) == pattern(1000, BLOCK));
    assert_others_read(&mounted);
    mounted.unmount();
    volume.check();
}
