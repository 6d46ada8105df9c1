//! What many runs came to.

use crate::coverage::{Coverage, Mark};
use crate::faults::{FaultCounts, FaultKind};
use crate::run::Outcome;
use std::fmt;
use std::time::Duration;

/// The sum of many runs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Runs.
    pub runs: u64,
    /// Events.
    pub steps: u64,
    /// Requests of the disks' users.
    pub operations: u64,
    /// Times that a volume was opened.
    pub opens: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Real time.
    pub elapsed: Duration,
    /// The sum of the runs' digests, whose order is by chance: two builds that should do the same
    /// do, where it is the same.
    pub digest: u64,
    /// Faults by kind.
    pub faults: FaultCounts,
    /// Situations that were reached.
    pub coverage: Coverage,
}

impl Report {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.steps += outcome.steps;
        self.operations += outcome.operations;
        self.opens += outcome.opens;
        self.simulated += outcome.simulated;
        self.digest = self.digest.wrapping_add(outcome.digest);
        self.faults.merge(&outcome.faults);
        self.coverage.merge(&outcome.coverage);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        writeln!(f, "runs            {}", self.runs)?;
        writeln!(f, "steps           {}", self.steps)?;
        writeln!(f, "operations      {}", self.operations)?;
        writeln!(f, "opens           {}", self.opens)?;
        writeln!(
            f,
            "simulated time  {:.1} h",
            self.simulated.as_secs_f64() / 3600.0
        )?;
        writeln!(f, "real time       {seconds:.1} s")?;
        writeln!(f, "seeds/s         {:.1}", self.runs as f64 / seconds)?;
        writeln!(f, "digest          {:016x}", self.digest)?;
        writeln!(f, "faults          {}", self.faults.total())?;
        for kind in FaultKind::ALL {
            writeln!(f, "  {:<22} {}", kind.name(), self.faults.count(*kind))?;
        }
        let count = |mark: &Mark| self.coverage.count(*mark) > 0;
        let (reached, never): (Vec<Mark>, Vec<Mark>) = Mark::ALL.iter().copied().partition(count);
        writeln!(
            f,
            "marks reached   {} of {}",
            reached.len(),
            Mark::ALL.len()
        )?;
        for mark in reached {
            writeln!(f, "  {:>9}  {}", self.coverage.count(mark), mark.text())?;
        }
        writeln!(f, "marks never reached: {}", never.len())?;
        for mark in never {
            writeln!(f, "  {}", mark.text())?;
        }
        Ok(())
    }
}
