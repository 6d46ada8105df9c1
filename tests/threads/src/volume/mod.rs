//! How disk effects get from the core to the disks: the handing out as it is, below a core that has
//! its nodes append and nothing else.

mod driver;
#[path = "../../../../volume/src/volume/hand_out.rs"]
#[allow(dead_code, reason = "nobody reads here")]
mod hand_out;
pub mod scenarios;
