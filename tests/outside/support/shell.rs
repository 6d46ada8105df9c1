//! Commands of the system and of Redoubt.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// The directories of programs, also those that only root has in its PATH.
pub(crate) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// A shell script as a command; it finds its paths in variables: `dd of="$disk"`.
pub(crate) fn script(text: &str, variables: &[(&str, &Path)]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", text]);
    command.env("PATH", search_path()).env("LC_ALL", "C");
    command.envs(variables.iter().copied());
    command
}

/// Runs a shell script and gives its output; panics with all that it said if it fails.
pub(crate) fn shell(text: &str, variables: &[(&str, &Path)]) -> String {
    let output = script(text, variables).output().unwrap();
    let standard = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{text}\n{}\n{standard}{error}",
        output.status
    );
    standard
}

/// The built command with arguments.
pub(crate) fn redoubt<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redoubt"));
    command.args(arguments);
    command
}
