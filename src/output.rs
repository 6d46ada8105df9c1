//! What the command prints: lines and tables for people, or JSON for programs, on standard
//! output; everything else goes to standard error.

use crate::cli::{ColorChoice, Global};
use crate::report::SCHEMA;
use comfy_table::{Table, presets};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Colours, used for words that tell a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    /// All is well.
    Green,
    /// Something wants attention.
    Yellow,
    /// Something is lost or stopped.
    Red,
}

/// How this run prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    colored: bool,
}

/// The frame of every JSON answer.
#[derive(Serialize)]
struct Envelope<'a, T> {
    schema: u32,
    command: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

/// The frame of one of many JSON objects.
#[derive(Serialize)]
struct Item<'a, T> {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

impl Output {
    /// As the user asked.
    pub(crate) fn new(global: &Global) -> Output {
        let wanted = match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !refused && io::stdout().is_terminal()
            }
        };
        Output {
            json: global.json,
            quiet: global.quiet,
            colored: wanted,
        }
    }

    /// Prints a line for people; nothing under `--json` and `--quiet`.
    ///
    /// # Errors
    /// What standard output says.
    pub(crate) fn line(self, text: impl AsRef<str>) -> io::Result<()> {
        if self.json || self.quiet {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text.as_ref())?;
        out.flush()
    }

    /// Prints a JSON answer in one line; nothing without `--json`.
    ///
    /// # Errors
    /// What standard output says.
    pub(crate) fn json(self, command: &str, body: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{}", json_text(command, body)?)?;
        out.flush()
    }

    /// Prints one of many JSON objects of a kind, a line each; nothing without `--json`.
    ///
    /// # Errors
    /// What standard output says.
    pub(crate) fn json_line(self, kind: &str, body: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let item = Item {
            schema: SCHEMA,
            kind,
            body,
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&item)?)?;
        out.flush()
    }

    /// The word in colour, where colours are wanted.
    pub(crate) fn paint(self, word: &str, color: Color) -> String {
        let code = match color {
            Color::Green => 32,
            Color::Yellow => 33,
            Color::Red => 31,
        };
        if self.colored {
            format!("\x1b[{code}m{word}\x1b[0m")
        } else {
            word.to_owned()
        }
    }

    /// Clears the screen for the next picture, on a terminal.
    ///
    /// # Errors
    /// What standard output says.
    pub(crate) fn clear(self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.json && out.is_terminal() {
            write!(out, "\x1b[H\x1b[2J")?;
        }
        out.flush()
    }
}

/// The text of a JSON answer.
///
/// # Errors
/// A body that JSON cannot hold.
pub(crate) fn json_text(command: &str, body: &impl Serialize) -> serde_json::Result<String> {
    let envelope = Envelope {
        schema: SCHEMA,
        command,
        body,
    };
    serde_json::to_string(&envelope)
}

/// Prints a line about the run itself on standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    let mut out = io::stderr().lock();
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(out, "redoubt: {}", text.as_ref());
}

/// A table without frame, for `rows` under `header`.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty();
    table.set_header(header.to_vec());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}
