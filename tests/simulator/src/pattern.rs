//! What the workload writes: bytes that tell by themselves which write they belong to, made as
//! fast as memory is copied.

use crate::random::mix;

/// By how much the numbers of two neighbouring words differ.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Fills `target`, the bytes of the disk from `offset` on, with the content of write `stamp`.
pub fn fill(stamp: u64, offset: u64, target: &mut [u8]) {
    let salt = mix(stamp);
    let mut number = (offset / 8).wrapping_mul(STEP);
    let lead = (offset % 8) as usize;
    let mut rest = target;
    if lead > 0 {
        let count = rest.len().min(8 - lead);
        let (head, tail) = rest.split_at_mut(count);
        head.copy_from_slice(&(salt ^ number).to_le_bytes()[lead..lead + count]);
        rest = tail;
        number = number.wrapping_add(STEP);
    }
    let (whole, last) = rest.as_chunks_mut::<8>();
    for chunk in whole {
        *chunk = (salt ^ number).to_le_bytes();
        number = number.wrapping_add(STEP);
    }
    let bytes = (salt ^ number).to_le_bytes();
    last.copy_from_slice(&bytes[..last.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_write_is_the_part_of_its_pattern() {
        let mut whole = vec![0; 300];
        fill(5, 1003, &mut whole);
        for (start, end) in [(0, 300), (1, 2), (5, 17), (13, 299), (8, 8)] {
            let mut part = vec![0; end - start];
            fill(5, 1003 + start as u64, &mut part);
            assert_eq!(part, whole[start..end]);
        }
        let mut other = vec![0; 300];
        fill(6, 1003, &mut other);
        assert_ne!(other, whole);
    }
}
