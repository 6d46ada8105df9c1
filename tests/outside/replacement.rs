//! Nodes that another directory replaces under a mounted disk.

use crate::support::{
    Mounted, SetWhenDropped, TempVolume, await_that, fuse, pattern, read_direct, redoubt,
};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const DATA: usize = 24 << 20;

fn node(volume: &TempVolume, arguments: &[&str]) -> Output {
    let mut command = redoubt(["node"]);
    command.arg(arguments[0]).arg(volume.path());
    command.args(&arguments[1..]).output().unwrap()
}

fn replace(volume: &TempVolume, name: &str, directory: &Path, more: &[&str]) -> Output {
    let directory = directory.to_str().unwrap();
    node(volume, &[&["replace", name, directory], more].concat())
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn place_of(volume: &TempVolume, name: &str) -> PathBuf {
    let status = volume.status();
    let nodes = status["nodes"].as_array().unwrap();
    let found = nodes.iter().find(|node| node["id"] == name).unwrap();
    PathBuf::from(found["path"].as_str().unwrap())
}

fn fill(mounted: &Mounted, seed: u64) {
    let file = mounted.open(0);
    file.write_all_at(&pattern(seed, DATA), 0).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_node_is_replaced_under_load_and_the_volume_never_notices() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    fill(&mounted, 1);
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let new = volume.home().join("new disk");
    std::thread::scope(|scope| {
        let _stop = SetWhenDropped(&stop);
        scope.spawn(|| {
            let place = |round| (DATA as u64) + ((round % 64) << 16);
            mounted.write_until(&stop, &rounds, 1 << 16, place);
        });
        let replaced = replace(&volume, "b2", &new, &["--wait"]);
        let before = rounds.load(Ordering::Relaxed);
        await_that("more writes", 30, || {
            rounds.load(Ordering::Relaxed) > before + 5
        });
        assert!(replaced.status.success(), "{replaced:?}");
    });
    assert_eq!(place_of(&volume, "b2"), new);
    volume.await_healthy();
    // The former directory is of no use any more; the new one and two others are enough.
    volume.delete_node("zone-b/disk2");
    mounted.unmount();
    volume.check();
    volume.take_away("zone-a");
    volume.take_away("zone-b/disk1");
    let mounted = volume.mount();
    assert!(read_direct(&mounted.disk(), 0, DATA) == pattern(1, DATA));
    volume.bring_back("zone-a");
    volume.bring_back("zone-b/disk1");
    volume.await_healthy();
}

#[test]
fn a_dead_disk_is_replaced_and_a_replacement_goes_on_after_a_kill() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let mounted = volume.mount();
    fill(&mounted, 1);
    volume.take_away("zone-c/disk1");
    volume.await_state("degraded");
    let new = volume.home().join("new");
    assert!(replace(&volume, "c1", &new, &[]).status.success());
    mounted.kill();
    let mounted = volume.mount();
    await_that("the new directory to take over", 60, || {
        place_of(&volume, "c1") == new
    });
    volume.await_healthy();
    fill(&mounted, 2);
    mounted.unmount();
    volume.check();
}

#[test]
fn a_replacement_is_called_off_and_what_cannot_be_is_refused() {
    let Some(_turn) = fuse(&[]) else { return };
    let volume = TempVolume::on_disks("128M", 2);
    let new = volume.home().join("new");
    let offline = refusal(&replace(&volume, "a1", &new, &[]));
    assert!(offline.contains("mount it first"), "{offline}");
    let mounted = volume.mount();
    fill(&mounted, 1);
    let was = place_of(&volume, "a1");
    let unknown = refusal(&replace(&volume, "d7", &new, &[]));
    assert!(unknown.contains("its nodes are a1, a2, b1"), "{unknown}");
    let taken = refusal(&replace(&volume, "a1", &was, &[]));
    assert!(
        taken.contains("give each a directory of its own"),
        "{taken}"
    );
    let nothing = refusal(&node(&volume, &["replace", "a1", "--abort"]));
    assert!(nothing.contains("nothing to call off"), "{nothing}");
    // With two nodes gone the new one cannot take over yet, so there is time.
    volume.take_away("zone-b");
    volume.take_away("zone-c/disk1");
    volume.await_state("read-only");
    assert!(replace(&volume, "a1", &new, &[]).status.success());
    let again = refusal(&replace(&volume, "a1", &volume.home().join("x"), &[]));
    assert!(again.contains("is being replaced"), "{again}");
    let listed = node(&volume, &["list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains(new.to_str().unwrap()), "{listed}");
    let off = node(&volume, &["replace", "a1", "--abort"]);
    assert!(off.status.success(), "{off:?}");
    assert!(!new.exists(), "what was made is removed");
    assert_eq!(place_of(&volume, "a1"), was);
    volume.bring_back("zone-b");
    volume.bring_back("zone-c/disk1");
    volume.await_healthy();
    mounted.unmount();
    volume.check();
}
