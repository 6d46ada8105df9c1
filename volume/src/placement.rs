//! Which nodes hold which group: two of each zone, by a pure function of the node table.
//!
//! When nodes come to a volume, or are to be emptied, there are two tables for a while: the *former*
//! one, by which the groups are placed that there were, and the *current* one, by which all later ones
//! are. Groups move from one to the other one segment after the other, in the order of their numbers,
//! and how far that has come is a single number: nothing is kept of each group.

use crate::config::{NodeEntry, SEGMENTS, SEGMENTS_PER_ZONE, VolumeConfig, ZONES};
use crate::ids::{GroupId, Incarnation, NodeId, ZoneId};
use std::collections::BTreeSet;

/// How far a volume has come from its former node table to the current one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relocation {
    /// Groups from this one on are placed by the current table alone.
    pub first_new: GroupId,
    /// Steps that are done, [`SEGMENTS`] for each group before the one that moves: fewer than
    /// that are segments that move.
    pub done_steps: u64,
    /// The segments of the groups that there were are to move, too.
    pub moves: bool,
    /// Segments have moved before: logs may hold records of that, which no program knows that does
    /// not know of relocations.
    pub has_moved: bool,
}

/// Placements repeat after at most so many groups: all of them are asked when a configuration is
/// judged, and whenever the volume's health is. Zones of up to 90 nodes can become larger or smaller by
/// one; larger ones by their multiples.
const MAX_PERIOD: u32 = 1 << 13;

/// A segment that is to move to another node of its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentMove {
    /// The segment's group.
    pub group: GroupId,
    /// Who holds it.
    pub from: NodeId,
    /// Who is to hold it.
    pub to: NodeId,
    /// What [`Relocation::done_steps`] is after it.
    pub done_steps: u64,
}

/// One of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Former,
    Current,
}

impl VolumeConfig {
    /// The six nodes that hold a group: two of each zone, spread evenly over the zone's nodes.
    pub fn members(&self, group: GroupId) -> [NodeId; SEGMENTS] {
        let first_step = u64::from(group.0) * SEGMENTS as u64;
        let done = self.relocation.done_steps.saturating_sub(first_step);
        if group >= self.relocation.first_new {
            return self.placed_by(Table::Current, group);
        }
        let mut members = self.placed_by(Table::Former, group);
        for (seat, to) in self.steps(group).into_iter().take(done as usize) {
            members[seat] = to;
        }
        members
    }

    /// Whether a node holds a group.
    pub fn holds(&self, node: NodeId, group: GroupId) -> bool {
        self.members(group).contains(&node)
    }

    /// Whether a node holds a group, or is about to: its segment is the next one to move.
    pub fn may_hold(&self, node: NodeId, group: GroupId) -> bool {
        let is_moved = |next: SegmentMove| next.to == node && next.group == group;
        let moves = self.relocation.moves;
        self.holds(node, group) || moves && self.next_move().is_some_and(is_moved)
    }

    /// Who leaves a group, and who comes instead, where another configuration places it.
    pub fn exchanges(&self, other: &VolumeConfig, group: GroupId) -> Vec<(NodeId, NodeId)> {
        let (before, after) = (self.members(group), other.members(group));
        let seats = exchanged_seats(&before, &after).into_iter();
        seats.map(|(seat, to)| (before[seat], to)).collect()
    }

    /// Groups that together are placed on every set of six that any group is placed on.
    pub fn representatives(&self) -> BTreeSet<GroupId> {
        let turns = self.period().unwrap_or(MAX_PERIOD);
        let firsts = [GroupId(0), self.moving_group(), self.relocation.first_new];
        let groups = firsts
            .into_iter()
            .flat_map(|first| first.0..=first.0.saturating_add(turns));
        groups.map(GroupId).collect()
    }

    /// The distinct sets of six nodes that groups are placed on.
    pub fn placements(&self) -> BTreeSet<[NodeId; SEGMENTS]> {
        let groups = self.representatives().into_iter();
        groups.map(|group| self.members(group)).collect()
    }

    /// The same with more nodes, on which groups from `first_new` on are placed, too.
    #[must_use]
    pub fn widened(&self, nodes: Vec<NodeEntry>, first_new: GroupId) -> VolumeConfig {
        let mut config = self.clone();
        let is_empty = first_new == GroupId(0);
        config.nodes.extend(nodes.into_iter().map(|node| NodeEntry {
            in_former: is_empty,
            in_current: true,
            ..node
        }));
        config.relocation.first_new = first_new;
        config
    }

    /// The same without groups on a node: those from `first_new` on are placed on the others, and
    /// the segments that it holds move there.
    #[must_use]
    pub fn without(&self, node: NodeId, first_new: GroupId) -> VolumeConfig {
        let mut config = self.clone();
        config.nodes[node.index()].in_current = false;
        config.relocation.first_new = first_new;
        config.spread()
    }

    /// The same with the segments of all groups on their way to the nodes of the current table.
    #[must_use]
    pub fn spread(&self) -> VolumeConfig {
        let mut config = self.clone();
        config.relocation.moves = true;
        config
    }

    /// The same with so many steps done.
    #[must_use]
    pub fn stepped(&self, done_steps: u64) -> VolumeConfig {
        let mut config = self.clone();
        config.relocation.done_steps = done_steps;
        config
    }

    /// The same when every segment has moved: the current table is the only one. Nothing is left on
    /// a node that is not in it, and what its directory holds does not count any more.
    #[must_use]
    pub fn relocated(&self) -> VolumeConfig {
        let mut config = self.clone();
        config.relocation = Relocation {
            has_moved: true,
            ..Relocation::default()
        };
        for entry in &mut config.nodes {
            entry.in_former = entry.in_current;
            if !entry.in_current {
                entry.incarnation = Incarnation::NONE;
            }
        }
        config
    }

    /// The same with groups placed as another configuration of these nodes places them.
    #[must_use]
    pub fn placed_like(&self, other: &VolumeConfig) -> VolumeConfig {
        let mut config = self.clone();
        config.relocation = other.relocation;
        for (entry, like) in config.nodes.iter_mut().zip(&other.nodes) {
            (entry.in_former, entry.in_current) = (like.in_former, like.in_current);
            if !like.in_former && !like.in_current {
                entry.incarnation = Incarnation::NONE;
            }
        }
        config
    }

    /// Whether groups are, or were, on their way from a former table to the current one, and there
    /// are two.
    pub fn has_two_tables(&self) -> bool {
        let differs = |entry: &NodeEntry| entry.in_former != entry.in_current;
        let at_rest = Relocation {
            has_moved: self.relocation.has_moved,
            ..Relocation::default()
        };
        self.relocation != at_rest || self.nodes.iter().any(differs)
    }

    /// Whether all groups are placed on all nodes, by one table.
    pub fn has_all_nodes_in_one_table(&self) -> bool {
        !self.has_two_tables() && self.nodes.iter().all(|entry| entry.in_current)
    }

    /// Whether a node was drained: no group is on it or comes to it any more.
    pub fn is_drained(&self, node: NodeId) -> bool {
        let entry = self.nodes.get(node.index());
        entry.is_some_and(|entry| !entry.in_former && !entry.in_current)
    }

    /// The nodes that groups are on, or may be.
    pub fn undrained_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.node_ids().filter(|node| !self.is_drained(*node))
    }

    /// Nodes of a zone that groups are placed on from now on.
    pub fn current_in_zone(&self, zone: ZoneId) -> usize {
        self.of_table(Table::Current, zone).len()
    }

    /// Segments that have moved, and all that move, of the groups that `exist` (ascending).
    pub fn segments_moved(&self, exist: impl Iterator<Item = GroupId>) -> (u64, u64) {
        let mut counts = (0, 0);
        for group in exist.take_while(|group| *group < self.relocation.first_new) {
            let steps = self.steps(group).len() as u64;
            let first_step = u64::from(group.0) * SEGMENTS as u64;
            let done = self.relocation.done_steps.saturating_sub(first_step);
            counts.0 += done.min(steps);
            counts.1 += steps;
        }
        counts
    }

    /// Whether each table has two nodes of each zone, placements soon repeat, and no more moves are
    /// done than there can be.
    pub fn can_place(&self) -> bool {
        let zones = || (0..ZONES as u8).map(ZoneId);
        let has_two =
            |table| zones().all(|zone| self.of_table(table, zone).len() >= SEGMENTS_PER_ZONE);
        let Relocation {
            first_new,
            done_steps,
            ..
        } = self.relocation;
        has_two(Table::Former)
            && has_two(Table::Current)
            && self.period().is_some()
            && done_steps <= u64::from(first_new.0) * SEGMENTS as u64
    }

    /// The next segment that is to move, if any is left.
    pub fn next_move(&self) -> Option<SegmentMove> {
        if self
            .nodes
            .iter()
            .all(|entry| entry.in_former == entry.in_current)
        {
            return None;
        }
        let first = self.moving_group();
        let groups = (first.0..self.relocation.first_new.0).map(GroupId);
        groups.into_iter().find_map(|group| {
            let first_step = u64::from(group.0) * SEGMENTS as u64;
            let done = self.relocation.done_steps.saturating_sub(first_step);
            let steps = self.steps(group);
            let (seat, to) = steps.get(done as usize).copied()?;
            let is_last = done as usize + 1 == steps.len();
            let after = if is_last { SEGMENTS as u64 } else { done + 1 };
            Some(SegmentMove {
                group,
                from: self.members(group)[seat],
                to,
                done_steps: first_step + after,
            })
        })
    }

    /// After how many groups the placements by both tables repeat: the least common multiple of their
    /// zones' sizes. `None` when that is above [`MAX_PERIOD`].
    fn period(&self) -> Option<u32> {
        let tables = [Table::Former, Table::Current].into_iter();
        let zones =
            tables.flat_map(|table| (0..ZONES as u8).map(move |zone| (table, ZoneId(zone))));
        let sizes = zones.map(|(table, zone)| self.of_table(table, zone).len() as u32);
        sizes.into_iter().try_fold(1, |period, size| {
            let longer = period / greatest_common_divisor(period, size) * size;
            (longer <= MAX_PERIOD).then_some(longer)
        })
    }

    fn moving_group(&self) -> GroupId {
        GroupId((self.relocation.done_steps / SEGMENTS as u64) as u32)
    }

    /// The moves of a group's segments, in their order: which seat, and to whom.
    fn steps(&self, group: GroupId) -> Vec<(usize, NodeId)> {
        let former = self.placed_by(Table::Former, group);
        exchanged_seats(&former, &self.placed_by(Table::Current, group))
    }

    fn placed_by(&self, table: Table, group: GroupId) -> [NodeId; SEGMENTS] {
        let mut members = [NodeId(0); SEGMENTS];
        for zone in 0..ZONES {
            let in_zone = self.of_table(table, ZoneId(zone as u8));
            for copy in 0..SEGMENTS_PER_ZONE {
                let turn = group.0 as usize * SEGMENTS_PER_ZONE + copy;
                members[zone * SEGMENTS_PER_ZONE + copy] = in_zone[turn % in_zone.len()];
            }
        }
        members
    }

    fn of_table(&self, table: Table, zone: ZoneId) -> Vec<NodeId> {
        let is_in = |node: &NodeId| {
            let entry = &self.nodes[node.index()];
            let is_placed = match table {
                Table::Former => entry.in_former,
                Table::Current => entry.in_current,
            };
            entry.zone == zone && is_placed
        };
        self.node_ids().filter(is_in).collect()
    }
}

/// The seats of those who are in one set of six and not in another, and in each zone who comes instead.
fn exchanged_seats(
    before: &[NodeId; SEGMENTS],
    after: &[NodeId; SEGMENTS],
) -> Vec<(usize, NodeId)> {
    let zones = (0..ZONES).flat_map(|zone| {
        let seats = zone * SEGMENTS_PER_ZONE..(zone + 1) * SEGMENTS_PER_ZONE;
        let coming = after[seats.clone()].iter();
        let coming = coming.filter(|node| !before.contains(node));
        let leaving = seats.filter(|seat| !after.contains(&before[*seat]));
        leaving.zip(coming.copied())
    });
    zones.collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        b => greatest_common_divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn every_group_has_two_nodes_of_each_zone_and_the_load_is_even() {
        for per_zone in [2, 3, 4] {
            let config = config(per_zone, 1, 1 << 30);
            let mut load = vec![0; config.nodes.len()];
            for group in 0..12 * per_zone as u32 {
                let members = config.members(GroupId(group));
                let distinct: BTreeSet<_> = members.iter().collect();
                assert_eq!(distinct.len(), SEGMENTS);
                for zone in 0..ZONES as u8 {
                    let of_zone = |node: &&NodeId| config.nodes[node.index()].zone == ZoneId(zone);
                    assert_eq!(members.iter().filter(of_zone).count(), SEGMENTS_PER_ZONE);
                }
                members.iter().for_each(|node| load[node.index()] += 1);
            }
            assert!(load.iter().all(|count| *count == load[0]), "{load:?}");
        }
    }

    /// Six nodes with twelve groups, to which one a zone has come.
    fn grown() -> VolumeConfig {
        let mut config = config(2, 1, 1 << 30);
        for zone in 0..ZONES as u8 {
            config.nodes.push(NodeEntry {
                in_former: false,
                ..NodeEntry::new(ZoneId(zone), Incarnation(7))
            });
        }
        config.relocation.first_new = GroupId(12);
        config
    }

    fn assert_well_placed(config: &VolumeConfig, group: GroupId) {
        let members = config.members(group);
        assert_eq!(members.iter().collect::<BTreeSet<_>>().len(), SEGMENTS);
        for (seat, node) in members.iter().enumerate() {
            let zone = config.nodes[node.index()].zone;
            assert_eq!(usize::from(zone.0), seat / SEGMENTS_PER_ZONE);
        }
        assert!(config.placements().contains(&members), "{members:?}");
    }

    #[test]
    fn what_was_there_stays_and_new_groups_use_all_nodes() {
        let (before, config) = (config(2, 1, 1 << 30), grown());
        for group in (0..12).map(GroupId) {
            assert_eq!(config.members(group), before.members(group));
        }
        let new = (12..18).map(GroupId);
        let used: BTreeSet<NodeId> = new.flat_map(|group| config.members(group)).collect();
        assert_eq!(used.len(), 9);
    }

    #[test]
    fn segments_move_one_by_one_and_no_more_than_must() {
        let mut config = grown();
        let mut moves = 0;
        while let Some(next) = config.next_move() {
            let before = config.members(next.group);
            config.relocation.done_steps = next.done_steps;
            let after = config.members(next.group);
            let changed = before.iter().zip(&after).filter(|(old, new)| old != new);
            assert_eq!(changed.collect::<Vec<_>>(), [(&next.from, &next.to)]);
            (0..18).for_each(|group| assert_well_placed(&config, GroupId(group)));
            moves += 1;
        }
        // A third of what there was is on the third node of each zone.
        assert_eq!(moves, 12 * SEGMENTS / 3);
        let sorted = |mut members: [NodeId; SEGMENTS]| {
            members.sort_unstable();
            members
        };
        for group in (0..12).map(GroupId) {
            let placed = config.placed_by(Table::Current, group);
            assert_eq!(sorted(config.members(group)), sorted(placed));
        }
    }

    proptest! {
        /// However uneven the zones of two tables are, and however far the move has come.
        #[test]
        fn every_group_is_on_a_listed_placement(
            rows in vec((0u8..3, any::<bool>(), any::<bool>()), 6..24),
            first_new in 0u32..40,
            done_steps in 0u64..240,
        ) {
            let mut config = config(2, 1, 1 << 30);
            let more = rows.into_iter().map(|(zone, in_former, in_current)| NodeEntry {
                in_former,
                in_current,
                ..NodeEntry::new(ZoneId(zone), Incarnation(9))
            });
            config.nodes.extend(more);
            config.relocation.first_new = GroupId(first_new);
            config.relocation.done_steps = done_steps.min(u64::from(first_new) * SEGMENTS as u64);
            prop_assume!(config.can_place());
            (0..200).for_each(|group| assert_well_placed(&config, GroupId(group)));
        }
    }

    #[test]
    fn who_moves_next_may_hold_the_group_and_nobody_else() {
        let config = grown();
        let next = config.next_move().unwrap();
        assert!(!config.may_hold(next.to, next.group), "nothing moves yet");
        let config = config.spread();
        let may_hold = |node: &NodeId| config.may_hold(*node, next.group);
        let holders: BTreeSet<NodeId> = config.node_ids().filter(may_hold).collect();
        let mut expected = BTreeSet::from(config.members(next.group));
        expected.insert(next.to);
        assert_eq!(holders, expected);
        assert_eq!(config.segments_moved((0..18).map(GroupId)), (0, 24));
        let stepped = config.stepped(next.done_steps);
        assert_eq!(stepped.segments_moved((0..18).map(GroupId)), (1, 24));
        let exchanged = config.exchanges(&stepped, next.group);
        assert_eq!(exchanged, [(next.from, next.to)]);
        assert_eq!(config.exchanges(&stepped, GroupId(next.group.0 + 1)), []);
    }

    /// Whoever goes by one configuration meets who goes by the next.
    #[test]
    fn a_configuration_and_the_next_one_share_a_placement() {
        let drained = config(3, 1, 1 << 30).without(NodeId(4), GroupId(5));
        for begun in [grown().spread(), drained] {
            let mut before = begun;
            while let Some(next) = before.next_move() {
                let after = before.stepped(next.done_steps);
                let shared = before
                    .placements()
                    .intersection(&after.placements())
                    .count();
                assert!(shared > 0, "{after:?}");
                before = after;
            }
            assert!(before.has_two_tables());
            let sorted = |config: &VolumeConfig| -> BTreeSet<Vec<NodeId>> {
                let placements = config.placements().into_iter();
                placements
                    .map(|mut six| {
                        six.sort_unstable();
                        six.to_vec()
                    })
                    .collect()
            };
            let ended = before.relocated();
            assert!(!ended.has_two_tables());
            assert_eq!(sorted(&ended), sorted(&before), "no group moves at the end");
        }
    }

    #[test]
    fn what_a_drained_node_has_does_not_count() {
        let config = config(3, 1, 1 << 30).without(NodeId(4), GroupId(0));
        assert!(!config.is_drained(NodeId(4)), "not before the end");
        assert_eq!(config.next_move(), None, "no group is there");
        let ended = config.relocated();
        assert!(ended.is_drained(NodeId(4)) && ended.can_place());
        assert_eq!(ended.nodes[4].incarnation, Incarnation::NONE);
        assert!(!ended.has_two_tables() && !ended.has_all_nodes_in_one_table());
        assert_eq!(ended.current_in_zone(ZoneId(1)), 2);
        let like = self::config(3, 1, 1 << 30).placed_like(&ended);
        assert_eq!(like, ended);
    }

    #[test]
    fn a_node_is_emptied() {
        let node = NodeId(4);
        let mut config = config(3, 1, 1 << 30).without(node, GroupId(12));
        while let Some(next) = config.next_move() {
            config.relocation.done_steps = next.done_steps;
            assert_ne!(next.to, node);
        }
        assert!((0..24).all(|group| !config.holds(node, GroupId(group))));
        (0..24).for_each(|group| assert_well_placed(&config, GroupId(group)));
    }
}
