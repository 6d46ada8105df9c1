//! Coverage marks: rare situations that a thorough run must have been in. The core has no marks of
//! its own; they are recognized by what can be seen from outside: messages, effects, states.

use redoubt_volume::format::log_frame::DecodedFrame;
use redoubt_volume::format::redo_record::{RecordHeader, RecordKind};
use redoubt_volume::ids::VolumeEpoch;
use redoubt_volume::message::{LeafDigests, NodeFailure, Reply, Report, Request, Space};
use redoubt_volume::segment::effect::{DiskCompletion, DiskError, NodeEffect};
use redoubt_volume::status::ScrubReport;

macro_rules! marks {
    ($($name:ident $text:literal,)+) => {
        /// A situation that a run was in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum Mark {
            $(#[doc = $text] $name,)+
        }

        impl Mark {
            /// All marks.
            pub const ALL: &'static [Mark] = &[$(Mark::$name,)+];

            /// What it means.
            pub fn text(self) -> &'static str {
                match self { $(Mark::$name => $text,)+ }
            }
        }
    };
}

marks! {
    RecoveryWithSix "a recovery had the reports of all nodes",
    RecoveryWithFive "a recovery went on with five",
    RecoveryWithFour "a recovery went on with four",
    RecoveryWithThree "a recovery went on with three",
    RecoveryRefused "a recovery ended without opening",
    PromiseRefused "a node refused a promise that was not higher",
    StaleEpochRefused "a node refused an older writer's request",
    RequestBeforeListRefused "a node without its writer's list refused a request",
    TailReported "a node reported records above its announced VDL",
    TailWithGap "a report's tail had a gap in a group",
    TailDamaged "a node said: had it, bad",
    FreshReported "an empty directory reported itself",
    EarlierLifeReported "a directory of an earlier life reported itself",
    ListReplaced "a node replaced its truncation ranges",
    ListWithManyRanges "a list had four ranges or more",
    TailFetched "a recovery copied tail records to a node",
    TailFetchBehind "a peer had taken the asked tail in already",
    TailFetchDamaged "a peer could not read its tail",
    CatchUpBegun "a segment was marked to be filled",
    LeavesCopied "blocks were copied to a segment",
    UnchangedLeafCopied "a copy left blocks out that had not changed",
    EmptyLeafCopied "a copy carried absence only",
    CatchUpSourceFailed "a peer could not give what it was asked to copy",
    GroupCompleted "a filled segment became complete",
    SegmentDamaged "a page of an index was lost and told",
    ConfigurationChanged "a node took a new configuration",
    NodeFenced "a node fenced itself",
    FencedAnswered "a fenced node answered a request",
    ReadBehind "a segment could not prove the read point",
    ReadDamaged "a page that was read did not check",
    LeafExamined "a node examined a leaf",
    DamageExamined "an examination found damage",
    RepairSourceFailed "a peer had nothing to give for a repair",
    BlocksRepaired "damaged blocks were written anew",
    RepairSkipped "a repair came for another version",
    PresenceAsked "presence of blocks was asked",
    LeafLoaded "a page of an index was read",
    LogFull "a node said that its log and disk are full",
    LogShort "a node said that it must collect garbage to have room",
    RoomShort "a node had less room than one frame",
    AllocationRefused "an allocation met a full disk",
    Checkpointed "a checkpoint's root was written",
    ExtentRemoved "an extent file was given back",
    ExtentReused "a file took a new extent",
    SmallFramePadded "zeros were written ahead of a small frame",
    Moved "garbage collection moved records",
    DiscardSent "a discard was sent",
    WholeDiskDiscarded "the whole disk was discarded",
    WideTransaction "a mini-transaction touched two groups or more",
    WriteParked "a write had to wait to be admitted",
    WriteRefusedForSpace "a write was refused for want of space",
    ReadUnreadable "a read found no copy",
    FlushWaited "a flush had to wait",
    AppendsQueued "an append waited for the one before it",
    Idle "a node took records into its index when there was time",
    ReadOnlyVolume "a volume had three nodes left",
    Unreadable "a volume had fewer than three nodes left",
    TookOver "a second writer opened while the first lived",
    OpenedAgain "nodes that had promised another writer more came back with a new open",
    OldWriterStopped "an older writer noticed that it was taken over",
    UnflushedSurvived "a crash kept writes that were not flushed",
    UnflushedLost "a crash lost writes that were not flushed",
    Resized "the disk grew",
    NodeUnopenable "a node could not be opened from its directory",
    NodeRebuilt "a node's directory was made anew",
    SuccessorSeated "a new directory took the place of a node",
    ReplacementCalledOff "a replacement was called off",
    NodesCame "nodes came to a volume",
    SegmentReleased "a node let a segment go that had moved",
    NodeDrained "a node was drained",
    PeerGaveRecords "a node gave a peer records of its log",
    PeerHadNoRecords "a log did not have what a peer asked for",
    NodeSlow "a node was far slower than the others",
    NodeFull "the writer knew that a node has no space",
    ScrubMended "a scrub mended copies",
    ScrubRefilled "a scrub had a segment filled anew",
    ScrubUndecided "a scrub met blocks that were being changed",
    MetadataExamined "a node looked at its own metadata",
    MetadataDamaged "a node found its own metadata damaged",
    IndexPageDamaged "an examination found a page of the index damaged",
}

/// How often each mark was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    counts: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        Coverage {
            counts: vec![0; Mark::ALL.len()],
        }
    }
}

impl Coverage {
    /// Notes that a situation was reached.
    pub fn reach(&mut self, mark: Mark) {
        self.counts[mark as usize] += 1;
    }

    /// Notes it if so.
    pub fn reach_if(&mut self, reached: bool, mark: Mark) {
        self.counts[mark as usize] += u64::from(reached);
    }

    /// How often a situation was reached.
    pub fn count(&self, mark: Mark) -> u64 {
        self.counts[mark as usize]
    }

    /// Adds what another run reached.
    pub fn merge(&mut self, other: &Coverage) {
        let counts = self.counts.iter_mut().zip(&other.counts);
        counts.for_each(|(own, other)| *own += other);
    }

    /// A request reaches a node that has promised `promised` and holds a list of epoch `list`.
    pub fn on_request(&mut self, request: &Request, promised: VolumeEpoch, list: VolumeEpoch) {
        match request {
            Request::Append { frame } => {
                self.reach_if(frame.stamp.epoch < promised, Mark::StaleEpochRefused);
                let late = frame.stamp.epoch == promised && list != promised;
                self.reach_if(late, Mark::RequestBeforeListRefused);
            }
            Request::HoldList { list: new, .. } => {
                self.reach_if(new.ranges.len() >= 4, Mark::ListWithManyRanges);
                self.reach_if(list.number > 0 && new.epoch > list, Mark::ListReplaced);
            }
            Request::Fetch { .. } => self.reach(Mark::TailFetched),
            Request::Presence { .. } => self.reach(Mark::PresenceAsked),
            Request::PutLeaves { leaves, .. } => {
                self.reach_if(leaves.blocks.is_empty(), Mark::EmptyLeafCopied);
                let unchanged = leaves.blocks.iter().any(|block| block.content.is_none());
                self.reach_if(unchanged, Mark::UnchangedLeafCopied);
                self.reach_if(!leaves.blocks.is_empty(), Mark::LeavesCopied);
            }
            _ => {}
        }
    }

    /// A node answers.
    pub fn on_reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Refused { .. } => self.reach(Mark::PromiseRefused),
            Reply::Promised(report) => self.on_report(report),
            Reply::Configured { .. } => self.reach(Mark::ConfigurationChanged),
            Reply::Acked { room, .. } | Reply::Room(room) => {
                self.reach_if(room.space == Space::Full, Mark::LogFull);
                self.reach_if(room.space == Space::Short, Mark::LogShort);
                self.reach_if(room.bytes < 64 << 10, Mark::RoomShort);
            }
            Reply::Pages {
                result: Err(failure),
                ..
            } => match failure {
                NodeFailure::Behind => self.reach(Mark::ReadBehind),
                NodeFailure::Damaged => self.reach(Mark::ReadDamaged),
                NodeFailure::OutOfService => self.reach(Mark::FencedAnswered),
            },
            Reply::Records {
                result: Err(failure),
                ..
            } => match failure {
                NodeFailure::Behind => self.reach(Mark::TailFetchBehind),
                _ => self.reach(Mark::TailFetchDamaged),
            },
            Reply::Leaves { result: Err(_), .. } => self.reach(Mark::CatchUpSourceFailed),
            Reply::Examined { result, .. } => {
                self.reach_if(result.is_ok(), Mark::LeafExamined);
                let index_damaged = result.as_ref().is_ok_and(|leaf| leaf.index_damaged);
                self.reach_if(index_damaged, Mark::IndexPageDamaged);
                let is_damaged =
                    |leaf: &LeafDigests| leaf.blocks.iter().any(|block| block.content.is_none());
                self.reach_if(result.as_ref().is_ok_and(is_damaged), Mark::DamageExamined);
            }
            Reply::MetadataExamined { result, .. } => {
                self.reach_if(result.is_ok(), Mark::MetadataExamined);
                let is_damaged = result.is_ok_and(|digest| digest.damaged > 0);
                self.reach_if(is_damaged, Mark::MetadataDamaged);
            }
            Reply::Blocks { result, .. } => {
                let is_empty = result.as_ref().map_or(true, Vec::is_empty);
                self.reach_if(is_empty, Mark::RepairSourceFailed);
            }
            Reply::Repaired { blocks, .. } => {
                self.reach_if(*blocks > 0, Mark::BlocksRepaired);
                self.reach_if(*blocks == 0, Mark::RepairSkipped);
            }
            Reply::CatchUpBegun { .. } => self.reach(Mark::CatchUpBegun),
            Reply::GroupCompleted { .. } => self.reach(Mark::GroupCompleted),
            Reply::SegmentDamaged { .. } => self.reach(Mark::SegmentDamaged),
            Reply::Released { .. } => self.reach(Mark::SegmentReleased),
            Reply::Fenced => self.reach(Mark::NodeFenced),
            _ => {}
        }
    }

    fn on_report(&mut self, report: &Report) {
        self.reach_if(!report.tail.is_empty(), Mark::TailReported);
        self.reach_if(report.tail_damaged, Mark::TailDamaged);
        self.reach_if(report.fresh, Mark::FreshReported);
        let gap = report.segments.iter().any(|segment| {
            let above = |lsn| lsn > segment.scl;
            report
                .tail
                .iter()
                .any(|r| r.group == segment.group && above(r.lsn))
        });
        self.reach_if(gap, Mark::TailWithGap);
    }

    /// A node asks something of its disk.
    pub fn on_effect(&mut self, effect: &NodeEffect) {
        match effect {
            NodeEffect::Append {
                offset,
                parts,
                overwrites,
                ..
            } => {
                self.reach_if(*offset == 0 && *overwrites, Mark::ExtentReused);
                let last = parts.last().map_or(0, |part| part.page_count());
                self.reach_if(last > 16, Mark::SmallFramePadded);
                if let Ok(frame) = DecodedFrame::decode(parts[0].bytes()) {
                    let mut records = frame.records.iter();
                    let is_moved = |record: &RecordHeader| {
                        record.is_local() && record.kind == RecordKind::Delta
                    };
                    self.reach_if(records.any(is_moved), Mark::Moved);
                }
            }
            NodeEffect::Read { .. } => self.reach(Mark::LeafLoaded),
            NodeEffect::Remove { .. } => self.reach(Mark::ExtentRemoved),
            _ => {}
        }
    }

    /// A scrub has ended.
    pub fn on_scrub(&mut self, report: &ScrubReport) {
        self.reach_if(report.repaired > 0, Mark::ScrubMended);
        self.reach_if(report.refilled > 0, Mark::ScrubRefilled);
        self.reach_if(report.changing > 0, Mark::ScrubUndecided);
    }

    /// A volume has opened on the reports of so many nodes.
    pub fn on_opened(&mut self, reports: usize) {
        match reports {
            6.. => self.reach(Mark::RecoveryWithSix),
            5 => self.reach(Mark::RecoveryWithFive),
            4 => self.reach(Mark::RecoveryWithFour),
            _ => self.reach(Mark::RecoveryWithThree),
        }
    }

    /// A disk has done something.
    pub fn on_completion(&mut self, completion: &DiskCompletion) {
        if let DiskCompletion::Done {
            result: Err(DiskError::Full),
            ..
        } = completion
        {
            self.reach(Mark::AllocationRefused);
        }
    }
}
