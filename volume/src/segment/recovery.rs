//! Opening a node from its own directory: superblock, checkpoint, then the tail of the log.
//!
//! The cost is what was logged since the last checkpoint, not the size of the volume. Nothing is
//! cut here: a node reports its tail, and only the volume's recovery decides (law 5).

use crate::format::checkpoint_root::{CheckpointRoot, ExtentState, decode_root};
use crate::format::index_page::Location;
use crate::format::log_frame::DecodedFrame;
use crate::format::superblock::{RootPart, Superblock};
use crate::ids::{ExtentSequence, ExtentSlot};
use crate::page::{PAGE_BYTES, PageBuf, Pages, pages_for};
use crate::planted::{Bug, is_planted};
use crate::segment::effect::DiskError;
use crate::segment::lsn_chain::Segment;
use crate::segment::node::Node;
use crate::segment::plausible;
use crate::segment::replay::{FRAME_SEARCH_PAGES, Replay, Window};
use crate::segment::tombstone::Tombstones;
use std::collections::BTreeMap;

/// Reading a node's log files while it is being opened.
pub trait LogReader {
    /// The extent files and their lengths in bytes.
    ///
    /// # Errors
    /// [`DiskError`] when the disk does not list them: no answer is not the answer "none".
    fn extents(&self) -> Result<Vec<(ExtentSlot, u64)>, DiskError>;

    /// Appends pages of a file from a byte offset on to `target`; what lies past the file's end
    /// reads as zeros.
    ///
    /// # Errors
    /// [`DiskError`] when the disk does not give them; `target` may then hold anything.
    fn read(
        &self,
        slot: ExtentSlot,
        offset: u64,
        pages: usize,
        target: &mut PageBuf,
    ) -> Result<(), DiskError>;

    /// Reads pages into memory of their own.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    fn read_apart(
        &self,
        slot: ExtentSlot,
        offset: u64,
        pages: usize,
    ) -> Result<PageBuf, DiskError> {
        let mut target = PageBuf::with_capacity(pages);
        self.read(slot, offset, pages, &mut target)?;
        Ok(target)
    }

    /// Puts the superblock and the names of all files on stable storage, as they were found.
    ///
    /// # Errors
    /// [`DiskError`] when the disk does not.
    fn sync_found(&mut self) -> Result<(), DiskError>;

    /// Puts what the file holds on stable storage.
    ///
    /// # Errors
    /// [`DiskError`] when the disk does not.
    fn sync(&mut self, slot: ExtentSlot) -> Result<(), DiskError>;
}

/// Why a node's directory cannot be used: it must be rebuilt from its peers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A number in the superblock cannot be.
    #[error("its superblock contradicts itself")]
    Superblock,
    /// The checkpoint's root does not check.
    #[error("the index checkpoint is damaged")]
    Checkpoint,
    /// A directory page of the index does not check.
    #[error("the index is damaged")]
    Index,
    /// The disk does not give the log.
    #[error("the log cannot be read")]
    Log,
}

impl Node {
    /// Opens a node. `superblock` is the newest of its superblock file.
    ///
    /// # Errors
    /// [`OpenError`] when its directory is too damaged to prove anything.
    pub fn open(
        superblock: Superblock,
        reader: &mut dyn LogReader,
        index_bytes: usize,
    ) -> Result<Node, OpenError> {
        if !plausible::superblock(&superblock) {
            return Err(OpenError::Superblock);
        }
        // A process that died before its sync left a superblock that counts from now on, and may
        // have left files whose names a power cut takes, with all that is appended to them.
        if !is_planted(Bug::ReplayNotSynced) {
            reader.sync_found().map_err(|_| OpenError::Log)?;
        }
        let mut node = Node::new(superblock, index_bytes);
        let root = node.read_root(reader)?;
        node.adopt_checkpoint(&root, reader)?;
        node.adopt_extents(&root, reader)?;
        let mut replay = Replay::new(&root);
        // Discards met in the replay must not be overtaken by older local records behind them.
        node.rewrites_in_flight = 1;
        replay.run(&mut node, reader)?;
        // What was found may have been written by a process that died before its sync. It is
        // counted from now on, so it must be there after the next power cut, too (law 1).
        for slot in replay
            .slots
            .into_iter()
            .filter(|_| !is_planted(Bug::ReplayNotSynced))
        {
            reader.sync(slot).map_err(|_| OpenError::Log)?;
        }
        node.rewrites_in_flight = 0;
        node.tombstones = Tombstones::default();
        node.replay_low = replay.low;
        node.append.resume(replay.next_number);
        node.checkpoint.resume(root.number);
        node.checkpoint.log_bytes = replay.bytes;
        if let Some(end) = replay.end {
            node.log.resume(end);
        }
        Ok(node)
    }

    fn read_root(&self, reader: &dyn LogReader) -> Result<CheckpointRoot, OpenError> {
        let parts = &self.superblock.checkpoint;
        if parts.is_empty() {
            return Ok(CheckpointRoot {
                local_from_frame: 1,
                replay_frame: 1,
                ..Default::default()
            });
        }
        let mut bytes = PageBuf::default();
        for part in parts {
            bytes.extend_padded(self.read_root_part(reader, part)?.bytes());
        }
        decode_root(&self.index_identity(), bytes.bytes())
            .filter(|root| plausible::root(self.config(), root))
            .ok_or(OpenError::Checkpoint)
    }

    /// A part of the root with its frame before it, which proves that this is the part meant and
    /// not what an older extent in the same file left there.
    fn read_root_part(&self, reader: &dyn LogReader, part: &RootPart) -> Result<Pages, OpenError> {
        let page = part.at.page.checked_sub(1).ok_or(OpenError::Checkpoint)?;
        let location = Location {
            page,
            pages: part.at.pages + 1,
            ..part.at
        };
        let pages = read_at(reader, part.slot, location)?.share();
        let frame = DecodedFrame::decode(pages.bytes()).map_err(|_| OpenError::Checkpoint)?;
        let payload = pages.slice(1, part.at.pages as usize);
        let is_meant = self.is_own(&frame)
            && frame.identity.extent == part.at.extent
            && frame.identity.page == page
            && frame.payload_pages == part.at.pages
            && frame.payload_checks(payload.bytes());
        is_meant.then_some(payload).ok_or(OpenError::Checkpoint)
    }

    /// The extent that a file of so many bytes holds, as its first good frame tells. When the very
    /// first does not check it may have been there all the same: those behind it are asked.
    fn extent_in(
        &self,
        reader: &dyn LogReader,
        slot: ExtentSlot,
        bytes: u64,
    ) -> Result<Option<ExtentSequence>, OpenError> {
        let bytes = bytes.min(self.config().extent_bytes.into());
        let end_page = pages_for(bytes as usize) as u32;
        let mut window = Window::new(reader, slot, end_page);
        for page in 0..end_page.min(FRAME_SEARCH_PAGES) {
            let frame = window.header_at(page)?.filter(|frame| {
                self.is_own(frame)
                    && frame.identity.page == page
                    && plausible::frame(self.config(), frame)
            });
            if let Some(frame) = frame {
                return Ok(Some(frame.identity.extent));
            }
        }
        Ok(None)
    }

    pub(super) fn is_own(&self, frame: &DecodedFrame) -> bool {
        frame.identity.volume == self.config().volume
            && frame.identity.node == self.superblock.node
            && frame.identity.incarnation == self.superblock.incarnation
    }

    fn adopt_checkpoint(
        &mut self,
        root: &CheckpointRoot,
        reader: &dyn LogReader,
    ) -> Result<(), OpenError> {
        self.announced = root.announced;
        for state in &root.groups {
            let mut segment = Segment::new(state.applied, state.complete);
            segment.keep(state.kept);
            self.segments.insert(state.group, segment);
        }
        let slots: BTreeMap<ExtentSequence, ExtentSlot> = root
            .extents
            .iter()
            .map(|state| (state.sequence, state.slot))
            .collect();
        for state in root.extents.iter().filter(|state| state.sequence.0 != 0) {
            self.usage.add(state.sequence, state.live_bytes);
        }
        // The root was encoded before its own place was known.
        for part in &self.superblock.checkpoint {
            self.usage.add(part.at.extent, part.at.bytes());
        }
        let identity = self.index_identity();
        for (group, number, page) in &root.directories {
            let slot = slots.get(&page.at.extent).ok_or(OpenError::Index)?;
            let bytes = read_at(reader, *slot, page.at)?;
            self.index
                .load_directory(
                    &identity,
                    *group,
                    *number,
                    *page,
                    root.announced,
                    bytes.bytes(),
                )
                .map_err(|_| OpenError::Index)?;
        }
        Ok(())
    }

    /// Tells the log which files there are. A file that the checkpoint names as in use still is;
    /// one that was free, or is new, may hold an extent of the tail.
    fn adopt_extents(
        &mut self,
        root: &CheckpointRoot,
        reader: &dyn LogReader,
    ) -> Result<(), OpenError> {
        let known: BTreeMap<ExtentSlot, ExtentState> = root
            .extents
            .iter()
            .map(|state| (state.slot, *state))
            .collect();
        let newest = root
            .extents
            .iter()
            .map(|state| state.sequence)
            .max()
            .unwrap_or_default();
        for state in &root.extents {
            self.log.retire(state.slot);
        }
        let files = reader.extents().map_err(|_| OpenError::Log)?;
        let is_there = |state: &ExtentState| files.iter().any(|(slot, _)| *slot == state.slot);
        if !root
            .extents
            .iter()
            .filter(|state| state.sequence.0 != 0)
            .all(is_there)
        {
            return Err(OpenError::Log);
        }
        for (slot, bytes) in files {
            let mut state = known.get(&slot).copied();
            if state.is_none_or(|state| state.sequence.0 == 0) {
                let tail = self
                    .extent_in(reader, slot, bytes)?
                    .filter(|extent| *extent > newest);
                let written_pages = state.map_or(0, |state| state.written_pages);
                state = Some(ExtentState {
                    slot,
                    sequence: tail.unwrap_or_default(),
                    live_bytes: 0,
                    written_pages,
                });
            }
            self.log.adopt(slot, bytes, state);
        }
        Ok(())
    }
}

fn read_at(
    reader: &dyn LogReader,
    slot: ExtentSlot,
    location: Location,
) -> Result<PageBuf, OpenError> {
    let offset = u64::from(location.page) * PAGE_BYTES as u64;
    reader
        .read_apart(slot, offset, location.pages as usize)
        .map_err(|_| OpenError::Log)
}
