//! Opening a node behind a crash: the scan of a log without a checkpoint, which is as long as one
//! can become before the next. Frames are checked, and their records go into the index in the
//! random order in which a database wrote its blocks.
//!
//! The bytes that are counted are those of the frames. What an open reads besides, to see which
//! extents the files hold and which were only allocated ahead, is a part of the time. A read of the
//! log is a copy of it here, from memory that no cache holds: what a disk takes comes on top.

use crate::node_log::{EPOCH, INDEX_BYTES, LogFiles, LoggingNode};
use crate::random::Random;
use crate::write::{BLOCKS, write};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use redoubt_volume::format::log_frame::{Frame, FrameStamp};
use redoubt_volume::format::superblock::Superblock;
use redoubt_volume::geometry::{BLOCK_BYTES, PAGES_PER_BLOCK};
use redoubt_volume::limits;
use redoubt_volume::lsn::Lsn;
use redoubt_volume::segment::node::Node;

/// Records of a frame, each an image of another block.
const FRAME_RECORDS: usize = 64;

/// What a crash has left.
struct Remains {
    superblock: Superblock,
    files: LogFiles,
    frames: u64,
    frame_bytes: u64,
}

impl Remains {
    /// Frames are appended until one more would have the node write a checkpoint.
    fn new() -> Remains {
        let mut random = Random::new(64);
        let blocks = random.shuffled(BLOCKS);
        let mut node = LoggingNode::new();
        let (mut frames, mut frame_bytes) = (0, 0);
        for (number, blocks) in (0..).zip(blocks.chunks(FRAME_RECORDS)) {
            let frame = frame(number, blocks, &mut random);
            if frame_bytes + frame.bytes() as u64 >= limits::CHECKPOINT_LOG_BYTES {
                break;
            }
            (frames, frame_bytes) = (number + 1, frame_bytes + frame.bytes() as u64);
            node.append(frame);
        }
        let (superblock, files) = node.end();
        Remains {
            superblock,
            files,
            frames,
            frame_bytes,
        }
    }

    fn open(&mut self, superblock: Superblock) -> Node {
        let node = Node::open(superblock, &mut self.files, INDEX_BYTES);
        node.expect("a log that checks")
    }

    /// The node has all records, and those before the last frame's in its index.
    fn check(&self, node: &Node) {
        assert!(self.superblock.checkpoint.is_empty());
        let (figures, records) = (node.figures(), FRAME_RECORDS as u64);
        assert_eq!(figures.scl, Lsn(self.frames * records));
        let announced = (self.frames - 1) * records;
        assert_eq!(figures.live_bytes, announced * BLOCK_BYTES as u64);
        assert_eq!((figures.checksum_errors, node.overdrawn_bytes()), (0, 0));
    }
}

/// A frame of the writer, which knows that the one before it is durable.
fn frame(number: u64, blocks: &[u32], random: &mut Random) -> Frame {
    let before = number * FRAME_RECORDS as u64;
    let stamp = FrameStamp {
        epoch: EPOCH,
        vdl: Lsn(before),
        wall_time_ns: 0,
    };
    let part = |(lsn, block): (u64, &u32)| {
        let payload = random.pages(PAGES_PER_BLOCK);
        write(Lsn(lsn), *block as usize * PAGES_PER_BLOCK, payload)
    };
    Frame::new(stamp, (before + 1..).zip(blocks).map(part).collect())
}

#[divan::bench]
fn scan(bencher: Bencher) {
    let mut remains = Remains::new();
    let superblock = remains.superblock.clone();
    let node = remains.open(superblock.clone());
    remains.check(&node);
    bencher
        .counter(BytesCount::new(remains.frame_bytes))
        .with_inputs(|| superblock.clone())
        .bench_local_values(|superblock| remains.open(black_box(superblock)));
}
