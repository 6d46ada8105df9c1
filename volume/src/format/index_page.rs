//! Pages of a node's block index as they lie in its log: the head that all of them share, leaf and
//! directory. The root is in [`checkpoint_root`](crate::format::checkpoint_root).
//!
//! A leaf lists the fragments of 64 blocks (1 MiB of disk); a directory locates up to
//! [`DIRECTORY_LEAVES`] leaves of one group.

use crate::format::checksum::checksum;
use crate::geometry::{BLOCK_BYTES, BLOCKS_PER_UNIT, PAGES_PER_BLOCK};
use crate::ids::{ExtentSequence, GroupId, Incarnation, NodeId, VolumeId};
use crate::lsn::Lsn;
use crate::page::{PAGE_BYTES, PageBuf};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version of the three layouts.
pub const INDEX_VERSION: u16 = 2;
/// Blocks of a leaf.
pub const LEAF_BLOCKS: u32 = BLOCKS_PER_UNIT;
/// Leaves of a directory page.
pub const DIRECTORY_LEAVES: usize = (PAGE_BYTES - HEAD_BYTES) / size_of::<LeafRow>();
const HEAD_BYTES: usize = 64;

/// Which page of which node's index this is; checked on every read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexIdentity {
    /// The volume.
    pub volume: VolumeId,
    /// The node.
    pub node: NodeId,
    /// The life of its directory.
    pub incarnation: Incarnation,
}

/// What kind of index page it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum IndexPageKind {
    /// Fragments of 64 blocks.
    Leaf = 1,
    /// Locations of leaves.
    Directory = 2,
    /// A checkpoint's root.
    Root = 3,
}

/// Where some pages lie in the log; sequence zero means nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The extent.
    pub extent: ExtentSequence,
    /// First page in the extent.
    pub page: u32,
    /// Pages.
    pub pages: u32,
}

impl Location {
    /// Whether it is a place at all.
    pub fn is_some(&self) -> bool {
        self.extent.0 != 0
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) * PAGE_BYTES as u64
    }
}

/// A leaf or directory as the page above it names it. The checksum is that of all its bytes: an
/// older page of the same leaf, where a read was misdirected or a write lost, is not taken for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageRef {
    /// Where it lies.
    pub at: Location,
    /// Checksum of its pages.
    pub checksum: u32,
}

impl PageRef {
    /// Whether there is such a page.
    pub fn is_some(&self) -> bool {
        self.at.is_some()
    }

    /// Whether these are its bytes.
    pub fn is(&self, bytes: &[u8]) -> bool {
        checksum(bytes) == self.checksum
    }
}

/// A piece of one block's content in the log: what one record says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The record's LSN (of a folded image: the newest that it contains).
    pub lsn: Lsn,
    /// Extent of the payload.
    pub extent: ExtentSequence,
    /// First payload page in the extent.
    pub page: u32,
    /// First byte of the block that it gives.
    pub start: u16,
    /// End of these bytes.
    pub end: u16,
    /// Block in the leaf, 0..64.
    pub block: u8,
    /// Checksums of its payload pages.
    pub checksums: [u32; PAGES_PER_BLOCK],
}

impl Fragment {
    /// Payload pages.
    pub fn pages(&self) -> u32 {
        let first = usize::from(self.start) / PAGE_BYTES;
        (usize::from(self.end).div_ceil(PAGE_BYTES) - first) as u32
    }

    /// First page of the block that its payload holds.
    pub fn first_page(&self) -> u32 {
        (usize::from(self.start) / PAGE_BYTES) as u32
    }

    /// Whether it gives the whole block.
    pub fn is_image(&self) -> bool {
        self.start == 0 && usize::from(self.end) == BLOCK_BYTES
    }
}

/// First 64 bytes of every index page.
///
/// ```text
/// at  bytes  field
///  0      8  magic "RDBTIDX" 1
///  8      2  version
/// 10      2  kind: 1 leaf, 2 directory, 3 root
/// 12      2  node
/// 14      2  reserved, zero
/// 16     16  volume
/// 32      8  incarnation of the node's directory
/// 40      4  group (root: 0)
/// 44      4  number of the leaf or directory in the group (root: 0)
/// 48      4  bytes behind this head
/// 52      8  reserved, zero
/// 60      4  checksum of head (this field zero) and body
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct IndexHead {
    magic: [u8; 8],
    version: U16,
    kind: U16,
    node: U16,
    reserved_16: U16,
    volume: [u8; 16],
    incarnation: U64,
    group: U32,
    number: U32,
    body_bytes: U32,
    reserved: [u8; 8],
    checksum: U32,
}

const _: () = assert!(size_of::<IndexHead>() == HEAD_BYTES);
const INDEX_MAGIC: [u8; 8] = *b"RDBTIDX\x01";

/// A leaf's row: one fragment.
///
/// ```text
/// at  bytes  field
///  0      8  LSN
///  8      4  extent sequence
/// 12      4  first payload page in the extent
/// 16      2  first byte of the block
/// 18      2  end of the bytes
/// 20      1  block in the leaf
/// 21      3  reserved, zero
/// 24     16  four page checksums
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FragmentRow {
    lsn: U64,
    extent: U32,
    page: U32,
    start: U16,
    end: U16,
    block: u8,
    reserved: [u8; 3],
    checksums: [U32; PAGES_PER_BLOCK],
}

const _: () = assert!(size_of::<FragmentRow>() == 40);

/// A directory's row; all zero where there is no leaf.
///
/// ```text
/// at  bytes  field
///  0      4  extent sequence
///  4      2  first page in the extent
///  6      2  pages
///  8      4  checksum of the pages
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct LeafRow {
    extent: U32,
    page: U16,
    pages: U16,
    checksum: U32,
}

/// The pages of an index page with this body.
pub(super) fn seal(
    identity: &IndexIdentity,
    kind: IndexPageKind,
    group: GroupId,
    number: u32,
    body: &[u8],
) -> PageBuf {
    let mut head = IndexHead {
        magic: INDEX_MAGIC,
        version: INDEX_VERSION.into(),
        kind: (kind as u16).into(),
        node: identity.node.0.into(),
        reserved_16: 0.into(),
        volume: identity.volume.0,
        incarnation: identity.incarnation.0.into(),
        group: group.0.into(),
        number: number.into(),
        body_bytes: (body.len() as u32).into(),
        reserved: [0; 8],
        checksum: 0.into(),
    };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(body);
    head.checksum = checksum(&bytes).into();
    bytes[..HEAD_BYTES].copy_from_slice(head.as_bytes());
    PageBuf::from_bytes(&bytes)
}

/// The body of an index page, if the page is what it should be and checks.
pub(super) fn open<'a>(
    identity: &IndexIdentity,
    kind: IndexPageKind,
    group: GroupId,
    number: u32,
    bytes: &'a [u8],
) -> Option<&'a [u8]> {
    let (head, _) = IndexHead::read_from_prefix(bytes).ok()?;
    let expected = head.magic == INDEX_MAGIC
        && head.version.get() == INDEX_VERSION
        && head.kind.get() == kind as u16
        && head.node.get() == identity.node.0
        && head.volume == identity.volume.0
        && head.incarnation.get() == identity.incarnation.0
        && head.group.get() == group.0
        && head.number.get() == number;
    let body = bytes.get(HEAD_BYTES..HEAD_BYTES.checked_add(head.body_bytes.get() as usize)?)?;
    if !expected {
        return None;
    }
    let mut blank = head;
    blank.checksum = 0.into();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(blank.as_bytes());
    hasher.update(body);
    (hasher.finalize() == head.checksum.get()).then_some(body)
}

/// The group and number that an index page claims: for tools that do not know what to expect.
pub fn peek(bytes: &[u8]) -> Option<(u16, GroupId, u32)> {
    let (head, _) = IndexHead::read_from_prefix(bytes).ok()?;
    (head.magic == INDEX_MAGIC).then(|| {
        (
            head.kind.get(),
            GroupId(head.group.get()),
            head.number.get(),
        )
    })
}

/// The pages of a leaf.
pub fn encode_leaf(
    identity: &IndexIdentity,
    group: GroupId,
    leaf: u32,
    fragments: &[Fragment],
) -> PageBuf {
    let rows: Vec<FragmentRow> = fragments.iter().map(FragmentRow::from).collect();
    seal(identity, IndexPageKind::Leaf, group, leaf, rows.as_bytes())
}

/// Pages that a leaf of so many fragments takes.
pub fn leaf_pages(fragments: usize) -> usize {
    (HEAD_BYTES + fragments * size_of::<FragmentRow>()).div_ceil(PAGE_BYTES)
}

/// The fragments of a leaf; `None` if it does not check.
pub fn decode_leaf(
    identity: &IndexIdentity,
    group: GroupId,
    leaf: u32,
    bytes: &[u8],
) -> Option<Vec<Fragment>> {
    let body = open(identity, IndexPageKind::Leaf, group, leaf, bytes)?;
    let rows = <[FragmentRow]>::ref_from_bytes(body).ok()?;
    rows.iter().map(FragmentRow::decode).collect()
}

impl From<&Fragment> for FragmentRow {
    fn from(fragment: &Fragment) -> FragmentRow {
        FragmentRow {
            lsn: fragment.lsn.0.into(),
            extent: fragment.extent.0.into(),
            page: fragment.page.into(),
            start: fragment.start.into(),
            end: fragment.end.into(),
            block: fragment.block,
            reserved: [0; 3],
            checksums: fragment.checksums.map(U32::from),
        }
    }
}

impl FragmentRow {
    fn decode(&self) -> Option<Fragment> {
        let fragment = Fragment {
            lsn: Lsn(self.lsn.get()),
            extent: ExtentSequence(self.extent.get()),
            page: self.page.get(),
            start: self.start.get(),
            end: self.end.get(),
            block: self.block,
            checksums: self.checksums.map(U32::get),
        };
        let fits = fragment.start < fragment.end
            && usize::from(fragment.end) <= BLOCK_BYTES
            && u32::from(fragment.block) < LEAF_BLOCKS
            && fragment.extent.0 != 0;
        fits.then_some(fragment)
    }
}

/// The page of a directory: where each of its leaves lies.
pub fn encode_directory(
    identity: &IndexIdentity,
    group: GroupId,
    directory: u32,
    leaves: &[PageRef],
) -> PageBuf {
    let row = |leaf: &PageRef| LeafRow {
        extent: leaf.at.extent.0.into(),
        page: (leaf.at.page as u16).into(),
        pages: (leaf.at.pages as u16).into(),
        checksum: leaf.checksum.into(),
    };
    let rows: Vec<LeafRow> = leaves.iter().map(row).collect();
    seal(
        identity,
        IndexPageKind::Directory,
        group,
        directory,
        rows.as_bytes(),
    )
}

/// The leaves of a directory, always [`DIRECTORY_LEAVES`]; `None` if it does not check.
pub fn decode_directory(
    identity: &IndexIdentity,
    group: GroupId,
    directory: u32,
    bytes: &[u8],
) -> Option<Vec<PageRef>> {
    let body = open(identity, IndexPageKind::Directory, group, directory, bytes)?;
    let rows = <[LeafRow]>::ref_from_bytes(body).ok()?;
    let leaf = |row: &LeafRow| PageRef {
        at: Location {
            extent: ExtentSequence(row.extent.get()),
            page: row.page.get().into(),
            pages: row.pages.get().into(),
        },
        checksum: row.checksum.get(),
    };
    (rows.len() == DIRECTORY_LEAVES).then(|| rows.iter().map(leaf).collect())
}

/// A point in a node's log, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPoint {
    /// The extent.
    pub extent: ExtentSequence,
    /// Page in the extent.
    pub page: u32,
}
