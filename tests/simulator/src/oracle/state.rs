//! What a disk holds at a moment. Moments share what is the same in them: a copy costs a reference
//! a unit, and a change copies the units that it touches, where others have them, too.

use redoubt_volume::geometry::BLOCK_BYTES;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are shared, or copied, together.
const UNIT_BYTES: usize = 4 * BLOCK_BYTES;

/// The bytes of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Each of [`UNIT_BYTES`].
    units: Vec<Arc<[u8]>>,
}

impl State {
    /// A disk of zeros.
    ///
    /// # Panics
    /// When it does not consist of whole units.
    pub fn zeros(bytes: usize) -> State {
        assert!(bytes.is_multiple_of(UNIT_BYTES), "a unit is cut");
        let zeros = Arc::from([0; UNIT_BYTES].as_slice());
        State {
            units: vec![zeros; bytes / UNIT_BYTES],
        }
    }

    /// Bytes of the disk.
    pub fn bytes(&self) -> usize {
        self.units.len() * UNIT_BYTES
    }

    /// The units, one after the other.
    pub fn units(&self) -> impl Iterator<Item = &[u8]> {
        self.units.iter().map(|unit| &unit[..])
    }

    /// The blocks, one after the other.
    pub fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.units().flat_map(|unit| unit.chunks(BLOCK_BYTES))
    }

    /// A block.
    pub fn block(&self, block: usize) -> &[u8] {
        let first = block * BLOCK_BYTES;
        let in_unit = first % UNIT_BYTES;
        &self.units[first / UNIT_BYTES][in_unit..in_unit + BLOCK_BYTES]
    }

    /// A copy of some bytes.
    pub fn copy(&self, range: Range<usize>) -> Vec<u8> {
        let mut copy = Vec::with_capacity(range.len());
        for (unit, part) in parts(range) {
            copy.extend_from_slice(&self.units[unit][part]);
        }
        copy
    }

    /// Lets bytes be changed, part by part; each part is given with its place on the disk.
    pub fn change(&mut self, range: Range<usize>, mut change: impl FnMut(usize, &mut [u8])) {
        for (unit, part) in parts(range) {
            let first = unit * UNIT_BYTES + part.start;
            change(first, &mut Arc::make_mut(&mut self.units[unit])[part]);
        }
    }
}

/// The units that a range touches, and what it touches of each.
fn parts(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let units = range.start / UNIT_BYTES..range.end.div_ceil(UNIT_BYTES);
    units.map(move |unit| {
        let first = unit * UNIT_BYTES;
        let end = (first + UNIT_BYTES).min(range.end);
        (unit, range.start.max(first) - first..end - first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_touches_its_range_and_no_copy() {
        let before = State::zeros(3 * UNIT_BYTES);
        for range in [
            0..3 * UNIT_BYTES,
            5..7,
            UNIT_BYTES - 1..2 * UNIT_BYTES + 1,
            9..9,
        ] {
            let mut after = before.clone();
            let mut expected = vec![0; before.bytes()];
            after.change(range.clone(), |_, bytes| bytes.fill(1));
            expected[range.clone()].fill(1);
            assert_eq!(after.copy(0..after.bytes()), expected);
            assert_eq!(after.copy(range.clone()), vec![1; range.len()]);
            assert_eq!(after.units().collect::<Vec<_>>().concat(), expected);
            assert_eq!(after.blocks().collect::<Vec<_>>().concat(), expected);
            assert_eq!(after.block(4), &expected[4 * BLOCK_BYTES..5 * BLOCK_BYTES]);
            assert_eq!(before == after, range.is_empty());
        }
    }
}
