//! Thousands of damaged places in the real files of all six nodes: what is read is right all the
//! same, one scrub mends everything, and the next one finds nothing. Then whole files of two nodes
//! at once.
//!
//! `REDOUBT_ROT` chooses how many places (10,000), `REDOUBT_ROT_SEED` which.

#![allow(missing_docs, reason = "a test binary has no public items")]

#[cfg(test)]
mod tests {
    use redoubt_volume::error::IoFailure;
    use redoubt_volume::format::log_frame::FRAME_MAGIC;
    use redoubt_volume::format::superblock::Superblock;
    use redoubt_volume::io::faults::Random;
    use redoubt_volume::status::{ScrubReport, VolumeState};
    use redoubt_volume::volume::{CreateOptions, OpenOptions, Volume, create};
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    const PAGE: usize = 4096;
    const BLOCK: usize = 16384;
    /// 96 MiB are written, in groups of 64 MiB.
    const BLOCKS: usize = 6144;
    const MAGIC: &[u8; 8] = b"a page:\n";
    const NODES: [&str; 6] = ["a1", "a2", "b1", "b2", "c1", "c2"];

    fn number_of(variable: &str, otherwise: u64) -> u64 {
        let text = std::env::var(variable).ok();
        text.map_or(otherwise, |text| text.parse().unwrap())
    }

    /// A volume, and what its disk must hold.
    struct Rig {
        _folder: tempfile::TempDir,
        path: PathBuf,
        volume: Volume,
        model: Vec<u8>,
        random: Random,
    }

    impl Rig {
        fn new(seed: u64) -> Rig {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("v");
            let options = CreateOptions {
                disk_bytes: 128 << 20,
                group_bytes: 64 << 20,
                extent_bytes: 8 << 20,
                ..CreateOptions::default()
            };
            create(&path, &options).unwrap();
            let volume = Volume::open(&path, OpenOptions::default()).unwrap();
            let mut rig = Rig {
                _folder: folder,
                path,
                volume,
                model: vec![0; BLOCKS * BLOCK],
                random: Random(seed),
            };
            rig.fill();
            rig
        }

        /// Everything once in long writes, then pages here and there, of which nodes keep changes.
        fn fill(&mut self) {
            let long = 1 << 20;
            for offset in (0..self.model.len()).step_by(long) {
                self.write(offset, long);
            }
            for _ in 0..3000 {
                let pages = 1 + self.random.below(4) as usize;
                let page = self.random.below((BLOCKS * 4 - pages) as u64) as usize;
                self.write(page * PAGE, pages * PAGE);
            }
            let (sender, receiver) = channel();
            self.volume
                .flush(Box::new(move |result| sender.send(result).unwrap()));
            receiver.recv().unwrap().unwrap();
            self.await_healthy();
        }

        /// New content: each page says which block it is of.
        fn write(&mut self, offset: usize, length: usize) {
            for at in (offset..offset + length).step_by(PAGE) {
                let page = &mut self.model[at..at + PAGE];
                for word in page.chunks_mut(8) {
                    word.copy_from_slice(&self.random.draw().to_le_bytes());
                }
                page[..8].copy_from_slice(MAGIC);
                page[8..16].copy_from_slice(&((at / BLOCK) as u64).to_le_bytes());
            }
            let (sender, receiver) = channel();
            let done = Box::new(move |result| sender.send(result).unwrap());
            let data = &self.model[offset..offset + length];
            self.volume.write(offset as u64, data, false, done);
            receiver.recv().unwrap().unwrap();
        }

        fn read(&self, offset: usize, length: usize) -> Result<Vec<u8>, IoFailure> {
            let (sender, receiver) = channel();
            let done = Box::new(move |result| sender.send(result).unwrap());
            self.volume.read(offset as u64, length, false, done);
            let bytes = receiver.recv().unwrap()?;
            Ok(bytes.as_ref().to_vec())
        }

        fn read_everything(&mut self) -> (u64, u64) {
            self.read_blocks(BLOCKS)
        }

        /// Reads so many blocks, in long requests and then in short ones. Requests that failed, and
        /// bytes that were wrong.
        fn read_blocks(&mut self, blocks: usize) -> (u64, u64) {
            let (mut failed, mut wrong) = (0, 0);
            let mut read = |rig: &Rig, offset: usize, length: usize| match rig.read(offset, length)
            {
                Ok(bytes) => {
                    let expected = &rig.model[offset..offset + length];
                    let differ = bytes.iter().zip(expected).filter(|(one, two)| one != two);
                    wrong += differ.count() as u64;
                }
                Err(_) => failed += 1,
            };
            for offset in (0..blocks * BLOCK).step_by(1 << 20) {
                read(self, offset, 1 << 20);
            }
            for _ in 0..4000 {
                let page = self.random.below(blocks as u64 * 4) as usize;
                read(self, page * PAGE, PAGE);
            }
            (failed, wrong)
        }

        fn await_healthy(&self) {
            let deadline = Instant::now() + Duration::from_secs(300);
            let lags = || {
                let status = self.volume.status();
                let differ = status.nodes.windows(2).any(|two| two[0].scl != two[1].scl);
                status.state != VolumeState::Healthy || differ
            };
            while lags() {
                let status = self.volume.status();
                assert!(Instant::now() < deadline, "not healthy: {:?}", status.nodes);
                std::thread::sleep(Duration::from_millis(20));
            }
        }

        fn repaired_by_reads(&self) -> u64 {
            let nodes = self.volume.status().nodes;
            nodes.iter().map(|node| node.repairs.repaired_blocks).sum()
        }

        /// Waits until nothing is mended any more.
        fn await_repairs(&self) -> u64 {
            let mut repaired = self.repaired_by_reads();
            loop {
                std::thread::sleep(Duration::from_millis(1500));
                let now = self.repaired_by_reads();
                if now == repaired {
                    return now;
                }
                repaired = now;
            }
        }

        /// Whether the block has this page now.
        fn holds(&self, block: u64, page: &[u8]) -> bool {
            let begins = block as usize * BLOCK;
            let pages = &self.model[begins..begins + BLOCK];
            pages.chunks(PAGE).any(|held| held == page)
        }

        fn node(&self, name: &str) -> PathBuf {
            self.path.join("nodes").join(name)
        }

        fn reopen(&mut self, harm: impl FnOnce(&Rig)) {
            self.volume.close().unwrap();
            harm(self);
            self.volume = Volume::open(&self.path, OpenOptions::default()).unwrap();
        }
    }

    fn extents_of(node: &Path) -> Vec<(PathBuf, u64)> {
        let entries = std::fs::read_dir(node.join("log")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths
            .map(|path| {
                let bytes = path.metadata().unwrap().len();
                (path, bytes)
            })
            .collect();
        files.sort();
        files
    }

    fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
        file.sync_data().unwrap();
    }

    /// What was damaged.
    #[derive(Debug, Default)]
    struct Rot {
        /// Pages of what blocks hold now, and of what they held before.
        pages_of_data: u64,
        former_pages: u64,
        /// Headers of frames, of which an open reads those behind the last checkpoint.
        headers: u64,
        /// The rest: the index, and long headers' further pages.
        other_pages: u64,
        /// The nodes hit, by block.
        by_block: BTreeMap<u64, BTreeSet<usize>>,
        /// The copies of which a page was hit that has what the block holds now.
        copies: BTreeSet<(u64, usize)>,
    }

    /// Damages so many pages of logs: a bit, a sector, or all of it. Each block keeps one node whose
    /// every page of it, of today and of before, is as it was.
    fn rot(rig: &mut Rig, places: u64) -> Rot {
        let mut found = Rot::default();
        let mut hit = BTreeSet::new();
        let nodes: Vec<_> = NODES.map(|name| extents_of(&rig.node(name))).into();
        let mut files: BTreeMap<PathBuf, File> = BTreeMap::new();
        while hit.len() < places as usize {
            let node = rig.random.below(6) as usize;
            let extents = &nodes[node];
            let (path, bytes) = &extents[rig.random.below(extents.len() as u64) as usize];
            let page = rig.random.below(bytes / PAGE as u64);
            if hit.contains(&(path.clone(), page)) {
                continue;
            }
            let file = files.entry(path.clone()).or_insert_with(|| {
                let options = File::options().read(true).write(true).open(path);
                options.unwrap()
            });
            let mut content = vec![0; PAGE];
            file.read_exact_at(&mut content, page * PAGE as u64)
                .unwrap();
            if content.starts_with(MAGIC) {
                let block = u64::from_le_bytes(content[8..16].try_into().unwrap());
                let harmed = found.by_block.entry(block).or_default();
                if harmed.len() == 5 && !harmed.contains(&node) {
                    continue;
                }
                harmed.insert(node);
                if rig.holds(block, &content) {
                    found.copies.insert((block, node));
                    found.pages_of_data += 1;
                } else {
                    found.former_pages += 1;
                }
            } else if content.iter().all(|byte| *byte == 0) {
                // Nothing was ever there.
                continue;
            } else if content.starts_with(&FRAME_MAGIC) {
                found.headers += 1;
            } else {
                found.other_pages += 1;
            }
            change(&mut content, &mut rig.random);
            file.write_all_at(&content, page * PAGE as u64).unwrap();
            hit.insert((path.clone(), page));
        }
        files.values().for_each(|file| file.sync_data().unwrap());
        found
    }

    fn change(page: &mut [u8], random: &mut Random) {
        let at = random.below(PAGE as u64) as usize;
        match random.below(10) {
            0..6 => page[at] ^= 1 << random.below(8),
            6..9 => {
                let sector = at / 512 * 512;
                page[sector..sector + 512]
                    .iter_mut()
                    .for_each(|byte| *byte ^= 0xa5);
            }
            _ => page.iter_mut().for_each(|byte| *byte ^= 0x5a),
        }
    }

    fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
        let began = Instant::now();
        let result = work();
        (result, began.elapsed().as_secs_f64())
    }

    fn assert_clean(report: &ScrubReport, copies_of_each: u64) {
        let expected = ScrubReport {
            blocks: BLOCKS as u64,
            copies: BLOCKS as u64 * copies_of_each,
            ..ScrubReport::default()
        };
        assert_eq!(*report, expected);
    }

    #[test]
    fn ten_thousand_damaged_places_on_all_six_nodes_are_mended() {
        let places = number_of("REDOUBT_ROT", 10_000);
        let mut rig = Rig::new(number_of("REDOUBT_ROT_SEED", 1));
        let before = rig.volume.scrub(None).unwrap();
        assert_clean(&before, 6);
        let found = rot(&mut rig, places);
        let on_five = found
            .by_block
            .values()
            .filter(|nodes| nodes.len() == 5)
            .count();
        println!(
            "rot: {places} places: {} pages of what blocks hold, in {} copies; {} pages of what they held \
         before; {} headers of frames; {} other pages; {} blocks, {on_five} of them on five nodes",
            found.pages_of_data,
            found.copies.len(),
            found.former_pages,
            found.headers,
            found.other_pages,
            found.by_block.len()
        );
        let pages = found.pages_of_data + found.former_pages + found.headers + found.other_pages;
        assert_eq!(pages, places);
        // What nobody reads is left to the scrub.
        let ((failed, wrong), seconds) = timed(|| rig.read_blocks(BLOCKS / 2));
        let by_reads = rig.await_repairs();
        println!(
            "rot: half of it read in {seconds:.1} s: {failed} requests failed, {wrong} bytes wrong, \
         {by_reads} copies mended by reads"
        );
        assert_eq!((failed, wrong), (0, 0));
        let (report, seconds) = timed(|| rig.volume.scrub(None).unwrap());
        println!("rot: one scrub in {seconds:.1} s: {report:?}");
        assert_eq!((report.unresolved, report.differing), (0, 0));
        assert_eq!(report.damaged, report.repaired);
        assert_eq!(report.metadata_damaged, report.metadata_repaired);
        // Each copy that a read would give wrong, and no other one.
        let mended = by_reads + report.repaired;
        println!("rot: {mended} copies of {} mended", found.copies.len());
        assert_eq!(mended, found.copies.len() as u64);
        assert!(report.metadata_repaired <= found.headers + found.other_pages);
        let (again, seconds) = timed(|| rig.volume.scrub(None).unwrap());
        println!("rot: one more scrub in {seconds:.1} s: {again:?}");
        assert_clean(&again, 6);
        assert_eq!(rig.read_everything(), (0, 0));
        assert!(rig.volume.status().data_errors.is_empty());
        rig.reopen(|_| {});
        assert_eq!(rig.volume.status().state, VolumeState::Healthy);
        let verified = rig.volume.verify(&mut |_, _| {}).unwrap();
        assert_eq!(verified.damage, Vec::<String>::new());
        assert_eq!(verified.copies_read, 6 * BLOCKS as u64);
        assert_eq!(rig.read_everything(), (0, 0));
        rig.volume.close().unwrap();
    }

    /// Overwrites whole files, or what a root of a checkpoint lies in.
    fn harm(rig: &Rig, node: &str, what: &str) {
        let directory = rig.node(node);
        let superblock = directory.join("superblock");
        match what {
            "superblock" => overwrite(&superblock, 0, &vec![0x99; 128 << 10]),
            "newest extent" => {
                let (path, bytes) = extents_of(&directory)
                    .into_iter()
                    .max_by_key(|(path, _)| path.metadata().unwrap().modified().unwrap())
                    .unwrap();
                overwrite(&path, 0, &vec![0x99; bytes as usize]);
            }
            _ => {
                let newest = Superblock::newest(&std::fs::read(&superblock).unwrap()).unwrap();
                assert!(!newest.checkpoint.is_empty());
                for part in &newest.checkpoint {
                    let name = format!("{:08}", part.slot.0);
                    let files = extents_of(&directory).into_iter().map(|(path, _)| path);
                    let mut files = files.filter(|path| path.to_string_lossy().contains(&name));
                    let path = files.next().expect("the root's file is there");
                    let garbage = vec![0x99; part.at.pages as usize * PAGE];
                    overwrite(&path, u64::from(part.at.page) * PAGE as u64, &garbage);
                }
            }
        }
    }

    const KINDS: [&str; 3] = ["superblock", "newest extent", "checkpoint"];

    #[test]
    fn whole_files_of_two_nodes_at_once_are_mended_while_the_volume_is_open() {
        let mut rig = Rig::new(2);
        for kind in KINDS {
            // What is harmed is on the disk, and nothing is about to be written.
            rig.reopen(|_| {});
            rig.await_healthy();
            assert_clean(&rig.volume.scrub(None).unwrap(), 6);
            ["a2", "c1"].iter().for_each(|node| harm(&rig, node, kind));
            assert_eq!(rig.read_everything(), (0, 0), "{kind}");
            rig.await_repairs();
            let (report, seconds) = timed(|| rig.volume.scrub(None).unwrap());
            println!("rot: {kind} of two nodes, open: scrub in {seconds:.1} s: {report:?}");
            rig.await_healthy();
            assert_eq!(report.unresolved, 0, "{kind}");
            assert_clean(&rig.volume.scrub(None).unwrap(), 6);
            rig.reopen(|_| {});
            assert_eq!(rig.volume.status().state, VolumeState::Healthy, "{kind}");
            assert_eq!(rig.read_everything(), (0, 0), "{kind}");
        }
        rig.volume.close().unwrap();
    }

    #[test]
    fn whole_files_of_two_nodes_at_once_are_mended_after_an_open() {
        let mut rig = Rig::new(3);
        for kind in KINDS {
            rig.reopen(|rig| ["a1", "b2"].iter().for_each(|node| harm(rig, node, kind)));
            assert_eq!(rig.read_everything(), (0, 0), "{kind}");
            let ((), seconds) = timed(|| rig.await_healthy());
            println!("rot: {kind} of two nodes, closed: 6 of 6 again {seconds:.1} s after reading");
            rig.volume.scrub(None).unwrap();
            rig.await_healthy();
            assert_clean(&rig.volume.scrub(None).unwrap(), 6);
            assert_eq!(rig.read_everything(), (0, 0), "{kind}");
        }
        rig.volume.close().unwrap();
    }
}
