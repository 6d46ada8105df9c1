//! The protocol holds in a small configuration, all of it; without any one rule it does not.

use redoubt_model::config::{BrokenRule, Config};
use redoubt_model::explain::explain;
use redoubt_model::search::search;

/// States after which a rule counts as not caught.
const ENOUGH: usize = 1_000_000;

#[test]
fn one_takeover_loses_nothing_in_any_order_of_events() {
    let config = Config::SMALL;
    let outcome = search(&config, 1, usize::MAX);
    assert!(outcome.is_exhaustive);
    assert!(outcome.states > 90_000, "only {} states", outcome.states);
    if let Some((way, what)) = outcome.violation {
        panic!("{}", explain(&config, &way, &what));
    }
}

#[test]
fn nodes_that_give_each_other_records_lose_nothing() {
    let outcome = search(&Config::GOSSIP, 1, usize::MAX);
    assert!(outcome.is_exhaustive);
    if let Some((way, what)) = outcome.violation {
        panic!("{}", explain(&Config::GOSSIP, &way, &what));
    }
}

#[test]
fn every_broken_rule_is_caught() {
    let rules = BrokenRule::ALL.into_iter();
    let missed: Vec<BrokenRule> = rules.filter(|rule| !is_caught(*rule)).collect();
    assert!(missed.is_empty(), "nothing goes wrong without {missed:?}");
}

/// Whether something goes wrong without the rule, and nothing in as many states with it.
fn is_caught(rule: BrokenRule) -> bool {
    let broken = rule.exposing();
    let outcome = search(&broken, 1, ENOUGH);
    let Some((way, what)) = outcome.violation else {
        return false;
    };
    let whole = Config {
        broken: None,
        ..broken
    };
    let near = search(&whole, 1, outcome.states);
    let told = explain(&broken, &way, &what);
    assert!(near.violation.is_none(), "{rule:?} is not at fault: {told}");
    told.contains("=>")
}
