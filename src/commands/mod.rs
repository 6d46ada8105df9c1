//! One file a verb; each does its work and says how the command ends.

mod create;
mod destroy;
mod doctor;
mod events;
mod fault;
mod fsck;
mod inspect;
mod mount;
mod node;
mod resize;
mod scrub;
mod scrub_text;
mod status;
mod umount;

use crate::cli::{Cli, Command};
use crate::exit::{Exit, code_of, is_broken_pipe};
use crate::logging::{self, Style};
use crate::output::{Output, note};
use redoubt_volume::error::VolumeError;
use redoubt_volume::io::address_book::AddressBook;
use std::path::{Path, PathBuf};

/// Runs what the user asked for, and says what went wrong.
pub(crate) fn run(cli: Option<&Cli>) -> Exit {
    let Some(cli) = cli else {
        return Exit::OK;
    };
    logging::start(&cli.global, style(&cli.command));
    redoubt_mount::process::raise_open_file_limit();
    match dispatch(cli, Output::new(&cli.global)) {
        Ok(exit) => exit,
        Err(error) if is_broken_pipe(&error) => Exit::OK,
        Err(error) => {
            note(format!("{error:#}"));
            code_of(&error)
        }
    }
}

fn style(command: &Command) -> Style {
    match command {
        Command::Mount(mount) if mount.background_process => Style::File,
        _ => Style::Person,
    }
}

fn dispatch(cli: &Cli, output: Output) -> anyhow::Result<Exit> {
    match &cli.command {
        Command::Create(create) => create::run(create, output),
        Command::Mount(mount) => mount::run(&cli.global, mount, output),
        Command::Umount(umount) => umount::run(umount, output),
        Command::Status(status) => status::run(status, &cli.global, output),
        Command::Events(events) => events::run(events, output),
        Command::Resize(resize) => resize::run(resize, output),
        Command::Scrub(scrub) => scrub::run(scrub, &cli.global, output),
        Command::Node(node) => node::run(node, output),
        Command::Fault(fault) => fault::run(fault, output),
        Command::Fsck(fsck) => fsck::run(fsck, &cli.global, output),
        Command::Inspect(inspect) => inspect::run(inspect, output),
        Command::Destroy(destroy) => destroy::run(destroy, output),
        Command::Doctor => doctor::run(output),
    }
}

/// The directory of a volume that is there: absolute, without symbolic links.
///
/// # Errors
/// [`VolumeError::NotAVolume`] when there is none; what is wrong with its address book otherwise.
fn existing_volume(path: &Path) -> Result<PathBuf, VolumeError> {
    let not_a_volume = |_| VolumeError::NotAVolume(path.to_owned());
    let resolved = path.canonicalize().map_err(not_a_volume)?;
    AddressBook::read(&resolved)?;
    Ok(resolved)
}
