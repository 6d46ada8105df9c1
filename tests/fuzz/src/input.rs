//! A fuzzer's bytes, read as numbers. What is missing at the end is zero, so that every input
//! means something.

/// The bytes that are left.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All bytes of an input.
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn take<const BYTES: usize>(&mut self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let length = BYTES.min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        bytes[..length].copy_from_slice(taken);
        self.0 = rest;
        bytes
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// The next two bytes as a place below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.u16()) % end.max(1)
    }
}

/// A change of some bytes of a layout, where it hurts: in a field.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    /// First byte that is changed.
    at: usize,
    /// Bytes that are changed: 1, 2, 4 or 8.
    width: usize,
    how: How,
    value: u64,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Set,
    Add,
    Flip,
}

impl Edit {
    /// The next edit of `length` bytes.
    pub fn read(input: &mut Input<'_>, length: usize) -> Edit {
        let (at, kind) = (input.below(length), input.u8());
        let how = match kind >> 2 & 3 {
            0 | 1 => How::Set,
            2 => How::Add,
            _ => How::Flip,
        };
        Edit {
            at,
            width: 1 << (kind & 3),
            how,
            value: input.u64(),
        }
    }

    /// The same place, changed in a way that no checksum survives: the fuzzer sees what checksums
    /// are compared with, and would write the right one.
    pub fn blind(self) -> Edit {
        Edit {
            how: How::Flip,
            value: self.value | 1,
            ..self
        }
    }

    /// Changes the bytes.
    pub fn apply(self, bytes: &mut [u8]) {
        let end = (self.at + self.width).min(bytes.len());
        let Some(field) = bytes.get_mut(self.at..end) else {
            return;
        };
        let mut old = [0; 8];
        old[..field.len()].copy_from_slice(field);
        let old = u64::from_le_bytes(old);
        let new = match self.how {
            How::Set => self.value,
            How::Add => old.wrapping_add(self.value),
            How::Flip => old ^ self.value,
        };
        field.copy_from_slice(&new.to_le_bytes()[..field.len()]);
    }
}
