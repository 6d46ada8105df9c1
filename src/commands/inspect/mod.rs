//! `redoubt inspect`: decodes any file of a volume. Trusts nothing that it reads.

mod extent;
mod superblock;
mod walk;

use crate::cli::Inspect;
use crate::exit::{Exit, Refusal};
use crate::output::{Output, table};
use anyhow::Context;
use redoubt_volume::format::log_frame::FRAME_MAGIC;
use redoubt_volume::format::superblock::{SLOT_BYTES, SUPERBLOCK_MAGIC};
use redoubt_volume::io::address_book::{AddressBook, BOOK_NAME};
use redoubt_volume::page::PAGE_BYTES;
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of the largest file that a volume has: a log extent.
const LARGEST_FILE_BYTES: u64 = 128 << 20;

/// Decodes a file; exit code 26 when something in it is damaged.
pub(crate) fn run(inspect: &Inspect, output: Output) -> anyhow::Result<Exit> {
    let path = file_of(&inspect.path);
    if path.file_name().is_some_and(|name| name == BOOK_NAME) {
        return show_book(&path, output);
    }
    let bytes = read(&path)?;
    if is_superblock(&bytes) {
        superblock::show(&path, &bytes, output)
    } else if is_extent(&bytes) {
        extent::show(&path, &bytes, inspect.records, output)
    } else {
        let message = format!(
            "{} is no file of a volume: it holds neither a superblock nor a log; name NODE/superblock, a file of NODE/log, or {BOOK_NAME}",
            path.display()
        );
        Err(Refusal::error(Exit::USAGE, message))
    }
}

/// The file to decode: of a directory, the one that says what it is.
fn file_of(path: &Path) -> PathBuf {
    let inside = [BOOK_NAME, "superblock"].map(|name| path.join(name));
    let found = inside.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| path.to_owned())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let context = || format!("{} cannot be read", path.display());
    let kind = std::fs::metadata(path).with_context(context)?;
    if !kind.is_file() || kind.len() > LARGEST_FILE_BYTES {
        let message = format!(
            "{} is no file of a volume: those are regular files of at most 128 MiB; name one",
            path.display()
        );
        return Err(Refusal::error(Exit::USAGE, message));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(context)?;
    file.take(LARGEST_FILE_BYTES)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    Ok(bytes)
}

fn is_superblock(bytes: &[u8]) -> bool {
    bytes
        .chunks(SLOT_BYTES)
        .take(2)
        .any(|slot| slot.starts_with(&SUPERBLOCK_MAGIC))
}

/// A log has frames; a new one may be all zeros.
fn is_extent(bytes: &[u8]) -> bool {
    let mut pages = bytes.chunks(PAGE_BYTES);
    let aligned = !bytes.is_empty() && bytes.len().is_multiple_of(PAGE_BYTES);
    let empty = || bytes.iter().all(|byte| *byte == 0);
    pages.any(|page| page.starts_with(&FRAME_MAGIC)) || aligned && empty()
}

#[derive(Serialize)]
struct Book {
    r#type: &'static str,
    path: String,
    volume: String,
    nodes: Vec<BookNode>,
}

#[derive(Serialize)]
struct BookNode {
    index: usize,
    az: char,
    file_system: String,
    path: String,
}

fn show_book(path: &Path, output: Output) -> anyhow::Result<Exit> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let book = AddressBook::read(folder)?;
    let node = |(index, (address, path)): (usize, (&_, PathBuf))| {
        let address: &redoubt_volume::io::address_book::Address = address;
        BookNode {
            index,
            az: char::from(b'a' + address.zone.0),
            file_system: format!("{:016x}", address.file_system),
            path: path.display().to_string(),
        }
    };
    let nodes = book.nodes.iter().zip(book.paths(folder)).enumerate();
    let shown = Book {
        r#type: "volume",
        path: path.display().to_string(),
        volume: book.volume.to_string(),
        nodes: nodes.map(node).collect(),
    };
    output.json("inspect", &shown)?;
    output.line(format!("volume {}", shown.volume))?;
    let row = |node: &BookNode| {
        vec![
            node.index.to_string(),
            node.az.to_string(),
            node.file_system.clone(),
            node.path.clone(),
        ]
    };
    let rows = shown.nodes.iter().map(row).collect();
    output.line(table(&["NODE", "ZONE", "FILE SYSTEM", "DIRECTORY"], rows))?;
    Ok(Exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_what_is_in_them() {
        let mut bytes = vec![0; 3 * PAGE_BYTES];
        assert!(is_extent(&bytes) && !is_superblock(&bytes));
        bytes[0] = 1;
        assert!(!is_extent(&bytes));
        bytes[PAGE_BYTES..PAGE_BYTES + 8].copy_from_slice(&FRAME_MAGIC);
        assert!(is_extent(&bytes));
        let mut second_slot = vec![9; SLOT_BYTES];
        second_slot.extend_from_slice(&SUPERBLOCK_MAGIC);
        assert!(is_superblock(&second_slot));
        for bytes in [&b""[..], b"text", &SUPERBLOCK_MAGIC[..7]] {
            assert!(!is_superblock(bytes) && !is_extent(bytes));
        }
    }
}
