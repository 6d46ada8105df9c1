//! The command from outside: what it prints and how it ends, where no mount is needed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall end")]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Checks that the command refused in one sentence that says `what`.
    #[track_caller]
    fn refused(&self, code: i32, what: &str) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.starts_with("redoubt: "), "{}", self.stderr);
        assert!(
            self.stderr.contains(what),
            "no '{what}' in: {}",
            self.stderr
        );
        assert_eq!(self.stdout, "");
    }
}

/// Runs `redoubt` in a folder, its arguments separated by blanks.
fn redoubt(folder: &Path, arguments: &str) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_redoubt"))
        .current_dir(folder)
        .env_remove("REDOUBT_LOG")
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output();
    run_of(output.unwrap())
}

fn run_of(output: Output) -> Run {
    Run {
        code: output.status.code().expect("no signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A folder with a small volume `demo` in it.
fn folder_with_volume() -> TempDir {
    let folder = folder();
    let run = redoubt(
        folder.path(),
        "create demo --size 64M --group-size 1M --extent-size 1M",
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    folder
}

/// Everything that is there, with its length.
fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            found.push(format!("{} {}", entry.path().display(), metadata.len()));
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn help_and_version_are_no_errors() {
    let folder = folder();
    for arguments in [
        "--help",
        "-h",
        "--version",
        "-V",
        "create --help",
        "help mount",
    ] {
        let run = redoubt(folder.path(), arguments);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{arguments}");
        assert!(!run.stdout.is_empty());
    }
    assert_eq!(redoubt(folder.path(), "").code, 2);
    redoubt(folder.path(), "mont demo x").refused(2, "mont");
}

#[test]
fn create_prints_the_six_directories() {
    let folder = folder();
    let run = redoubt(folder.path(), "create demo --size 10G");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    for name in ["a1", "a2", "b1", "b2", "c1", "c2"] {
        let path = folder.path().join("demo/nodes").join(name);
        assert!(path.join("superblock").is_file());
        assert!(
            run.stdout.contains(path.to_str().unwrap()),
            "{}",
            run.stdout
        );
    }
    assert!(run.stdout.contains("10 GiB"));
}

#[test]
fn create_speaks_json() {
    let folder = folder();
    let nodes = "--node a=x1 --node a=x2 --node b=x3 --node b=x4 --node c=x5 --node c=x6";
    let run = redoubt(
        folder.path(),
        &format!("create demo --size 1.5G --json {nodes}"),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let json = run.json();
    assert_eq!(
        (&json["schema"], &json["command"]),
        (&1.into(), &"create".into())
    );
    assert_eq!(json["volume"]["size"], 1_610_612_736_u64);
    assert_eq!(json["volume"]["nodes"][2]["id"], "b1");
    assert!(
        json["volume"]["nodes"][2]["path"]
            .as_str()
            .unwrap()
            .ends_with("/x3")
    );
    assert!(folder.path().join("x6/superblock").is_file());
}

#[test]
fn a_size_that_cannot_be_is_refused_and_nothing_is_made() {
    let folder = folder();
    for (size, what) in [
        ("0", "0 bytes"),
        ("0G", "0 bytes"),
        ("129T", "128 TiB"),
        ("99999999999999999999999", "128 TiB"),
        ("10g?", "not a size"),
        ("ten", "not a size"),
        ("1e9", "not a size"),
    ] {
        redoubt(folder.path(), &format!("create demo --size {size}")).refused(2, what);
    }
    redoubt(folder.path(), "create demo").refused(2, "--size");
    assert_eq!(listing(folder.path()), [""; 0]);
}

#[test]
fn node_lists_that_cannot_be_are_refused_and_nothing_is_made() {
    let folder = folder();
    for (nodes, what) in [
        ("a=1 a=2 b=3 b=4 c=5", "six nodes"),
        ("a=1 a=2 a=3 b=4 c=5 c=6", "same number"),
        ("a=1 a=2 b=3 b=3 c=5 c=6", "two nodes"),
        ("a=1 a=2 b=3 b=./3 c=5 c=6", "two nodes"),
        ("a=1 a=2 b=3 b=4 c=5 d=6", "zone a, b or c"),
        ("a=1 a=2 b=3 b=4 c=5 6", "zone"),
    ] {
        let nodes: String = nodes
            .split(' ')
            .map(|node| format!(" --node {node}"))
            .collect();
        redoubt(folder.path(), &format!("create demo --size 1G {nodes}")).refused(2, what);
        assert_eq!(listing(folder.path()), [""; 0], "{nodes}");
    }
}

#[test]
fn what_is_there_already_is_left_alone() {
    let folder = folder_with_volume();
    std::fs::create_dir(folder.path().join("other")).unwrap();
    std::fs::write(folder.path().join("other/file"), "mine").unwrap();
    let before = listing(folder.path());
    redoubt(folder.path(), "create demo --size 1G").refused(11, "exists already");
    redoubt(folder.path(), "create other --size 1G").refused(11, "exists already");
    redoubt(folder.path(), "create other/file --size 1G").refused(11, "exists already");
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn a_path_that_is_no_volume_is_told_by_every_verb() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("plain")).unwrap();
    std::fs::write(folder.path().join("file"), "text").unwrap();
    for target in ["plain", "file", "missing"] {
        for verb in ["status", "scrub", "fsck", "destroy --yes"] {
            let run = redoubt(folder.path(), &format!("{verb} {target}"));
            run.refused(10, "not a Redoubt volume");
        }
        redoubt(folder.path(), &format!("mount {target} plain")).refused(10, "not a Redoubt");
        redoubt(folder.path(), &format!("resize {target} 1G")).refused(10, "not a Redoubt");
        redoubt(folder.path(), &format!("fault {target} list")).refused(10, "not a Redoubt");
        redoubt(folder.path(), &format!("umount {target}")).refused(10, "not mounted");
    }
    assert_eq!(listing(folder.path()).len(), 2);
}

#[test]
fn a_volume_of_a_newer_format_is_left_alone() {
    let folder = folder_with_volume();
    let book = folder.path().join("demo/redoubt.volume");
    let text = std::fs::read_to_string(&book).unwrap();
    std::fs::write(&book, text.replacen(" 1\n", " 2\n", 1)).unwrap();
    let before = listing(folder.path());
    for arguments in [
        "status demo",
        "fsck demo",
        "mount demo x",
        "resize demo 1G",
        "destroy demo -y",
    ] {
        redoubt(folder.path(), arguments).refused(2, "newer than this program knows");
    }
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn status_of_an_unmounted_volume_comes_from_its_files() {
    let folder = folder_with_volume();
    let run = redoubt(folder.path(), "status demo --json");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let volume = &run.json()["volume"];
    assert_eq!(volume["state"], "offline");
    assert_eq!(volume["size"], 64 << 20);
    assert_eq!(volume["mountpoint"], Value::Null);
    assert!(volume["epoch"].is_u64());
    assert_eq!(volume["nodes"].as_array().unwrap().len(), 6);
    assert_eq!(volume["nodes"][5]["az"], "c");
    assert_eq!(redoubt(folder.path(), "status demo --check -q").code, 1);

    std::fs::remove_dir_all(folder.path().join("demo/nodes/b2")).unwrap();
    let run = redoubt(folder.path(), "status demo");
    assert!(run.stdout.contains("OFFLINE"), "{}", run.stdout);
    assert!(run.stdout.contains("b2    MISSING"), "{}", run.stdout);
    let before = listing(folder.path());
    redoubt(folder.path(), "status demo");
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn destroy_asks_unless_told_otherwise() {
    let folder = folder_with_volume();
    let before = listing(folder.path());
    redoubt(folder.path(), "destroy demo").refused(2, "--yes");
    assert_eq!(listing(folder.path()), before);
    std::fs::write(folder.path().join("demo/redoubt.log"), "lines").unwrap();
    let run = redoubt(folder.path(), "destroy demo --yes --json");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(run.json()["command"], "destroy");
    assert_eq!(listing(folder.path()), [""; 0]);
}

#[test]
fn mounts_that_cannot_be_are_refused() {
    let folder = folder_with_volume();
    redoubt(folder.path(), "mount demo x -o nonsense").refused(2, "nonsense");
    redoubt(folder.path(), "mount demo x -o cache=maybe").refused(2, "cache");
    redoubt(folder.path(), "mount demo x --log-file missing/log").refused(1, "--log-file");
    redoubt(folder.path(), "umount demo").refused(10, "not mounted");
    // As mount(8) runs us: 1 usage, 32 mount failure.
    redoubt(folder.path(), "demo x -o nonsense").refused(1, "nonsense");
    redoubt(folder.path(), "missing x -o rw").refused(32, "not a Redoubt volume");
    assert!(!folder.path().join("demo/control.sock").exists());
}

#[test]
fn a_bad_mount_point_is_found_before_the_volume_is_opened() {
    let folder = folder_with_volume();
    std::fs::create_dir_all(folder.path().join("full/something")).unwrap();
    let epoch = || redoubt(folder.path(), "status demo --json").json()["volume"]["epoch"].clone();
    let before = epoch();
    for more in ["", "--foreground"] {
        let mount = |place| redoubt(folder.path(), &format!("mount demo {place} {more}"));
        mount("missing").refused(2, "does not exist");
        mount("full").refused(2, "not empty");
        mount("/proc").refused(11, "is mounted there already");
    }
    assert_eq!(epoch(), before);
}

#[test]
fn the_mount_helper_is_this_program_by_another_name() {
    let folder = folder_with_volume();
    let helper = folder.path().join("mount.fuse.redoubt");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_redoubt"), &helper).unwrap();
    let mount = |arguments: &[&str]| {
        let output = Command::new(&helper)
            .current_dir(folder.path())
            .args(arguments)
            .output();
        run_of(output.unwrap())
    };
    mount(&["missing", "x", "-o", "rw,nofail"]).refused(32, "not a Redoubt volume");
    mount(&["demo", "x", "-o", "nonsense"]).refused(1, "nonsense");
    mount(&["demo"]).refused(1, "MOUNT_POINT");
    assert_eq!(mount(&["-f", "demo", "x", "-o", "rw"]).code, 0);
}

#[test]
fn inspect_decodes_what_it_knows_and_survives_the_rest() {
    let folder = folder_with_volume();
    let run = redoubt(folder.path(), "inspect demo/nodes/b2/superblock --json");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let json = run.json();
    assert_eq!(json["type"], "superblock");
    let slots = json["slots"].as_array().unwrap();
    let counts: Vec<_> = slots.iter().filter(|slot| slot["counts"] == true).collect();
    assert_eq!(counts.len(), 1);
    assert_eq!(counts[0]["superblock"]["name"], "b2");
    let book = redoubt(folder.path(), "inspect demo --json").json();
    assert_eq!(
        (&book["type"], &book["nodes"][3]["index"]),
        (&"volume".into(), &3.into())
    );
    assert!(
        redoubt(folder.path(), "inspect demo/nodes/a1")
            .stdout
            .contains("node a1")
    );

    std::fs::write(folder.path().join("text"), "hello").unwrap();
    redoubt(folder.path(), "inspect text").refused(2, "no file of a volume");
    redoubt(folder.path(), "inspect /dev/zero").refused(2, "regular files");
    redoubt(folder.path(), "inspect missing").refused(1, "cannot be read");
    let garbage: Vec<u8> = (0..300_000_u32)
        .map(|byte| (byte * 7 + byte / 251) as u8)
        .collect();
    for magic in ["RDBTSUP\x01", "RDBTFRM\x01", "redoubt-volume 1\n"] {
        let mut bytes = magic.as_bytes().to_vec();
        bytes.extend_from_slice(&garbage);
        std::fs::write(folder.path().join("garbage"), bytes).unwrap();
        let code = redoubt(folder.path(), "inspect garbage --records").code;
        assert!([0, 2, 26].contains(&code), "{magic}: {code}");
    }
}

#[test]
fn doctor_tells_a_verdict_for_each_check() {
    let folder = folder();
    let run = redoubt(folder.path(), "doctor --json");
    let json = run.json();
    let checks = json["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["check"] == "/dev/fuse"));
    let failed = checks.iter().any(|check| check["verdict"] == "fail");
    assert_eq!(run.code, i32::from(failed));
    let colored = redoubt(folder.path(), "doctor --color always");
    assert!(colored.stdout.contains("\x1b["));
    assert!(!redoubt(folder.path(), "doctor").stdout.contains('\x1b'));
}

/// A feature is turned on for all that is built at a time: no crate that only tests may ask for the
/// recorder or for planted bugs by itself, or else every build of the workspace could have them.
#[cfg(not(any(feature = "recorder", feature = "planted-bugs")))]
#[test]
fn the_command_has_no_recorder_and_no_planted_bugs() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_redoubt")).unwrap();
    for variable in ["REDOUBT_RECORD", "REDOUBT_PLANTED_BUG"] {
        let mut windows = binary.windows(variable.len());
        assert!(!windows.any(|window| window == variable.as_bytes()));
    }
}
