//! Where the next frame of a node's log goes: extents, their files, and the room in them.
//!
//! Extents are numbered by a sequence that never repeats; a file is used again for a new extent
//! when its old one is not needed any more. Frames go one after the other into the active extent
//! and never across its end. Space is allocated before it is written, so that a full file system
//! is met here and not by an append.

use crate::format::checkpoint_root::ExtentState;
use crate::format::index_page::LogPoint;
use crate::ids::{ExtentSequence, ExtentSlot};
use crate::limits;
use crate::page::PAGE_BYTES;
use std::collections::BTreeMap;

/// An extent file.
#[derive(Clone, Copy, Debug)]
struct ExtentFile {
    /// The extent in it; zero: free.
    sequence: ExtentSequence,
    /// Bytes allocated on disk.
    allocated: u64,
    /// Pages that have been written at least once: writing them again changes no metadata.
    written_pages: u32,
    /// The extent was there when the node was opened: its live bytes are a hint, not a proof.
    inherited: bool,
}

/// A frame's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The file.
    pub slot: ExtentSlot,
    /// Extent and page.
    pub point: LogPoint,
    /// All its pages were written before.
    pub overwrites: bool,
    /// Pages behind the frame to be written with zeros along with it.
    pub padding: u32,
}

/// An allocation to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The file.
    pub slot: ExtentSlot,
    /// Bytes from its start.
    pub bytes: u64,
}

/// Pages of zeros to write behind a small frame that goes to space never written before: the small
/// ones that follow overwrite them, and need no commit of the file system's journal each.
fn padding(pages: u32, end: u32, allocated: u64) -> u32 {
    let room = (allocated / PAGE_BYTES as u64) as u32 - end;
    if pages <= SMALL_FRAME_PAGES {
        room.min(PADDING_PAGES)
    } else {
        0
    }
}

/// A log that is not small has this many files at least.
const FILES: u64 = 8;

/// Frames up to this (128 KiB) are small.
const SMALL_FRAME_PAGES: u32 = 32;
/// Zeros written ahead of small frames: 1 MiB.
pub const PADDING_PAGES: u32 = 256;

/// Placement of frames in one node's extents.
#[derive(Debug)]
pub struct HotLog {
    extent_bytes: u64,
    files: BTreeMap<ExtentSlot, ExtentFile>,
    /// The files of the extents in use.
    slots: BTreeMap<ExtentSequence, ExtentSlot>,
    /// The extent that frames go to, and the next page in it.
    active: Option<(ExtentSlot, u32)>,
    next_sequence: ExtentSequence,
    /// No file had this slot or a higher one. A slot names one file for ever: what a checkpoint
    /// says of it can then not be said of another, and a late removal meets nothing new.
    next_slot: ExtentSlot,
    allocating: Option<Allocation>,
    /// Bytes that one allocation adds at most: halved when the file system below refuses.
    step_bytes: u64,
    /// The file system below refused even the smallest step.
    full: bool,
    /// It did, and was not asked again since.
    refused: bool,
    appended_bytes: u64,
    /// Of free files; kept, since it is asked at every step of the node.
    free_room: u64,
    total_bytes: u64,
    used_bytes: u64,
    longest_file: u64,
}

impl HotLog {
    /// A log without files.
    pub fn new(extent_bytes: u32) -> HotLog {
        HotLog {
            extent_bytes: u64::from(extent_bytes),
            files: BTreeMap::new(),
            slots: BTreeMap::new(),
            active: None,
            next_sequence: ExtentSequence(1),
            next_slot: ExtentSlot(0),
            allocating: None,
            step_bytes: u64::from(extent_bytes),
            full: false,
            refused: false,
            appended_bytes: 0,
            free_room: 0,
            total_bytes: 0,
            used_bytes: 0,
            longest_file: 0,
        }
    }

    /// Takes in a file found at open.
    pub fn adopt(&mut self, slot: ExtentSlot, bytes: u64, state: Option<ExtentState>) {
        let file = ExtentFile {
            sequence: state.map_or(ExtentSequence(0), |state| state.sequence),
            allocated: bytes.min(self.extent_bytes),
            written_pages: state.map_or(0, |state| state.written_pages),
            inherited: true,
        };
        self.files.insert(slot, file);
        self.retire(slot);
        if file.sequence.0 != 0 {
            self.slots.insert(file.sequence, slot);
        }
        // A sequence whose first frame was lost must not be given out again: leave room.
        self.next_sequence.0 = self.next_sequence.0.max(file.sequence.0 + 16);
        self.recount();
    }

    /// Gives out no slot up to this one for a new file.
    pub fn retire(&mut self, slot: ExtentSlot) {
        self.next_slot = self.next_slot.max(ExtentSlot(slot.0.saturating_add(1)));
    }

    /// Bytes lost at an extent's end to a frame that does not fit.
    fn frame_loss(&self) -> u64 {
        limits::BATCH_BYTES.min(self.extent_bytes as usize / 8) as u64 + 8 * PAGE_BYTES as u64
    }

    fn recount(&mut self) {
        let loss = self.frame_loss();
        let free = self.files.values().filter(|file| file.sequence.0 == 0);
        self.free_room = free.map(|file| file.allocated.saturating_sub(loss)).sum();
        self.total_bytes = self.files.values().map(|file| file.allocated).sum();
        let used = self.files.values().filter(|file| file.sequence.0 != 0);
        self.used_bytes = used.map(|file| file.allocated).sum();
        let lengths = self.files.values().map(|file| file.allocated);
        self.longest_file = lengths.max().unwrap_or(0);
    }

    /// Goes on behind the last frame found at open.
    pub fn resume(&mut self, point: LogPoint) {
        if let Some(slot) = self.slot_of(point.extent) {
            self.active = Some((slot, point.page));
            self.mark_written(slot, point.page);
        }
    }

    fn mark_written(&mut self, slot: ExtentSlot, end_page: u32) {
        if let Some(file) = self.files.get_mut(&slot) {
            file.written_pages = file.written_pages.max(end_page);
        }
    }

    /// The file of an extent.
    pub fn slot_of(&self, extent: ExtentSequence) -> Option<ExtentSlot> {
        self.slots.get(&extent).copied()
    }

    /// The point where the next frame would go, if there is an active extent.
    pub fn position(&self) -> Option<LogPoint> {
        let (slot, page) = self.active?;
        Some(LogPoint {
            extent: self.files.get(&slot)?.sequence,
            page,
        })
    }

    /// Whether a frame of so many pages would go into the active extent.
    pub fn goes_on_with(&self, pages: u32) -> bool {
        let file = self
            .active
            .and_then(|(slot, page)| Some((self.files.get(&slot)?, page)));
        file.is_some_and(|(file, page)| {
            u64::from(page + pages) * PAGE_BYTES as u64 <= file.allocated
        })
    }

    /// Places a frame of so many pages; `None` until there is room (see [`HotLog::wanted`]).
    pub fn place(&mut self, pages: u32) -> Option<Placement> {
        if let Some(placement) = self.place_in_active(pages) {
            return Some(placement);
        }
        // With room in other files nothing else would make the active one grow.
        let active_grows = self.active.is_some_and(|(slot, page)| {
            let end = u64::from(page + pages) * PAGE_BYTES as u64;
            let allocating = self.allocating.filter(|allocation| allocation.slot == slot);
            allocating.is_some_and(|allocation| end <= allocation.bytes)
        });
        if active_grows {
            return None;
        }
        self.activate_free(pages)?;
        self.place_in_active(pages)
    }

    fn place_in_active(&mut self, pages: u32) -> Option<Placement> {
        if !self.goes_on_with(pages) {
            return None;
        }
        let (slot, page) = self.active?;
        let file = self.files.get_mut(&slot)?;
        let end = page + pages;
        let overwrites = end <= file.written_pages;
        let point = LogPoint {
            extent: file.sequence,
            page,
        };
        let padding = if overwrites {
            0
        } else {
            padding(pages, end, file.allocated)
        };
        file.written_pages = file.written_pages.max(end + padding);
        self.active = Some((slot, end));
        self.appended_bytes += u64::from(pages) * PAGE_BYTES as u64;
        Some(Placement {
            slot,
            point,
            overwrites,
            padding,
        })
    }

    /// Makes the free file with most room the active one.
    fn activate_free(&mut self, pages: u32) -> Option<()> {
        let needed = u64::from(pages) * PAGE_BYTES as u64;
        let free = self.files.iter().filter(|(_, file)| file.sequence.0 == 0);
        let (slot, _) = free
            .filter(|(_, file)| file.allocated >= needed)
            .max_by_key(|(slot, file)| {
                (
                    file.written_pages,
                    file.allocated,
                    std::cmp::Reverse(**slot),
                )
            })?;
        let slot = *slot;
        let file = self.files.get_mut(&slot)?;
        file.sequence = self.next_sequence;
        file.inherited = false;
        self.slots.insert(self.next_sequence, slot);
        self.next_sequence.0 += 1;
        self.active = Some((slot, 0));
        self.recount();
        Some(())
    }

    /// Bytes that can surely be appended: a frame's length is lost at each extent's end.
    pub fn room(&self) -> u64 {
        let active = self.active.map_or(0, |(slot, page)| {
            let used = u64::from(page) * PAGE_BYTES as u64 + self.frame_loss();
            self.files[&slot].allocated.saturating_sub(used)
        });
        self.free_room + active
    }

    /// Pages of the longest frame that fits into the active extent, if that is as many as `least`;
    /// else of the longest that has a place.
    pub fn pages_at_once(&self, least: u32) -> u32 {
        let pages = |bytes: u64| (bytes / PAGE_BYTES as u64) as u32;
        let active = self.active.map_or(0, |(slot, page)| {
            pages(self.files[&slot].allocated).saturating_sub(page)
        });
        let free = self.files.values().filter(|file| file.sequence.0 == 0);
        let longest = free.map(|file| pages(file.allocated)).max().unwrap_or(0);
        if active >= least { active } else { longest }
    }

    /// Whether the file system below refused the last allocation, the smallest that makes sense.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The allocation to make now, if less than `ahead` bytes of room are left and `may_grow` lets
    /// the log have another file. One is made at a time; after a refusal none, until
    /// [`HotLog::retry`].
    pub fn wanted(&mut self, ahead: u64, may_grow: bool) -> Option<Allocation> {
        if self.allocating.is_some() || self.refused || self.room() >= ahead {
            return None;
        }
        let allocation = self
            .extension()
            .or_else(|| may_grow.then(|| self.new_file()))?;
        self.allocating = Some(allocation);
        Some(allocation)
    }

    /// Room that a busy log keeps ahead: as much as it has appended, up to one backlog.
    pub fn busy_ahead(&self) -> u64 {
        self.appended_bytes
            .clamp(limits::QUIET_AHEAD_BYTES, limits::ROOM_AHEAD_BYTES)
    }

    /// Time has passed: the file system may have space again.
    pub fn retry(&mut self) {
        self.refused = false;
    }

    /// More of a file that is active or free, and not yet wholly allocated.
    fn extension(&self) -> Option<Allocation> {
        let active = self.active.map(|(slot, _)| slot);
        let growing = |slot: &ExtentSlot, file: &ExtentFile| {
            file.allocated < self.file_limit() && (file.sequence.0 == 0 || active == Some(*slot))
        };
        let (slot, file) = self.files.iter().find(|(slot, file)| growing(slot, file))?;
        Some(Allocation {
            slot: *slot,
            bytes: self.step(file.allocated),
        })
    }

    fn new_file(&self) -> Allocation {
        Allocation {
            slot: self.next_slot,
            bytes: self.step(0),
        }
    }

    /// How long files may become: a small log has short ones, so that emptying one of them never
    /// takes more than a small share of the log. Doubles, so that files grow in few steps.
    fn file_limit(&self) -> u64 {
        let share = (self.total_bytes / FILES).max(limits::FIRST_ALLOCATION_BYTES);
        (1 << share.ilog2()).min(self.extent_bytes)
    }

    /// The length that a file of `allocated` bytes is given next.
    fn step(&self, allocated: u64) -> u64 {
        let usual = if self.appended_bytes < limits::FIRST_ALLOCATION_BYTES {
            limits::FIRST_ALLOCATION_BYTES
        } else {
            self.extent_bytes
        };
        (allocated + usual.min(self.step_bytes)).min(self.file_limit())
    }

    /// The wanted allocation was made, or the file system has no room for it: then a smaller one
    /// may still fit.
    pub fn allocated(&mut self, made: bool) {
        let Some(allocation) = self.allocating.take() else {
            return;
        };
        let former = self.files.get(&allocation.slot);
        let step = allocation.bytes - former.map_or(0, |file| file.allocated);
        if made {
            let fresh = ExtentFile {
                sequence: ExtentSequence(0),
                allocated: 0,
                written_pages: 0,
                inherited: false,
            };
            self.files.entry(allocation.slot).or_insert(fresh).allocated = allocation.bytes;
            self.retire(allocation.slot);
            self.recount();
            self.full = false;
            self.step_bytes = (2 * self.step_bytes).min(self.extent_bytes);
        } else if step > limits::LEAST_ALLOCATION_BYTES {
            let half = step / 2 / PAGE_BYTES as u64 * PAGE_BYTES as u64;
            self.step_bytes = half.max(limits::LEAST_ALLOCATION_BYTES);
        } else {
            self.full = true;
            self.refused = true;
        }
    }

    /// Length of the longest file.
    pub fn longest_file(&self) -> u64 {
        self.longest_file
    }

    /// The active extent, its bytes that were appended to, and the longest free file's length.
    pub fn active(&self) -> Option<(ExtentSequence, u64, u64)> {
        let (slot, page) = self.active?;
        let file = self.files.get(&slot)?;
        let free = self.files.values().filter(|file| file.sequence.0 == 0);
        let longest = free.map(|file| file.allocated).max().unwrap_or(0);
        Some((file.sequence, u64::from(page) * PAGE_BYTES as u64, longest))
    }

    /// Goes on in a free file, so that the active extent can be emptied.
    pub fn seal(&mut self) {
        self.activate_free(0);
    }

    /// Lets an extent's file be used again.
    pub fn free(&mut self, extent: ExtentSequence) {
        if let Some(slot) = self.slots.remove(&extent)
            && let Some(file) = self.files.get_mut(&slot)
        {
            file.sequence = ExtentSequence(0);
            self.recount();
        }
    }

    /// Gives up a free file, if `ahead` bytes of room are left without it; it is to be deleted.
    pub fn shed(&mut self, ahead: u64) -> Option<ExtentSlot> {
        let (room, loss) = (self.room(), self.frame_loss());
        let allocating = self.allocating.map(|allocation| allocation.slot);
        let spare = self.files.iter().filter(|(slot, file)| {
            let left = room - file.allocated.saturating_sub(loss).min(room);
            file.sequence.0 == 0 && Some(**slot) != allocating && left >= ahead
        });
        let (slot, _) =
            spare.min_by_key(|(slot, file)| (file.written_pages, std::cmp::Reverse(**slot)))?;
        let slot = *slot;
        self.files.remove(&slot);
        self.recount();
        Some(slot)
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Bytes of the files that hold extents.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Bytes of an extent.
    pub fn extent_bytes(&self) -> u64 {
        self.extent_bytes
    }

    /// Extents behind the active one that hold frames: number, bytes, whether they were there at
    /// open.
    pub fn sealed(&self) -> impl Iterator<Item = (ExtentSequence, u64, bool)> + '_ {
        let active = self.active.map(|(slot, _)| slot);
        let used = self
            .files
            .iter()
            .filter(move |(slot, file)| file.sequence.0 != 0 && active != Some(**slot));
        used.map(|(_, file)| (file.sequence, file.allocated, file.inherited))
    }

    /// Extents in use in order of their numbers: number, file, bytes.
    pub fn extents(&self) -> Vec<(ExtentSequence, ExtentSlot, u64)> {
        let row = |(extent, slot): (&ExtentSequence, &ExtentSlot)| {
            (*extent, *slot, self.files[slot].allocated)
        };
        self.slots.iter().map(row).collect()
    }

    /// Rows of all files for a checkpoint.
    pub fn states(&self, live: impl Fn(ExtentSequence) -> u64) -> Vec<ExtentState> {
        let row = |(slot, file): (&ExtentSlot, &ExtentFile)| ExtentState {
            slot: *slot,
            sequence: file.sequence,
            live_bytes: live(file.sequence),
            written_pages: file.written_pages,
        };
        self.files.iter().map(row).collect()
    }
}

#[cfg(test)]
#[path = "hot_log_tests.rs"]
mod tests;
