//! Every bound of queue, cache and size, in one place, each with its reason (law 9).

use std::time::Duration;

/// LSN allocation limit (LAL): no LSN is given out above VDL plus this, so that recovery knows an
/// upper bound for what may be in flight (SIGMOD'17 §4.2.1 uses the same ten million).
pub const LSN_ALLOCATION_LIMIT: u64 = 10_000_000;

/// Bytes of admitted writes that may wait for their quorum: the disk's volatile cache. Past it
/// WRITE requests are parked.
pub const BACKLOG_BYTES: usize = 64 << 20;

/// Bytes of requests that wait to be admitted: twice what the kernel has under way of one mount
/// (256 requests of 1 MiB). More fail: they were promised nothing, and must not fill the memory.
pub const PARKED_BYTES: usize = 512 << 20;

/// Payload bytes of one log frame at most: small enough that a reader can hold two. Copied leaves
/// make such long ones: a sync costs a disk as much as writing two to four MiB.
pub const FRAME_PAYLOAD_BYTES: usize = 8 << 20;

/// Payload bytes of a frame of anything else at most; large enough for one 1 MiB FUSE write and its
/// like. Extents smaller than 8 of these take an eighth.
pub const BATCH_BYTES: usize = 2 << 20;

/// Records of one log frame at most: keeps a gathered write under IOV_MAX (1024) parts.
pub const FRAME_RECORDS: usize = 960;

/// Batches that the writer has on their way: the next one fills while one is being synced, so
/// that a sync serves as many records as came meanwhile. A large one is sent behind it, so that the
/// disks need not wait for the acknowledgements.
pub const BATCHES_IN_FLIGHT: usize = 2;

/// What is unsent when another batch is sent behind one that is on its way, or as much as one frame
/// holds where that is less: with less only fewer small writes would share a sync.
pub const NEXT_BATCH_BYTES: usize = 512 << 10;

/// Appends that a node has its disk do one after the other: the second is begun when the first is
/// synced, while the node still takes in what that was.
pub const APPENDS_IN_FLIGHT: usize = 2;

/// Bytes of frames queued for one node before it is left behind to catch up from its peers.
pub const NODE_QUEUE_BYTES: usize = 32 << 20;

/// Memory of the block index of all nodes together, unless the user chooses another.
pub const INDEX_BYTES: usize = 64 << 20;

/// Fragments of one block before the node folds them into a local image.
pub const CHAIN_FRAGMENTS: usize = 12;

/// Blocks waiting to be folded on one node; more are found again at their next write.
pub const COALESCE_QUEUE: usize = 1024;

/// Leaves of nodes that wait to be mended; more are found again by a scrub.
pub const REPAIR_QUEUE: usize = 1024;

/// How often a volume is scrubbed by itself, unless the user chooses otherwise: more often than two
/// copies of one block rot, and seldom enough that reading everything costs no disk its life.
pub const SCRUB_INTERVAL: Duration = Duration::from_secs(7 * 24 * 3600);

/// Bytes a second that a scrub by itself reads at most, of all copies together: a fraction of what
/// one disk gives, and still 37 TiB in a week.
pub const SCRUB_RATE: u64 = 64 << 20;

/// What a scrub goes down to while the disk is in use, unless the user chose less. The rule: each
/// [`SCRUB_BREATH`] in which requests were answered halves its rate ([`SCRUB_RATE`] where it has no
/// cap), down to this; each one without doubles it, up to its cap.
pub const SCRUB_FLOOR_RATE: u64 = 4 << 20;

/// How often a scrub looks whether the disk is in use.
pub const SCRUB_BREATH: Duration = Duration::from_millis(500);

/// How long after the mount a scrub that is due begins at the earliest: what else begins with the
/// machine comes first. As long again is the time over which the scrubs of many volumes are spread.
pub const SCRUB_AFTER_OPEN: Duration = Duration::from_secs(300);

/// How often is written down where a scrub is: what is read again after a crash.
pub const SCRUB_NOTES: Duration = Duration::from_secs(30);

/// Blocks without a provable copy that are named one by one; more are counted. A disk with so many
/// needs another answer than a list.
pub const DATA_ERRORS: usize = 128;

/// Log bytes between two checkpoints of a node's index: bounds what an open has to scan.
pub const CHECKPOINT_LOG_BYTES: u64 = 128 << 20;

/// Bytes of a log extent unless the creator chooses less.
pub const EXTENT_BYTES: u32 = 64 << 20;

/// The first allocation of an extent, so that six nodes of an empty volume stay under 100 MiB.
pub const FIRST_ALLOCATION_BYTES: u64 = 8 << 20;

/// The smallest allocation: what is tried last when the file system below has little space.
pub const LEAST_ALLOCATION_BYTES: u64 = 1 << 20;

/// How long a request waits for room that collection may win before it fails: far longer than
/// emptying an extent takes, shorter than the two minutes after which kernels complain.
pub const SPACE_PATIENCE: Duration = Duration::from_secs(30);

/// Allocated, unused log bytes that a busy node keeps ahead of the writer: one whole backlog.
pub const ROOM_AHEAD_BYTES: u64 = BACKLOG_BYTES as u64;

/// Allocated, unused log bytes that a quiet node keeps: more than the largest single request.
pub const QUIET_AHEAD_BYTES: u64 = 3 << 20;

/// Bytes that garbage collection reads at a time where frames are short: bounds how long foreground
/// I/O waits behind it.
pub const CLEANING_CHUNK_BYTES: usize = 2 << 20;

/// Truncation ranges of a list; they are dropped when no node can meet what they annul.
pub const TRUNCATION_RANGES: usize = 2048;

/// How long a recovery waits for nodes that have not answered once it could go on without them.
pub const RECOVERY_GRACE: Duration = Duration::from_millis(300);

/// Runs of leaves on their way to one node that is filled, 1 MiB of memory each: while one long
/// frame is being written the next one gathers, and as many are being read.
pub const COPY_RUNS: usize = 24;

/// Runs of leaves on their way to all nodes together: two nodes are filled as fast as one, and more
/// of them take no more memory.
pub const COPY_RUNS_OF_ALL: usize = 2 * COPY_RUNS;

/// Segments of one node that are marked to be filled at a time: each is one that counts in no
/// quorum meanwhile.
pub const SEGMENTS_FILLED_AT_ONCE: usize = 4;

/// Log bytes between two checkpoints of a node that is being filled: every 64 MiB they took a
/// quarter of its time, and what an open has to scan is still read in a second.
pub const FILLING_CHECKPOINT_LOG_BYTES: u64 = 256 << 20;

/// How long a node may take to give a peer what that lacks, before another node is asked; and how
/// long all are left in peace when none could.
pub const COPY_PATIENCE: Duration = Duration::from_secs(1);

/// How long an open that was outbid by another one waits at most before it bids more, the first time:
/// about as long as a recovery takes.
pub const OUTBID_WAIT: Duration = Duration::from_millis(20);

/// How long an answer that must come may be missing before it is asked for again: messages can be
/// lost. Longer than a healthy disk ever takes, and some of these fit into a recovery's stall.
pub const REPLY_PATIENCE: Duration = Duration::from_secs(2);

/// How long a recovery that settles the tail waits for anything to come, before it goes on without
/// a node that is silent, or asks everybody again.
pub const SETTLING_PATIENCE: Duration = Duration::from_secs(3);

/// How long a segment that could vote waits for another one of its group that is being filled: enough
/// for what was missed in a short absence, less than a recovery's stall.
pub const FILLING_TURN: Duration = Duration::from_secs(5);

/// How long a recovery may come no further before it ends with the reason: longer than a disk's
/// error recovery takes.
pub const RECOVERY_STALL: Duration = Duration::from_secs(10);

/// How long requests wait for a lost quorum before they fail, unless the user chooses another.
pub const QUORUM_WAIT: Duration = Duration::from_secs(60);

/// How long closing a volume waits for what was written to be durable, also where requests wait
/// for a quorum for ever: shorter than the 90 seconds after which systemd kills a service.
pub const CLOSE_PATIENCE: Duration = Duration::from_secs(60);

/// How often nodes check that their directory is still the one they opened (they must notice
/// within a second).
pub const DIRECTORY_CHECK: Duration = Duration::from_millis(400);

/// Bytes of each of the two files of a volume's event history: some thousand events, which is weeks
/// of ordinary use; reading them all takes a millisecond.
pub const EVENT_FILE_BYTES: u64 = 256 << 10;

/// Bytes of an event's line: paths in what went wrong are cut off behind it.
pub const EVENT_LINE_BYTES: usize = 512;

/// Events that wait to be written into the history: two for each of a hundred nodes that go at
/// once. More are counted and dropped: a slow disk below the history must not hold up anything.
pub const EVENT_QUEUE: usize = 256;

/// How often the volume's figures are looked at for what is worth an event.
pub const EVENT_LOOK: Duration = Duration::from_millis(100);

/// How long errors and repairs of a node are gathered into one event after the first. It doubles,
/// up to the second figure, as long as there are more, so that a bad disk does not fill the history.
pub const EVENT_GATHERING: Duration = Duration::from_secs(10);

/// The longest that they are gathered.
pub const LONGEST_GATHERING: Duration = Duration::from_secs(3600);

/// How long closing a volume waits for the last events to be written.
pub const EVENT_PATIENCE: Duration = Duration::from_secs(2);

/// Faults that may be active at a time: more than anybody can tell apart in a status.
pub const FAULTS: usize = 64;

/// The longest time that a fault may be asked for: one that is forgotten is over the next day.
pub const LONGEST_FAULT: Duration = Duration::from_secs(24 * 3600);

/// What congestion may add to an access at most: longer than a disk's own error recovery takes.
pub const LONGEST_CONGESTION: Duration = Duration::from_secs(60);

/// Effects that congestion holds back at most, of all nodes together; more are not delayed.
pub const HELD_EFFECTS: usize = 4096;

/// Blocks of a node that are corrupted with one request at most: each costs a look at its six copies.
pub const CORRUPTED_BLOCKS: u32 = 100_000;

/// Numbers that only rise (LSNs, frames, versions) are read back up to this: at a million
/// a second it lasts a hundred thousand years. What is higher was not counted up to, and could
/// not be counted on from.
pub const LARGEST_NUMBER: u64 = 1 << 62;

/// The same for epochs, which versions of configurations begin with.
pub const LARGEST_EPOCH: u64 = LARGEST_NUMBER >> CONFIGURATION_BITS;

/// Low bits of a configuration's version, which count those that one epoch gives; the others are its
/// epoch's, so that a later writer's are above. Many more than the steps of moving every segment of
/// 128 TiB in groups of 1 MiB: 2^27 groups with up to six steps each.
pub const CONFIGURATION_BITS: u32 = 32;

/// The same for extents and their files, of which a process begins far fewer than are left.
pub const LARGEST_EXTENT: u32 = u32::MAX - (1 << 28);

/// A node is slow when it takes so many times as long as the others do at the median: disks of one
/// kind differ by two or three, and what is busy with a checkpoint by more.
pub const SLOW_FACTOR: u32 = 8;

/// No node is slow below this: less than a read waits before a second node is asked, so that nobody
/// would notice.
pub const SLOW_FLOOR: Duration = Duration::from_millis(20);

/// How long it must be so before the node is slow: longer than a disk's own hiccups.
pub const SLOW_AFTER: Duration = Duration::from_secs(2);

/// Answers that must have been measured meanwhile: one that was late proves nothing.
pub const SLOW_SAMPLES: u32 = 4;

/// A slow node is fit again below so many times the median, or half the floor: far enough below
/// the other threshold that none is crossed by chance.
pub const FIT_FACTOR: u32 = 3;

/// How long it must be so: longer than becoming slow takes, so that a disk that is slow now and
/// then counts as slow.
pub const FIT_AFTER: Duration = Duration::from_secs(10);

/// What was measured so long ago says nothing of now: a disk that nobody uses is not slow.
pub const LATENCY_MEMORY: Duration = Duration::from_secs(15);

/// How often a read is asked, too, of a node that is avoided, so that its recovery is noticed: a
/// few of them fit into the time that a judgement takes.
pub const PROBE_EVERY: Duration = Duration::from_millis(250);

/// A request that was not answered for so long is stuck, and its node slow at once: no disk that
/// works takes as long.
pub const STUCK_AFTER: Duration = REPLY_PATIENCE;

/// A frame that was not acknowledged for so long: the node is left behind, if four others go on
/// without it. Longer than the error recovery of a disk, after which it would go on by itself.
pub const STUCK_GIVEN_UP: Duration = Duration::from_secs(15);

/// Reads of a node that did not check, in [`DAMAGE_WINDOW`]: as many are no bad sector, but a bad
/// disk. Others are asked first until a scrub has looked at everything.
pub const DAMAGE_LIMIT: usize = 16;

/// The time in which [`DAMAGE_LIMIT`] counts.
pub const DAMAGE_WINDOW: Duration = Duration::from_secs(60);

/// How long a node that was left behind waits before it joins again when it was left behind a
/// little earlier, too: doubled each time, up to [`REJOIN_AFTER_MOST`]. Joining costs the others
/// what they copy to it.
pub const REJOIN_AFTER: Duration = Duration::from_secs(1);

/// See [`REJOIN_AFTER`]; also how often a node without space is tried all the same.
pub const REJOIN_AFTER_MOST: Duration = Duration::from_secs(30);

/// How often a node tells a peer what is new, and looks for gaps: a gap that is filled by then costs
/// the writer nothing.
pub const GOSSIP_EVERY: Duration = Duration::from_millis(100);

/// How long a node waits for records that it asked a peer for, before it asks another one.
pub const GOSSIP_PATIENCE: Duration = Duration::from_secs(1);

/// Records that a node gives a peer at a time; their payload is no longer than a frame's.
pub const GOSSIP_RECORDS: usize = 64;

/// Answers for peers that a node reads from its log at a time.
pub const GOSSIP_ANSWERS: usize = 4;

/// Groups that a node tells a peer of at a time.
pub const GOSSIP_GROUPS: usize = 64;

/// Records of which a node knows where they lie when its index has taken them in: some 100 bytes each.
pub const GOSSIP_MEMORY: usize = 4096;

/// Records of each tail that a node takes into its index in one step when there is time for it; fewer
/// are left for the next tick. Some 100 us, for which a request may have to wait.
pub const IDLE_RECORDS: u64 = 64;

/// Records that a node puts off at most before it takes them into its index: what whoever asks for
/// anything else has to wait for, some 2 ms.
pub const PUT_OFF_RECORDS: u64 = 1024;

/// Groups that a node is told to let go at once: it forgets thousands of leaves of each in one step.
pub const GROUPS_RELEASED_AT_ONCE: usize = 4;
