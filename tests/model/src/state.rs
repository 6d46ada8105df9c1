//! What the world of the model consists of.
//!
//! LSNs are small numbers, sets of LSNs bits of a `u32`; records are named by their place in a
//! table, sets of records are bits of a `u8`.

use crate::config::Config;

/// Segments of a group, one on each node; every node holds all groups.
pub const MEMBERS: usize = 6;
/// Directories: those of the members, and one that is to take the last member's place.
pub const NODES: usize = MEMBERS + 1;
/// The node whose place is taken.
pub const REPLACED: usize = MEMBERS - 1;
/// The directory that takes it.
pub const SUCCESSOR: usize = MEMBERS;
/// Groups.
pub const GROUPS: usize = 2;
/// Recoveries, the first writer's open volume included.
pub const TERMS: usize = 3;
/// Records that all writers together write.
pub const RECORDS: usize = 5;
/// Members that make a write durable.
pub const WRITE_QUORUM: usize = 4;
/// Members that prove what is not durable.
pub const READ_QUORUM: usize = 3;
/// The SCL of a segment that has proved nothing.
pub const NO_SCL: u8 = u8::MAX;

/// A number of a record; zero is none.
pub type Lsn = u8;
/// A set of LSNs.
pub type LsnSet = u32;
/// A set of records.
pub type Records = u8;
/// A set of nodes.
pub type Nodes = u8;

/// A record of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// Its number; zero: no record yet.
    pub lsn: Lsn,
    /// Its group.
    pub group: u8,
    /// The last one of a mini-transaction.
    pub is_consistency_point: bool,
    /// The record before it in its group.
    pub previous: Lsn,
    /// Whose record it is.
    pub term: u8,
    /// The VDL that its frame announces.
    pub announces: Lsn,
}

/// What a term's writer knows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View {
    /// Its report was used by the recovery.
    pub reported: bool,
    /// The tail that it reported, while the recovery lasts.
    pub reported_tail: Records,
    /// It holds the list: in an open volume it takes frames.
    pub listed: bool,
    /// The segment is being filled.
    pub filling: [bool; GROUPS],
    /// It holds the configuration that is being changed to.
    pub configured: bool,
    /// What the complete segments have proved.
    pub scls: [Lsn; GROUPS],
}

impl View {
    /// Nothing known.
    pub const NONE: View = View {
        reported: false,
        reported_tail: 0,
        listed: false,
        filling: [false; GROUPS],
        configured: false,
        scls: [NO_SCL; GROUPS],
    };

    /// Whether the segment is complete and has proved this.
    pub fn covers(&self, group: usize, lsn: Lsn) -> bool {
        self.scls[group] != NO_SCL && self.scls[group] >= lsn
    }
}

/// A node: what its directory holds, and what it has in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Epoch that it promised.
    pub promised: u8,
    /// The term whose list it holds.
    pub list: u8,
    /// Its configuration: version, then a bit for each new directory that is admitted, and one for
    /// the successor in its node's place.
    pub config: u8,
    /// Whether its directory is not the first one.
    pub replaced: bool,
    /// A new directory that has not yet marked what it lacks.
    pub fresh: bool,
    /// A frame of the log does not check and others follow it.
    pub damaged: bool,
    /// Segments that count.
    pub complete: [bool; GROUPS],
    /// Records in the log.
    pub log: Records,
    /// Highest VDL that the log announces.
    pub logged_announced: Lsn,
    /// What checkpoints and copies hold of the index.
    pub kept_index: Records,
    /// Up to where those go.
    pub kept_applied: [Lsn; GROUPS],
    /// Highest VDL announced.
    pub announced: Lsn,
    /// Records not yet in the index.
    pub tail: Records,
    /// Records in the index.
    pub index: Records,
    /// Last record in the index.
    pub applied: [Lsn; GROUPS],
    /// While it is filled: up to where it had everything.
    pub since: [Lsn; GROUPS],
    /// The lowest LSN that an open of the node may meet again in its log.
    pub replay_low: Lsn,
    /// Terms that it served while they were open on three nodes; only for the verdict.
    pub served: u8,
    /// What each term's writer knows of it.
    pub views: [View; TERMS],
}

impl Node {
    /// An empty directory.
    pub const EMPTY: Node = Node {
        promised: 0,
        list: 0,
        config: 0,
        replaced: false,
        fresh: false,
        damaged: false,
        complete: [true; GROUPS],
        log: 0,
        logged_announced: 0,
        kept_index: 0,
        kept_applied: [0; GROUPS],
        announced: 0,
        tail: 0,
        index: 0,
        applied: [0; GROUPS],
        since: [0; GROUPS],
        replay_low: Lsn::MAX,
        served: 0,
        views: [View::NONE; TERMS],
    };
}

/// How far a term has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Not begun.
    #[default]
    Unused,
    /// The VDL is decided; the list is written, the tail is copied.
    Recovering,
    /// Serves.
    Open,
}

/// A recovery and the writer that it made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// How far it has come.
    pub phase: Phase,
    /// Number and writer: totally ordered.
    pub epoch: u8,
    /// How many reports the recovery used.
    pub reports: u8,
    /// Terms open on three nodes that this recovery goes on from; only for the verdict.
    pub seen: u8,
    /// The volume was opened on three nodes and has not written since.
    pub on_three: bool,
    /// LSNs that its list annuls.
    pub list: LsnSet,
    /// Durable point: decided by the recovery, then moved by the writer.
    pub vdl: Lsn,
    /// Last LSN of its own range.
    pub top: Lsn,
    /// Next LSN.
    pub next: Lsn,
    /// Each group's last record at or below the VDL that the recovery decided.
    pub anchors: [Lsn; GROUPS],
    /// Each group's last record at or below the announced VDL.
    pub bases: [Lsn; GROUPS],
    /// Highest announced VDL that the recovery found.
    pub announced: Lsn,
    /// Each group's last record given out.
    pub last: [Lsn; GROUPS],
    /// Each group's fourth highest SCL.
    pub pgcl: [Lsn; GROUPS],
    /// Records that the recovery found at or below its VDL.
    pub kept: Records,
    /// Its configuration.
    pub config: u8,
    /// The configuration that it changes to, if not zero.
    pub changing: u8,
    /// The replaced node counts for what its successor holds, too.
    pub joint: bool,
    /// Each group's PGCL when that began.
    pub joint_since: [Lsn; GROUPS],
    /// The recovery did not learn what became of the successor: the node stays away.
    pub keeps_out: bool,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The nodes.
    pub nodes: [Node; NODES],
    /// The terms.
    pub terms: [Term; TERMS],
    /// Records, in the order in which they were written.
    pub records: [Record; RECORDS],
    /// The address book has the successor in its node's place.
    pub seated: bool,
    /// Crashes so far.
    pub crashes: u8,
    /// Bad frames so far.
    pub bad_frames: u8,
    /// Gaps so far.
    pub gaps: u8,
    /// Checkpoints so far.
    pub checkpoints: u8,
}

/// Whether a set of LSNs has this one.
pub fn has_lsn(set: LsnSet, lsn: Lsn) -> bool {
    set >> lsn & 1 == 1
}

/// Whether a set of records or nodes has this one.
pub fn has(set: u8, index: usize) -> bool {
    set >> index & 1 == 1
}

/// All LSNs from one to another.
pub fn lsns(low: Lsn, high: Lsn) -> LsnSet {
    (low..=high).fold(0, |set, lsn| set | 1 << lsn)
}

impl State {
    /// An empty volume, open under its first writer.
    pub fn start(config: &Config) -> State {
        let mut state = State {
            nodes: [Node::EMPTY; NODES],
            terms: [Term::default(); TERMS],
            records: [Record::default(); RECORDS],
            seated: false,
            crashes: 0,
            bad_frames: 0,
            gaps: 0,
            checkpoints: 0,
        };
        state.terms[0] = Term {
            phase: Phase::Open,
            epoch: epoch(1, 0),
            next: 1,
            ..Term::default()
        };
        for node in &mut state.nodes[..MEMBERS] {
            node.promised = epoch(1, 0);
            node.views[0].listed = true;
        }
        let successor = &mut state.nodes[SUCCESSOR];
        (successor.fresh, successor.replaced) = (config.replaces, config.replaces);
        state
    }

    /// Places of the records that there are.
    pub fn record_places(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self
            .records
            .iter()
            .take_while(|record| record.lsn > 0)
            .count();
        0..count
    }

    /// The records of a set that meet a condition.
    pub fn select(&self, set: Records, wanted: impl Fn(&Record) -> bool) -> Records {
        let chosen = self
            .record_places()
            .filter(|place| has(set, *place) && wanted(&self.records[*place]));
        chosen.fold(0, |set, place| set | 1 << place)
    }

    /// A term's own records.
    pub fn own(&self, term: usize) -> Records {
        self.select(Records::MAX, |record| usize::from(record.term) == term)
    }

    /// A term's records: what it found and what it wrote.
    pub fn line(&self, term: usize) -> Records {
        self.terms[term].kept | self.own(term)
    }

    /// What a term has acknowledged or may have shown to a reader.
    pub fn shown(&self, term: usize) -> Records {
        let view = &self.terms[term];
        if view.phase == Phase::Open {
            self.select(self.line(term), |record| record.lsn <= view.vdl)
        } else {
            0
        }
    }

    /// A group's last record of the term at or below its VDL.
    pub fn tip(&self, term: usize, group: usize) -> Lsn {
        let vdl = self.terms[term].vdl;
        let own = self.own(term);
        let durable = self.select(own, |r| usize::from(r.group) == group && r.lsn <= vdl);
        let lsns = self.record_places().filter(|place| has(durable, *place));
        lsns.map(|place| self.records[place].lsn)
            .max()
            .unwrap_or(self.terms[term].anchors[group])
    }

    /// The epoch of the list that a node holds.
    pub fn list_epoch(&self, node: usize) -> u8 {
        self.terms[usize::from(self.nodes[node].list)].epoch
    }

    /// The LSNs that a node's list annuls.
    pub fn list_of(&self, node: usize) -> LsnSet {
        self.terms[usize::from(self.nodes[node].list)].list
    }

    /// Whether the node obeys the term: it promised its epoch and holds its list.
    pub fn obeys(&self, node: usize, term: usize) -> bool {
        let epoch = self.terms[term].epoch;
        self.nodes[node].promised == epoch && self.list_epoch(node) == epoch
    }

    /// Whether the node's directory is the one that a configuration admits.
    pub fn is_admitted(&self, node: usize, config: u8) -> bool {
        let admits_new = config & admits(node) != 0;
        self.nodes[node].replaced == admits_new && is_member(node, config)
    }
}

/// An epoch: its number, then its writer.
pub fn epoch(number: u8, writer: u8) -> u8 {
    number << 2 | writer
}

/// An epoch's number.
pub fn epoch_number(epoch: u8) -> u8 {
    epoch >> 2
}

/// The bit of a configuration that admits the node's new directory: only the last two may be lost,
/// and the successor may take a place.
pub fn admits(node: usize) -> u8 {
    match node {
        SUCCESSOR => 4,
        4 => 2,
        5 => 1,
        _ => 0,
    }
}

/// Whether the node is one of the six of a configuration.
pub fn is_member(node: usize, config: u8) -> bool {
    match node {
        SUCCESSOR => names_successor(config),
        REPLACED => !names_successor(config),
        _ => true,
    }
}

/// Whether a configuration has the successor in its node's place.
pub fn names_successor(config: u8) -> bool {
    config & admits(SUCCESSOR) != 0
}

/// The version of a configuration.
pub fn config_version(config: u8) -> u8 {
    config >> 3
}

/// The versions that a writer gives begin here: above all that an earlier one may have left.
pub fn first_version(epoch: u8) -> u8 {
    2 * epoch_number(epoch)
}

/// The same configuration with another version.
pub fn with_version(config: u8, version: u8) -> u8 {
    version << 3 | (config & 7)
}
