//! `redoubt status`: says how a volume is, from the process that serves it or from its files.
//!
//! The form is that of zpool: state, what happened, what to do, what is running, the nodes with
//! what was counted on each, and last whether any data is lost.

mod nodes;
mod scan;

use crate::cli::{Global, Status};
use crate::control::{Reply, Request, client};
use crate::exit::Exit;
use crate::history;
use crate::local_time::local_time;
use crate::offline;
use crate::output::{Color, Output};
use crate::report::{Health, VolumeBody, VolumeReport};
use crate::size::iec;
use nodes::{Detail, copies, node_table};
use redoubt_volume::io::event_history;
use scan::{errors, lasting_errors, scan};
use std::path::Path;
use std::time::Duration;

/// Says it once, or again and again.
pub(crate) fn run(status: &Status, global: &Global, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&status.volume)?;
    let detail = match (status.unwell, global.verbose) {
        (true, _) => Detail::Unwell,
        (false, 0) => Detail::Usual,
        (false, _) => Detail::Everything,
    };
    loop {
        let report = fetch(&volume)?;
        if status.watch.is_some() {
            output.clear()?;
        }
        output.json("status", &VolumeBody { volume: &report })?;
        for line in lines(&report, detail, output) {
            output.line(line)?;
        }
        match status.watch {
            Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
            None if status.check => return Ok(exit_of(report.state)),
            None => return Ok(Exit::OK),
        }
    }
}

/// The report of whoever serves the volume, else what its files say.
pub(super) fn fetch(volume: &Path) -> anyhow::Result<VolumeReport> {
    match client::request(volume, Request::Status)? {
        Some(Reply::Status { volume }) => Ok(*volume),
        Some(_) => {
            anyhow::bail!("the process that serves the volume gave another answer than asked")
        }
        None => {
            let mut report = offline::report(volume)?;
            history::tell(&mut report, &event_history::read(volume));
            Ok(report)
        }
    }
}

fn exit_of(health: Health) -> Exit {
    match health {
        Health::Healthy => Exit::OK,
        Health::Degraded => Exit::DEGRADED,
        Health::ReadOnly => Exit::READ_ONLY,
        Health::Unreadable => Exit::UNREADABLE,
        Health::Offline => Exit::FAILURE,
    }
}

fn lines(report: &VolumeReport, detail: Detail, output: Output) -> Vec<String> {
    let is_well = report.state == Health::Healthy && lasting_errors(report).is_none();
    if detail == Detail::Unwell && is_well {
        return vec![format!("redoubt: {} is healthy", report.name())];
    }
    let mut lines = vec![
        format!("  volume: {}", heading(report)),
        format!("   state: {}", state(report, output)),
    ];
    lines.extend(happened(report).map(|text| format!("  status: {text}")));
    let action = report.action.as_ref();
    lines.extend(action.map(|text| format!("  action: {text}")));
    lines.extend(faults(report, output).map(|line| format!("  faults: {line}")));
    let labels = std::iter::once("    scan: ").chain(std::iter::repeat("          "));
    let scan = labels.zip(scan(report));
    lines.extend(scan.map(|(label, text)| format!("{label}{text}")));
    if detail != Detail::Unwell {
        lines.extend(log_line(report).map(|line| format!("     log: {line}")));
        lines.push(format!("   space: {}", space(report)));
    }
    let copies = copies(&report.nodes, detail, output);
    lines.extend(copies.map(|text| format!("  copies: {text}")));
    lines.extend(node_table(&report.nodes, detail, output));
    lines.push(format!("  errors: {}", errors(report, output)));
    lines
}

/// What is made to happen, so that nobody takes it for a failure.
fn faults(report: &VolumeReport, output: Output) -> Option<String> {
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    let text = format!("asked for with 'redoubt fault': {}", faults.join(", "));
    (!faults.is_empty()).then(|| output.paint(&text, Color::Yellow))
}

/// What is wrong, and since when.
fn happened(report: &VolumeReport) -> Option<String> {
    let text = report.status.as_ref()?;
    Some(match report.since_ms {
        Some(since) => {
            let text = text.trim_end_matches('.');
            format!("{text} (since {})", local_time(since))
        }
        None => text.clone(),
    })
}

fn heading(report: &VolumeReport) -> String {
    let mut line = format!(
        "{}   {}   epoch {}",
        report.name(),
        iec(report.size),
        report.epoch
    );
    if let Some(place) = &report.mountpoint {
        line.push_str("   mounted at ");
        line.push_str(place);
    }
    line
}

fn state(report: &VolumeReport, output: Output) -> String {
    let (color, meaning) = match report.state {
        Health::Healthy => (Color::Green, "readable and writable"),
        Health::Degraded => (Color::Yellow, "readable and writable; quorum is 4 of 6"),
        Health::ReadOnly => (Color::Red, "readable; writes wait for a fourth copy"),
        Health::Unreadable => (Color::Red, "some data has fewer than three copies left"),
        Health::Offline => (Color::Yellow, "not mounted"),
    };
    let word = report.state.word().to_uppercase();
    let up = report.nodes_up();
    format!(
        "{}  ({up}/{} nodes, {meaning})",
        output.paint(&word, color),
        report.nodes_in_use()
    )
}

fn log_line(report: &VolumeReport) -> Option<String> {
    let (vdl, vcl, groups) = (report.vdl?, report.vcl?, report.groups?);
    let recovery = report.recovery_ms?;
    Some(format!(
        "VDL {vdl}   VCL {vcl}   {groups} groups written   recovered in {recovery} ms"
    ))
}

fn space(report: &VolumeReport) -> String {
    let part = |name: &str, bytes: Option<u64>| bytes.map(|bytes| format!("{name} {}", iec(bytes)));
    let parts = [
        part("written since open", report.space.written),
        part("live", report.space.live),
        part("logs of all nodes", report.space.log),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("   ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;
    use crate::control::fault::{FaultForm, FaultReport};
    use crate::rebuild_report::RebuildReport;
    use crate::report::tests::example;
    use crate::report::{NodeHealth, RelocationReport, SuccessorReport};
    use crate::scrub_report::{EndedScrub, LostBytes, ScrubFindings};
    use redoubt_volume::status::RebuildFigures;

    fn plain() -> Output {
        Output::new(&Global {
            json: false,
            quiet: false,
            verbose: 0,
            color: ColorChoice::Never,
        })
    }

    #[test]
    fn the_picture_says_what_is_wrong_since_when_and_what_to_do() {
        let since = local_time(1_795_160_000_000);
        let expected = format!(
            "  volume: demo   10 GiB   epoch 7   mounted at /mnt/demo
   state: DEGRADED  (5/6 nodes, readable and writable; quorum is 4 of 6)
  status: node b2 is missing: its directory is gone (since {since})
  action: none needed.
    scan: no scrub yet; start one with 'redoubt scrub'
     log: VDL 184467   VCL 184470   3 groups written   recovered in 12 ms
   space: written since open 5 MiB   live 3 MiB   logs of all nodes 6 MiB
          NODE  STATE    READ  WRITE  CKSUM  REPAIRED  DIRECTORY        REASON
          a1    UP       0     0      0      0         /v/demo/nodes/0
          a2    UP       0     0      0      0         /v/demo/nodes/1
          b1    UP       0     0      0      0         /v/demo/nodes/2
          b2    MISSING  0     4      0      0         /v/demo/nodes/3  since {since}: its directory is gone
          c1    UP       0     0      0      0         /v/demo/nodes/4
          c2    UP       0     0      0      0         /v/demo/nodes/5
  errors: No known data errors"
        );
        let trimmed = |text: &str| {
            let lines = text.lines().map(str::trim_end);
            lines.collect::<Vec<_>>().join("\n")
        };
        let said = lines(&example(), Detail::Usual, plain()).join("\n");
        assert_eq!(trimmed(&said), expected);
    }

    fn ended(report: &mut VolumeReport, unresolved: u64) {
        let found = ScrubFindings {
            blocks: 9,
            copies: 54,
            unresolved,
            ..ScrubFindings::default()
        };
        let scrub = report.scrub.get_or_insert_default();
        scrub.last = Some(EndedScrub {
            number: 1,
            ended: 1_795_160_000,
            found,
        });
    }

    #[test]
    fn what_is_lost_is_named() {
        let mut report = example();
        let lost = report.data_errors.get_or_insert_default();
        let (offset, length) = (16384, 16384);
        lost.known.push(LostBytes { offset, length });
        let said = errors(&report, plain());
        assert!(said.contains("16 KiB at 16384"), "{said}");
    }

    #[test]
    fn only_what_is_not_well_is_said_where_that_is_asked_for() {
        let mut report = example();
        let said = lines(&report, Detail::Unwell, plain()).join("\n");
        assert!(said.contains("b2    MISSING"), "{said}");
        assert!(!said.contains("b1") && !said.contains("space:"), "{said}");
        report.state = Health::Healthy;
        let said = lines(&report, Detail::Unwell, plain());
        assert_eq!(said, ["redoubt: demo is healthy"]);
        ended(&mut report, 2);
        let said = lines(&report, Detail::Unwell, plain()).join("\n");
        assert!(said.contains("2 copies or blocks were bad"), "{said}");
    }

    #[test]
    fn only_the_states_are_coloured() {
        let colored = Output::new(&Global {
            json: false,
            quiet: false,
            verbose: 0,
            color: ColorChoice::Always,
        });
        let table = node_table(&example().nodes, Detail::Unwell, colored).unwrap();
        let line = table.lines().nth(1).unwrap();
        assert!(line.contains("b2    \x1b[31mMISSING\x1b[0m  0"), "{line}");
    }

    #[test]
    fn what_is_running_and_what_was_found_is_said() {
        let mut report = example();
        report.nodes[3].state = NodeHealth::Rebuilding;
        report.nodes[3].rebuild = Some(RebuildReport {
            percent: 31,
            done: 13 << 27,
            total: 41 << 27,
            rate: 71 << 20,
            seconds_left: Some(61),
        });
        report.nodes[0].successor = Some(SuccessorReport {
            path: "/w/a1".into(),
            state: NodeHealth::Rebuilding,
            reason: None,
            rebuild: Some(RebuildReport::from(RebuildFigures::default())),
        });
        report.relocation = Some(RelocationReport { moved: 3, total: 8 });
        ended(&mut report, 0);
        let time = local_time(1_795_160_000_000);
        let expected = [
            "/w/a1 is being filled to take the place of a1".to_owned(),
            format!(
                "b2 is being filled since {time}: 31% done, 1.6 GiB of 5.1 GiB, 71 MiB/s, 00:01:01 to go"
            ),
            "segments move to other nodes: 3 of 8 are there".to_owned(),
            format!("last scrub ended {time}: 9 blocks in 54 copies read"),
        ];
        assert_eq!(scan(&report), expected);
    }

    #[test]
    fn a_drained_node_is_no_fault_and_is_not_counted() {
        let mut report = example();
        report.state = Health::Healthy;
        report.nodes[3].state = NodeHealth::Drained;
        report.nodes[3].write_errors = Some(0);
        let said = state(&report, plain());
        assert!(said.contains("(5/5 nodes"), "{said}");
        assert_eq!(node_table(&report.nodes, Detail::Unwell, plain()), None);
    }

    #[test]
    fn what_was_damaged_and_mended_is_counted() {
        let mut report = example();
        report.nodes[1].checksum_errors = Some(3);
        let line = |report: &VolumeReport| errors(report, plain());
        let seen = "3 reads failed or did not check and were answered by another copy";
        assert_eq!(line(&report), format!("No known data errors ({seen})"));
        report.nodes[1].damaged_blocks = Some(2);
        report.nodes[1].repaired_blocks = Some(2);
        let mended = format!("{seen}; 2 copies of blocks were bad, 2 were written anew");
        assert_eq!(line(&report), format!("No known data errors ({mended})"));
    }

    #[test]
    fn a_fault_that_was_asked_for_is_named() {
        let mut report = example();
        assert_eq!(faults(&report, plain()), None);
        let fault = FaultReport {
            id: 3,
            fault: FaultForm::NodeDown,
            nodes: vec!["b2".into()],
            left_ms: 9_000,
        };
        report.faults.push(fault);
        let line = "  faults: asked for with 'redoubt fault': 3 (node-down b2; ends in 9 s)";
        assert!(lines(&report, Detail::Usual, plain()).contains(&line.to_owned()));
    }

    #[test]
    fn many_nodes_are_counted() {
        let mut report = example();
        report.nodes = (0..24)
            .map(|index| report.nodes[index % 6].clone())
            .collect();
        let line = copies(&report.nodes, Detail::Usual, plain());
        let expected = "zone a  8 UP  |  zone b  4 UP  4 MISSING  |  zone c  8 UP";
        assert_eq!(line.as_deref(), Some(expected));
        let table = node_table(&report.nodes, Detail::Usual, plain()).unwrap();
        assert_eq!(table.lines().count(), 1 + 4, "those that want attention");
    }

    #[test]
    fn each_state_has_its_exit_code() {
        for (health, code) in [
            (Health::Healthy, 0),
            (Health::Degraded, 3),
            (Health::ReadOnly, 4),
            (Health::Unreadable, 5),
            (Health::Offline, 1),
        ] {
            assert_eq!(exit_of(health), Exit(code));
        }
    }

    #[test]
    fn the_json_has_the_documented_shape() {
        let volume = &example();
        let json = crate::output::json_text("status", &VolumeBody { volume }).unwrap();
        let node = |id: &str, az: &str, index: u8, state: &str, reason: &str, action: &str| {
            let (since, writes) = match state {
                "up" => ("null", 0),
                _ => ("1795160000000", 4),
            };
            format!(
                r#"{{"id":"{id}","az":"{az}","path":"/v/demo/nodes/{index}","state":"{state}","reason":{reason},"action":{action},"scl":184467,"log":1048576,"live":524288,"checksum_errors":0,"damaged_blocks":0,"repaired_blocks":0,"read_errors":0,"write_errors":{writes},"since_ms":{since},"rebuild":null}}"#
            )
        };
        let nodes = [
            node("a1", "a", 0, "up", "null", "null"),
            node("a2", "a", 1, "up", "null", "null"),
            node("b1", "b", 2, "up", "null", "null"),
            node(
                "b2",
                "b",
                3,
                "missing",
                r#""its directory is gone""#,
                r#""bring it back""#,
            ),
            node("c1", "c", 4, "up", "null", "null"),
            node("c2", "c", 5, "up", "null", "null"),
        ];
        let expected = [
            r#"{"schema":1,"command":"status","volume":{"id":"00112233445566778899aabbccddeeff","path":"/v/demo","size":10737418240,"#,
            r#""state":"degraded","status":"node b2 is missing: its directory is gone.","action":"none needed.","#,
            r#""mountpoint":"/mnt/demo","pid":7,"epoch":7,"writer_id":"00000000000000ab","groups":3,"#,
            r#""vcl":184470,"vdl":184467,"recovery_ms":12,"nodes":["#,
            &nodes.join(","),
            r#"],"space":{"written":5242880,"live":3145728,"log":6291456},"since_ms":1795160000000,"faults":[],"scrub":{"number":0,"running":null,"last":null,"next":null},"data_errors":{"known":[],"more":0}}}"#,
        ];
        assert_eq!(json, expected.concat());
    }
}
