//! Everything that can go wrong, by name.

macro_rules! kinds {
    ($($name:ident $text:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum FaultKind {
            $(#[doc = $text] $name,)+
        }

        impl FaultKind {
            /// All kinds.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$name,)+];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(FaultKind::$name => $text,)+ }
            }

            /// The kind of a name.
            pub fn of_name(name: &str) -> Option<FaultKind> {
                FaultKind::ALL.iter().copied().find(|kind| kind.name() == name)
            }
        }
    };
}

kinds! {
    // What was not synced, at a power cut.
    LostUnsynced "lost-unsynced",
    TornWrite "torn-write",
    ReorderedWrite "reordered-write",
    UndeletedFile "undeleted-file",
    // The disk under a running node.
    FailedAppend "failed-append",
    FailedSuperblock "failed-superblock",
    LostWrite "lost-write",
    MisdirectedWrite "misdirected-write",
    MisdirectedRead "misdirected-read",
    PassingReadError "passing-read-error",
    StickyReadError "sticky-read-error",
    NoSpace "no-space",
    SlowDisk "slow-disk",
    StuckDisk "stuck-disk",
    SlowRead "slow-read",
    // Content at rest.
    BitRot "bit-rot",
    ZeroedSector "zeroed-sector",
    StalePage "stale-page",
    SuperblockRot "superblock-rot",
    FileGone "file-gone",
    FileShort "file-short",
    FileLong "file-long",
    ForeignFile "foreign-file",
    RolledBack "rolled-back",
    EmptiedDirectory "emptied-directory",
    EarlierLife "earlier-life",
    // The network.
    Drop "drop",
    Duplicate "duplicate",
    Delay "delay",
    Reorder "reorder",
    OneWayCut "one-way-cut",
    NodeCut "node-cut",
    ZoneCut "zone-cut",
    SlowPeer "slow-peer",
    Replay "replay",
    // Processes.
    NodeCrash "node-crash",
    NodePowerCut "node-power-cut",
    ZonePowerCut "zone-power-cut",
    PowerCut "power-cut",
    WriterCrash "writer-crash",
    HalfConfigured "half-configured",
    CrashAtEffect "crash-at-effect",
    NodePause "node-pause",
    Checkpoint "checkpoint",
    WriterPause "writer-pause",
    Takeover "takeover",
    CleanClose "clean-close",
    // Membership.
    ReplaceNode "replace-node",
    AddNodes "add-nodes",
    SpreadGroups "spread-groups",
    DrainNode "drain-node",
}

/// How often each kind happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultCounts {
    counts: Vec<u64>,
}

impl Default for FaultCounts {
    fn default() -> Self {
        FaultCounts {
            counts: vec![0; FaultKind::ALL.len()],
        }
    }
}

impl FaultCounts {
    /// Counts faults of a kind.
    pub fn add(&mut self, kind: FaultKind, count: u64) {
        self.counts[kind as usize] += count;
    }

    /// Faults of a kind.
    pub fn count(&self, kind: FaultKind) -> u64 {
        self.counts[kind as usize]
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &FaultCounts) {
        let counts = self.counts.iter_mut().zip(&other.counts);
        counts.for_each(|(own, other)| *own += other);
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}
