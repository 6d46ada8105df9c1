//! `redoubt fault`: its verbs, in Aurora's words.

use crate::duration::parse_duration;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// `redoubt fault`
#[derive(Debug, Args)]
pub(crate) struct Fault {
    /// Directory of the volume, mounted with --allow-faults.
    pub volume: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub verb: FaultVerb,
}

/// What can be done to a volume.
#[derive(Debug, Subcommand)]
pub(crate) enum FaultVerb {
    /// Nodes answer nothing and their disks are not touched, as if their hosts were off.
    NodeDown {
        /// Names of nodes, such as b2.
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
        /// When it ends.
        #[command(flatten)]
        interval: Interval,
    },
    /// The same for all nodes of an availability zone.
    AzDown {
        /// The zone: a, b or c.
        #[arg(value_parser = ["a", "b", "c"])]
        az: String,
        /// When it ends.
        #[command(flatten)]
        interval: Interval,
    },
    /// A share of the reads and writes of nodes fails; one whose write failed is rebuilt.
    DiskFailure {
        /// Names of nodes, such as b2.
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
        /// So many of a hundred.
        #[arg(long, value_name = "P", value_parser = clap::value_parser!(u8).range(1..=100))]
        percent: u8,
        /// When it ends.
        #[command(flatten)]
        interval: Interval,
    },
    /// Every access to the disks of nodes takes longer.
    Congestion {
        /// Names of nodes, such as b2.
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
        /// By a time drawn evenly between these two, in milliseconds.
        #[arg(long, num_args = 2, value_names = ["LEAST", "MOST"], required = true)]
        between: Vec<u64>,
        /// When it ends.
        #[command(flatten)]
        interval: Interval,
    },
    /// The disks of nodes have no space left.
    DiskFull {
        /// Names of nodes, such as b2.
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
        /// When it ends.
        #[command(flatten)]
        interval: Interval,
    },
    /// Change bytes of blocks where they lie in a node's files, once; every other copy must be good.
    Corrupt {
        /// Name of the node, such as b2.
        node: String,
        /// How many blocks, drawn from all that it has.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        blocks: u32,
    },
    /// Name the faults that are active.
    List,
    /// End a fault before its time.
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Clear {
        /// Its number, as 'list' says.
        #[arg(group = "which")]
        id: Option<u64>,
        /// End them all.
        #[arg(long, group = "which")]
        all: bool,
    },
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Interval {
    /// It ends by itself after this time, such as 500ms, 10s, 5m or 1h; at most a day.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub time: Duration,
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_documented_forms_are_understood() {
        for line in [
            "redoubt fault demo node-down b2 c1 --for 10s",
            "redoubt fault demo az-down c",
            "redoubt fault demo disk-failure b2 --percent 5 --for 1h",
            "redoubt fault demo congestion b2 c1 --between 200 300",
            "redoubt fault demo congestion --between 200 300 --for 5m b2",
            "redoubt fault demo disk-full a1 --for 500ms",
            "redoubt fault demo corrupt a1 --blocks 200",
            "redoubt fault demo list --json",
            "redoubt fault demo clear 3",
            "redoubt fault demo clear --all",
        ] {
            let cli = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(matches!(cli.command, Command::Fault(_)), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in [
            "redoubt fault demo",
            "redoubt fault demo node-down",
            "redoubt fault demo node-down b2 --for 0",
            "redoubt fault demo node-down b2 --for 25h",
            "redoubt fault demo az-down d",
            "redoubt fault demo disk-failure b2",
            "redoubt fault demo disk-failure b2 --percent 101",
            "redoubt fault demo congestion b2 --between 200",
            "redoubt fault demo corrupt b2 --blocks 0",
            "redoubt fault demo clear",
            "redoubt fault demo clear 3 --all",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
