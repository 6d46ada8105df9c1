//! What the event history tells of nodes that went away, and that it is still there later.

use crate::support::{
    Mounted, SetWhenDropped, TempVolume, await_that, fuse, pattern, redoubt, script,
};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The events of the volume, as `redoubt events --json` tells them.
fn events(volume: &TempVolume) -> Vec<Value> {
    let output = redoubt(["events", "--json"]).arg(volume.path()).output();
    let output = output.unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let events: Vec<Value> = events.collect();
    for event in &events {
        assert_eq!(
            (&event["schema"], &event["type"]),
            (&1.into(), &"event".into())
        );
    }
    events
}

/// The words that some of the events are told by, in their order.
fn words(events: &[Value], of: impl Fn(&Value) -> bool, field: &str) -> Vec<String> {
    let word = |event: &Value| event[field].as_str().unwrap_or_default().to_owned();
    events.iter().filter(|event| of(event)).map(word).collect()
}

/// Whether the wanted words are among the others in their order.
fn are_in_order(found: &[String], wanted: &[&[&str]]) -> bool {
    let mut found = found.iter();
    let met = |any: &&[&str]| found.any(|word| any.contains(&word.as_str()));
    wanted.iter().all(met)
}

fn is_state_of(event: &Value, node: Option<&str>) -> bool {
    event["node"].as_str() == node && event["to"].is_string()
}

fn assert_tells_of_the_deleted_node(events: &[Value]) {
    let of_node = words(events, |event| is_state_of(event, Some("b2")), "to");
    let gone: &[&str] = &["down", "missing", "failed"];
    assert!(
        are_in_order(&of_node, &[gone, &["rebuilding"], &["up"]]),
        "{of_node:?}"
    );
    let of_volume = words(events, |event| is_state_of(event, None), "to");
    assert!(
        are_in_order(&of_volume, &[&["healthy"], &["degraded"], &["healthy"]]),
        "{of_volume:?}"
    );
    let about_node = words(events, |event| event["node"] == "b2", "kind");
    let path: [&[&str]; 3] = [&["node-state"], &["made-anew"], &["node-state"]];
    assert!(are_in_order(&about_node, &path), "{about_node:?}");
    let healthy = |event: &&Value| event["kind"] == "volume-state" && event["to"] == "healthy";
    let healthy = events.iter().rev().find(healthy).unwrap();
    assert!(healthy["duration_ms"].as_u64().unwrap() > 0, "{healthy}");
    let numbers: Vec<_> = events.iter().map(|event| &event["number"]).collect();
    let expected: Vec<_> = (1..=events.len()).collect();
    assert!(numbers.into_iter().eq(&expected), "none is missing");
}

/// Writes and syncs all the time, until the flag is set.
fn write_all_the_time(mounted: &Mounted, stop: &AtomicBool) {
    let file = mounted.open(0);
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        file.write_all_at(&pattern(round, 1 << 20), (round % 32) << 20)
            .unwrap();
        file.sync_data().unwrap();
    }
}

#[test]
fn a_deleted_node_directory_is_told_of_in_order_also_after_the_unmount() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    let followed = volume.home().join("followed");
    let mut follower = redoubt(["events", "--follow", "--json"]);
    let follower = follower.arg(volume.path());
    let follower = follower.stdout(File::create(&followed).unwrap()).spawn();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = SetWhenDropped(&stop);
        scope.spawn(|| write_all_the_time(&mounted, &stop));
        std::thread::sleep(Duration::from_millis(500));
        volume.delete_node("zone-b/disk2");
        volume.await_state("degraded");
        volume.await_healthy();
        await_that("the last event", 10, || {
            let states = |event: &Value| is_state_of(event, None);
            words(&events(&volume), states, "to").last().unwrap() == "healthy"
        });
    });
    assert_tells_of_the_deleted_node(&events(&volume));
    mounted.unmount();
    let told = events(&volume);
    assert_tells_of_the_deleted_node(&told);
    assert_eq!(told.last().unwrap()["kind"], "closed");
    let since = &volume.status()["since_ms"];
    assert_eq!(since, &told.last().unwrap()["time_ms"], "since the close");
    await_that("the follower has all", 10, || {
        fs::read_to_string(&followed).unwrap().lines().count() == told.len()
    });
    let destroyed = redoubt(["destroy", "--yes"]).arg(volume.path()).status();
    assert!(destroyed.unwrap().success());
    assert!(!volume.path().exists(), "the history goes with the volume");
    let ended = follower.unwrap().wait().unwrap();
    assert!(ended.success(), "the follower ends with the volume");
}

#[test]
fn a_wait_for_the_quorum_is_told_of_when_it_begins_and_when_it_ends() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    volume.take_away("zone-a");
    volume.take_away("zone-b/disk1");
    volume.await_state("read-only");
    let has = |kind: &str| {
        let told = events(&volume);
        told.iter().any(|event| event["kind"] == kind)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = mounted.open(0);
            file.write_all_at(&pattern(1, 4096), 0).unwrap();
            file.sync_data().unwrap();
        });
        await_that("an event of the wait", 20, || has("writes-waiting"));
        volume.bring_back("zone-b/disk1");
        volume.bring_back("zone-a");
    });
    await_that("an event of its end", 20, || has("writes-resumed"));
    let told = events(&volume);
    let resumed = |event: &&Value| event["kind"] == "writes-resumed";
    let resumed = told.iter().find(resumed).unwrap();
    assert!(resumed["count"].as_u64().unwrap() >= 1, "{resumed}");
    assert!(resumed["duration_ms"].as_u64().unwrap() > 0, "{resumed}");
    volume.await_healthy();
    mounted.unmount();
}

#[test]
fn people_are_told_in_lines_and_only_as_many_as_they_ask_for() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("64M");
    volume.mount().unmount();
    let text = r#"
        "$redoubt" events "$volume" --last 1 | grep -Eq '^20..-..-.. ..:..:..  volume  closed  '
        test "$("$redoubt" events "$volume" --last 1 | wc -l)" = 1
        test "$("$redoubt" events "$volume" | wc -l)" -ge 2
        "$redoubt" events "$volume" | head -1 | grep -q ' recovered in '
        "$redoubt" status "$volume" -x | grep -q 'not mounted'"#;
    let program = env!("CARGO_BIN_EXE_redoubt").as_ref();
    let output = script(text, &[("redoubt", program), ("volume", volume.path())]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
}
