//! The block index against a model: leaves evicted and loaded, checkpoints with records applied
//! in between, crashes and replays.

use crate::format::checksum::checksum;
use crate::format::index_page::{
    Fragment, IndexIdentity, LEAF_BLOCKS, Location, PageRef, decode_directory, decode_leaf,
};
use crate::ids::{ExtentSequence, GroupBlock, GroupId, Incarnation, NodeId, VolumeId};
use crate::lsn::Lsn;
use crate::page::PageBuf;
use crate::segment::block_index::{BlockIndex, MissingLeaf};
use crate::segment::extent_usage::ExtentUsage;
use crate::segment::leaf::payload_bytes;
use crate::segment::leaf_directory::LeafId;
use proptest::prelude::*;
use std::collections::HashMap;

const GROUP: GroupId = GroupId(7);
/// The unit of the model: an eighth of a page.
const CELL: u16 = 512;
const CELLS: usize = 32;
/// Leaves in use, far enough apart to need several directories.
const LEAVES: u32 = 40;
const LEAF_STEP: u32 = 29;
const BLOCKS_USED: u32 = 3;
const BLOCKS: u32 = LEAVES * LEAF_STEP * LEAF_BLOCKS;
const IDENTITY: IndexIdentity = IndexIdentity {
    volume: VolumeId([3; 16]),
    node: NodeId(2),
    incarnation: Incarnation(9),
};

#[derive(Clone, Copy, Debug)]
enum Step {
    Write { place: u32, start: u16, end: u16 },
    Discard { place: u32, blocks: u32 },
    Fold { place: u32 },
    Move { place: u32 },
    Read { place: u32 },
    MoveLeaf { place: u32 },
    Checkpoint,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || 0..LEAVES * BLOCKS_USED;
    let bytes = prop_oneof![
        Just((0, CELLS as u16)),
        (0..CELLS as u16, 1..12_u16).prop_map(|(start, cells)| (start, start + cells)),
    ];
    let write = (place(), bytes).prop_map(|(place, (start, end))| Step::Write {
        place,
        start: start * CELL,
        end: end.min(CELLS as u16) * CELL,
    });
    let length = prop_oneof![1..5_u32, Just(LEAF_BLOCKS * LEAF_STEP), 0..BLOCKS];
    prop::collection::vec(
        prop_oneof![
            60 => write,
            3 => (place(), length).prop_map(|(place, blocks)| Step::Discard { place, blocks }),
            6 => place().prop_map(|place| Step::Fold { place }),
            6 => place().prop_map(|place| Step::Move { place }),
            10 => place().prop_map(|place| Step::Read { place }),
            2 => place().prop_map(|place| Step::MoveLeaf { place }),
            3 => Just(Step::Checkpoint),
            1 => Just(Step::Reopen),
        ],
        1..500,
    )
}

fn block_at(place: u32) -> GroupBlock {
    GroupBlock(place / BLOCKS_USED * LEAF_STEP * LEAF_BLOCKS + place % BLOCKS_USED)
}

#[derive(Clone, Copy)]
enum Entry {
    Put(GroupBlock, Fragment),
    Discard(GroupBlock, u32, Lsn),
}

struct Root {
    directories: Vec<(GroupId, u32, PageRef)>,
    usage: ExtentUsage,
    replay_from: usize,
    announced: Lsn,
}

struct World {
    index: BlockIndex,
    usage: ExtentUsage,
    lsn: u64,
    next_page: u32,
    log: Vec<Entry>,
    root: Option<Root>,
    index_pages: HashMap<Location, PageBuf>,
    /// Content of each payload by its place.
    payloads: HashMap<(ExtentSequence, u32), [u64; CELLS]>,
    /// LSN that wrote each cell.
    model: HashMap<GroupBlock, [u64; CELLS]>,
}

impl World {
    fn new() -> World {
        World {
            index: BlockIndex::new(16 << 10),
            usage: ExtentUsage::default(),
            lsn: 0,
            next_page: 0,
            log: Vec::new(),
            root: None,
            index_pages: HashMap::new(),
            payloads: HashMap::new(),
            model: HashMap::new(),
        }
    }

    fn allocate(&mut self, pages: u32) -> Location {
        let location = Location {
            extent: ExtentSequence(1 + self.next_page / 64),
            page: self.next_page % 64,
            pages,
        };
        self.next_page += pages;
        location
    }

    fn append_index_pages(&mut self, pages: PageBuf) -> PageRef {
        let at = self.allocate(pages.page_count() as u32);
        let checksum = checksum(pages.bytes());
        self.index_pages.insert(at, pages);
        PageRef { at, checksum }
    }

    fn put(&mut self, block: GroupBlock, mut fragment: Fragment, content: [u64; CELLS]) {
        let location = self.allocate(fragment.pages());
        (fragment.extent, fragment.page) = (location.extent, location.page);
        self.payloads
            .insert((location.extent, location.page), content);
        self.apply(Entry::Put(block, fragment));
        self.log.push(Entry::Put(block, fragment));
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Put(block, fragment) => {
                self.index.insert(GROUP, block, fragment, &mut self.usage);
            }
            Entry::Discard(first, count, upto) => {
                self.index
                    .discard(GROUP, first, count, upto, &mut self.usage);
            }
        }
    }

    fn load(&mut self, missing: MissingLeaf) {
        let pages = &self.index_pages[&missing.page.at];
        self.index
            .leaf_loaded(&IDENTITY, missing, pages.bytes(), &mut self.usage)
            .unwrap();
    }

    fn lookup(&mut self, first: GroupBlock, count: u32) -> Vec<(u32, Fragment)> {
        loop {
            match self.index.lookup(GROUP, first, count) {
                Ok(found) => return found,
                Err(missing) => self.load(missing),
            }
        }
    }

    fn check_block(&mut self, block: GroupBlock) {
        let fragments = self.lookup(block, 1);
        let mut cells = [0; CELLS];
        for (_, fragment) in &fragments {
            let given = usize::from(fragment.start / CELL)..usize::from(fragment.end / CELL);
            let payload = &self.payloads[&(fragment.extent, fragment.page)];
            cells[given.clone()].copy_from_slice(&payload[given]);
            assert_eq!(self.index.is_live(GROUP, block, fragment), Ok(true));
            let mut elsewhere = *fragment;
            elsewhere.page += 1;
            assert_eq!(self.index.is_live(GROUP, block, &elsewhere), Ok(false));
        }
        let expected = self.model.get(&block).copied().unwrap_or([0; CELLS]);
        assert_eq!(cells, expected, "{block:?} of {fragments:?}");
        assert_eq!(fragments.is_empty(), expected == [0; CELLS]);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { place, start, end } => self.write(block_at(place), start, end),
            Step::Discard { place, blocks } => self.discard(block_at(place), blocks),
            Step::Fold { place } => self.fold(block_at(place)),
            Step::Move { place } => self.move_oldest(block_at(place)),
            Step::Read { place } => self.check_block(block_at(place)),
            Step::MoveLeaf { place } => {
                let (id, _) = LeafId::of(GROUP, block_at(place));
                if let Some(location) = self.index.leaf_location(GROUP, id.leaf) {
                    assert!(self.index.relocate_leaf_if_at(GROUP, id.leaf, location));
                }
            }
            Step::Checkpoint | Step::Reopen => {}
        }
    }

    fn next_step(&mut self, meanwhile: &mut dyn Iterator<Item = Step>) {
        if let Some(step) = meanwhile.next() {
            self.step(step);
        }
    }

    fn write(&mut self, block: GroupBlock, start: u16, end: u16) {
        self.lsn += 1;
        let cells = self.model.entry(block).or_insert([0; CELLS]);
        cells[usize::from(start / CELL)..usize::from(end / CELL)].fill(self.lsn);
        let fragment = Fragment {
            lsn: Lsn(self.lsn),
            extent: ExtentSequence(0),
            page: 0,
            start,
            end,
            block: 0,
            checksums: [1; 4],
        };
        self.put(block, fragment, [self.lsn; CELLS]);
    }

    fn discard(&mut self, first: GroupBlock, blocks: u32) {
        self.lsn += 1;
        let range = first.0..first.0.saturating_add(blocks.max(1));
        self.model.retain(|block, _| !range.contains(&block.0));
        let entry = Entry::Discard(first, range.len() as u32, Lsn(self.lsn));
        self.apply(entry);
        self.log.push(entry);
    }

    fn fold(&mut self, block: GroupBlock) {
        let fragments = self.lookup(block, 1);
        if let Some((_, newest)) = fragments.last() {
            let image = Fragment {
                start: 0,
                end: CELLS as u16 * CELL,
                ..*newest
            };
            self.put(block, image, self.model[&block]);
        }
    }

    fn move_oldest(&mut self, block: GroupBlock) {
        let fragments = self.lookup(block, 1);
        if let Some((_, oldest)) = fragments.first() {
            let content = self.payloads[&(oldest.extent, oldest.page)];
            self.put(block, *oldest, content);
            let same_place = self.index.is_live(GROUP, block, oldest);
            assert!(same_place != Ok(true));
        }
    }

    /// Writes the index; between any two of its actions the next of `meanwhile` happens.
    fn checkpoint(&mut self, meanwhile: &mut dyn Iterator<Item = Step>) {
        let (replay_from, announced) = (self.log.len(), Lsn(self.lsn));
        let mut waiting = self.index.dirty_leaves();
        while let Some((group, leaf)) = waiting.pop() {
            match self
                .index
                .encode_leaf(&IDENTITY, group, leaf, &mut self.usage)
            {
                Err(missing) => {
                    self.load(missing);
                    waiting.push((group, leaf));
                }
                Ok(None) => {}
                Ok(Some(pages)) => {
                    let page = self.append_index_pages(pages);
                    self.next_step(meanwhile);
                    self.index.leaf_written(group, leaf, page, &mut self.usage);
                }
            }
            self.next_step(meanwhile);
        }
        self.drain_orphans();
        self.write_directories(meanwhile);
        let root = Root {
            directories: self.index.directories(),
            usage: self.index.usage_on_disk(&self.usage),
            replay_from,
            announced,
        };
        assert_eq!(root.usage, self.usage_of_pages(&root.directories));
        self.root = Some(root);
    }

    fn drain_orphans(&mut self) {
        while let Some(orphan) = self.index.next_orphan() {
            let bytes = Some(self.index_pages[&orphan.page.at].bytes());
            self.index
                .orphan_loaded(&IDENTITY, &orphan, bytes, &mut self.usage);
        }
    }

    fn write_directories(&mut self, meanwhile: &mut dyn Iterator<Item = Step>) {
        let mut encoded = Vec::new();
        for (group, number) in self.index.dirty_directories() {
            let pages = self
                .index
                .encode_directory(&IDENTITY, group, number, &mut self.usage);
            encoded.extend(pages.map(|pages| (group, number, pages)));
        }
        for (group, number, pages) in encoded {
            self.next_step(meanwhile);
            let page = self.append_index_pages(pages);
            self.index
                .directory_written(group, number, page, &mut self.usage);
        }
    }

    /// What the pages on disk account for, by reading all of them.
    fn usage_of_pages(&self, directories: &[(GroupId, u32, PageRef)]) -> ExtentUsage {
        let mut usage = ExtentUsage::default();
        for (group, number, page) in directories {
            usage.add(page.at.extent, page.at.bytes());
            let bytes = self.index_pages[&page.at].bytes();
            let rows = decode_directory(&IDENTITY, *group, *number, bytes).unwrap();
            for (row, leaf) in rows.iter().enumerate().filter(|(_, leaf)| leaf.is_some()) {
                usage.add(leaf.at.extent, leaf.at.bytes());
                let number = number * rows.len() as u32 + row as u32;
                let bytes = self.index_pages[&leaf.at].bytes();
                for fragment in decode_leaf(&IDENTITY, *group, number, bytes).unwrap() {
                    usage.add(fragment.extent, payload_bytes(&fragment));
                }
            }
        }
        usage
    }

    /// Forgets what is in memory, takes in the last checkpoint, and replays the log.
    fn reopen(&mut self) {
        self.index = BlockIndex::new(16 << 10);
        self.usage = ExtentUsage::default();
        let mut replay_from = 0;
        if let Some(root) = &self.root {
            for (group, number, page) in &root.directories {
                let bytes = self.index_pages[&page.at].bytes();
                self.index
                    .load_directory(&IDENTITY, *group, *number, *page, root.announced, bytes)
                    .unwrap();
            }
            self.usage = root.usage.clone();
            replay_from = root.replay_from;
        }
        for at in replay_from..self.log.len() {
            self.apply(self.log[at]);
        }
    }

    fn check_all(&mut self) {
        for place in 0..LEAVES * BLOCKS_USED {
            self.check_block(block_at(place));
        }
        let mut present = Vec::new();
        let mut from = 0;
        while let Some(leaf) = self.index.next_leaf(GROUP, from) {
            match self.index.presence(GROUP, leaf) {
                Err(missing) => self.load(missing),
                Ok(bits) => {
                    let id = LeafId { group: GROUP, leaf };
                    let blocks = (0..64).filter(|block| bits & 1 << block != 0);
                    present.extend(blocks.map(|block| id.block(block)));
                    from = leaf + 1;
                }
            }
        }
        let mut expected: Vec<GroupBlock> = self.model.keys().copied().collect();
        expected.sort_unstable();
        assert_eq!(present, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 200 }))]

    #[test]
    fn the_index_is_what_the_model_is(steps in steps()) {
        let mut world = World::new();
        let mut steps = steps.into_iter();
        while let Some(step) = steps.next() {
            match step {
                Step::Checkpoint => world.checkpoint(&mut steps),
                Step::Reopen => world.reopen(),
                step => world.step(step),
            }
            let clean = world.index.memory_bytes() - world.index.dirty_bytes();
            prop_assert!(clean < 64 << 10, "{clean} bytes of clean leaves and directories");
        }
        world.check_all();
        world.checkpoint(&mut std::iter::empty());
        prop_assert_eq!(&world.root.as_ref().unwrap().usage, &world.usage);
        prop_assert_eq!(world.index.dirty_bytes(), 0);
        world.reopen();
        world.check_all();
        world.discard(GroupBlock(0), BLOCKS);
        world.checkpoint(&mut std::iter::empty());
        prop_assert_eq!(world.usage.total(), 0);
        prop_assert_eq!(world.index.memory_bytes(), 0);
    }
}
