//! A number that stands for everything that happened: two runs of one seed must have the same.

use crate::random::mix;

/// The running digest of a run's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Takes something in.
    pub fn add(&mut self, number: u64) {
        self.0 = mix(self.0 ^ number);
    }

    /// Takes bytes in.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut sum = bytes.len() as u64;
        for word in words {
            sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            sum ^= sum >> 29;
        }
        for byte in rest {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.add(sum);
    }

    /// The digest so far.
    pub fn value(&self) -> u64 {
        self.0
    }
}
