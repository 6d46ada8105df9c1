//! Files whose text is made when they are opened: a reader sees one moment, however it reads.

use fuser::FileHandle;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Texts of the open files, by file handle. Bounded by the open files that the kernel allows.
#[derive(Default)]
pub(crate) struct Texts {
    last_handle: AtomicU64,
    open: Mutex<HashMap<u64, String>>,
}

impl Texts {
    /// Keeps a text until its handle is closed. Handle 0 is never given out.
    pub(crate) fn open(&self, text: String) -> FileHandle {
        let handle = self.last_handle.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.lock().insert(handle, text);
        FileHandle(handle)
    }

    /// Up to `length` bytes at `offset`; empty past the end, `None` if the handle is not open.
    pub(crate) fn read(&self, handle: FileHandle, offset: u64, length: usize) -> Option<Vec<u8>> {
        let open = self.open.lock();
        let text = open.get(&handle.0)?.as_bytes();
        let start = usize::try_from(offset).map_or(text.len(), |start| start.min(text.len()));
        let end = start.saturating_add(length).min(text.len());
        Some(text[start..end].to_vec())
    }

    /// Drops a text.
    pub(crate) fn close(&self, handle: FileHandle) {
        self.open.lock().remove(&handle.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_in_parts_until_it_is_closed() {
        let texts = Texts::default();
        let (first, second) = (texts.open("one".into()), texts.open("two".into()));
        assert_eq!(texts.read(first, 1, 1), Some(b"n".to_vec()));
        assert_eq!(texts.read(second, 2, 100), Some(b"o".to_vec()));
        assert_eq!(texts.read(second, u64::MAX, 100), Some(vec![]));
        texts.close(first);
        assert_eq!(texts.read(first, 0, 1), None);
        assert_eq!(texts.read(second, 0, 3), Some(b"two".to_vec()));
    }
}
