//! Each scenario under ten thousand schedules: random ones, and ones that put few but telling
//! preemptions (PCT). `REDOUBT_SCHEDULES` is another number. A failure prints its schedule.

use redoubt_threads::{io, scenarios, volume};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    let schedules = std::env::var("REDOUBT_SCHEDULES");
    let schedules = schedules.map_or(10_000, |number| number.parse().expect("a number"));
    let mut config = Config::new();
    config.max_steps = shuttle::MaxSteps::FailAfter(100_000);
    Runner::new(RandomScheduler::new(schedules / 2), config.clone()).run(scenario);
    Runner::new(PctScheduler::new(3, schedules / 2), config).run(scenario);
}

#[test]
fn a_queue_loses_nothing() {
    check(scenarios::a_queue_loses_nothing);
}

#[test]
fn a_door_is_attended_when_a_thread_says_that_it_is_kept() {
    check(|| scenarios::a_door_is_attended(true));
}

#[test]
fn a_door_is_attended_when_a_thread_is_kept_and_does_not_say_so() {
    check(|| scenarios::a_door_is_attended(false));
}

#[test]
fn a_courier_overtakes_nobody() {
    check(io::scenarios::a_courier_overtakes_nobody);
}

#[test]
fn held_writes_keep_their_order() {
    check(io::scenarios::held_writes_keep_their_order);
}

#[test]
fn appends_keep_their_order() {
    check(|| volume::scenarios::appends_keep_their_order(false));
}

#[test]
fn appends_keep_their_order_where_a_fault_holds_them_back() {
    check(|| volume::scenarios::appends_keep_their_order(true));
}
