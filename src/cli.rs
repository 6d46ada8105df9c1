//! The command line: clap types, nothing else.

mod fault;

pub(crate) use fault::{Fault, FaultVerb, Interval};

use crate::size::{NewSize, parse_bytes, parse_disk_size, parse_new_size};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use redoubt_volume::ids::ZoneId;
use std::path::PathBuf;

/// A virtual disk that is a log, kept six times.
///
/// A volume is a directory. Mounted, it is one file, `disk`, that any Linux program can use.
#[derive(Debug, Parser)]
#[command(name = "redoubt", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Sizes: 10G is 10 GiB; K M G T P and KiB MiB ... are powers of 1024, KB MB ... powers of 1000.
Exit codes: 0 ok, 1 failure, 2 usage; status --check: 0 healthy, 3 degraded, 4 read-only,
5 unreadable; 10 no such volume, 11 in use or already there, 26 fsck found damage that remains.
An unknown code means failure.";

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Print JSON, and nothing else, on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print less: errors only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more; twice for all (or set REDOUBT_LOG, as env_logger reads it).
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Colour the words that matter (NO_COLOR is honoured).
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a volume: a directory whose disk is kept six times, in three zones.
    Create(Create),
    /// Show a volume's disk as a file; returns when it can be used.
    Mount(Mount),
    /// Flush and unmount; returns when the process that served the disk has ended.
    #[command(visible_alias = "unmount")]
    Umount(Umount),
    /// Say how a volume is.
    Status(Status),
    /// Tell what has happened to a volume.
    Events(Events),
    /// Give the disk another size, also while it is in use.
    Resize(Resize),
    /// Read and compare every copy of a mounted volume, and mend what is bad; waits for the end.
    Scrub(Scrub),
    /// Show a volume's nodes, and put other directories in their places.
    #[command(subcommand)]
    Node(Node),
    /// Have something happen to the nodes of a mounted volume, to see how it takes that.
    Fault(Fault),
    /// Read every copy of an unmounted volume and verify it.
    Fsck(Fsck),
    /// Decode any file of a volume.
    Inspect(Inspect),
    /// Delete a volume and all its copies.
    Destroy(Destroy),
    /// Say what on this system would stop Redoubt.
    Doctor,
}

/// `redoubt create`
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Directory to make.
    pub volume: PathBuf,
    /// Size of the disk, such as 10G; at most 128T. It can grow later.
    #[arg(long, short, value_parser = parse_disk_size)]
    pub size: u64,
    /// A node's zone (a, b or c) and directory; six or more, the same number in each zone
    /// [default: VOLUME/nodes/a1 a2 b1 b2 c1 c2].
    #[arg(long = "node", value_name = "ZONE=DIRECTORY", value_parser = parse_node)]
    pub nodes: Vec<(ZoneId, PathBuf)>,
    /// Size of a protection group, a multiple of 1 MiB up to 10 GiB.
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = parse_bytes)]
    pub group_size: u64,
    /// Size of a log extent, a power of two from 1 MiB to 128 MiB.
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_bytes)]
    pub extent_size: u64,
}

fn parse_node(text: &str) -> Result<(ZoneId, PathBuf), String> {
    let (zone, path) = text.split_once('=').unwrap_or((text, ""));
    let zone = match zone {
        "a" => ZoneId(0),
        "b" => ZoneId(1),
        "c" => ZoneId(2),
        _ => return Err(node_not_understood(text)),
    };
    if path.is_empty() {
        return Err(node_not_understood(text));
    }
    Ok((zone, path.into()))
}

fn node_not_understood(text: &str) -> String {
    format!(
        "'{text}' is not a node: it needs a zone and a directory; write a=/disk1/node, with zone a, b or c"
    )
}

/// `redoubt mount`
#[derive(Clone, Debug, Args)]
pub(crate) struct Mount {
    /// Directory of the volume.
    pub volume: PathBuf,
    /// Empty directory to mount on, or a regular file that the disk takes the place of.
    pub mount_point: PathBuf,
    /// Stay in the foreground.
    #[arg(short, long)]
    pub foreground: bool,
    /// Mount options, separated by commas.
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub options: Vec<String>,
    /// Let 'redoubt fault' do harm to this mount's nodes, to see how it takes that.
    #[arg(long)]
    pub allow_faults: bool,
    /// Where the background process writes its log [default: VOLUME/redoubt.log].
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Report on standard output to the process that started this one.
    #[arg(long, hide = true, requires = "foreground")]
    pub background_process: bool,
}

/// `redoubt umount`
#[derive(Debug, Args)]
pub(crate) struct Umount {
    /// Mount point, or directory of the volume.
    pub target: PathBuf,
}

/// `redoubt status`
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Directory of the volume.
    pub volume: PathBuf,
    /// Exit with 0 if healthy, 3 if degraded, 4 if read-only, 5 if unreadable, 1 if not mounted.
    #[arg(long)]
    pub check: bool,
    /// Say only what is not healthy; one line if all is.
    #[arg(short = 'x', long)]
    pub unwell: bool,
    /// Say it again every so many seconds.
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub watch: Option<u64>,
}

/// `redoubt events`
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Directory of the volume.
    pub volume: PathBuf,
    /// Go on until the volume is destroyed or this is interrupted.
    #[arg(short, long)]
    pub follow: bool,
    /// Begin with the newest N of those that have happened.
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
}

/// `redoubt resize`
#[derive(Debug, Args)]
pub(crate) struct Resize {
    /// Directory of the volume.
    pub volume: PathBuf,
    /// New size of the disk, or +SIZE to grow by so much.
    #[arg(value_parser = parse_new_size, allow_hyphen_values = true)]
    pub size: NewSize,
}

/// `redoubt scrub`
#[derive(Debug, Args)]
pub(crate) struct Scrub {
    /// Directory of the volume.
    pub volume: PathBuf,
    /// What else to do than to start one and to wait for its end.
    #[command(flatten)]
    pub order: ScrubOrder,
    /// Read at most so much a second, of all copies together, such as 50M; with --resume, from
    /// then on.
    #[arg(
        long,
        value_name = "BYTES",
        value_parser = parse_bytes,
        conflicts_with_all = ["pause", "status", "cancel"]
    )]
    pub rate: Option<u64>,
}

/// What is to be done about the scrub that is under way.
#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = false)]
pub(crate) struct ScrubOrder {
    /// Wait for the end of the scrub under way; start one where there is none.
    #[arg(long)]
    pub wait: bool,
    /// Have the scrub under way wait until --resume; also over mounts.
    #[arg(long)]
    pub pause: bool,
    /// Have a paused scrub go on.
    #[arg(long)]
    pub resume: bool,
    /// Say how far the scrub under way is, and what the last one found.
    #[arg(long)]
    pub status: bool,
    /// End the scrub under way where it is.
    #[arg(long)]
    pub cancel: bool,
}

/// `redoubt node`
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Show the nodes: where they are, and how.
    List(NodeList),
    /// Let a new directory take a node's place, while the disk is used.
    Replace(NodeReplace),
    /// Add nodes to an unmounted volume, or spread its groups over those that were added.
    Add(NodeAdd),
    /// Have all groups leave a node, while the disk is used: its directory can be deleted then.
    Drain(NodeDrain),
}

/// `redoubt node add`
#[derive(Debug, Args)]
pub(crate) struct NodeAdd {
    /// Directory of the volume, which is not mounted when nodes are added.
    pub volume: PathBuf,
    /// Zone (a, b or c) and directory of each new node; as many as make the zones equal. Groups that
    /// are made later are placed on them, too.
    #[arg(required_unless_present = "rebalance", value_name = "ZONE=DIRECTORY", value_parser = parse_node)]
    pub nodes: Vec<(ZoneId, PathBuf)>,
    /// Have the groups that there are spread over all nodes, too, while the disk is used. Without
    /// nodes: over those that were added before.
    #[arg(long)]
    pub rebalance: bool,
}

/// `redoubt node drain`
#[derive(Debug, Args)]
pub(crate) struct NodeDrain {
    /// Directory of the volume, which is mounted.
    pub volume: PathBuf,
    /// Name of the node, such as b2. It cannot be called off; nodes can be added afterwards.
    pub node: String,
    /// Return when nothing is on the node any more.
    #[arg(long)]
    pub wait: bool,
}

/// `redoubt node list`
#[derive(Debug, Args)]
pub(crate) struct NodeList {
    /// Directory of the volume.
    pub volume: PathBuf,
}

/// `redoubt node replace`
#[derive(Debug, Args)]
pub(crate) struct NodeReplace {
    /// Directory of the volume, which is mounted.
    pub volume: PathBuf,
    /// Name of the node, such as b2.
    pub node: String,
    /// Directory to make: it is filled from the other nodes, and takes the node's place when it has
    /// everything.
    #[arg(required_unless_present = "abort")]
    pub directory: Option<PathBuf>,
    /// Call it off, and remove the directory: the node stays what it was.
    #[arg(long, conflicts_with_all = ["directory", "wait"])]
    pub abort: bool,
    /// Return when the directory has the node's place.
    #[arg(long)]
    pub wait: bool,
}

/// `redoubt fsck`
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Directory of the volume.
    pub volume: PathBuf,
}

/// `redoubt inspect`
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A superblock or a log extent of a node, or the volume's own file.
    pub path: PathBuf,
    /// Show every record, and what index pages hold.
    #[arg(long)]
    pub records: bool,
}

/// `redoubt destroy`
#[derive(Debug, Args)]
pub(crate) struct Destroy {
    /// Directory of the volume.
    pub volume: PathBuf,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_forms_are_understood() {
        for line in [
            "redoubt create demo --size 10G",
            "redoubt create demo --size 10G --group-size 64M --extent-size 1M --json",
            "redoubt mount demo /mnt",
            "redoubt mount demo /mnt -f -o ro,cache=writethrough -o allow_other",
            "redoubt -v mount demo /mnt --log-file /tmp/log",
            "redoubt mount demo /mnt --allow-faults",
            "redoubt umount /mnt",
            "redoubt status demo --json",
            "redoubt status demo --check -q",
            "redoubt status demo -x",
            "redoubt events demo --follow --json",
            "redoubt events demo --last 20 -f",
            "redoubt status demo --watch",
            "redoubt status demo --watch 5",
            "redoubt resize demo 20G",
            "redoubt resize demo +10G",
            "redoubt scrub demo",
            "redoubt scrub demo --wait --rate 50M",
            "redoubt scrub demo --pause",
            "redoubt scrub demo --resume --rate 1G",
            "redoubt scrub demo --status --json",
            "redoubt scrub demo --cancel",
            "redoubt fsck demo",
            "redoubt node list demo --json",
            "redoubt node replace demo b2 /disk9/node --wait",
            "redoubt node replace demo b2 --abort",
            "redoubt inspect demo/nodes/a1/superblock --records --json",
            "redoubt destroy demo --yes",
            "redoubt doctor --json",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in [
            "redoubt",
            "redoubt create demo",
            "redoubt create demo --size 0",
            "redoubt create demo --size 10g?",
            "redoubt create demo --size 129T",
            "redoubt create demo --size 1G --node d=/x",
            "redoubt create demo --size 1G --node a=",
            "redoubt create demo --size 1G --node /x",
            "redoubt mount demo",
            "redoubt node replace demo b2",
            "redoubt node add demo",
            "redoubt node drain demo",
            "redoubt node replace demo b2 /x --abort",
            "redoubt mount demo /mnt --background-process",
            "redoubt resize demo -1G",
            "redoubt status demo --watch 0",
            "redoubt scrub demo --pause --resume",
            "redoubt scrub demo --status --rate 5M",
            "redoubt status demo -q -v",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn nodes_are_read_in_order() {
        let line = "redoubt create demo --size 1G --node a=/1 --node c=x=y";
        let Command::Create(create) = parse(line).unwrap().command else {
            panic!("not create");
        };
        let expected = [(ZoneId(0), "/1".into()), (ZoneId(2), "x=y".into())];
        assert_eq!(create.nodes, expected);
    }
}
