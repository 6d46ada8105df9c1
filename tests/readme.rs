//! Runs the command blocks of README.md, one after the other in one shell, in a home directory of
//! their own: `sh run` as they are, `sh run root` where this is root, `sh run root resource` where
//! root may also use CAP_SYS_RESOURCE (in many containers it may not). CI runs an `sh ci` block.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// A fenced block of commands.
struct Block {
    line: usize,
    /// The words after `sh`.
    marks: Vec<String>,
    text: String,
}

/// The blocks that a reader would type; `text` and `fstab` blocks are none.
fn command_blocks(readme: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = readme.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let inside = lines.by_ref().map(|(_, line)| line);
        let text: Vec<_> = inside.take_while(|line| *line != "```").collect();
        let mut words = info.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("sh" | "bash" | "console" | "shell") => blocks.push(Block {
                line: number + 1,
                marks: words.collect(),
                text: text.join("\n"),
            }),
            Some("text" | "fstab" | "json") => {}
            other => panic!("line {}: a block of {other:?}", number + 1),
        }
    }
    blocks
}

fn readme_blocks() -> Vec<Block> {
    let readme = fs::read_to_string(Path::new(REPOSITORY).join("README.md")).expect("it is there");
    command_blocks(&readme)
}

#[test]
fn every_command_block_is_run_by_somebody() {
    let ci = fs::read_to_string(Path::new(REPOSITORY).join(".ci/run")).unwrap();
    for block in readme_blocks() {
        let marks: Vec<_> = block.marks.iter().map(String::as_str).collect();
        match marks[..] {
            ["run"] | ["run", "root"] | ["run", "root", "resource"] => {}
            ["ci"] => assert!(ci.contains(&block.text), "line {}", block.line),
            _ => panic!(
                "line {}: mark it 'sh run', 'sh run root [resource]' or 'sh ci'",
                block.line
            ),
        }
    }
}

/// A home directory whose mounts and loop devices go with it.
struct Home(tempfile::TempDir);

impl Drop for Home {
    fn drop(&mut self) {
        // Whatever a failed block has left; the daemon ends with its mount.
        let clean = r#"
            for loop in $(losetup -n -O NAME -j "$HOME/mnt/disk"); do
                umount "$loop"; losetup -d "$loop"
            done
            umount -l "$HOME/mnt" || fusermount3 -uz "$HOME/mnt""#;
        let mut shell = self.shell(clean);
        let _ = shell.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

impl Home {
    /// A shell in the repository, with this home and what cargo keeps in the real one.
    fn shell(&self, script: &str) -> Command {
        let old = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        let kept = |name, below| std::env::var_os(name).unwrap_or(old.join(below).into());
        let mut path = self.0.path().join(".cargo/bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path.push(":/usr/sbin:/sbin");
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", script]);
        shell.current_dir(REPOSITORY).env("PATH", path);
        shell.env("CARGO_HOME", kept("CARGO_HOME", ".cargo"));
        shell.env("RUSTUP_HOME", kept("RUSTUP_HOME", ".rustup"));
        shell.env("CARGO_INSTALL_ROOT", self.0.path().join(".cargo"));
        shell.env("HOME", self.0.path());
        shell
    }
}

fn say_skipped(reason: &str) {
    let line = format!("README.md: {reason}\n");
    let _ = write!(std::io::stderr(), "\nSKIPPED {line}");
    if let Some(list) = std::env::var_os("REDOUBT_SKIPPED") {
        let mut list = OpenOptions::new()
            .append(true)
            .open(list)
            .expect("REDOUBT_SKIPPED");
        list.write_all(line.as_bytes()).expect("REDOUBT_SKIPPED");
    }
}

/// Whether this process has CAP_SYS_RESOURCE: ext4 grows while it is mounted only with it.
fn has_resource_capability() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    effective.expect("a mask in hexadecimal") >> CAP_SYS_RESOURCE & 1 == 1
}

#[test]
fn the_command_blocks_work() {
    let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    if let Err(error) = fuse {
        return say_skipped(&format!("/dev/fuse cannot be opened: {error}"));
    }
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        say_skipped("the blocks for root");
    }
    let has_resource = has_resource_capability();
    if is_root && !has_resource {
        say_skipped("the blocks that take CAP_SYS_RESOURCE");
    }
    let has = |mark: &String| match mark.as_str() {
        "run" => true,
        "root" => is_root,
        "resource" => has_resource,
        _ => false,
    };
    let runs = |block: &Block| block.marks.iter().all(has);
    let mut script = String::new();
    for block in readme_blocks().iter().filter(|block| runs(block)) {
        script += &format!("echo '== README.md line {}'\n{}\n", block.line, block.text);
    }
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let home = tempfile::Builder::new().prefix("readme-").tempdir_in(place);
    let home = Home(home.unwrap());
    let output = home.shell(&script).stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
