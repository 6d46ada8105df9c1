//! Answers from the index and the log: pages, presence, records of the tail, leaves for a peer.

use crate::format::index_page::{Fragment, LEAF_BLOCKS};
use crate::format::redo_record::RecordHeader;
use crate::geometry::PAGES_PER_BLOCK;
use crate::ids::{ExtentSequence, GroupBlock, GroupId, NodeId, VolumeEpoch};
use crate::lsn::Lsn;
use crate::message::{CopiedBlock, LeafCopy, NodeFailure, Reply, Request, RequestId};
use crate::page::{PAGE_BYTES, PageBuf, Pages};
use crate::page_run::PageRun;
use crate::planted::{Bug, is_planted};
use crate::segment::block_index::MissingLeaf;
use crate::segment::effect::{DiskCompletion, DiskError, NodeEffect, PlanPiece, ReadPlan};
use crate::segment::examine::WholeLeaf;
use crate::segment::lsn_chain::TailEntry;
use crate::segment::materialize;
use crate::segment::node::{Node, Operation, Parked};

/// A read under way for somebody.
#[derive(Debug)]
pub(super) enum Serving {
    /// Pages for the writer.
    Pages(RequestId),
    /// Payload of tail records.
    Records {
        id: RequestId,
        records: Vec<RecordHeader>,
    },
    /// Records for a peer that asked for them.
    Peer {
        to: NodeId,
        epoch: VolumeEpoch,
        group: GroupId,
        records: Vec<RecordHeader>,
        is_all: bool,
    },
    /// A leaf for a peer; the result holds the whole leaf, `blocks` what is in it.
    Leaf {
        id: RequestId,
        count: Option<u32>,
        leaf: u32,
        since: Lsn,
        blocks: Vec<CopiedBlock>,
    },
    /// A leaf that is examined.
    WholeLeaf(Box<WholeLeaf>),
    /// A block of those that are being looked at.
    Block { look: RequestId, place: usize },
}

impl Node {
    /// Serves a reading request, or parks it until a leaf of the index is loaded.
    pub(super) fn serve(&mut self, request: Request) {
        let missing = match &request {
            Request::Read {
                id,
                group,
                run,
                vdl,
                tip,
                ..
            } => {
                self.announce(*vdl);
                self.serve_pages(*id, *group, *run, *tip)
            }
            Request::Presence {
                id,
                group,
                leaf,
                vdl,
                ..
            } => {
                self.announce(*vdl);
                self.serve_presence(*id, *group, *leaf)
            }
            Request::Fetch {
                id,
                group,
                after,
                upto,
                ..
            } => {
                self.serve_records(*id, *group, *after, *upto);
                Ok(())
            }
            Request::FetchLeaves {
                id,
                group,
                leaf,
                since,
                base,
                ..
            } => self.serve_leaf(*id, *group, *leaf, *since, *base),
            Request::FetchBlocks {
                id, group, blocks, ..
            } => self.serve_blocks(*id, *group, blocks),
            Request::Repair {
                id, group, blocks, ..
            } => self.repair(*id, *group, blocks),
            _ => Ok(()),
        };
        if let Err(leaf) = missing {
            self.load_leaf(leaf, Parked::Request(request));
        }
    }

    /// Whether the node has a segment of the group, and it is complete.
    pub(super) fn is_complete(&self, group: GroupId) -> bool {
        let segment = self.segments.get(&group);
        segment.is_some_and(|segment| segment.complete)
    }

    /// Whether the segment can prove that it has everything of the group up to `tip`.
    fn covers(&self, group: GroupId, tip: Lsn) -> bool {
        let segment = self.segments.get(&group);
        let is_lax = is_planted(Bug::ReadBelowReadPoint) || is_planted(Bug::RepairFromStalePeer);
        segment.is_some_and(|segment| segment.complete && (segment.applied >= tip || is_lax))
    }

    fn serve_pages(
        &mut self,
        id: RequestId,
        group: GroupId,
        run: PageRun,
        tip: Lsn,
    ) -> Result<(), MissingLeaf> {
        let inside = run.is_inside(self.config().geometry.group_blocks);
        if !inside || !self.covers(group, tip) {
            self.send(Reply::Pages {
                id,
                result: Err(NodeFailure::Behind),
            });
            return Ok(());
        }
        let found = self.index.lookup(group, run.first_block(), run.blocks())?;
        // Collection gives way to reads, too; they leave no garbage, so they earn it less.
        let bytes = u64::from(run.pages) * PAGE_BYTES as u64;
        self.cleaning.on_foreground(self.now, bytes / 4);
        self.materialize(run, &found, Operation::Serve(Serving::Pages(id)));
        Ok(())
    }

    /// Has pages materialized from the fragments of their blocks (block in the run, fragment);
    /// the extents stay until it is done.
    pub(super) fn materialize(
        &mut self,
        run: PageRun,
        found: &[(u32, Fragment)],
        operation: Operation,
    ) {
        let plan = materialize::plan(run, found, |extent| self.log.slot_of(extent));
        let operation = self.begin(operation);
        let Some(plan) = plan else {
            let result = Err(DiskError::Damaged);
            return self.on_disk(self.now, DiskCompletion::Materialized { operation, result });
        };
        let mut extents: Vec<ExtentSequence> = found.iter().map(|(_, f)| f.extent).collect();
        extents.dedup();
        self.pin(operation, extents);
        self.push_effect(NodeEffect::Materialize { operation, plan });
    }

    /// How a block would be read now: which pages of the log give its content. `None` when nothing
    /// does, or its leaf is not in memory.
    pub fn plan_of(&mut self, group: GroupId, block: GroupBlock) -> Option<ReadPlan> {
        let found = self.index.lookup(group, block, 1).ok()?;
        let run = PageRun::of_blocks(block, 1);
        materialize::plan(run, &found, |extent| self.log.slot_of(extent))
    }

    pub(super) fn on_served(&mut self, serving: Serving, result: Result<PageBuf, DiskError>) {
        let failure = |_| NodeFailure::Damaged;
        match serving {
            Serving::Pages(id) => {
                let result = result.map_err(failure);
                self.send(Reply::Pages { id, result });
            }
            Serving::Records { id, records } => {
                let result = result.map(|pages| with_payload(records, &pages.share()));
                let result = result.map_err(failure);
                self.send(Reply::Records { id, result });
            }
            Serving::Peer {
                to,
                epoch,
                group,
                records,
                is_all,
            } => self.on_read_for_peer((to, epoch, group), records, is_all, result),
            Serving::Leaf {
                id,
                count,
                leaf,
                since,
                blocks,
            } => {
                let copy = |pages: PageBuf| LeafCopy {
                    first_leaf: leaf,
                    end_leaf: leaf + 1,
                    blocks: with_content(blocks, &pages.share(), since),
                };
                let result = result.map(copy).map_err(failure);
                self.send(Reply::Leaves { id, count, result });
            }
            Serving::WholeLeaf(whole) => self.on_whole_leaf(*whole, result),
            Serving::Block { look, place } => self.on_block_read(look, place, result),
        }
    }

    fn serve_presence(
        &mut self,
        id: RequestId,
        group: GroupId,
        leaf: u32,
    ) -> Result<(), MissingLeaf> {
        if !self.is_complete(group) {
            self.send(Reply::Present {
                id,
                result: Err(NodeFailure::Behind),
            });
            return Ok(());
        }
        let bits = self.index.presence(group, leaf)?;
        let next = self.index.next_leaf(group, leaf + 1);
        self.send(Reply::Present {
            id,
            result: Ok((bits, next)),
        });
        Ok(())
    }

    /// Records of the tail with their payload. What the index has taken in is not given here: a
    /// peer that lacks it copies blocks.
    fn serve_records(&mut self, id: RequestId, group: GroupId, after: Lsn, upto: Lsn) {
        let chain = self
            .segments
            .get(&group)
            .and_then(|segment| segment.chain(after, upto));
        let Some(chain) = chain else {
            return self.send(Reply::Records {
                id,
                result: Err(NodeFailure::Behind),
            });
        };
        let plan = self.plan_of_records(&chain);
        let records = chain.iter().map(|entry| entry.record).collect();
        let operation = self.begin(Operation::Serve(Serving::Records { id, records }));
        let mut extents: Vec<ExtentSequence> = chain.iter().map(|e| e.payload.extent).collect();
        extents.dedup();
        self.pin(operation, extents);
        self.push_effect(NodeEffect::Materialize { operation, plan });
    }

    /// Each record's payload into a block of its own.
    pub(super) fn plan_of_records(&self, chain: &[TailEntry]) -> ReadPlan {
        let piece = |(place, entry): (usize, &TailEntry)| {
            let pages = u32::from(entry.record.payload_pages);
            let result_page = (place * PAGES_PER_BLOCK) as u32;
            Some(PlanPiece {
                slot: self.log.slot_of(entry.payload.extent)?,
                file_page: entry.payload.page,
                pages,
                result_page,
                start: result_page * PAGE_BYTES as u32,
                end: (result_page + pages) * PAGE_BYTES as u32,
                checksums: entry.record.checksums,
            })
        };
        let with_payload = chain
            .iter()
            .enumerate()
            .filter(|(_, e)| e.record.payload_pages > 0);
        ReadPlan {
            pages: (chain.len() * PAGES_PER_BLOCK) as u32,
            pieces: with_payload.filter_map(piece).collect(),
        }
    }

    /// A leaf as of now: its blocks, with content where they changed after `since`. When it does not
    /// exist, the run of leaves up to the next one that does is empty.
    fn serve_leaf(
        &mut self,
        id: RequestId,
        group: GroupId,
        leaf: u32,
        since: Lsn,
        base: Lsn,
    ) -> Result<(), MissingLeaf> {
        if !self.covers(group, base) {
            self.send(Reply::Leaves {
                id,
                count: None,
                result: Err(NodeFailure::Behind),
            });
            return Ok(());
        }
        let count = (leaf == 0).then(|| self.index.count_leaves(group));
        let leaves = self.config().geometry.group_blocks / LEAF_BLOCKS;
        let found = self.index.next_leaf(group, leaf);
        let found = found.unwrap_or(leaves).min(leaves);
        if found != leaf {
            let copy = LeafCopy {
                first_leaf: leaf,
                end_leaf: found,
                blocks: Vec::new(),
            };
            let result = Ok(copy);
            self.send(Reply::Leaves { id, count, result });
            return Ok(());
        }
        let first = GroupBlock(leaf * LEAF_BLOCKS);
        let fragments = self.index.lookup(group, first, LEAF_BLOCKS)?;
        let blocks = blocks_of(first, &fragments);
        let needed = of_changed(first, &fragments, &blocks, since);
        if needed.is_empty() {
            let copy = LeafCopy {
                first_leaf: leaf,
                end_leaf: leaf + 1,
                blocks,
            };
            let result = Ok(copy);
            self.send(Reply::Leaves { id, count, result });
            return Ok(());
        }
        let serving = Serving::Leaf {
            id,
            count,
            leaf,
            since,
            blocks,
        };
        let run = PageRun::of_blocks(first, LEAF_BLOCKS);
        self.materialize(run, &needed, Operation::Serve(serving));
        Ok(())
    }
}

/// The blocks that fragments (block counted from `first`) give, without content.
pub(super) fn blocks_of(first: GroupBlock, fragments: &[(u32, Fragment)]) -> Vec<CopiedBlock> {
    let of_blocks = fragments.chunk_by(|one, next| one.0 == next.0);
    let block = |run: &[(u32, Fragment)]| {
        let lsns = run.iter().map(|(_, fragment)| fragment.lsn);
        CopiedBlock {
            block: GroupBlock(first.0 + run[0].0),
            lsn: lsns.max().unwrap_or(Lsn::NONE),
            content: None,
        }
    };
    of_blocks.map(block).collect()
}

/// The fragments (block counted from `first`) of the blocks that changed after `since`.
fn of_changed(
    first: GroupBlock,
    fragments: &[(u32, Fragment)],
    blocks: &[CopiedBlock],
    since: Lsn,
) -> Vec<(u32, Fragment)> {
    let changed = |offset: u32| {
        let block = GroupBlock(first.0 + offset);
        let mut blocks = blocks.iter();
        blocks.any(|copied| copied.block == block && copied.lsn > since)
    };
    let needed = fragments.iter().filter(|(offset, _)| changed(*offset));
    needed.copied().collect()
}

pub(super) fn with_payload(
    records: Vec<RecordHeader>,
    pages: &Pages,
) -> Vec<(RecordHeader, Pages)> {
    let payload = |(place, record): (usize, RecordHeader)| {
        let count = usize::from(record.payload_pages);
        (record, pages.slice(place * PAGES_PER_BLOCK, count))
    };
    records.into_iter().enumerate().map(payload).collect()
}

/// Blocks of a leaf with their content, where they changed after `since`, from the leaf's pages.
pub(super) fn with_content(
    blocks: Vec<CopiedBlock>,
    pages: &Pages,
    since: Lsn,
) -> Vec<CopiedBlock> {
    let content = |mut block: CopiedBlock| {
        let place = (block.block.0 % LEAF_BLOCKS) as usize * PAGES_PER_BLOCK;
        let changed = block.lsn > since;
        block.content = changed.then(|| pages.slice(place, PAGES_PER_BLOCK));
        block
    };
    blocks.into_iter().map(content).collect()
}
