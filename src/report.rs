//! What `status` says of a volume, as plain data: the JSON of the command, of the control socket
//! and of the mount's `.redoubt/status` is this and nothing else.

use crate::control::fault::FaultReport;
use crate::rebuild_report::RebuildReport;
use crate::scrub_report::{DataErrorsReport, ScrubReport};
use redoubt_volume::status::{NodeState, NodeStatus, SuccessorStatus, VolumeState, VolumeStatus};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the JSON; rises when a field changes its meaning or goes away.
pub(crate) const SCHEMA: u32 = 1;

/// Health of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Health {
    /// Six of six.
    Healthy,
    /// Four or five of six.
    Degraded,
    /// Three of six.
    ReadOnly,
    /// Fewer than three.
    Unreadable,
    /// Not mounted.
    Offline,
}

impl Health {
    /// Its word, as in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Health::Healthy => VolumeState::Healthy.word(),
            Health::Degraded => VolumeState::Degraded.word(),
            Health::ReadOnly => VolumeState::ReadOnly.word(),
            Health::Unreadable => VolumeState::Unreadable.word(),
            Health::Offline => VolumeState::Offline.word(),
        }
    }
}

/// State of a node. Offline: `up` was found in its directory, `missing` was not, `failed` was there
/// and cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeHealth {
    /// Holds everything.
    Up,
    /// Holds everything and answers far more slowly than the others.
    Slow,
    /// Catching up.
    Lagging,
    /// Being filled.
    Rebuilding,
    /// Without space, takes no writes.
    Full,
    /// Fenced until it is made anew.
    Failed,
    /// Not there.
    Missing,
    /// Nothing is on it any more.
    Drained,
}

impl NodeHealth {
    /// Its word, as in JSON.
    pub(crate) fn word(self) -> &'static str {
        self.state().word()
    }

    /// The same, as the volume says it.
    pub(crate) fn state(self) -> NodeState {
        match self {
            NodeHealth::Up => NodeState::Up,
            NodeHealth::Slow => NodeState::Slow,
            NodeHealth::Lagging => NodeState::Lagging,
            NodeHealth::Rebuilding => NodeState::Rebuilding,
            NodeHealth::Full => NodeState::Full,
            NodeHealth::Failed => NodeState::Failed,
            NodeHealth::Missing => NodeState::Missing,
            NodeHealth::Drained => NodeState::Drained,
        }
    }
}

/// One node. What an unmounted volume cannot tell is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeReport {
    /// Its name, such as `b2`.
    pub id: String,
    /// Letter of its availability zone.
    pub az: char,
    /// Its directory.
    pub path: String,
    /// Its state.
    pub state: NodeHealth,
    /// What is wrong with it: one sentence.
    pub reason: Option<String>,
    /// What to do about it.
    pub action: Option<String>,
    /// Its highest SCL.
    pub scl: Option<u64>,
    /// Bytes of its log files.
    pub log: Option<u64>,
    /// Bytes of its log that are needed.
    pub live: Option<u64>,
    /// Pages that did not check since the volume was opened.
    pub checksum_errors: Option<u64>,
    /// Blocks of it that were found damaged or wrong since then.
    pub damaged_blocks: Option<u64>,
    /// Blocks of it that were written anew from another copy.
    pub repaired_blocks: Option<u64>,
    /// Reads of its disk that failed since the volume was opened.
    pub read_errors: Option<u64>,
    /// Writes and syncs of its disk that failed since then.
    pub write_errors: Option<u64>,
    /// Since when it is in its state, if the event history says: milliseconds since 1970, UTC.
    pub since_ms: Option<u64>,
    /// How far it is filled, while it is.
    pub rebuild: Option<RebuildReport>,
    /// The directory that is being filled to take its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<SuccessorReport>,
}

/// A directory that is being filled to take a node's place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SuccessorReport {
    /// The directory.
    pub path: String,
    /// Its state.
    pub state: NodeHealth,
    /// What is wrong with it: one sentence.
    pub reason: Option<String>,
    /// How far it is filled, while it is.
    pub rebuild: Option<RebuildReport>,
}

/// Segments that move to other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RelocationReport {
    /// Those that have moved.
    pub moved: u64,
    /// All of them.
    pub total: u64,
}

/// Bytes of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpaceReport {
    /// Written by users since the volume was opened.
    pub written: Option<u64>,
    /// Of the blocks that exist.
    pub live: Option<u64>,
    /// Of all nodes' log files.
    pub log: Option<u64>,
}

/// One volume. What an unmounted volume cannot tell is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct VolumeReport {
    /// Identity, 32 hexadecimal digits.
    pub id: String,
    /// Its directory.
    pub path: String,
    /// Bytes of the disk.
    pub size: u64,
    /// Health.
    pub state: Health,
    /// What the state means, when it is not healthy.
    pub status: Option<String>,
    /// What to do about it.
    pub action: Option<String>,
    /// Where it is mounted.
    pub mountpoint: Option<String>,
    /// Process that serves it.
    pub pid: Option<u32>,
    /// Number of the writer's epoch; offline, the highest that a node promised.
    pub epoch: u64,
    /// Random id of that writer, 16 hexadecimal digits.
    pub writer_id: String,
    /// Groups that were written.
    pub groups: Option<u64>,
    /// Volume complete LSN.
    pub vcl: Option<u64>,
    /// Volume durable LSN.
    pub vdl: Option<u64>,
    /// How long the recovery of this open took.
    pub recovery_ms: Option<u64>,
    /// The nodes.
    pub nodes: Vec<NodeReport>,
    /// Its space.
    pub space: SpaceReport,
    /// Since when it is in its state, if the event history says: milliseconds since 1970, UTC.
    pub since_ms: Option<u64>,
    /// What is made to happen to its nodes (`redoubt fault`): no failures of their own.
    #[serde(default)]
    pub faults: Vec<FaultReport>,
    /// Its scrubs.
    pub scrub: Option<ScrubReport>,
    /// How far segments have moved to other nodes, while they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relocation: Option<RelocationReport>,
    /// Blocks that no copy can be proved of.
    pub data_errors: Option<DataErrorsReport>,
}

/// A JSON answer that is about one volume.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct VolumeBody<'a> {
    /// The volume.
    pub volume: &'a VolumeReport,
}

impl VolumeReport {
    /// The report of a volume that this process serves.
    pub(crate) fn of_mounted(status: &VolumeStatus, mountpoint: Option<&Path>) -> VolumeReport {
        let (meaning, action) = status.explanation.clone().unzip();
        VolumeReport {
            id: status.id.to_string(),
            path: status.path.display().to_string(),
            size: status.disk_bytes,
            state: status.state.into(),
            status: meaning,
            action,
            mountpoint: mountpoint.map(|path| path.display().to_string()),
            pid: Some(std::process::id()),
            epoch: status.epoch.number,
            writer_id: format!("{:016x}", status.epoch.writer),
            groups: Some(status.groups),
            vcl: Some(status.vcl.0),
            vdl: Some(status.vdl.0),
            recovery_ms: u64::try_from(status.recovery.as_millis()).ok(),
            nodes: status.nodes.iter().map(NodeReport::from).collect(),
            space: SpaceReport {
                written: Some(status.written_bytes),
                live: Some(status.live_bytes),
                log: Some(status.log_bytes),
            },
            since_ms: None,
            faults: Vec::new(),
            scrub: Some(ScrubReport::from(&status.scrub)),
            relocation: status
                .relocation
                .map(|(moved, total)| RelocationReport { moved, total }),
            data_errors: Some(DataErrorsReport::from(&status.data_errors)),
        }
    }

    /// Adds what is made to happen. Where that is all that is wrong, nothing is to be done about it.
    pub(crate) fn tell_faults(&mut self, faults: Vec<FaultReport>) {
        let is_meant = |node: &NodeReport| faults.iter().any(|f| f.nodes.contains(&node.id));
        let mut not_up = self.nodes.iter().filter(|n| n.state != NodeHealth::Up);
        if !faults.is_empty() && self.action.is_some() && not_up.all(is_meant) {
            let ends = "none needed: what was asked for ends by itself, or with 'redoubt fault VOLUME clear --all'";
            self.action = Some(ends.to_owned());
        }
        self.faults = faults;
    }

    /// The volume's name for people: the last part of its path.
    pub(crate) fn name(&self) -> &str {
        let name = Path::new(&self.path).file_name();
        name.and_then(|name| name.to_str()).unwrap_or(&self.path)
    }

    /// Nodes that groups are placed on.
    pub(crate) fn nodes_in_use(&self) -> usize {
        let is_used = |node: &&NodeReport| node.state != NodeHealth::Drained;
        self.nodes.iter().filter(is_used).count()
    }

    /// Nodes that hold everything.
    pub(crate) fn nodes_up(&self) -> usize {
        let whole = |node: &&NodeReport| node.state.state().is_whole();
        self.nodes.iter().filter(whole).count()
    }
}

impl From<&NodeStatus> for NodeReport {
    fn from(status: &NodeStatus) -> NodeReport {
        NodeReport {
            id: status.name.clone(),
            az: status.zone,
            path: status.path.display().to_string(),
            state: status.state.into(),
            reason: status.reason.clone(),
            action: status.action.clone(),
            scl: Some(status.scl.0),
            log: Some(status.log_bytes),
            live: Some(status.live_bytes),
            checksum_errors: Some(status.checksum_errors),
            damaged_blocks: Some(status.repairs.damaged_blocks),
            repaired_blocks: Some(status.repairs.repaired_blocks),
            read_errors: Some(status.read_errors),
            write_errors: Some(status.write_errors),
            since_ms: None,
            rebuild: status.rebuild.map(RebuildReport::from),
            successor: status.successor.as_ref().map(SuccessorReport::from),
        }
    }
}

impl From<&SuccessorStatus> for SuccessorReport {
    fn from(status: &SuccessorStatus) -> SuccessorReport {
        SuccessorReport {
            path: status.path.display().to_string(),
            state: status.state.into(),
            reason: status.reason.clone(),
            rebuild: status.rebuild.map(RebuildReport::from),
        }
    }
}

impl From<VolumeState> for Health {
    fn from(state: VolumeState) -> Health {
        match state {
            VolumeState::Healthy => Health::Healthy,
            VolumeState::Degraded => Health::Degraded,
            VolumeState::ReadOnly => Health::ReadOnly,
            VolumeState::Unreadable => Health::Unreadable,
            VolumeState::Offline => Health::Offline,
        }
    }
}

impl From<NodeState> for NodeHealth {
    fn from(state: NodeState) -> NodeHealth {
        match state {
            NodeState::Up => NodeHealth::Up,
            NodeState::Slow => NodeHealth::Slow,
            NodeState::Lagging => NodeHealth::Lagging,
            NodeState::Rebuilding => NodeHealth::Rebuilding,
            NodeState::Full => NodeHealth::Full,
            NodeState::Failed => NodeHealth::Failed,
            NodeState::Missing => NodeHealth::Missing,
            NodeState::Drained => NodeHealth::Drained,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::control::fault::FaultForm;

    /// A mounted volume with one node missing.
    pub(crate) fn example() -> VolumeReport {
        let node = |index: usize| NodeReport {
            id: format!("{}{}", ["a", "b", "c"][index / 2], index % 2 + 1),
            az: ['a', 'b', 'c'][index / 2],
            path: format!("/v/demo/nodes/{index}"),
            state: NodeHealth::Up,
            reason: None,
            action: None,
            scl: Some(184_467),
            log: Some(1 << 20),
            live: Some(1 << 19),
            checksum_errors: Some(0),
            damaged_blocks: Some(0),
            repaired_blocks: Some(0),
            read_errors: Some(0),
            write_errors: Some(0),
            since_ms: None,
            rebuild: None,
            successor: None,
        };
        let mut nodes: Vec<_> = (0..6).map(node).collect();
        nodes[3].state = NodeHealth::Missing;
        nodes[3].reason = Some("its directory is gone".into());
        nodes[3].action = Some("bring it back".into());
        nodes[3].write_errors = Some(4);
        nodes[3].since_ms = Some(1_795_160_000_000);
        VolumeReport {
            id: "00112233445566778899aabbccddeeff".into(),
            path: "/v/demo".into(),
            size: 10 << 30,
            state: Health::Degraded,
            status: Some("node b2 is missing: its directory is gone.".into()),
            action: Some("none needed.".into()),
            mountpoint: Some("/mnt/demo".into()),
            pid: Some(7),
            epoch: 7,
            writer_id: "00000000000000ab".into(),
            groups: Some(3),
            vcl: Some(184_470),
            vdl: Some(184_467),
            recovery_ms: Some(12),
            nodes,
            space: SpaceReport {
                written: Some(5 << 20),
                live: Some(3 << 20),
                log: Some(6 << 20),
            },
            since_ms: Some(1_795_160_000_000),
            faults: Vec::new(),
            scrub: Some(ScrubReport::default()),
            relocation: None,
            data_errors: Some(DataErrorsReport::default()),
        }
    }

    #[test]
    fn nothing_is_to_be_done_about_what_was_asked_for() {
        let fault = |node: &str| FaultReport {
            id: 1,
            fault: FaultForm::NodeDown,
            nodes: vec![node.to_owned()],
            left_ms: 1000,
        };
        let action = |faults: Vec<FaultReport>| {
            let mut report = example();
            report.action = Some("bring it back".into());
            report.tell_faults(faults);
            report.action.unwrap()
        };
        assert_eq!(action(Vec::new()), "bring it back");
        assert_eq!(action(vec![fault("a1")]), "bring it back");
        assert!(action(vec![fault("a1"), fault("b2")]).contains("ends by itself"));
    }

    #[test]
    fn words_in_json_are_the_words_for_people() {
        use VolumeState::{Degraded, Healthy, Offline, ReadOnly, Unreadable};
        for health in [Healthy, Degraded, ReadOnly, Unreadable, Offline].map(Health::from) {
            assert_eq!(serde_json::to_value(health).unwrap(), health.word());
        }
        for state in NodeState::ALL {
            let health = NodeHealth::from(state);
            assert_eq!(serde_json::to_value(health).unwrap(), state.word());
            assert_eq!(health.word(), state.word());
        }
    }
}
