//! Faults on demand: what a user may have happen to the nodes of an open volume.

use super::Volume;
use super::corrupt::corrupt;
use super::driver::{Core, Driver};
use super::layout::random_u64;
use crate::error::{IoFailure, VolumeError};
use crate::ids::NodeId;
use crate::io::faults::{Fault, FaultKind, Random};
use crate::limits;
use std::time::{Duration, Instant};

/// How long the nodes that are to be down are waited for: each is looked at more often.
const SWITCH_OFF_PATIENCE: Duration = Duration::from_secs(2);

/// Whom a fault meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultTarget {
    /// Nodes by name.
    Nodes(Vec<String>),
    /// All nodes of the zone with this letter.
    Zone(char),
}

/// A fault that is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultStatus {
    /// Names it.
    pub id: u64,
    /// What happens.
    pub kind: FaultKind,
    /// To these nodes.
    pub nodes: Vec<String>,
    /// It ends by itself after so much more time.
    pub left: Duration,
}

/// Why a fault was not begun or ended.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// No such node.
    #[error("there is no node '{name}' in this volume; its nodes are {known}")]
    NoSuchNode {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A number that cannot be.
    #[error("{0}")]
    Invalid(&'static str),
    /// As many are active as may be.
    #[error(
        "{} faults are active, and no more can be; end one with 'redoubt fault VOLUME clear'",
        limits::FAULTS
    )]
    TooMany,
    /// No such fault.
    #[error("no fault {0} is active; 'redoubt fault VOLUME list' names those that are")]
    NoSuchFault(u64),
    /// Blocks are corrupted only where all six copies are there.
    #[error(
        "nothing was corrupted: node {node} is {state}, and a block is damaged only while its other \
         copies are all good; wait until the volume is healthy"
    )]
    NotAllUp {
        /// A node that is not up.
        node: String,
        /// What it is.
        state: &'static str,
    },
    /// The volume or the operating system refused.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl Volume {
    /// Has something happen to nodes until `interval` is over. Nodes that are to be down are down
    /// when this returns.
    ///
    /// # Errors
    /// [`FaultError`] says what cannot be.
    pub fn begin_fault(
        &self,
        kind: FaultKind,
        target: &FaultTarget,
        interval: Duration,
    ) -> Result<FaultStatus, FaultError> {
        check(kind, interval)?;
        let driver = &self.driver;
        if driver.is_closed() {
            return Err(VolumeError::from(IoFailure::Closed).into());
        }
        let nodes = driver.find_nodes(target)?;
        let begun = driver.faults.begin(kind, nodes, interval);
        let begun = begun.map_err(|error| VolumeError::io("cannot start a thread", error))?;
        let fault = begun.ok_or(FaultError::TooMany)?;
        let status = driver.fault_status(&fault);
        log::warn!(
            "fault {} is asked for: {kind:?} of {} for {interval:?}",
            status.id,
            status.nodes.join(", ")
        );
        if kind == FaultKind::NodeDown {
            driver.await_down(&fault.nodes);
        }
        Ok(status)
    }

    /// The faults that are active.
    pub fn faults(&self) -> Vec<FaultStatus> {
        let faults = self.driver.faults.list();
        let status = |fault: &Fault| self.driver.fault_status(fault);
        faults.iter().map(status).collect()
    }

    /// Ends a fault, or all of them, and returns what was ended.
    ///
    /// # Errors
    /// [`FaultError::NoSuchFault`].
    pub fn end_faults(&self, id: Option<u64>) -> Result<Vec<FaultStatus>, FaultError> {
        let is_meant = |fault: &Fault| id.is_none_or(|id| fault.id == id);
        let ended = self.driver.faults.end(is_meant);
        if let (Some(id), true) = (id, ended.is_empty()) {
            return Err(FaultError::NoSuchFault(id));
        }
        self.driver.log_ended(&ended);
        let status = |fault: &Fault| self.driver.fault_status(fault);
        Ok(ended.iter().map(status).collect())
    }

    /// Damages blocks of a node in its files, drawn from all that it has, and says how many; none
    /// of which another copy is not good. Blocks the caller.
    ///
    /// # Errors
    /// [`FaultError::NotAllUp`], or what else cannot be.
    pub fn corrupt(&self, node: &str, blocks: u32) -> Result<u32, FaultError> {
        if blocks == 0 || blocks > limits::CORRUPTED_BLOCKS {
            return Err(FaultError::Invalid(
                "between 1 and 100000 blocks can be corrupted at a time; choose such a number",
            ));
        }
        let target = FaultTarget::Nodes(vec![node.to_owned()]);
        let mut random = Random(random_u64()?);
        let mut damaged = 0;
        for id in self.driver.find_nodes(&target)? {
            damaged += corrupt(&self.driver, id, blocks, &mut random)?;
        }
        log::warn!("{damaged} blocks of node {node} were corrupted, as asked for");
        Ok(damaged)
    }
}

fn check(kind: FaultKind, interval: Duration) -> Result<(), FaultError> {
    if interval.is_zero() || interval > limits::LONGEST_FAULT {
        return Err(FaultError::Invalid(
            "a fault ends by itself after at most a day; choose a time such as --for 60s",
        ));
    }
    match kind {
        FaultKind::DiskFailure { percent } if percent == 0 || percent > 100 => {
            Err(FaultError::Invalid(
                "a share is between 1 and 100 percent; choose one such as --percent 10",
            ))
        }
        FaultKind::Congestion { least, most }
            if least > most || most.is_zero() || most > limits::LONGEST_CONGESTION =>
        {
            Err(FaultError::Invalid(
                "congestion lies between two times in milliseconds, the smaller one first, 60000 at \
                 most; write --between 20 50",
            ))
        }
        _ => Ok(()),
    }
}

impl Driver {
    fn find_nodes(&self, target: &FaultTarget) -> Result<Vec<NodeId>, FaultError> {
        let config = self.config();
        let all: Vec<(NodeId, String)> = config
            .node_ids()
            .map(|node| (node, config.node_name(node)))
            .collect();
        let unknown = |name: String| {
            let names: Vec<&str> = all.iter().map(|(_, name)| name.as_str()).collect();
            let known = names.join(", ");
            FaultError::NoSuchNode { name, known }
        };
        let mut found = Vec::new();
        match target {
            FaultTarget::Nodes(names) => {
                for name in names {
                    let node = all.iter().find(|(_, known)| known == name);
                    found.push(node.ok_or_else(|| unknown(name.clone()))?.0);
                }
            }
            FaultTarget::Zone(zone) => {
                let in_zone = all.iter().filter(|(_, name)| name.starts_with(*zone));
                found.extend(in_zone.map(|(node, _)| *node));
            }
        }
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            return Err(unknown(String::new()));
        }
        Ok(found)
    }

    pub(super) fn name_of(&self, node: NodeId) -> String {
        self.with_core(|core, _| core.embedded.writer.config().node_name(node))
    }

    fn fault_status(&self, fault: &Fault) -> FaultStatus {
        FaultStatus {
            id: fault.id,
            kind: fault.kind,
            nodes: fault.nodes.iter().map(|node| self.name_of(*node)).collect(),
            left: fault.until.saturating_duration_since(Instant::now()),
        }
    }

    /// Waits until those who look after the nodes' directories have let go of them, and the core
    /// has been told, so that status shows it.
    fn await_down(&self, nodes: &[NodeId]) {
        let deadline = Instant::now() + SWITCH_OFF_PATIENCE;
        let is_up = |core: &Core, node: &NodeId| core.embedded.nodes[node.index()].is_some();
        let is_any_up = || self.with_core(|core, _| nodes.iter().any(|node| is_up(core, node)));
        while is_any_up() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn end_due_faults(&self) {
        self.log_ended(&self.faults.expire(Instant::now()));
    }

    fn log_ended(&self, ended: &[Fault]) {
        for fault in ended {
            log::warn!("fault {} has ended", fault.id);
        }
    }

    /// Why a node must be out of service, if a fault says so.
    pub(super) fn switched_off(&self, node: NodeId) -> Option<String> {
        let fault = self.faults.down(node)?;
        Some(format!("it is down as fault {fault} asks"))
    }
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
