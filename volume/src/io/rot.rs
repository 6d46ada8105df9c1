//! What a disk does that rots: bytes change where they lie, and nobody is told.

use super::node_directory::NodeDirectory;
use super::recorder::{self, Action};
use super::uring;
use crate::ids::ExtentSlot;
use crate::page::{PAGE_BYTES, PageBuf};
use std::io;
use std::os::unix::fs::FileExt;

/// Turns every bit of one byte of a page of a node's log. Nobody may write to the page meanwhile.
///
/// # Errors
/// As the operating system says.
pub fn flip_byte(
    directory: &NodeDirectory,
    slot: ExtentSlot,
    page: u32,
    byte: usize,
) -> io::Result<()> {
    let extent = directory.extent(slot)?;
    let (file, offset) = (extent.file(), u64::from(page) * PAGE_BYTES as u64);
    let mut bytes = PageBuf::default();
    uring::read_blocking(file, offset, 1, &mut bytes)?;
    bytes.bytes_mut()[byte] ^= 0xff;
    let pages = bytes.share();
    let write = Action::Write {
        file,
        offset,
        parts: std::slice::from_ref(&pages),
    };
    recorder::during(write, || file.write_all_at(pages.bytes(), offset))
}
