//! The volume of Redoubt: a virtual disk that is a log, kept six times.
//!
//! Reading order: [`ids`], [`lsn`] (the glossary), [`geometry`], [`config`], [`limits`] — the
//! vocabulary; [`mod@format`] — every byte layout; [`message`] — what writer and nodes say to each
//! other; [`segment`] — a storage node; [`writer`] — the single writer; [`io`] — effects made
//! real; [`volume`] — the handle that callers use.

pub mod config;
pub mod embedded;
pub mod error;
pub mod event;
pub mod format;
pub mod geometry;
pub mod groups_of_range;
pub mod ids;
pub mod io;
pub mod kept;
pub mod limits;
pub mod lsn;
pub mod message;
pub mod page;
pub mod page_run;
pub mod placement;
pub mod planted;
pub mod quorum;
pub mod segment;
pub mod status;
pub mod time;
pub mod volume;
pub mod writer;
