//! Benchmarks of the parts that every byte of a disk passes, each alone and in memory: where a
//! change makes one of them slower, the figures of a whole volume hide it behind those of the
//! disk.
//!
//! `cargo bench -p redoubt-micro` runs them all; with words behind `--`, those that have one of
//! them in their names. Sizes are binary: a GiB takes a second divided by the GiB/s.
//!
//! Whatever is measured is first done once, and its result checked: a benchmark of something wrong
//! ends with a panic and not with a figure. What it works on is made from fixed seeds, outside of
//! what is measured. It fits into the caches of a processor unless the module says otherwise, so
//! that the figures are those of the code.

mod block_index;
mod checksum;
mod decoding;
mod encoding;
mod frame_shape;
mod materialization;
mod node_log;
mod random;
mod recovery;
mod write;

use divan::Divan;
use divan::counter::BytesFormat;

/// The allocator of the command: how long it takes to get a page is a part of what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    Divan::default()
        .bytes_format(BytesFormat::Binary)
        .config_with_args()
        .main();
}
