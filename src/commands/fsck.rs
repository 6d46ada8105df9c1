//! `redoubt fsck`: reads every copy of an unmounted volume, and says what does not check.

use super::scrub_text;
use crate::cli::{Fsck, Global};
use crate::exit::Exit;
use crate::output::{Color, Output, note};
use crate::scrub_report::DataErrorsReport;
use crate::size::iec;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use redoubt_volume::geometry::BLOCK_BYTES;
use redoubt_volume::status::NodeStatus;
use redoubt_volume::volume::{OpenOptions, VerifyReport, Volume};
use serde::Serialize;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How long copies that are behind may take to catch up before they are read as they are.
const CATCH_UP: Duration = Duration::from_secs(600);
/// Time between two lines of progress where there is no terminal for a bar.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Checked<'a> {
    path: String,
    blocks: u64,
    copies_read: u64,
    damage: &'a [String],
    data_errors: DataErrorsReport,
    missing_nodes: &'a [String],
}

/// Checks the volume; exit code 26 when damage remains, 3 when not all six copies were there to be
/// compared.
pub(crate) fn run(fsck: &Fsck, global: &Global, output: Output) -> anyhow::Result<Exit> {
    let path = super::existing_volume(&fsck.volume)?;
    let volume = Volume::open(&path, options())?;
    let mut progress = Progress::new(global.quiet);
    volume.wait_filled(CATCH_UP, &mut |nodes| progress.show_filling(nodes));
    let verified = volume.verify(&mut |done, total| progress.show(done, total));
    progress.finish();
    volume.close()?;
    let report = verified?;
    let checked = Checked {
        path: path.display().to_string(),
        blocks: report.blocks,
        copies_read: report.copies_read,
        damage: &report.damage,
        data_errors: DataErrorsReport::from(&report.data_errors),
        missing_nodes: &report.missing_nodes,
    };
    output.json("fsck", &checked)?;
    for line in lines(&fsck.volume.display().to_string(), &report, output) {
        output.line(line)?;
    }
    Ok(outcome(&report))
}

/// An open begins a new epoch, and copies that are behind catch up, as always; but nothing of the
/// user's is changed, and a node that is not there is not made anew: it may be all that is left.
fn options() -> OpenOptions {
    OpenOptions {
        read_only: true,
        make_anew: false,
        ..OpenOptions::default()
    }
}

fn outcome(report: &VerifyReport) -> Exit {
    if !report.damage.is_empty() {
        Exit::DAMAGED
    } else if !report.missing_nodes.is_empty() {
        Exit::DEGRADED
    } else {
        Exit::OK
    }
}

fn lines(name: &str, report: &VerifyReport, output: Output) -> Vec<String> {
    let mut lines: Vec<String> = report.damage.clone();
    let lost = DataErrorsReport::from(&report.data_errors);
    let lost = scrub_text::data_errors(&lost).map(|line| format!("redoubt: {name}: {line}"));
    lines.extend(lost);
    if !report.missing_nodes.is_empty() {
        lines.push(format!(
            "redoubt: {} {}: not all six copies are there, so these were not compared; bring the directories back, or mount the volume to have them made again",
            output.paint("missing", Color::Yellow),
            report.missing_nodes.join(", ")
        ));
    }
    let read = format!(
        "{} blocks ({}) in {} copies read",
        report.blocks,
        iec(report.blocks.saturating_mul(BLOCK_BYTES as u64)),
        report.copies_read
    );
    let complete = report.missing_nodes.is_empty();
    lines.push(match report.damage.len() {
        0 if complete => format!("redoubt: {name} is {}: {read}, all agree", output.paint("clean", Color::Green)),
        0 => format!("redoubt: {name} is {}: {read}, all that are there agree", output.paint("incomplete", Color::Yellow)),
        count => format!(
            "redoubt: {name} is {}: {read}, {count} do not check; what is left is readable from other copies",
            output.paint("damaged", Color::Red)
        ),
    });
    lines
}

/// A bar on a terminal, a line now and then elsewhere; nothing for checks of under a second.
struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    next_line: Instant,
}

impl Progress {
    fn new(quiet: bool) -> Progress {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template(
                "checking {bar:30} {percent}% {pos}/{len} blocks, {eta} to go {msg}",
            );
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(4));
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress {
            bar,
            quiet,
            next_line: Instant::now() + LINE_INTERVAL,
        }
    }

    /// Copies that are behind are being brought up to date.
    fn show_filling(&mut self, nodes: &[NodeStatus]) {
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let message = format!("{} catching up first", names.join(", "));
        if let Some(bar) = &self.bar {
            bar.set_message(message);
            bar.tick();
        } else {
            self.line_when_due(message);
        }
    }

    fn show(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message("");
            bar.set_length(total);
            bar.set_position(done);
        } else {
            self.line_when_due(format!("checked {done} of {total} blocks"));
        }
    }

    fn line_when_due(&mut self, line: String) {
        if !self.quiet && Instant::now() >= self.next_line {
            note(line);
            self.next_line = Instant::now() + LINE_INTERVAL;
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_six_copies_that_agree_are_clean() {
        let report = |damage: &[&str], missing: &[&str]| VerifyReport {
            damage: damage.iter().map(|line| (*line).to_owned()).collect(),
            missing_nodes: missing.iter().map(|name| (*name).to_owned()).collect(),
            ..VerifyReport::default()
        };
        assert_eq!(outcome(&report(&[], &[])), Exit::OK);
        assert_eq!(outcome(&report(&[], &["a1"])), Exit::DEGRADED);
        assert_eq!(outcome(&report(&["bad"], &["a1"])), Exit::DAMAGED);
    }
}
