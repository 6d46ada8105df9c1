//! What requests mean on a disk: the part of the file system that decides.

use crate::attributes::{Attributes, Change};
use crate::disk::{Disk, DiskBytes, Done};
use crate::door::Door;
use crate::errno::errno;
use crate::file_range::{readable, writable};
use crate::inodes::{Node, Shape};
use crate::options::MountOptions;
use crate::texts::Texts;
use fuser::{
    Errno, FileAttr, FileHandle, FopenFlags, INodeNo, OpenFlags, ReplyData, ReplyEmpty, ReplyWrite,
};
use parking_lot::Mutex;
use std::ffi::OsStr;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

/// A disk as a file system.
pub(crate) struct DiskFileSystem {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) shape: Shape,
    pub(crate) door: Arc<Door>,
    /// Of the disk; it alone can be changed.
    attributes: Mutex<Attributes>,
    mounted_at: SystemTime,
    pub(crate) texts: Texts,
    direct_io: bool,
}

impl DiskFileSystem {
    /// Adapts a disk.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        shape: Shape,
        options: &MountOptions,
        door: Door,
    ) -> DiskFileSystem {
        let now = SystemTime::now();
        DiskFileSystem {
            disk,
            shape,
            door: Arc::new(door),
            attributes: Mutex::new(Attributes::new(Node::Disk, now)),
            mounted_at: now,
            texts: Texts::default(),
            direct_io: options.direct_io,
        }
    }

    /// The node of an inode number; ENOENT if there is none.
    pub(crate) fn node(&self, number: INodeNo) -> Result<Node, Errno> {
        self.shape.node(number).ok_or(Errno::ENOENT)
    }

    /// The attributes of a node now.
    pub(crate) fn attr(&self, node: Node) -> FileAttr {
        let number = self.shape.number(node);
        if node == Node::Disk {
            let (size, live) = (self.disk.disk_bytes(), self.disk.live_bytes());
            return self.attributes.lock().of(node, number, size, live);
        }
        Attributes::new(node, self.mounted_at).of(node, number, 0, 0)
    }

    fn open_disk(&self, flags: OpenFlags) -> FopenFlags {
        if self.direct_io || flags.0 & libc::O_DIRECT != 0 {
            FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
        } else {
            FopenFlags::FOPEN_KEEP_CACHE
        }
    }

    /// Handle and flags of a newly opened file.
    pub(crate) fn open_node(
        &self,
        node: Node,
        flags: OpenFlags,
    ) -> Result<(FileHandle, FopenFlags), Errno> {
        match node {
            Node::Disk => Ok((FileHandle(0), self.open_disk(flags))),
            Node::Status if flags.0 & libc::O_ACCMODE == libc::O_RDONLY => {
                let handle = self.texts.open(self.disk.status_json());
                // It says size 0, as its length is not known before: no page cache, then.
                Ok((handle, FopenFlags::FOPEN_DIRECT_IO))
            }
            Node::Status => Err(Errno::EACCES),
            Node::Root | Node::Hidden => Err(Errno::EISDIR),
        }
    }

    /// Answers with what lies on the disk.
    pub(crate) fn read_disk(&self, offset: u64, length: usize, reply: ReplyData) {
        let length = readable(offset, length, self.disk.disk_bytes());
        if length == 0 {
            return reply.data(&[]);
        }
        let (door, caller) = (Arc::clone(&self.door), thread::current().id());
        let done: Done<DiskBytes> = Box::new(move |result| {
            if thread::current().id() == caller {
                door.look_out();
            }
            match result {
                // A short answer would make the kernel shrink the file.
                Ok(bytes) if bytes.as_ref().len() == length => reply.data(bytes.as_ref()),
                Ok(_) => reply.error(Errno::EIO),
                Err(failure) => reply.error(errno(failure)),
            }
        });
        let may_block = self.door.may_be_kept();
        self.disk.read(offset, length, may_block, done);
    }

    /// Writes what lies on the disk, and says how much that was.
    pub(crate) fn write_disk(&self, offset: u64, data: &[u8], flags: OpenFlags, reply: ReplyWrite) {
        let Some(fitting) = writable(offset, data.len(), self.disk.disk_bytes()) else {
            return reply.error(Errno::ENOSPC);
        };
        // The kernel follows direct writes with no FSYNC, whatever the file was opened with: what
        // it says here is the only sign.
        let durable = flags.0 & (libc::O_DSYNC | libc::O_SYNC) != 0;
        self.attributes.lock().touch(SystemTime::now());
        let done: Done<()> = Box::new(move |result| match result {
            Ok(()) => reply.written(fitting as u32),
            Err(failure) => reply.error(errno(failure)),
        });
        self.disk.write(offset, &data[..fitting], durable, done);
    }

    /// Makes a range read as zeros.
    pub(crate) fn discard(&self, offset: u64, length: u64, reply: ReplyEmpty) {
        self.attributes.lock().touch(SystemTime::now());
        self.disk.discard(offset, length, answer(reply));
    }

    /// The next data or hole; ENXIO past the last.
    pub(crate) fn seek(&self, offset: i64, whence: i32) -> Result<u64, Errno> {
        let disk_bytes = self.disk.disk_bytes();
        let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        if offset >= disk_bytes {
            return Err(Errno::ENXIO);
        }
        match whence {
            libc::SEEK_DATA => {
                let data = self.disk.next_data(offset).map_err(errno)?;
                data.filter(|at| *at < disk_bytes).ok_or(Errno::ENXIO)
            }
            libc::SEEK_HOLE => {
                let hole = self.disk.next_hole(offset).map_err(errno)?;
                Ok(hole.min(disk_bytes))
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// The node of a name.
    pub(crate) fn child(&self, parent: INodeNo, name: &OsStr) -> Result<Node, Errno> {
        self.node(parent)?.child(name).ok_or(Errno::ENOENT)
    }

    /// A size that is asked for is granted and not kept, like on a block device: so O_TRUNC and
    /// `dd` work, and the answer tells the kernel the size that the disk has.
    pub(crate) fn set_attributes(
        &self,
        number: INodeNo,
        change: Change,
    ) -> Result<FileAttr, Errno> {
        match self.node(number)? {
            Node::Disk => {
                self.attributes.lock().apply(change, SystemTime::now());
                Ok(self.attr(Node::Disk))
            }
            Node::Root | Node::Hidden | Node::Status => Err(Errno::EPERM),
        }
    }
}

/// Sends the result of a request that has no other answer.
pub(crate) fn answer(reply: ReplyEmpty) -> Done<()> {
    Box::new(move |result| match result {
        Ok(()) => reply.ok(),
        Err(failure) => reply.error(errno(failure)),
    })
}
