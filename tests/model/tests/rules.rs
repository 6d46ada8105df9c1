//! The protocol holds in a small configuration, all of it; without any one rule it does not.

use redoubt_model::config::{BrokenRule, Config};
use redoubt_model::explain::explain;
use redoubt_model::search::search;

/// States after which a rule counts as not caught.
const ENOUGH: usize = 1_000_000;

/// Rules whose violation lies too deep for every run of the tests.
const DEEP: [BrokenRule; 2] = [
    BrokenRule::AbandonedLineCounts,
    BrokenRule::CopyFromOtherList,
];

#[test]
fn one_takeover_loses_nothing_in_any_order_of_events() {
    let config = Config {
        plain: true,
        ..Config::SMALL
    };
    let outcome = search(&config, 1, usize::MAX);
    assert!(outcome.is_exhaustive);
    assert!(outcome.states > 100_000, "only {} states", outcome.states);
    if let Some((way, what)) = outcome.violation {
        panic!("{}", explain(&config, &way, &what));
    }
}

#[test]
fn every_broken_rule_is_caught() {
    let rules = BrokenRule::ALL
        .into_iter()
        .filter(|rule| !DEEP.contains(rule));
    let missed: Vec<BrokenRule> = rules.filter(|rule| !is_caught(*rule, ENOUGH)).collect();
    assert!(missed.is_empty(), "nothing goes wrong without {missed:?}");
}

#[test]
#[ignore = "takes minutes"]
fn every_deeply_broken_rule_is_caught() {
    let rules = DEEP.into_iter();
    let missed: Vec<BrokenRule> = rules
        .filter(|rule| !is_caught(*rule, 20 * ENOUGH))
        .collect();
    assert!(missed.is_empty(), "nothing goes wrong without {missed:?}");
}

fn is_caught(rule: BrokenRule, enough: usize) -> bool {
    let config = rule.exposing();
    let violation = search(&config, 1, enough).violation;
    violation.is_some_and(|(way, what)| explain(&config, &way, &what).contains("=>"))
}
