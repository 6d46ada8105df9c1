//! What a search may do, and the rules that can be broken on purpose.

use crate::state::MEMBERS;

/// A rule of the protocol that a model without it must violate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenRule {
    /// A record is durable when four nodes happen to hold it, not when four SCLs cover it.
    AckPerRecord,
    /// Nodes promise when they get the list, after their tails were read.
    PromiseAfterScan,
    /// Two writers may have the same epoch.
    EpochsNotUnique,
    /// A recovery unites the ranges of all lists instead of taking the newest list.
    RangesUnited,
    /// A segment that holds the list counts as complete up to the range's top.
    SclWithoutAnchor,
    /// A new directory's "I have nothing" counts in a read quorum.
    EmptiedNodeCounts,
    /// What a directory said counts on when a new one in its place was admitted.
    OldAcksKept,
    /// The range's top is served and announced before the tail is settled.
    ServedBeforeSettled,
    /// Three segments that cover the tail are enough although more are there.
    SettledOnThree,
    /// Writes become durable on three.
    AckAtThree,
    /// A node gives copies while it holds another list than the reader's.
    CopyFromOtherList,
    /// VCL is the lowest PGCL.
    LowestPgcl,
    /// A write is durable when its own group's PGCL covers it, whatever came before it.
    OwnGroupPgcl,
    /// A new range's top does not regard the older ranges.
    TopForgotten,
    /// The range is written to three nodes although more are there.
    ListOnThree,
    /// A node whose log has a hole says what is not there.
    DamagedNodeVotes,
    /// Ranges are dropped although a node can meet again what they annul.
    RangesDroppedEarly,
    /// A node that took in what the newest list annuls counts as one of the others.
    AbandonedLineCounts,
    /// LSNs are given out without regard to the allocation limit.
    LimitIgnored,
    /// A new directory is admitted by two others.
    AdmittedByTwo,
    /// A node that begins to take frames is not given what is above the VDL first.
    JoinedWithoutPending,
    /// Two segments of a group are made incomplete at once to be filled.
    TwoFilledAtOnce,
    /// A node that joins a volume open on three is told the VDL before it holds what is below.
    ToldTooEarly,
    /// While a node is exchanged its place counts for what it or its successor holds.
    CountedInUnion,
    /// The successor is named before it holds what counted without it.
    NamedTooEarly,
    /// A recovery that has not learnt what became of the successor counts the node.
    SuccessorUnknown,
}

impl BrokenRule {
    /// All of them.
    pub const ALL: [BrokenRule; 26] = [
        BrokenRule::AckPerRecord,
        BrokenRule::PromiseAfterScan,
        BrokenRule::EpochsNotUnique,
        BrokenRule::RangesUnited,
        BrokenRule::SclWithoutAnchor,
        BrokenRule::EmptiedNodeCounts,
        BrokenRule::OldAcksKept,
        BrokenRule::ServedBeforeSettled,
        BrokenRule::SettledOnThree,
        BrokenRule::AckAtThree,
        BrokenRule::CopyFromOtherList,
        BrokenRule::LowestPgcl,
        BrokenRule::OwnGroupPgcl,
        BrokenRule::TopForgotten,
        BrokenRule::ListOnThree,
        BrokenRule::DamagedNodeVotes,
        BrokenRule::RangesDroppedEarly,
        BrokenRule::AbandonedLineCounts,
        BrokenRule::LimitIgnored,
        BrokenRule::AdmittedByTwo,
        BrokenRule::JoinedWithoutPending,
        BrokenRule::TwoFilledAtOnce,
        BrokenRule::ToldTooEarly,
        BrokenRule::CountedInUnion,
        BrokenRule::NamedTooEarly,
        BrokenRule::SuccessorUnknown,
    ];
}

/// How much of everything may happen in one search.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Recoveries, with the first writer's open volume as number one.
    pub terms: u8,
    /// Records that the first writer may write, and that each later one may.
    pub records: [u8; 2],
    /// Whether all records must go to one group and end a mini-transaction each.
    pub plain: bool,
    /// How many nodes a takeover asks at least, and at most.
    pub asked: [u8; 2],
    /// LSN allocation limit.
    pub limit: u8,
    /// Processes of nodes that end and begin again, whole power cuts included.
    pub crashes: u8,
    /// Frames in a log that go bad, with good ones behind them.
    pub bad_frames: u8,
    /// Directories that are lost and made anew, empty.
    pub emptied: u8,
    /// Frames that arrive at a node before an earlier one.
    pub gaps: u8,
    /// Checkpoints of a node.
    pub checkpoints: u8,
    /// Recoveries with exactly three nodes open the volume for reading.
    pub read_only: bool,
    /// Segments that lag are filled with blocks while the volume is open.
    pub fills: bool,
    /// Nodes give each other records.
    pub gossips: bool,
    /// Another directory takes the place of the last node.
    pub replaces: bool,
    /// The rule that is broken.
    pub broken: Option<BrokenRule>,
}

impl Config {
    /// One takeover, one record each, nothing else.
    pub const SMALL: Config = Config {
        name: "small",
        terms: 2,
        records: [1, 1],
        plain: false,
        asked: [3, 6],
        limit: 2,
        crashes: 0,
        bad_frames: 0,
        emptied: 0,
        gaps: 0,
        checkpoints: 0,
        read_only: false,
        fills: false,
        gossips: false,
        replaces: false,
        broken: None,
    };

    /// Two writers, three records in two groups, frames out of order.
    pub const WRITES: Config = Config {
        name: "writes",
        records: [2, 1],
        limit: 3,
        gaps: 1,
        ..Config::SMALL
    };

    /// Nodes crash twice, one by one or all at once.
    pub const CRASHES: Config = Config {
        name: "crashes",
        crashes: 2,
        ..Config::SMALL
    };

    /// Three records of one group, two crashes and a takeover by exactly four nodes.
    pub const LOSSES: Config = Config {
        name: "losses",
        records: [2, 1],
        plain: true,
        asked: [4, 4],
        limit: 3,
        crashes: 2,
        ..Config::SMALL
    };

    /// Two takeovers, so that lists replace lists.
    pub const EPOCHS: Config = Config {
        name: "epochs",
        terms: 3,
        records: [1, 1],
        plain: true,
        ..Config::SMALL
    };

    /// Volumes that open for reading with exactly three nodes.
    pub const READ_ONLY: Config = Config {
        name: "read-only",
        terms: 3,
        records: [1, 0],
        plain: true,
        read_only: true,
        ..Config::SMALL
    };

    /// A directory is lost and made anew: what is in its place is admitted and filled.
    pub const EMPTIED: Config = Config {
        name: "emptied",
        emptied: 1,
        fills: true,
        ..Config::SMALL
    };

    /// Segments that frames did not reach are filled with blocks while the volume is open.
    pub const FILLS: Config = Config {
        name: "fills",
        terms: 1,
        records: [3, 0],
        plain: true,
        limit: 3,
        fills: true,
        ..Config::SMALL
    };

    /// A frame goes bad in a log, good ones behind it; segments are filled with blocks.
    pub const BAD_FRAMES: Config = Config {
        name: "bad-frames",
        records: [2, 1],
        plain: true,
        limit: 3,
        bad_frames: 1,
        fills: true,
        ..Config::SMALL
    };

    /// Checkpoints, so that ranges are dropped.
    pub const CHECKPOINTS: Config = Config {
        name: "checkpoints",
        terms: 3,
        records: [1, 0],
        plain: true,
        checkpoints: 1,
        ..Config::SMALL
    };

    /// Nodes give each other records, with and without a takeover between.
    pub const GOSSIP: Config = Config {
        name: "gossip",
        plain: true,
        asked: [4, 4],
        gossips: true,
        ..Config::SMALL
    };

    /// A new directory takes a node's place, and a takeover finds what it finds.
    pub const REPLACEMENT: Config = Config {
        name: "replacement",
        records: [1, 1],
        plain: true,
        asked: [4, 4],
        replaces: true,
        ..Config::SMALL
    };

    /// All that have names.
    pub const ALL: [Config; 12] = [
        Config::SMALL,
        Config::WRITES,
        Config::CRASHES,
        Config::LOSSES,
        Config::EPOCHS,
        Config::READ_ONLY,
        Config::EMPTIED,
        Config::BAD_FRAMES,
        Config::FILLS,
        Config::CHECKPOINTS,
        Config::GOSSIP,
        Config::REPLACEMENT,
    ];

    /// The same with a rule broken.
    #[must_use]
    pub fn with(mut self, rule: BrokenRule) -> Config {
        self.broken = Some(rule);
        self
    }

    /// Whether this rule is the broken one.
    pub fn breaks(&self, rule: BrokenRule) -> bool {
        self.broken == Some(rule)
    }

    /// Whether only segments that are filled cannot vote, all nodes being known to one writer.
    pub fn only_fills(&self) -> bool {
        self.fills && self.terms == 1 && self.emptied + self.bad_frames + self.crashes == 0
    }

    /// How many nodes, the first ones, are alike.
    pub fn alike(&self) -> usize {
        MEMBERS - usize::from(self.emptied).max(usize::from(self.replaces))
    }

    /// How many directories take part.
    pub fn directories(&self) -> usize {
        MEMBERS + usize::from(self.replaces)
    }

    /// Whether the node's directory may be lost: the last ones may, since all are alike.
    pub fn may_be_emptied(&self, node: usize) -> bool {
        node < MEMBERS && node + usize::from(self.emptied) >= MEMBERS
    }
}
