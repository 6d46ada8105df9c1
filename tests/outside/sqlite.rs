//! SQLite on ext4 on a loop device: what it said is committed survives kill -9 of the daemon.

use crate::support::{FileSystem, LoopDevice, TempVolume, await_that, root, script, shell};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;

/// Inserts rows, one transaction each, and prints a row once it is committed. EXTRA makes the end
/// of a rollback journal durable too; FULL leaves that to the next commit.
const INSERT: &str = r#"
    { echo 'PRAGMA synchronous=EXTRA;'
      seq "$first" 1000000 | sed 's/.*/INSERT INTO row VALUES(&, hex(randomblob(300)));\
SELECT id, text FROM row WHERE id = &;/'
    } | stdbuf -oL sqlite3 -bail "$base" >> "$ledger"
"#;

/// SQLite at work in a process group of its own.
struct Inserting(Child);

impl Inserting {
    fn start(base: &Path, ledger: &Path, first: &str) -> Inserting {
        let variables = [
            ("base", base),
            ("ledger", ledger),
            ("first", Path::new(first)),
        ];
        let mut command = script(INSERT, &variables);
        command.stderr(std::process::Stdio::null());
        Inserting(command.process_group(0).spawn().unwrap())
    }
}

impl Drop for Inserting {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(-(self.0.id() as i32));
        // It ends by itself when its disk dies.
        let _ = nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGKILL);
        self.0.wait().unwrap();
    }
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// The database is whole and holds every row of the ledger.
fn check(file_system: &FileSystem, ledger: &Path) {
    let base = file_system.directory().join("rows.db");
    let ask = |sql: &str| shell(&format!("sqlite3 \"$base\" '{sql}'"), &[("base", &base)]);
    assert_eq!(ask("PRAGMA integrity_check").trim(), "ok");
    let found = ask("SELECT id, text FROM row");
    let found: BTreeSet<_> = found.lines().collect();
    let promised = fs::read_to_string(ledger).unwrap();
    let missing: Vec<_> = promised
        .lines()
        .filter(|row| !found.contains(row))
        .collect();
    assert!(
        missing.is_empty(),
        "{} rows are missing: {missing:.80?}",
        missing.len()
    );
}

fn committed_rows_survive_kills(journal_mode: &str) {
    let volume = TempVolume::create("256M");
    let (data, ledger) = (volume.home().join("data"), volume.home().join("ledger"));
    fs::write(&ledger, "").unwrap();
    let mut mounted = volume.mount();
    shell("mkfs.ext4 -q -F \"$disk\"", &[("disk", &mounted.disk())]);
    let mut file_system = LoopDevice::attach(&mounted.disk()).mount(&data);
    let base = data.join("rows.db");
    let make = format!(
        "sqlite3 \"$base\" 'PRAGMA journal_mode={journal_mode}; \
         CREATE TABLE row(id INTEGER PRIMARY KEY, text TEXT)'"
    );
    shell(&make, &[("base", &base)]);
    for round in 1..=4 {
        let before = lines(&ledger);
        let inserting = Inserting::start(&base, &ledger, &(round * 200_000).to_string());
        await_that("fifty commits", 60, || lines(&ledger) >= before + 50);
        mounted.kill();
        drop(inserting);
        drop(file_system);
        mounted = volume.mount();
        let device = LoopDevice::attach(&mounted.disk());
        // 1 is a replayed journal.
        shell(
            "e2fsck -fp \"$device\" || [ $? = 1 ]",
            &[("device", device.path())],
        );
        file_system = device.mount(&data);
        check(&file_system, &ledger);
    }
    drop(file_system);
    shell("e2fsck -fn \"$disk\"", &[("disk", &mounted.disk())]);
}

#[test]
fn committed_rows_survive_kills_with_a_rollback_journal() {
    let Some(_turn) = root(&["sqlite3", "stdbuf", "mkfs.ext4", "losetup"]) else {
        return;
    };
    committed_rows_survive_kills("DELETE");
}

#[test]
fn committed_rows_survive_kills_with_a_write_ahead_log() {
    let Some(_turn) = root(&["sqlite3", "stdbuf", "mkfs.ext4", "losetup"]) else {
        return;
    };
    committed_rows_survive_kills("WAL");
}
