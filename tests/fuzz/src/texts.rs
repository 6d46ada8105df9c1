//! What users and other processes write: requests of the control socket, mount options, sizes.

use crate::control::fault::{FaultReply, FaultRequest};
use crate::control::server::{Service, converse};
use crate::control::{Answer, Reply, ScrubOrder};
use crate::exit::{Exit, Refusal};
use crate::report::{Health, SpaceReport, VolumeReport};
use crate::scrub_report::ScrubReport;
use crate::size::{iec, parse_bytes, parse_disk_size, parse_new_size};
use parking_lot::RwLock;
use redoubt_mount::options::MountOptions;
use redoubt_volume::geometry::MAX_DISK_BYTES;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

/// A volume that does what it is asked, but unmount.
struct Example;

impl Service for Example {
    fn status(&self) -> VolumeReport {
        VolumeReport {
            id: "00".repeat(16),
            path: "/volume".to_owned(),
            size: 1 << 30,
            state: Health::Healthy,
            status: None,
            action: None,
            mountpoint: None,
            pid: Some(1),
            epoch: 1,
            writer_id: "00".repeat(8),
            groups: Some(1),
            vcl: Some(1),
            vdl: Some(1),
            recovery_ms: Some(1),
            nodes: Vec::new(),
            space: SpaceReport::default(),
            since_ms: None,
            faults: Vec::new(),
            scrub: None,
            data_errors: None,
            relocation: None,
        }
    }

    fn resize(&self, bytes: u64) -> anyhow::Result<()> {
        anyhow::ensure!(bytes <= MAX_DISK_BYTES, "too large");
        Ok(())
    }

    fn scrub(&self, _: ScrubOrder, _: Option<NonZeroU64>) -> anyhow::Result<ScrubReport> {
        Ok(ScrubReport::default())
    }

    fn fault(&self, request: &FaultRequest) -> anyhow::Result<FaultReply> {
        let corrupted = match request {
            FaultRequest::Corrupt { blocks, .. } => *blocks,
            _ => 0,
        };
        let faults = Vec::new();
        Ok(FaultReply { faults, corrupted })
    }

    fn replace_node(&self, node: &str, directory: &Path) -> anyhow::Result<()> {
        anyhow::ensure!(node == "a1" && directory.is_absolute(), "not this one");
        Ok(())
    }

    fn abort_replacement(&self, node: &str) -> anyhow::Result<PathBuf> {
        anyhow::ensure!(node == "a1", "not this one");
        Ok(PathBuf::from("/new"))
    }

    fn drain_node(&self, node: &str) -> anyhow::Result<()> {
        anyhow::ensure!(node == "a1", "not this one");
        Ok(())
    }

    fn rebalance(&self) -> anyhow::Result<()> {
        Ok(())
    }

    fn unmount(&self) -> anyhow::Result<()> {
        Err(Refusal::error(Exit::IN_USE, "busy"))
    }
}

/// A client of the control socket: each of its lines has one answer, itself a line of JSON.
pub fn control_socket(input: &[u8]) {
    let mut answers = Vec::new();
    let mut requests = input;
    converse(&mut requests, &mut answers, &Example, &RwLock::new(()))
        .expect("streams in memory do not fail");
    let lines: Vec<&[u8]> = answers.split_inclusive(|byte| *byte == b'\n').collect();
    let requests = input.split_inclusive(|byte| *byte == b'\n').count();
    // The first line that is too long ends the conversation.
    assert!(lines.len() <= requests && lines.is_empty() == input.is_empty());
    for line in lines {
        match serde_json::from_slice(line).expect("an answer is JSON") {
            Answer::Error { error, .. } => assert!(!error.message.is_empty()),
            Answer::Done { reply, .. } => match reply {
                Reply::Scrub(found) => assert_eq!(*found, ScrubReport::default()),
                Reply::Fault(reply) => assert!(reply.faults.is_empty()),
                Reply::ReplaceNode { node, directory } => {
                    assert!(node == "a1" && directory.is_absolute());
                }
                Reply::AbortReplacement { node, .. } | Reply::DrainNode { node } => {
                    assert_eq!(node, "a1");
                }
                Reply::Rebalance => {}
                Reply::Resize { size } => assert!(size <= MAX_DISK_BYTES),
                Reply::Unmount { .. } => panic!("unmounted a disk in use"),
                Reply::Status { volume } => assert_eq!(*volume, Example.status()),
            },
        }
    }
}

/// What follows `-o`: refused with the option's name, or understood, and the same when it is cut
/// into several lists.
pub fn mount_options(input: &[u8]) {
    let Ok(list) = std::str::from_utf8(input) else {
        return;
    };
    let options = MountOptions::parse([list]);
    assert_eq!(options, MountOptions::parse(list.split(',')));
    match options {
        Ok(options) => assert!(options.index_bytes > 0),
        Err(error) => assert!(error.to_string().contains("mount option")),
    }
}

/// A size as a user writes it, and as it is printed.
pub fn disk_size(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(bytes) = parse_bytes(text) {
        let printed = iec(bytes);
        let (_, unit) = printed.split_once(' ').expect("number and unit");
        assert!(unit.ends_with('B'), "{printed}");
    }
    if let Ok(bytes) = parse_disk_size(text) {
        assert!((1..=MAX_DISK_BYTES).contains(&bytes));
        assert_eq!(parse_bytes(text), Ok(bytes));
    }
    if let Ok(size) = parse_new_size(text)
        && let Ok(bytes) = size.resolve(1 << 40)
    {
        assert!((1..=MAX_DISK_BYTES).contains(&bytes));
    }
}
