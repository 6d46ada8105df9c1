//! The requests of the kernel, one method each: call the disk, answer when it answers.

use crate::attributes::{BLOCK_BYTES, Change};
use crate::file_range::{Allocation, allocation};
use crate::inodes::Node;
use crate::operations::{DiskFileSystem, answer};
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use log::debug;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What is asked of the kernel, as far as it has it. Left out on purpose: WRITEBACK_CACHE (it
/// would reorder and cut writes), AUTO_INVAL_DATA (a GETATTR for each cached read after a write),
/// ATOMIC_O_TRUNC (the kernel would set the size to 0 by itself), POSIX_LOCKS and FLOCK_LOCKS
/// (locks stay in the kernel: one machine has the disk).
const CAPABILITIES: [InitFlags; 4] = [
    // Requests of one io_uring, libaio or loop device run side by side.
    InitFlags::FUSE_ASYNC_DIO,
    // The page cache is dropped when we say so, not when an attribute changes.
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    // MAP_SHARED works on files opened with O_DIRECT.
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    // No look for `security.capability` before each write.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
];

/// Bytes of a WRITE request at most; as much as fits in the pages that the kernel allows.
const MAX_WRITE_BYTES: u32 = 1 << 20;

/// Asynchronous requests under way: a deep queue of a loop device or io_uring. fuser asks for 16.
const MAX_BACKGROUND: u16 = 256;

/// How long the kernel may keep attributes. A disk that grows is seen within this time without
/// anybody having to tell the kernel, and it costs a program that asks all the time one request a
/// second.
const ATTRIBUTE_LIFETIME: Duration = Duration::from_secs(1);

/// How long the kernel may keep names: they never change.
const ENTRY_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Longest name, as of every Linux file system.
const NAME_BYTES: u32 = 255;

fn invalid<T>(_nearest_valid: T) -> io::Error {
    io::ErrorKind::InvalidInput.into()
}

impl Filesystem for DiskFileSystem {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in CAPABILITIES {
            if config.add_capabilities(capability).is_err() {
                debug!("this kernel has no {capability:?}");
            }
        }
        config.set_max_write(MAX_WRITE_BYTES).map_err(invalid)?;
        config.set_max_background(MAX_BACKGROUND).map_err(invalid)?;
        config
            .set_congestion_threshold(MAX_BACKGROUND)
            .map_err(invalid)?;
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.child(parent, name) {
            Ok(node) => reply.entry_with_ttls(
                &ATTRIBUTE_LIFETIME,
                &ENTRY_LIFETIME,
                &self.attr(node),
                Generation(0),
            ),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        match self.node(number) {
            Ok(node) => reply.attr(&ATTRIBUTE_LIFETIME, &self.attr(node)),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        _size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _creation_time: Option<SystemTime>,
        _change_time: Option<SystemTime>,
        _backup_time: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = Change {
            mode,
            uid,
            gid,
            atime,
            mtime,
        };
        match self.set_attributes(number, change) {
            Ok(attr) => reply.attr(&ATTRIBUTE_LIFETIME, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self
            .node(number)
            .and_then(|node| self.open_node(node, flags))
        {
            Ok((handle, flags)) => reply.opened(handle, flags),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _visit = self.door.come_in();
        match self.node(number) {
            Ok(Node::Disk) => self.read_disk(offset, size as usize, reply),
            Ok(_) => match self.texts.read(handle, offset, size as usize) {
                Some(text) => reply.data(&text),
                None => reply.error(Errno::EBADF),
            },
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _visit = self.door.come_in();
        match self.node(number) {
            Ok(Node::Disk) => self.write_disk(offset, data, flags, reply),
            Ok(_) => reply.error(Errno::EBADF),
            Err(error) => reply.error(error),
        }
    }

    /// A file was closed, which promises nothing about stable storage.
    fn flush(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn release(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.texts.close(handle);
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let _visit = self.door.come_in();
        self.disk.flush(answer(reply));
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let _visit = self.door.come_in();
        self.disk.flush(answer(reply));
    }

    fn readdir(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let entries = self.node(number).map_or(&[][..], Node::entries);
        for (index, entry) in entries.iter().enumerate().skip(offset as usize) {
            let number = self.shape.number(entry.node);
            if reply.add(number, index as u64 + 1, entry.node.kind(), entry.name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        let block = u64::from(BLOCK_BYTES);
        let blocks = self.disk.disk_bytes().div_ceil(block);
        let free = blocks.saturating_sub(self.disk.live_bytes().div_ceil(block));
        reply.statfs(
            blocks,
            free,
            free,
            1,
            0,
            BLOCK_BYTES,
            NAME_BYTES,
            BLOCK_BYTES,
        );
    }

    fn fallocate(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if self.shape.node(number) != Some(Node::Disk) {
            return reply.error(Errno::EBADF);
        }
        match allocation(mode, offset, length, self.disk.disk_bytes()) {
            Ok(Allocation::Nothing) => reply.ok(),
            Ok(Allocation::Discard { offset, length }) => self.discard(offset, length, reply),
            Err(error) => reply.error(error),
        }
    }

    fn lseek(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        if self.shape.node(number) != Some(Node::Disk) {
            return reply.error(Errno::EINVAL);
        }
        let visit = self.door.come_in();
        visit.is_kept();
        match self.seek(offset, whence) {
            Ok(found) => reply.offset(found as i64),
            Err(error) => reply.error(error),
        }
    }

    fn ioctl(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _answer_bytes: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    // The tree is fixed: nothing is made, removed or renamed in it.

    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EPERM);
    }

    fn mknod(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn mkdir(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn unlink(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn rmdir(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn symlink(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _target: &Path,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn link(
        &self,
        _request: &Request,
        _number: INodeNo,
        _parent: INodeNo,
        _name: &OsStr,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn rename(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _new_parent: INodeNo,
        _new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EPERM);
    }

    // ENOSYS makes the kernel do without from then on, and not ask again: extended attributes are
    // not supported, poll finds files always ready, copy_file_range reads and writes.

    fn getxattr(
        &self,
        _request: &Request,
        _number: INodeNo,
        _name: &OsStr,
        _size: u32,
        reply: ReplyXattr,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _number: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn setxattr(
        &self,
        _request: &Request,
        _number: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn removexattr(&self, _request: &Request, _number: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _from: INodeNo,
        _from_handle: FileHandle,
        _from_offset: u64,
        _to: INodeNo,
        _to_handle: FileHandle,
        _to_offset: u64,
        _length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::ENOSYS);
    }
}
