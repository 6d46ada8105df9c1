//! `redoubt scrub`: has the process that serves a volume read and compare every copy, and mend what
//! is bad; waits for that, or says how far it is.

use super::scrub_text;
use crate::cli::{Global, Scrub};
use crate::control::{Reply, Request, ScrubOrder, client};
use crate::exit::{Exit, Refusal};
use crate::output::{Output, note};
use crate::scrub_report::{RunningScrub, ScrubFindings, ScrubReport};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::IsTerminal;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two questions of how far it is: short ones first, since small volumes take no second.
const ASK_AGAIN: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];
/// Time between two lines of progress where there is no terminal for a bar.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Scrubbed {
    path: String,
    #[serde(flatten)]
    findings: ScrubFindings,
}

#[derive(Serialize)]
struct Scrubs {
    path: String,
    #[serde(flatten)]
    report: ScrubReport,
}

/// Scrubs the volume, or does what else was asked; exit code 26 when damage remains.
pub(crate) fn run(scrub: &Scrub, global: &Global, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&scrub.volume)?;
    let name = scrub.volume.display().to_string();
    let rate = scrub.rate.map(rate_of).transpose()?;
    let orders = [
        (scrub.order.status, ScrubOrder::Status),
        (scrub.order.pause, ScrubOrder::Pause),
        (scrub.order.resume, ScrubOrder::Resume),
        (scrub.order.cancel, ScrubOrder::Cancel),
    ];
    if let Some((_, order)) = orders.into_iter().find(|(is_asked, _)| *is_asked) {
        let report = ask(&volume, &name, order, rate)?;
        return show(&volume, report, output);
    }
    let begun = begin(scrub, &volume, &name, rate)?;
    let findings = wait(&volume, &name, begun.number, global.quiet)?;
    let path = volume.display().to_string();
    output.json("scrub", &Scrubbed { path, findings })?;
    output.line(scrub_text::outcome(&name, &findings, output))?;
    Ok(exit_of(&findings))
}

/// The scrub to wait for: a new one; or, if that will do, the one under way.
fn begin(
    scrub: &Scrub,
    volume: &Path,
    name: &str,
    rate: Option<NonZeroU64>,
) -> anyhow::Result<ScrubReport> {
    if scrub.order.wait {
        let report = ask(volume, name, ScrubOrder::Status, None)?;
        if report.running.is_some() {
            return Ok(report);
        }
    }
    ask(volume, name, ScrubOrder::Start, rate)
}

fn ask(
    volume: &Path,
    name: &str,
    order: ScrubOrder,
    rate: Option<NonZeroU64>,
) -> anyhow::Result<ScrubReport> {
    match client::request(volume, Request::Scrub { order, rate })? {
        Some(Reply::Scrub(report)) => Ok(*report),
        Some(_) => {
            anyhow::bail!("the process that serves the volume gave another answer than asked")
        }
        None => Err(Refusal::error(
            Exit::FAILURE,
            format!("{name} is not mounted; mount it, or check it with 'redoubt fsck {name}'"),
        )),
    }
}

fn show(volume: &Path, report: ScrubReport, output: Output) -> anyhow::Result<Exit> {
    let path = volume.display().to_string();
    output.json("scrub", &Scrubs { path, report })?;
    for line in scrub_text::lines(&report) {
        output.line(format!("scrub: {line}"))?;
    }
    Ok(Exit::OK)
}

/// Waits for the end of the scrub of this number.
fn wait(volume: &Path, name: &str, number: u64, quiet: bool) -> anyhow::Result<ScrubFindings> {
    let mut progress = Progress::new(quiet);
    let result = loop {
        let report = match ask(volume, name, ScrubOrder::Status, None) {
            Ok(report) => report,
            Err(_) => {
                break Err(ended_early(
                    name,
                    "the volume was unmounted; it goes on when the volume is mounted again",
                ));
            }
        };
        match (report.running, report.last) {
            (_, Some(last)) if last.number >= number => break Ok(last.found),
            (Some(running), _) if running.number == number => progress.show(&running),
            _ => {
                break Err(ended_early(
                    name,
                    "somebody cancelled it; start another one",
                ));
            }
        }
        std::thread::sleep(progress.pause());
    };
    progress.finish();
    result
}

fn ended_early(name: &str, why: &str) -> anyhow::Error {
    let message = format!("the scrub of {name} did not come to its end: {why}");
    Refusal::error(Exit::FAILURE, message)
}

fn rate_of(bytes: u64) -> anyhow::Result<NonZeroU64> {
    let nothing = || {
        Refusal::error(
            Exit::USAGE,
            "a scrub that reads 0 bytes a second never ends; choose more, such as --rate 50M",
        )
    };
    NonZeroU64::new(bytes).ok_or_else(nothing)
}

fn exit_of(findings: &ScrubFindings) -> Exit {
    match findings.unresolved {
        0 => Exit::OK,
        _ => Exit::DAMAGED,
    }
}

/// A bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    began: Instant,
    next_line: Instant,
}

impl Progress {
    fn new(quiet: bool) -> Progress {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("scrubbing {bar:30} {msg}");
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(4));
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let began = Instant::now();
        Progress {
            bar,
            quiet,
            began,
            next_line: began + LINE_INTERVAL,
        }
    }

    fn show(&mut self, running: &RunningScrub) {
        let line = scrub_text::running(running);
        if let Some(bar) = &self.bar {
            bar.set_length(running.total.max(1));
            bar.set_position(running.read);
            bar.set_message(line);
        } else if !self.quiet && Instant::now() >= self.next_line {
            note(format!("scrub {line}"));
            self.next_line = Instant::now() + LINE_INTERVAL;
        }
    }

    fn pause(&self) -> Duration {
        let [short, long] = ASK_AGAIN;
        if self.began.elapsed() < long {
            short
        } else {
            long
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
    fn only_what_remains_is_a_failure() {
        let mut found = ScrubFindings {
            damaged: 2,
            repaired: 2,
            ..ScrubFindings::default()
        };
        assert_eq!(exit_of(&found), Exit::OK);
        found.unresolved = 1;
        assert_eq!(exit_of(&found), Exit::DAMAGED);
        assert!(rate_of(0).is_err());
    }
}
