//! What people read of scrubs, and of what is lost.

use crate::local_time::local_time;
use crate::output::{Color, Output};
use crate::scrub_report::{DataErrorsReport, RunningScrub, ScrubFindings, ScrubReport};
use crate::size::iec;

/// Places of lost bytes that a picture names; the JSON has them all.
const PLACES: usize = 8;

/// The outcome of a scrub of the volume that people call `name`.
pub(super) fn outcome(name: &str, found: &ScrubFindings, output: Output) -> String {
    let bad = found.damaged + found.differing + found.metadata_damaged;
    let (word, color) = match (bad, found.unresolved) {
        (0, 0) => ("clean", Color::Green),
        (_, 0) => ("mended", Color::Yellow),
        _ => ("damaged", Color::Red),
    };
    let word = output.paint(word, color);
    format!("redoubt: {name} is {word}: {}", findings(found))
}

fn findings(found: &ScrubFindings) -> String {
    let ScrubFindings {
        blocks,
        copies,
        damaged,
        differing,
        repaired,
        refilled,
        unresolved,
        changing,
        metadata_damaged,
        metadata_repaired,
    } = found;
    let mut line = format!("{blocks} blocks in {copies} copies read");
    if damaged + differing > 0 || *unresolved > 0 {
        line.push_str(&format!(
            ", {damaged} damaged, {differing} differing, {repaired} written anew, {unresolved} left"
        ));
    }
    if *metadata_damaged > 0 {
        line.push_str(&format!(
            ", {metadata_damaged} pieces of metadata damaged, {metadata_repaired} written anew"
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

/// How the volume's scrubs are: the one under way, the last one, the next one.
pub(super) fn lines(report: &ScrubReport) -> Vec<String> {
    let under_way = report.running.iter().map(running);
    let mut lines: Vec<String> = under_way.map(|text| format!("scrub {text}")).collect();
    lines.extend(report.last.map(|last| {
        let when = time(last.ended);
        format!("last scrub ended {when}: {}", findings(&last.found))
    }));
    let next = report
        .next
        .map(|next| format!("next scrub begins {}", time(next)));
    lines.extend(next.filter(|_| report.running.is_none()));
    if lines.is_empty() {
        lines.push("no scrub yet; start one with 'redoubt scrub'".to_owned());
    }
    lines
}

/// One line about a scrub under way.
pub(super) fn running(running: &RunningScrub) -> String {
    let done = format!(
        "{}% done, {} of {} read, group {} of {}",
        running.percent,
        iec(running.read),
        iec(running.total),
        (running.groups_done + 1).min(running.groups),
        running.groups
    );
    if running.paused {
        return format!("paused at {done}");
    }
    let left = running.seconds_left.map(duration);
    let left = left.map_or(String::new(), |left| format!(", {left} to go"));
    format!("under way: {done}, {}/s{left}", iec(running.rate))
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds.div_ceil(60)),
        3600..172_800 => format!("{} h", seconds.div_ceil(3600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}

fn time(seconds: u64) -> String {
    local_time(seconds.saturating_mul(1000))
}

/// What cannot be read any more; `None` when that is nothing.
pub(super) fn data_errors(errors: &DataErrorsReport) -> Option<String> {
    if errors.known.is_empty() && errors.more == 0 {
        return None;
    }
    let places = errors.known.iter().take(PLACES);
    let mut places: Vec<String> = places
        .map(|lost| format!("{} at {}", iec(lost.length), lost.offset))
        .collect();
    match errors.known.len().saturating_sub(PLACES) {
        0 => {}
        others => places.push(format!("{others} more places")),
    }
    if errors.more > 0 {
        places.push(format!("{} more blocks", errors.more));
    }
    Some(format!(
        "no copy is left that checks of {}: reads there fail until it is written again",
        places.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{ColorChoice, Global};
    use crate::scrub_report::{EndedScrub, LostBytes};

    fn plain() -> Output {
        Output::new(&Global {
            json: false,
            quiet: false,
            verbose: 0,
            color: ColorChoice::Never,
        })
    }

    #[test]
    fn a_scrub_says_what_it_found_and_what_is_left() {
        let mut found = ScrubFindings {
            blocks: 10,
            copies: 60,
            ..ScrubFindings::default()
        };
        let clean = "redoubt: demo is clean: 10 blocks in 60 copies read";
        assert_eq!(outcome("demo", &found, plain()), clean);
        (found.damaged, found.repaired) = (2, 2);
        let mended = "redoubt: demo is mended: 10 blocks in 60 copies read, 2 damaged, 0 differing, 2 written anew, 0 left";
        assert_eq!(outcome("demo", &found, plain()), mended);
        (found.metadata_damaged, found.metadata_repaired) = (3, 3);
        let both = format!("{mended}, 3 pieces of metadata damaged, 3 written anew");
        assert_eq!(outcome("demo", &found, plain()), both);
        found.unresolved = 1;
        assert!(outcome("demo", &found, plain()).contains("is damaged"));
    }

    #[test]
    fn progress_says_how_much_how_fast_and_how_long() {
        let mut scrub = RunningScrub {
            number: 1,
            began: 0,
            paused: false,
            percent: 43,
            groups_done: 1,
            groups: 3,
            read: 43 << 20,
            total: 100 << 20,
            rate: 1 << 20,
            allowed_rate: None,
            seconds_left: Some(57),
            found: ScrubFindings::default(),
        };
        let going =
            "under way: 43% done, 43 MiB of 100 MiB read, group 2 of 3, 1 MiB/s, 57 s to go";
        assert_eq!(running(&scrub), going);
        scrub.paused = true;
        let paused = "paused at 43% done, 43 MiB of 100 MiB read, group 2 of 3";
        assert_eq!(running(&scrub), paused);
        assert_eq!(
            [61, 7200, 200_000].map(duration),
            ["2 min", "2 h", "3 days"]
        );
    }

    #[test]
    fn the_last_one_is_told_also_when_none_is_under_way() {
        assert_eq!(lines(&ScrubReport::default()).len(), 1);
        let report = ScrubReport {
            last: Some(EndedScrub {
                number: 0,
                ended: 1_800_000_000,
                found: ScrubFindings::default(),
            }),
            next: Some(1_800_604_800),
            ..ScrubReport::default()
        };
        let told = lines(&report);
        assert!(
            told[0].starts_with("last scrub ended 2027-01-1"),
            "{told:?}"
        );
        assert!(
            told[1].starts_with("next scrub begins 2027-01-2"),
            "{told:?}"
        );
    }

    #[test]
    fn what_is_lost_is_named() {
        let lost = |offset| LostBytes {
            offset,
            length: 16384,
        };
        let mut errors = DataErrorsReport::default();
        assert_eq!(data_errors(&errors), None);
        errors.known.push(lost(32768));
        let one = "no copy is left that checks of 16 KiB at 32768: reads there fail until it is written again";
        assert_eq!(data_errors(&errors).as_deref(), Some(one));
        errors.known.extend((0..9).map(|at| lost(at * 65536)));
        errors.more = 5;
        let many = data_errors(&errors).unwrap();
        assert!(many.contains("2 more places, 5 more blocks"), "{many}");
    }
}
