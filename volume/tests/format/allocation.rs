//! How much a decoder allocates: a hostile count must not become memory.

#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with a sum for each thread.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it is; the counter has no
// destructor and is initialized at compile time, so touching it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get().saturating_add(layout.size()));
        // SAFETY: the caller's obligations are those of the method called.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs a decoder on bytes; what it allocates in all is bounded by what it was given.
pub fn decode_within_bounds<T>(bytes: &[u8], decode: impl FnOnce(&[u8]) -> T) -> T {
    let before = ALLOCATED.get();
    let result = decode(bytes);
    let allocated = ALLOCATED.get() - before;
    let bound = 8 * bytes.len() + 4096;
    assert!(
        allocated <= bound,
        "{allocated} bytes for {} of input",
        bytes.len()
    );
    result
}

#[test]
fn an_allocation_is_counted() {
    let grab = std::panic::catch_unwind(|| {
        decode_within_bounds(&[], |_| vec![1_u8; 100_000]);
    });
    assert!(grab.is_err());
}
