//! Fuzz targets: what reads bytes that somebody else may have written gets bytes that nobody
//! would write. A target is a function here and a program of three lines in `src/bin/`;
//! `scripts/fuzz` builds and runs them.
//!
//! No target may panic, hang, or take more than 512 MiB. What else must hold is asserted.

pub mod decoders;
pub mod input;
pub mod repair;

#[path = "../../../volume/tests/format/examples.rs"]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "shared with the tests of the formats, which use more of it"
)]
mod examples;
