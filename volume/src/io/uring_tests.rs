use super::*;
use crate::io::test_support::pattern;
use crate::page::{PAGE_BYTES, Pages};

fn files(count: usize) -> Vec<Arc<File>> {
    (0..count)
        .map(|_| Arc::new(tempfile::tempfile().unwrap()))
        .collect()
}

fn span(file: &Arc<File>, page: usize, first_page: usize, pages: usize) -> ReadSpan {
    ReadSpan {
        file: Arc::clone(file),
        offset: (page * PAGE_BYTES) as u64,
        buffer: 0,
        first_page,
        pages,
    }
}

fn rings() -> Vec<Ring> {
    let mut rings = vec![Ring::without_uring(4).unwrap()];
    // Miri has no io_uring.
    if !cfg!(miri) {
        rings.push(Ring::new(4).unwrap());
    }
    rings
}

#[test]
fn what_is_written_is_read_back() {
    for mut ring in rings() {
        let files = files(6);
        for (index, file) in files.iter().enumerate() {
            let all = pattern(6, index as u8);
            ring.push(
                index as u64,
                Job::Write {
                    file: Arc::clone(file),
                    offset: PAGE_BYTES as u64,
                    parts: vec![all.slice(0, 1), Pages::empty(), all.slice(3, 3)],
                    blocks: false,
                },
            );
        }
        let mut written = ring.wait_all();
        written.sort_by_key(|finished| finished.token);
        assert_eq!(written.len(), 6);
        assert!(written.iter().all(|finished| finished.result.is_ok()));
        for (index, file) in files.iter().enumerate() {
            ring.push(
                7,
                Job::Read {
                    buffers: vec![PageBuf::from_bytes(&[9; 5 * PAGE_BYTES])],
                    spans: vec![span(file, 3, 0, 3), span(file, 1, 3, 1)],
                },
            );
            let mut read = ring.wait_all();
            let finished = read.remove(0);
            assert!(finished.result.is_ok() && finished.token == 7);
            let firsts: Vec<u8> = (finished.buffers[0].bytes().chunks(PAGE_BYTES))
                .map(|page| page[0])
                .collect();
            let salt = index as u8;
            // Pages 4, 5, then zeros behind the end of the file; page 0; not read at all.
            assert_eq!(firsts, [4 ^ salt, 5 ^ salt, 0, salt, 9]);
        }
    }
}

#[test]
fn a_write_of_more_parts_than_the_kernel_takes_is_whole() {
    for mut ring in rings() {
        let file = files(1).remove(0);
        let all = pattern(2 * 1100, 0);
        let parts = (0..1100).map(|index| all.slice(index * 2, 1)).collect();
        let write = Job::Write {
            file: Arc::clone(&file),
            offset: 0,
            parts,
            blocks: false,
        };
        ring.push(1, write);
        assert!(ring.wait_all()[0].result.is_ok());
        assert_eq!(file.metadata().unwrap().len(), 1100 * PAGE_BYTES as u64);
    }
}

#[test]
fn a_failure_names_its_job_and_spares_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, b"x").unwrap();
    let read_only = Arc::new(File::open(&path).unwrap());
    for mut ring in rings() {
        for (token, file) in [Arc::clone(&read_only), files(1).remove(0)]
            .iter()
            .enumerate()
        {
            let write = Job::Write {
                file: Arc::clone(file),
                offset: 0,
                parts: vec![pattern(1, 1)],
                blocks: false,
            };
            ring.push(token as u64, write);
        }
        for finished in ring.wait_all() {
            assert_eq!(finished.result.is_ok(), finished.token == 1);
        }
    }
}

#[test]
fn an_empty_job_is_through_at_once() {
    for mut ring in rings() {
        let read = Job::Read {
            buffers: vec![PageBuf::zeroed(1)],
            spans: Vec::new(),
        };
        ring.push(3, read);
        assert_eq!(ring.wait()[0].token, 3);
    }
}

#[test]
fn a_waker_ends_the_wait() {
    for mut ring in rings() {
        for _ in 0..3 {
            let waker = ring.waker();
            let waking = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                waker.wake();
            });
            assert!(ring.wait().is_empty());
            waking.join().unwrap();
        }
    }
}

#[test]
fn a_ring_may_be_dropped_with_jobs_in_flight() {
    for mut ring in rings() {
        let files = files(8);
        for file in &files {
            let write = Job::Write {
                file: Arc::clone(file),
                offset: 0,
                parts: vec![pattern(64, 1)],
                blocks: false,
            };
            ring.push(0, write);
        }
        ring.fill();
        drop(ring);
    }
}
