//! The judge: what must be true, whatever goes wrong (DESIGN §2).
//!
//! `history` — what the disk may hold: durability ledger, prefix rule, reads; `node_laws` — what
//! each message of a node must obey; `writer_laws` — the writer's watermarks.

pub mod history;
pub mod node_laws;
pub mod writer_laws;
