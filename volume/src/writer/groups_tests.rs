use super::*;
use std::array::from_fn;

const MEMBERS: [NodeId; SEGMENTS] = [
    NodeId(0),
    NodeId(1),
    NodeId(2),
    NodeId(3),
    NodeId(4),
    NodeId(5),
];

fn successor(member: NodeId) -> NodeId {
    NodeId(member.0 + SEGMENTS as u16)
}

/// A group with these members being exchanged.
fn exchanging(members: &[NodeId]) -> ProtectionGroup {
    let mut group = ProtectionGroup::new(MEMBERS, Lsn::NONE);
    for member in members {
        group.add_successor(*member, successor(*member));
        group.join_successor(*member);
    }
    group
}

/// Every set of six that may be the members: each exchanged place has the old or the new one.
fn possible_members(exchanged: &[NodeId]) -> Vec<[NodeId; SEGMENTS]> {
    let choices = 0..1usize << exchanged.len();
    let set = |choice: usize| {
        from_fn(|place| {
            let member = MEMBERS[place];
            let at = exchanged.iter().position(|other| *other == member);
            match at {
                Some(at) if choice & (1 << at) != 0 => successor(member),
                _ => member,
            }
        })
    };
    choices.map(set).collect()
}

#[test]
fn what_counts_in_an_exchange_is_on_four_of_every_set_that_may_be_the_members() {
    for exchanged in [&[][..], &[NodeId(5)], &[NodeId(4), NodeId(5)]] {
        for held_by in 0u32..1 << (2 * SEGMENTS) {
            let holds = |node: NodeId| held_by & (1 << node.0) != 0;
            let all = MEMBERS.into_iter().map(successor).chain(MEMBERS);
            let nobody_else = all
                .filter(|node| holds(*node))
                .all(|node| node.0 < 6 || exchanged.contains(&NodeId(node.0 - 6)));
            if !nobody_else {
                continue;
            }
            let mut group = exchanging(exchanged);
            for node in (0..2 * SEGMENTS as u16).map(NodeId).filter(|n| holds(*n)) {
                group.on_scl(node, Lsn(7));
            }
            let four_of_each = possible_members(exchanged)
                .into_iter()
                .all(|set| set.into_iter().filter(|node| holds(*node)).count() >= WRITE_QUORUM);
            let durable = group.pgcl() == Lsn(7);
            assert_eq!(durable, four_of_each, "{exchanged:?} {held_by:b}");
        }
    }
}

#[test]
fn a_successor_that_is_filled_counts_for_nothing() {
    let mut group = ProtectionGroup::new(MEMBERS, Lsn::NONE);
    group.add_successor(NodeId(5), successor(NodeId(5)));
    for node in [NodeId(0), NodeId(1), NodeId(2), successor(NodeId(5))] {
        group.on_scl(node, Lsn(7));
    }
    assert_eq!(group.pgcl(), Lsn::NONE);
    group.on_scl(NodeId(5), Lsn(7));
    assert_eq!(group.pgcl(), Lsn(7));
}

#[test]
fn a_successor_may_take_over_when_it_holds_all_that_counted() {
    let mut group = ProtectionGroup::new(MEMBERS, Lsn::NONE);
    let new = successor(NodeId(5));
    group.add_successor(NodeId(5), new);
    group.forget(new);
    for node in [0, 1, 2, 5].map(NodeId) {
        group.on_scl(node, Lsn(9));
    }
    group.on_complete(new, Lsn(7));
    group.join_successor(NodeId(5));
    assert!(
        !group.may_take_over(NodeId(5)),
        "four hold 9, one of them leaves"
    );
    group.on_scl(NodeId(3), Lsn(12));
    group.on_scl(new, Lsn(9));
    assert!(group.may_take_over(NodeId(5)));
    group.forget(new);
    assert!(!group.may_take_over(NodeId(5)));
    group.part_successor(NodeId(5));
    group.on_complete(new, Lsn(12));
    assert!(!group.may_take_over(NodeId(5)), "it counts for nothing");
}

#[test]
fn a_place_that_is_promised_is_not_promised_again() {
    let mut group = ProtectionGroup::new(MEMBERS, Lsn(3));
    group.add_successor(NodeId(5), NodeId(6));
    group.add_successor(NodeId(5), NodeId(7));
    assert!(group.is_held_by(NodeId(6)) && !group.is_held_by(NodeId(7)));
    group.drop_successor(NodeId(5), NodeId(7));
    assert!(group.is_held_by(NodeId(6)), "it was another one's");
    group.drop_successor(NodeId(5), NodeId(6));
    assert!(!group.is_held_by(NodeId(6)));
}

#[test]
fn members_keep_what_they_have_proved_when_others_come() {
    let mut group = ProtectionGroup::new(MEMBERS, Lsn(3));
    group.add_successor(NodeId(1), NodeId(8));
    group.add_successor(NodeId(4), successor(NodeId(4)));
    for (node, scl) in [(0, 9), (1, 9), (2, 9), (3, 7), (8, 9)] {
        group.on_complete(NodeId(node), Lsn(scl));
    }
    group.join_successor(NodeId(1));
    assert!(group.may_take_over(NodeId(1)));
    // Others sit where they sat before.
    group.reseat([8, 0, 3, 2, 4, 5].map(NodeId));
    assert!(!group.is_held_by(NodeId(1)));
    let proved = [8, 0, 3, 2, 4].map(|node| group.scl(NodeId(node)));
    assert_eq!(proved, [9, 9, 7, 9, 0].map(Lsn));
    assert!(group.is_complete(NodeId(8)) && !group.is_complete(NodeId(5)));
    assert!(group.is_held_by(successor(NodeId(4))), "it is replaced yet");
    assert_eq!(group.successors().into_iter().flatten().count(), 1);
    assert_eq!(group.pgcl(), Lsn(7));
}

#[test]
fn what_counted_less_while_both_had_to_hold_it_counts_when_one_does_not() {
    let mut group = exchanging(&[NodeId(5)]);
    for node in [0, 1, 2, 5].map(NodeId) {
        group.on_scl(node, Lsn(7));
    }
    assert_eq!(group.pgcl(), Lsn::NONE);
    group.part_successor(NodeId(5));
    assert_eq!(group.pgcl(), Lsn(7));
}
