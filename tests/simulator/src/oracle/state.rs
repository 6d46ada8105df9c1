//! What a disk holds at a moment. Moments share what is the same in them: a copy costs a reference
//! a block, and a change copies the blocks that it touches, where others have them, too.

use redoubt_volume::geometry::BLOCK_BYTES;
use std::ops::Range;
use std::sync::Arc;

/// The bytes of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    blocks: Vec<Arc<[u8]>>,
    /// A block of zeros.
    zeros: Arc<[u8]>,
}

impl State {
    /// A disk of zeros.
    ///
    /// # Panics
    /// When it does not consist of whole blocks.
    pub fn zeros(bytes: usize) -> State {
        assert!(bytes.is_multiple_of(BLOCK_BYTES), "a block is cut");
        let zeros = Arc::from([0; BLOCK_BYTES].as_slice());
        State {
            blocks: vec![Arc::clone(&zeros); bytes / BLOCK_BYTES],
            zeros,
        }
    }

    /// Bytes of the disk.
    pub fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// The blocks, one after the other.
    pub fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().map(|block| &block[..])
    }

    /// A block.
    pub fn block(&self, block: usize) -> &[u8] {
        &self.blocks[block]
    }

    /// Whether a block is not as on a disk of these bytes, behind which there are zeros.
    pub fn differs(&self, block: usize, disk: &[u8]) -> bool {
        let first = block * BLOCK_BYTES;
        let other = disk.get(first..first + BLOCK_BYTES);
        self.block(block) != other.unwrap_or(&self.zeros)
    }

    /// Some bytes, as they are now.
    pub fn excerpt(&self, range: Range<usize>) -> Excerpt {
        let blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
        Excerpt {
            start: range.start % BLOCK_BYTES,
            length: range.len(),
            blocks: self.blocks[blocks].to_vec(),
        }
    }

    /// Lets bytes be changed, part by part; each part is given with its place on the disk.
    pub fn change(&mut self, range: Range<usize>, mut change: impl FnMut(usize, &mut [u8])) {
        for (block, part) in parts(range) {
            let first = block * BLOCK_BYTES + part.start;
            change(first, &mut Arc::make_mut(&mut self.blocks[block])[part]);
        }
    }

    /// Makes bytes zero.
    pub fn clear(&mut self, range: Range<usize>) {
        for (block, part) in parts(range) {
            let block = &mut self.blocks[block];
            if part.len() == BLOCK_BYTES {
                *block = Arc::clone(&self.zeros);
            } else {
                Arc::make_mut(block)[part].fill(0);
            }
        }
    }
}

/// Some bytes of a state, which stay as they are when the state changes.
#[derive(Clone, Debug)]
pub struct Excerpt {
    blocks: Vec<Arc<[u8]>>,
    /// Where the bytes begin in the first block.
    start: usize,
    length: usize,
}

impl Excerpt {
    /// How many bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The bytes, block by block.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let parts = parts(self.start..self.start + self.length);
        parts.map(|(block, part)| &self.blocks[block][part])
    }

    /// Whether the bytes are these.
    pub fn is(&self, mut bytes: &[u8]) -> bool {
        bytes.len() == self.length
            && self.parts().all(|part| {
                let (same, rest) = bytes.split_at(part.len());
                bytes = rest;
                part == same
            })
    }

    /// A copy of the bytes.
    pub fn copy(&self) -> Vec<u8> {
        self.parts().collect::<Vec<_>>().concat()
    }
}

/// The blocks that a range touches, and what it touches of each.
fn parts(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
    blocks.map(move |block| {
        let first = block * BLOCK_BYTES;
        let end = (first + BLOCK_BYTES).min(range.end);
        (block, range.start.max(first) - first..end - first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ones(bytes: usize) -> State {
        let mut ones = State::zeros(bytes);
        ones.change(0..bytes, |_, bytes| bytes.fill(1));
        ones
    }

    const BYTES: usize = 3 * BLOCK_BYTES;

    const RANGES: [Range<usize>; 4] = [0..BYTES, 5..7, BLOCK_BYTES - 1..2 * BLOCK_BYTES + 1, 9..9];

    #[test]
    fn a_change_touches_its_range_and_no_copy() {
        let before = State::zeros(BYTES);
        for range in RANGES {
            let mut after = before.clone();
            let mut expected = vec![0; BYTES];
            after.change(range.clone(), |_, bytes| bytes.fill(1));
            expected[range.clone()].fill(1);
            assert_eq!(after.excerpt(0..BYTES).copy(), expected);
            assert_eq!(after.excerpt(range.clone()).copy(), vec![1; range.len()]);
            assert_eq!(after.blocks().collect::<Vec<_>>().concat(), expected);
            assert_eq!(after.block(1), &expected[BLOCK_BYTES..2 * BLOCK_BYTES]);
            assert_eq!(before == after, range.is_empty());
            let differs = (0..3).map(|block| after.differs(block, &expected[..BLOCK_BYTES]));
            let behind = range.end.div_ceil(BLOCK_BYTES);
            let is_behind = |block| block > 0 && block < behind && !range.is_empty();
            assert!(differs.eq((0..3).map(is_behind)));
        }
    }

    #[test]
    fn what_is_cleared_is_zero_and_nothing_else_is() {
        for range in RANGES {
            let (mut state, mut expected) = (ones(BYTES), vec![1; BYTES]);
            state.clear(range.clone());
            expected[range].fill(0);
            assert_eq!(state.excerpt(0..BYTES).copy(), expected);
            state.change(0..BYTES, |_, bytes| bytes.fill(1));
            state.clear(0..BYTES);
            assert!(state == State::zeros(BYTES), "the zeros were changed");
        }
    }

    #[test]
    fn an_excerpt_is_its_bytes_and_no_others_whatever_comes_later() {
        for range in RANGES {
            let mut state = ones(BYTES);
            let excerpt = state.excerpt(range.clone());
            state.clear(0..BYTES);
            let mut bytes = vec![1; range.len()];
            assert!(excerpt.is(&bytes) && excerpt.length() == range.len());
            bytes.push(1);
            assert!(!excerpt.is(&bytes), "it is shorter");
            bytes.pop();
            for wrong in [0, range.len().wrapping_sub(1)] {
                if let Some(byte) = bytes.get_mut(wrong) {
                    *byte = 2;
                    assert!(!excerpt.is(&bytes), "byte {wrong} differs");
                    bytes[wrong] = 1;
                }
            }
        }
    }
}
