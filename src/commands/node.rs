//! `redoubt node`: shows a volume's nodes, lets new directories take their places, adds nodes and
//! drains them.

use super::status;
use crate::cli::{Node, NodeAdd, NodeDrain, NodeList, NodeReplace};
use crate::control::{Reply, Request, client};
use crate::exit::{Exit, Refusal};
use crate::output::{Output, table};
use crate::report::{NodeHealth, NodeReport};
use anyhow::Context;
use redoubt_volume::volume::{add_nodes, rebalance};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often it is looked whether a replacement has ended.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Listed {
    path: String,
    nodes: Vec<NodeReport>,
}

#[derive(Serialize)]
struct Replaced {
    path: String,
    node: String,
    directory: String,
    done: bool,
}

#[derive(Serialize)]
struct Added {
    path: String,
    nodes: Vec<String>,
    rebalance: bool,
}

#[derive(Serialize)]
struct Drained {
    path: String,
    node: String,
    done: bool,
}

/// Does what is asked about nodes.
pub(crate) fn run(node: &Node, output: Output) -> anyhow::Result<Exit> {
    match node {
        Node::List(list) => run_list(list, output),
        Node::Replace(replace) if replace.abort => abort(replace, output),
        Node::Replace(replace) => run_replace(replace, output),
        Node::Add(add) if add.nodes.is_empty() => run_rebalance(add, output),
        Node::Add(add) => run_add(add, output),
        Node::Drain(drain) => run_drain(drain, output),
    }
}

fn run_add(add: &NodeAdd, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&add.volume)?;
    let nodes = add_nodes(&volume, &add.nodes, add.rebalance)?;
    let what = match add.rebalance {
        true => "those that there are spread over all nodes when it is mounted",
        false => "'redoubt node add --rebalance' spreads those that there are",
    };
    output.line(format!(
        "redoubt: {} came to {}; groups that are made from now on are placed on them, too; {what}",
        nodes.join(", "),
        add.volume.display()
    ))?;
    say_added(&volume, nodes, add.rebalance, output)
}

fn say_added(
    volume: &Path,
    nodes: Vec<String>,
    rebalance: bool,
    output: Output,
) -> anyhow::Result<Exit> {
    let path = volume.display().to_string();
    let added = Added {
        path,
        nodes,
        rebalance,
    };
    output.json("node-add", &added)?;
    Ok(Exit::OK)
}

/// The process that serves the volume does it; where there is none, it is noted for the next one.
fn run_rebalance(add: &NodeAdd, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&add.volume)?;
    let when = match client::request(&volume, Request::Rebalance)? {
        Some(_) => "now",
        None => {
            rebalance(&volume)?;
            "when it is mounted"
        }
    };
    let name = add.volume.display();
    output.line(format!(
        "redoubt: the groups of {name} spread over all its nodes {when}; 'redoubt status' tells how far that is"
    ))?;
    say_added(&volume, Vec::new(), true, output)
}

fn run_drain(drain: &NodeDrain, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&drain.volume)?;
    let node = drain.node.clone();
    let request = Request::DrainNode { node: node.clone() };
    ask(&volume, request, &drain.volume)?;
    if drain.wait {
        wait_drained(&volume, &node)?;
    }
    output.line(match drain.wait {
        true => format!("redoubt: nothing is on {node} any more; its directory can be deleted"),
        false => {
            format!("redoubt: groups are leaving {node}; 'redoubt status' tells how far that is")
        }
    })?;
    let (path, done) = (volume.display().to_string(), drain.wait);
    output.json("node-drain", &Drained { path, node, done })?;
    Ok(Exit::OK)
}

/// Waits until nothing is on a node any more.
fn wait_drained(volume: &Path, node: &str) -> anyhow::Result<()> {
    loop {
        let report = status::fetch(volume)?;
        let found = report.nodes.into_iter().find(|found| found.id == node);
        let found = found.with_context(|| format!("the volume has no node {node} any more"))?;
        if found.state == NodeHealth::Drained {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

fn run_list(list: &NodeList, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&list.volume)?;
    let nodes = status::fetch(&volume)?.nodes;
    output.line(rows(&nodes))?;
    let path = volume.display().to_string();
    output.json("node-list", &Listed { path, nodes })?;
    Ok(Exit::OK)
}

fn rows(nodes: &[NodeReport]) -> String {
    let mut rows = Vec::new();
    for node in nodes {
        let (zone, state) = (node.az.to_string(), node.state.word().to_owned());
        let reason = node.reason.clone().unwrap_or_default();
        rows.push(vec![
            node.id.clone(),
            zone,
            state,
            node.path.clone(),
            reason,
        ]);
        if let Some(successor) = &node.successor {
            let state = successor.state.word().to_owned();
            let note = successor.reason.clone();
            let note = note.unwrap_or_else(|| format!("to take the place of {}", node.id));
            let (id, zone) = (String::new(), String::new());
            rows.push(vec![id, zone, state, successor.path.clone(), note]);
        }
    }
    table(&["node", "zone", "state", "directory", ""], rows)
}

fn run_replace(replace: &NodeReplace, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&replace.volume)?;
    let node = replace.node.clone();
    let named = replace.directory.clone().unwrap_or_default();
    // The process that serves the volume works in another directory.
    let directory = std::path::absolute(&named)
        .with_context(|| format!("{} cannot be found", named.display()))?;
    let request = Request::ReplaceNode {
        node: node.clone(),
        directory: directory.clone(),
    };
    ask(&volume, request, &replace.volume)?;
    if replace.wait {
        wait(&volume, &node, &directory)?;
    }
    say(&volume, replace, &directory, replace.wait, output)?;
    let name = directory.display();
    output.line(match replace.wait {
        true => format!("redoubt: {name} has taken the place of {node}; its former directory is of no use any more"),
        false => format!("redoubt: {name} is being filled and will take the place of {node}; 'redoubt node list' tells how it is"),
    })?;
    Ok(Exit::OK)
}

fn abort(replace: &NodeReplace, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&replace.volume)?;
    let node = replace.node.clone();
    let request = Request::AbortReplacement { node: node.clone() };
    let Reply::AbortReplacement { directory, .. } = ask(&volume, request, &replace.volume)? else {
        anyhow::bail!("the process that serves the volume gave another answer than asked");
    };
    say(&volume, replace, &directory, true, output)?;
    let name = directory.display();
    output.line(format!(
        "redoubt: {node} stays what it was; {name} is removed"
    ))?;
    Ok(Exit::OK)
}

fn say(
    volume: &Path,
    replace: &NodeReplace,
    directory: &Path,
    done: bool,
    output: Output,
) -> anyhow::Result<()> {
    let verb = match replace.abort {
        true => "node-replace-abort",
        false => "node-replace",
    };
    let replaced = Replaced {
        path: volume.display().to_string(),
        node: replace.node.clone(),
        directory: directory.display().to_string(),
        done,
    };
    Ok(output.json(verb, &replaced)?)
}

fn ask(volume: &Path, request: Request, named: &Path) -> anyhow::Result<Reply> {
    client::request(volume, request)?.ok_or_else(|| {
        let name = named.display();
        Refusal::error(
            Exit::FAILURE,
            format!("{name} is not mounted, so nobody fills its nodes; mount it first"),
        )
    })
}

/// Waits until a directory has the place of a node.
fn wait(volume: &Path, node: &str, directory: &PathBuf) -> anyhow::Result<()> {
    loop {
        let report = status::fetch(volume)?;
        let found = report.nodes.into_iter().find(|found| found.id == node);
        let found = found.with_context(|| format!("the volume has no node {node} any more"))?;
        let is_there = Path::new(&found.path) == directory;
        match &found.successor {
            None if is_there && found.state == NodeHealth::Up => return Ok(()),
            None if !is_there => {
                return Err(Refusal::error(
                    Exit::FAILURE,
                    format!("the replacement of {node} was called off; the node is what it was"),
                ));
            }
            _ => std::thread::sleep(LOOK),
        }
    }
}
