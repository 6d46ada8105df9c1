//! `redoubt`: makes, mounts and looks after volumes whose disk is a log, kept six times.

mod cli;
mod commands;
mod control;
mod daemon;
mod disk;
mod duration;
mod exit;
mod history;
mod local_time;
mod logging;
mod mount_helper;
mod offline;
mod output;
mod rebuild_report;
mod report;
mod scrub_report;
mod serve;
mod size;

use mount_helper::Invocation;
use std::process::ExitCode;

/// Payload is allocated by one thread and freed by another; the system's allocator held seven times
/// the memory in use after a write load.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let exit = match Invocation::parse(std::env::args_os().collect()) {
        Ok(invocation) => invocation.exit(commands::run(invocation.cli.as_ref())),
        Err(usage) => usage.report(),
    };
    ExitCode::from(exit.0)
}
