//! A node's superblock: two slots, written in turn, the valid one with the higher sequence counts.

use crate::config::{NodeEntry, VolumeConfig, ZONES};
use crate::format::checksum::checksum;
use crate::format::index_page::Location;
use crate::geometry::Geometry;
use crate::ids::{
    ExtentSequence, ExtentSlot, GroupId, Incarnation, NodeId, VolumeEpoch, VolumeId, ZoneId,
};
use crate::limits;
use crate::lsn::{Lsn, TruncationList, TruncationRange};
use crate::page::{PAGE_BYTES, PageBuf};
use crate::placement::Relocation;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of a slot.
pub const SUPERBLOCK_MAGIC: [u8; 8] = *b"RDBTSUP\x01";
/// Newest version of the layout. A node of a higher version is refused and left untouched.
pub const SUPERBLOCK_VERSION: u16 = 2;
/// Version of a superblock without a [`RelocationRow`]: that of a volume to which no nodes have come
/// and of which none was emptied.
const VERSION_OF_ONE_TABLE: u16 = 1;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 64 * 1024;
/// Slots.
pub const SLOTS: usize = 2;
/// Most nodes of a volume: what a slot has room for.
pub const MAX_NODES: usize = 768;

/// What a node knows of itself and must never forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Rises with every write.
    pub sequence: u64,
    /// Which node of the volume this is.
    pub node: NodeId,
    /// The life of this directory.
    pub incarnation: Incarnation,
    /// The epoch that the node promised: older writers are refused.
    pub promised: VolumeEpoch,
    /// The truncation ranges that the node holds, with the epoch of their recovery.
    pub list: TruncationList,
    /// The newest configuration that the node was told.
    pub config: VolumeConfig,
    /// The directory was made to replace another and has not yet marked what it lacks: it counts
    /// in no quorum.
    pub fresh: bool,
    /// The parts of the newest checkpoint's root; empty before the first.
    pub checkpoint: Vec<RootPart>,
}

/// Where a part of a checkpoint's root lies. It names the file too: nothing else says which file
/// holds which extent before the root is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootPart {
    /// The extent's file.
    pub slot: ExtentSlot,
    /// The part's pages; the frame that carries it, and nothing else, begins one page before.
    pub at: Location,
}

/// Why a slot is no superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// No superblock, or one that does not check.
    #[error("no superblock that checks")]
    Damaged,
    /// One of a newer version.
    #[error(
        "the superblock has format version {0}; this program knows versions up to {SUPERBLOCK_VERSION}"
    )]
    Newer(u16),
}

/// Fixed part of a slot.
///
/// ```text
///  at  bytes  field
///   0      8  magic "RDBTSUP" 1
///   8      2  version
///  10      2  node
///  12      4  bytes behind this head
///  16      8  sequence
///  24     16  volume
///  40      8  incarnation
///  48     16  promised epoch: number, writer
///  64     16  epoch of the range list: number, writer
///  80      8  version of the configuration
///  88      8  bytes of the disk
///  96      4  blocks of a group
/// 100      4  groups of a stripe set
/// 104      4  bytes of a log extent
/// 108      4  nodes
/// 112      4  truncation ranges
/// 116      4  parts of the checkpoint's root
/// 120      4  flags: 1 fresh
/// 124      4  checksum of head (this field zero) and body
/// ```
/// Behind it the rows: nodes, truncation ranges, parts of the checkpoint's root, and in version 2 a
/// relocation.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SuperblockHead {
    magic: [u8; 8],
    version: U16,
    node: U16,
    body_bytes: U32,
    sequence: U64,
    volume: [u8; 16],
    incarnation: U64,
    promised_number: U64,
    promised_writer: U64,
    list_number: U64,
    list_writer: U64,
    config_version: U64,
    disk_bytes: U64,
    group_blocks: U32,
    width: U32,
    extent_bytes: U32,
    nodes: U32,
    ranges: U32,
    checkpoint_parts: U32,
    flags: U32,
    checksum: U32,
}

const _: () = assert!(size_of::<SuperblockHead>() == 128);

/// A row of the node table.
///
/// ```text
/// at  bytes  field
///  0      4  zone
///  4      4  flags: 1 not in the former node table, 2 not in the current one
///  8      8  incarnation
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct NodeRow {
    zone: U32,
    flags: U32,
    incarnation: U64,
}

const NOT_IN_FORMER: u32 = 1;
const NOT_IN_CURRENT: u32 = 2;

/// How far the volume has come from its former node table to the current one.
///
/// ```text
/// at  bytes  field
///  0      8  steps that are done
///  8      4  first group that the current table alone places
/// 12      4  flags: 1 segments move, 2 segments have moved before
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RelocationRow {
    done_steps: U64,
    first_new: U32,
    flags: U32,
}

const MOVES: u32 = 1;
const HAS_MOVED: u32 = 2;

/// A truncation range.
///
/// ```text
/// at  bytes  field
///  0      8  first annulled LSN
///  8      8  last annulled LSN
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RangeRow {
    low: U64,
    high: U64,
}

/// A part of the checkpoint's root.
///
/// ```text
/// at  bytes  field
///  0      4  number of the extent's file
///  4      4  extent sequence
///  8      4  first page in the extent
/// 12      4  pages
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct PartRow {
    slot: U32,
    extent: U32,
    page: U32,
    pages: U32,
}

/// Most parts of a checkpoint's root.
pub const MAX_CHECKPOINT_PARTS: usize = 1024;

const _: () = assert!(
    size_of::<SuperblockHead>()
        + MAX_NODES * size_of::<NodeRow>()
        + limits::TRUNCATION_RANGES * size_of::<RangeRow>()
        + MAX_CHECKPOINT_PARTS * size_of::<PartRow>()
        + size_of::<RelocationRow>()
        <= SLOT_BYTES
);

impl Superblock {
    /// That of a new directory, which has promised and logged nothing.
    pub fn new(
        config: &VolumeConfig,
        node: NodeId,
        incarnation: Incarnation,
        fresh: bool,
    ) -> Superblock {
        Superblock {
            sequence: 1,
            node,
            incarnation,
            promised: VolumeEpoch::default(),
            list: TruncationList::default(),
            config: config.clone(),
            fresh,
            checkpoint: Vec::new(),
        }
    }

    /// The slot that this superblock's sequence is written to.
    pub fn slot(&self) -> usize {
        (self.sequence % SLOTS as u64) as usize
    }

    /// The bytes of the slot.
    pub fn encode(&self) -> PageBuf {
        let mut head = self.head();
        let mut body = Vec::new();
        for entry in &self.config.nodes {
            body.extend_from_slice(NodeRow::of(entry).as_bytes());
        }
        for range in &self.list.ranges {
            let row = RangeRow {
                low: range.low.0.into(),
                high: range.high.0.into(),
            };
            body.extend_from_slice(row.as_bytes());
        }
        for part in &self.checkpoint {
            let row = PartRow {
                slot: part.slot.0.into(),
                extent: part.at.extent.0.into(),
                page: part.at.page.into(),
                pages: part.at.pages.into(),
            };
            body.extend_from_slice(row.as_bytes());
        }
        if !self.config.has_all_nodes_in_one_table() || self.config.relocation.has_moved {
            head.version = SUPERBLOCK_VERSION.into();
            body.extend_from_slice(RelocationRow::of(&self.config.relocation).as_bytes());
        }
        head.body_bytes = (body.len() as u32).into();
        head.checksum = head.computed_checksum(&body).into();
        let mut slot = PageBuf::zeroed(SLOT_BYTES / PAGE_BYTES);
        let (head_bytes, rest) = slot.bytes_mut().split_at_mut(size_of::<SuperblockHead>());
        head_bytes.copy_from_slice(head.as_bytes());
        rest[..body.len()].copy_from_slice(&body);
        slot
    }

    fn head(&self) -> SuperblockHead {
        let mut head = SuperblockHead::new_zeroed();
        head.magic = SUPERBLOCK_MAGIC;
        head.version = VERSION_OF_ONE_TABLE.into();
        head.node = self.node.0.into();
        head.sequence = self.sequence.into();
        head.volume = self.config.volume.0;
        head.incarnation = self.incarnation.0.into();
        head.promised_number = self.promised.number.into();
        head.promised_writer = self.promised.writer.into();
        head.list_number = self.list.epoch.number.into();
        head.list_writer = self.list.epoch.writer.into();
        head.config_version = self.config.version.into();
        head.disk_bytes = self.config.disk_bytes.into();
        head.group_blocks = self.config.geometry.group_blocks.into();
        head.width = self.config.geometry.width.into();
        head.extent_bytes = self.config.extent_bytes.into();
        head.nodes = (self.config.nodes.len() as u32).into();
        head.ranges = (self.list.ranges.len() as u32).into();
        head.checkpoint_parts = (self.checkpoint.len() as u32).into();
        head.flags = u32::from(self.fresh).into();
        head
    }

    /// The newer of the slots of a superblock file.
    ///
    /// # Errors
    /// [`SuperblockError`] when no slot counts.
    pub fn newest(file: &[u8]) -> Result<Superblock, SuperblockError> {
        Superblock::newest_of(file.chunks(SLOT_BYTES).take(SLOTS).map(Superblock::decode))
    }

    /// The newer of slots that were decoded.
    ///
    /// # Errors
    /// [`SuperblockError`] when no slot counts.
    pub fn newest_of(
        slots: impl Iterator<Item = Result<Superblock, SuperblockError>>,
    ) -> Result<Superblock, SuperblockError> {
        let (mut newest, mut failure) = (None::<Superblock>, SuperblockError::Damaged);
        for slot in slots {
            match slot {
                Ok(found)
                    if newest
                        .as_ref()
                        .is_none_or(|best| best.sequence < found.sequence) =>
                {
                    newest = Some(found);
                }
                Err(SuperblockError::Newer(version)) => failure = SuperblockError::Newer(version),
                _ => {}
            }
        }
        match failure {
            SuperblockError::Newer(_) => Err(failure),
            SuperblockError::Damaged => newest.ok_or(failure),
        }
    }

    /// Decodes one slot.
    ///
    /// # Errors
    /// [`SuperblockError`] when it is none.
    pub fn decode(slot: &[u8]) -> Result<Superblock, SuperblockError> {
        let (head, rest) =
            SuperblockHead::read_from_prefix(slot).map_err(|_| SuperblockError::Damaged)?;
        if head.magic != SUPERBLOCK_MAGIC {
            return Err(SuperblockError::Damaged);
        }
        let body = rest
            .get(..head.body_bytes.get() as usize)
            .ok_or(SuperblockError::Damaged)?;
        if head.computed_checksum(body) != head.checksum.get() {
            return Err(SuperblockError::Damaged);
        }
        // Only now: a damaged slot must not pass for one of a newer program.
        match head.version.get() {
            VERSION_OF_ONE_TABLE..=SUPERBLOCK_VERSION => {}
            newer if newer > SUPERBLOCK_VERSION => return Err(SuperblockError::Newer(newer)),
            _ => return Err(SuperblockError::Damaged),
        }
        head.decode_body(body).ok_or(SuperblockError::Damaged)
    }
}

impl SuperblockHead {
    fn computed_checksum(&self, body: &[u8]) -> u32 {
        let mut blank = *self;
        blank.checksum = 0.into();
        let mut bytes = blank.as_bytes().to_vec();
        bytes.extend_from_slice(body);
        checksum(&bytes)
    }

    fn decode_body(&self, body: &[u8]) -> Option<Superblock> {
        let count = |field: U32| field.get() as usize;
        if count(self.nodes) > MAX_NODES
            || count(self.ranges) > limits::TRUNCATION_RANGES
            || count(self.checkpoint_parts) > MAX_CHECKPOINT_PARTS
        {
            return None;
        }
        let (nodes, rest) =
            <[NodeRow]>::ref_from_prefix_with_elems(body, count(self.nodes)).ok()?;
        let (ranges, rest) =
            <[RangeRow]>::ref_from_prefix_with_elems(rest, count(self.ranges)).ok()?;
        let (parts, rest) =
            <[PartRow]>::ref_from_prefix_with_elems(rest, count(self.checkpoint_parts)).ok()?;
        let (relocation, rest) = match self.version.get() {
            VERSION_OF_ONE_TABLE => (Relocation::default(), rest),
            _ => {
                let (row, rest) = RelocationRow::read_from_prefix(rest).ok()?;
                (row.decode()?, rest)
            }
        };
        let config = self.decode_config(nodes, relocation)?;
        let checkpoint = parts
            .iter()
            .map(|part| part.decode(config.extent_bytes))
            .collect::<Option<_>>()?;
        let usable = rest.is_empty() && usize::from(self.node.get()) < nodes.len();
        usable.then(|| Superblock {
            sequence: self.sequence.get(),
            node: NodeId(self.node.get()),
            incarnation: Incarnation(self.incarnation.get()),
            promised: epoch(self.promised_number, self.promised_writer),
            list: TruncationList {
                epoch: epoch(self.list_number, self.list_writer),
                ranges: ranges.iter().map(RangeRow::decode).collect(),
            },
            config,
            fresh: self.flags.get() & 1 != 0,
            checkpoint,
        })
    }

    fn decode_config(&self, nodes: &[NodeRow], relocation: Relocation) -> Option<VolumeConfig> {
        let group_bytes = u64::from(self.group_blocks.get()) * crate::geometry::BLOCK_BYTES as u64;
        let config = VolumeConfig {
            version: self.config_version.get(),
            volume: VolumeId(self.volume),
            disk_bytes: self.disk_bytes.get(),
            geometry: Geometry::new(group_bytes, self.width.get())?,
            extent_bytes: self.extent_bytes.get(),
            nodes: nodes.iter().map(NodeRow::decode).collect::<Option<_>>()?,
            relocation,
        };
        let mut zones = config.nodes.iter().map(|entry| entry.zone.0);
        let extent_fits = config.extent_bytes.is_power_of_two()
            && (1 << 20..=128 << 20).contains(&config.extent_bytes);
        (extent_fits
            && config.can_place()
            && config.disk_bytes <= crate::geometry::MAX_DISK_BYTES
            && zones.all(|zone| usize::from(zone) < ZONES))
        .then_some(config)
    }
}

fn epoch(number: U64, writer: U64) -> VolumeEpoch {
    VolumeEpoch {
        number: number.get(),
        writer: writer.get(),
    }
}

impl NodeRow {
    fn of(entry: &NodeEntry) -> NodeRow {
        let former = u32::from(!entry.in_former) * NOT_IN_FORMER;
        let current = u32::from(!entry.in_current) * NOT_IN_CURRENT;
        NodeRow {
            zone: u32::from(entry.zone.0).into(),
            flags: (former | current).into(),
            incarnation: entry.incarnation.0.into(),
        }
    }

    fn decode(&self) -> Option<NodeEntry> {
        let is_known = self.flags.get() & !(NOT_IN_FORMER | NOT_IN_CURRENT) == 0;
        is_known.then_some(NodeEntry {
            zone: ZoneId(u8::try_from(self.zone.get()).ok()?),
            incarnation: Incarnation(self.incarnation.get()),
            in_former: self.flags.get() & NOT_IN_FORMER == 0,
            in_current: self.flags.get() & NOT_IN_CURRENT == 0,
        })
    }
}

impl RelocationRow {
    fn of(relocation: &Relocation) -> RelocationRow {
        let moves = u32::from(relocation.moves) * MOVES;
        let has_moved = u32::from(relocation.has_moved) * HAS_MOVED;
        RelocationRow {
            done_steps: relocation.done_steps.into(),
            first_new: relocation.first_new.0.into(),
            flags: (moves | has_moved).into(),
        }
    }

    fn decode(&self) -> Option<Relocation> {
        (self.flags.get() & !(MOVES | HAS_MOVED) == 0).then_some(Relocation {
            done_steps: self.done_steps.get(),
            first_new: GroupId(self.first_new.get()),
            moves: self.flags.get() & MOVES != 0,
            has_moved: self.flags.get() & HAS_MOVED != 0,
        })
    }
}

impl RangeRow {
    fn decode(&self) -> TruncationRange {
        TruncationRange {
            low: Lsn(self.low.get()),
            high: Lsn(self.high.get()),
        }
    }
}

impl PartRow {
    /// The part, if it lies inside an extent of so many bytes with a page before it.
    fn decode(&self, extent_bytes: u32) -> Option<RootPart> {
        let at = Location {
            extent: ExtentSequence(self.extent.get()),
            page: self.page.get(),
            pages: self.pages.get(),
        };
        let extent_pages = extent_bytes / PAGE_BYTES as u32;
        let end = at.page.checked_add(at.pages)?;
        (at.page > 0 && end <= extent_pages).then_some(RootPart {
            slot: ExtentSlot(self.slot.get()),
            at,
        })
    }
}
