//! The one disk that there is.

use std::io;
use std::path::Path;

/// The disk.
#[derive(Debug)]
pub struct Device;

impl Device {
    /// The disk below a directory.
    ///
    /// # Errors
    /// None.
    pub fn of(_: &Path) -> io::Result<Device> {
        Ok(Device)
    }
}
