//! The quorum rules of a group: write 4 of 6, read 3 of 6. Enumerated, not computed.

use crate::config::SEGMENTS;
use crate::lsn::Lsn;
use crate::planted::{Bug, is_planted};

/// Segments that must hold a record before it is durable.
pub const WRITE_QUORUM: usize = 4;
/// Segments that must be reached to know what may be durable: any three meet any four.
pub const READ_QUORUM: usize = 3;

/// The protection group complete point: the fourth highest SCL of the six.
pub fn group_complete(mut scls: [Lsn; SEGMENTS]) -> Lsn {
    scls.sort_unstable();
    let quorum = WRITE_QUORUM - usize::from(is_planted(Bug::AckAtThree));
    scls[SEGMENTS - quorum]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_highest_counts() {
        let lsns = |list: [u64; 6]| list.map(Lsn);
        assert_eq!(group_complete(lsns([0, 0, 0, 9, 9, 9])), Lsn(0));
        assert_eq!(group_complete(lsns([0, 0, 9, 9, 9, 9])), Lsn(9));
        assert_eq!(group_complete(lsns([101, 101, 102, 7, 8, 102])), Lsn(101));
        assert_eq!(group_complete(lsns([1, 2, 3, 4, 5, 6])), Lsn(3));
    }

    #[test]
    fn every_write_quorum_meets_every_read_quorum() {
        let of_size = |size: usize| {
            (0u32..1 << SEGMENTS).filter(move |set| set.count_ones() as usize == size)
        };
        for write in of_size(WRITE_QUORUM) {
            for read in of_size(READ_QUORUM) {
                assert_ne!(write & read, 0);
            }
            for other in of_size(WRITE_QUORUM) {
                assert_ne!(write & other, 0);
            }
        }
    }
}
