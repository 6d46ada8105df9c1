//! A disk in memory that forgets, at a power cut, some of what was not synced: each sector of an
//! unsynced write is kept or lost on its own.

use super::Random;
use redoubt_volume::format::superblock::{SLOT_BYTES, SLOTS, Superblock};
use redoubt_volume::ids::ExtentSlot;
use redoubt_volume::page::PageBuf;
use redoubt_volume::segment::effect::{DiskCompletion, DiskError, NodeEffect, OperationId};
use redoubt_volume::segment::materialize;
use redoubt_volume::segment::recovery::LogReader;
use std::collections::BTreeMap;

const SECTOR: usize = 512;

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum File {
    Superblock,
    Extent(ExtentSlot),
}

/// A write that was carried out and not yet synced.
#[derive(Clone)]
struct Write {
    file: File,
    offset: usize,
    bytes: Vec<u8>,
}

/// How a disk misbehaves, for tests that ask for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Damage {
    /// Syncs do nothing: the negative control.
    pub syncs_are_ignored: bool,
    /// Allocation fails above so many bytes.
    pub capacity: Option<usize>,
    /// The next append fails.
    pub fails: bool,
    /// Nothing completes.
    pub stalls: bool,
}

pub struct MemoryDisk {
    /// What is on stable storage.
    stable: BTreeMap<File, Vec<u8>>,
    unsynced: Vec<Write>,
    queue: Vec<NodeEffect>,
    pub damage: Damage,
}

impl MemoryDisk {
    pub fn create(superblock: &Superblock) -> MemoryDisk {
        let mut disk = MemoryDisk {
            stable: BTreeMap::from([(File::Superblock, vec![0; SLOTS * SLOT_BYTES])]),
            unsynced: Vec::new(),
            queue: Vec::new(),
            damage: Damage::default(),
        };
        disk.write_superblock(superblock);
        disk
    }

    pub fn superblock_file(&self) -> &[u8] {
        &self.stable[&File::Superblock]
    }

    /// Puts a superblock into its slot.
    pub fn write_superblock(&mut self, superblock: &Superblock) {
        let start = superblock.slot() * SLOT_BYTES;
        if let Some(file) = self.stable.get_mut(&File::Superblock) {
            file[start..start + SLOT_BYTES].copy_from_slice(superblock.encode().bytes());
        }
    }

    /// Bytes of all extent files.
    pub fn log_bytes(&self) -> usize {
        let extents = self
            .stable
            .iter()
            .filter(|(file, _)| **file != File::Superblock);
        extents.map(|(_, bytes)| bytes.len()).sum()
    }

    /// Flips bytes of the stable content.
    pub fn corrupt(&mut self, file: File, offset: usize, length: usize) {
        if let Some(bytes) = self.stable.get_mut(&file) {
            let end = (offset + length).min(bytes.len());
            bytes[offset.min(end)..end]
                .iter_mut()
                .for_each(|byte| *byte ^= 0x5a);
        }
    }

    pub fn submit(&mut self, effect: NodeEffect) {
        match effect {
            NodeEffect::Remove { slot } => {
                self.stable.remove(&File::Extent(slot));
            }
            NodeEffect::Append {
                slot,
                offset,
                ref parts,
                ..
            } => {
                let bytes = parts
                    .iter()
                    .flat_map(|part| part.bytes().iter().copied())
                    .collect();
                let write = Write {
                    file: File::Extent(slot),
                    offset: offset as usize,
                    bytes,
                };
                self.unsynced.push(write);
                self.queue.push(effect);
            }
            NodeEffect::WriteSuperblock {
                slot, ref bytes, ..
            } => {
                let (offset, bytes) = (slot * SLOT_BYTES, bytes.bytes().to_vec());
                self.unsynced.push(Write {
                    file: File::Superblock,
                    offset,
                    bytes,
                });
                self.queue.push(effect);
            }
            other => self.queue.push(other),
        }
    }

    pub fn is_busy(&self) -> bool {
        !self.queue.is_empty() && !self.damage.stalls
    }

    /// Extent files and their lengths.
    pub fn extent_files(&self) -> Vec<(File, usize)> {
        let extents = self
            .stable
            .iter()
            .filter(|(file, _)| **file != File::Superblock);
        extents.map(|(file, bytes)| (*file, bytes.len())).collect()
    }

    /// Completes one effect, any of them.
    pub fn complete_one(&mut self, random: &mut Random) -> Option<DiskCompletion> {
        let index = random.below(self.queue.len() as u64) as usize;
        match self.queue.remove(index) {
            NodeEffect::Append {
                operation, slot, ..
            } => {
                if std::mem::take(&mut self.damage.fails) {
                    let result = Err(DiskError::Failed);
                    return Some(DiskCompletion::Done { operation, result });
                }
                self.sync(File::Extent(slot));
                Some(done(operation))
            }
            NodeEffect::WriteSuperblock { operation, .. } => {
                self.sync(File::Superblock);
                Some(done(operation))
            }
            NodeEffect::Allocate {
                operation,
                slot,
                bytes,
            } => {
                let result = self.allocate(slot, bytes as usize);
                Some(DiskCompletion::Done { operation, result })
            }
            NodeEffect::Read {
                operation,
                slot,
                offset,
                pages,
            } => {
                let result = self.read_now(slot, offset as usize, pages);
                Some(DiskCompletion::Read { operation, result })
            }
            NodeEffect::Materialize { operation, plan } => {
                let result = materialize::assemble(&plan, |slot, page, target| {
                    let bytes = self.read_now(slot, page as usize * 4096, target.len() / 4096)?;
                    target.copy_from_slice(bytes.bytes());
                    Ok(())
                });
                Some(DiskCompletion::Materialized { operation, result })
            }
            NodeEffect::Remove { .. } | NodeEffect::Send(_) => None,
        }
    }

    fn allocate(&mut self, slot: ExtentSlot, bytes: usize) -> Result<(), DiskError> {
        let now = self.stable.get(&File::Extent(slot)).map_or(0, Vec::len);
        let total = self.log_bytes() + bytes.saturating_sub(now);
        if self
            .damage
            .capacity
            .is_some_and(|capacity| total > capacity)
        {
            return Err(DiskError::Full);
        }
        let file = self.stable.entry(File::Extent(slot)).or_default();
        file.resize(bytes.max(now), 0);
        Ok(())
    }

    fn sync(&mut self, file: File) {
        if self.damage.syncs_are_ignored {
            return;
        }
        for write in self.unsynced.extract_if(.., |write| write.file == file) {
            apply(&mut self.stable, &write, |_| true);
        }
    }

    /// What a read sees: stable content with the unsynced writes over it.
    fn read_now(
        &self,
        slot: ExtentSlot,
        offset: usize,
        pages: usize,
    ) -> Result<PageBuf, DiskError> {
        let file = File::Extent(slot);
        let mut bytes = self.stable.get(&file).cloned().unwrap_or_default();
        bytes.resize(bytes.len().max(offset + pages * 4096), 0);
        let mut view = BTreeMap::from([(file, bytes)]);
        self.unsynced
            .iter()
            .filter(|w| w.file == file)
            .for_each(|w| apply(&mut view, w, |_| true));
        Ok(PageBuf::from_bytes(
            &view[&file][offset..offset + pages * 4096],
        ))
    }

    /// The process ends: what was written is in the files, and not synced.
    pub fn lose_process(&mut self) {
        self.queue.clear();
    }

    /// Keeps what was synced, and any sectors of the rest.
    pub fn cut_power(&mut self, random: &mut Random) {
        self.queue.clear();
        for write in std::mem::take(&mut self.unsynced) {
            let mode = random.below(4);
            apply(&mut self.stable, &write, |_| match mode {
                0 => false,
                1 => true,
                _ => random.below(2) == 0,
            });
        }
    }
}

fn done(operation: OperationId) -> DiskCompletion {
    DiskCompletion::Done {
        operation,
        result: Ok(()),
    }
}

fn apply(files: &mut BTreeMap<File, Vec<u8>>, write: &Write, mut keep: impl FnMut(usize) -> bool) {
    let Some(target) = files.get_mut(&write.file) else {
        return;
    };
    for (index, sector) in write.bytes.chunks(SECTOR).enumerate() {
        let start = write.offset + index * SECTOR;
        if keep(index) && start + sector.len() <= target.len() {
            target[start..start + sector.len()].copy_from_slice(sector);
        }
    }
}

impl LogReader for MemoryDisk {
    fn extents(&self) -> Result<Vec<(ExtentSlot, u64)>, DiskError> {
        let extent = |(file, bytes): (&File, &Vec<u8>)| match file {
            File::Extent(slot) => Some((*slot, bytes.len() as u64)),
            File::Superblock => None,
        };
        Ok(self.stable.iter().filter_map(extent).collect())
    }

    fn sync(&mut self, slot: ExtentSlot) -> Result<(), DiskError> {
        MemoryDisk::sync(self, File::Extent(slot));
        Ok(())
    }

    fn read(&self, slot: ExtentSlot, offset: u64, pages: usize) -> Result<PageBuf, DiskError> {
        self.read_now(slot, offset as usize, pages)
    }
}
