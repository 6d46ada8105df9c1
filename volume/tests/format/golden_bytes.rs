//! The golden bytes, 16 a line.

pub const FRAME: &str = "00";
pub const SUPERBLOCK: &str = "00";
pub const LEAF: &str = "00";
pub const DIRECTORY: &str = "00";
pub const DIRECTORY_LAST_ROW: &str = "00";
pub const ROOT: &str = "00";
