//! Bugs that can be planted, to see whether the tests find them. Only the feature `planted-bugs`
//! has them, which no release is built with; without it every question is answered "no" when it
//! is compiled. `scripts/planted-bugs` chooses one at a time.

macro_rules! bugs {
    (simulator { $($core:ident $core_name:literal $core_text:literal,)+ }
     power_cuts { $($io:ident $io_name:literal $io_text:literal,)+ }) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $core_text] $core,)+
            $(#[doc = $io_text] $io,)+
        }

        impl Bug {
            /// Those that the simulator is to find.
            pub const OF_SIMULATOR: &'static [Bug] = &[$(Bug::$core,)+];

            /// Those that only the power cuts of recorded files can find: the simulator has none
            /// of the I/O on real files.
            pub const OF_POWER_CUTS: &'static [Bug] = &[$(Bug::$io,)+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Bug::$core => $core_name,)+ $(Bug::$io => $io_name,)+ }
            }

            /// What it does.
            pub fn text(self) -> &'static str {
                match self { $(Bug::$core => $core_text,)+ $(Bug::$io => $io_text,)+ }
            }
        }
    };
}

bugs! {
    simulator {
        // Quorum and durability.
        AckAtThree "ack-at-three"
            "What three segments hold counts as durable.",
        AckBeforeSync "ack-before-sync"
            "A node acknowledges a frame when it has asked for its append.",
        FailedAppendIgnored "failed-append-ignored"
            "A node whose append or sync failed goes on as if it had not.",
        OldAcksCount "old-acks-count"
            "What a segment had proved counts on when it is gone, replaced or being filled.",
        OtherAcksCount "other-acks-count"
            "Acknowledgements to another writer, or of an earlier life, count.",
        LowestPgclIsVcl "min-pgcl-as-vcl"
            "The VCL goes no further than the lowest PGCL of all groups.",
        HalfTransactionIsDurable "half-transaction-durable"
            "The VDL stops at any record, not only where a mini-transaction ends.",
        FlushBeforeQuorum "flush-before-quorum"
            "A flush is answered at once.",
        PendingNotRead "pending-not-read"
            "Reads do not see what is not durable yet.",
        ReadBelowReadPoint "read-below-read-point"
            "Reads go to segments that do not have everything up to the read point.",
        // Segments that move to other nodes.
        ReleasedBeforeDurable "released-before-durable"
            "A node lets a segment go when the configuration is sent that places it elsewhere.",
        MovedBeforeFilled "moved-before-filled"
            "A segment that moves counts as filled when it begins to be.",
        // Epochs and recovery.
        StaleEpochAccepted "stale-epoch-accepted"
            "A node takes requests of a writer that was superseded.",
        PromiseNotDurable "promise-not-durable"
            "A node promises before its superblock is on stable storage, or without.",
        LateFramesAppended "late-frames-appended"
            "What waits for its append is appended though a newer epoch was promised.",
        TruncateBelowVdl "truncate-below-vdl"
            "A recovery keeps what was announced as durable, and no more.",
        ReuseLsns "lsn-reused"
            "A recovery annuls nothing: the next LSN follows the last durable one.",
        ListNotDurable "list-not-durable"
            "A node says that it holds a list before its superblock is on stable storage.",
        OldestListCounts "oldest-list-counts"
            "A recovery begins with the list of the lowest epoch, not the highest.",
        ServeBeforeSettled "tail-served-before-settled"
            "A recovery serves before four segments cover the tail.",
        SettleWithoutAnchor "settled-without-anchor"
            "A segment counts as settled without what it lacks up to its anchor.",
        SettleOnThree "settled-on-three"
            "A recovery serves when three segments cover the tail.",
        AnnounceBeforeSettled "announced-before-settled"
            "Frames that settle the tail announce the new VDL.",
        EmptiedNodeCounts "emptied-node-counts"
            "A directory that was emptied or made anew counts in a recovery.",
        IncompleteVotes "incomplete-votes"
            "A segment that lacks something, or has a damaged tail, counts in a recovery.",
        ConfigurationComesBack "configuration-comes-back"
            "A configuration that an earlier writer left unfinished counts at a later open.",
        // Membership.
        ExchangeTooEarly "exchange-too-early"
            "A successor takes a node's place before it holds everything.",
        ExchangeWithoutBoth "exchange-without-both"
            "While a node is exchanged, what it alone holds counts.",
        GossipFromAnyEpoch "gossip-from-any-epoch"
            "A node takes what a peer gives, whatever list that holds and its own says.",
        GossipCountsEarly "gossip-counts-early"
            "What a peer gave counts before it is on stable storage.",
        SuccessorCounts "successor-counts"
            "What a successor holds counts for the node, before it has taken its place.",
        // What a node keeps.
        ChecksumNotVerified "checksum-not-verified"
            "Pages are given as they are read.",
        ChecksumWithoutAddress "checksum-without-address"
            "A frame counts wherever it is found: from an earlier use of the file, or misdirected.",
        TornFrameAccepted "torn-frame-accepted"
            "A frame counts when its header checks, whatever its payload.",
        DamageTakenForEnd "damage-taken-for-end"
            "A damaged record is as if it had never been there.",
        ReplayNotSynced "replay-not-synced"
            "What an open finds in the log counts without having been synced.",
        ReplayBeginsLate "replay-begins-late"
            "A replay begins at the end of the log, though the index lacks records before it.",
        DiscardForgottenOnReplay "discard-forgotten-on-replay"
            "A replay leaves discards out.",
        CheckpointBeforeData "checkpoint-before-data"
            "A checkpoint's directories are made before its leaves are written.",
        TombstonesForgotten "tombstones-forgotten"
            "A checkpoint forgets the discards that moved blocks have yet to meet.",
        DiscardOvertaken "discard-overtaken"
            "A moved or copied block comes back though it was discarded meanwhile.",
        OneSuperblockSlot "one-superblock-slot"
            "The superblock is written over the only good one.",
        FoldLosesNewest "fold-loses-newest"
            "A folded block lacks its newest record.",
        ImageHidesNewer "image-hides-newer"
            "An image hides newer changes of its block.",
        GarbageFreesLive "garbage-frees-live"
            "Garbage collection frees what is live.",
        ReusedBeforeCheckpoint "reused-before-checkpoint"
            "A file is used again though the last checkpoint names it.",
        // How nodes are judged.
        SlowNodeAskedFirst "slow-node-asked-first"
            "A node that is slow is asked as soon as any other.",
        FullNodeThrownAway "full-node-thrown-away"
            "A node whose file system is full gives itself up.",
        NoHysteresis "no-hysteresis"
            "A node is slow, and fit again, as soon as it seems so.",
        // What a node is given.
        RepairFromStalePeer "repair-from-stale-peer"
            "A segment is filled from a peer that does not have everything.",
        AbsenceNotCopied "absence-not-copied"
            "A segment that is filled keeps what its peer does not have.",
        RepairIgnoresVersion "repair-ignores-version"
            "A node writes a copy anew whatever its own version is.",
        // What a scrub looks at.
        ScrubSkipsLastLeaf "scrub-skips-last-leaf"
            "A scrub ends before the last leaf of a group.",
        MetadataNotLookedAt "metadata-not-looked-at"
            "A node says that its metadata checks without looking.",
        AbsenceNotCompared "absence-not-compared"
            "A scrub takes a block that a node does not have for one that it need not have.",
        DamageNotMended "damage-not-mended"
            "A scrub tells damage and has nothing written anew.",
        CompleteBeforeLastLeaf "complete-before-last-leaf"
            "A segment counts as filled when the first leaves are there.",
        FilledBeforeDurable "filled-before-durable"
            "Leaves that are on their way count as filled when a copy goes on after a crash.",
        FilledUpToHighest "filled-up-to-highest"
            "What lies before the last leaf that was copied counts as filled.",
        ResumedWithoutChanges "resumed-without-changes"
            "A copy that goes on leaves out what changed since it began.",
    }
    power_cuts {
        // Appends and superblocks.
        AppendNotSynced "append-not-synced"
            "An append counts when it is written.",
        SuperblockNotSynced "superblock-not-synced"
            "A superblock counts when it is written.",
        SyncBeforeWrite "sync-before-write"
            "A batch is synced before it is written.",
        FlushSharedTooEarly "flush-shared-too-early"
            "The flush of one file covers what another file has in new space.",
        SyncRetried "sync-retried"
            "A sync that failed is tried again, and the second answer counts.",
        // Names.
        ExtentNameNotSynced "extent-name-not-synced"
            "An extent counts as allocated before its name is on stable storage.",
        NodeNamesNotSynced "node-names-not-synced"
            "A node directory counts as made before the names in it are on stable storage.",
        FolderNamesNotSynced "folder-names-not-synced"
            "A volume counts as made before the names of its folders are on stable storage.",
        BookNotSynced "book-not-synced"
            "The address book gets its name before its bytes are on stable storage.",
    }
}

/// The variable that names the bug of a process.
#[cfg(feature = "planted-bugs")]
pub const VARIABLE: &str = "REDOUBT_PLANTED_BUG";

/// The bug of this process.
///
/// # Panics
/// When the variable names none that there is: a test that plants nothing proves nothing.
#[cfg(feature = "planted-bugs")]
pub fn planted() -> Option<Bug> {
    static PLANTED: std::sync::LazyLock<Option<Bug>> = std::sync::LazyLock::new(|| {
        let name = std::env::var(VARIABLE).ok()?;
        let mut bugs = Bug::OF_SIMULATOR.iter().chain(Bug::OF_POWER_CUTS).copied();
        let bug = bugs.find(|bug| bug.name() == name);
        Some(bug.unwrap_or_else(|| panic!("{VARIABLE}: there is no bug '{name}'")))
    });
    *PLANTED
}

/// Whether this bug is planted.
#[cfg(feature = "planted-bugs")]
pub fn is_planted(bug: Bug) -> bool {
    planted() == Some(bug)
}

/// Whether this bug is planted: never.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn is_planted(_: Bug) -> bool {
    false
}
