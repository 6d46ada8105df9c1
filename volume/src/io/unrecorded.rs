//! The recorder of a build that records nothing: see `recorder.rs`.

use crate::page::Pages;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// What is done to a file.
#[expect(dead_code, reason = "a recorder reads it")]
pub(super) enum Action<'a> {
    Write {
        file: &'a File,
        offset: u64,
        parts: &'a [Pages],
    },
    Fill {
        file: &'a File,
        bytes: &'a [u8],
    },
    SetLength {
        file: &'a File,
        bytes: u64,
    },
    Create {
        folder: &'a dyn AsFile,
        name: &'a str,
    },
    Rename {
        folder: &'a dyn AsFile,
        from: &'a str,
        to: &'a str,
    },
    Remove {
        folder: &'a dyn AsFile,
        name: &'a str,
    },
    Sync {
        file: &'a File,
    },
    Flush {
        file: &'a File,
    },
}

/// Something with a descriptor.
pub(super) trait AsFile {}

impl<T: AsFd> AsFile for T {}

/// Something that was begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation;

/// Something begins.
pub(super) fn begin(_: Action<'_>) -> Operation {
    Operation
}

/// It was done.
pub(super) fn end(_: Operation) {}

/// It failed.
pub(super) fn fail(_: Operation) {}

/// Does something.
pub(super) fn during<T>(_: Action<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    work()
}
