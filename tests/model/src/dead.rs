//! What nobody reads any more: states that differ in nothing else are one.

use crate::config::Config;
use crate::state::{GROUPS, Lsn, Phase, State};

impl State {
    /// Clears what no later step and no check reads.
    pub fn forget_what_nobody_reads(&mut self, config: &Config) {
        self.forget_what_recoveries_read();
        if self.terms[..usize::from(config.terms)]
            .iter()
            .all(|term| term.phase != Phase::Unused)
        {
            // Only a recovery that goes on to a list asks for it.
            self.nodes
                .iter_mut()
                .for_each(|node| node.replay_low = Lsn::MAX);
        }
        if !self.may_restart(config) {
            for node in &mut self.nodes {
                (node.kept_index, node.logged_announced) = (0, 0);
            }
        }
    }

    /// A process of a node may still end: then it finds what it kept.
    fn may_restart(&self, config: &Config) -> bool {
        config.replaces || self.crashes < config.crashes || self.bad_frames < config.bad_frames
    }

    /// What a recovery heard and decided for its own course.
    fn forget_what_recoveries_read(&mut self) {
        for (place, term) in self.terms.iter_mut().enumerate() {
            if term.phase != Phase::Open {
                continue;
            }
            (term.reports, term.announced, term.top) = (0, 0, 0);
            term.bases = [0; GROUPS];
            for node in &mut self.nodes {
                let view = &mut node.views[place];
                (view.reported, view.reported_tail) = (false, 0);
            }
        }
    }
}
