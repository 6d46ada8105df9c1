//! The liveness phase: the faults are over. Every request must end, every node must come back, the
//! six must agree, and nothing of it may be lost by another crash.

use super::{Duty, MOST_BYTES, Run};
use crate::cluster::WriterProcess;
use crate::coverage::Mark;
use crate::disk::File;
use crate::network::WriterId;
use crate::workload::{Client, Stage};
use redoubt_volume::format::superblock::SLOT_BYTES;
use redoubt_volume::geometry::{BLOCK_BYTES, UNIT_BYTES};
use redoubt_volume::ids::{DiskBlock, GroupBlock, GroupId, NodeId};
use redoubt_volume::status::{OUTBID, VolumeState};
use redoubt_volume::time::Instant;
use redoubt_volume::writer::ReadBytes;
use std::time::Duration;

/// Simulated time in which everything must have ended.
const BOUND: Duration = Duration::from_secs(180);
/// Scrubs after which everything must be mended.
const MOST_SCRUBS: usize = 3;
/// Openings after which nobody can have been promised more any more.
const MOST_REOPENINGS: usize = 3;

/// Whether every copy of every group can answer reads as of now.
fn all_are_current(process: &WriterProcess) -> bool {
    let writer = &process.writer;
    let mut groups = writer.existing_groups().into_iter();
    groups.all(|group| {
        let members = writer.config().members(group);
        members.iter().all(|node| writer.is_current(*node, group))
    })
}

impl Run {
    pub(super) fn end(&mut self) {
        if self.has_failed() {
            return;
        }
        self.cluster.tell(|| "the faults are over".to_owned());
        self.faults.heal_all(&mut self.cluster);
        self.end_widening();
        self.end_superseded();
        for index in 0..self.clients.len() {
            self.cluster.resume_writer(self.clients[index].writer);
        }
        self.wait_for("the volume does not open", |run| {
            let is_opening = |client: &Client| client.stage == Stage::Opening;
            let head = &run.clients[run.head];
            head.stage == Stage::Working && !run.clients.iter().any(is_opening)
        });
        // What was parked is acknowledged only now: the second flush is for that.
        for _ in 0..2 {
            if !self.has_failed() {
                let head = self.head;
                self.clients[head].flush(&mut self.cluster);
            }
            self.wait_for("requests do not end", |run| {
                run.clients[run.head].waiting() == 0
            });
        }
        self.wait_until_healthy();
        self.end_other_writers();
        self.lose_leaf();
        self.rot_superblock();
        // A node that says meanwhile that its segment is not complete is filled first: a scrub leaves out
        // what is being filled.
        self.wait_until_healthy();
        self.scrub();
        self.wait_until_healthy();
        self.check_superblocks();
        self.check_copies();
        self.check_places();
        self.crash_once_more();
    }

    /// Nodes that were added are there from the next open on, and nothing else changes before that.
    fn end_widening(&mut self) {
        let widening = self.cluster.writers.iter();
        let widening = widening.filter(|process| process.is_widening);
        let widening: Vec<WriterId> = widening.map(|process| process.id).collect();
        widening
            .into_iter()
            .for_each(|writer| self.cluster.crash_writer(writer));
    }

    /// Six of six, each with the last record; and nothing is being mended by hand any more. Nodes that
    /// have promised more to a writer that is gone come back when the volume is opened again.
    fn wait_until_healthy(&mut self) {
        for _ in 0..=MOST_REOPENINGS {
            self.wait_for_health();
            if self.has_failed() || !self.is_outbid() {
                return;
            }
            self.cluster.coverage.reach(Mark::OpenedAgain);
            let head = self.clients[self.head].writer;
            self.cluster.crash_writer(head);
            self.wait_for("the volume does not open", |run| {
                run.clients[run.head].stage == Stage::Working
            });
        }
        self.fail("nodes have always promised more to another writer".to_owned());
    }

    fn is_outbid(&self) -> bool {
        let process = self.cluster.writer(self.clients[self.head].writer);
        process.is_some_and(|process| {
            let nodes = process.writer.figures().nodes;
            let mut reasons = nodes.iter().filter_map(|(_, reason)| reason.as_deref());
            reasons.any(|reason| reason == OUTBID)
        })
    }

    fn wait_for_health(&mut self) {
        self.wait_for("the nodes do not all come back", |run| {
            if run.is_outbid() {
                return true;
            }
            let process = run.cluster.writer(run.clients[run.head].writer);
            let is_healthy = |process: &WriterProcess| {
                let figures = process.writer.figures();
                figures.state == VolumeState::Healthy
                    && figures.replacements.is_empty()
                    && figures.relocation.is_none()
                    && !process.writer.has_left_something_behind()
            };
            !run.agenda.any(|duty| matches!(duty, Duty::Heal(..)))
                && process.is_some_and(|process| is_healthy(process) && all_are_current(process))
        });
    }

    /// One that was taken over and has not noticed would be asked, where it was started later.
    fn end_other_writers(&mut self) {
        let head = self.clients[self.head].writer;
        let others = self.clients.iter().map(|client| client.writer);
        for other in others.filter(|other| *other != head) {
            self.cluster.crash_writer(other);
        }
    }

    /// In some runs a segment has lost what a group begins with and does not know it: only
    /// comparing finds that. Nobody reads until the scrub has.
    fn lose_leaf(&mut self) {
        if self.has_failed() || !self.random.one_in(4) {
            return;
        }
        let groups = self.cluster.newest().writer.existing_groups();
        let Some(group) = self.random.pick(&groups).copied() else {
            return;
        };
        let members = self.cluster.newest().writer.config().members(group);
        let node = members[self.random.index(members.len())];
        self.excuse(node);
        self.cluster
            .tell(|| format!("{node:?} forgets the first leaf of {group:?}"));
        self.cluster.forget_leaf(node, group);
    }

    /// In some runs a slot of a superblock rots, or both do, under a node that runs: only a look at
    /// it finds that.
    fn rot_superblock(&mut self) {
        if self.has_failed() || !self.random.one_in(4) {
            return;
        }
        let node = NodeId(self.random.index(self.cluster.hosts.len()) as u16);
        self.excuse(node);
        let slots = match self.random.below(3) {
            0 => 0..2,
            slot => slot as usize - 1..slot as usize,
        };
        self.cluster
            .tell(|| format!("{node:?}: the superblock's slots {slots:?} rot"));
        if let Some(disk) = &mut self.cluster.hosts[node.index()].disk {
            slots.for_each(|slot| disk.corrupt(File::Superblock, slot * SLOT_BYTES, 8));
        }
    }

    /// What a node says is not what it should.
    fn excuse(&mut self, node: NodeId) {
        let life = self.cluster.hosts[node.index()].node.as_ref();
        let life = life.map(|node| node.superblock().incarnation);
        self.cluster.laws.excuse(node, life, false);
    }

    /// What rotted at rest is mended: of everything one proven copy was left, and nobody writes.
    /// A segment that is being filled meanwhile is left to the next scrub.
    fn scrub(&mut self) {
        let mut last = None;
        for _ in 0..MOST_SCRUBS {
            if self.has_failed() {
                return;
            }
            let scrubbed = self.cluster.scrub();
            self.cluster.tell(|| format!("scrub: {scrubbed:?}"));
            if let Ok(report) = &scrubbed
                && report.unresolved == 0
                && report.changing == 0
            {
                return;
            }
            last = Some(scrubbed);
            self.wait_until_healthy();
        }
        self.fail(format!("scrubs did not mend everything: {last:?}"));
    }

    /// After a scrub an open may count on either slot of every superblock.
    fn check_superblocks(&mut self) {
        // A directory that is to take a node's place is no member, and no scrub sees to it.
        let process = self.cluster.writer(self.clients[self.head].writer);
        let seats = process.map_or(0, |process| process.seats);
        let hosts = self.cluster.hosts.iter().take(seats).enumerate();
        let is_drained = |node: usize| self.cluster.is_drained(NodeId(node as u16));
        let bad = hosts.filter_map(|(node, host)| {
            let slots = host.disk.as_ref()?.good_superblocks();
            (slots < 2 && !is_drained(node)).then_some(node)
        });
        let bad: Vec<usize> = bad.collect();
        if !bad.is_empty() && !self.has_failed() {
            self.fail(format!("a scrub left damaged superblocks on nodes {bad:?}"));
        }
    }

    /// Lets things happen until something is so.
    fn wait_for(&mut self, what: &str, done: impl Fn(&Run) -> bool) {
        let deadline = self.now().plus(BOUND);
        while !self.has_failed() && !done(self) {
            if self.now() > deadline {
                return self.fail(format!("{what} within {BOUND:?}: {}", self.tell_state()));
            }
            self.next_in_peace();
        }
    }

    /// The next thing, without new faults and without new work.
    fn next_in_peace(&mut self) {
        match self.agenda.next_at() {
            Some(at) if at <= self.cluster.next_at() => {
                if let Some(duty) = self.agenda.next_event() {
                    self.cluster.advance_to(at);
                    if !matches!(duty, Duty::Work | Duty::Strike) {
                        self.fulfil(duty);
                    }
                }
            }
            _ => self.cluster.step(),
        }
        self.look();
        if self.current().is_none() && !self.opening {
            self.opening = true;
            self.after(Duration::from_millis(100), Duty::Open);
        }
        self.replace_what_is_gone();
    }

    /// Where a directory is gone somebody puts an empty disk, once it is safe.
    fn replace_what_is_gone(&mut self) {
        for index in 0..self.cluster.seats() {
            if self.cluster.hosts[index].disk.is_none() {
                self.cluster.rebuild(NodeId(index as u16));
            }
        }
    }

    fn tell_state(&self) -> String {
        let head = &self.clients[self.head];
        let process = self.cluster.writer(head.writer);
        let figures = process.map(|process| process.writer.figures());
        let running = self.cluster.hosts.iter().map(|host| host.node.is_some());
        format!(
            "stage {:?}, {} waiting, processes {:?}, {figures:?}",
            head.stage,
            head.waiting(),
            running.collect::<Vec<_>>()
        )
    }

    /// Every copy of every group holds what the disk holds, also where a disk was damaged at rest.
    fn check_copies(&mut self) {
        if self.has_failed() {
            return;
        }
        let head = &self.clients[self.head];
        let disk_bytes = head.disk_bytes as usize;
        let state = head.history.current().clone();
        let writer = head.writer;
        let Some(process) = self.cluster.writer(writer) else {
            return;
        };
        let config = process.writer.config().clone();
        let groups = process.writer.existing_groups();
        for start in (0..disk_bytes).step_by(UNIT_BYTES as usize) {
            let expected = state.excerpt(start..disk_bytes.min(start + UNIT_BYTES as usize));
            let first = DiskBlock((start / BLOCK_BYTES) as u64);
            let (group, block) = config.geometry.locate(first);
            if !groups.contains(&group) {
                if expected.copy().iter().any(|byte| *byte != 0) {
                    self.fail(format!("{group:?} has data and does not exist"));
                }
                continue;
            }
            for node in config.members(group) {
                match self.read_copy(node, group, block) {
                    Some(copy) if expected.is(&copy.as_ref()[..expected.length()]) => {}
                    Some(copy) => {
                        let mut pairs = copy.as_ref().iter().zip(expected.copy());
                        let differs = pairs.position(|(one, other)| *one != other);
                        let at = differs.map(|at| start + at);
                        self.fail(format!(
                            "the copy of {group:?} on {node:?} differs from {at:?} on"
                        ));
                    }
                    None => self.fail(format!("{node:?} does not read its copy of {group:?}")),
                }
            }
        }
    }

    /// No node has anything of a group that is on others.
    fn check_places(&mut self) {
        let Some(process) = self.cluster.writer(self.clients[self.head].writer) else {
            return;
        };
        let config = process.writer.config();
        let mut nodes = config.node_ids().filter(|node| !config.is_drained(*node));
        let stray = nodes.find_map(|node| {
            let there = self.cluster.hosts[node.index()].node.as_ref()?;
            let mut groups = there.groups().into_iter();
            let group = groups.find(|group| !config.holds(node, *group))?;
            Some(format!("{node:?} has something of {group:?}"))
        });
        if let Some(stray) = stray {
            self.fail(stray);
        }
    }

    /// A node's copy, as soon as the node can prove that it has everything.
    fn read_copy(&mut self, node: NodeId, group: GroupId, block: GroupBlock) -> Option<ReadBytes> {
        let deadline = self.now().plus(BOUND);
        loop {
            let copy = self.cluster.read_copy(node, group, block);
            if copy.is_some() || self.now() > deadline {
                return copy;
            }
            self.cluster.quiesce(1);
        }
    }

    /// Everything was flushed: a power cut takes nothing of it.
    fn crash_once_more(&mut self) {
        if self.has_failed() {
            return;
        }
        let before = self.clients[self.head].history.current().clone();
        self.cluster.crash();
        let started: Instant = self.now();
        self.wait_for("the volume does not open after the last power cut", |run| {
            run.current() == Some(run.head) && run.clients[run.head].stage == Stage::Working
        });
        if self.has_failed() || self.now() == started {
            return;
        }
        debug_assert_eq!(before.bytes(), MOST_BYTES);
        if self.clients[self.head].history.current() != &before {
            self.fail("the last power cut changed a disk that was flushed".to_owned());
        }
    }
}
