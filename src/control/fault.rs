//! Faults on demand, as they are asked for and told over the control socket.
//!
//! ```text
//! -> {"command":"fault","action":"begin","fault":{"kind":"node-down"},"nodes":["c1"],"for_ms":60000}
//! <- {"schema":1,"command":"fault","faults":[{"id":1,"kind":"node-down","nodes":["c1"],"left_ms":60000}],"corrupted":0}
//! -> {"command":"fault","action":"corrupt","node":"b1","blocks":200}
//! -> {"command":"fault","action":"list"}
//! -> {"command":"fault","action":"clear","id":1}      or "id":null for all of them
//! ```

use redoubt_volume::volume::{FaultKind, FaultStatus};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub(crate) enum FaultRequest {
    /// Have something happen to nodes for a while.
    Begin {
        /// What.
        fault: FaultForm,
        /// To these nodes, by name.
        #[serde(default)]
        nodes: Vec<String>,
        /// To all nodes of this zone instead.
        az: Option<char>,
        /// Milliseconds until it ends by itself.
        for_ms: u64,
    },
    /// Damage blocks of a node where they lie.
    Corrupt {
        /// The node.
        node: String,
        /// How many.
        blocks: u32,
    },
    /// Say what is active.
    List,
    /// End a fault.
    Clear {
        /// Which; all of them if it is null.
        id: Option<u64>,
    },
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum FaultForm {
    /// As if its host were off.
    NodeDown,
    /// A share of its reads and writes fails.
    DiskFailure {
        /// Of a hundred.
        percent: u8,
    },
    /// Its disk takes longer.
    Congestion {
        /// At least so many milliseconds.
        least_ms: u64,
        /// At most so many.
        most_ms: u64,
    },
    /// Its disk has no space.
    DiskFull,
}

/// A fault that is active, or was ended just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FaultReport {
    /// Names it.
    pub id: u64,
    /// What happens.
    #[serde(flatten)]
    pub fault: FaultForm,
    /// To these nodes.
    pub nodes: Vec<String>,
    /// Milliseconds until it ends by itself.
    pub left_ms: u64,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FaultReply {
    /// The fault that was begun, those that are active, or those that were ended.
    pub faults: Vec<FaultReport>,
    /// Blocks that were corrupted.
    pub corrupted: u32,
}

impl From<FaultForm> for FaultKind {
    fn from(form: FaultForm) -> FaultKind {
        match form {
            FaultForm::NodeDown => FaultKind::NodeDown,
            FaultForm::DiskFailure { percent } => FaultKind::DiskFailure { percent },
            FaultForm::Congestion { least_ms, most_ms } => FaultKind::Congestion {
                least: Duration::from_millis(least_ms),
                most: Duration::from_millis(most_ms),
            },
            FaultForm::DiskFull => FaultKind::DiskFull,
        }
    }
}

impl From<FaultKind> for FaultForm {
    fn from(kind: FaultKind) -> FaultForm {
        match kind {
            FaultKind::NodeDown => FaultForm::NodeDown,
            FaultKind::DiskFailure { percent } => FaultForm::DiskFailure { percent },
            FaultKind::Congestion { least, most } => FaultForm::Congestion {
                least_ms: millis(least),
                most_ms: millis(most),
            },
            FaultKind::DiskFull => FaultForm::DiskFull,
        }
    }
}

impl From<FaultStatus> for FaultReport {
    fn from(status: FaultStatus) -> FaultReport {
        FaultReport {
            id: status.id,
            fault: status.kind.into(),
            nodes: status.nodes,
            left_ms: millis(status.left),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for FaultReport {
    /// `3 (node-down c1, c2; ends in 42 s)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.nodes.join(", ");
        let seconds = self.left_ms.div_ceil(1000);
        write!(
            f,
            "{} ({} {nodes}; ends in {seconds} s)",
            self.id, self.fault
        )
    }
}

impl fmt::Display for FaultForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultForm::NodeDown => f.write_str("node-down"),
            FaultForm::DiskFailure { percent } => write!(f, "disk-failure of {percent} %"),
            FaultForm::Congestion { least_ms, most_ms } => {
                write!(f, "congestion of {least_ms} to {most_ms} ms")
            }
            FaultForm::DiskFull => f.write_str("disk-full"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Request;

    #[test]
    fn requests_have_the_documented_form() {
        for line in [
            r#"{"command":"fault","action":"begin","fault":{"kind":"node-down"},"nodes":["c1"],"az":null,"for_ms":60000}"#,
            r#"{"command":"fault","action":"begin","fault":{"kind":"congestion","least_ms":2,"most_ms":5},"nodes":[],"az":"c","for_ms":1}"#,
            r#"{"command":"fault","action":"corrupt","node":"b1","blocks":200}"#,
            r#"{"command":"fault","action":"list"}"#,
            r#"{"command":"fault","action":"clear","id":null}"#,
        ] {
            let request: Request = serde_json::from_str(line).unwrap();
            assert!(matches!(request, Request::Fault(_)));
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
        }
        let short = r#"{"command":"fault","action":"begin","fault":{"kind":"disk-full"},"nodes":["c1"],"for_ms":1}"#;
        assert!(serde_json::from_str::<Request>(short).is_ok());
        for line in [
            r#"{"command":"fault"}"#,
            r#"{"command":"fault","action":"begin","fault":{"kind":"fire"},"for_ms":1}"#,
            r#"{"command":"fault","action":"begin","fault":{"kind":"disk-failure","percent":256},"for_ms":1}"#,
        ] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_fault_is_told_in_one_line() {
        let report = |fault| FaultReport {
            id: 3,
            fault,
            nodes: vec!["c1".into(), "c2".into()],
            left_ms: 41_001,
        };
        let down = report(FaultForm::NodeDown);
        assert_eq!(down.to_string(), "3 (node-down c1, c2; ends in 42 s)");
        let json = r#"{"id":3,"kind":"node-down","nodes":["c1","c2"],"left_ms":41001}"#;
        assert_eq!(serde_json::to_string(&down).unwrap(), json);
        assert_eq!(serde_json::from_str::<FaultReport>(json).unwrap(), down);
        let (least_ms, most_ms) = (200, 300);
        let slow = report(FaultForm::Congestion { least_ms, most_ms }).to_string();
        assert_eq!(slow, "3 (congestion of 200 to 300 ms c1, c2; ends in 42 s)");
    }
}
