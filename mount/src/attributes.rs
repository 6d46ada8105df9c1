//! Attributes of the files: those of the disk can be changed, and live as long as the mount.

use crate::inodes::Node;
use fuser::{FileAttr, INodeNo, TimeOrNow};
use nix::unistd::{getegid, geteuid};
use std::time::SystemTime;

/// Block size that programs are told. Not the 16 KiB of the log: the kernel derives the inode's
/// block size from it, and anything but the page size is trouble there.
pub(crate) const BLOCK_BYTES: u32 = 4096;

/// Unit of `st_blocks`, whatever the block size (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// A change of attributes that a program asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    /// Permission bits.
    pub(crate) mode: Option<u32>,
    /// Owner.
    pub(crate) uid: Option<u32>,
    /// Group.
    pub(crate) gid: Option<u32>,
    /// Time of last access.
    pub(crate) atime: Option<TimeOrNow>,
    /// Time of last modification.
    pub(crate) mtime: Option<TimeOrNow>,
}

/// Owner, permissions and times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    mode: u16,
    uid: u32,
    gid: u32,
    atime: SystemTime,
    mtime: SystemTime,
    ctime: SystemTime,
}

impl Attributes {
    /// What a file begins with: it belongs to whoever mounts.
    pub(crate) fn new(node: Node, now: SystemTime) -> Attributes {
        let mode = match node {
            Node::Root | Node::Hidden => 0o555,
            Node::Disk => 0o600,
            Node::Status => 0o444,
        };
        Attributes {
            mode,
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            atime: now,
            mtime: now,
            ctime: now,
        }
    }

    /// Notes that the content changed.
    pub(crate) fn touch(&mut self, now: SystemTime) {
        self.mtime = now;
        self.ctime = now;
    }

    /// Applies a change. Set-user-ID and the like are dropped: nothing here is executed, and so no
    /// write ever has to clear them (HANDLE_KILLPRIV_V2 leaves that to the file system).
    pub(crate) fn apply(&mut self, change: Change, now: SystemTime) {
        let time = |time| match time {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => now,
        };
        self.mode = change.mode.map_or(self.mode, |mode| (mode & 0o777) as u16);
        self.uid = change.uid.unwrap_or(self.uid);
        self.gid = change.gid.unwrap_or(self.gid);
        self.atime = change.atime.map_or(self.atime, time);
        self.mtime = change.mtime.map_or(self.mtime, time);
        self.ctime = now;
    }

    /// The attributes as the kernel wants them; `size` and `live` in bytes.
    pub(crate) fn of(&self, node: Node, number: INodeNo, size: u64, live: u64) -> FileAttr {
        FileAttr {
            ino: number,
            size,
            blocks: live.div_ceil(STAT_BLOCK_BYTES),
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            crtime: self.ctime,
            kind: node.kind(),
            perm: self.mode,
            nlink: match node {
                Node::Root => 3,
                Node::Hidden => 2,
                Node::Disk | Node::Status => 1,
            },
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        }
    }
}
