//! Promises, lists, configuration: what a node writes into its superblock before it says it.

use crate::config::VolumeConfig;
use crate::ids::{GroupId, VolumeEpoch};
use crate::kept::Kept;
use crate::limits;
use crate::lsn::{Lsn, TruncationList};
use crate::message::{Reply, Report, RequestId, SegmentReport, TailRecord};
use crate::planted::{Bug, is_planted};
use crate::segment::effect::NodeEffect;
use crate::segment::node::{Node, Operation};

/// What is to be said once a superblock is on stable storage.
#[derive(Debug)]
pub(super) enum Answer {
    Promised(VolumeEpoch),
    ListHeld(VolumeEpoch),
    Configured(u64),
    CatchUpBegun(RequestId, Vec<(GroupId, Kept)>),
    Checkpointed,
    /// Nobody waits for it.
    Nobody,
    /// It is to be written once more, to the other slot.
    WrittenTwice,
}

/// Superblock writes: one at a time; what comes meanwhile shares the next.
#[derive(Debug, Default)]
pub(super) struct SuperblockWriter {
    in_flight: Vec<Answer>,
    waiting: Vec<Answer>,
    writing: bool,
    /// A promise that waits for the append under way: its report must say what the log holds.
    pub(super) postponed_promise: Option<VolumeEpoch>,
}

impl SuperblockWriter {
    /// Whether a superblock is being written, or is about to be.
    pub(super) fn is_busy(&self) -> bool {
        self.writing || !self.waiting.is_empty()
    }
}

impl Node {
    /// Writes the superblock as it is now, then gives the answer.
    pub(super) fn write_superblock(&mut self, answer: Answer) {
        self.superblock_writer.waiting.push(answer);
        self.write_next_superblock();
    }

    fn write_next_superblock(&mut self) {
        if self.superblock_writer.writing || self.superblock_writer.waiting.is_empty() {
            return;
        }
        self.superblock_writer.writing = true;
        self.superblock_writer.in_flight = std::mem::take(&mut self.superblock_writer.waiting);
        self.superblock.sequence += 1;
        let (slot, bytes) = (self.superblock.slot(), self.superblock.encode().share());
        let slot = if is_planted(Bug::OneSuperblockSlot) {
            0
        } else {
            slot
        };
        let operation = self.begin(Operation::Superblock);
        self.push_effect(NodeEffect::WriteSuperblock {
            operation,
            slot,
            bytes,
        });
    }

    pub(super) fn on_superblock_written(&mut self) {
        self.superblock_writer.writing = false;
        for answer in std::mem::take(&mut self.superblock_writer.in_flight) {
            match answer {
                Answer::Promised(epoch) => self.report(epoch),
                Answer::ListHeld(epoch) => {
                    let (scls, room) = (self.complete_scls(), self.room());
                    self.send(Reply::ListHeld { epoch, scls, room });
                }
                Answer::Configured(version) => self.send(Reply::Configured { version }),
                Answer::CatchUpBegun(copy, kept) => {
                    self.send(Reply::CatchUpBegun { copy, kept });
                }
                Answer::Checkpointed => self.on_checkpoint_durable(),
                Answer::Nobody => {}
                Answer::WrittenTwice => self.superblock_writer.waiting.push(Answer::Nobody),
            }
        }
        self.write_next_superblock();
    }

    /// Promises an epoch whose number is above every one promised before. The same epoch again is
    /// the same writer, since it is unique: it is answered with a new report.
    pub(super) fn on_promise(&mut self, epoch: VolumeEpoch) {
        let promised = self.superblock.promised;
        if epoch != promised && epoch.number <= promised.number {
            return self.send(Reply::Refused {
                promised: self.superblock.promised,
            });
        }
        if self.append.is_appending() {
            let postponed = &mut self.superblock_writer.postponed_promise;
            *postponed = (*postponed).max(Some(epoch));
            return;
        }
        if epoch > self.superblock.promised {
            // What an older writer sent and the log has not taken yet must not come later.
            if !is_planted(Bug::LateFramesAppended) {
                self.append.drop_frames_of_others();
            }
            self.superblock.promised = epoch;
        }
        if is_planted(Bug::PromiseNotDurable) {
            return self.report(epoch);
        }
        self.write_superblock(Answer::Promised(epoch));
    }

    fn report(&mut self, epoch: VolumeEpoch) {
        if epoch != self.superblock.promised {
            return self.send(Reply::Refused {
                promised: self.superblock.promised,
            });
        }
        let segment_report =
            |(group, segment): (&GroupId, &crate::segment::lsn_chain::Segment)| SegmentReport {
                group: *group,
                scl: segment.scl,
                applied: segment.applied,
                complete: segment.complete,
            };
        let entries = self.segments.values().flat_map(|segment| segment.tail());
        let mut tail: Vec<TailRecord> = entries
            .map(|entry| TailRecord {
                lsn: entry.record.lsn,
                group: entry.record.group,
                previous_in_volume: entry.record.previous_in_volume,
                previous_in_group: entry.record.previous_in_group,
                is_consistency_point: entry.record.is_consistency_point(),
            })
            .collect();
        tail.sort_unstable_by_key(|record| record.lsn);
        let report = Report {
            epoch,
            incarnation: self.superblock.incarnation,
            list: self.superblock.list.clone(),
            config: self.superblock.config.clone(),
            announced: self.announced,
            fresh: self.superblock.fresh,
            segments: self.segments.iter().map(segment_report).collect(),
            tail,
            tail_damaged: self.tail_damaged,
            replay_low: self.replay_low,
        };
        self.send(Reply::Promised(Box::new(report)));
    }

    /// Replaces the node's ranges by a recovery's; what they annul is gone. When the index has
    /// taken some of it in (see [`Report::is_abandoned_by`]), it cannot be taken out: the directory
    /// is of no use any more.
    pub(super) fn on_hold_list(&mut self, list: TruncationList, config: VolumeConfig) {
        let epoch = list.epoch;
        let mut segments = self.segments.values();
        if segments.any(|segment| list.annuls(segment.applied)) {
            return self.fence();
        }
        let is_held = self.superblock.list.epoch == epoch;
        for segment in self.segments.values_mut() {
            segment.annul(&list);
        }
        if list.ranges.len() > limits::TRUNCATION_RANGES / 2 {
            // Ranges are kept for what a replay may meet: the next one begins later.
            self.want_checkpoint();
        }
        self.superblock.list = list;
        // What the recovery chose counts, also above what an earlier writer left here unfinished;
        // when it comes again, or late, this writer may have chosen anew since.
        let is_newer = !is_held || config.version > self.superblock.config.version;
        if is_newer && self.is_of_this_volume(&config) {
            self.superblock.config = config;
        }
        if is_planted(Bug::ListNotDurable) {
            let (scls, room) = (self.complete_scls(), self.room());
            self.send(Reply::ListHeld { epoch, scls, room });
        }
        self.write_superblock(Answer::ListHeld(epoch));
    }

    pub(super) fn on_configure(&mut self, config: VolumeConfig) {
        let version = config.version;
        if self.is_of_this_volume(&config) && version > self.superblock.config.version {
            self.superblock.config = config;
        }
        self.write_superblock(Answer::Configured(version));
    }

    fn is_of_this_volume(&self, config: &VolumeConfig) -> bool {
        config.volume == self.superblock.config.volume
            && config.nodes.len() > self.superblock.node.index()
    }

    /// SCLs of all complete segments.
    pub(super) fn complete_scls(&self) -> Vec<(GroupId, Lsn)> {
        let complete = self.segments.iter().filter(|(_, segment)| segment.complete);
        complete
            .map(|(group, segment)| (*group, segment.scl))
            .collect()
    }
}
