//! When a volume is scrubbed, how far that is, and what it came to: a thread looks once a second,
//! starts what is due, and writes down where the scrub is, so that the next mount goes on there.

use super::answers::Callback;
use super::driver::Driver;
use super::layout::random_u64;
use crate::error::IoFailure;
use crate::geometry::BLOCK_BYTES;
use crate::io::scrub_record::ScrubRecord;
use crate::limits;
use crate::status::{DataErrors, ScrubProgress, ScrubReport, ScrubResult, ScrubStart, ScrubStatus};
use crate::writer::Answer;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

/// Between two looks.
pub(super) const ROUND: Duration = Duration::from_secs(1);
/// Looks that the present rate is taken over.
const SAMPLES: usize = 10;

/// When a volume is scrubbed by itself, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPolicy {
    /// Between the end of one and the start of the next; `None`: only when it is asked for.
    pub interval: Option<Duration>,
    /// Bytes a second that such a scrub reads at most, of all copies together.
    pub rate: Option<NonZeroU64>,
}

impl ScrubPolicy {
    /// Only when it is asked for.
    pub const OFF: ScrubPolicy = ScrubPolicy {
        interval: None,
        rate: NonZeroU64::new(limits::SCRUB_RATE),
    };
}

/// A volume's scrubs.
#[derive(Debug)]
pub(super) struct Scrubs {
    policy: ScrubPolicy,
    /// Whether anything is started by itself, or written down: not where nothing may be written.
    is_kept: bool,
    opened: Instant,
    /// No scrub begins by itself before the volume was open for so long.
    rest: Duration,
    ledger: Mutex<Ledger>,
}

/// What is known of them.
#[derive(Debug)]
struct Ledger {
    record: ScrubRecord,
    /// The one that began last, counted from 1.
    number: u64,
    /// Number of the one that ended last.
    ended: u64,
    is_under_way: bool,
    /// What an earlier process left is still to be gone on with.
    is_left: bool,
    /// The record differs from the file.
    is_new: bool,
    noted: Instant,
    /// Bytes read by then, oldest first.
    samples: VecDeque<(Instant, u64)>,
}

fn wall_clock_s() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn read_bytes(report: &ScrubReport) -> u64 {
    report.copies.saturating_mul(BLOCK_BYTES as u64)
}

impl Scrubs {
    /// Those of the volume in this directory.
    pub(super) fn of_volume(path: &Path, policy: ScrubPolicy, read_only: bool) -> Scrubs {
        let found = ScrubRecord::read(path);
        let ledger = Ledger {
            is_new: found.is_none() && policy.interval.is_some(),
            is_left: found
                .as_ref()
                .is_some_and(|record| record.under_way.is_some()),
            record: found.unwrap_or_else(|| ScrubRecord {
                since_s: wall_clock_s(),
                ..ScrubRecord::default()
            }),
            number: 0,
            ended: 0,
            is_under_way: false,
            noted: Instant::now(),
            samples: VecDeque::new(),
        };
        let spread = random_u64().unwrap_or(0) % limits::SCRUB_AFTER_OPEN.as_millis() as u64;
        let rest = limits::SCRUB_AFTER_OPEN + Duration::from_millis(spread);
        Scrubs {
            policy,
            is_kept: !read_only,
            opened: Instant::now(),
            rest: policy.interval.map_or(rest, |interval| rest.min(interval)),
            ledger: Mutex::new(ledger),
        }
    }

    /// What an earlier process knew to be lost.
    pub(super) fn data_errors(&self) -> DataErrors {
        self.ledger.lock().record.data_errors.clone()
    }

    /// When the next one begins by itself, in seconds since 1970. A clock that was set back does
    /// not put it off for longer than an interval.
    fn next_s(&self, ledger: &Ledger, now_s: u64) -> Option<u64> {
        let interval = self.policy.interval.filter(|_| self.is_kept)?.as_secs();
        let last = ledger.record.last.map_or(0, |(ended, _)| ended);
        let due = last.max(ledger.record.since_s).min(now_s) + interval;
        let rest = self.rest.saturating_sub(self.opened.elapsed()).as_secs();
        Some(due.max(now_s + rest))
    }
}

impl Ledger {
    fn begin(&mut self, began_s: u64, start: ScrubStart) -> u64 {
        self.number += 1;
        self.is_under_way = true;
        self.is_left = false;
        self.is_new = true;
        self.record.under_way = Some((began_s, start));
        self.samples.clear();
        self.number
    }

    fn end(&mut self, result: &Result<ScrubReport, IoFailure>) {
        match result {
            Ok(report) => {
                self.record.last = Some((wall_clock_s(), *report));
                self.ended = self.number;
            }
            // Whoever wants none now wants none in an hour.
            Err(IoFailure::Cancelled) => self.record.since_s = wall_clock_s(),
            // The next process goes on.
            Err(_) => return,
        }
        self.record.under_way = None;
        self.is_under_way = false;
        self.is_new = true;
    }

    fn see(&mut self, progress: Option<&ScrubProgress>, data_errors: DataErrors) {
        self.is_new |= self.record.data_errors != data_errors;
        self.record.data_errors = data_errors;
        let Some(progress) = progress.filter(|_| self.is_under_way) else {
            return;
        };
        if let Some((_, at)) = &mut self.record.under_way {
            *at = progress.at;
        }
        let read = read_bytes(&progress.at.report);
        self.samples.push_back((Instant::now(), read));
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// Bytes a second that were read lately.
    fn rate(&self) -> u64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return 0;
        };
        let millis = last.0.duration_since(first.0).as_millis() as u64;
        let bytes = last.1.saturating_sub(first.1);
        (bytes.saturating_mul(1000))
            .checked_div(millis)
            .unwrap_or(0)
    }

    /// What is to be written down now, if anything.
    fn take_news(&mut self) -> Option<ScrubRecord> {
        let is_due = self.is_under_way && self.noted.elapsed() >= limits::SCRUB_NOTES;
        if !self.is_new && !is_due {
            return None;
        }
        self.is_new = false;
        self.noted = Instant::now();
        Some(self.record.clone())
    }
}

/// One look.
pub(super) fn look(driver: &Driver) {
    see(driver);
    if driver.scrubs.is_kept {
        start_what_is_due(driver);
        let record = driver.scrubs.ledger.lock().take_news();
        write(driver, record);
    }
}

fn see(driver: &Driver) {
    let (progress, errors) = driver.with_core(|core, _| {
        let writer = &core.embedded.writer;
        (writer.scrub_progress(), writer.data_errors())
    });
    let mut ledger = driver.scrubs.ledger.lock();
    ledger.see(progress.as_ref(), errors);
}

fn write(driver: &Driver, record: Option<ScrubRecord>) {
    if let Some(Err(error)) = record.map(|record| record.write(driver.path())) {
        log::warn!("what is known of the volume's scrubs cannot be written down: {error}");
    }
}

/// Goes on with what an earlier process left, or begins by itself.
fn start_what_is_due(driver: &Driver) {
    let now_s = wall_clock_s();
    let (began_s, start) = {
        let ledger = driver.scrubs.ledger.lock();
        let is_due = driver.scrubs.next_s(&ledger, now_s) <= Some(now_s);
        match ledger.record.under_way {
            _ if ledger.is_under_way => return,
            Some(left) if ledger.is_left => left,
            _ if is_due && driver.scrubs.policy.interval.is_some() => {
                let rate = driver.scrubs.policy.rate;
                let start = ScrubStart {
                    rate,
                    ..ScrubStart::default()
                };
                (now_s, start)
            }
            _ => return,
        }
    };
    // Somebody else was quicker, or the volume is being closed.
    let _ = begin(driver, began_s, start, |_| {});
}

/// Begins a scrub; `done` is told how it ended. Its number.
fn begin(
    driver: &Driver,
    began_s: u64,
    start: ScrubStart,
    done: impl FnOnce(Result<ScrubReport, IoFailure>) + Send + 'static,
) -> Result<u64, IoFailure> {
    let number = {
        let mut ledger = driver.scrubs.ledger.lock();
        if ledger.is_under_way {
            return Err(IoFailure::TooManyWaiting);
        }
        ledger.begin(began_s, start)
    };
    driver.note_scrub_started(start.rate.map(NonZeroU64::get));
    let began = Instant::now();
    let this: Weak<Driver> = driver.weak();
    let callback = Callback::Any(Box::new(move |answer| {
        let result = match answer {
            Ok(Answer::Scrubbed(report)) => Ok(report),
            Ok(_) => Err(IoFailure::Unreadable),
            Err(failure) => Err(failure),
        };
        if let Some(driver) = this.upgrade() {
            driver.note_scrub_ended(result.as_ref().ok(), began.elapsed());
            log_end(&result);
            driver.scrubs.ledger.lock().end(&result);
        }
        done(result);
    }));
    driver.request(callback, |writer, now, ticket| {
        writer.scrub_from(now, ticket, start);
    });
    Ok(number)
}

fn log_end(result: &Result<ScrubReport, IoFailure>) {
    match result {
        Ok(report) => log::info!("scrub: {report:?}"),
        Err(failure) => log::info!("the scrub under way: {failure}"),
    }
}

/// Begins one that was asked for.
pub(super) fn start(
    driver: &Driver,
    rate: Option<NonZeroU64>,
    done: impl FnOnce(Result<ScrubReport, IoFailure>) + Send + 'static,
) -> Result<u64, IoFailure> {
    let start = ScrubStart {
        rate,
        ..ScrubStart::default()
    };
    begin(driver, wall_clock_s(), start, done)
}

/// Changes what is under way; `false`: nothing is.
pub(super) fn change(
    driver: &Driver,
    change: impl FnOnce(&mut crate::writer::Writer) -> bool,
) -> bool {
    let is_changed = driver.with_core(|core, _| change(&mut core.embedded.writer));
    see(driver);
    driver.scrubs.ledger.lock().is_new |= is_changed;
    is_changed
}

/// What is known now.
pub(super) fn status(driver: &Driver) -> ScrubStatus {
    let running = driver.with_core(|core, _| core.embedded.writer.scrub_progress());
    let copies = crate::config::SEGMENTS as u64;
    let live = driver.live_bytes().saturating_mul(copies);
    let ledger = driver.scrubs.ledger.lock();
    let read = running.map_or(0, |running| read_bytes(&running.at.report));
    let last = ledger.record.last.map(|(ended_s, report)| ScrubResult {
        number: ledger.ended,
        ended_s,
        report,
    });
    ScrubStatus {
        number: ledger.number,
        running,
        began_s: ledger.record.under_way.map_or(0, |(began, _)| began),
        read_bytes: read,
        expected_bytes: live.max(read),
        rate: ledger.rate(),
        last,
        next_s: match running {
            Some(_) => None,
            None => driver.scrubs.next_s(&ledger, wall_clock_s()),
        },
    }
}

/// The volume is being closed: where the scrub is, is written down, for the next process to go on.
pub(super) fn close(driver: &Driver) {
    see(driver);
    if driver.scrubs.is_kept {
        let mut ledger = driver.scrubs.ledger.lock();
        let is_known = ledger.is_under_way || ledger.is_new;
        ledger.is_new = is_known;
        let record = ledger.take_news();
        drop(ledger);
        write(driver, record);
    }
}

/// Starts the thread that looks.
pub(super) fn start_looking(driver: &Arc<Driver>) -> std::io::Result<()> {
    let errors = driver.scrubs.data_errors();
    driver.with_core(|core, _| core.embedded.writer.note_data_errors(&errors));
    super::watch::start(driver, "redoubt-scrub", ROUND, look)
}
