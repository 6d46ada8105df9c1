//! The volume against a model, on disks that lose, reorder and tear what was not synced.

#![allow(
    unreachable_pub,
    missing_docs,
    reason = "a test binary has no public items"
)]

mod cluster;
mod crash_points;
mod recovery_cases;
mod reference_model;
mod space_cases;
mod two_lines;
