//! What file requests mean on a disk of fixed size: the rules of a block device.

use fuser::Errno;
use libc::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE};

/// Bytes of a write that fit on the disk; `None` if it begins at or past the end. A program that
/// writes over the end thus gets a short count and then ENOSPC, and every byte inside is written.
pub(crate) fn writable(offset: u64, length: usize, disk_bytes: u64) -> Option<usize> {
    (offset < disk_bytes).then(|| readable(offset, length, disk_bytes))
}

/// Bytes of a read that lie on the disk.
pub(crate) fn readable(offset: u64, length: usize, disk_bytes: u64) -> usize {
    let left = disk_bytes.saturating_sub(offset);
    usize::try_from(left).map_or(length, |left| length.min(left))
}

/// What an fallocate request asks of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// Nothing: the disk has its size, and space is not set aside block by block.
    Nothing,
    /// Make a range read as zeros.
    Discard {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

/// Decides what an fallocate request does.
///
/// # Errors
/// EOPNOTSUPP for modes that a disk does not have, EFBIG for what would make the disk grow or
/// promise space past its end.
pub(crate) fn allocation(
    mode: i32,
    offset: u64,
    length: u64,
    disk_bytes: u64,
) -> Result<Allocation, Errno> {
    let keep_size = mode & FALLOC_FL_KEEP_SIZE != 0;
    let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
    let zeroes = match mode & !FALLOC_FL_KEEP_SIZE {
        0 => false,
        FALLOC_FL_PUNCH_HOLE if keep_size => true,
        FALLOC_FL_ZERO_RANGE => true,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    if end > disk_bytes && !(zeroes && keep_size) {
        return Err(Errno::EFBIG);
    }
    let length = end.min(disk_bytes).saturating_sub(offset);
    if !zeroes || length == 0 {
        return Ok(Allocation::Nothing);
    }
    Ok(Allocation::Discard { offset, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: u64 = 1 << 20;
    const PUNCH: i32 = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

    #[test]
    fn a_write_is_cut_at_the_end_of_the_disk_and_refused_past_it() {
        assert_eq!(writable(0, 4096, DISK), Some(4096));
        assert_eq!(writable(DISK - 100, 4096, DISK), Some(100));
        assert_eq!(writable(DISK, 1, DISK), None);
        assert_eq!(writable(u64::MAX, 1, DISK), None);
        assert_eq!(readable(DISK - 1, 4096, DISK), 1);
        assert_eq!(readable(DISK + 1, 4096, DISK), 0);
    }

    #[test]
    fn punch_and_zero_discard_what_lies_on_the_disk() {
        let whole = Ok(Allocation::Discard {
            offset: 4096,
            length: DISK - 4096,
        });
        let zero = FALLOC_FL_ZERO_RANGE;
        assert_eq!(allocation(PUNCH, 4096, DISK - 4096, DISK), whole);
        assert_eq!(allocation(PUNCH, 4096, DISK, DISK), whole);
        assert_eq!(allocation(zero, 4096, DISK - 4096, DISK), whole);
        assert_eq!(allocation(zero, 4096, DISK, DISK), Err(Errno::EFBIG));
        assert_eq!(
            allocation(PUNCH, DISK + 5, 10, DISK),
            Ok(Allocation::Nothing)
        );
    }

    #[test]
    fn plain_allocation_succeeds_inside_and_never_promises_space_past_the_end() {
        for mode in [0, FALLOC_FL_KEEP_SIZE] {
            assert_eq!(allocation(mode, 0, DISK, DISK), Ok(Allocation::Nothing));
            assert_eq!(allocation(mode, 1, DISK, DISK), Err(Errno::EFBIG));
            assert_eq!(allocation(mode, u64::MAX, 2, DISK), Err(Errno::EFBIG));
        }
    }

    #[test]
    fn other_modes_are_not_supported() {
        for mode in [
            FALLOC_FL_PUNCH_HOLE,
            libc::FALLOC_FL_COLLAPSE_RANGE,
            libc::FALLOC_FL_INSERT_RANGE,
            FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_UNSHARE_RANGE,
        ] {
            assert_eq!(allocation(mode, 0, 4096, DISK), Err(Errno::EOPNOTSUPP));
        }
    }
}
