//! Faults that a user asks for, to see what they do to a disk in use: nothing that it could see.

use crate::support::{
    Mounted, Random, SetWhenDropped, TempVolume, await_that, fuse, pattern, read_direct, redoubt,
};
use serde_json::Value;
use std::os::unix::fs::FileExt;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DATA: usize = 24 << 20;
const BLOCK: usize = 16 << 10;

fn mount(volume: &TempVolume) -> Mounted {
    let mounted = volume.mount_with(&["allow_faults"]);
    let file = mounted.open(0);
    file.write_all_at(&pattern(1, DATA), 0).unwrap();
    file.sync_all().unwrap();
    volume.await_healthy();
    mounted
}

fn ask(volume: &TempVolume, words: &[&str]) -> Output {
    let mut command = redoubt(["fault", "--json"]);
    command.arg(volume.path()).args(words).output().unwrap()
}

/// What a fault's verb that succeeds says.
fn fault(volume: &TempVolume, words: &[&str]) -> Value {
    let output = ask(volume, words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Why one is refused, with its exit code.
fn refusal(volume: &TempVolume, words: &[&str]) -> (Option<i32>, String) {
    let output = ask(volume, words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

fn node(volume: &TempVolume, name: &str) -> Value {
    let status = volume.status();
    let mut nodes = status["nodes"].as_array().unwrap().iter();
    nodes.find(|node| node["id"] == name).unwrap().clone()
}

#[test]
fn a_zone_that_is_switched_off_is_not_noticed_and_comes_back() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("128M");
    let mounted = mount(&volume);
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _stop = SetWhenDropped(&stop);
        scope.spawn(|| {
            let file = mounted.open(0);
            while !stop.load(Ordering::Relaxed) {
                let round = rounds.load(Ordering::Relaxed);
                let at = (round % 64) << 20;
                file.write_all_at(&pattern(round, 1 << 20), at).unwrap();
                file.sync_data().unwrap();
                assert!(read_direct(&mounted.disk(), at, 1 << 20) == pattern(round, 1 << 20));
                rounds.store(round + 1, Ordering::Relaxed);
            }
        });
        let progress = || {
            let before = rounds.load(Ordering::Relaxed);
            await_that("ten more synced writes", 30, || {
                rounds.load(Ordering::Relaxed) >= before + 10
            });
        };
        progress();
        let begun = fault(&volume, &["az-down", "c", "--for", "8s"]);
        assert_eq!(begun["faults"][0]["id"], 1);
        let status = volume.status();
        assert_eq!(status["state"], "degraded");
        let named = &status["faults"][0];
        assert_eq!(named["kind"], "node-down");
        assert_eq!(named["nodes"], serde_json::json!(["c1", "c2"]));
        let reason = node(&volume, "c2")["reason"].to_string();
        assert!(reason.contains("fault 1"), "{reason}");
        progress();
        await_that("the fault's end", 30, || {
            volume.status()["faults"] == serde_json::json!([])
        });
        volume.await_healthy();
        progress();
    });
    mounted.unmount();
    volume.check();
}

/// Times of synced writes of one block, ascending.
fn write_times(mounted: &Mounted, count: usize) -> Vec<Duration> {
    let (file, mut random) = (mounted.open(0), Random(9));
    let mut once = |round: usize| {
        let at = random.below((DATA / BLOCK) as u64) * BLOCK as u64;
        let began = Instant::now();
        file.write_all_at(&pattern(round as u64, BLOCK), at)
            .unwrap();
        file.sync_data().unwrap();
        began.elapsed()
    };
    let mut times: Vec<Duration> = (0..count).map(&mut once).collect();
    times.sort_unstable();
    times
}

#[test]
fn writes_do_not_wait_for_a_slow_disk() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("128M");
    let mounted = mount(&volume);
    let without = write_times(&mounted, 200);
    let congestion = ["congestion", "b1", "--between", "400", "600", "--for", "1h"];
    fault(&volume, &congestion);
    let with = write_times(&mounted, 200);
    let share = |times: &[Duration], percent: usize| times[times.len() * percent / 100];
    println!(
        "p50, p99 without: {:?}, {:?}; with: {:?}, {:?}",
        share(&without, 50),
        share(&without, 99),
        share(&with, 50),
        share(&with, 99)
    );
    // Had any waited for it, all would: 400 ms each. The rest is for machines that are busy.
    assert!(share(&with, 90) < Duration::from_millis(200), "{with:?}");
    assert_eq!(fault(&volume, &["list"])["faults"][0]["kind"], "congestion");
    fault(&volume, &["clear", "--all"]);
    volume.await_healthy();
    mounted.unmount();
    volume.check();
}

#[test]
fn corrupted_blocks_are_never_returned_and_a_scrub_mends_them() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("128M");
    let mounted = mount(&volume);
    let said = fault(&volume, &["corrupt", "b2", "--blocks", "200"]);
    assert_eq!(said["corrupted"], 200);
    let found = read_direct(&mounted.disk(), 0, DATA);
    assert!(found == pattern(1, DATA));
    let scrubbed = redoubt(["scrub"]).arg(volume.path()).status().unwrap();
    assert!(scrubbed.success());
    let node = node(&volume, "b2");
    assert_eq!(node["damaged_blocks"], 200, "{node:#}");
    assert_eq!(node["repaired_blocks"], 200, "{node:#}");
    mounted.unmount();
    volume.check();
}

#[test]
fn a_mount_that_was_not_asked_to_allows_no_faults() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("128M");
    let (code, said) = refusal(&volume, &["az-down", "c"]);
    assert!(code == Some(1) && said.contains("is not mounted"), "{said}");
    let mounted = volume.mount();
    for words in [
        &["az-down", "c"][..],
        &["corrupt", "a1", "--blocks", "1"],
        &["clear", "--all"],
    ] {
        let (code, said) = refusal(&volume, words);
        assert!(code == Some(1) && said.contains("--allow-faults"), "{said}");
    }
    assert_eq!(volume.status()["state"], "healthy");
    mounted.unmount();
    let mounted = volume.mount_with(&["allow_faults"]);
    let (code, said) = refusal(&volume, &["node-down", "d1"]);
    assert!(code == Some(2) && said.contains("a1, a2, b1"), "{said}");
    let (code, said) = refusal(&volume, &["clear", "7"]);
    assert!(code == Some(1) && said.contains("no fault 7"), "{said}");
    mounted.unmount();
}

#[test]
fn a_node_whose_disk_was_full_or_failed_comes_back() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::create("128M");
    let mounted = mount(&volume);
    fault(&volume, &["disk-full", "b1", "--for", "1h"]);
    let failure = ["disk-failure", "c1", "--percent", "100", "--for", "1h"];
    let begun = fault(&volume, &failure);
    let file = mounted.open(0);
    let is_full = || node(&volume, "b1")["state"] == "full";
    for round in 2..20 {
        // More than the room that it has: what is overwritten it would collect.
        let place = round % 5 * DATA as u64;
        file.write_all_at(&pattern(round, DATA), place).unwrap();
        file.sync_all().unwrap();
        if is_full() {
            break;
        }
    }
    await_that("a full disk", 30, is_full);
    await_that("a failed disk", 30, || {
        let state = node(&volume, "c1")["state"].clone();
        state == "failed" || state == "missing"
    });
    let (code, said) = refusal(&volume, &["corrupt", "a1", "--blocks", "1"]);
    assert!(code == Some(1) && said.contains("nothing was corrupted"));
    file.write_all_at(&pattern(99, DATA), 0).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let id = begun["faults"][0]["id"].to_string();
    let ended = fault(&volume, &["clear", &id]);
    assert_eq!(ended["faults"][0]["kind"], "disk-failure");
    fault(&volume, &["clear", "--all"]);
    volume.await_healthy();
    assert!(read_direct(&mounted.disk(), 0, DATA) == pattern(99, DATA));
    mounted.unmount();
    volume.check();
}
