//! The mount of Redoubt: a disk shown as one file through FUSE.
//!
//! Reading order: [`disk`] — what is mounted; [`options`] — what the user may ask for;
//! [`mount_point`] and [`mount_table`] — where, and what is there; [`session`] — mount and unmount;
//! `filesystem` — the requests of the kernel, one method each, and `operations`, what they mean,
//! with `inodes`, `file_range` and `errno` below them; [`process`] — what a process does to itself
//! before it serves a disk.

pub mod disk;
pub mod error;
pub mod mount_point;
pub mod mount_table;
pub mod options;
pub mod process;
pub mod session;

mod attributes;
mod door;
mod errno;
mod file_range;
mod filesystem;
mod fuse_device;
mod fusermount;
mod inodes;
mod operations;
mod texts;
