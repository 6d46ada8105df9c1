//! Loop devices and file systems on them; detached when dropped.

use super::shell::shell;
use std::path::{Path, PathBuf};

/// A loop device over a file.
pub(crate) struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Attaches the file with direct I/O.
    pub(crate) fn attach(file: &Path) -> LoopDevice {
        let attach = "losetup -f --show --direct-io=on \"$file\"";
        LoopDevice(shell(attach, &[("file", file)]).trim().into())
    }

    /// Its path, such as `/dev/loop3`.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Mounts the file system that is on it.
    pub(crate) fn mount(self, directory: &Path) -> FileSystem {
        std::fs::create_dir_all(directory).unwrap();
        let variables = [("loop", self.path()), ("directory", directory)];
        shell("mount \"$loop\" \"$directory\"", &variables);
        FileSystem {
            directory: directory.into(),
            _device: Some(self),
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // Fails where the device went away with its disk.
        shell("losetup -d \"$loop\" || true", &[("loop", &self.0)]);
    }
}

/// A mounted file system, on a loop device or in memory.
pub(crate) struct FileSystem {
    directory: PathBuf,
    _device: Option<LoopDevice>,
}

impl FileSystem {
    /// Mounts one in memory (tmpfs) of so many MiB.
    pub(crate) fn in_memory(directory: &Path, mib: u64) -> FileSystem {
        std::fs::create_dir_all(directory).unwrap();
        let mount = format!("mount -t tmpfs -o size={mib}m tmpfs \"$directory\"");
        shell(&mount, &[("directory", directory)]);
        FileSystem {
            directory: directory.into(),
            _device: None,
        }
    }

    /// Where it is mounted.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        // Lazily where the disk below is dead: then nothing can be flushed.
        let unmount = "umount \"$directory\" || umount -l \"$directory\" || true";
        shell(unmount, &[("directory", &self.directory)]);
    }
}
