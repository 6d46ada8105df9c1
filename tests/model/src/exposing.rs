//! For each rule, a small configuration that shows what goes wrong without it.

use crate::config::BrokenRule;
use crate::config::Config;

const PLAIN: Config = Config {
    plain: true,
    ..Config::SMALL
};

/// One writer's frames, in any order.
const APPENDS: Config = Config {
    records: [2, 0],
    gaps: 2,
    asked: [3, 3],
    ..Config::SMALL
};

/// Two takeovers.
const TAKEOVERS: Config = Config {
    terms: 3,
    asked: [3, 4],
    ..PLAIN
};

/// Two takeovers with exactly three nodes each.
const THREES: Config = Config {
    terms: 3,
    asked: [3, 3],
    read_only: true,
    ..PLAIN
};

/// A new directory.
const NEW_DIRECTORY: Config = Config {
    emptied: 1,
    records: [1, 0],
    ..PLAIN
};

impl BrokenRule {
    /// A small configuration in which a violation shows, with the rule broken.
    pub fn exposing(self) -> Config {
        let config = match self {
            BrokenRule::AckPerRecord => APPENDS,
            BrokenRule::JoinedWithoutPending => Config {
                gaps: 1,
                asked: [3, 6],
                ..APPENDS
            },
            BrokenRule::OwnGroupPgcl => Config {
                terms: 1,
                ..APPENDS
            },
            BrokenRule::RangesUnited | BrokenRule::TopForgotten => TAKEOVERS,
            BrokenRule::RangesDroppedEarly => Config {
                records: [1, 0],
                asked: [4, 6],
                ..TAKEOVERS
            },
            BrokenRule::EpochsNotUnique => THREES,
            BrokenRule::AbandonedLineCounts | BrokenRule::ToldTooEarly => Config {
                records: [1, 0],
                ..THREES
            },
            BrokenRule::CopyFromOtherList => Config::GOSSIP,
            BrokenRule::LimitIgnored => Config {
                limit: 1,
                records: [2, 1],
                ..PLAIN
            },
            BrokenRule::EmptiedNodeCounts | BrokenRule::OldAcksKept | BrokenRule::AdmittedByTwo => {
                NEW_DIRECTORY
            }
            BrokenRule::DamagedNodeVotes => Config {
                terms: 1,
                records: [2, 0],
                bad_frames: 1,
                ..PLAIN
            },
            BrokenRule::TwoFilledAtOnce => Config::FILLS,
            BrokenRule::CountedInUnion | BrokenRule::NamedTooEarly => Config::REPLACEMENT,
            BrokenRule::SuccessorUnknown => Config {
                records: [0, 1],
                ..Config::REPLACEMENT
            },
            _ => Config::SMALL,
        };
        config.with(self)
    }
}
