//! The disk's user: requests to a writer, one by one, for runs and for tests that tell a story.

use super::{Cluster, WriterProcess};
use crate::disk::MemoryDisk;
use crate::network::WriterId;
use crate::oracle::health_laws::SentReads;
use redoubt_volume::error::IoFailure;
use redoubt_volume::geometry::BLOCKS_PER_UNIT;
use redoubt_volume::ids::{GroupBlock, GroupId, NodeId};
use redoubt_volume::message::{LeafCopy, Request, RequestId};
use redoubt_volume::segment::node::Node;
use redoubt_volume::status::ScrubReport;
use redoubt_volume::time::Instant;
use redoubt_volume::writer::payload::cut;
use redoubt_volume::writer::{Answer, ReadBytes, Ticket, Writer};

/// Events after which something that is waited for should have happened.
const PATIENCE_STEPS: usize = 2_000_000;

impl Cluster {
    /// Gives a request to a writer; its answer comes to [`WriterProcess::answers`].
    pub fn request(
        &mut self,
        id: WriterId,
        start: impl FnOnce(&mut Writer, Instant, Ticket),
    ) -> Option<Ticket> {
        let now = self.now();
        let process = self.writer_mut(id)?;
        process.next_ticket += 1;
        let ticket = Ticket(process.next_ticket);
        start(&mut process.writer, now, ticket);
        self.pump_writer(id);
        Some(ticket)
    }

    /// The newest writer.
    ///
    /// # Panics
    /// When none runs.
    pub fn newest(&mut self) -> &mut WriterProcess {
        self.writers.last_mut().expect("a writer runs")
    }

    fn ask_newest(&mut self, start: impl FnOnce(&mut Writer, Instant, Ticket)) -> Ticket {
        let id = self.newest().id;
        self.request(id, start).expect("the newest writer runs")
    }

    /// Starts a writer and waits until it has opened the volume.
    ///
    /// # Errors
    /// Why it could not.
    pub fn open(&mut self) -> Result<(), String> {
        let id = self.start_writer();
        let ended = |cluster: &Cluster| {
            let process = cluster.writer(id);
            process.is_none_or(|process| process.opened.is_some())
        };
        self.run_until(ended);
        let opened = self.writer(id).and_then(|process| process.opened.clone());
        let opened = opened.unwrap_or_else(|| Err("its process died".to_owned()));
        if opened.is_err() {
            self.crash_writer(id);
        }
        opened
    }

    /// Starts a write of the newest writer.
    pub fn start_write(&mut self, offset: u64, data: &[u8], durable: bool) -> Ticket {
        let pieces = cut(offset, data);
        self.ask_newest(|writer, now, ticket| writer.write(now, ticket, pieces, durable))
    }

    /// Starts a flush.
    pub fn start_flush(&mut self) -> Ticket {
        self.ask_newest(|writer, now, ticket| writer.flush(now, ticket))
    }

    /// Starts a discard.
    pub fn start_discard(&mut self, offset: u64, length: u64) -> Ticket {
        self.ask_newest(|writer, now, ticket| writer.discard(now, ticket, offset, length))
    }

    /// Starts making the disk larger.
    pub fn start_resize(&mut self, bytes: u64) -> Ticket {
        self.ask_newest(|writer, _, ticket| writer.resize(ticket, bytes))
    }

    /// Starts a read.
    pub fn start_read(&mut self, offset: u64, length: usize) -> Ticket {
        self.ask_newest(|writer, now, ticket| writer.read(now, ticket, offset, length))
    }

    /// Waits for the answer of the newest writer.
    ///
    /// # Errors
    /// What the request failed with.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn wait(&mut self, ticket: Ticket) -> Result<Answer, IoFailure> {
        self.run_until(|cluster| cluster.is_answered(ticket));
        let answers = &mut self.newest().answers;
        let place = answers.iter().position(|(other, _)| *other == ticket);
        answers.remove(place.expect("the request was answered")).1
    }

    /// Reads and waits.
    ///
    /// # Panics
    /// When the read fails.
    pub fn read(&mut self, offset: u64, length: usize) -> Vec<u8> {
        let ticket = self.start_read(offset, length);
        match self.wait(ticket).expect("the read succeeds") {
            Answer::Bytes(bytes) => bytes.as_ref().to_vec(),
            other => panic!("a read answered {other:?}"),
        }
    }

    /// Starts a scrub.
    pub fn start_scrub(&mut self) -> Ticket {
        self.ask_newest(|writer, now, ticket| writer.scrub(now, ticket, None))
    }

    /// Scrubs and waits.
    ///
    /// # Errors
    /// Why there was none, or what it ended with.
    pub fn scrub(&mut self) -> Result<ScrubReport, IoFailure> {
        let ticket = self.start_scrub();
        match self.wait(ticket)? {
            Answer::Scrubbed(report) => {
                self.coverage.on_scrub(&report);
                Ok(report)
            }
            _ => Err(IoFailure::Unreadable),
        }
    }

    /// A node's own copy of a unit of blocks, if the node can give it.
    pub fn read_copy(
        &mut self,
        node: NodeId,
        group: GroupId,
        block: GroupBlock,
    ) -> Option<ReadBytes> {
        self.newest().reads = None;
        let ticket = self.ask_newest(|writer, now, ticket| {
            writer.read_copy(now, ticket, node, group, block, BLOCKS_PER_UNIT);
        });
        self.newest().reads = Some(SentReads::default());
        match self.wait(ticket) {
            Ok(Answer::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Makes a node believe that nothing is in the first leaf of a group, as a fault in the node
    /// could: nothing that it says of itself tells. Where the segment was filled by this writer,
    /// it stays as it is.
    pub fn forget_leaf(&mut self, node: NodeId, group: GroupId) {
        let writer = &self.newest().writer;
        let epoch = writer.epoch();
        let tip = writer.group_tips().find(|(other, _)| *other == group);
        let Some((_, base)) = tip else { return };
        // The writer's own copies have greater numbers.
        let copy = RequestId { epoch, number: 0 };
        let leaves = LeafCopy {
            first_leaf: 0,
            end_leaf: 1,
            blocks: Vec::new(),
        };
        let groups = vec![(group, base)];
        let requests = [
            Request::BeginCatchUp {
                epoch,
                copy,
                anew: true,
                groups,
            },
            Request::PutLeaves {
                epoch,
                id: copy,
                copy,
                group,
                base,
                filled: 0,
                leaves,
            },
            Request::CompleteGroup {
                epoch,
                copy,
                group,
                base,
            },
        ];
        for request in requests {
            let now = self.now();
            if let Some(node) = &mut self.hosts[node.index()].node {
                node.on_request(now, request);
            }
            self.quiesce(2);
        }
    }

    /// Lets things happen until something is so.
    ///
    /// # Panics
    /// When it never is.
    pub fn run_until(&mut self, done: impl Fn(&Cluster) -> bool) {
        for _ in 0..PATIENCE_STEPS {
            if done(self) {
                return;
            }
            self.step();
        }
        let figures = self.writers.last().map(|process| process.writer.figures());
        panic!("what is waited for does not happen: {figures:?}");
    }

    /// Lets everything go on for so many ticks.
    pub fn quiesce(&mut self, ticks: u32) {
        let end = self.now().plus(super::TICK * ticks);
        while self.next_at() <= end {
            self.step();
        }
        self.advance_to(end);
    }

    /// Closes in order: flush, checkpoint, stop.
    ///
    /// # Panics
    /// When the flush fails.
    pub fn close(&mut self) {
        let flush = self.start_flush();
        self.wait(flush).expect("the flush succeeds");
        for host in &mut self.hosts {
            host.node.iter_mut().for_each(Node::want_checkpoint);
        }
        self.quiesce(3);
        self.crash();
    }

    /// Whether a request of the newest writer is answered.
    pub fn is_answered(&self, ticket: Ticket) -> bool {
        let newest = self.writers.last();
        newest.is_some_and(|process| process.has_answered(ticket))
    }

    /// Whether a node's process runs.
    pub fn is_node_open(&self, id: NodeId) -> bool {
        self.hosts[id.index()].node.is_some()
    }

    /// Kills every process: the disks go on, with what was written and not synced.
    pub fn kill(&mut self) {
        for id in self
            .writers
            .iter()
            .map(|process| process.id)
            .collect::<Vec<_>>()
        {
            self.crash_writer(id);
        }
        (0..self.hosts.len() as u16).for_each(|node| self.crash_node(NodeId(node)));
    }

    /// A new, empty directory in the place of a lost one, and a process on it.
    pub fn replace_node(&mut self, id: NodeId) {
        self.replace_directory(id);
        self.start_node(id);
        self.quiesce(1);
    }

    /// A node's machine is gone with its disk, under the running volume.
    pub fn lose_node(&mut self, id: NodeId) -> Option<MemoryDisk> {
        self.stop_node(id);
        let disk = self.hosts[id.index()].disk.take();
        self.quiesce(1);
        disk
    }

    /// A node's machine is there (again), after a power cut.
    pub fn return_node(&mut self, id: NodeId, mut disk: MemoryDisk) {
        disk.cut_power(&mut self.random);
        self.hosts[id.index()].disk = Some(disk);
        self.start_node(id);
        self.quiesce(1);
    }
}
