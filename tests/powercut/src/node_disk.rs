//! The disk of one node, or of a volume's own folder: what is on stable storage, and what a power cut may take.
//!
//! The rules, no kinder than a disk and a journaling file system are:
//! - A change is durable when a sync of its file (a name: of its folder) has ended that began after
//!   the change was done.
//! - Where one flush of the device is relied upon, it covers a write only if every page of it was
//!   durably written before: then no metadata leads to it that another file's sync leaves out.
//! - Everything else is there or not, each change on its own, each sector of a write on its own.
//! - What a sync was for that failed may be lost for ever: the kernel tells an error once, and counts
//!   the pages as clean from then on, so that no later sync covers them. Only what is written over
//!   them can become durable.

use crate::files::{Change, Files, Folder, Inode};
use crate::random::Random;

/// A change that is not durable.
struct Pending {
    operation: u64,
    change: Change,
    ended_at: Option<u64>,
}

/// A sync that was begun.
struct Sync {
    operation: u64,
    covers: Covers,
    began_at: u64,
}

impl Sync {
    /// Whether the change was done when the sync began.
    fn began_after(&self, change: &Pending) -> bool {
        change.ended_at.is_some_and(|at| at < self.began_at)
    }
}

/// What a sync makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Covers {
    /// Bytes and length of a file.
    File(Inode),
    /// What was overwritten in a file.
    Overwritten(Inode),
    /// The names in a folder.
    Names(Folder),
}

/// See the module's page.
#[derive(Default)]
pub(crate) struct NodeDisk {
    durable: Files,
    /// What a process sees.
    view: Files,
    pending: Vec<Pending>,
    /// Writes that no sync covers any more, all of them older than what is pending.
    given_up: Vec<Change>,
    syncs: Vec<Sync>,
    clock: u64,
    inodes: u64,
    /// Syncs that do nothing.
    ignored: Ignored,
}

/// Syncs that do nothing: the negative control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ignored {
    /// None is ignored.
    #[default]
    None,
    /// All of them.
    All,
    /// Those of a file for itself.
    Files,
    /// Those of a file for others of the device.
    Flushes,
    /// Those of folders.
    Names,
}

impl Ignored {
    fn has(self, covers: Covers) -> bool {
        match self {
            Ignored::None => false,
            Ignored::All => true,
            Ignored::Files => matches!(covers, Covers::File(_)),
            Ignored::Flushes => matches!(covers, Covers::Overwritten(_)),
            Ignored::Names => matches!(covers, Covers::Names(_)),
        }
    }
}

impl NodeDisk {
    /// A disk without files.
    pub(crate) fn new(ignored: Ignored) -> NodeDisk {
        NodeDisk {
            ignored,
            ..NodeDisk::default()
        }
    }

    /// A disk on which all of this is durable.
    pub(crate) fn of(files: Files) -> NodeDisk {
        NodeDisk {
            view: files.clone(),
            durable: files,
            // Above all that a recording gives out.
            inodes: 1 << 32,
            ..NodeDisk::default()
        }
    }

    /// What a process sees.
    pub(crate) fn view(&self) -> &Files {
        &self.view
    }

    /// A file for a new name.
    pub(crate) fn new_file(&mut self) -> Inode {
        self.inodes += 1;
        let file = Inode(self.inodes);
        self.durable.add_nameless(file);
        self.view.add_nameless(file);
        file
    }

    /// A change begins.
    pub(crate) fn begin(&mut self, operation: u64, change: Change) {
        self.view.apply(&change);
        self.clock += 1;
        self.pending.push(Pending {
            operation,
            change,
            ended_at: None,
        });
    }

    /// A sync begins.
    pub(crate) fn begin_sync(&mut self, operation: u64, covers: Covers) {
        self.clock += 1;
        self.syncs.push(Sync {
            operation,
            covers,
            began_at: self.clock,
        });
    }

    /// A change or a sync ends.
    pub(crate) fn end(&mut self, operation: u64) {
        self.clock += 1;
        if let Some(sync) = self.take_sync(operation)
            && !self.ignored.has(sync.covers)
        {
            self.make_durable(&sync);
        }
        for pending in &mut self.pending {
            if pending.operation == operation && pending.ended_at.is_none() {
                pending.ended_at = Some(self.clock);
            }
        }
    }

    /// A sync fails: the writes that it was for are given up.
    pub(crate) fn fail(&mut self, operation: u64) {
        let Some(sync) = self.take_sync(operation) else {
            return;
        };
        let (Covers::File(file) | Covers::Overwritten(file)) = sync.covers else {
            return;
        };
        let is_lost = |pending: &mut Pending| {
            let was_for = matches!(pending.change, Change::Write { file: of, .. } if of == file);
            was_for && sync.began_after(pending)
        };
        let lost = self.pending.extract_if(.., is_lost);
        self.given_up.extend(lost.map(|pending| pending.change));
    }

    fn take_sync(&mut self, operation: u64) -> Option<Sync> {
        let is_it = |sync: &Sync| sync.operation == operation;
        let index = self.syncs.iter().position(is_it)?;
        Some(self.syncs.swap_remove(index))
    }

    fn make_durable(&mut self, sync: &Sync) {
        let (durable, given_up) = (&mut self.durable, &mut self.given_up);
        self.pending.retain(|pending| {
            let change = &pending.change;
            let covered = sync.began_after(pending) && covers(sync.covers, change, durable);
            if covered {
                durable.apply(change);
                let older = given_up.drain(..);
                *given_up = older.flat_map(|older| older.outside(change)).collect();
            }
            !covered
        });
    }

    /// The process that used the disk is gone: what it began and did not end is forgotten and given
    /// back (the next snapshot tells what became of it).
    pub(crate) fn lose_process(&mut self) -> Vec<Change> {
        self.syncs.clear();
        let is_killed = |pending: &mut Pending| pending.ended_at.is_none();
        let killed: Vec<Pending> = self.pending.extract_if(.., is_killed).collect();
        self.view = self.durable.clone();
        let pending = self.pending.iter().map(|pending| &pending.change);
        for change in self.given_up.iter().chain(pending) {
            self.view.apply(change);
        }
        killed.into_iter().map(|pending| pending.change).collect()
    }

    /// All that a process sees is durable.
    #[cfg(test)]
    pub(crate) fn settle(&mut self) {
        self.pending.clear();
        self.given_up.clear();
        self.durable = self.view.clone();
    }

    /// Files that a power cut now could leave.
    pub(crate) fn cut(&self, random: &mut Random) -> Files {
        let mut files = self.durable.clone();
        for change in &self.given_up {
            Kept::of_given_up(random).apply(change, &mut files, random);
        }
        let fate = Fate::draw(random, self.pending.len());
        for (index, pending) in self.pending.iter().enumerate() {
            let kept = fate.of(index, random);
            kept.apply(&pending.change, &mut files, random);
        }
        files
    }
}

/// Whether a sync that ends now makes the change durable.
fn covers(covers: Covers, change: &Change, durable: &Files) -> bool {
    match (covers, change) {
        (Covers::File(synced), Change::Write { file, .. } | Change::SetLength { file, .. }) => {
            synced == *file
        }
        (
            Covers::Overwritten(synced),
            Change::Write {
                file,
                offset,
                bytes,
            },
        ) => {
            let image = durable.image(*file);
            synced == *file && image.is_some_and(|image| image.is_written(*offset, bytes.len()))
        }
        (
            Covers::Names(synced),
            Change::Create { name, .. } | Change::Rename { name, .. } | Change::Remove { name },
        ) => synced == name.folder(),
        (Covers::Names(synced), Change::RemoveLog) => synced == Folder::Node,
        _ => false,
    }
}

/// What a cut does to the changes that are not durable.
enum Fate {
    AllLost,
    AllKept,
    /// The disk stopped here: what came before is kept, this one torn.
    Stopped(usize),
    /// All but this one.
    OneLost(usize),
    /// Each on its own.
    Mixed,
}

#[derive(Clone, Copy)]
enum Kept {
    No,
    Whole,
    Torn,
}

impl Kept {
    /// What was given up is mostly lost.
    fn of_given_up(random: &mut Random) -> Kept {
        match random.below(6) {
            0 => Kept::Whole,
            1 => Kept::Torn,
            _ => Kept::No,
        }
    }

    fn apply(self, change: &Change, files: &mut Files, random: &mut Random) {
        match self {
            Kept::No => {}
            Kept::Whole => files.apply(change),
            Kept::Torn => tear(files, change, random),
        }
    }
}

impl Fate {
    fn draw(random: &mut Random, changes: usize) -> Fate {
        let any = |random: &mut Random| random.below(changes.max(1) as u64) as usize;
        match random.below(8) {
            0 => Fate::AllLost,
            1 => Fate::AllKept,
            2 | 3 => Fate::Stopped(any(random)),
            4 => Fate::OneLost(any(random)),
            _ => Fate::Mixed,
        }
    }

    fn of(&self, index: usize, random: &mut Random) -> Kept {
        match self {
            Fate::AllLost => Kept::No,
            Fate::AllKept => Kept::Whole,
            Fate::Stopped(at) if index < *at => Kept::Whole,
            Fate::Stopped(at) if index == *at => Kept::Torn,
            Fate::Stopped(_) => Kept::No,
            Fate::OneLost(lost) if index == *lost => Kept::No,
            Fate::OneLost(_) => Kept::Whole,
            Fate::Mixed => match random.below(3) {
                0 => Kept::No,
                1 => Kept::Whole,
                _ => Kept::Torn,
            },
        }
    }
}

/// Some sectors of a write: the first so many, the last so many, or any.
fn tear(files: &mut Files, change: &Change, random: &mut Random) {
    let sectors = match change {
        Change::Write { bytes, .. } => bytes.len() / crate::files::SECTOR_BYTES,
        _ => 0,
    };
    let at = random.below(sectors as u64 + 1) as usize;
    match random.below(3) {
        0 => files.apply_torn(change, &mut |sector| sector < at),
        1 => files.apply_torn(change, &mut |sector| sector >= at),
        _ => files.apply_torn(change, &mut |_| random.one_in(2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Bytes;
    use crate::files::Name;
    use redoubt_volume::ids::ExtentSlot;
    use redoubt_volume::page::PAGE_BYTES;

    const NAME: Name = Name::Extent(ExtentSlot(3));

    fn write(file: Inode, page: u64, byte: u8) -> Change {
        Change::Write {
            file,
            offset: page * PAGE_BYTES as u64,
            bytes: Bytes::from_vec(vec![byte; PAGE_BYTES]),
        }
    }

    fn disk() -> (NodeDisk, Inode) {
        let mut disk = NodeDisk::new(Ignored::None);
        let file = disk.new_file();
        disk.begin(1, Change::Create { name: NAME, file });
        disk.end(1);
        (disk, file)
    }

    fn sync(disk: &mut NodeDisk, covers: Covers) {
        disk.begin_sync(1000, covers);
        disk.end(1000);
    }

    /// The first byte of a page in what every cut leaves; `None` when that differs.
    fn always(disk: &NodeDisk, page: usize) -> Option<u8> {
        let first = |seed| {
            let files = disk.cut(&mut Random::of(seed, 0));
            let image = files.named(NAME)?;
            Some(image.page(page).map_or(0, |page| page[0]))
        };
        let found = first(0)?;
        (1..50)
            .all(|seed| first(seed) == Some(found))
            .then_some(found)
    }

    #[test]
    fn bytes_and_name_need_a_sync_each() {
        let (mut disk, file) = disk();
        disk.begin(2, write(file, 0, 5));
        disk.end(2);
        assert_eq!(always(&disk, 0), None);
        sync(&mut disk, Covers::File(file));
        assert_eq!(always(&disk, 0), None, "the name may be lost");
        sync(&mut disk, Covers::Names(Folder::Log));
        assert_eq!(always(&disk, 0), Some(5));
    }

    #[test]
    fn a_sync_covers_only_what_ended_before_it_began() {
        let (mut disk, file) = disk();
        sync(&mut disk, Covers::Names(Folder::Log));
        disk.begin(2, write(file, 0, 5));
        disk.begin_sync(3, Covers::File(file));
        disk.end(2);
        disk.end(3);
        assert_eq!(always(&disk, 0), None);
        disk.begin_sync(4, Covers::File(file));
        assert_eq!(always(&disk, 0), None, "it has not ended");
        disk.end(4);
        assert_eq!(always(&disk, 0), Some(5));
    }

    #[test]
    fn a_flush_covers_only_what_overwrites_durable_pages() {
        let (mut disk, file) = disk();
        sync(&mut disk, Covers::Names(Folder::Log));
        disk.begin(2, write(file, 0, 5));
        disk.end(2);
        sync(&mut disk, Covers::Overwritten(file));
        assert_eq!(always(&disk, 0), None);
        sync(&mut disk, Covers::File(file));
        disk.begin(3, write(file, 0, 6));
        disk.end(3);
        sync(&mut disk, Covers::Overwritten(file));
        assert_eq!(always(&disk, 0), Some(6));
    }

    /// A disk with a durable file, and a write to its first page whose sync failed.
    fn disk_after_failure(covers: Covers) -> (NodeDisk, Inode) {
        let (mut disk, file) = disk();
        sync(&mut disk, Covers::Names(Folder::Log));
        disk.begin(2, write(file, 0, 4));
        disk.end(2);
        sync(&mut disk, Covers::File(file));
        disk.begin(3, write(file, 0, 5));
        disk.end(3);
        let covers = match covers {
            Covers::Overwritten(_) => Covers::Overwritten(file),
            _ => Covers::File(file),
        };
        disk.begin_sync(4, covers);
        disk.fail(4);
        (disk, file)
    }

    #[test]
    fn a_sync_that_succeeds_after_one_that_failed_covers_what_came_later_only() {
        for shared in [Covers::File(Inode(0)), Covers::Overwritten(Inode(0))] {
            let (mut disk, file) = disk_after_failure(shared);
            disk.begin(5, write(file, 1, 6));
            disk.end(5);
            sync(&mut disk, Covers::File(file));
            assert_eq!(always(&disk, 0), None, "what it was for may be lost");
            assert_eq!(always(&disk, 1), Some(6));
            // A process sees it all the same, and so does the next one.
            disk.lose_process();
            let seen = disk.view().named(NAME).and_then(|image| image.page(0));
            assert_eq!(seen.map(|page| page[0]), Some(5));
        }
    }

    #[test]
    fn what_is_written_over_it_after_a_failed_sync_can_be_durable() {
        let (mut disk, file) = disk_after_failure(Covers::File(Inode(0)));
        disk.begin(5, write(file, 0, 6));
        disk.end(5);
        assert_eq!(always(&disk, 0), None);
        sync(&mut disk, Covers::File(file));
        assert_eq!(always(&disk, 0), Some(6));
    }

    #[test]
    fn a_sync_that_fails_gives_up_only_what_it_was_for() {
        let (mut disk, file) = disk();
        sync(&mut disk, Covers::Names(Folder::Log));
        let other = disk.new_file();
        disk.begin_sync(2, Covers::File(other));
        disk.begin_sync(3, Covers::File(file));
        disk.begin(4, write(file, 0, 5));
        disk.end(4);
        (2..=3).for_each(|operation| disk.fail(operation));
        sync(&mut disk, Covers::File(file));
        assert_eq!(always(&disk, 0), Some(5));
    }

    #[test]
    fn a_name_made_anew_does_not_change_the_old_file() {
        let (mut disk, file) = disk();
        disk.begin(2, write(file, 0, 5));
        disk.end(2);
        sync(&mut disk, Covers::File(file));
        sync(&mut disk, Covers::Names(Folder::Log));
        disk.begin(3, Change::Remove { name: NAME });
        let second = disk.new_file();
        disk.begin(
            4,
            Change::Create {
                name: NAME,
                file: second,
            },
        );
        disk.begin(5, write(second, 0, 9));
        (3..=5).for_each(|operation| disk.end(operation));
        sync(&mut disk, Covers::File(second));
        let mut found = [false; 10];
        for seed in 0..200 {
            let files = disk.cut(&mut Random::of(seed, 1));
            let image = files.named(NAME);
            found[image.map_or(0, |image| usize::from(image.page(0).unwrap()[0]))] = true;
        }
        assert!(found[0] && found[5] && found[9], "{found:?}");
    }

    #[test]
    fn ignored_syncs_keep_nothing() {
        let mut disk = NodeDisk::new(Ignored::All);
        let file = disk.new_file();
        disk.begin(1, Change::Create { name: NAME, file });
        disk.end(1);
        sync(&mut disk, Covers::Names(Folder::Log));
        let gone = (0..50).any(|seed| disk.cut(&mut Random::of(seed, 0)).named(NAME).is_none());
        assert!(gone);
    }
}
