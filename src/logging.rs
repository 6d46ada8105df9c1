//! The only set-up of the logger.

use crate::cli::Global;
use env_logger::{Builder, Env, Target, TimestampPrecision};
use log::LevelFilter;
use std::io::Write;

/// Where log lines go, which decides how they look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// To a person on standard error: `redoubt: message`.
    Person,
    /// To a file, with times: a process in the background.
    File,
}

/// Starts logging to standard error. REDOUBT_LOG has the last word on levels.
pub(crate) fn start(global: &Global, style: Style) {
    let level = match (global.quiet, global.verbose, style) {
        (true, _, _) => LevelFilter::Error,
        (false, 0, Style::Person) => LevelFilter::Warn,
        (false, 0 | 1, _) => LevelFilter::Info,
        (false, 2, _) => LevelFilter::Debug,
        (false, _, _) => LevelFilter::Trace,
    };
    let mut builder = Builder::new();
    builder.filter_level(level).target(Target::Stderr);
    builder.parse_env(Env::new().filter("REDOUBT_LOG"));
    match style {
        Style::Person => builder.format(|out, record| match record.level() {
            log::Level::Error | log::Level::Info => writeln!(out, "redoubt: {}", record.args()),
            log::Level::Warn => writeln!(out, "redoubt: warning: {}", record.args()),
            level => writeln!(
                out,
                "redoubt: {level} {}: {}",
                record.target(),
                record.args()
            ),
        }),
        Style::File => builder.format_timestamp(Some(TimestampPrecision::Millis)),
    };
    builder.init();
}
