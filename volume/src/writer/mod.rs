//! The single writer of a volume: gives out LSNs, sends frames, knows what is durable, routes
//! reads. A state machine without I/O (law 8): requests of the disk's user and replies of nodes
//! go in, [`WriterEffect`]s come out.
//!
//! `admission` — what may enter the volatile cache, and what is parked; `pending` — that cache;
//! `sending` — frames and acknowledgements; `reads` and `presence` — one segment, never a quorum;
//! `recovery` — every open; `outbidding` — two at a time; `membership` and `node_view` — nodes that
//! come and go; `replacement` — another directory takes a node's place; `relocation` — segments move to
//! other nodes; `catch_up`, `filling`, `runs`, `filling_pace` and `progress` — filling what they lack; `repair` — mending what was damaged at
//! rest; `scrub`, `scrub_metadata`, `compare` and `pace` — looking for it; `data_errors` — what nobody
//! can prove any more; `health` and `judging` — nodes that are slow, stuck or doubtful; `patience` —
//! asking again.

mod admission;
mod announcing;
mod catch_up;
mod compare;
mod configuring;
mod data_errors;
mod filling;
mod filling_pace;
mod groups;
mod health;
mod judging;
mod membership;
mod node_view;
mod outbidding;
mod pace;
mod patience;
pub mod payload;
mod pending;
mod presence;
mod progress;
mod reads;
mod recovery;
mod relocation;
mod repair;
mod replacement;
mod runs;
mod scrub;
mod scrub_metadata;
mod sending;
mod settling;

pub use filling_pace::RebuildRate;

use crate::config::{SEGMENTS, VolumeConfig};
use crate::error::IoFailure;
use crate::format::index_page::LEAF_BLOCKS;
use crate::ids::{GroupId, NodeId, VolumeEpoch};
use crate::lsn::{Lsn, TruncationList};
use crate::message::{Reply, Request, RequestId};
use crate::page::PageBuf;
use crate::planted::{Bug, is_planted};
use crate::status::{
    DataErrors, NodeState, RebuildFigures, RepairFigures, ScrubReport, VolumeState,
};
use crate::time::Instant;
use admission::Parked;
use catch_up::CatchUp;
use data_errors::Unprovable;
use groups::ProtectionGroup;
use health::Health;
use node_view::NodeView;
use outbidding::Outbidding;
use pending::Pending;
use presence::PresenceQuery;
use reads::Reads;
use recovery::Recovery;
use repair::Repairs;
use scrub::Scrub;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Ties a completion to the request of the disk's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// When a WRITE is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// When every later read sees it; a flush waits for the quorum.
    #[default]
    Writeback,
    /// When it is durable.
    Writethrough,
}

/// What requests do that wait for a lost quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumLoss {
    /// Wait for ever.
    Wait,
    /// Fail at once.
    Fail,
    /// Fail after so long.
    After(Duration),
}

/// What the user of the disk chose.
#[derive(Clone, Copy, Debug)]
pub struct WriterPolicy {
    /// When a WRITE is answered.
    pub cache: CacheMode,
    /// What waits for a lost quorum.
    pub on_quorum_loss: QuorumLoss,
    /// Writes are refused.
    pub read_only: bool,
    /// How fast segments are filled.
    pub rebuild_rate: RebuildRate,
}

/// Bytes of the disk, in a buffer that may hold some before and after them.
#[derive(Debug)]
pub struct ReadBytes {
    buffer: PageBuf,
    start: usize,
    length: usize,
}

impl AsRef<[u8]> for ReadBytes {
    fn as_ref(&self) -> &[u8] {
        &self.buffer.bytes()[self.start..self.start + self.length]
    }
}

/// What a request came to.
#[derive(Debug)]
pub enum Answer {
    /// Done.
    Done,
    /// The bytes read.
    Bytes(ReadBytes),
    /// Whether each block of a leaf exists, and the group's next leaf that has any.
    Present(u64, Option<u32>),
    /// What a scrub found.
    Scrubbed(ScrubReport),
}

/// What the writer wants done.
#[derive(Debug)]
pub enum WriterEffect {
    /// Give a request to a node.
    Send {
        /// The node.
        to: NodeId,
        /// The request.
        request: Request,
    },
    /// Answer the disk's user.
    Complete {
        /// Of the request.
        ticket: Ticket,
        /// What it came to.
        result: Result<Answer, IoFailure>,
    },
    /// The recovery is over: the volume serves, or cannot, and why.
    Opened(Result<(), String>),
    /// The successor of this node has taken its place, durably: from now on the node's directory
    /// is that of its successor, and its own is of no use any more.
    Seated(NodeId),
    /// No group is on this node any more, durably: it is out of service for good.
    Drained(NodeId),
}

/// The writer; see the module's page.
#[derive(Debug)]
pub struct Writer {
    config: VolumeConfig,
    /// The distinct sets of six nodes that groups are placed on.
    placements: Vec<[NodeId; SEGMENTS]>,
    policy: WriterPolicy,
    epoch: VolumeEpoch,
    list: TruncationList,
    nodes: Vec<NodeView>,
    health: Health,
    groups: BTreeMap<GroupId, ProtectionGroup>,
    last_lsn: Lsn,
    next_lsn: Lsn,
    vcl: Lsn,
    vdl: Lsn,
    pending: Pending,
    /// Last LSN of each batch that was sent and is not yet durable.
    batches: VecDeque<Lsn>,
    /// Who waits for the VDL to reach an LSN, in its order.
    waiting: VecDeque<(Lsn, Ticket, Instant)>,
    parked: VecDeque<Parked>,
    /// Memory that these hold.
    parked_bytes: usize,
    /// Since when a request waits for room, and none was admitted.
    short_since: Option<Instant>,
    reads: Reads,
    presence_queries: BTreeMap<RequestId, PresenceQuery>,
    recovery: Option<Recovery>,
    outbidding: Outbidding,
    catch_up: CatchUp,
    repairs: Repairs,
    scrub: Option<Scrub>,
    unprovable: Unprovable,
    /// Requests answered so far: whether the disk is in use.
    answered: u64,
    reconfiguring: Option<configuring::Reconfiguration>,
    enlarging: Option<configuring::Enlarging>,
    /// Nodes whose place another directory is to take.
    replacing: BTreeMap<NodeId, replacement::Stage>,
    /// Nodes that count for nothing yet: see `replacement`.
    kept_out: BTreeSet<NodeId>,
    /// The segment that moves to another node.
    moving: Option<relocation::Moving>,
    /// A configuration that places groups otherwise, and may be found after a crash.
    named: Option<relocation::Named>,
    /// Segments that have moved, and all that move, while they do.
    moved: Option<(u64, u64)>,
    /// What is left of segments that have moved.
    left_behind: relocation::LeftBehind,
    /// When nodes were told the configuration again that had not said that they hold it.
    told_config_at: Option<Instant>,
    /// Four members of every group can take writes.
    writable: bool,
    /// Since when they cannot.
    unwritable_since: Option<Instant>,
    /// Nodes that have promised another writer more than they had promised this one.
    outbid_on: BTreeSet<NodeId>,
    announced: Lsn,
    next_request: u64,
    /// Nodes that could not read what their tail has: the recovery goes on without them.
    unreadable: BTreeSet<NodeId>,
    /// Nodes that could not prove what they had proved once.
    suspects: BTreeSet<NodeId>,
    /// When it was last looked for what was not answered.
    asked_again: Instant,
    /// The time of the event being handled.
    now: Instant,
    wall_time_ns: u64,
    written_bytes: u64,
    effects: VecDeque<WriterEffect>,
}

/// A writer's figures for status.
#[derive(Clone, Debug)]
pub struct WriterFigures {
    /// Health.
    pub state: VolumeState,
    /// Epoch.
    pub epoch: VolumeEpoch,
    /// Groups that exist.
    pub groups: u64,
    /// Volume complete LSN.
    pub vcl: Lsn,
    /// Volume durable LSN.
    pub vdl: Lsn,
    /// User bytes admitted since the open.
    pub written_bytes: u64,
    /// State of each node and why.
    pub nodes: Vec<(NodeState, Option<String>)>,
    /// What was mended on each node.
    pub repairs: Vec<RepairFigures>,
    /// How far each node is filled, while it is; behind the nodes their successors.
    pub rebuilds: Vec<Option<RebuildFigures>>,
    /// Nodes whose place another directory is to take, and the state of that one.
    pub replacements: Vec<(NodeId, NodeState, Option<String>)>,
    /// Segments that have moved to other nodes, and all that move, while they do.
    pub relocation: Option<(u64, u64)>,
    /// Of which so much did not check that everything of it should be read: a scrub is due.
    pub scrub_due: Vec<bool>,
    /// Requests that are parked or wait for the quorum.
    pub waiting_requests: usize,
    /// What is known to be lost.
    pub data_errors: DataErrors,
}

impl Writer {
    /// A writer that has not opened the volume yet. `writer_id` is random and makes its epochs
    /// unique; `config` is what any node's superblock says, replaced by the newest one found.
    pub fn new(config: VolumeConfig, writer_id: u64, policy: WriterPolicy) -> Writer {
        // Their successors' behind them.
        let nodes = vec![NodeView::default(); 2 * config.nodes.len()];
        let leaves = config.geometry.group_blocks / LEAF_BLOCKS;
        Writer {
            placements: config.placements().into_iter().collect(),
            health: Health::new(2 * config.nodes.len()),
            config,
            policy,
            epoch: VolumeEpoch {
                number: 0,
                writer: writer_id,
            },
            list: TruncationList::default(),
            nodes,
            groups: BTreeMap::new(),
            last_lsn: Lsn::NONE,
            next_lsn: Lsn(1),
            vcl: Lsn::NONE,
            vdl: Lsn::NONE,
            pending: Pending::default(),
            batches: VecDeque::new(),
            waiting: VecDeque::new(),
            parked: VecDeque::new(),
            parked_bytes: 0,
            short_since: None,
            reads: Reads::default(),
            presence_queries: BTreeMap::new(),
            recovery: None,
            outbidding: Outbidding::default(),
            catch_up: CatchUp::new(leaves, policy.rebuild_rate),
            repairs: Repairs::default(),
            scrub: None,
            unprovable: Unprovable::default(),
            answered: 0,
            reconfiguring: None,
            enlarging: None,
            replacing: BTreeMap::new(),
            kept_out: BTreeSet::new(),
            moving: None,
            named: None,
            moved: None,
            left_behind: relocation::LeftBehind::default(),
            told_config_at: None,
            writable: false,
            unwritable_since: None,
            outbid_on: BTreeSet::new(),
            announced: Lsn::NONE,
            next_request: 0,
            unreadable: BTreeSet::new(),
            suspects: BTreeSet::new(),
            asked_again: Instant::default(),
            now: Instant::default(),
            wall_time_ns: 0,
            written_bytes: 0,
            effects: VecDeque::new(),
        }
    }

    /// The volume's configuration.
    pub fn config(&self) -> &VolumeConfig {
        &self.config
    }

    /// Bytes of the disk.
    pub fn disk_bytes(&self) -> u64 {
        self.config.disk_bytes
    }

    /// Volume durable LSN.
    pub fn vdl(&self) -> Lsn {
        self.vdl
    }

    /// Volume complete LSN.
    pub fn vcl(&self) -> Lsn {
        self.vcl
    }

    /// The last LSN that was given out.
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// Its epoch; number zero before it opens and when it could not.
    pub fn epoch(&self) -> VolumeEpoch {
        self.epoch
    }

    /// The groups that exist, ascending.
    pub fn existing_groups(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    /// Every group's last record at or below the VDL.
    pub fn group_tips(&self) -> impl Iterator<Item = (GroupId, Lsn)> {
        self.groups.iter().map(|(group, view)| (*group, view.tip))
    }

    /// Whether the recovery is over and the disk answers.
    pub fn is_open(&self) -> bool {
        self.recovery.is_none() && self.epoch.number > 0
    }

    /// The next effect to be carried out.
    pub fn poll(&mut self) -> Option<WriterEffect> {
        self.effects.pop_front()
    }

    /// A node answered.
    pub fn on_reply(&mut self, now: Instant, from: NodeId, reply: Reply) {
        self.now = now;
        match reply {
            Reply::Refused { promised } => self.on_refused(now, from, promised),
            Reply::Promised(report) => self.on_promised(now, from, *report),
            Reply::ListHeld { epoch, scls, room } => {
                self.on_list_held(now, from, epoch, scls, room);
            }
            Reply::Configured { version } => self.on_configured(now, from, version),
            Reply::Acked {
                incarnation,
                epoch,
                scls,
                bytes,
                room,
            } => {
                self.on_room(from, room);
                let is_own = epoch == self.epoch
                    && self.nodes[from.index()].incarnation == Some(incarnation);
                if is_own || is_planted(Bug::OtherAcksCount) {
                    self.on_acked(from, &scls, bytes);
                }
            }
            Reply::Room(room) => self.on_room(from, room),
            Reply::Pages { id, result } => self.on_pages(now, from, id, result),
            Reply::Present { id, result } => self.on_present(now, id, result),
            Reply::Records { id, result } => self.on_records(id, result),
            Reply::Leaves { id, count, result } => self.on_leaves(now, id, count, result),
            Reply::Examined { id, result } => self.on_examined(from, id, result),
            Reply::MetadataExamined { id, result } => self.on_metadata_examined(from, id, result),
            Reply::Blocks { id, result } => self.on_blocks(id, result),
            Reply::Repaired { id, blocks } => self.on_repaired(from, id, blocks),
            Reply::CatchUpBegun { copy, kept } => {
                self.on_catch_up_begun(now, from, copy, &kept);
            }
            Reply::LeavesHeld { id } => self.on_leaves_held(now, id),
            Reply::GroupCompleted { copy, group, scl } => {
                self.on_group_completed(now, from, copy, group, scl);
            }
            Reply::SegmentDamaged { group } => self.on_segment_damaged(from, group),
            Reply::Released { groups } => self.on_released(from, &groups),
            Reply::Fenced => {
                let reason = "its disk failed, or it has what the volume has annulled";
                self.node_failed(now, from, reason);
            }
        }
        self.progress(now);
    }

    /// Time has passed: time-outs, hedged reads, retries.
    pub fn on_tick(&mut self, now: Instant, wall_time_ns: u64) {
        self.now = now;
        self.wall_time_ns = wall_time_ns;
        self.recovery_tick(now);
        if self.is_open() {
            self.judge_nodes(now);
            self.hedge_reads(now);
            self.ask_again(now);
            self.let_in(now);
            self.rejoin_nodes();
            self.reconfigure_next();
            self.replacement_next();
            self.relocation_next(now);
            self.catch_up_next(now);
            self.repair_next(now);
            self.scrub_next(now);
            self.announce_when_idle();
        }
        self.progress(now);
        self.time_out(now);
    }

    /// What may follow after anything happened: unpark, send, finish the recovery.
    fn progress(&mut self, now: Instant) {
        self.recovery_next(now);
        if self.is_open() {
            self.unpark(now);
            self.send_frames();
        }
    }

    fn new_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId {
            epoch: self.epoch,
            number: self.next_request,
        }
    }

    fn send(&mut self, to: NodeId, request: Request) {
        self.effects.push_back(WriterEffect::Send { to, request });
    }

    fn complete(&mut self, ticket: Ticket, result: Result<Answer, IoFailure>) {
        self.answered += 1;
        self.effects
            .push_back(WriterEffect::Complete { ticket, result });
    }

    /// Figures for status.
    pub fn figures(&self) -> WriterFigures {
        WriterFigures {
            state: self.state(),
            epoch: self.epoch,
            groups: self.groups.len() as u64,
            vcl: self.vcl,
            vdl: self.vdl,
            written_bytes: self.written_bytes,
            nodes: self
                .config
                .node_ids()
                .map(|node| self.node_state(node))
                .collect(),
            repairs: self
                .config
                .node_ids()
                .map(|node| self.repairs.figures(node))
                .collect(),
            rebuilds: (0..self.nodes.len() as u16)
                .map(|address| self.catch_up.figures(NodeId(address)))
                .collect(),
            replacements: self.replacement_figures(),
            relocation: self.moved,
            scrub_due: self
                .config
                .node_ids()
                .map(|node| self.health.is_doubtful(node))
                .collect(),
            waiting_requests: self.parked.len() + self.waiting.len(),
            data_errors: self.data_errors(),
        }
    }
}
