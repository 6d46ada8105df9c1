//! Messages and disk effects on their way.

use super::overtaking::may_fold;
use super::{Cluster, Event};
use crate::coverage::Mark;
use crate::disk::DiskToken;
use crate::network::{Way, WriterId};
use crate::oracle::disk_laws;
use redoubt_volume::ids::{GroupId, NodeId};
use redoubt_volume::message::{Reply, Request};
use redoubt_volume::segment::effect::{DiskCompletion, DiskError, NodeEffect};
use redoubt_volume::time::Instant;
use redoubt_volume::writer::WriterEffect;
use std::time::Duration;

impl Cluster {
    /// Gives an event to the process that it is for, unless that is gone.
    pub(super) fn deliver(&mut self, event: Event) {
        match event {
            Event::Request(writer, connection, node, request) => {
                if self.network.connection(writer, node) == Some(connection) {
                    self.deliver_request(node, request);
                }
            }
            Event::Reply(node, connection, writer, reply) => {
                if self.network.connection(writer, node) == Some(connection) {
                    self.deliver_reply(node, writer, reply);
                }
            }
            Event::Disk(node, life, token) => self.disk_is_done(node, life, token),
            Event::Peer(from, to, message) => self.deliver_to_peer(from, to, message),
            Event::Idle(node, life) => self.let_work(node, life),
            Event::Link(writer, node, connection) => self.tell_link(writer, node, connection),
            Event::Tick
            | Event::Watch
            | Event::Checkpoint(_)
            | Event::Die(..)
            | Event::ResumeNode(_)
            | Event::ResumeWriter(_) => {}
        }
    }

    /// A request reaches a node's process, whoever sent it and whenever.
    pub fn deliver_request(&mut self, id: NodeId, request: Request) {
        let now = self.now();
        let host = &mut self.hosts[id.index()];
        let Some(node) = &mut host.node else {
            return;
        };
        let superblock = node.superblock();
        if request.epoch() == superblock.promised {
            self.laws.on_asked(id, superblock.incarnation, &request);
        }
        if let Request::PutLeaves { leaves, .. } = &request {
            let copied = leaves.blocks.iter().filter(|block| block.content.is_some());
            self.counts.copied_blocks += copied.count() as u64;
        }
        self.coverage
            .on_request(&request, superblock.promised, superblock.list.epoch);
        self.digest
            .add(u64::from(id.0) << 8 | kind_of_request(&request));
        if self.is_traced && !matches!(request, Request::Announce { .. }) {
            let text = brief(&request);
            self.tell(|| format!("  {id:?} gets {text}"));
        }
        if let Some(node) = &mut self.hosts[id.index()].node {
            node.on_request(now, request);
        }
        self.pump_node(id);
    }

    fn deliver_reply(&mut self, id: NodeId, to: WriterId, reply: Reply) {
        let now = self.now();
        self.digest
            .add(u64::from(id.0) << 8 | kind_of_reply(&reply));
        if let Some(process) = self.writer_mut(to) {
            process.writer.on_reply(now, id, reply);
            self.pump_writer(to);
        }
    }

    fn disk_is_done(&mut self, id: NodeId, life: u64, token: DiskToken) {
        let now = self.now();
        let host = &mut self.hosts[id.index()];
        if host.life != life {
            return;
        }
        let Some(disk) = &mut host.disk else { return };
        if disk.damage.stuck {
            return host.held.push(token);
        }
        let Some(completion) = disk.complete(token, &mut self.random) else {
            return;
        };
        let has_failed = is_failed_write(&completion);
        host.has_failed_write |= has_failed;
        if host.appending == Some(token) {
            host.appending = None;
            self.append_next(id, has_failed);
        } else if has_failed {
            host.appends.clear();
        }
        let host = &mut self.hosts[id.index()];
        let found_no_space = is_refused_for_space(&completion);
        self.coverage.on_completion(&completion);
        self.digest
            .add(u64::from(id.0) << 8 | kind_of_completion(&completion));
        if let Some(node) = &mut host.node {
            let was_fenced = node.is_fenced();
            node.on_disk(now, completion);
            if found_no_space && node.is_fenced() && !was_fenced {
                let reason = format!("{id:?} gives itself up for want of space");
                self.laws.violation.get_or_insert(reason);
            }
        }
        self.pump_node(id);
    }

    /// A node has time for what nobody waits for.
    fn let_work(&mut self, id: NodeId, life: u64) {
        let now = self.now();
        let host = &mut self.hosts[id.index()];
        if let Some(node) = host.node.as_mut().filter(|_| host.life == life) {
            node.on_idle(now);
            self.coverage.reach(Mark::Idle);
            self.pump_node(id);
        }
    }

    /// What a stuck disk has held back completes now.
    pub fn unstick(&mut self, id: NodeId) {
        let host = &mut self.hosts[id.index()];
        if let Some(disk) = &mut host.disk {
            disk.damage.stuck = false;
        }
        for token in std::mem::take(&mut host.held) {
            let delay = Duration::from_micros(self.random.between(10, 200));
            self.clock.after(delay, Event::Disk(id, host.life, token));
        }
    }

    /// Carries out what a node wants done.
    pub(super) fn pump_node(&mut self, id: NodeId) {
        loop {
            let host = &mut self.hosts[id.index()];
            let Some(node) = &mut host.node else { return };
            let Some(effect) = node.poll() else { return };
            if let Some(fuse) = &mut host.fuse {
                *fuse = fuse.saturating_sub(1);
                if *fuse == 0 {
                    self.counts.died_at_effect += 1;
                    return self.crash_node(id);
                }
            }
            match effect {
                NodeEffect::Send(reply) => self.send_reply(id, reply),
                NodeEffect::Tell { to, message } => self.send_to_peer(id, to, message),
                NodeEffect::Idle => {
                    let busy = Duration::from_micros(self.random.between(5, 3_000));
                    self.clock
                        .after(busy, Event::Idle(id, self.hosts[id.index()].life));
                }
                effect => self.submit(id, effect),
            }
        }
    }

    /// The next append begins when the one before it is synced; behind one that failed none is
    /// carried out.
    fn append_next(&mut self, id: NodeId, has_failed: bool) {
        let host = &mut self.hosts[id.index()];
        if has_failed {
            return host.appends.clear();
        }
        if let Some(append) = host.appends.pop_front() {
            self.submit(id, append);
        }
    }

    fn submit(&mut self, id: NodeId, effect: NodeEffect) {
        let is_append = matches!(effect, NodeEffect::Append { .. });
        let host = &mut self.hosts[id.index()];
        if is_append && host.appending.is_some() {
            self.coverage.reach(Mark::AppendsQueued);
            return host.appends.push_back(effect);
        }
        self.coverage.on_effect(&effect);
        if let NodeEffect::Append { parts, .. } = &effect {
            self.laws.on_append(id, parts[0].bytes());
        }
        self.judge_superblock_write(id, &effect);
        let micros = self.micros_of(id, &effect);
        let host = &mut self.hosts[id.index()];
        let Some(disk) = &mut host.disk else { return };
        let slowness = u64::from(disk.damage.slowness.max(1));
        let delay = Duration::from_micros(micros * slowness);
        if let Some(token) = disk.submit(effect) {
            if is_append {
                host.appending = Some(token);
            }
            self.clock.after(delay, Event::Disk(id, host.life, token));
        }
    }

    /// How long a disk takes. What a slow read finds may be outdated: all the node's other work
    /// goes on meanwhile.
    fn micros_of(&mut self, id: NodeId, effect: &NodeEffect) -> u64 {
        if !matches!(
            effect,
            NodeEffect::Read { .. } | NodeEffect::Materialize { .. }
        ) {
            return self.random.between(40, 160);
        }
        let host = &mut self.hosts[id.index()];
        if host.dies_behind_fold && may_fold(effect) {
            host.dies_behind_fold = false;
            return self.hold_fold(id);
        }
        if !self.random.happens(self.slow_reads) {
            return self.random.between(20, 90);
        }
        self.counts.slow_reads += 1;
        self.random.between(90, 20_000)
    }

    fn judge_superblock_write(&mut self, id: NodeId, effect: &NodeEffect) {
        let host = &self.hosts[id.index()];
        if let NodeEffect::WriteSuperblock { slot, .. } = effect
            && let (Some(node), Some(disk)) = (&host.node, &host.disk)
        {
            let life = node.superblock().incarnation;
            let judged = disk_laws::check_slot(disk, *slot);
            self.laws.on_disk(id, life, judged);
        }
    }

    fn judge_reply(&mut self, id: NodeId, reply: &Reply) {
        let host = &self.hosts[id.index()];
        let (Some(node), Some(disk)) = (&host.node, &host.disk) else {
            return;
        };
        let life = node.superblock().incarnation;
        self.laws.on_reply(id, node.superblock(), reply);
        self.laws.on_accounts(id, life, node.overdrawn_bytes());
        let judged = disk_laws::check_reply(disk, reply);
        self.laws.on_disk(id, life, judged);
        if host.has_failed_write && disk_laws::promises(reply) {
            let judged = Err("goes on after a write that failed".to_owned());
            self.laws.on_disk(id, life, judged);
        }
    }

    /// An answer goes to every writer that is connected: a node knows only "the writer".
    fn send_reply(&mut self, id: NodeId, reply: Reply) {
        self.coverage.on_reply(&reply);
        if self.is_traced
            && let Some(text) = brief_reply(&reply)
        {
            self.tell(|| format!("  {id:?} says {text}"));
        }
        self.judge_reply(id, &reply);
        if self.configures_only == Some(id) && matches!(reply, Reply::Configured { .. }) {
            return self.stop_half_configured(id);
        }
        let now = self.now();
        let mut copies = Vec::new();
        for writer in self.writers.iter().map(|process| process.id) {
            let Some(connection) = self.network.connection(writer, id) else {
                continue;
            };
            let arrivals =
                self.network
                    .arrivals(&mut self.random, now, connection, id, Way::ToWriter);
            let copy = |at: Instant| (at, connection, writer);
            copies.extend(arrivals.into_iter().flatten().map(copy));
        }
        let Some((at, connection, writer)) = copies.pop() else {
            return;
        };
        for (at, connection, writer) in copies {
            let event = Event::Reply(id, connection, writer, reply.clone());
            self.clock.at(at, event);
        }
        self.clock
            .at(at, Event::Reply(id, connection, writer, reply));
    }

    fn stop_half_configured(&mut self, id: NodeId) {
        self.configures_only = None;
        let writers = self.writers.iter().map(|process| process.id);
        let writers: Vec<WriterId> = writers.collect();
        writers.into_iter().for_each(|id| self.crash_writer(id));
        self.crash_node(id);
        self.hosts[id.index()].held_down = true;
    }

    /// Carries out what a writer wants done.
    pub(super) fn pump_writer(&mut self, id: WriterId) {
        loop {
            let Some(process) = self.writer_mut(id) else {
                return;
            };
            let Some(effect) = process.writer.poll() else {
                return;
            };
            if let Some(fuse) = &mut process.fuse {
                *fuse = fuse.saturating_sub(1);
                if *fuse == 0 {
                    self.counts.died_at_effect += 1;
                    return self.crash_writer(id);
                }
            }
            match effect {
                WriterEffect::Send { to, request } => self.send_request(id, to, request),
                WriterEffect::Complete { ticket, result } => {
                    let heard = ticket.0 << 1 | u64::from(result.is_ok());
                    process.answers.push((ticket, result));
                    self.digest.add(heard);
                }
                WriterEffect::Opened(result) => {
                    process.opened = Some(result.clone());
                    process.sent.begin_after(process.writer.last_lsn());
                    self.coverage
                        .reach_if(result.is_err(), Mark::RecoveryRefused);
                    self.tell(|| format!("{id:?} opened: {result:?}"));
                }
                WriterEffect::Seated(node) => self.on_seated(id, node),
                WriterEffect::Drained(node) => self.on_drained(node),
            }
        }
    }

    fn send_request(&mut self, from: WriterId, to: NodeId, request: Request) {
        let now = self.now();
        self.laws.on_request(to, &request);
        self.record(to, &request);
        let is_configuration = matches!(request, Request::Configure { .. });
        if is_configuration && self.configures_only.is_some_and(|only| only != to) {
            return;
        }
        self.note_sent(from, &request);
        self.judge_read(from, to, &request);
        self.judge_release(from, to, &request);
        // What is sent over a connection that has ended arrives nowhere.
        let told = self
            .writer(from)
            .and_then(|process| process.told_up.get(&to));
        let Some(connection) = told
            .copied()
            .filter(|told| self.network.connection(from, to) == Some(*told))
        else {
            return;
        };
        let arrivals = self
            .network
            .arrivals(&mut self.random, now, connection, to, Way::ToNode);
        for at in arrivals.into_iter().flatten() {
            let event = Event::Request(from, connection, to, request.clone());
            self.clock.at(at, event);
        }
        if matches!(request, Request::Repair { .. }) && self.network.may_duplicate() {
            self.mend_twice(from, connection, to, request);
        }
    }

    fn note_sent(&mut self, from: WriterId, request: &Request) {
        if let Request::Append { frame } = request
            && let Some(process) = self.writer_mut(from)
        {
            process.sent.note(&frame.records);
        }
    }

    /// Nobody is told to let go what a crash may find it to hold.
    fn judge_release(&mut self, from: WriterId, to: NodeId, request: &Request) {
        let (Some(process), Request::Release { groups, .. }) = (self.writer(from), request) else {
            return;
        };
        let may_hold = |group: &&GroupId| {
            let places = process.writer.places_of(**group);
            places.iter().any(|members| members.contains(&to))
        };
        if let Some(group) = groups.iter().find(may_hold) {
            let reason = format!("{to:?} is told to let {group:?} go, and may have to hold it");
            self.laws.violation.get_or_insert(reason);
        }
    }

    fn judge_read(&mut self, from: WriterId, to: NodeId, request: &Request) {
        let now = self.now();
        let Some(process) = self.writer_mut(from) else {
            return;
        };
        let (writer, reads) = (&process.writer, &mut process.reads);
        let judged = reads
            .as_mut()
            .map(|reads| reads.look(now, writer, to, request));
        if let Some(Err(reason)) = judged {
            self.laws.violation.get_or_insert(reason);
        }
    }

    /// Keeps some requests, to be sent again when their epoch is over.
    fn record(&mut self, to: NodeId, request: &Request) {
        const KEPT: usize = 24;
        const ONE_IN: u64 = 37;
        let sent = self.network.counts.sent;
        if sent.is_multiple_of(ONE_IN) {
            let place = (sent / ONE_IN) as usize % KEPT;
            self.recorded.truncate(KEPT);
            match self.recorded.get_mut(place) {
                Some(slot) => *slot = (to, request.clone()),
                None => self.recorded.push((to, request.clone())),
            }
        }
    }

    /// The transport tells a writer of a node. A new connection ends the one before it.
    fn tell_link(
        &mut self,
        writer: WriterId,
        node: NodeId,
        connection: Option<crate::network::Connection>,
    ) {
        let now = self.now();
        let current = self.network.connection(writer, node);
        if current != connection {
            return;
        }
        let Some(process) = self.writer_mut(writer) else {
            return;
        };
        if process.told_up.remove(&node).is_some() {
            process.writer.node_down(now, node, "its connection ended");
        }
        if let Some(connection) = connection {
            process.told_up.insert(node, connection);
            process.arrived.insert(node);
            process.writer.node_up(now, node);
        }
        let is_up = connection.is_some();
        self.tell(|| format!("{writer:?} learns: {node:?} up = {is_up}"));
        self.pump_writer(writer);
    }
}

/// A failed append, superblock or sync: the node is of no use any more (law 6).
fn is_failed_write(completion: &DiskCompletion) -> bool {
    let failed = Err(DiskError::Failed);
    matches!(completion, DiskCompletion::Done { result, .. } if *result == failed)
}

/// The file system below had no room: that is nobody's failure.
fn is_refused_for_space(completion: &DiskCompletion) -> bool {
    let full = Err(DiskError::Full);
    matches!(completion, DiskCompletion::Done { result, .. } if *result == full)
}

fn kind_of_request(request: &Request) -> u64 {
    match request {
        Request::Promise { .. } => 1,
        Request::HoldList { .. } => 2,
        Request::Append { .. } => 3,
        Request::Announce { .. } => 4,
        Request::Configure { .. } => 5,
        Request::Read { .. } => 6,
        Request::Presence { .. } => 7,
        Request::Fetch { .. } => 8,
        Request::FetchLeaves { .. } => 9,
        Request::BeginCatchUp { .. } => 10,
        Request::PutLeaves { .. } => 11,
        Request::CompleteGroup { .. } => 12,
        Request::Examine { .. } => 13,
        Request::FetchBlocks { .. } => 14,
        Request::Repair { .. } => 15,
        Request::ExamineMetadata { .. } => 16,
        Request::Release { .. } => 17,
    }
}

fn kind_of_reply(reply: &Reply) -> u64 {
    match reply {
        Reply::Refused { .. } => 21,
        Reply::Promised(_) => 22,
        Reply::ListHeld { .. } => 23,
        Reply::Configured { .. } => 24,
        Reply::Acked { scls, .. } => 25 + (scls.iter().map(|(_, lsn)| lsn.0).sum::<u64>() << 8),
        Reply::Room(_) => 26,
        Reply::Pages { .. } => 27,
        Reply::Present { .. } => 28,
        Reply::Records { .. } => 29,
        Reply::Leaves { .. } => 30,
        Reply::CatchUpBegun { .. } => 31,
        Reply::LeavesHeld { .. } => 32,
        Reply::GroupCompleted { .. } => 33,
        Reply::SegmentDamaged { .. } => 34,
        Reply::Fenced => 35,
        Reply::Examined { .. } => 36,
        Reply::Blocks { .. } => 37,
        Reply::Repaired { .. } => 38,
        Reply::MetadataExamined { .. } => 39,
        Reply::Released { .. } => 40,
    }
}

fn kind_of_completion(completion: &DiskCompletion) -> u64 {
    match completion {
        DiskCompletion::Done { result, .. } => 41 + u64::from(result.is_ok()),
        DiskCompletion::Read { result, .. } => 43 + u64::from(result.is_ok()),
        DiskCompletion::Materialized { result, .. } => 45 + u64::from(result.is_ok()),
    }
}

/// An answer in a few words, unless it is an everyday one.
fn brief_reply(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Pages { result: Ok(_), .. }
        | Reply::Present { result: Ok(_), .. }
        | Reply::LeavesHeld { .. }
        | Reply::Room(_) => None,
        Reply::Acked { scls, .. } => Some(format!("Acked {scls:?}")),
        Reply::Records {
            result: Ok(records),
            ..
        } => Some(format!("{} records", records.len())),
        Reply::Leaves {
            result: Ok(copy), ..
        } => Some(format!("leaves with {} blocks", copy.blocks.len())),
        Reply::Blocks {
            result: Ok(blocks), ..
        } => Some(format!("{} blocks", blocks.len())),
        Reply::Examined {
            result: Ok(leaf), ..
        } => {
            let damaged = leaf.blocks.iter().filter(|block| block.content.is_none());
            let blocks = leaf.blocks.len();
            Some(format!(
                "a leaf as of {}: {} of {blocks} blocks damaged",
                leaf.applied,
                damaged.count()
            ))
        }
        Reply::Promised(report) => {
            let lsns: Vec<u64> = report.tail.iter().map(|record| record.lsn.0).collect();
            let (first, last) = (lsns.first(), lsns.last());
            Some(format!(
                "Promised {}: announced {}, tail {first:?}..={last:?}, damaged {}, fresh {}, list \
                 {}, {:?}",
                report.epoch,
                report.announced,
                report.tail_damaged,
                report.fresh,
                report.list.epoch,
                report.segments
            ))
        }
        other => Some(format!("{other:?}")),
    }
}

/// A request in a few words.
fn brief(request: &Request) -> String {
    match request {
        Request::Append { frame } => {
            let lsns = frame.records.iter().map(|record| record.lsn.0);
            let (first, last) = (lsns.clone().min(), lsns.max());
            let (first, last) = (first.unwrap_or(0), last.unwrap_or(0));
            format!(
                "Append {first}..={last} of {}, vdl {}",
                frame.stamp.epoch, frame.stamp.vdl
            )
        }
        Request::PutLeaves {
            group,
            base,
            leaves,
            ..
        } => format!(
            "PutLeaves {group:?} as of {base}: {} blocks",
            leaves.blocks.len()
        ),
        Request::Repair { group, blocks, .. } => {
            let versions = blocks.iter().map(|copy| (copy.block.0, copy.lsn.0));
            format!("Repair {group:?}: {:?}", versions.collect::<Vec<_>>())
        }
        Request::HoldList { list, config, .. } => format!(
            "HoldList {} {:?} configuration {}",
            list.epoch, list.ranges, config.version
        ),
        Request::Configure { epoch, config } => format!("Configure {epoch} {}", config.version),
        other => format!("{other:?}"),
    }
}
