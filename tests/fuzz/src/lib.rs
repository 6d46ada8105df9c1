//! Fuzz targets: what reads bytes that somebody else may have written gets bytes that nobody
//! would write. A target is a function here and a program of three lines in `src/bin/`;
//! `scripts/fuzz` builds and runs them.
//!
//! No target may panic, hang, or take more than 512 MiB. What else must hold is asserted.

pub mod decoders;
pub mod input;
pub mod records;
pub mod repair;
pub mod texts;
pub mod volume;

// The command is a program and no library: its parts that read what others send are compiled here
// once more.
#[path = "../../../src/control/mod.rs"]
#[allow(dead_code, reason = "the fuzzer needs the server's side only")]
mod control;
#[path = "../../../src/exit.rs"]
#[allow(dead_code, reason = "what the control socket needs of the command")]
mod exit;
#[path = "../../../src/rebuild_report.rs"]
#[allow(dead_code, reason = "what the control socket needs of the command")]
mod rebuild_report;
#[path = "../../../src/report.rs"]
#[allow(dead_code, reason = "what the control socket needs of the command")]
mod report;
#[path = "../../../src/scrub_report.rs"]
#[allow(dead_code, reason = "what the control socket needs of the command")]
mod scrub_report;
#[path = "../../../src/size.rs"]
mod size;

#[path = "../../../volume/tests/format/examples.rs"]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "shared with the tests of the formats, which use more of it"
)]
mod examples;
