//! The user of the disk: what it asks for, what it was answered, and what it holds against that.

use crate::cluster::{Cluster, WriterProcess};
use crate::coverage::Mark;
use crate::mix::Mix;
use crate::network::WriterId;
use crate::oracle::health_laws::Judgements;
use crate::oracle::history::{History, LastRecord, ReadCheck};
use crate::oracle::writer_laws::Watermarks;
use crate::pattern;
use crate::random::Random;
use redoubt_volume::error::IoFailure;
use redoubt_volume::format::checksum::checksum;
use redoubt_volume::format::index_page::LEAF_BLOCKS;
use redoubt_volume::format::redo_record::{RecordHeader, RecordKind};
use redoubt_volume::geometry::{BLOCK_BYTES, Geometry};
use redoubt_volume::ids::GroupId;
use redoubt_volume::page::PAGE_BYTES;
use redoubt_volume::writer::payload::{Piece, cut};
use redoubt_volume::writer::{Answer, CacheMode, ReadBytes, Ticket};
use std::collections::BTreeMap;

/// Requests under way at most.
const DEPTH: usize = 48;

/// A request under way.
#[derive(Debug)]
enum Request {
    /// A change of the disk; durable when it is answered, or not.
    Change(u64, bool),
    Flush(u64),
    Read(ReadCheck),
    /// Presence of the blocks of a leaf, which began at this byte of the disk.
    Presence(ReadCheck),
    Resize(u64),
    Scrub,
    /// The whole disk, after an open.
    Survey,
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its writer opens the volume.
    Opening,
    /// It reads the whole disk.
    Surveying,
    /// It works.
    Working,
    /// Another writer has taken over.
    Superseded,
    /// Its writer's process is gone.
    Gone,
}

/// What has happened to a client that others must know.
#[derive(Debug)]
pub enum News {
    /// Its writer's recovery has ended.
    Opened(Result<(), String>),
    /// It has read the whole disk.
    Surveyed(ReadBytes),
    /// The survey failed and is tried again.
    SurveyFailed,
}

/// What a writer has said since it was heard last.
struct Said {
    answers: Vec<(Ticket, Result<Answer, IoFailure>)>,
    /// The last records of the changes that it has sent.
    sent: Vec<LastRecord>,
}

impl Said {
    fn take(process: &mut WriterProcess) -> Said {
        let geometry = process.writer.config().geometry;
        let records = std::iter::from_fn(|| process.sent.take_next());
        let last = records.filter(RecordHeader::is_consistency_point);
        Said {
            sent: last.map(|record| last_record(&geometry, &record)).collect(),
            answers: std::mem::take(&mut process.answers),
        }
    }
}

/// A user of the disk, with a writer's process of its own.
#[derive(Debug)]
pub struct Client {
    /// Its writer.
    pub writer: WriterId,
    /// How far it has come.
    pub stage: Stage,
    /// What the disk may hold.
    pub history: History,
    /// What its writer has shown.
    pub watermarks: Watermarks,
    /// How its writer has judged its nodes.
    judgements: Judgements,
    /// Bytes of the disk as it knows them, and as it has asked for.
    pub disk_bytes: u64,
    /// The same, asked for and not answered.
    pub wanted_bytes: u64,
    requests: BTreeMap<Ticket, Request>,
}

impl Client {
    /// A client whose writer has just been started.
    pub fn new(writer: WriterId, history: History, disk_bytes: u64) -> Client {
        Client {
            writer,
            stage: Stage::Opening,
            history,
            watermarks: Watermarks::default(),
            judgements: Judgements::default(),
            disk_bytes,
            wanted_bytes: disk_bytes,
            requests: BTreeMap::new(),
        }
    }

    /// Requests under way.
    pub fn waiting(&self) -> usize {
        self.requests.len()
    }

    /// Its writer's process is gone, and with it what was asked.
    pub fn writer_is_gone(&mut self) {
        self.stage = Stage::Gone;
        self.requests.clear();
    }

    /// Takes what its writer has answered, and judges it.
    ///
    /// # Errors
    /// The law that is broken.
    pub fn listen(&mut self, cluster: &mut Cluster) -> Result<Option<News>, String> {
        let Some(process) = cluster.writer_mut(self.writer) else {
            let ended = &mut cluster.ended;
            let last = ended.extract_if(.., |process| process.id == self.writer);
            for mut process in last.collect::<Vec<_>>() {
                let said = Said::take(&mut process);
                self.hear(cluster, said)?;
            }
            self.writer_is_gone();
            return Ok(None);
        };
        let opened = match self.stage {
            Stage::Opening => process.opened.take(),
            _ => None,
        };
        let said = Said::take(process);
        let news = self.hear(cluster, said)?;
        let now = cluster.now();
        let mut writers = cluster.writers.iter_mut();
        if let Some(process) = writers.find(|process| process.id == self.writer)
            && process.writer.is_open()
        {
            let arrived = std::mem::take(&mut process.arrived);
            let before = self.watermarks.vdl;
            self.watermarks.look(&process.writer)?;
            if before.is_some() && before < self.watermarks.vdl {
                cluster.laws.segments.check_durable(&process.writer)?;
            }
            self.history.on_vdl(self.watermarks.vdl)?;
            let coverage = &mut cluster.coverage;
            self.judgements.forget(&arrived);
            self.judgements.look(now, &process.writer, coverage)?;
        }
        Ok(opened.map(News::Opened).or(news))
    }

    /// Judges what was said. What is acknowledged when it is durable has its place in the order
    /// of changes by what was sent, everything else by its acknowledgement.
    fn hear(&mut self, cluster: &mut Cluster, said: Said) -> Result<Option<News>, String> {
        let requests = &mut self.requests;
        let answers = said.answers.into_iter().filter_map(|(ticket, result)| {
            let request = requests.remove(&ticket)?;
            Some((request, result))
        });
        let (late, early): (Vec<_>, Vec<_>) =
            answers.partition(|(request, _)| matches!(request, Request::Change(_, true)));
        let mut news = None;
        for (request, result) in early {
            news = self.judge(cluster, request, result)?.or(news);
        }
        for last in said.sent {
            self.history.sent(&last)?;
        }
        for (request, result) in late {
            self.judge(cluster, request, result)?;
        }
        Ok(news)
    }

    fn judge(
        &mut self,
        cluster: &mut Cluster,
        request: Request,
        result: Result<Answer, IoFailure>,
    ) -> Result<Option<News>, String> {
        match (request, result) {
            (Request::Change(number, durable), Ok(_)) => {
                let process = cluster.writer(self.writer);
                let last = process.map(|process| process.writer.last_lsn());
                self.history.acknowledged(number, last.unwrap_or_default());
                if durable {
                    self.history.require(number)?;
                }
            }
            // It may have been admitted, and come true.
            (Request::Change(_, true), Err(IoFailure::QuorumLost)) => {}
            (Request::Change(number, _), Err(failure)) => {
                let for_space = failure == IoFailure::NoSpace;
                cluster
                    .coverage
                    .reach_if(for_space, Mark::WriteRefusedForSpace);
                self.history.refused(number);
            }
            (Request::Flush(mark), Ok(_)) => self.history.require(mark)?,
            (Request::Read(check), Ok(Answer::Bytes(bytes))) => {
                self.history.end_read(&check, bytes.as_ref())?;
            }
            (Request::Presence(check), Ok(Answer::Present(bits, _))) => {
                self.judge_presence(&check, bits)?;
            }
            (Request::Resize(bytes), Ok(_)) => {
                self.disk_bytes = bytes;
                cluster.coverage.reach(Mark::Resized);
            }
            (Request::Resize(_), Err(_)) => self.wanted_bytes = self.disk_bytes,
            (Request::Survey, Ok(Answer::Bytes(bytes))) => {
                return Ok(Some(News::Surveyed(bytes)));
            }
            (Request::Survey, Err(_)) => return Ok(Some(News::SurveyFailed)),
            (Request::Read(_), Err(IoFailure::Unreadable)) => {
                cluster.coverage.reach(Mark::ReadUnreadable);
            }
            (Request::Scrub, Ok(Answer::Scrubbed(report))) => cluster.coverage.on_scrub(&report),
            // An error is always an answer that is allowed.
            (
                Request::Flush(_) | Request::Read(_) | Request::Presence(_) | Request::Scrub,
                Err(_),
            ) => {}
            (request, answer) => return Err(format!("{request:?} was answered by {answer:?}")),
        }
        Ok(None)
    }

    /// A block that is said not to exist must hold zeros.
    fn judge_presence(&self, check: &ReadCheck, bits: u64) -> Result<(), String> {
        if self.history.changed_meanwhile(check) {
            return Ok(());
        }
        let absent = |(index, block): &(usize, &[u8])| {
            bits & (1 << index) == 0 && *block != &[0; BLOCK_BYTES][..block.len()]
        };
        match check.expected().parts().enumerate().find(absent) {
            Some((index, _)) => Err(format!(
                "block {} holds data and is said not to exist",
                check.offset() as usize / BLOCK_BYTES + index
            )),
            None => Ok(()),
        }
    }

    /// Reads the whole disk.
    pub fn survey(&mut self, cluster: &mut Cluster) {
        self.stage = Stage::Surveying;
        let length = self.disk_bytes as usize;
        let ticket = cluster.request(self.writer, |writer, now, ticket| {
            writer.read(now, ticket, 0, length);
        });
        if let Some(ticket) = ticket {
            self.requests.insert(ticket, Request::Survey);
        }
    }

    /// Asks for something.
    pub fn work(&mut self, cluster: &mut Cluster, mix: &Mix, random: &mut Random) {
        if self.requests.len() >= DEPTH {
            return;
        }
        let roll = random.below(mix.write + mix.discard + mix.read + mix.flush);
        if roll < mix.write {
            let durable = random.below(100) < mix.durable;
            let (offset, length) = mix.range(self.disk_bytes, random);
            self.write(cluster, offset, length, durable, random.draw() | 1);
        } else if roll < mix.write + mix.discard {
            let (offset, length) = mix.discard_range(self.disk_bytes, random);
            self.discard(cluster, offset, length);
        } else if roll < mix.write + mix.discard + mix.read {
            if random.one_in(12) {
                self.presence(cluster, random);
            } else {
                let (offset, length) = mix.range(self.disk_bytes, random);
                self.read(cluster, offset, length);
            }
        } else if random.one_in(12) {
            self.resize(cluster, random);
        } else if random.one_in(16) {
            self.scrub(cluster);
        } else {
            self.flush(cluster);
        }
    }

    /// Has everything looked at.
    pub fn scrub(&mut self, cluster: &mut Cluster) {
        cluster.tell(|| "scrub".to_owned());
        let ticket = cluster.request(self.writer, |writer, now, ticket| {
            writer.scrub(now, ticket, None);
        });
        self.await_answer(cluster, ticket, Request::Scrub);
    }

    fn write(
        &mut self,
        cluster: &mut Cluster,
        offset: u64,
        length: usize,
        durable: bool,
        stamp: u64,
    ) {
        let durable = durable || cluster.policy.cache == CacheMode::Writethrough;
        let mut data = vec![0; length];
        pattern::fill(stamp, offset, &mut data);
        let pieces = cut(offset, &data);
        let checksums = pieces.last().map(|piece| piece.checksums);
        let written = (stamp, checksums.unwrap_or_default());
        let number = self.history.begin(offset, length, Some(written));
        cluster.tell(|| format!("write #{number} {offset}+{length}"));
        let geometry = cluster.shape.config().geometry;
        let of = |piece: Option<&Piece>| piece.map(|piece| geometry.locate(piece.block).0);
        let is_wide = of(pieces.first()) != of(pieces.last());
        cluster.coverage.reach_if(is_wide, Mark::WideTransaction);
        let ticket = cluster.request(self.writer, |writer, now, ticket| {
            writer.write(now, ticket, pieces, durable);
        });
        self.await_answer(cluster, ticket, Request::Change(number, durable));
    }

    /// Discards a range.
    pub fn discard(&mut self, cluster: &mut Cluster, offset: u64, length: usize) {
        let number = self.history.begin(offset, length, None);
        cluster.tell(|| format!("discard #{number} {offset}+{length}"));
        cluster.coverage.reach(Mark::DiscardSent);
        let whole = length as u64 == self.disk_bytes;
        cluster.coverage.reach_if(whole, Mark::WholeDiskDiscarded);
        let ticket = cluster.request(self.writer, |writer, now, ticket| {
            writer.discard(now, ticket, offset, length as u64);
        });
        self.await_answer(cluster, ticket, Request::Change(number, false));
    }

    fn read(&mut self, cluster: &mut Cluster, offset: u64, length: usize) {
        let check = self.history.begin_read(offset, length);
        let ticket = cluster.request(self.writer, |writer, now, ticket| {
            writer.read(now, ticket, offset, length);
        });
        self.await_answer(cluster, ticket, Request::Read(check));
    }

    fn presence(&mut self, cluster: &mut Cluster, random: &mut Random) {
        let Some(process) = cluster.writer(self.writer) else {
            return;
        };
        let geometry = process.writer.config().geometry;
        let leaves = u64::from(geometry.group_blocks / LEAF_BLOCKS);
        let group = GroupId(random.below(u64::from(geometry.group_count(self.disk_bytes))) as u32);
        let leaf = random.below(leaves) as u32;
        let first = redoubt_volume::ids::GroupBlock(leaf * LEAF_BLOCKS);
        let offset = geometry.disk_block(group, first).0 * BLOCK_BYTES as u64;
        if offset >= self.disk_bytes {
            return;
        }
        let length = (u64::from(LEAF_BLOCKS) * BLOCK_BYTES as u64).min(self.disk_bytes - offset);
        let check = self.history.begin_read(offset, length as usize);
        let ticket = cluster.request(self.writer, |writer, _, ticket| {
            writer.presence(ticket, group, leaf);
        });
        self.await_answer(cluster, ticket, Request::Presence(check));
    }

    /// Asks for everything acknowledged so far to be durable.
    pub fn flush(&mut self, cluster: &mut Cluster) {
        let mark = self.history.mark();
        let ticket = cluster.request(self.writer, |writer, now, ticket| writer.flush(now, ticket));
        self.await_answer(cluster, ticket, Request::Flush(mark));
        let waits = self
            .requests
            .values()
            .any(|request| matches!(request, Request::Flush(_)));
        cluster.coverage.reach_if(waits, Mark::FlushWaited);
    }

    /// Makes the disk larger, unless it is as large as it may be.
    pub fn resize(&mut self, cluster: &mut Cluster, random: &mut Random) {
        let bytes = self.disk_bytes + random.between(1, 3) * (64 << 10);
        if bytes > self.history.current().bytes() as u64 || self.wanted_bytes != self.disk_bytes {
            return;
        }
        self.wanted_bytes = bytes;
        cluster.tell(|| format!("resize to {bytes}"));
        let ticket = cluster.request(self.writer, |writer, _, ticket| {
            writer.resize(ticket, bytes)
        });
        self.await_answer(cluster, ticket, Request::Resize(bytes));
    }

    fn await_answer(&mut self, cluster: &mut Cluster, ticket: Option<Ticket>, request: Request) {
        if let Some(ticket) = ticket {
            let answered = cluster
                .writer(self.writer)
                .is_some_and(|process| process.has_answered(ticket));
            let parked = matches!(request, Request::Change(_, false)) && !answered;
            cluster.coverage.reach_if(parked, Mark::WriteParked);
            self.requests.insert(ticket, request);
        }
    }
}

/// Where on the disk a record lies.
fn last_record(geometry: &Geometry, record: &RecordHeader) -> LastRecord {
    let block = geometry.disk_block(record.group, record.block).0 * BLOCK_BYTES as u64;
    if record.kind == RecordKind::Discard {
        return LastRecord {
            offset: block,
            length: u64::from(record.blocks) * BLOCK_BYTES as u64,
            checksums: None,
            holds_zeros: true,
        };
    }
    let zeros = checksum(&[0; PAGE_BYTES]);
    let pages = usize::from(record.payload_pages);
    LastRecord {
        offset: block + u64::from(record.start),
        length: u64::from(record.end - record.start),
        checksums: Some(record.checksums),
        holds_zeros: record.checksums.iter().take(pages).all(|sum| *sum == zeros),
    }
}
