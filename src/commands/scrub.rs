//! `redoubt scrub`: has the process that serves a volume read and compare every copy, and mend what
//! is bad.

use crate::cli::Scrub;
use crate::control::{Reply, Request, client};
use crate::exit::{Exit, Refusal};
use crate::output::{Color, Output};
use crate::report::ScrubFindings;
use serde::Serialize;
use std::num::NonZeroU64;

#[derive(Serialize)]
struct Scrubbed {
    path: String,
    #[serde(flatten)]
    findings: ScrubFindings,
}

/// Scrubs the volume; exit code 26 when damage remains.
pub(crate) fn run(scrub: &Scrub, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&scrub.volume)?;
    let rate = scrub.rate.map(rate_of).transpose()?;
    let name = scrub.volume.display().to_string();
    let findings = match client::request(&volume, Request::Scrub { rate })? {
        Some(Reply::Scrub(findings)) => findings,
        Some(_) => {
            anyhow::bail!("the process that serves the volume gave another answer than asked")
        }
        None => {
            return Err(Refusal::error(
                Exit::FAILURE,
                format!("{name} is not mounted; mount it, or check it with 'redoubt fsck {name}'"),
            ));
        }
    };
    let path = volume.display().to_string();
    output.json("scrub", &Scrubbed { path, findings })?;
    output.line(line(&name, &findings, output))?;
    Ok(outcome(&findings))
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

fn outcome(findings: &ScrubFindings) -> Exit {
    match findings.unresolved {
        0 => Exit::OK,
        _ => Exit::DAMAGED,
    }
}

fn line(name: &str, findings: &ScrubFindings, output: Output) -> String {
    let ScrubFindings {
        blocks,
        copies,
        damaged,
        differing,
        repaired,
        refilled,
        unresolved,
        changing,
    } = findings;
    let bad = damaged + differing;
    let (word, color) = match (bad, unresolved) {
        (0, 0) => ("clean", Color::Green),
        (_, 0) => ("mended", Color::Yellow),
        _ => ("damaged", Color::Red),
    };
    let word = output.paint(word, color);
    let mut line = format!("redoubt: {name} is {word}: {blocks} blocks in {copies} copies read");
    if bad > 0 || *unresolved > 0 {
        line.push_str(&format!(
            ", {damaged} damaged, {differing} differing, {repaired} written anew, {unresolved} left"
        ));
    }
    if *refilled > 0 {
        line.push_str(&format!(", {refilled} segments are filled anew"));
    }
    if *changing > 0 {
        line.push_str(&format!(
            ", {changing} blocks not compared since they were being changed"
        ));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{ColorChoice, Global};

    #[test]
    fn a_scrub_says_what_it_found_and_what_is_left() {
        let output = Output::new(&Global {
            json: false,
            quiet: false,
            verbose: 0,
            color: ColorChoice::Never,
        });
        let mut findings = ScrubFindings {
            blocks: 10,
            copies: 60,
            ..ScrubFindings::default()
        };
        let clean = "redoubt: demo is clean: 10 blocks in 60 copies read";
        assert_eq!(line("demo", &findings, output), clean);
        (findings.damaged, findings.repaired) = (2, 2);
        let mended = "redoubt: demo is mended: 10 blocks in 60 copies read, 2 damaged, 0 differing, 2 written anew, 0 left";
        assert_eq!(line("demo", &findings, output), mended);
        assert_eq!(outcome(&findings), Exit::OK);
        findings.unresolved = 1;
        assert!(line("demo", &findings, output).contains("is damaged"));
        assert_eq!(outcome(&findings), Exit::DAMAGED);
    }
}
