//! What can happen.

use crate::state::Nodes;

/// One step. Numbers are places: of terms, nodes, groups, records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A writer recovers the volume with these nodes.
    Takeover(Nodes),
    /// A node holds the term's list (and promises, if it joins an open volume).
    HoldList(u8, u8),
    /// A node is given the tail's records of a group that it lacks: term, node, group, source.
    CopyTail(u8, u8, u8, u8),
    /// The recovery begins to fill a segment with blocks: term, node, group.
    BeginFillForQuorum(u8, u8, u8),
    /// The recovery ends: the volume is open.
    Serve(u8),
    /// The recovery ends with three nodes, the others being away.
    ServeOnThree(u8, Nodes),
    /// The writer writes a record: term, group, whether it ends a mini-transaction.
    Append(u8, u8, bool),
    /// A record is on a node's stable storage, and acknowledged: term, node, record.
    Deliver(u8, u8, u8),
    /// A node is given the next record of a group by another: node, group, source.
    Gossip(u8, u8, u8),
    /// A node is told the VDL.
    Announce(u8, u8),
    /// A node's process ends and begins again.
    Crash(u8),
    /// All processes end and begin again.
    PowerCut,
    /// A frame of a node's log goes bad; then its process begins again: node, record.
    BadFrame(u8, u8),
    /// A node writes a checkpoint.
    Checkpoint(u8),
    /// A node's directory is made anew, empty.
    Empty(u8),
    /// The writer begins to admit a new directory.
    Admit(u8, u8),
    /// A node holds the configuration that admits it.
    Configure(u8, u8),
    /// The configuration is held by enough.
    Admitted(u8),
    /// The replaced node counts for what its successor holds, too.
    CountBoth(u8),
    /// It counts for itself again.
    CountOne(u8),
    /// The writer begins to name the successor in its node's place.
    NameSuccessor(u8),
    /// A segment that lags begins to be filled while the volume is open: term, node, group.
    BeginFill(u8, u8, u8),
    /// A segment has received all blocks: term, node, group, source.
    Fill(u8, u8, u8, u8),
}
