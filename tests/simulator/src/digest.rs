//! A number that stands for everything that happened: two runs of one seed must have the same.

use crate::oracle::state::State;
use crate::random::mix;

/// The running digest of a run's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Takes something in.
    pub fn add(&mut self, number: u64) {
        self.0 = mix(self.0 ^ number);
    }

    /// Takes the bytes of a disk in.
    pub fn add_state(&mut self, state: &State) {
        let mut sum = state.bytes() as u64;
        for word in state.blocks().flat_map(|block| block.as_chunks::<8>().0) {
            sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            sum ^= sum >> 29;
        }
        self.add(sum);
    }

    /// The digest so far.
    pub fn value(&self) -> u64 {
        self.0
    }
}
