//! A storage node: one log, one index, the segments of the groups it holds.
//!
//! The node is a state machine without I/O (law 8): requests and disk completions go in by
//! [`Node::on_request`] and [`Node::on_disk`], effects come out by [`Node::poll`]. Aurora's
//! foreground steps (receive, persist, acknowledge) are in `append`; gaps and SCL in
//! `lsn_chain`; the way into the index in `apply`; folding in `coalesce`; collection in `garbage`; the index's way to disk in
//! `checkpoint`; what peers are given and given by them in `serve`, `catch_up` and `gossip`; groups that leave the node in `release`; what is damaged, and
//! written anew, in `examine` and `metadata`.
//!
//! Everything that a node says is decided by its own directory: it shares nothing with others.

use crate::config::VolumeConfig;
use crate::format::index_page::{IndexIdentity, Location, PageRef};
use crate::format::redo_record::{RecordHeader, RecordKind};
use crate::format::superblock::Superblock;
use crate::ids::{ExtentSequence, GroupBlock, GroupId, NodeId, VolumeEpoch};
use crate::lsn::Lsn;
use crate::message::{NodeFailure, Reply, Request, RequestId, Space};
use crate::page::Pages;
use crate::planted::{Bug, is_planted};
use crate::segment::append::{AppendQueue, Then};
use crate::segment::block_index::{BlockIndex, MissingLeaf};
use crate::segment::catch_up::{FilledMark, Puts};
use crate::segment::checkpoint::Checkpoint;
use crate::segment::coalesce::Folding;
use crate::segment::effect::{DiskCompletion, DiskError, NodeEffect, OperationId};
use crate::segment::examine::Looks;
use crate::segment::extent_usage::ExtentUsage;
use crate::segment::garbage::Cleaning;
use crate::segment::gossip::Gossip;
use crate::segment::hot_log::HotLog;
use crate::segment::lsn_chain::Segment;
use crate::segment::metadata::{Piece, Survey};
use crate::segment::plausible;
use crate::segment::promise::SuperblockWriter;
use crate::segment::serve::Serving;
use crate::segment::tombstone::Tombstones;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// What a completion belongs to.
#[derive(Debug)]
pub(super) enum Operation {
    /// Of the frame with this number.
    Append(u64),
    Superblock,
    Allocate,
    LoadLeaf(MissingLeaf),
    LoadOrphan(MissingLeaf),
    Survey(RequestId, Piece),
    /// Of a leaf that is to be examined.
    ProveLeaf(Box<Request>, PageRef),
    Serve(Serving),
    Fold {
        group: GroupId,
        block: GroupBlock,
        lsn: Lsn,
    },
    CleaningChunk,
    /// The run with this number of what is live of a frame.
    CleaningRun(usize),
}

/// What waits for a leaf of the index to be loaded.
#[derive(Debug)]
pub(super) enum Parked {
    Request(Request),
    Fold(GroupId, GroupBlock),
    Cleaning,
    Checkpoint,
}

/// A storage node; see the module's page.
#[derive(Debug)]
pub struct Node {
    pub(super) superblock: Superblock,
    pub(super) superblock_writer: SuperblockWriter,
    pub(super) log: HotLog,
    pub(super) segments: BTreeMap<GroupId, Segment>,
    /// Groups whose segment may have a tail.
    pub(super) tails: BTreeSet<GroupId>,
    pub(super) tombstones: Tombstones,
    /// Groups that were let go, until they come back: what is still on its way of them is left out.
    pub(super) released: BTreeSet<GroupId>,
    pub(super) index: BlockIndex,
    pub(super) usage: ExtentUsage,
    /// The highest VDL that the node was told: everything at or below it is durable.
    pub(super) announced: Lsn,
    pub(super) append: AppendQueue,
    pub(super) checkpoint: Checkpoint,
    pub(super) cleaning: Cleaning,
    pub(super) folding: Folding,
    pub(super) looks: Looks,
    pub(super) puts: Puts,
    pub(super) gossip: Gossip,
    pub(super) survey: Option<Survey>,
    /// Folds, moves and repairs under way: their content could be overtaken by a discard.
    pub(super) rewrites_in_flight: usize,
    pub(super) tail_damaged: bool,
    pub(super) replay_low: Lsn,
    pub(super) fenced: bool,
    /// The epoch of the writer that has it filled to take another directory's place.
    succeeds_in: Option<VolumeEpoch>,
    /// What the writer was told last of the node's space.
    pub(super) told_space: Space,
    /// An [`NodeEffect::Idle`] was not answered yet.
    pub(super) asked_for_idle: bool,
    pub(super) now: Instant,
    operations: HashMap<OperationId, Operation>,
    pinned: HashMap<OperationId, Vec<ExtentSequence>>,
    next_operation: u64,
    loading: HashMap<(GroupId, u32), Vec<Parked>>,
    effects: VecDeque<NodeEffect>,
    pub(super) checksum_errors: u64,
}

/// A node's figures for status.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeFigures {
    /// The highest SCL of its complete segments.
    pub scl: Lsn,
    /// Bytes of its log files.
    pub log_bytes: u64,
    /// Bytes of its log that are needed.
    pub live_bytes: u64,
    /// Reads that did not check.
    pub checksum_errors: u64,
}

impl Node {
    /// A node with an empty log, as after creation. `index_bytes` bounds the memory of its index.
    pub fn new(superblock: Superblock, index_bytes: usize) -> Node {
        let extent_bytes = superblock.config.extent_bytes;
        Node {
            superblock,
            superblock_writer: SuperblockWriter::default(),
            log: HotLog::new(extent_bytes),
            segments: BTreeMap::new(),
            tails: BTreeSet::new(),
            tombstones: Tombstones::default(),
            released: BTreeSet::new(),
            index: BlockIndex::new(index_bytes),
            usage: ExtentUsage::default(),
            announced: Lsn::NONE,
            append: AppendQueue::new(),
            checkpoint: Checkpoint::default(),
            cleaning: Cleaning::default(),
            folding: Folding::default(),
            looks: Looks::default(),
            puts: Puts::default(),
            gossip: Gossip::default(),
            survey: None,
            rewrites_in_flight: 0,
            tail_damaged: false,
            replay_low: Lsn::MAX,
            fenced: false,
            succeeds_in: None,
            told_space: Space::default(),
            asked_for_idle: false,
            now: Instant::default(),
            operations: HashMap::new(),
            pinned: HashMap::new(),
            next_operation: 0,
            loading: HashMap::new(),
            effects: VecDeque::new(),
            checksum_errors: 0,
        }
    }

    /// Which node this is.
    pub fn id(&self) -> NodeId {
        self.superblock.node
    }

    /// What the node knows of itself.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The groups that the node has a segment of.
    pub fn groups(&self) -> Vec<GroupId> {
        self.segments.keys().copied().collect()
    }

    /// Whether the node is out of service: a write or sync failed (law 6), or its index has what
    /// the volume has annulled.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Figures for status.
    pub fn figures(&self) -> NodeFigures {
        let complete = self.segments.values().filter(|segment| segment.complete);
        NodeFigures {
            scl: complete
                .map(|segment| segment.scl)
                .max()
                .unwrap_or(Lsn::NONE),
            log_bytes: self.log.total_bytes(),
            live_bytes: self.usage.total(),
            checksum_errors: self.checksum_errors,
        }
    }

    /// Bytes of its log that it gave up without having counted them; see [`ExtentUsage::overdrawn`].
    pub fn overdrawn_bytes(&self) -> u64 {
        self.usage.overdrawn()
    }

    /// The next effect to be carried out.
    pub fn poll(&mut self) -> Option<NodeEffect> {
        self.effects.pop_front()
    }

    /// A request arrived.
    pub fn on_request(&mut self, now: Instant, request: Request) {
        self.now = now;
        if self.fenced {
            return self.refuse(&request, NodeFailure::OutOfService, Reply::Fenced);
        }
        if !matches!(request, Request::Append { .. } | Request::Announce { .. }) {
            self.apply_tails();
        }
        self.handle(request);
        self.work();
    }

    /// The disk did something.
    pub fn on_disk(&mut self, now: Instant, completion: DiskCompletion) {
        self.now = now;
        if self.fenced {
            return;
        }
        match completion {
            DiskCompletion::Done { operation, result } => self.on_done(operation, result),
            DiskCompletion::Read { operation, result } => {
                self.unpin(operation);
                match self.operations.remove(&operation) {
                    Some(Operation::LoadLeaf(leaf)) => self.on_leaf(leaf, result),
                    Some(Operation::LoadOrphan(orphan)) => self.on_orphan(orphan, result),
                    Some(Operation::CleaningChunk) => self.on_cleaning_chunk(result),
                    Some(Operation::CleaningRun(number)) => self.on_cleaning_run(number, result),
                    Some(Operation::Survey(id, piece)) => self.on_piece(id, &piece, result),
                    Some(Operation::ProveLeaf(request, page)) => {
                        self.on_leaf_page(*request, page, result);
                    }
                    _ => {}
                }
            }
            DiskCompletion::Materialized { operation, result } => {
                self.unpin(operation);
                if matches!(result, Err(DiskError::Damaged)) {
                    self.checksum_errors += 1;
                }
                match self.operations.remove(&operation) {
                    Some(Operation::Serve(serving)) => self.on_served(serving, result),
                    Some(Operation::Fold { group, block, lsn }) => {
                        self.on_folded(group, block, lsn, result);
                    }
                    _ => {}
                }
            }
        }
        self.work();
    }

    /// Time has passed: one bounded step of the background work.
    pub fn on_tick(&mut self, now: Instant) {
        self.now = now;
        self.log.retry();
        if !self.fenced {
            self.apply_tails();
            self.gossip_next();
            self.work();
        }
    }

    /// Starts whatever can be started: appends, allocation, checkpoint, collection, folding.
    pub(super) fn work(&mut self) {
        self.fold_next();
        self.checkpoint_next();
        self.clean_next();
        self.put_next();
        self.append_next();
        self.allocate_next();
        self.tell_space();
    }

    fn on_done(&mut self, operation: OperationId, result: Result<(), DiskError>) {
        let kind = self.operations.remove(&operation);
        match (kind, result) {
            (Some(Operation::Append(number)), Ok(())) => self.on_appended(number),
            (Some(Operation::Append(number)), _) if is_planted(Bug::FailedAppendIgnored) => {
                self.on_appended(number);
            }
            (Some(Operation::Superblock), Ok(())) => self.on_superblock_written(),
            (Some(Operation::Allocate), Ok(())) => self.on_allocated(true),
            (Some(Operation::Allocate), Err(DiskError::Full))
                if !is_planted(Bug::FullNodeThrownAway) =>
            {
                self.on_allocated(false);
            }
            (Some(_), Err(_)) => self.fence(),
            _ => {}
        }
    }

    /// Out of service for good: a write or sync failed, and nothing may be tried again (law 6).
    pub fn fence(&mut self) {
        if !self.fenced {
            self.fenced = true;
            self.effects.clear();
            self.operations.clear();
            self.send(Reply::Fenced);
        }
    }

    /// Answers a request that is not carried out: `failure` where its answer has a place for one.
    fn refuse(&mut self, request: &Request, failure: NodeFailure, otherwise: Reply) {
        match request {
            Request::Read { id, .. } => {
                self.send(Reply::Pages {
                    id: *id,
                    result: Err(failure),
                });
            }
            Request::Presence { id, .. } => {
                self.send(Reply::Present {
                    id: *id,
                    result: Err(failure),
                });
            }
            Request::Fetch { id, .. } => {
                self.send(Reply::Records {
                    id: *id,
                    result: Err(failure),
                });
            }
            Request::FetchLeaves { id, .. } => {
                self.send(Reply::Leaves {
                    id: *id,
                    count: None,
                    result: Err(failure),
                });
            }
            Request::Examine { id, .. } => {
                self.send(Reply::Examined {
                    id: *id,
                    result: Err(failure),
                });
            }
            Request::ExamineMetadata { id, .. } => {
                self.send(Reply::MetadataExamined {
                    id: *id,
                    result: Err(failure),
                });
            }
            Request::FetchBlocks { id, .. } => {
                self.send(Reply::Blocks {
                    id: *id,
                    result: Err(failure),
                });
            }
            _ => self.send(otherwise),
        }
    }

    /// Whether the request may be handled: its epoch is the promised one, and until the node holds
    /// its writer's list, what it has may be annulled.
    fn is_due(&self, request: &Request) -> bool {
        let promised = self.superblock.promised;
        let is_of_list = matches!(
            request,
            Request::HoldList { .. } | Request::Configure { .. }
        );
        (request.epoch() == promised || is_planted(Bug::StaleEpochAccepted))
            && (is_of_list || self.superblock.list.epoch == promised)
    }

    /// Handles a request whose epoch is the promised one; an older writer is refused, and told.
    pub(super) fn handle(&mut self, request: Request) {
        if let Request::Promise { epoch } = request {
            return self.on_promise(epoch);
        }
        if !self.is_due(&request) {
            let promised = self.superblock.promised;
            let refused = Reply::Refused { promised };
            return self.refuse(&request, NodeFailure::Behind, refused);
        }
        match request {
            Request::Promise { .. } => {}
            Request::HoldList {
                list,
                config,
                as_successor,
                ..
            } => {
                self.succeeds_in = as_successor.then_some(list.epoch);
                self.on_hold_list(list, config);
            }
            Request::Append { frame } => self.on_append(frame),
            Request::Announce { vdl, .. } => {
                self.hear(vdl);
                self.tell_room();
            }
            Request::Configure { config, .. } => self.on_configure(config),
            Request::BeginCatchUp {
                copy, anew, groups, ..
            } => self.on_begin_catch_up(copy, anew, groups),
            Request::PutLeaves {
                id,
                copy,
                group,
                base,
                filled,
                leaves,
                ..
            } => {
                let mark = FilledMark {
                    copy,
                    group,
                    base,
                    filled,
                };
                self.on_put_leaves(id, mark, leaves);
            }
            Request::CompleteGroup {
                copy, group, base, ..
            } => self.on_complete_group(copy, group, base),
            Request::Release { groups, .. } => self.on_release(groups),
            Request::Read { .. }
            | Request::Presence { .. }
            | Request::Fetch { .. }
            | Request::FetchLeaves { .. }
            | Request::FetchBlocks { .. }
            | Request::Repair { .. } => self.serve(request),
            Request::Examine { vdl, .. } => {
                self.announce(vdl);
                self.examine_with_page(request);
            }
            Request::ExamineMetadata { id, .. } => self.examine_metadata(id),
        }
    }

    /// Identity in the node's index pages.
    pub(super) fn index_identity(&self) -> IndexIdentity {
        IndexIdentity {
            volume: self.config().volume,
            node: self.superblock.node,
            incarnation: self.superblock.incarnation,
        }
    }

    pub(super) fn config(&self) -> &VolumeConfig {
        &self.superblock.config
    }

    /// Whether the directory's present life is the admitted one, or is to be.
    pub(super) fn is_admitted(&self) -> bool {
        let entry = &self.config().nodes[self.superblock.node.index()];
        entry.incarnation == self.superblock.incarnation
            || self.succeeds_in == Some(self.superblock.promised)
    }

    pub(super) fn send(&mut self, reply: Reply) {
        self.effects.push_back(NodeEffect::Send(reply));
    }

    pub(super) fn push_effect(&mut self, effect: NodeEffect) {
        self.effects.push_back(effect);
    }

    pub(super) fn begin(&mut self, operation: Operation) -> OperationId {
        let id = OperationId(self.next_operation);
        self.next_operation += 1;
        self.operations.insert(id, operation);
        id
    }

    /// Keeps extents from being freed until the operation has completed.
    pub(super) fn pin(&mut self, operation: OperationId, extents: Vec<ExtentSequence>) {
        self.pinned.insert(operation, extents);
    }

    fn unpin(&mut self, operation: OperationId) {
        self.pinned.remove(&operation);
    }

    pub(super) fn is_pinned(&self, extent: ExtentSequence) -> bool {
        self.pinned
            .values()
            .any(|extents| extents.contains(&extent))
    }

    /// Loads a leaf and lets `parked` try again when it is there.
    pub(super) fn load_leaf(&mut self, leaf: MissingLeaf, parked: Parked) {
        let waiting = self.loading.entry((leaf.group, leaf.leaf)).or_default();
        waiting.push(parked);
        if waiting.len() > 1 {
            return;
        }
        let at = leaf.page.at;
        let is_place = plausible::is_place(self.config(), at);
        let slot = self.log.slot_of(at.extent);
        let Some(slot) = slot.filter(|_| is_place) else {
            return self.on_leaf(leaf, Err(DiskError::Damaged));
        };
        self.read_location(Operation::LoadLeaf(leaf), slot, at);
    }

    /// Reads a place of the log, whose extent is not freed until that has completed.
    pub(super) fn read_location(
        &mut self,
        operation: Operation,
        slot: crate::ids::ExtentSlot,
        location: Location,
    ) {
        let operation = self.begin(operation);
        self.pin(operation, vec![location.extent]);
        self.push_effect(NodeEffect::Read {
            operation,
            slot,
            offset: u64::from(location.page) * crate::page::PAGE_BYTES as u64,
            pages: location.pages as usize,
        });
    }

    fn on_leaf(&mut self, leaf: MissingLeaf, result: Result<crate::page::PageBuf, DiskError>) {
        let identity = self.index_identity();
        let loaded = result.is_ok_and(|pages| {
            let usage = &mut self.usage;
            let loaded = self
                .index
                .leaf_loaded(&identity, leaf, pages.bytes(), usage);
            loaded.is_ok()
        });
        if !loaded {
            self.lose_leaf(leaf);
        }
        for parked in self
            .loading
            .remove(&(leaf.group, leaf.leaf))
            .unwrap_or_default()
        {
            match parked {
                Parked::Request(request) => self.handle(request),
                Parked::Fold(group, block) => self.fold(group, block),
                Parked::Cleaning => self.continue_cleaning(),
                Parked::Checkpoint => {
                    self.checkpoint.waiting = self.checkpoint.waiting.saturating_sub(1)
                }
            }
        }
    }

    /// A page of the index is lost: what it located is unknown, so the segment is incomplete. That
    /// is logged, since the next checkpoint does not name the page any more.
    fn lose_leaf(&mut self, leaf: MissingLeaf) {
        self.checksum_errors += 1;
        self.index.forget_base(leaf, &mut self.usage);
        if let Some(segment) = self.segments.get_mut(&leaf.group) {
            segment.spoil();
            let applied = segment.applied;
            let block = GroupBlock(0);
            let mark = RecordHeader::bare(RecordKind::Incomplete, applied, leaf.group, block);
            self.enqueue_local(vec![(mark, Pages::empty())], Then::Local);
        }
        self.send(Reply::SegmentDamaged { group: leaf.group });
    }
}
