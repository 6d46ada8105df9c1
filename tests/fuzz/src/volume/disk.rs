//! A disk in memory whose files share what nobody changed: a copy of a volume costs little.

use redoubt_volume::format::superblock::{SLOT_BYTES, SLOTS, Superblock};
use redoubt_volume::ids::ExtentSlot;
use redoubt_volume::page::{PAGE_BYTES, PageBuf};
use redoubt_volume::segment::effect::{DiskCompletion, DiskError, NodeEffect};
use redoubt_volume::segment::materialize;
use redoubt_volume::segment::node::Node;
use redoubt_volume::segment::recovery::LogReader;
use redoubt_volume::time::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that the log of a node may take: an allocation past it finds the disk full.
const CAPACITY: u64 = 12 << 20;

/// A page of a file; `None` is zeros.
type Page = Option<Arc<[u8; PAGE_BYTES]>>;

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pages: Vec<Page>,
    /// Bytes; the last page may be cut.
    length: u64,
}

impl File {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Makes it shorter, or longer by zeros.
    pub(super) fn resize(&mut self, length: u64) {
        self.length = length;
        self.pages
            .resize(length.div_ceil(PAGE_BYTES as u64) as usize, None);
    }

    /// Pages from one on; what is not there is zeros.
    pub(super) fn read(&self, first: usize, target: &mut [u8]) {
        for (index, target) in target.chunks_mut(PAGE_BYTES).enumerate() {
            match self.pages.get(first.saturating_add(index)) {
                Some(Some(page)) => target.copy_from_slice(&page[..target.len()]),
                _ => target.fill(0),
            }
        }
    }

    /// Writes pages that are there; what lies behind the end is dropped.
    pub(super) fn write(&mut self, first: usize, bytes: &[u8]) {
        let (pages, _) = bytes.as_chunks::<PAGE_BYTES>();
        for (index, page) in pages.iter().enumerate() {
            if let Some(target) = self.pages.get_mut(first.saturating_add(index)) {
                *target = Some(Arc::new(*page));
            }
        }
    }
}

/// A node's directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) superblock: File,
    pub(super) extents: BTreeMap<ExtentSlot, File>,
}

impl Disk {
    pub(super) fn create(superblock: &Superblock) -> Disk {
        let mut disk = Disk::default();
        disk.superblock.resize((SLOTS * SLOT_BYTES) as u64);
        disk.write_slot(superblock.slot(), superblock.encode().bytes());
        disk
    }

    fn write_slot(&mut self, slot: usize, bytes: &[u8]) {
        self.superblock.write(slot * SLOT_BYTES / PAGE_BYTES, bytes);
    }

    /// The superblock's file.
    pub(super) fn superblock_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; SLOTS * SLOT_BYTES];
        self.superblock.read(0, &mut bytes);
        bytes
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.extents.values().map(File::length).sum()
    }

    /// Carries out an effect; some have no completion.
    pub(super) fn carry_out(&mut self, effect: NodeEffect) -> Option<DiskCompletion> {
        let done = |operation, result| Some(DiskCompletion::Done { operation, result });
        match effect {
            NodeEffect::Append {
                operation,
                slot,
                offset,
                parts,
                ..
            } => done(operation, self.append(slot, offset, &parts)),
            NodeEffect::WriteSuperblock {
                operation,
                slot,
                bytes,
            } => {
                self.write_slot(slot, bytes.bytes());
                done(operation, Ok(()))
            }
            NodeEffect::Allocate {
                operation,
                slot,
                bytes,
            } => done(operation, self.allocate(slot, bytes)),
            NodeEffect::Remove { slot } => {
                self.extents.remove(&slot);
                None
            }
            NodeEffect::Read {
                operation,
                slot,
                offset,
                pages,
            } => {
                let result = self.read_apart(slot, offset, pages);
                Some(DiskCompletion::Read { operation, result })
            }
            NodeEffect::ReadSuperblock { operation } => {
                let result = Ok(PageBuf::from_bytes(&self.superblock_bytes()));
                Some(DiskCompletion::Read { operation, result })
            }
            NodeEffect::Materialize { operation, plan } => {
                let result = materialize::assemble(&plan, |slot, page, pages, target| {
                    let offset = u64::from(page) * PAGE_BYTES as u64;
                    LogReader::read(self, slot, offset, pages, target)
                });
                Some(DiskCompletion::Materialized { operation, result })
            }
            NodeEffect::Send(_) | NodeEffect::Tell { .. } | NodeEffect::Idle => None,
        }
    }

    fn append(
        &mut self,
        slot: ExtentSlot,
        offset: u64,
        parts: &[redoubt_volume::page::Pages],
    ) -> Result<(), DiskError> {
        let file = self.extents.get_mut(&slot).ok_or(DiskError::Failed)?;
        let mut page = offset as usize / PAGE_BYTES;
        for part in parts {
            file.write(page, part.bytes());
            page += part.page_count();
        }
        assert!(
            page as u64 * PAGE_BYTES as u64 <= file.length,
            "an append behind the allocated end of its file"
        );
        Ok(())
    }

    fn allocate(&mut self, slot: ExtentSlot, bytes: u64) -> Result<(), DiskError> {
        let now = self.extents.get(&slot).map_or(0, File::length);
        if self.log_bytes() - now + bytes > CAPACITY {
            return Err(DiskError::Full);
        }
        self.extents.entry(slot).or_default().resize(bytes.max(now));
        Ok(())
    }

    /// Lets a node that nobody talks to do its background work.
    pub(super) fn run_alone(&mut self, node: &mut Node) {
        let mut now = Instant(1);
        for _ in 0..100 {
            now = now.plus(Duration::from_millis(20));
            node.on_tick(now);
            while let Some(effect) = node.poll() {
                if let Some(completion) = self.carry_out(effect) {
                    node.on_disk(now, completion);
                }
            }
        }
    }
}

impl LogReader for Disk {
    fn extents(&self) -> Result<Vec<(ExtentSlot, u64)>, DiskError> {
        let extent = |(slot, file): (&ExtentSlot, &File)| (*slot, file.length);
        Ok(self.extents.iter().map(extent).collect())
    }

    fn read(
        &self,
        slot: ExtentSlot,
        offset: u64,
        pages: usize,
        target: &mut PageBuf,
    ) -> Result<(), DiskError> {
        let file = self.extents.get(&slot).ok_or(DiskError::Failed)?;
        let held = target.page_count();
        target.grow_to(held + pages);
        let target = &mut target.bytes_mut()[held * PAGE_BYTES..];
        file.read(offset as usize / PAGE_BYTES, target);
        Ok(())
    }

    fn sync_found(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    fn sync(&mut self, _: ExtentSlot) -> Result<(), DiskError> {
        Ok(())
    }
}
