//! `redoubt status`: says how a volume is, from the process that serves it or from its files.

use super::scrub_text;
use crate::cli::{Global, Status};
use crate::control::{Reply, Request, client};
use crate::exit::Exit;
use crate::offline;
use crate::output::{Color, Output, table};
use crate::report::{Health, NodeHealth, NodeReport, VolumeBody, VolumeReport};
use crate::size::iec;
use std::path::Path;
use std::time::Duration;

/// Nodes up to which each is named in the line of copies.
const NODES_IN_A_LINE: usize = 12;

/// Says it once, or again and again.
pub(crate) fn run(status: &Status, global: &Global, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&status.volume)?;
    loop {
        let report = fetch(&volume)?;
        if status.watch.is_some() {
            output.clear()?;
        }
        output.json("status", &VolumeBody { volume: &report })?;
        for line in lines(&report, global.verbose > 0, output) {
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
        None => Ok(offline::report(volume)?),
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

fn lines(report: &VolumeReport, verbose: bool, output: Output) -> Vec<String> {
    let mut lines = vec![
        format!("  volume: {}", heading(report)),
        format!("   state: {}", state(report, output)),
    ];
    let labelled = [("  status", &report.status), ("  action", &report.action)];
    for (label, text) in labelled {
        lines.extend(text.as_ref().map(|text| format!("{label}: {text}")));
    }
    lines.extend(log_line(report).map(|line| format!("     log: {line}")));
    lines.push(format!("   space: {}", space(report)));
    lines.push(format!("  copies: {}", copies(&report.nodes, output)));
    if verbose || report.nodes.iter().any(|node| node.state != NodeHealth::Up) {
        lines.push(node_table(&report.nodes, verbose));
    }
    let scrub = report.scrub.iter().flat_map(scrub_text::lines);
    lines.extend(scrub.map(|line| format!("   scrub: {line}")));
    lines.extend(errors(report, output).map(|line| format!("  errors: {line}")));
    let lost = report
        .data_errors
        .as_ref()
        .and_then(scrub_text::data_errors);
    lines.extend(lost.map(|line| format!("  errors: {}", output.paint(&line, Color::Red))));
    lines
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
        report.nodes.len()
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

/// The copies by zone; every node by name, or, of many, how many are in which state.
fn copies(nodes: &[NodeReport], output: Output) -> String {
    let zone = |az: char| {
        let in_zone: Vec<_> = nodes.iter().filter(|node| node.az == az).collect();
        let copies = if nodes.len() <= NODES_IN_A_LINE {
            in_zone.iter().map(|node| named(node, output)).collect()
        } else {
            counted(&in_zone, output)
        };
        format!("zone {az}  {}", copies.join("  "))
    };
    ['a', 'b', 'c'].map(zone).join("  |  ")
}

fn named(node: &NodeReport, output: Output) -> String {
    format!("{} {}", node.id, painted(node.state, output))
}

fn counted(nodes: &[&NodeReport], output: Output) -> Vec<String> {
    use NodeHealth::{Down, Lagging, Rebuilding, Up};
    let count = |state| nodes.iter().filter(|node| node.state == state).count();
    let states = [Up, Lagging, Rebuilding, Down]
        .into_iter()
        .filter(|state| count(*state) > 0);
    states
        .map(|state| format!("{} {}", count(state), painted(state, output)))
        .collect()
}

fn painted(state: NodeHealth, output: Output) -> String {
    let color = match state {
        NodeHealth::Up => Color::Green,
        NodeHealth::Lagging | NodeHealth::Rebuilding => Color::Yellow,
        NodeHealth::Down => Color::Red,
    };
    output.paint(&state.word().to_uppercase(), color)
}

/// Every node, or only those that want attention.
fn node_table(nodes: &[NodeReport], all: bool) -> String {
    let number = |value: Option<u64>| value.map_or("-".into(), |value| value.to_string());
    let row = |node: &NodeReport| {
        vec![
            format!("          {}", node.id),
            node.state.word().to_owned(),
            number(node.scl),
            node.log.map_or("-".into(), iec),
            node.path.clone(),
            node.reason.clone().unwrap_or_default(),
        ]
    };
    let shown = nodes
        .iter()
        .filter(|node| all || node.state != NodeHealth::Up);
    let header = [
        "          NODE",
        "STATE",
        "SCL",
        "LOG",
        "DIRECTORY",
        "REASON",
    ];
    table(&header, shown.map(row).collect())
}

fn errors(report: &VolumeReport, output: Output) -> Option<String> {
    let sum = |count: fn(&NodeReport) -> Option<u64>| -> Option<u64> {
        report.nodes.iter().map(count).sum()
    };
    let mended = match sum(|node| node.damaged_blocks)? {
        0 => String::new(),
        damaged => {
            let repaired = sum(|node| node.repaired_blocks)?;
            format!("; {damaged} copies of blocks were bad, {repaired} were written anew")
        }
    };
    let is_lost = report
        .data_errors
        .as_ref()
        .is_some_and(|lost| *lost != Default::default());
    match sum(|node| node.checksum_errors)? {
        0 if mended.is_empty() && is_lost => None,
        0 if mended.is_empty() => Some("no known data errors".into()),
        count => {
            let text =
                format!("{count} reads did not check and were answered by another copy{mended}");
            Some(output.paint(&text, Color::Yellow))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;
    use crate::report::tests::example;

    fn plain() -> Output {
        Output::new(&Global {
            json: false,
            quiet: false,
            verbose: 0,
            color: ColorChoice::Never,
        })
    }

    #[test]
    fn the_picture_says_what_is_wrong_and_what_to_do() {
        let expected = "  volume: demo   10 GiB   epoch 7   mounted at /mnt/demo
   state: DEGRADED  (5/6 nodes, readable and writable; quorum is 4 of 6)
  status: node b2 is down: its directory is gone.
  action: none needed.
     log: VDL 184467   VCL 184470   3 groups written   recovered in 12 ms
   space: written since open 5 MiB   live 3 MiB   logs of all nodes 6 MiB
  copies: zone a  a1 UP  a2 UP  |  zone b  b1 UP  b2 DOWN  |  zone c  c1 UP  c2 UP
          NODE  STATE  SCL     LOG    DIRECTORY        REASON
          b2    down   184467  1 MiB  /v/demo/nodes/3  its directory is gone
   scrub: none yet; start one with 'redoubt scrub'
  errors: no known data errors";
        assert_eq!(lines(&example(), false, plain()).join("\n"), expected);
    }

    #[test]
    fn what_was_damaged_and_mended_is_counted() {
        let mut report = example();
        report.nodes[1].checksum_errors = Some(3);
        let line = |report: &VolumeReport| errors(report, plain()).unwrap();
        let seen = "3 reads did not check and were answered by another copy";
        assert_eq!(line(&report), seen);
        report.nodes[1].damaged_blocks = Some(2);
        report.nodes[1].repaired_blocks = Some(2);
        let mended = format!("{seen}; 2 copies of blocks were bad, 2 were written anew");
        assert_eq!(line(&report), mended);
    }

    #[test]
    fn what_is_lost_is_told() {
        let mut report = example();
        let (offset, length) = (16384, 16384);
        let lost = crate::scrub_report::LostBytes { offset, length };
        report.data_errors = Some(crate::scrub_report::DataErrorsReport {
            known: vec![lost],
            more: 0,
        });
        let lines = lines(&report, false, plain());
        let of_errors: Vec<_> = lines
            .iter()
            .filter(|line| line.contains("errors:"))
            .collect();
        assert_eq!(of_errors.len(), 1, "{of_errors:?}");
        assert!(of_errors[0].contains("16 KiB at 16384"), "{of_errors:?}");
    }

    #[test]
    fn many_nodes_are_counted() {
        let mut report = example();
        report.nodes = (0..24)
            .map(|index| report.nodes[index % 6].clone())
            .collect();
        let line = copies(&report.nodes, plain());
        assert_eq!(
            line,
            "zone a  8 UP  |  zone b  4 UP  4 DOWN  |  zone c  8 UP"
        );
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
        let node = |id: &str, az: &str, index: u8, state: &str, reason: &str| {
            format!(
                r#"{{"id":"{id}","az":"{az}","path":"/v/demo/nodes/{index}","state":"{state}","reason":{reason},"scl":184467,"log":1048576,"live":524288,"checksum_errors":0,"damaged_blocks":0,"repaired_blocks":0}}"#
            )
        };
        let nodes = [
            node("a1", "a", 0, "up", "null"),
            node("a2", "a", 1, "up", "null"),
            node("b1", "b", 2, "up", "null"),
            node("b2", "b", 3, "down", r#""its directory is gone""#),
            node("c1", "c", 4, "up", "null"),
            node("c2", "c", 5, "up", "null"),
        ];
        let expected = [
            r#"{"schema":1,"command":"status","volume":{"id":"00112233445566778899aabbccddeeff","path":"/v/demo","size":10737418240,"#,
            r#""state":"degraded","status":"node b2 is down: its directory is gone.","action":"none needed.","#,
            r#""mountpoint":"/mnt/demo","pid":7,"epoch":7,"writer_id":"00000000000000ab","groups":3,"#,
            r#""vcl":184470,"vdl":184467,"recovery_ms":12,"nodes":["#,
            &nodes.join(","),
            r#"],"space":{"written":5242880,"live":3145728,"log":6291456},"#,
            r#""scrub":{"number":0,"running":null,"last":null,"next":null},"data_errors":{"known":[],"more":0}}}"#,
        ];
        assert_eq!(json, expected.concat());
    }
}
