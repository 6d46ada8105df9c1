//! A byte range of the disk, cut into the payload of redo records. Pure, and done outside the
//! writer's lock: the bytes are copied once and checked while they are hot in the cache.

use crate::format::checksum::page_checksums;
use crate::geometry::{BLOCK_BYTES, PAGES_PER_BLOCK};
use crate::ids::DiskBlock;
use crate::page::{PAGE_BYTES, PageBuf, Pages};

/// What one record changes.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The block.
    pub block: DiskBlock,
    /// First changed byte of the block.
    pub start: u16,
    /// End of the changed bytes.
    pub end: u16,
    /// The pages of the block that hold them; what lies outside the range is zero.
    pub pages: Pages,
    /// Checksums of these pages.
    pub checksums: [u32; PAGES_PER_BLOCK],
}

impl Piece {
    /// Whether it is the whole block.
    pub fn is_image(&self) -> bool {
        self.start == 0 && usize::from(self.end) == BLOCK_BYTES
    }
}

/// Cuts the write of `data` at byte `offset` of the disk into one piece a block.
pub fn cut(offset: u64, data: &[u8]) -> Vec<Piece> {
    if data.is_empty() {
        return Vec::new();
    }
    let lead = (offset % PAGE_BYTES as u64) as usize;
    let pages = if lead == 0 {
        PageBuf::from_bytes(data).share()
    } else {
        let mut buffer = PageBuf::zeroed((lead + data.len()).div_ceil(PAGE_BYTES));
        buffer.bytes_mut()[lead..lead + data.len()].copy_from_slice(data);
        buffer.share()
    };
    let first_page = offset / PAGE_BYTES as u64;
    let end = offset + data.len() as u64;
    let block_bytes = BLOCK_BYTES as u64;
    let blocks = offset / block_bytes..end.div_ceil(block_bytes);
    let piece = |block: u64| {
        let start = offset.max(block * block_bytes);
        let stop = end.min((block + 1) * block_bytes);
        let from = start / PAGE_BYTES as u64 - first_page;
        let to = stop.div_ceil(PAGE_BYTES as u64) - first_page;
        let pages = pages.slice(from as usize, (to - from) as usize);
        Piece {
            block: DiskBlock(block),
            start: (start - block * block_bytes) as u16,
            end: (stop - block * block_bytes) as u16,
            checksums: page_checksums(pages.bytes()),
            pages,
        }
    };
    blocks.map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_is_cut_at_block_bounds_and_nothing_is_lost() {
        for (offset, length) in [
            (0, 16384),
            (0, 1),
            (5, 4091),
            (4096, 4096),
            (16383, 2),
            (1000, 70000),
            (32768, 65536),
        ] {
            let data: Vec<u8> = (0..length).map(|index| (index % 251) as u8 + 1).collect();
            let mut back = vec![0; length];
            for piece in cut(offset, &data) {
                let first_page = usize::from(piece.start) / PAGE_BYTES * PAGE_BYTES;
                let range = usize::from(piece.start)..usize::from(piece.end);
                assert!(range.end <= first_page + piece.pages.bytes().len());
                assert_eq!(piece.checksums, page_checksums(piece.pages.bytes()));
                let disk = piece.block.0 * BLOCK_BYTES as u64 + range.start as u64 - offset;
                let bytes = &piece.pages.bytes()[range.start - first_page..range.end - first_page];
                back[disk as usize..disk as usize + range.len()].copy_from_slice(bytes);
            }
            assert_eq!(back, data, "{offset}+{length}");
        }
    }
}
