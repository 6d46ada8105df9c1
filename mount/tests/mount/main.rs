//! The mount on this machine's kernel, with a disk in memory behind it. Skipped, loudly, where
//! `/dev/fuse` cannot be opened.

#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by panic; clippy does not see the helpers of tests as tests"
)]

mod disk_file;
mod mounting;
mod support;
