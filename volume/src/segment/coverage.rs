//! Which bytes of a block nothing newer gives yet: the walk from the newest record to the oldest.

use crate::format::index_page::Fragment;
use crate::geometry::BLOCK_BYTES;
use crate::lsn::Lsn;
use std::ops::Range;

/// The order of a block's fragments, oldest first: by LSN; of equal ones the wider is newer (a
/// folded image contains the delta of its own LSN). The start makes the order total.
pub fn recency(fragment: &Fragment) -> (Lsn, u16, u16) {
    let width = fragment.end - fragment.start;
    (fragment.lsn, width, fragment.start)
}

/// The bytes of a block that a fragment gives.
pub fn byte_range(fragment: &Fragment) -> Range<u32> {
    u32::from(fragment.start)..u32::from(fragment.end)
}

/// Bytes of one block that are still to be found.
#[derive(Debug)]
pub struct Uncovered {
    /// Ascending, disjoint, none empty.
    gaps: Vec<Range<u32>>,
}

impl Uncovered {
    /// A whole block.
    pub fn block() -> Uncovered {
        Uncovered::range(0..BLOCK_BYTES as u32)
    }

    /// Some bytes of a block.
    pub fn range(range: Range<u32>) -> Uncovered {
        Uncovered { gaps: vec![range] }
    }

    /// Whether everything was found.
    pub fn is_empty(&self) -> bool {
        self.gaps.is_empty()
    }

    /// Takes out the bytes of `range`; `given` is called with each run of them that was still to
    /// be found. Returns whether there was one.
    pub fn take(&mut self, range: Range<u32>, mut given: impl FnMut(Range<u32>)) -> bool {
        let mut found = false;
        let mut at = self.gaps.partition_point(|gap| gap.end <= range.start);
        while let Some(gap) = self.gaps.get(at).cloned() {
            let part = gap.start.max(range.start)..gap.end.min(range.end);
            if part.is_empty() {
                break;
            }
            self.gaps.remove(at);
            for rest in [part.end..gap.end, gap.start..part.start] {
                if !rest.is_empty() {
                    self.gaps.insert(at, rest);
                }
            }
            at += usize::from(gap.start < part.start);
            given(part);
            found = true;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_once() {
        let mut uncovered = Uncovered::range(10..100);
        let mut given = Vec::new();
        for range in [20..30, 50..60, 0..12, 25..55, 60..60, 0..16384, 0..16384] {
            let before = given.len();
            let found = uncovered.take(range, |part| given.push(part));
            assert_eq!(found, given.len() > before);
        }
        assert_eq!(given, [20..30, 50..60, 10..12, 30..50, 12..20, 60..100]);
        assert!(uncovered.is_empty());
    }
}
