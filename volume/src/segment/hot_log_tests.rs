use super::*;

fn allocate(log: &mut HotLog) -> Allocation {
    let wanted = log.wanted(1 << 20, true).expect("room is short");
    log.allocated(true);
    wanted
}

#[test]
fn frames_follow_each_other_and_never_cross_an_extents_end() {
    let mut log = HotLog::new(1 << 20);
    assert_eq!(log.place(1), None);
    assert_eq!(
        allocate(&mut log),
        Allocation {
            slot: ExtentSlot(0),
            bytes: 1 << 20
        }
    );
    let first = log.place(200).unwrap();
    assert_eq!(
        first.point,
        LogPoint {
            extent: ExtentSequence(1),
            page: 0
        }
    );
    assert!(!first.overwrites);
    assert_eq!(
        log.place(57),
        None,
        "56 pages are left, and no other extent"
    );
    assert_eq!(allocate(&mut log).slot, ExtentSlot(1));
    let second = log.place(57).unwrap();
    assert_eq!(
        second.point,
        LogPoint {
            extent: ExtentSequence(2),
            page: 0
        }
    );
}

#[test]
fn a_freed_file_is_used_again_under_a_new_number() {
    let mut log = HotLog::new(1 << 20);
    allocate(&mut log);
    log.place(256).unwrap();
    allocate(&mut log);
    log.place(256).unwrap();
    log.free(ExtentSequence(1));
    let again = log.place(10).unwrap();
    assert_eq!(again.slot, ExtentSlot(0));
    assert_eq!(again.point.extent, ExtentSequence(3));
    assert!(again.overwrites);
}

#[test]
fn a_slot_names_one_file_for_ever() {
    let mut log = HotLog::new(1 << 20);
    allocate(&mut log);
    log.allocated(true);
    assert_eq!(log.shed(0), Some(ExtentSlot(0)));
    assert_eq!(allocate(&mut log).slot, ExtentSlot(1));
    let mut reopened = HotLog::new(1 << 20);
    reopened.retire(ExtentSlot(6));
    reopened.adopt(ExtentSlot(3), 1 << 20, None);
    assert_eq!(allocate(&mut reopened).slot, ExtentSlot(7));
}

#[test]
fn a_full_disk_is_told_and_an_extent_that_is_freed_gives_room() {
    let mut log = HotLog::new(1 << 20);
    allocate(&mut log);
    log.place(256).unwrap();
    log.wanted(1 << 20, true).unwrap();
    log.allocated(false);
    assert!(log.is_full());
    assert_eq!(log.place(1), None);
    log.free(ExtentSequence(1));
    assert!(log.place(1).is_some());
    log.retry();
    allocate(&mut log);
    assert!(!log.is_full());
}

#[test]
fn a_refused_allocation_is_tried_in_smaller_steps() {
    let mut log = HotLog::new(64 << 20);
    let mut free = 13 << 20;
    let mut refusals = 0;
    while let Some(wanted) = log.wanted(64 << 20, true) {
        let step = wanted.bytes - log.files.get(&wanted.slot).map_or(0, |file| file.allocated);
        log.allocated(step <= free);
        if step <= free {
            free -= step;
        } else {
            refusals += 1;
        }
    }
    assert!(log.is_full());
    assert_eq!((log.total_bytes(), free), (13 << 20, 0));
    assert!(refusals < 8, "{refusals} refusals");
}

#[test]
fn files_are_short_while_the_log_is_small() {
    let mut log = HotLog::new(64 << 20);
    log.appended_bytes = limits::FIRST_ALLOCATION_BYTES;
    for _ in 0..12 {
        log.wanted(u64::MAX, true).unwrap();
        log.allocated(true);
        let limit = (log.total_bytes() / 8).max(limits::FIRST_ALLOCATION_BYTES);
        assert!(log.longest_file() <= limit, "{:?}", log.files);
    }
    while log.total_bytes() < 1 << 30 {
        log.wanted(u64::MAX, true).unwrap();
        log.allocated(true);
    }
    assert_eq!(log.longest_file(), 64 << 20);
}

#[test]
fn a_short_active_file_does_not_stop_the_log_while_others_have_room() {
    let mut log = HotLog::new(1 << 20);
    for (slot, sequence, bytes) in [(0, 7, 16 << 10), (1, 0, 1 << 20), (2, 0, 1 << 20)] {
        let state = ExtentState {
            slot: ExtentSlot(slot),
            sequence: ExtentSequence(sequence),
            live_bytes: 0,
            written_pages: 0,
        };
        log.adopt(ExtentSlot(slot), bytes, Some(state));
    }
    log.resume(LogPoint {
        extent: ExtentSequence(7),
        page: 3,
    });
    assert_eq!(log.wanted(1 << 20, true), None, "there is room");
    assert!(log.place(2).is_some());
}
