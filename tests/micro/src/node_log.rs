//! A node's log in memory, written by the production node.

use redoubt_volume::config::{NodeEntry, SEGMENTS, SEGMENTS_PER_ZONE, VolumeConfig};
use redoubt_volume::format::log_frame::Frame;
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::geometry::{DEFAULT_GROUP_BYTES, Geometry};
use redoubt_volume::ids::{ExtentSlot, Incarnation, NodeId, VolumeEpoch, VolumeId, ZoneId};
use redoubt_volume::limits;
use redoubt_volume::lsn::TruncationList;
use redoubt_volume::message::Request;
use redoubt_volume::page::{PAGE_BYTES, PageBuf, Pages};
use redoubt_volume::placement::Relocation;
use redoubt_volume::segment::effect::{DiskCompletion, DiskError, NodeEffect};
use redoubt_volume::segment::node::Node;
use redoubt_volume::segment::recovery::LogReader;
use redoubt_volume::time::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Memory for the index of a node.
pub(crate) const INDEX_BYTES: usize = limits::INDEX_BYTES / SEGMENTS;

/// The epoch of the writer.
pub(crate) const EPOCH: VolumeEpoch = VolumeEpoch {
    number: 1,
    writer: 1,
};

/// The node.
const NODE: NodeId = NodeId(0);

/// Nothing that the node does here depends on the time.
const NOW: Instant = Instant(1);

/// The files of a node's log.
#[derive(Default)]
pub(crate) struct LogFiles(BTreeMap<ExtentSlot, PageBuf>);

impl LogFiles {
    /// Carries out what a node without a checkpoint asks for.
    fn carry_out(&mut self, effect: NodeEffect) -> Option<DiskCompletion> {
        let operation = match effect {
            NodeEffect::Append {
                operation,
                slot,
                offset,
                parts,
                ..
            } => {
                self.append(slot, offset, &parts);
                operation
            }
            NodeEffect::Allocate {
                operation,
                slot,
                bytes,
            } => {
                let file = self.0.entry(slot).or_default();
                file.grow_to(bytes as usize / PAGE_BYTES);
                operation
            }
            NodeEffect::WriteSuperblock { operation, .. } => operation,
            NodeEffect::Send(_) | NodeEffect::Idle => return None,
            other => panic!("nothing else is due: {other:?}"),
        };
        let result = Ok(());
        Some(DiskCompletion::Done { operation, result })
    }

    fn append(&mut self, slot: ExtentSlot, offset: u64, parts: &[Pages]) {
        let file = self.0.get_mut(&slot).expect("an allocated file");
        let mut target = &mut file.bytes_mut()[offset as usize..];
        for part in parts {
            let (pages, rest) = target.split_at_mut(part.bytes().len());
            pages.copy_from_slice(part.bytes());
            target = rest;
        }
    }
}

impl LogReader for LogFiles {
    fn extents(&self) -> Result<Vec<(ExtentSlot, u64)>, DiskError> {
        let length = |file: &PageBuf| file.bytes().len() as u64;
        let extents = self.0.iter().map(|(slot, file)| (*slot, length(file)));
        Ok(extents.collect())
    }

    fn read(
        &self,
        slot: ExtentSlot,
        offset: u64,
        pages: usize,
        target: &mut PageBuf,
    ) -> Result<(), DiskError> {
        let file = self.0.get(&slot).ok_or(DiskError::Failed)?.pages();
        let first = (offset as usize / PAGE_BYTES).min(file.len());
        let end = (first + pages).min(file.len());
        let wanted = target.page_count() + pages;
        target.extend_from_pages(&file[first..end]);
        target.grow_to(wanted);
        Ok(())
    }

    fn sync_found(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    fn sync(&mut self, _: ExtentSlot) -> Result<(), DiskError> {
        Ok(())
    }
}

/// A node with its log.
pub(crate) struct LoggingNode {
    node: Node,
    files: LogFiles,
}

impl LoggingNode {
    /// A new node that has promised its writer's epoch.
    pub(crate) fn new() -> LoggingNode {
        let config = config();
        let incarnation = config.nodes[NODE.index()].incarnation;
        let superblock = Superblock::new(&config, NODE, incarnation, false);
        let mut files = LogFiles::default();
        let node = Node::open(superblock, &mut files, INDEX_BYTES);
        let node = node.expect("an empty log can be opened");
        let mut logging = LoggingNode { node, files };
        logging.ask(Request::Promise { epoch: EPOCH });
        let list = TruncationList {
            epoch: EPOCH,
            ranges: Vec::new(),
        };
        logging.ask(Request::HoldList {
            epoch: EPOCH,
            list,
            config,
            as_successor: false,
        });
        logging
    }

    /// Appends a frame.
    pub(crate) fn append(&mut self, frame: Frame) {
        let frame = Arc::new(frame);
        self.ask(Request::Append { frame });
    }

    fn ask(&mut self, request: Request) {
        self.node.on_request(NOW, request);
        while let Some(effect) = self.node.poll() {
            if let Some(completion) = self.files.carry_out(effect) {
                self.node.on_disk(NOW, completion);
            }
        }
    }

    /// The process ends: what is left is the superblock and the log.
    pub(crate) fn end(self) -> (Superblock, LogFiles) {
        (self.node.superblock().clone(), self.files)
    }
}

/// A disk of one group on six nodes.
fn config() -> VolumeConfig {
    let entry = |index: usize| {
        let zone = ZoneId((index / SEGMENTS_PER_ZONE) as u8);
        NodeEntry::new(zone, Incarnation(1 + index as u64))
    };
    VolumeConfig {
        version: 1,
        volume: VolumeId([9; 16]),
        disk_bytes: DEFAULT_GROUP_BYTES,
        geometry: Geometry::new(DEFAULT_GROUP_BYTES, 1).expect("a geometry"),
        extent_bytes: limits::EXTENT_BYTES,
        nodes: (0..SEGMENTS).map(entry).collect(),
        relocation: Relocation::default(),
    }
}
