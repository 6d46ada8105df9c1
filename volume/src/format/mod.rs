//! Every byte layout, pure: no I/O, no clock.
//!
//! Rules, once for all: integers are little-endian; every layout begins with a magic and a
//! version; an unknown version is refused and nothing is touched; a checksum covers what the
//! bytes claim to be as well as the bytes; lengths and counts are checked before they are used.

pub mod checkpoint_root;
pub mod checksum;
pub mod index_page;
pub mod log_frame;
pub mod redo_record;
pub mod superblock;
