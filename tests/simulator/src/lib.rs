//! The simulator: writer, nodes, network, disks and clock of a whole volume in one thread, all
//! chance from one seed. What runs in it is the production core; what is here is everything
//! around it, and the judge.
//!
//! Reading order: [`random`], [`clock`], [`disk`], [`network`] — the world; [`cluster`] —
//! processes in it; [`oracle`] — what must be true; [`workload`], [`mix`] — who uses the volume;
//! [`faults`] — what goes wrong; [`run`] — one seed from start to end; [`report`] — many.

pub mod clock;
pub mod cluster;
pub mod coverage;
pub mod digest;
pub mod disk;
pub mod faults;
pub mod mix;
pub mod network;
pub mod oracle;
pub mod pattern;
pub mod random;
pub mod report;
pub mod run;
pub mod workload;
