//! Changes to a volume's files: of fields, of pages, of whole files; with right checksums or
//! without.

use super::disk::{Disk, File};
use super::image::Image;
use crate::input::{Edit, Input};
use crate::repair;
use redoubt_volume::format::log_frame::{DecodedFrame, FRAME_HEADER_BYTES};
use redoubt_volume::format::redo_record::{RECORD_BYTES, RecordKind};
use redoubt_volume::format::superblock::SLOT_BYTES;
use redoubt_volume::ids::ExtentSlot;
use redoubt_volume::page::PAGE_BYTES;
use std::collections::BTreeSet;

/// Mutations of one input at most: more only make it slow.
const MOST: usize = 24;

/// What is sealed by one checksum after another: a slot of the superblock, or a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Unit {
    /// The log's file; `None`: the superblock's.
    slot: Option<ExtentSlot>,
    page: usize,
    pages: usize,
}

/// Bytes that mean something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    unit: Unit,
    /// First byte in the unit.
    start: usize,
    bytes: usize,
}

impl Area {
    /// The areas of a node's files.
    pub(super) fn all(disk: &Disk) -> Vec<Area> {
        let pages = SLOT_BYTES / PAGE_BYTES;
        let superblocks = disk.superblock_bytes();
        let slots = superblocks.chunks(SLOT_BYTES).enumerate();
        let slots = slots.map(|(index, slot)| Area {
            unit: Unit {
                slot: None,
                page: index * pages,
                pages,
            },
            start: 0,
            // With all rows: the last one is that of a relocation.
            bytes: repair::superblock_bytes(slot).clamp(256, SLOT_BYTES),
        });
        let mut areas: Vec<Area> = slots.collect();
        for (slot, file) in &disk.extents {
            let mut bytes = vec![0; file.length() as usize];
            file.read(0, &mut bytes);
            areas_of_log(*slot, &bytes, &mut areas);
        }
        areas
    }
}

fn areas_of_log(slot: ExtentSlot, bytes: &[u8], areas: &mut Vec<Area>) {
    let mut page = 0;
    while page * PAGE_BYTES < bytes.len() {
        let Ok(frame) = DecodedFrame::decode(&bytes[page * PAGE_BYTES..]) else {
            page += 1;
            continue;
        };
        let unit = Unit {
            slot: Some(slot),
            page,
            pages: frame.pages(),
        };
        areas.push(Area {
            unit,
            start: 0,
            bytes: FRAME_HEADER_BYTES + frame.records.len() * RECORD_BYTES,
        });
        let payload_at = frame.header_pages();
        for record in frame.records.iter().filter(|r| r.payload_pages > 0) {
            let start = (payload_at + record.payload_page as usize) * PAGE_BYTES;
            let is_index = record.kind as u8 >= RecordKind::IndexLeaf as u8;
            let bytes = if is_index { 256 } else { PAGE_BYTES };
            areas.push(Area { unit, start, bytes });
        }
        page += frame.pages();
    }
}

/// The changes of an input.
pub(super) struct Mutations(Vec<Mutation>);

struct Mutation {
    node: usize,
    area: Area,
    is_repaired: bool,
    what: What,
}

enum What {
    Edit(Edit),
    /// The bytes of an area of some node, which was in the volume before.
    Copy {
        node: usize,
        area: Area,
    },
    Zero,
    /// The file has another length.
    Resize(u64),
    Remove,
    /// The file of another node under the same name.
    CopyFile {
        node: usize,
    },
}

impl Mutations {
    /// The rest of an input, for any node or for one.
    pub(super) fn read(input: &mut Input<'_>, image: &Image, only: Option<usize>) -> Mutations {
        let mut mutations = Vec::new();
        while !input.is_empty() && mutations.len() < MOST {
            mutations.push(Mutation::read(input, image, only));
        }
        Mutations(mutations)
    }

    /// Carries them out, then makes checksums right where that was asked for.
    pub(super) fn apply(&self, image: &Image, disks: &mut [Disk]) {
        let mut repairs = BTreeSet::new();
        for mutation in &self.0 {
            mutation.apply(image, &mut disks[mutation.node]);
            if mutation.is_repaired {
                repairs.insert((mutation.node, mutation.area.unit));
            }
        }
        for (node, unit) in repairs {
            let bytes = unit.pages * PAGE_BYTES;
            let repair = match unit.slot {
                None => repair::superblock,
                Some(_) => repair::frame,
            };
            change(&mut disks[node], unit, 0, bytes, repair);
        }
    }

    /// Whether the volume must survive them: at most two nodes are hit, and every checksum tells.
    pub(super) fn are_survivable(&self) -> bool {
        let nodes: BTreeSet<usize> = self.0.iter().map(|mutation| mutation.node).collect();
        nodes.len() <= 2 && self.0.iter().all(|mutation| !mutation.is_repaired)
    }
}

impl Mutation {
    fn read(input: &mut Input<'_>, image: &Image, only: Option<usize>) -> Mutation {
        let (kind, node) = (input.u8(), usize::from(input.u8()) % image.disks.len());
        let node = only.unwrap_or(node);
        let areas = &image.areas[node];
        let area = areas[input.below(areas.len())];
        let is_repaired = kind & 0x80 != 0;
        let what = match kind & 0xf {
            0..=9 => What::Edit(read_edit(input, area.bytes, is_repaired)),
            10 | 11 => {
                let node = input.below(image.disks.len());
                let areas = &image.areas[node];
                let area = areas[input.below(areas.len())];
                What::Copy { node, area }
            }
            12 => What::Zero,
            13 => What::Resize(u64::from(input.u16()) * 64),
            14 => What::Remove,
            _ => What::CopyFile {
                node: input.below(image.disks.len()),
            },
        };
        Mutation {
            node,
            area,
            is_repaired,
            what,
        }
    }

    fn apply(&self, image: &Image, disk: &mut Disk) {
        let Area { unit, start, bytes } = self.area;
        match self.what {
            What::Edit(edit) => change(disk, unit, start, bytes, |bytes| edit.apply(bytes)),
            What::Copy { node, area } => {
                let source = file_of(&image.disks[node], area.unit.slot);
                let source = source.map(|file| load(file, area.unit));
                let source = source.as_deref().and_then(|unit| unit.get(area.start..));
                change(disk, unit, start, bytes, |bytes| {
                    let source = source.unwrap_or_default();
                    let length = bytes.len().min(source.len());
                    bytes[..length].copy_from_slice(&source[..length]);
                });
            }
            What::Zero => change(disk, unit, start, bytes, |bytes| bytes.fill(0)),
            What::Resize(length) => {
                if let Some(file) = file_of_mut(disk, unit.slot) {
                    file.resize(length);
                }
            }
            What::Remove => match unit.slot {
                Some(slot) => drop(disk.extents.remove(&slot)),
                None => disk.superblock.resize(0),
            },
            What::CopyFile { node } => {
                let source = file_of(&image.disks[node], unit.slot);
                if let (Some(source), Some(file)) = (source, file_of_mut(disk, unit.slot)) {
                    *file = source.clone();
                }
            }
        }
    }
}

fn read_edit(input: &mut Input<'_>, bytes: usize, is_repaired: bool) -> Edit {
    let edit = Edit::read(input, bytes);
    if is_repaired { edit } else { edit.blind() }
}

fn file_of(disk: &Disk, slot: Option<ExtentSlot>) -> Option<&File> {
    match slot {
        Some(slot) => disk.extents.get(&slot),
        None => Some(&disk.superblock),
    }
}

fn file_of_mut(disk: &mut Disk, slot: Option<ExtentSlot>) -> Option<&mut File> {
    match slot {
        Some(slot) => disk.extents.get_mut(&slot),
        None => Some(&mut disk.superblock),
    }
}

fn load(file: &File, unit: Unit) -> Vec<u8> {
    let mut bytes = vec![0; unit.pages * PAGE_BYTES];
    file.read(unit.page, &mut bytes);
    bytes
}

/// Changes some bytes of a unit.
fn change(disk: &mut Disk, unit: Unit, start: usize, bytes: usize, how: impl FnOnce(&mut [u8])) {
    let Some(file) = file_of_mut(disk, unit.slot) else {
        return;
    };
    let mut all = load(file, unit);
    let end = (start + bytes).min(all.len());
    how(&mut all[start..end]);
    file.write(unit.page, &all);
}
