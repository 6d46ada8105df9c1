//! A log frame: the unit that is appended, synced, sent and checked. One encoding on the wire and
//! on disk.
//!
//! A frame is a run of pages: header pages (the 128-byte header, then the record table), then the
//! payload pages, which all nodes share. Only the header differs from node to node. The header's
//! checksum covers the identity and the table's checksum; the table's checksum covers every
//! record with the checksums of its payload pages: so each page is bound to volume, node, extent,
//! place, epoch, group, block and LSN.

use crate::format::checksum::checksum;
use crate::format::redo_record::{RECORD_BYTES, RecordHeader, RecordKind, RecordRow};
use crate::ids::{ExtentSequence, Incarnation, NodeId, VolumeEpoch, VolumeId};
use crate::limits;
use crate::lsn::Lsn;
use crate::page::{PAGE_BYTES, PageBuf, Pages, pages_for};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of a frame.
pub const FRAME_MAGIC: [u8; 8] = *b"RDBTFRM\x01";
/// Version of the layout.
pub const FRAME_VERSION: u16 = 1;
/// Bytes of the fixed header.
pub const FRAME_HEADER_BYTES: usize = 128;

/// Header pages of a frame with so many records.
pub const fn header_pages(records: usize) -> usize {
    (FRAME_HEADER_BYTES + records * RECORD_BYTES).div_ceil(PAGE_BYTES)
}

/// Where a frame belongs: the part that differs from node to node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameIdentity {
    /// The volume.
    pub volume: VolumeId,
    /// The node whose log it is in.
    pub node: NodeId,
    /// The life of that node's directory.
    pub incarnation: Incarnation,
    /// The extent.
    pub extent: ExtentSequence,
    /// Page in the extent where the frame begins.
    pub page: u32,
    /// Number of the frame in the node's log, one dense sequence.
    pub number: u64,
}

/// What the sender knew when it sent the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameStamp {
    /// Epoch of the writer; of a local frame, the epoch that the node promised.
    pub epoch: VolumeEpoch,
    /// The VDL that it announces.
    pub vdl: Lsn,
    /// Wall-clock time in nanoseconds since 1970, so that a time finds its LSN; 0 if unknown.
    pub wall_time_ns: u64,
}

/// A frame before it is placed: records and payload, encoded once for all nodes.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What the sender knew.
    pub stamp: FrameStamp,
    /// The records, in order.
    pub records: Vec<RecordHeader>,
    /// The payload pages of all records, in order of the records.
    pub payload: Vec<Pages>,
    table: Vec<u8>,
    table_checksum: u32,
    payload_pages: u32,
}

impl Frame {
    /// Builds a frame. Each record comes with its payload, whose length is set here; the
    /// checksums of the payload are the caller's, who computed them while the bytes were hot.
    pub fn new(stamp: FrameStamp, parts: Vec<(RecordHeader, Pages)>) -> Frame {
        let mut records = Vec::with_capacity(parts.len());
        let mut payload = Vec::with_capacity(parts.len());
        let mut table = Vec::with_capacity(parts.len() * RECORD_BYTES);
        let mut payload_pages = 0;
        for (mut record, pages) in parts {
            record.payload_page = payload_pages;
            record.payload_pages = pages.page_count() as u16;
            payload_pages += pages.page_count() as u32;
            table.extend_from_slice(RecordRow::from(&record).as_bytes());
            records.push(record);
            if pages.page_count() > 0 {
                payload.push(pages);
            }
        }
        debug_assert!(records.iter().all(|record| record.fits(payload_pages)));
        let table_checksum = checksum(&table);
        Frame {
            stamp,
            records,
            payload,
            table,
            table_checksum,
            payload_pages,
        }
    }

    /// Header pages, record table included.
    pub fn header_pages(&self) -> usize {
        header_pages(self.records.len())
    }

    /// Payload pages.
    pub fn payload_pages(&self) -> usize {
        self.payload_pages as usize
    }

    /// All pages.
    pub fn pages(&self) -> usize {
        self.header_pages() + self.payload_pages()
    }

    /// Bytes in the log.
    pub fn bytes(&self) -> usize {
        self.pages() * PAGE_BYTES
    }

    /// The header pages of this frame at one place of one node's log.
    pub fn header_for(&self, identity: &FrameIdentity) -> Pages {
        let mut header = FrameHeader {
            magic: FRAME_MAGIC,
            version: FRAME_VERSION.into(),
            node: identity.node.0.into(),
            records: (self.records.len() as u32).into(),
            volume: identity.volume.0,
            incarnation: identity.incarnation.0.into(),
            frame_number: identity.number.into(),
            extent: identity.extent.0.into(),
            page: identity.page.into(),
            epoch_number: self.stamp.epoch.number.into(),
            epoch_writer: self.stamp.epoch.writer.into(),
            vdl: self.stamp.vdl.0.into(),
            wall_time_ns: self.stamp.wall_time_ns.into(),
            payload_pages: self.payload_pages.into(),
            table_checksum: self.table_checksum.into(),
            reserved: [0; 28],
            checksum: 0.into(),
        };
        header.checksum = header.computed_checksum().into();
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + self.table.len());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&self.table);
        PageBuf::from_bytes(&bytes).share()
    }
}

/// The fixed header as it lies at the start of a frame.
///
/// ```text
///  at  bytes  field
///   0      8  magic "RDBTFRM" 1
///   8      2  version
///  10      2  node
///  12      4  records
///  16     16  volume
///  32      8  incarnation of the node's directory
///  40      8  frame number in the node's log
///  48      4  extent sequence
///  52      4  page in the extent
///  56      8  epoch: number
///  64      8  epoch: writer
///  72      8  announced VDL
///  80      8  wall time, ns since 1970
///  88      4  payload pages
///  92      4  checksum of the record table
///  96     28  reserved, zero
/// 124      4  checksum of the header with this field zero
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FrameHeader {
    magic: [u8; 8],
    version: U16,
    node: U16,
    records: U32,
    volume: [u8; 16],
    incarnation: U64,
    frame_number: U64,
    extent: U32,
    page: U32,
    epoch_number: U64,
    epoch_writer: U64,
    vdl: U64,
    wall_time_ns: U64,
    payload_pages: U32,
    table_checksum: U32,
    reserved: [u8; 28],
    checksum: U32,
}

const _: () = assert!(size_of::<FrameHeader>() == FRAME_HEADER_BYTES);

impl FrameHeader {
    fn computed_checksum(&self) -> u32 {
        let mut blank = *self;
        blank.checksum = 0.into();
        checksum(blank.as_bytes())
    }
}

/// A frame read back from a log: header and table checked, payload not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedFrame {
    /// Where it says it belongs.
    pub identity: FrameIdentity,
    /// What its sender knew.
    pub stamp: FrameStamp,
    /// Its records.
    pub records: Vec<RecordHeader>,
    /// Payload pages behind the header pages.
    pub payload_pages: u32,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No frame begins here.
    #[error("no frame begins here")]
    NoFrame,
    /// A frame of a version that this program does not know.
    #[error("the frame has version {0}, which this program does not know")]
    Version(u16),
    /// The header or table does not check.
    #[error("the frame's header does not check")]
    Header,
    /// A field contradicts another.
    #[error("a field of the frame contradicts another")]
    Contradiction,
    /// More bytes are needed to decide: so many pages from the frame's start.
    #[error("the frame's header takes {0} pages")]
    NeedsPages(usize),
}

impl DecodedFrame {
    /// Decodes the frame that begins with `bytes`, which may go on behind it.
    ///
    /// # Errors
    /// [`FrameError`]; with `NeedsPages` the same call with as many pages decides.
    pub fn decode(bytes: &[u8]) -> Result<DecodedFrame, FrameError> {
        let (header, _) = FrameHeader::read_from_prefix(bytes).map_err(|_| FrameError::NoFrame)?;
        header.check()?;
        let count = header.records.get() as usize;
        if bytes.len() < header_pages(count) * PAGE_BYTES {
            return Err(FrameError::NeedsPages(header_pages(count)));
        }
        let table = &bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + count * RECORD_BYTES];
        if checksum(table) != header.table_checksum.get() {
            return Err(FrameError::Header);
        }
        let rows = <[RecordRow]>::ref_from_bytes(table).map_err(|_| FrameError::Contradiction)?;
        let payload_pages = header.payload_pages.get();
        let records: Option<Vec<_>> = rows.iter().map(|row| row.decode(payload_pages)).collect();
        Ok(DecodedFrame {
            identity: header.identity(),
            stamp: header.stamp(),
            records: records.ok_or(FrameError::Contradiction)?,
            payload_pages,
        })
    }

    /// Header pages.
    pub fn header_pages(&self) -> usize {
        header_pages(self.records.len())
    }

    /// All pages.
    pub fn pages(&self) -> usize {
        self.header_pages() + self.payload_pages as usize
    }

    /// Whether every payload page checks. `payload` is what lies behind the header pages.
    pub fn payload_checks(&self, payload: &[u8]) -> bool {
        self.records.iter().all(|record| {
            let start = record.payload_page as usize * PAGE_BYTES;
            let end = start + usize::from(record.payload_pages) * PAGE_BYTES;
            payload
                .get(start..end)
                .is_some_and(|bytes| record_checks(record, bytes))
        })
    }
}

/// Whether a record's payload bytes agree with its checksums.
pub fn record_checks(record: &RecordHeader, bytes: &[u8]) -> bool {
    match record.kind {
        RecordKind::Image | RecordKind::Delta => bytes
            .chunks(PAGE_BYTES)
            .zip(record.checksums)
            .all(|(page, expected)| checksum(page) == expected),
        _ => bytes.is_empty() || checksum(bytes) == record.checksums[0],
    }
}

impl FrameHeader {
    fn check(&self) -> Result<(), FrameError> {
        if self.magic != FRAME_MAGIC {
            return Err(FrameError::NoFrame);
        }
        if self.computed_checksum() != self.checksum.get() {
            return Err(FrameError::Header);
        }
        if self.version.get() != FRAME_VERSION {
            return Err(FrameError::Version(self.version.get()));
        }
        let payload_bytes = self.payload_pages.get() as usize * PAGE_BYTES;
        let too_large = self.records.get() as usize > limits::FRAME_RECORDS
            || payload_bytes > limits::FRAME_PAYLOAD_BYTES;
        if too_large {
            Err(FrameError::Contradiction)
        } else {
            Ok(())
        }
    }

    fn identity(&self) -> FrameIdentity {
        FrameIdentity {
            volume: VolumeId(self.volume),
            node: NodeId(self.node.get()),
            incarnation: Incarnation(self.incarnation.get()),
            extent: ExtentSequence(self.extent.get()),
            page: self.page.get(),
            number: self.frame_number.get(),
        }
    }

    fn stamp(&self) -> FrameStamp {
        FrameStamp {
            epoch: VolumeEpoch {
                number: self.epoch_number.get(),
                writer: self.epoch_writer.get(),
            },
            vdl: Lsn(self.vdl.get()),
            wall_time_ns: self.wall_time_ns.get(),
        }
    }
}

/// Payload pages that a frame may carry in extents of so many bytes.
pub fn payload_pages_limit(extent_bytes: u32) -> usize {
    pages_for(limits::BATCH_BYTES).min(extent_bytes as usize / 8 / PAGE_BYTES)
}

/// Payload pages that a frame of copied leaves may carry in extents of so many bytes.
pub fn payload_pages_of_copies(extent_bytes: u32) -> usize {
    pages_for(limits::FRAME_PAYLOAD_BYTES).min(extent_bytes as usize / 8 / PAGE_BYTES)
}

/// Payload pages that a single record's frame may carry at most in extents of so many bytes.
pub fn payload_pages_longest(extent_bytes: u32) -> usize {
    pages_for(limits::BATCH_BYTES).min(extent_bytes as usize / 2 / PAGE_BYTES)
}
