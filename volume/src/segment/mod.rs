//! A storage node: its log, its index, its segments.

mod append;
mod apply;
pub mod block_index;
mod catch_up;
mod checkpoint;
mod coalesce;
pub mod coverage;
pub mod effect;
mod examine;
pub mod extent_usage;
mod garbage;
mod garbage_reading;
mod garbage_worth;
mod gossip;
pub mod hot_log;
pub mod index_checkpoint;
pub mod leaf;
pub mod leaf_cache;
pub mod leaf_directory;
pub mod lsn_chain;
pub mod materialize;
mod metadata;
pub mod node;
mod plausible;
mod promise;
mod recent;
pub mod recovery;
mod release;
mod replay;
mod serve;
mod space;
mod tombstone;

#[cfg(test)]
mod index_tests;
