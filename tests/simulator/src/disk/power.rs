//! Power cuts and failed writes: which sectors of a write that was not synced are there.

use super::{DiskToken, File, MemoryDisk};
use crate::disk::file::SECTORS_PER_PAGE;
use crate::random::Random;
use redoubt_volume::page::Pages;
use redoubt_volume::segment::effect::NodeEffect;

/// A write that is not synced.
#[derive(Debug)]
pub(super) struct Unsynced {
    pub(super) token: DiskToken,
    pub(super) file: File,
    pub(super) first: usize,
    pub(super) new: Vec<Pages>,
    /// What each page was before.
    pub(super) old: Vec<Option<Pages>>,
}

/// The pages of some runs, one by one.
pub(super) fn pages_of(runs: &[Pages]) -> impl Iterator<Item = Pages> {
    let pages = |run: &Pages| 0..run.page_count();
    runs.iter()
        .flat_map(move |run| pages(run).map(|page| run.slice(page, 1)))
}

/// What a power cut did to the writes that were not synced.
#[derive(Clone, Copy, Debug, Default)]
pub struct CutStory {
    /// Writes of which nothing is there.
    pub lost: u32,
    /// Writes of which a part is there.
    pub torn: u32,
    /// Writes that are there though an older one is not.
    pub reordered: u32,
    /// Deleted files that are there again.
    pub undeleted: u32,
}

/// What is left of a write.
#[derive(Clone, Copy, Debug)]
enum Tear {
    Lost,
    Whole,
    /// So many sectors from the start.
    Prefix(usize),
    /// All but so many sectors from the start.
    Suffix(usize),
    /// Each sector on its own.
    Random(u64),
    /// Every other page.
    Interleaved,
}

impl Tear {
    fn draw(random: &mut Random, pages: usize) -> Tear {
        let sectors = pages * SECTORS_PER_PAGE;
        match random.below(8) {
            0 | 1 => Tear::Lost,
            2 | 3 => Tear::Whole,
            4 => Tear::Prefix(random.index(sectors)),
            5 => Tear::Suffix(random.index(sectors)),
            6 => Tear::Random(random.draw()),
            _ => Tear::Interleaved,
        }
    }

    /// The sectors of a page (a bit each) that are there.
    fn kept(self, page: usize) -> u8 {
        let first = page * SECTORS_PER_PAGE;
        let bits = |keep: &dyn Fn(usize) -> bool| {
            let kept = (0..SECTORS_PER_PAGE).filter(|sector| keep(first + sector));
            kept.fold(0, |mask, sector| mask | 1 << sector)
        };
        match self {
            Tear::Lost => 0,
            Tear::Whole => u8::MAX,
            Tear::Prefix(count) => bits(&|sector| sector < count),
            Tear::Suffix(count) => bits(&|sector| sector >= count),
            Tear::Random(seed) => crate::random::mix(seed ^ page as u64) as u8,
            Tear::Interleaved => {
                if page.is_multiple_of(2) {
                    u8::MAX
                } else {
                    0
                }
            }
        }
    }
}

impl MemoryDisk {
    /// Keeps what was synced, and any sectors of the rest. Nothing is under way any more.
    pub fn cut_power(&mut self, random: &mut Random) -> CutStory {
        let mut story = CutStory::default();
        let unsynced = std::mem::take(&mut self.unsynced);
        for write in unsynced.iter().rev() {
            self.undo(write);
        }
        for write in &unsynced {
            let tear = Tear::draw(random, write.old.len());
            match tear {
                Tear::Lost => story.lost += 1,
                Tear::Whole => story.reordered += u32::from(story.lost > 0),
                _ => story.torn += 1,
            }
            self.apply(write, tear);
        }
        for effect in std::mem::take(&mut self.queue).into_values() {
            if let NodeEffect::Allocate { slot, bytes, .. } = effect
                && random.one_in(2)
            {
                // An allocation under way is there, or not; a full disk refuses it as ever.
                let _ = self.allocate(File::Extent(slot), bytes as usize);
            }
        }
        for (file, content) in std::mem::take(&mut self.removed) {
            if random.one_in(4) && !self.image.files.contains_key(&file) {
                story.undeleted += 1;
                self.image.files.insert(file, content);
            }
        }
        story
    }

    /// The node's process is gone, the machine is not: what it was writing is there, or a part of
    /// it, and is not synced; what had been written before is not lost.
    pub fn kill_process(&mut self, random: &mut Random) {
        for token in std::mem::take(&mut self.queue).into_keys() {
            if random.one_in(3) {
                self.fail_write(token, random);
            }
        }
    }

    /// A write fails in the middle: any sectors of it are there.
    pub(super) fn fail_write(&mut self, token: DiskToken, random: &mut Random) {
        let at = self.unsynced.iter().position(|write| write.token == token);
        if let Some(at) = at {
            let write = self.unsynced.remove(at);
            self.undo(&write);
            self.apply(&write, Tear::draw(random, write.old.len()));
        }
    }

    pub(super) fn undo(&mut self, write: &Unsynced) {
        if let Some(content) = self.image.files.get_mut(&write.file) {
            for (index, old) in write.old.iter().enumerate() {
                content.restore(write.first + index, old.clone());
            }
        }
    }

    fn apply(&mut self, write: &Unsynced, tear: Tear) {
        if let Some(content) = self.image.files.get_mut(&write.file) {
            for (index, page) in pages_of(&write.new).enumerate() {
                content.put_sectors(write.first + index, &page, tear.kept(index));
            }
        }
    }
}
