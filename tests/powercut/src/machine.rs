//! A volume opened on disks in memory: the production writer and nodes in one thread.

use crate::event::Bytes;
use crate::files::{Change, Files, Folder, Image, Name};
use crate::node_disk::{Covers, NodeDisk};
use crate::random::Random;
use redoubt_volume::embedded::Embedded;
use redoubt_volume::format::superblock::{SLOT_BYTES, SLOTS, Superblock};
use redoubt_volume::ids::{ExtentSlot, NodeId};
use redoubt_volume::page::{PAGE_BYTES, PageBuf, Pages};
use redoubt_volume::segment::effect::{DiskCompletion, DiskError, NodeEffect, OperationId};
use redoubt_volume::segment::materialize;
use redoubt_volume::segment::node::Node;
use redoubt_volume::segment::recovery::LogReader;
use redoubt_volume::time::Instant;
use redoubt_volume::writer::{
    Answer, CacheMode, QuorumLoss, RebuildRate, Ticket, Writer, WriterPolicy,
};
use std::collections::VecDeque;
use std::time::Duration;

/// Memory of a node's index.
const INDEX_BYTES: usize = 8 << 20;
/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 20;
/// Steps after which a volume that is not yet open never will be.
const STEPS: usize = 200_000;

/// A node's disk with what is asked of it.
struct Disk {
    disk: NodeDisk,
    queue: Vec<NodeEffect>,
    /// Appends behind the one that is carried out.
    appends: VecDeque<NodeEffect>,
    operations: u64,
}

/// Six disks, and the volume on them once it is opened.
pub(crate) struct Machine {
    disks: Vec<Disk>,
    core: Option<Embedded>,
    random: Random,
    now: Instant,
    tickets: u64,
}

impl Machine {
    /// Disks with these files, nothing opened.
    pub(crate) fn new(files: Vec<Files>, random: Random) -> Machine {
        Machine {
            disks: files.into_iter().map(Disk::of).collect(),
            core: None,
            random,
            now: Instant(1),
            tickets: 0,
        }
    }

    /// Cuts the power, whatever is going on.
    pub(crate) fn cut(&mut self) {
        self.core = None;
        for disk in &mut self.disks {
            *disk = Disk::of(disk.disk.cut(&mut self.random));
        }
    }

    /// Begins to open the volume and stops after so many steps.
    pub(crate) fn open_partly(&mut self, steps: u64) -> Result<(), String> {
        self.start_open()?;
        for _ in 0..steps {
            if self.step().is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Opens the volume.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        self.start_open()?;
        for _ in 0..STEPS {
            if let Some(Done::Opened(result)) = self.step() {
                return result;
            }
        }
        Err("the recovery does not end".to_owned())
    }

    fn start_open(&mut self) -> Result<(), String> {
        let nodes: Vec<Option<Node>> = self.disks.iter_mut().map(Disk::open).collect();
        let configs = nodes.iter().flatten().map(|node| &node.superblock().config);
        let config = configs.max_by_key(|config| config.version).cloned();
        let config = config.ok_or("no node directory can be opened")?;
        let policy = WriterPolicy {
            cache: CacheMode::Writeback,
            on_quorum_loss: QuorumLoss::Fail,
            read_only: false,
            rebuild_rate: RebuildRate::Adaptive,
        };
        let mut writer = Writer::new(config, self.random.next(), policy);
        for node in nodes.iter().flatten() {
            writer.node_up(self.now, node.id());
        }
        writer.open(self.now);
        self.core = Some(Embedded { writer, nodes });
        Ok(())
    }

    /// All bytes of the disk.
    pub(crate) fn read_all(&mut self) -> Result<Vec<u8>, String> {
        let disk_bytes = self
            .core
            .as_ref()
            .map_or(0, |core| core.writer.disk_bytes());
        let mut bytes = Vec::with_capacity(disk_bytes as usize);
        while (bytes.len() as u64) < disk_bytes {
            let length = READ_BYTES.min(disk_bytes as usize - bytes.len());
            bytes.extend_from_slice(&self.read(bytes.len() as u64, length)?);
        }
        Ok(bytes)
    }

    fn read(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let core = self.core.as_mut().ok_or("the volume is not open")?;
        core.writer.read(self.now, ticket, offset, length);
        for _ in 0..STEPS {
            match self.step() {
                Some(Done::Request(done, result)) if done == ticket => {
                    return result.map_err(|why| format!("the read at {offset} fails: {why}"));
                }
                _ => {}
            }
        }
        Err(format!("the read at {offset} does not end"))
    }

    /// Passes messages on, then completes one effect of one disk; lets time pass when all are idle.
    fn step(&mut self) -> Option<Done> {
        let core = self.core.as_mut()?;
        let outcome = core.settle(self.now);
        for node in outcome.idle {
            core.on_idle(self.now, node);
        }
        for (node, effect) in outcome.disk {
            self.disks[node.index()].submit(effect);
        }
        if let Some(result) = outcome.opened {
            return Some(Done::Opened(result));
        }
        if let Some((ticket, result)) = outcome.completed.into_iter().next() {
            let bytes = result.map(|answer| match answer {
                Answer::Bytes(bytes) => bytes.as_ref().to_vec(),
                _ => Vec::new(),
            });
            let result = bytes.map_err(|failure| format!("{failure:?}"));
            return Some(Done::Request(ticket, result));
        }
        let busy: Vec<usize> = (0..self.disks.len())
            .filter(|index| !self.disks[*index].queue.is_empty())
            .collect();
        if busy.is_empty() {
            self.now = self.now.plus(Duration::from_millis(20));
            core.on_tick(self.now, 0);
            return None;
        }
        let index = busy[self.random.below(busy.len() as u64) as usize];
        self.now = self.now.plus(Duration::from_micros(50));
        if let Some(completion) = self.disks[index].complete_one(&mut self.random) {
            core.on_disk(self.now, vec![(NodeId(index as u16), completion)]);
        }
        None
    }
}

/// What a step brought.
enum Done {
    Opened(Result<(), String>),
    Request(Ticket, Result<Vec<u8>, String>),
}

impl Disk {
    fn of(files: Files) -> Disk {
        Disk {
            disk: NodeDisk::of(files),
            queue: Vec::new(),
            appends: VecDeque::new(),
            operations: 0,
        }
    }

    /// A directory that proves nothing is left out, like one that is not there.
    fn open(&mut self) -> Option<Node> {
        self.disk.view().inode(Name::Log)?;
        let image = self.disk.view().named(Name::Superblock)?;
        let pages = both_slots(image);
        let superblock = Superblock::newest(pages.bytes()).ok()?;
        Node::open(superblock, self, INDEX_BYTES).ok()
    }

    /// Begins what changes files; the rest is done when it is completed. An append is begun when the
    /// one before it is.
    fn submit(&mut self, effect: NodeEffect) {
        let is_append = |effect: &NodeEffect| matches!(effect, NodeEffect::Append { .. });
        if is_append(&effect) && self.queue.iter().any(is_append) {
            return self.appends.push_back(effect);
        }
        match &effect {
            NodeEffect::Remove { slot } => {
                let name = Name::Extent(*slot);
                self.change(Change::Remove { name });
                return;
            }
            NodeEffect::Append {
                slot,
                offset,
                parts,
                ..
            } => self.write(Name::Extent(*slot), *offset, parts),
            NodeEffect::WriteSuperblock { slot, bytes, .. } => {
                let offset = (slot * SLOT_BYTES) as u64;
                self.write(Name::Superblock, offset, std::slice::from_ref(bytes));
            }
            NodeEffect::Allocate { slot, bytes, .. } => self.allocate(*slot, *bytes),
            _ => {}
        }
        self.queue.push(effect);
    }

    fn change(&mut self, change: Change) {
        self.operations += 1;
        self.disk.begin(self.operations, change);
        self.disk.end(self.operations);
    }

    fn write(&mut self, name: Name, offset: u64, parts: &[Pages]) {
        if let Some(file) = self.disk.view().inode(name) {
            let bytes = parts.iter().map(Pages::bytes).collect::<Vec<_>>().concat();
            let bytes = Bytes::from_vec(bytes);
            self.change(Change::Write {
                file,
                offset,
                bytes,
            });
        }
    }

    fn allocate(&mut self, slot: ExtentSlot, bytes: u64) {
        let name = Name::Extent(slot);
        let file = match self.disk.view().inode(name) {
            Some(file) => file,
            None => {
                let file = self.disk.new_file();
                self.change(Change::Create { name, file });
                file
            }
        };
        let former = self.disk.view().image(file).map_or(0, |image| image.length);
        let bytes = bytes.max(former);
        self.change(Change::SetLength { file, bytes });
    }

    fn sync_now(&mut self, covers: Covers) {
        self.operations += 1;
        self.disk.begin_sync(self.operations, covers);
        self.disk.end(self.operations);
    }

    fn sync_file(&mut self, name: Name) {
        if let Some(file) = self.disk.view().inode(name) {
            self.sync_now(Covers::File(file));
        }
    }

    fn complete_one(&mut self, random: &mut Random) -> Option<DiskCompletion> {
        let index = random.below(self.queue.len() as u64) as usize;
        Some(match self.queue.swap_remove(index) {
            NodeEffect::Append {
                operation, slot, ..
            } => {
                self.sync_file(Name::Extent(slot));
                if let Some(next) = self.appends.pop_front() {
                    self.submit(next);
                }
                done(operation)
            }
            NodeEffect::WriteSuperblock { operation, .. } => {
                self.sync_file(Name::Superblock);
                done(operation)
            }
            NodeEffect::Allocate {
                operation, slot, ..
            } => {
                self.sync_file(Name::Extent(slot));
                self.sync_now(Covers::Names(Folder::Log));
                done(operation)
            }
            NodeEffect::Read {
                operation,
                slot,
                offset,
                pages,
            } => {
                let result = self.read_apart(slot, offset, pages);
                DiskCompletion::Read { operation, result }
            }
            NodeEffect::ReadSuperblock { operation } => {
                let image = self.disk.view().named(Name::Superblock);
                let result = image.ok_or(DiskError::Failed).map(both_slots);
                DiskCompletion::Read { operation, result }
            }
            NodeEffect::Materialize { operation, plan } => {
                let result = materialize::assemble(&plan, |slot, page, pages, target| {
                    let offset = u64::from(page) * PAGE_BYTES as u64;
                    self.read(slot, offset, pages, target)
                });
                DiskCompletion::Materialized { operation, result }
            }
            NodeEffect::Remove { .. }
            | NodeEffect::Send(_)
            | NodeEffect::Tell { .. }
            | NodeEffect::Idle => {
                return None;
            }
        })
    }
}

fn done(operation: OperationId) -> DiskCompletion {
    let result = Ok(());
    DiskCompletion::Done { operation, result }
}

fn copy_pages(image: &Image, first: usize, target: &mut [u8]) {
    for (index, target) in target.chunks_mut(PAGE_BYTES).enumerate() {
        match image.page(first + index) {
            Some(page) => target.copy_from_slice(&page[..target.len()]),
            None => target.fill(0),
        }
    }
}

/// Both slots of a superblock's file.
fn both_slots(image: &Image) -> PageBuf {
    let mut both = PageBuf::zeroed(SLOTS * SLOT_BYTES / PAGE_BYTES);
    copy_pages(image, 0, both.bytes_mut());
    both
}

impl LogReader for Disk {
    fn extents(&self) -> Result<Vec<(ExtentSlot, u64)>, DiskError> {
        let view = self.disk.view();
        let extent = |name| match name {
            Name::Extent(slot) => Some((slot, view.named(name)?.length)),
            _ => None,
        };
        Ok(view.names().filter_map(extent).collect())
    }

    fn read(
        &self,
        slot: ExtentSlot,
        offset: u64,
        pages: usize,
        target: &mut PageBuf,
    ) -> Result<(), DiskError> {
        let image = self.disk.view().named(Name::Extent(slot));
        let held = target.page_count();
        target.grow_to(held + pages);
        let target = &mut target.bytes_mut()[held * PAGE_BYTES..];
        let first = offset as usize / PAGE_BYTES;
        copy_pages(image.ok_or(DiskError::Failed)?, first, target);
        Ok(())
    }

    fn sync_found(&mut self) -> Result<(), DiskError> {
        self.sync_file(Name::Superblock);
        self.sync_now(Covers::Names(Folder::Log));
        self.sync_now(Covers::Names(Folder::Node));
        Ok(())
    }

    fn sync(&mut self, slot: ExtentSlot) -> Result<(), DiskError> {
        self.sync_file(Name::Extent(slot));
        Ok(())
    }
}
