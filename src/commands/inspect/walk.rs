//! Finds the frames in the bytes of a log extent, whatever else is in there.

use redoubt_volume::format::log_frame::{DecodedFrame, FRAME_MAGIC, FrameError};
use redoubt_volume::page::PAGE_BYTES;

/// A piece of an extent.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    /// A frame whose header checks.
    Frame {
        /// Page where it begins.
        page: usize,
        /// What its header says.
        frame: DecodedFrame,
        /// What lies behind its header pages; short when the file ends before.
        payload: &'a [u8],
    },
    /// A page that begins as a frame does, but is none.
    Damaged {
        /// The page.
        page: usize,
        /// Why it is no frame.
        error: FrameError,
    },
    /// Pages that no frame begins with.
    Unused {
        /// First of them.
        page: usize,
        /// How many.
        pages: usize,
        /// Whether they are all zeros.
        zero: bool,
    },
}

/// Walks over an extent from its start to its end.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    bytes: &'a [u8],
    page: usize,
}

impl<'a> Walk<'a> {
    /// A walk over these bytes.
    pub(crate) fn over(bytes: &'a [u8]) -> Walk<'a> {
        Walk { bytes, page: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.page * PAGE_BYTES..).unwrap_or_default()
    }

    fn unused(&mut self) -> Item<'a> {
        let first = self.page;
        let is_unused = |page: &&[u8]| !page.starts_with(&FRAME_MAGIC);
        let pages = self.rest().chunks(PAGE_BYTES).take_while(is_unused).count();
        let end = self.bytes.len().min((first + pages) * PAGE_BYTES);
        let zero = self.bytes[first * PAGE_BYTES..end]
            .iter()
            .all(|byte| *byte == 0);
        self.page += pages;
        Item::Unused {
            page: first,
            pages,
            zero,
        }
    }

    fn frame(&mut self, frame: DecodedFrame) -> Item<'a> {
        let page = self.page;
        let behind_header = self.rest().get(frame.header_pages() * PAGE_BYTES..);
        let behind_header = behind_header.unwrap_or_default();
        let payload_bytes = frame.payload_pages as usize * PAGE_BYTES;
        self.page += frame.pages();
        Item::Frame {
            page,
            payload: &behind_header[..payload_bytes.min(behind_header.len())],
            frame,
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let rest = self.rest();
        if rest.is_empty() {
            return None;
        }
        Some(match DecodedFrame::decode(rest) {
            Ok(frame) => self.frame(frame),
            Err(_) if !rest.starts_with(&FRAME_MAGIC) => self.unused(),
            Err(error) => {
                self.page += 1;
                Item::Damaged {
                    page: self.page - 1,
                    error,
                }
            }
        })
    }
}
