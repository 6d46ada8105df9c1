//! `redoubt fault`: has something happen to the nodes of a mounted volume, so that its user sees how
//! it takes that.

use crate::cli::{Fault, FaultVerb, Interval};
use crate::control::fault::{FaultForm, FaultReply, FaultRequest};
use crate::control::{Reply, Request, client};
use crate::exit::{Exit, Refusal};
use crate::output::Output;

/// Begins, names or ends faults.
pub(crate) fn run(fault: &Fault, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&fault.volume)?;
    let name = fault.volume.display().to_string();
    let reply = match client::request(&volume, Request::Fault(request(&fault.verb)))? {
        Some(Reply::Fault(reply)) => reply,
        Some(_) => {
            anyhow::bail!("the process that serves the volume gave another answer than asked")
        }
        None => {
            return Err(Refusal::error(
                Exit::FAILURE,
                format!(
                    "{name} is not mounted, and faults are of a mounted volume; mount it with --allow-faults"
                ),
            ));
        }
    };
    output.json("fault", &reply)?;
    for line in lines(&name, &fault.verb, &reply) {
        output.line(line)?;
    }
    Ok(Exit::OK)
}

fn request(verb: &FaultVerb) -> FaultRequest {
    match verb {
        FaultVerb::NodeDown { nodes, interval } => of_nodes(FaultForm::NodeDown, nodes, interval),
        FaultVerb::AzDown { az, interval } => {
            begin(FaultForm::NodeDown, &[], az.chars().next(), interval)
        }
        FaultVerb::DiskFailure {
            nodes,
            percent,
            interval,
        } => {
            let percent = *percent;
            of_nodes(FaultForm::DiskFailure { percent }, nodes, interval)
        }
        FaultVerb::Congestion {
            nodes,
            between,
            interval,
        } => {
            // Two values, as the command line has seen to.
            let at = |place: usize| between.get(place).copied().unwrap_or(0);
            let (least_ms, most_ms) = (at(0), at(1));
            of_nodes(FaultForm::Congestion { least_ms, most_ms }, nodes, interval)
        }
        FaultVerb::DiskFull { nodes, interval } => of_nodes(FaultForm::DiskFull, nodes, interval),
        FaultVerb::Corrupt { node, blocks } => FaultRequest::Corrupt {
            node: node.clone(),
            blocks: *blocks,
        },
        FaultVerb::List => FaultRequest::List,
        FaultVerb::Clear { id, all: _ } => FaultRequest::Clear { id: *id },
    }
}

fn of_nodes(fault: FaultForm, nodes: &[String], interval: &Interval) -> FaultRequest {
    begin(fault, nodes, None, interval)
}

fn begin(
    fault: FaultForm,
    nodes: &[String],
    az: Option<char>,
    interval: &Interval,
) -> FaultRequest {
    FaultRequest::Begin {
        fault,
        nodes: nodes.to_vec(),
        az,
        for_ms: u64::try_from(interval.time.as_millis()).unwrap_or(u64::MAX),
    }
}

fn lines(name: &str, verb: &FaultVerb, reply: &FaultReply) -> Vec<String> {
    let each = |what: &str| {
        let faults = reply.faults.iter();
        faults
            .map(|fault| format!("redoubt: {name}: {what} {fault}"))
            .collect()
    };
    match verb {
        FaultVerb::Corrupt { node, .. } => {
            let blocks = reply.corrupted;
            vec![format!(
                "redoubt: {name}: {blocks} blocks of node {node} were corrupted; reads and 'redoubt scrub' mend them"
            )]
        }
        FaultVerb::List | FaultVerb::Clear { .. } if reply.faults.is_empty() => {
            vec![format!("redoubt: {name}: no fault is active")]
        }
        FaultVerb::List => each("fault"),
        FaultVerb::Clear { .. } => {
            let faults = reply.faults.iter();
            let line = |id| format!("redoubt: {name}: fault {id} has ended");
            faults.map(|fault| line(fault.id)).collect()
        }
        _ => each("begun: fault"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fault::FaultReport;

    #[test]
    fn each_verb_says_what_was_done() {
        let mut reply = FaultReply {
            faults: vec![FaultReport {
                id: 3,
                fault: FaultForm::DiskFull,
                nodes: vec!["c1".into()],
                left_ms: 9_000,
            }],
            corrupted: 0,
        };
        let said = |verb: &FaultVerb, reply: &FaultReply| lines("demo", verb, reply).join("\n");
        let listed = "redoubt: demo: fault 3 (disk-full c1; ends in 9 s)";
        assert_eq!(said(&FaultVerb::List, &reply), listed);
        let clear = FaultVerb::Clear {
            id: None,
            all: true,
        };
        assert_eq!(said(&clear, &reply), "redoubt: demo: fault 3 has ended");
        reply.faults.clear();
        assert_eq!(said(&clear, &reply), "redoubt: demo: no fault is active");
        assert_eq!(request(&clear), FaultRequest::Clear { id: None });
    }
}
