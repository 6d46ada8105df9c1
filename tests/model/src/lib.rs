//! A model check of the protocol alone: six segments, writers that take over from each other, and
//! every order in which messages, crashes and losses can come, searched without exception.
//!
//! The rules are those of `volume/src/writer` and `volume/src/segment`, restated over small sets.
//! `README.md` beside this crate says what is modelled, what is left out, and what was found.

pub mod action;
pub mod check;
pub mod config;
mod dead;
pub mod decide;
pub mod explain;
mod exposing;
mod gossip;
pub mod node;
pub mod options;
mod replacement;
pub mod search;
pub mod state;
pub mod steps;
pub mod writer;
