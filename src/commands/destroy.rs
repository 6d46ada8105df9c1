//! `redoubt destroy`: deletes a volume and all its copies, after asking for its name.

use crate::cli::Destroy;
use crate::control::SOCKET_NAME;
use crate::daemon::LOG_NAME;
use crate::exit::{Exit, Refusal};
use crate::output::{Output, note};
use serde::Serialize;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

#[derive(Serialize)]
struct Destroyed {
    path: String,
}

/// Deletes the volume.
pub(crate) fn run(destroy: &Destroy, output: Output) -> anyhow::Result<Exit> {
    let volume = super::existing_volume(&destroy.volume)?;
    if !destroy.yes {
        confirm(&volume)?;
    }
    redoubt_volume::volume::destroy(&volume)?;
    remove_leftovers(&volume);
    output.line(format!("redoubt: {} is deleted", destroy.volume.display()))?;
    let path = volume.display().to_string();
    output.json("destroy", &Destroyed { path })?;
    Ok(Exit::OK)
}

/// Has the user type the volume's name.
fn confirm(volume: &Path) -> anyhow::Result<()> {
    let refusal = |why: &str| {
        let name = volume.display();
        let message = format!("{name} was not deleted: {why}; nothing was changed");
        Refusal::error(Exit::USAGE, message)
    };
    if !io::stdin().is_terminal() {
        return Err(refusal("there is no terminal to ask on, so it takes --yes"));
    }
    let name = volume.file_name().unwrap_or_default().to_string_lossy();
    let mut prompt = io::stderr().lock();
    write!(
        prompt,
        "redoubt: this deletes {} and everything on it, all six copies.\nType its name ({name}) to go on: ",
        volume.display()
    )?;
    prompt.flush()?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed)?;
    if typed.trim() == name {
        Ok(())
    } else {
        Err(refusal("the name that was typed is another one"))
    }
}

/// Removes what this program, and not the volume itself, put into the directory.
fn remove_leftovers(volume: &Path) {
    if !volume.exists() {
        return;
    }
    for name in [LOG_NAME, SOCKET_NAME] {
        match std::fs::remove_file(volume.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                note(format!("{name} stays in {}: {error}", volume.display()));
            }
            _ => {}
        }
    }
    if let Err(error) = std::fs::remove_dir(volume) {
        note(format!("the directory {} stays: {error}", volume.display()));
    }
}
