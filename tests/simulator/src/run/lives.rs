//! Writers that come and go: opens, crashes, takeovers.

use super::{Duty, Run};
use crate::coverage::Mark;
use crate::network::WriterId;
use crate::oracle::history::History;
use crate::workload::{Client, News, Stage};
use redoubt_volume::segment::node::Node;
use redoubt_volume::status::VolumeState;
use std::time::Duration;

impl Run {
    /// The newest client that has, or will have, an open volume.
    pub(super) fn current(&self) -> Option<usize> {
        let lives = |client: &Client| {
            matches!(
                client.stage,
                Stage::Opening | Stage::Surveying | Stage::Working
            )
        };
        self.clients.iter().rposition(lives)
    }

    pub(super) fn start_client(&mut self, history: History, disk_bytes: u64) {
        let writer = self.cluster.start_writer();
        self.clients.push(Client::new(writer, history, disk_bytes));
    }

    /// A new client opens what the head has left behind.
    pub(super) fn open_again(&mut self) {
        self.opening = false;
        let head = &self.clients[self.head];
        let (history, bytes) = (head.history.clone(), head.disk_bytes);
        self.start_client(history, bytes);
    }

    fn open_later(&mut self) {
        if !self.opening {
            self.opening = true;
            let delay = match self.random.below(8) {
                0 => self.random.between(100, 2_000),
                _ => self.random.between(1, 100),
            };
            self.after(Duration::from_millis(delay), Duty::Open);
        }
    }

    pub(super) fn on_news(&mut self, index: usize, news: News) {
        match news {
            News::Opened(Ok(())) => self.on_opened(index),
            News::Opened(Err(reason)) => {
                let writer = self.clients[index].writer;
                self.cluster
                    .tell(|| format!("the volume does not open: {reason}"));
                self.cluster.crash_writer(writer);
                self.cluster.stop_fenced_nodes();
            }
            News::Surveyed(found) => self.on_surveyed(index, found.as_ref()),
            News::SurveyFailed => {
                // The volume is degraded too far for now; what it has cannot be wrong.
                self.cluster.coverage.reach(Mark::ReadUnreadable);
                self.survey(index);
            }
        }
    }

    fn survey(&mut self, index: usize) {
        self.clients[index].survey(&mut self.cluster);
    }

    fn on_opened(&mut self, index: usize) {
        self.opens += 1;
        let Some(process) = self.cluster.writer(self.clients[index].writer) else {
            return;
        };
        if let Err(reason) = self.cluster.laws.segments.check_opened(&process.writer) {
            return self.fail(reason);
        }
        let (state, bytes) = (process.writer.figures().state, process.writer.disk_bytes());
        let reports = self.cluster.laws.segments.reports(process.writer.epoch());
        let coverage = &mut self.cluster.coverage;
        coverage.on_opened(reports);
        coverage.reach_if(state == VolumeState::ReadOnly, Mark::ReadOnlyVolume);
        coverage.reach_if(state == VolumeState::Unreadable, Mark::Unreadable);
        let head = &self.clients[self.head];
        if bytes != head.disk_bytes && bytes != head.wanted_bytes {
            let known = head.disk_bytes;
            return self.fail(format!(
                "the disk has {bytes} bytes after an open, not {known}"
            ));
        }
        let client = &mut self.clients[index];
        client.disk_bytes = bytes;
        client.wanted_bytes = bytes;
        self.survey(index);
    }

    /// The whole disk was read: it must be in a state that the head knows.
    fn on_surveyed(&mut self, index: usize, found: &[u8]) {
        let head = self.head;
        if self.clients[index]
            .watermarks
            .precedes(&self.clients[head].watermarks)
        {
            // Another one opened while this one still read: what it found says nothing any more.
            return self.is_superseded(index);
        }
        let mut history = self.clients[head].history.clone();
        let survivors = match history.settle(found) {
            Ok(survivors) => survivors,
            Err(reason) => return self.fail(reason),
        };
        let coverage = &mut self.cluster.coverage;
        coverage.reach_if(survivors.kept > 0, Mark::UnflushedSurvived);
        coverage.reach_if(survivors.lost > 0, Mark::UnflushedLost);
        self.cluster
            .tell(|| format!("the disk is as after change {survivors:?}"));
        if head != index
            && let Err(reason) = self.supersede(head, index, survivors.changes)
        {
            return self.fail(reason);
        }
        self.clients[index].history = history;
        self.clients[index].stage = Stage::Working;
        self.head = index;
    }

    fn supersede(&mut self, old: usize, new: usize, kept: usize) -> Result<(), String> {
        self.clients[old]
            .watermarks
            .succeed(&self.clients[new].watermarks)?;
        self.clients[old].history.superseded(kept)?;
        if self.clients[old].stage == Stage::Working {
            self.cluster.coverage.reach(Mark::TookOver);
            self.is_superseded(old);
        }
        Ok(())
    }

    fn is_superseded(&mut self, old: usize) {
        self.clients[old].stage = Stage::Superseded;
        let after = Duration::from_millis(self.random.between(10, 4_000));
        self.after(after, Duty::EndSuperseded);
    }

    /// A client's process is gone: another one opens the volume, unless one already does.
    pub(super) fn on_gone(&mut self, was: Stage) {
        // One that died while it opened may have stopped the writer before it.
        if self.current().is_none() || matches!(was, Stage::Opening | Stage::Surveying) {
            self.open_later();
        }
    }

    pub(super) fn take_over(&mut self, writer: WriterId, pause: Option<Duration>) {
        let works = self.clients[self.head].writer == writer
            && self.clients[self.head].stage == Stage::Working;
        if works {
            if let Some(pause) = pause {
                self.cluster.pause_writer(writer, pause);
            }
            self.open_again();
        }
    }

    pub(super) fn end_superseded(&mut self) {
        let superseded = |client: &Client| client.stage == Stage::Superseded;
        let old = self.clients.iter().filter(|client| superseded(client));
        for writer in old.map(|client| client.writer).collect::<Vec<_>>() {
            if let Some(process) = self.cluster.writer(writer) {
                let stopped = process.writer.figures().state == VolumeState::Unreadable;
                self.cluster
                    .coverage
                    .reach_if(stopped, Mark::OldWriterStopped);
            }
            self.cluster.crash_writer(writer);
        }
    }

    /// Asks for checkpoints, and ends everything soon after that.
    pub(super) fn close(&mut self, writer: WriterId) {
        for host in &mut self.cluster.hosts {
            host.node.iter_mut().for_each(Node::want_checkpoint);
        }
        self.cluster.coverage.reach(Mark::Checkpointed);
        let effects = self.random.between(200, 800) as u32;
        self.cluster.light_writers_fuse(writer, effects);
    }
}
