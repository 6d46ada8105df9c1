//! Proving blocks and mending them: a leaf is read as a whole, and block by block where that
//! fails, so that what is damaged is known; a block whose copy comes from a peer is written anew.
//!
//! What is mended keeps its version. A copy is taken only where the newest record of the block is
//! the one that the copy names: an older or newer copy, or one of a block that is gone, is left.

use crate::format::checksum::checksum;
use crate::format::index_page::{Fragment, LEAF_BLOCKS};
use crate::geometry::PAGES_PER_BLOCK;
use crate::ids::{GroupBlock, GroupId};
use crate::lsn::Lsn;
use crate::message::{BlockDigest, CopiedBlock, LeafDigests, NodeFailure, Reply, RequestId};
use crate::page::{PAGE_BYTES, PageBuf};
use crate::page_run::PageRun;
use crate::planted::{Bug, is_planted};
use crate::segment::append::Then;
use crate::segment::block_index::MissingLeaf;
use crate::segment::catch_up::image_of;
use crate::segment::effect::DiskError;
use crate::segment::node::{Node, Operation};
use crate::segment::serve::{Serving, blocks_of, with_content};
use std::collections::HashMap;

/// What a block is read for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// Its checksum, beside what the whole leaf is as of.
    Digest {
        applied: Lsn,
        next_leaf: Option<u32>,
        index_damaged: bool,
    },
    /// Its content.
    Copy,
}

/// Blocks of one leaf that are being read.
#[derive(Debug)]
pub(super) struct Look {
    purpose: Purpose,
    /// Content where it was read and checks.
    blocks: Vec<CopiedBlock>,
    /// Reads that have not ended.
    open: usize,
}

impl Look {
    fn answer(self, id: RequestId) -> Reply {
        match self.purpose {
            Purpose::Digest {
                applied,
                next_leaf,
                index_damaged,
            } => {
                let result = Ok(LeafDigests {
                    applied,
                    index_damaged,
                    blocks: self.blocks.iter().map(digest).collect(),
                    next_leaf,
                });
                Reply::Examined { id, result }
            }
            Purpose::Copy => {
                let proven = self.blocks.into_iter().filter(|b| b.content.is_some());
                let result = Ok(proven.collect());
                Reply::Blocks { id, result }
            }
        }
    }
}

/// Blocks being read one by one.
pub(super) type Looks = HashMap<RequestId, Look>;

/// A leaf that is read as a whole.
#[derive(Debug)]
pub(super) struct WholeLeaf {
    id: RequestId,
    first: GroupBlock,
    look: Look,
    /// Block counted from the first, fragment.
    found: Vec<(u32, Fragment)>,
}

fn digest(block: &CopiedBlock) -> BlockDigest {
    BlockDigest {
        block: block.block,
        lsn: block.lsn,
        content: block.content.as_ref().map(|pages| checksum(pages.bytes())),
    }
}

impl Node {
    /// Reads every block of a leaf, whose own page did not check if `index_damaged`.
    pub(super) fn examine(
        &mut self,
        id: RequestId,
        group: GroupId,
        leaf: u32,
        index_damaged: bool,
    ) -> Result<(), MissingLeaf> {
        let leaves = self.config().geometry.group_blocks / LEAF_BLOCKS;
        let segment = self.segments.get(&group).filter(|segment| segment.complete);
        let Some(applied) = segment.map(|s| s.applied).filter(|_| leaf < leaves) else {
            let result = Err(NodeFailure::Behind);
            self.send(Reply::Examined { id, result });
            return Ok(());
        };
        let first = GroupBlock(leaf * LEAF_BLOCKS);
        let found = self.index.lookup(group, first, LEAF_BLOCKS)?;
        let next_leaf = self.index.next_leaf(group, leaf + 1);
        let look = Look {
            purpose: Purpose::Digest {
                applied,
                next_leaf,
                index_damaged,
            },
            blocks: blocks_of(first, &found),
            open: 0,
        };
        if found.is_empty() {
            self.send(look.answer(id));
            return Ok(());
        }
        // It gives way to the foreground as collection does: the writer asks for one at a time.
        let run = PageRun::of_blocks(first, LEAF_BLOCKS);
        let fragments = found.clone();
        let whole = WholeLeaf {
            id,
            first,
            look,
            found,
        };
        let serving = Serving::WholeLeaf(Box::new(whole));
        self.materialize(run, &fragments, Operation::Serve(serving));
        Ok(())
    }

    pub(super) fn on_whole_leaf(&mut self, whole: WholeLeaf, result: Result<PageBuf, DiskError>) {
        let WholeLeaf {
            id,
            first,
            mut look,
            found,
        } = whole;
        match result {
            Ok(pages) => {
                look.blocks = with_content(look.blocks, &pages.share(), Lsn::NONE);
                self.send(look.answer(id));
            }
            Err(_) => self.read_one_by_one(id, look, first, &found),
        }
    }

    /// Reads blocks for a peer.
    pub(super) fn serve_blocks(
        &mut self,
        id: RequestId,
        group: GroupId,
        blocks: &[GroupBlock],
    ) -> Result<(), MissingLeaf> {
        let group_blocks = self.config().geometry.group_blocks;
        let is_sound = blocks.len() <= LEAF_BLOCKS as usize
            && blocks.iter().all(|block| block.0 < group_blocks)
            && blocks.is_sorted();
        if !is_sound || !self.is_complete(group) {
            let result = Err(NodeFailure::Behind);
            self.send(Reply::Blocks { id, result });
            return Ok(());
        }
        let first = blocks.first().copied().unwrap_or(GroupBlock(0));
        let mut found = Vec::new();
        for block in blocks {
            let fragments = self.index.lookup(group, *block, 1)?;
            let offset = block.0 - first.0;
            found.extend(
                fragments
                    .into_iter()
                    .map(|(_, fragment)| (offset, fragment)),
            );
        }
        let look = Look {
            purpose: Purpose::Copy,
            blocks: blocks_of(first, &found),
            open: 0,
        };
        self.read_one_by_one(id, look, first, &found);
        Ok(())
    }

    /// Has each block materialized by itself, all at once: their extents stay until they are read.
    fn read_one_by_one(
        &mut self,
        id: RequestId,
        mut look: Look,
        first: GroupBlock,
        found: &[(u32, Fragment)],
    ) {
        if look.blocks.is_empty() {
            return self.send(look.answer(id));
        }
        if self.looks.contains_key(&id) {
            // The question came twice.
            return;
        }
        look.open = look.blocks.len();
        self.looks.insert(id, look);
        for (place, of_block) in found.chunk_by(|one, next| one.0 == next.0).enumerate() {
            let block = GroupBlock(first.0 + of_block[0].0);
            let fragments: Vec<(u32, Fragment)> = of_block.iter().map(|(_, f)| (0, *f)).collect();
            let serving = Serving::Block { look: id, place };
            let run = PageRun::of_blocks(block, 1);
            self.materialize(run, &fragments, Operation::Serve(serving));
        }
    }

    pub(super) fn on_block_read(
        &mut self,
        id: RequestId,
        place: usize,
        result: Result<PageBuf, DiskError>,
    ) {
        let Some(look) = self.looks.get_mut(&id) else {
            return;
        };
        look.blocks[place].content = result.ok().map(PageBuf::share);
        look.open -= 1;
        if look.open == 0
            && let Some(look) = self.looks.remove(&id)
        {
            self.send(look.answer(id));
        }
    }

    /// Writes blocks of the same version anew. What the log has no room for is left: a repair must
    /// not take what collection needs to make room.
    pub(super) fn repair(
        &mut self,
        id: RequestId,
        group: GroupId,
        blocks: &[CopiedBlock],
    ) -> Result<(), MissingLeaf> {
        let mut images = Vec::new();
        for block in blocks.iter().take(LEAF_BLOCKS as usize) {
            if self.is_same_version(group, block)? {
                images.extend(image_of(group, block.clone()));
            }
        }
        let bytes = (images.len() * (PAGES_PER_BLOCK + 1) * PAGE_BYTES) as u64;
        let needed = bytes + self.append.waiting_bytes() + self.housekeeping_reserve();
        if images.is_empty() || self.log.room() < needed {
            self.send(Reply::Repaired { id, blocks: 0 });
            return Ok(());
        }
        let count = images.len() as u32;
        let mut frames = self.frames_of(images);
        let last = frames.pop().unwrap_or_default();
        // From here to their arrival in the index a discard may overtake them.
        self.rewrites_in_flight += frames.len() + 1;
        for frame in frames {
            self.enqueue_local(frame, Then::Repaired(None));
        }
        self.enqueue_local(last, Then::Repaired(Some((id, count))));
        Ok(())
    }

    fn is_same_version(&self, group: GroupId, copy: &CopiedBlock) -> Result<bool, MissingLeaf> {
        let is_whole = |pages: &crate::page::Pages| pages.page_count() == PAGES_PER_BLOCK;
        let is_sound = copy.block.0 < self.config().geometry.group_blocks
            && copy.content.as_ref().is_some_and(is_whole);
        if !is_sound || !self.is_complete(group) {
            return Ok(false);
        }
        let newest = self.index.newest(group, copy.block)?;
        Ok(newest == Some(copy.lsn) || is_planted(Bug::RepairIgnoresVersion))
    }

    /// A frame of mended blocks is in the index.
    pub(super) fn on_repaired(&mut self, last: Option<(RequestId, u32)>) {
        self.rewrite_done();
        // What damage kept from being collected may be dead now.
        self.cleaning.look_again();
        if let Some((id, blocks)) = last {
            self.send(Reply::Repaired { id, blocks });
        }
    }
}
