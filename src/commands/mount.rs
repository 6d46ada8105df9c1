//! `redoubt mount`: shows a volume's disk as a file, in the background unless told otherwise.

use crate::cli::{Global, Mount};
use crate::daemon;
use crate::exit::Exit;
use crate::output::Output;
use crate::report::{VolumeBody, VolumeReport};
use crate::serve::{self, ServeRequest};
use crate::size::iec;
use redoubt_mount::mount_point;
use redoubt_mount::options::MountOptions;
use std::io;

/// Mounts the volume; in the foreground, serves it until it is unmounted.
pub(crate) fn run(global: &Global, mount: &Mount, output: Output) -> anyhow::Result<Exit> {
    if mount.background_process {
        return Ok(in_background_process(mount));
    }
    let request = request(mount)?;
    if mount.foreground {
        serve::serve(&request, |report| announce(report, output))?;
        return Ok(Exit::OK);
    }
    let mount = Mount {
        volume: request.volume,
        mount_point: request.mount_point,
        ..mount.clone()
    };
    announce(daemon::start(global, &mount)?, output)?;
    Ok(Exit::OK)
}

/// Serves the disk, and tells the process that waits for it how that began.
fn in_background_process(mount: &Mount) -> Exit {
    let mut waiting = true;
    let served = request(mount).and_then(|request| {
        daemon::detach()?;
        serve::serve(&request, |report| {
            waiting = false;
            daemon::report(Ok(report))
        })
    });
    let Err(error) = served else {
        return Exit::OK;
    };
    log::error!("{error:#}");
    let exit = crate::exit::code_of(&error);
    if waiting && daemon::report(Err(error)).is_err() {
        log::warn!("nobody waits for the outcome any more");
    }
    exit
}

fn request(mount: &Mount) -> anyhow::Result<ServeRequest> {
    let lists = mount.options.iter().map(String::as_str);
    let lists = lists.chain(mount.allow_faults.then_some("allow_faults"));
    let place = &mount.mount_point;
    Ok(ServeRequest {
        volume: super::existing_volume(&mount.volume)?,
        // What is wrong with a place that cannot be resolved, the mount itself will say.
        mount_point: mount_point::resolve(place).or_else(|_| std::path::absolute(place))?,
        options: MountOptions::parse(lists)?,
    })
}

fn announce(report: VolumeReport, output: Output) -> io::Result<()> {
    output.line(greeting(&report))?;
    output.json("mount", &VolumeBody { volume: &report })
}

fn greeting(report: &VolumeReport) -> String {
    let mut line = format!(
        "redoubt: {} is mounted at {} ({}, {}/{} nodes, recovered in {} ms)",
        report.name(),
        report.mountpoint.as_deref().unwrap_or("?"),
        iec(report.size),
        report.nodes_up(),
        report.nodes.len(),
        report.recovery_ms.unwrap_or(0),
    );
    if let Some(status) = &report.status {
        line.push_str("\nredoubt: ");
        line.push_str(status);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    #[test]
    fn the_greeting_says_what_is_where_and_what_is_wrong() {
        let expected = "redoubt: demo is mounted at /mnt/demo (10 GiB, 5/6 nodes, recovered in 12 ms)\n\
                        redoubt: node b2 is missing: its directory is gone.";
        assert_eq!(greeting(&example()), expected);
    }
}
