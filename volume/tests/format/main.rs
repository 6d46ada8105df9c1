//! Every byte layout: round trips, golden bytes, damage, and the page that describes them.

#![allow(
    unreachable_pub,
    missing_docs,
    reason = "a test binary has no public items"
)]

mod allocation;
mod arbitrary_bytes;
mod document;
mod examples;
mod flipped_bits;
mod golden;
mod golden_bytes;
mod round_trip;
mod strategies;
