//! One read or write of a file on its way: what is done of it, what is left. No system calls but
//! a look at a file's length.

use crate::page::{PAGE_BYTES, PageBuf, Pages};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Parts of one gathered write that the kernel takes (IOV_MAX).
const MOST_VECTORS: usize = 1024;
/// Interruptions of one transfer before it counts as failed: a signal storm is not a disk error,
/// an endless loop is worse.
const MOST_INTERRUPTIONS: u32 = 1000;

/// What a ring carries out as one: one gathered write, or several reads into the same memory.
#[derive(Debug)]
pub enum Job {
    /// Write the parts one after the other.
    Write {
        /// Into this file.
        file: Arc<File>,
        /// Bytes from its start, a multiple of the page size.
        offset: u64,
        /// What to write.
        parts: Vec<Pages>,
        /// The file system will block (first writes to allocated space): side by side with
        /// others only where each has a worker of the kernel.
        blocks: bool,
    },
    /// Read every span.
    Read {
        /// The memory that the spans name.
        buffers: Vec<PageBuf>,
        /// What to read.
        spans: Vec<ReadSpan>,
    },
}

/// Pages of a file, and where they go.
#[derive(Clone, Debug)]
pub struct ReadSpan {
    /// From this file.
    pub file: Arc<File>,
    /// Bytes from its start, a multiple of the page size. Behind the file's end there are zeros.
    pub offset: u64,
    /// Index of the buffer.
    pub buffer: usize,
    /// First page in the buffer.
    pub first_page: usize,
    /// Pages to read.
    pub pages: usize,
}

/// A job that is through.
#[derive(Debug)]
pub struct Finished {
    /// What the job was pushed with.
    pub token: u64,
    /// The first failure of any of its transfers.
    pub result: io::Result<()>,
    /// The memory of a read job; empty for a write.
    pub buffers: Vec<PageBuf>,
}

/// A job on its way, and the memory that the kernel may be using: not to be touched or given up
/// before `remaining` is zero.
pub(super) struct ActiveJob {
    token: u64,
    _parts: Vec<Pages>,
    buffers: Vec<PageBuf>,
    remaining: usize,
    failure: Option<io::Error>,
    /// Bytes that lie behind a file's end: zeroed when nothing is in flight any more.
    blanks: Vec<(usize, Range<usize>)>,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the file.
    Read,
    /// To the file.
    Write,
}

/// One read or write.
pub(super) struct Transfer {
    /// The job that it is part of.
    pub(super) job: usize,
    /// The file, kept open.
    pub(super) file: Arc<File>,
    /// Which way.
    pub(super) direction: Direction,
    /// See [`Job::Write`].
    pub(super) blocks: bool,
    /// Where in the file the rest begins.
    pub(super) offset: u64,
    /// Of a read: buffer, and end of the range there.
    target: (usize, usize),
    vectors: VecDeque<libc::iovec>,
    left: usize,
    interruptions: u32,
}

/// Where a buffer of a read job lies.
struct Memory {
    base: *mut u8,
    bytes: usize,
}

impl Memory {
    fn of(buffer: &mut [u8]) -> Memory {
        Memory {
            base: buffer.as_mut_ptr(),
            bytes: buffer.len(),
        }
    }
}

/// How far a transfer came.
#[derive(Debug)]
pub(super) enum Progress {
    /// The rest is to be submitted.
    Again,
    /// All of it.
    Done,
    /// The file ended; so many bytes of the target were not read.
    Ended(usize),
    /// It failed.
    Failed(io::Error),
}

impl Job {
    /// Splits into the memory to keep and the transfers to submit, which are part of job `index`.
    ///
    /// # Panics
    /// When a span does not lie in its buffer: a programming error.
    pub(super) fn start(self, token: u64, index: usize) -> (ActiveJob, Vec<Transfer>) {
        let mut active = ActiveJob {
            token,
            _parts: Vec::new(),
            buffers: Vec::new(),
            remaining: 0,
            failure: None,
            blanks: Vec::new(),
        };
        let transfers = match self {
            Job::Write {
                file,
                offset,
                parts,
                blocks,
            } => {
                let mut transfer = Transfer::write(index, file, offset, &parts);
                transfer.blocks = blocks;
                active._parts = parts;
                Vec::from_iter((transfer.left > 0).then_some(transfer))
            }
            Job::Read { mut buffers, spans } => {
                // Borrowed once: later borrows would invalidate the pointers taken before.
                let memory: Vec<_> = buffers.iter_mut().map(PageBuf::bytes_mut).collect();
                let memory: Vec<_> = memory.into_iter().map(Memory::of).collect();
                active.buffers = buffers;
                let spans = spans.into_iter().filter(|span| span.pages > 0);
                spans
                    .map(|span| Transfer::read(index, span, &memory))
                    .collect()
            }
        };
        active.remaining = transfers.len();
        (active, transfers)
    }
}

impl ActiveJob {
    /// Takes in that one transfer is through.
    pub(super) fn settle(&mut self, transfer: &Transfer, progress: Progress) {
        self.remaining -= 1;
        match progress {
            Progress::Ended(missing) => {
                let (buffer, end) = transfer.target;
                self.blanks.push((buffer, end - missing..end));
            }
            Progress::Failed(error) => {
                self.failure.get_or_insert(error);
            }
            Progress::Done | Progress::Again => {}
        }
    }

    /// Whether nothing of it is in flight any more.
    pub(super) fn is_through(&self) -> bool {
        self.remaining == 0
    }

    /// The outcome; to be called when the job is through.
    pub(super) fn finish(mut self) -> Finished {
        for (buffer, blank) in self.blanks {
            self.buffers[buffer].bytes_mut()[blank].fill(0);
        }
        Finished {
            token: self.token,
            result: self.failure.map_or(Ok(()), Err),
            buffers: self.buffers,
        }
    }
}

impl Transfer {
    fn write(job: usize, file: Arc<File>, offset: u64, parts: &[Pages]) -> Transfer {
        let mut vectors: VecDeque<libc::iovec> = VecDeque::with_capacity(parts.len());
        for bytes in parts
            .iter()
            .map(Pages::bytes)
            .filter(|bytes| !bytes.is_empty())
        {
            let base = bytes.as_ptr().cast_mut().cast::<libc::c_void>();
            match vectors.back_mut() {
                // Neighbours in memory are one vector: fewer for the kernel to walk.
                Some(last) if last.iov_base.wrapping_byte_add(last.iov_len) == base => {
                    last.iov_len += bytes.len();
                }
                _ => vectors.push_back(libc::iovec {
                    iov_base: base,
                    iov_len: bytes.len(),
                }),
            }
        }
        Transfer {
            job,
            file,
            direction: Direction::Write,
            blocks: false,
            offset,
            target: (0, 0),
            left: vectors.iter().map(|vector| vector.iov_len).sum(),
            vectors,
            interruptions: 0,
        }
    }

    fn read(job: usize, span: ReadSpan, buffers: &[Memory]) -> Transfer {
        let buffer = &buffers[span.buffer];
        let start = span.first_page * PAGE_BYTES;
        let end = start + span.pages * PAGE_BYTES;
        assert!(end <= buffer.bytes, "span out of bounds");
        let vector = libc::iovec {
            iov_base: buffer.base.wrapping_byte_add(start).cast(),
            iov_len: end - start,
        };
        Transfer {
            job,
            file: span.file,
            direction: Direction::Read,
            blocks: false,
            offset: span.offset,
            target: (span.buffer, end),
            left: vector.iov_len,
            vectors: VecDeque::from([vector]),
            interruptions: 0,
        }
    }

    /// The memory of the next submission; it stays where it is until `advance` is called.
    pub(super) fn vectors(&mut self) -> &[libc::iovec] {
        let all = self.vectors.make_contiguous();
        &all[..all.len().min(MOST_VECTORS)]
    }

    /// Takes in what the kernel answered: bytes done, or a negative error number.
    pub(super) fn advance(&mut self, result: i32) -> Progress {
        let Ok(done) = usize::try_from(result) else {
            return self.interrupted(io::Error::from_raw_os_error(-result));
        };
        if done >= self.left {
            return Progress::Done;
        }
        // Direct I/O continues at whole pages only; what was done of the last one is done again.
        let whole = done - done % PAGE_BYTES;
        if self.direction == Direction::Read && self.file_ends_by(self.offset + done as u64) {
            return Progress::Ended(self.left - done);
        }
        if whole == 0 {
            return Progress::Failed(io::ErrorKind::WriteZero.into());
        }
        self.skip(whole);
        Progress::Again
    }

    fn interrupted(&mut self, error: io::Error) -> Progress {
        let transient = matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN));
        self.interruptions += 1;
        if transient && self.interruptions <= MOST_INTERRUPTIONS {
            Progress::Again
        } else {
            Progress::Failed(error)
        }
    }

    fn file_ends_by(&self, offset: u64) -> bool {
        self.file.metadata().is_ok_and(|data| data.len() <= offset)
    }

    fn skip(&mut self, bytes: usize) {
        self.offset += bytes as u64;
        self.left -= bytes;
        let mut bytes = bytes;
        while let Some(first) = self.vectors.front_mut() {
            if first.iov_len > bytes {
                first.iov_base = first.iov_base.wrapping_byte_add(bytes);
                first.iov_len -= bytes;
                return;
            }
            bytes -= first.iov_len;
            self.vectors.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(bytes: usize) -> Arc<File> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes as u64).unwrap();
        Arc::new(file)
    }

    fn write_of(parts: Vec<Pages>) -> (ActiveJob, Transfer) {
        let job = Job::Write {
            file: file_of(0),
            offset: 8192,
            parts,
            blocks: false,
        };
        let (active, mut transfers) = job.start(1, 0);
        (active, transfers.remove(0))
    }

    #[test]
    fn neighbours_in_memory_are_one_vector() {
        let pages = PageBuf::zeroed(4).share();
        let (_active, mut transfer) = write_of(vec![
            pages.slice(0, 1),
            pages.slice(1, 2),
            pages.slice(0, 1),
        ]);
        let lengths: Vec<_> = transfer.vectors().iter().map(|v| v.iov_len).collect();
        assert_eq!(lengths, [3 * PAGE_BYTES, PAGE_BYTES]);
    }

    #[test]
    fn a_short_write_goes_on_at_a_whole_page() {
        let pages = PageBuf::zeroed(8).share();
        let parts = (0..4).map(|index| pages.slice(index * 2, 1)).collect();
        let (_active, mut transfer) = write_of(parts);
        let result = transfer.advance(PAGE_BYTES as i32 + 512);
        assert!(matches!(result, Progress::Again), "{result:?}");
        assert_eq!(transfer.offset, 8192 + PAGE_BYTES as u64);
        assert_eq!(transfer.vectors().len(), 3);
        assert!(matches!(transfer.advance(100), Progress::Failed(_)));
        assert!(matches!(
            transfer.advance(3 * PAGE_BYTES as i32),
            Progress::Done
        ));
    }

    #[test]
    fn many_parts_go_in_turns_that_the_kernel_takes() {
        let pages = PageBuf::zeroed(2 * 1500).share();
        let parts = (0..1500).map(|index| pages.slice(index * 2, 1)).collect();
        let (_active, mut transfer) = write_of(parts);
        assert_eq!(transfer.vectors().len(), 1024);
        let result = transfer.advance(1024 * PAGE_BYTES as i32);
        assert!(matches!(result, Progress::Again), "{result:?}");
        assert_eq!(transfer.vectors().len(), 476);
    }

    #[test]
    fn a_short_read_is_zeros_only_at_the_end_of_the_file() {
        let read = |file_bytes| {
            let job = Job::Read {
                buffers: vec![PageBuf::from_bytes(&[7; 2 * PAGE_BYTES])],
                spans: vec![ReadSpan {
                    file: file_of(file_bytes),
                    offset: 0,
                    buffer: 0,
                    first_page: 0,
                    pages: 2,
                }],
            };
            let (mut active, mut transfers) = job.start(1, 0);
            let mut transfer = transfers.remove(0);
            let progress = transfer.advance(100);
            let ended = matches!(progress, Progress::Ended(_));
            active.settle(&transfer, progress);
            assert!(active.is_through());
            (ended, active.finish())
        };
        let (ended, finished) = read(100);
        assert!(ended && finished.result.is_ok());
        assert_eq!(finished.buffers[0].bytes()[99..101], [7, 0]);
        let (ended, finished) = read(PAGE_BYTES);
        assert!(!ended && finished.result.is_err());
    }

    #[test]
    fn an_interruption_is_tried_again_and_an_error_is_not() {
        let (_active, mut transfer) = write_of(vec![PageBuf::zeroed(1).share()]);
        assert!(matches!(transfer.advance(-libc::EINTR), Progress::Again));
        assert!(matches!(transfer.advance(-libc::EIO), Progress::Failed(_)));
    }
}
