//! Builds the states of a recording that a power cut could have left, opens the volume on each,
//! and checks it.

use crate::ending;
use crate::event::{Event, read_record};
use crate::history::History;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::node_disk::Ignored;
use crate::playback::{Playback, Remains};
use crate::random::Random;
use crate::recording::Recording;
use anyhow::{Result, ensure};
use redoubt_volume::io::address_book::AddressBook;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// One of so many states is cut a second time while it is being opened.
const CUT_AGAIN_ONE_IN: u64 = 4;
/// One of so many is opened a second time, after another cut.
const OPEN_AGAIN_ONE_IN: u64 = 4;
/// One of so many is of the making of the volume, which is short.
const CREATION_ONE_IN: u64 = 16;
/// Steps of the opening after which the second cut comes, at most.
const OPENING_STEPS: u64 = 120;

/// What to build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Seed of the states.
    pub(crate) seed: u64,
    /// Threads.
    pub(crate) jobs: usize,
    /// Syncs that do nothing: the negative control.
    pub(crate) ignored: Ignored,
    /// Whether the first loss is enough.
    pub(crate) ends_at_loss: bool,
}

/// A state that is not what it must be.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// Number of the state.
    pub(crate) state: u64,
    /// What is wrong.
    pub(crate) why: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// States that were built.
    pub(crate) states: u64,
    /// Those that were cut again while they were opened.
    pub(crate) cut_again: u64,
    /// Those that were opened again.
    pub(crate) opened_again: u64,
    /// Losses.
    pub(crate) losses: Vec<Loss>,
}

/// What one process did.
struct Part {
    snapshot: Vec<Event>,
    events: Vec<Event>,
}

/// A recording in memory.
pub(crate) struct Replay {
    /// The making of the volume, then the sessions.
    parts: Vec<Part>,
    ledger: Ledger,
}

/// What must be there at a moment.
struct Promised<'a> {
    /// Whether the making of the volume was over.
    volume: bool,
    /// What may have happened.
    history: &'a History,
    /// How many operations of that must have.
    operations: usize,
}

/// A moment: so many events of a part have happened.
type Moment = (usize, usize);

impl Replay {
    /// Reads a recording.
    pub(crate) fn read(recording: &Recording) -> Result<Replay> {
        let creation = Part {
            snapshot: Vec::new(),
            events: read_record(&recording.creation())?,
        };
        let sessions = (0..recording.sessions()).map(|number| {
            Ok(Part {
                snapshot: read_record(&recording.snapshot(number))?,
                events: read_record(&recording.record(number))?,
            })
        });
        let parts = std::iter::once(Ok(creation)).chain(sessions);
        let replay = Replay {
            parts: parts.collect::<Result<_>>()?,
            ledger: Ledger::read(&recording.ledger(), recording.seed()?)?,
        };
        ensure!(
            replay.events() > 0,
            "{} records nothing",
            recording.0.display()
        );
        Ok(replay)
    }

    /// Events of all parts.
    pub(crate) fn events(&self) -> usize {
        self.parts.iter().map(|part| part.events.len()).sum()
    }

    /// How often what was done, in words.
    pub(crate) fn summary(&self) -> String {
        let mut counts = BTreeMap::new();
        for event in self.parts.iter().flat_map(|part| &part.events) {
            *counts.entry(event.what.plural()).or_insert(0_u64) += 1;
        }
        let counts = counts.iter().map(|(what, count)| format!("{count} {what}"));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// When the power goes in a state.
    fn moment(&self, plan: &Plan, state: u64) -> Moment {
        let mut random = Random::of(plan.seed, state);
        let events = match random.one_in(CREATION_ONE_IN) {
            true => self.parts[0].events.len(),
            false => self.events(),
        };
        let mut event = random.below(events as u64) as usize;
        for (number, part) in self.parts.iter().enumerate() {
            if event < part.events.len() {
                return (number, event + 1);
            }
            event -= part.events.len();
        }
        (self.parts.len() - 1, 0)
    }

    /// Builds and checks these states; all of them or until the first loss.
    pub(crate) fn run(&self, plan: &Plan, states: Range<u64>) -> Tally {
        let mut moments: Vec<(Moment, u64)> = states
            .map(|state| (self.moment(plan, state), state))
            .collect();
        moments.sort_unstable();
        let stop = AtomicBool::new(false);
        let share = moments.len().div_ceil(plan.jobs.max(1)).max(1);
        std::thread::scope(|scope| {
            let started: Vec<_> = moments
                .chunks(share)
                .map(|moments| scope.spawn(|| self.work(plan, moments, &stop)))
                .collect();
            let mut tally = Tally::default();
            for thread in started {
                tally.add(thread.join().expect("a thread that checks states"));
            }
            tally
        })
    }

    /// Plays the recording once, and stops at each of these moments, which are in order.
    fn work(&self, plan: &Plan, moments: &[(Moment, u64)], stop: &AtomicBool) -> Tally {
        let mut tally = Tally::default();
        let mut playback = Playback::new(plan.ignored);
        let mut moments = moments.iter().peekable();
        for (number, part) in self.parts.iter().enumerate() {
            playback.begin_session(&part.snapshot);
            let mut known = None;
            for (index, event) in part.events.iter().enumerate() {
                playback.play(event);
                let here = (number, index + 1);
                while let Some((_, state)) = moments.next_if(|(moment, _)| *moment == here) {
                    if stop.load(Ordering::Relaxed) || ending::is_interrupted() {
                        return tally;
                    }
                    let promised = self.promised(number, event.position, &mut known);
                    let random = Random::of(!plan.seed, *state);
                    if let Err(why) = check(&playback, &promised, random, &mut tally) {
                        let why = format!("{}, event {}: {why}", name_of(number), index + 1);
                        let state = *state;
                        tally.losses.push(Loss { state, why });
                        stop.fetch_or(plan.ends_at_loss, Ordering::Relaxed);
                    }
                }
            }
        }
        tally
    }

    /// What was promised at a position in the record of a part; `known` is what is the same for most
    /// positions of it.
    fn promised<'a>(
        &self,
        part: usize,
        position: u64,
        known: &'a mut Option<(bool, History, usize)>,
    ) -> Promised<'a> {
        let (session, position) = match part {
            0 => (0, 0),
            _ => (part - 1, position),
        };
        let opened = self.ledger.was_opened_by(session, position);
        if known.as_ref().is_none_or(|(then, ..)| *then != opened) {
            let (history, demanded) = self.ledger.at(session, position);
            *known = Some((opened, history, demanded));
        }
        let (_, history, demanded) = known.as_ref().expect("it was just found");
        let operations = match opened {
            true => self.ledger.demanded(session, position, history),
            false => *demanded,
        };
        Promised {
            volume: part > 0,
            history,
            operations,
        }
    }
}

/// A part in words.
fn name_of(part: usize) -> String {
    match part {
        0 => "creation".to_owned(),
        part => format!("session {}", part - 1),
    }
}

impl Tally {
    /// Adds another one.
    pub(crate) fn add(&mut self, other: Tally) {
        self.states += other.states;
        self.cut_again += other.cut_again;
        self.opened_again += other.opened_again;
        self.losses.extend(other.losses);
    }
}

/// Cuts each node's power at its own moment, opens what is left, and checks it.
fn check(
    playback: &Playback,
    promised: &Promised<'_>,
    mut random: Random,
    tally: &mut Tally,
) -> Result<(), String> {
    tally.states += 1;
    let Remains { book, nodes } = playback.cut(&mut random);
    let Some(book) = book else {
        // Whoever made it was not yet told that it is there.
        let error = "the volume's address book is gone".to_owned();
        return if promised.volume { Err(error) } else { Ok(()) };
    };
    AddressBook::parse(&book, Path::new("/"))
        .map_err(|error| format!("the address book cannot be read: {error}"))?;
    let again = random.one_in(CUT_AGAIN_ONE_IN);
    let twice = random.one_in(OPEN_AGAIN_ONE_IN);
    let steps = 1 + random.below(OPENING_STEPS);
    let mut machine = Machine::new(nodes, random);
    if again {
        tally.cut_again += 1;
        machine.open_partly(steps)?;
        machine.cut();
    }
    let disk = open_and_read(&mut machine)?;
    let history = promised.history;
    history.prefix_of(&disk, promised.operations)?;
    if twice {
        tally.opened_again += 1;
        machine.cut();
        let second = open_and_read(&mut machine)?;
        if second != disk {
            return Err("what was read once reads otherwise after the next cut".to_owned());
        }
    }
    Ok(())
}

fn open_and_read(machine: &mut Machine) -> Result<Vec<u8>, String> {
    let opened = machine.open();
    opened.map_err(|why| format!("the volume cannot be opened: {why}"))?;
    machine.read_all()
}
