//! A storage node: its log, its index, its segments.

pub mod effect;
