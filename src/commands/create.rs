//! `redoubt create`: makes a volume and says where its copies are.

use crate::cli::Create;
use crate::exit::{Exit, Refusal};
use crate::output::{Output, table};
use crate::size::iec;
use redoubt_volume::config::VolumeConfig;
use redoubt_volume::io::address_book::AddressBook;
use redoubt_volume::volume::{self, CreateOptions};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Created {
    volume: CreatedVolume,
}

#[derive(Serialize)]
struct CreatedVolume {
    id: String,
    path: String,
    size: u64,
    group_size: u64,
    extent_size: u32,
    nodes: Vec<CreatedNode>,
}

#[derive(Serialize)]
struct CreatedNode {
    id: String,
    az: char,
    path: String,
}

/// Makes the volume.
pub(crate) fn run(create: &Create, output: Output) -> anyhow::Result<Exit> {
    let path = std::path::absolute(&create.volume)?;
    let options = options(create)?;
    let config = volume::create(&path, &options)?;
    let created = describe(&path, &config, &AddressBook::read(&path)?);
    output.json("create", &created)?;
    for line in lines(&create.volume, &created.volume) {
        output.line(line)?;
    }
    Ok(Exit::OK)
}

fn options(create: &Create) -> anyhow::Result<CreateOptions> {
    let extent_bytes = u32::try_from(create.extent_size).map_err(|_| {
        let found = iec(create.extent_size);
        let message = format!(
            "a log extent of {found} cannot be: it takes a power of two from 1 MiB to 128 MiB; choose another --extent-size"
        );
        Refusal::error(Exit::USAGE, message)
    })?;
    let absolute = |(zone, path): &(_, PathBuf)| Ok((*zone, std::path::absolute(path)?));
    Ok(CreateOptions {
        disk_bytes: create.size,
        group_bytes: create.group_size,
        extent_bytes,
        nodes: create
            .nodes
            .iter()
            .map(absolute)
            .collect::<std::io::Result<_>>()?,
    })
}

fn describe(path: &Path, config: &VolumeConfig, book: &AddressBook) -> Created {
    let node = |(id, place): (_, PathBuf)| CreatedNode {
        id: config.node_name(id),
        az: char::from(b'a' + config.nodes[id.index()].zone.0),
        path: place.display().to_string(),
    };
    Created {
        volume: CreatedVolume {
            id: config.volume.to_string(),
            path: path.display().to_string(),
            size: config.disk_bytes,
            group_size: config.geometry.group_bytes(),
            extent_size: config.extent_bytes,
            nodes: config.node_ids().zip(book.paths(path)).map(node).collect(),
        },
    }
}

fn lines(named: &Path, volume: &CreatedVolume) -> Vec<String> {
    let row = |node: &CreatedNode| vec![format!("  {}", node.id), node.path.clone()];
    let nodes = table(
        &["  NODE", "DIRECTORY"],
        volume.nodes.iter().map(row).collect(),
    );
    vec![
        format!(
            "redoubt: created {} ({}, six copies of everything on {} nodes in three zones)",
            named.display(),
            iec(volume.size),
            volume.nodes.len()
        ),
        nodes,
        format!(
            "redoubt: next, redoubt mount {} MOUNTPOINT",
            named.display()
        ),
    ]
}
