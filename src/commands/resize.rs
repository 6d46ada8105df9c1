//! `redoubt resize`: gives the disk another size, through the process that serves it or, unmounted,
//! by opening the volume.

use crate::cli::Resize;
use crate::control::{Reply, Request, client};
use crate::exit::Exit;
use crate::output::Output;
use crate::size::iec;
use redoubt_volume::volume::{OpenOptions, Volume};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Resized {
    path: String,
    size: u64,
    previous: u64,
    online: bool,
}

/// Resizes the disk.
pub(crate) fn run(resize: &Resize, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&resize.volume)?;
    let online = online(&volume, resize)?;
    let (previous, size) = match online {
        Some(sizes) => sizes,
        None => offline(&volume, resize)?,
    };
    let resized = Resized {
        path: volume.display().to_string(),
        size,
        previous,
        online: online.is_some(),
    };
    output.json("resize", &resized)?;
    output.line(format!(
        "redoubt: {} has {} now, it had {}",
        resize.volume.display(),
        iec(size),
        iec(previous)
    ))?;
    if online.is_some() && size != previous {
        output.line(
            "redoubt: what lies on it can grow too: 'losetup -c LOOP-DEVICE', then resize2fs or xfs_growfs",
        )?;
    }
    Ok(Exit::OK)
}

/// Former and new size; `None` when no process serves the volume.
fn online(volume: &Path, resize: &Resize) -> anyhow::Result<Option<(u64, u64)>> {
    let Some(Reply::Status { volume: report }) = client::request(volume, Request::Status)? else {
        return Ok(None);
    };
    let bytes = resize.size.resolve(report.size)?;
    let reply = client::request(volume, Request::Resize { bytes })?;
    Ok(reply.map(|_| (report.size, bytes)))
}

fn offline(path: &Path, resize: &Resize) -> anyhow::Result<(u64, u64)> {
    let volume = Volume::open(path, OpenOptions::default())?;
    let previous = volume.disk_bytes();
    let resized = resize
        .size
        .resolve(previous)
        .map_err(anyhow::Error::from)
        .and_then(|bytes| Ok(volume.resize(bytes).map(|()| bytes)?));
    volume.close()?;
    Ok((previous, resized?))
}
