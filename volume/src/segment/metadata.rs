//! Looking at what an open of the node would read: both slots of the superblock, the root of the
//! checkpoint, the directories and the leaves of the index. What does not check is written anew
//! from what the node has in memory.
//!
//! What an open would replay is not read: the look begins with a checkpoint, so that the next open
//! needs no frame that was there before. The frames of older extents say nothing that the index
//! does not say.

use crate::format::checksum::checksum;
use crate::format::index_page::{Location, PageRef};
use crate::format::log_frame::DecodedFrame;
use crate::format::superblock::{RootPart, SLOT_BYTES, Superblock};
use crate::ids::{ExtentSlot, GroupId};
use crate::message::{MetadataDigest, Reply, Request, RequestId};
use crate::page::{PAGE_BYTES, PageBuf};
use crate::planted::{Bug, is_planted};
use crate::segment::block_index::MissingLeaf;
use crate::segment::effect::{DiskError, NodeEffect};
use crate::segment::node::{Node, Operation, Parked};
use crate::segment::plausible;
use crate::segment::promise::Answer;
use std::collections::VecDeque;

/// Pieces that are read side by side.
const READS_AT_ONCE: usize = 8;

/// A piece of the metadata.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    /// Both slots, when the newest was of this sequence.
    Superblock(u64),
    RootPart(RootPart),
    Directory(GroupId, u32, PageRef),
}

/// A look under way.
#[derive(Debug)]
pub(super) struct Survey {
    id: RequestId,
    left: VecDeque<Piece>,
    open: usize,
    digest: MetadataDigest,
}

impl Node {
    /// Reads all metadata but the leaves, which are read with what is in them.
    pub(super) fn examine_metadata(&mut self, id: RequestId) {
        self.want_checkpoint();
        let parts = self.superblock.checkpoint.iter();
        let parts = parts.map(|part| Piece::RootPart(*part));
        let directories = self.index.directories().into_iter();
        let directories =
            directories.map(|(group, number, page)| Piece::Directory(group, number, page));
        let mut left: VecDeque<Piece> = parts.chain(directories).collect();
        left.push_back(Piece::Superblock(self.superblock.sequence));
        // A later question takes the place of one that was not answered.
        self.survey = Some(Survey {
            id,
            left,
            open: 0,
            digest: MetadataDigest::default(),
        });
        self.survey_next();
    }

    fn survey_next(&mut self) {
        while let Some(survey) = &mut self.survey
            && survey.open < READS_AT_ONCE
            && let Some(piece) = survey.left.pop_front()
        {
            survey.open += 1;
            let id = survey.id;
            let read = match piece {
                Piece::Superblock(_) => {
                    let operation = self.begin(Operation::Survey(id, piece));
                    self.push_effect(NodeEffect::ReadSuperblock { operation });
                    continue;
                }
                Piece::RootPart(part) => with_frame(&part).map(|at| (part.slot, at)),
                Piece::Directory(_, _, page) => self.place_of(page.at),
            };
            match read {
                Some((slot, at)) => {
                    self.read_location(Operation::Survey(id, piece), slot, at);
                }
                None => self.judge_piece(&piece, None),
            }
        }
        let is_done = |survey: &mut Survey| survey.open == 0 && survey.left.is_empty();
        if let Some(survey) = self.survey.take_if(is_done) {
            let (id, result) = (survey.id, Ok(survey.digest));
            self.send(Reply::MetadataExamined { id, result });
        }
    }

    fn place_of(&self, at: Location) -> Option<(ExtentSlot, Location)> {
        let slot = self.log.slot_of(at.extent)?;
        plausible::is_place(self.config(), at).then_some((slot, at))
    }

    /// A piece was read; of an earlier look it says nothing.
    pub(super) fn on_piece(
        &mut self,
        id: RequestId,
        piece: &Piece,
        result: Result<PageBuf, DiskError>,
    ) {
        if self.survey.as_ref().is_none_or(|survey| survey.id != id) {
            return;
        }
        self.judge_piece(piece, result.ok().as_ref().map(PageBuf::bytes));
        self.survey_next();
    }

    fn judge_piece(&mut self, piece: &Piece, bytes: Option<&[u8]>) {
        let damaged = match piece {
            _ if is_planted(Bug::MetadataNotLookedAt) => 0,
            Piece::Superblock(sequence) => self.judge_superblock(*sequence, bytes),
            Piece::RootPart(part) => self.judge_root_part(part, bytes),
            Piece::Directory(group, number, page) => {
                let checks = bytes.is_some_and(|bytes| checksum(bytes) == page.checksum);
                let index = &mut self.index;
                let is_bad = !checks && index.relocate_directory_if_at(*group, *number, page.at);
                self.checkpoint.wanted |= is_bad;
                u64::from(is_bad)
            }
        };
        if let Some(survey) = &mut self.survey {
            survey.open -= 1;
            survey.digest.pieces += 1;
            survey.digest.damaged += damaged;
        }
    }

    /// The slots that are not what was written there. They are written anew, and a good one never
    /// before the bad one: one of the two always counts.
    fn judge_superblock(&mut self, sequence: u64, bytes: Option<&[u8]>) -> u64 {
        if self.superblock.sequence != sequence || self.superblock_writer.is_busy() {
            // It was written meanwhile: what was read need not be what is there.
            let again = Piece::Superblock(self.superblock.sequence);
            let left = self.survey.as_mut().map(|survey| &mut survey.left);
            left.into_iter().for_each(|left| left.push_back(again));
            return 0;
        }
        let newest = self.superblock.slot();
        let is_good = |slot: usize| {
            let bytes = bytes.and_then(|both| both.get(slot * SLOT_BYTES..(slot + 1) * SLOT_BYTES));
            let found = bytes.and_then(|bytes| Superblock::decode(bytes).ok());
            found.is_some_and(|found| {
                let is_own = found.node == self.superblock.node
                    && found.incarnation == self.superblock.incarnation;
                is_own && (found.sequence == sequence) == (slot == newest)
            })
        };
        let (newest_is_bad, other_is_bad) = (!is_good(newest), !is_good(1 - newest));
        if newest_is_bad {
            // The next sequence goes to the other slot, and the one behind it to this one.
            self.superblock.sequence += 1;
        }
        if newest_is_bad && other_is_bad {
            self.write_superblock(Answer::WrittenTwice);
        } else if newest_is_bad || other_is_bad {
            self.write_superblock(Answer::Nobody);
        }
        u64::from(newest_is_bad) + u64::from(other_is_bad)
    }

    fn judge_root_part(&mut self, part: &RootPart, bytes: Option<&[u8]>) -> u64 {
        if !self.superblock.checkpoint.contains(part) {
            return 0;
        }
        let checks = bytes.is_some_and(|bytes| {
            let frame = DecodedFrame::decode(bytes).ok();
            frame.is_some_and(|frame| {
                let is_meant = frame.identity.extent == part.at.extent
                    && frame.identity.page + 1 == part.at.page
                    && frame.identity.incarnation == self.superblock.incarnation;
                is_meant && frame.payload_checks(&bytes[PAGE_BYTES..])
            })
        });
        self.checkpoint.wanted |= !checks;
        u64::from(!checks)
    }

    /// Examines a leaf after its page of the index was read, if that lies anywhere.
    pub(super) fn examine_with_page(&mut self, request: Request) {
        let Request::Examine { group, leaf, .. } = request else {
            return;
        };
        let page = self.index.leaf_page(group, leaf);
        match page.and_then(|page| Some((page, self.place_of(page.at)?))) {
            Some((page, (slot, at))) if !is_planted(Bug::MetadataNotLookedAt) => {
                let operation = Operation::ProveLeaf(Box::new(request), page);
                self.read_location(operation, slot, at);
            }
            _ => self.examine_or_load(request, false),
        }
    }

    /// The page of a leaf was read for an examination.
    pub(super) fn on_leaf_page(
        &mut self,
        request: Request,
        page: PageRef,
        result: Result<PageBuf, DiskError>,
    ) {
        let Request::Examine { group, leaf, .. } = request else {
            return;
        };
        let checks = result.is_ok_and(|pages| checksum(pages.bytes()) == page.checksum);
        // What is not in memory cannot be written anew: it is lost when it is loaded.
        let is_known = self.index.presence(group, leaf).is_ok();
        let is_bad = !checks && is_known && self.index.relocate_leaf_if_at(group, leaf, page.at);
        self.checkpoint.wanted |= is_bad;
        self.examine_or_load(request, is_bad);
    }

    fn examine_or_load(&mut self, request: Request, index_damaged: bool) {
        let Request::Examine {
            id, group, leaf, ..
        } = request
        else {
            return;
        };
        let examined: Result<(), MissingLeaf> = self.examine(id, group, leaf, index_damaged);
        if let Err(missing) = examined {
            self.load_leaf(missing, Parked::Request(request));
        }
    }
}

/// A part of a root with its frame before it, which proves what it is.
fn with_frame(part: &RootPart) -> Option<Location> {
    Some(Location {
        page: part.at.page.checked_sub(1)?,
        pages: part.at.pages + 1,
        ..part.at
    })
}
