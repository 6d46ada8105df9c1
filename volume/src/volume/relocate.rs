//! Segments that move to other nodes: to those that were added, and away from one that is drained.

use super::driver::Driver;
use crate::config::{SEGMENTS_PER_ZONE, VolumeConfig};
use crate::error::VolumeError;
use crate::ids::{GroupId, NodeId};

impl Driver {
    /// Has groups leave a node, for good.
    pub(super) fn drain_node(&self, name: &str) -> Result<(), VolumeError> {
        let node = self.node_named(name)?;
        let config = self.config();
        check_drain(&config, node, name)?;
        self.check_steady("drain a node")?;
        self.ask(|writer, _, ticket| writer.drain(ticket, node))?;
        Ok(())
    }

    /// Has the groups that there were before nodes came spread over all of them.
    pub(super) fn rebalance(&self) -> Result<(), VolumeError> {
        let config = self.config();
        if !config.has_two_tables() || config.relocation.moves {
            let state = match config.relocation.moves {
                true => "are moving already; 'redoubt status' shows how far that is",
                false => "are spread over all nodes; add nodes first",
            };
            return Err(VolumeError::Invalid(format!(
                "there is nothing to rebalance: the volume's groups {state}"
            )));
        }
        self.check_steady("spread the groups")?;
        self.ask(|writer, _, ticket| writer.spread(ticket))?;
        Ok(())
    }

    /// Four of every six must hold what is to be changed, and no directory may be about to take a
    /// node's place.
    pub(super) fn check_steady(&self, what: &str) -> Result<(), VolumeError> {
        let can_change = self.with_core(|core, _| core.embedded.writer.can_change_nodes());
        let is_replaced = !self.book.read().successors.is_empty();
        match can_change && !is_replaced {
            true => Ok(()),
            false => Err(VolumeError::Invalid(format!(
                "fewer than four of six nodes are there, or one is being replaced; mount the volume, \
                 wait until it is healthy, and {what} then"
            ))),
        }
    }

    pub(super) fn is_drained(&self, node: NodeId) -> bool {
        self.with_core(|core, _| core.embedded.writer.config().is_drained(node))
    }

    /// Nothing is on a node any more: its directory is left alone from here on.
    pub(super) fn on_drained(&self, node: NodeId) {
        self.directories.remove(node);
        self.locks.lock().remove(&node);
        self.failed.lock().remove(&node);
        log::info!(
            "{} is drained, and can be deleted",
            self.path_of(node).display()
        );
    }
}

/// One relocation at a time: what is to be done now must not begin before another one has ended.
pub(super) fn check_one_table(config: &VolumeConfig, what: &str) -> Result<(), VolumeError> {
    let text = match (config.relocation.moves, config.has_two_tables()) {
        (true, _) => format!(
            "segments are moving between nodes, one relocation at a time; wait, with the volume \
             mounted, for the end of that, which 'redoubt status' shows, and {what} then"
        ),
        (false, true) => format!(
            "nodes were added, and the groups that there were are not spread over them yet; run \
             'redoubt node add VOLUME --rebalance', and {what} when that has ended, which takes a \
             mounted volume"
        ),
        (false, false) => return Ok(()),
    };
    Err(VolumeError::Invalid(text))
}

fn check_drain(config: &VolumeConfig, node: NodeId, name: &str) -> Result<(), VolumeError> {
    let invalid = |text: String| Err(VolumeError::Invalid(text));
    if config.is_drained(node) {
        return invalid(format!(
            "{name} is drained: nothing is on it; its directory can be deleted"
        ));
    }
    check_one_table(config, "drain a node")?;
    let zone = config.nodes[node.index()].zone;
    if config.current_in_zone(zone) <= SEGMENTS_PER_ZONE {
        return invalid(format!(
            "every group needs two nodes of each zone, and zone {} has two; add nodes first, or let a \
             new directory take the place of {name} with 'redoubt node replace'",
            char::from(b'a' + zone.0)
        ));
    }
    if !config.without(node, GroupId(1)).can_place() {
        return invalid(format!(
            "without {name} groups would be placed in too many ways; drain a node of the zone that has \
             the most first"
        ));
    }
    Ok(())
}
