//! The judge: what must be true, whatever goes wrong (DESIGN §2).
//!
//! `history` — what the disk may hold: durability ledger, prefix rule, reads; `state` — the bytes
//! of a disk at a moment; `node_laws` — what each message of a node must obey; `segment_laws` —
//! what segments have said, and what is built on that; `disk_laws` — what must be on a node's disk
//! when it says so; `writer_laws` — the writer's watermarks; `health_laws` — how it judges its nodes.

pub mod disk_laws;
pub mod health_laws;
pub mod history;
pub mod node_laws;
pub mod segment_laws;
pub mod state;
pub mod writer_laws;
