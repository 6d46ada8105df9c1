//! The frames that are encoded and decoded: a lonely write, a batch of large ones, and as many
//! small ones as a frame can have.

use crate::random::Random;
use crate::write::write;
use redoubt_volume::format::log_frame::{FrameIdentity, FrameStamp};
use redoubt_volume::format::redo_record::RecordHeader;
use redoubt_volume::geometry::PAGES_PER_BLOCK;
use redoubt_volume::ids::{ExtentSequence, Incarnation, NodeId, VolumeEpoch, VolumeId};
use redoubt_volume::limits;
use redoubt_volume::lsn::Lsn;
use redoubt_volume::page::{PAGE_BYTES, Pages};
use std::fmt;

/// Where the frames belong.
pub(crate) const IDENTITY: FrameIdentity = FrameIdentity {
    volume: VolumeId([9; 16]),
    node: NodeId(2),
    incarnation: Incarnation(3),
    extent: ExtentSequence(4),
    page: 5,
    number: 6,
};

/// What their sender knew.
pub(crate) const STAMP: FrameStamp = FrameStamp {
    epoch: VolumeEpoch {
        number: 7,
        writer: 8,
    },
    vdl: Lsn(900),
    wall_time_ns: 1_700_000_000_000_000_000,
};

/// LSN of a frame's first record.
const FIRST_LSN: Lsn = Lsn(1000);

/// How many records a frame has, all of the same length.
#[derive(Clone, Copy)]
pub(crate) struct FrameShape {
    pub(crate) records: usize,
    pages_per_record: usize,
}

/// All shapes.
pub(crate) const SHAPES: [FrameShape; 3] = [
    FrameShape::of(1, PAGES_PER_BLOCK),
    FrameShape::of(64, PAGES_PER_BLOCK),
    FrameShape::of(limits::FRAME_RECORDS, 1),
];

impl FrameShape {
    const fn of(records: usize, pages_per_record: usize) -> FrameShape {
        FrameShape {
            records,
            pages_per_record,
        }
    }

    /// The frame's payload pages.
    pub(crate) fn payload_pages(&self) -> usize {
        self.records * self.pages_per_record
    }

    /// The frame's records with their payload, each in memory of its own: one write after the other
    /// to neighbouring pages.
    pub(crate) fn parts(&self) -> Vec<(RecordHeader, Pages)> {
        let mut random = Random::new(self.records as u64);
        let part = |index: usize| {
            let lsn = FIRST_LSN.plus(index as u64);
            let payload = random.pages(self.pages_per_record);
            write(lsn, index * self.pages_per_record, payload)
        };
        (0..self.records).map(part).collect()
    }
}

impl fmt::Display for FrameShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = self.pages_per_record * PAGE_BYTES / 1024;
        write!(f, "{} of {kib} KiB", self.records)
    }
}
