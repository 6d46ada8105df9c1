use super::*;

const SLOW: NodeId = NodeId(5);

fn at(millis: u64) -> Instant {
    Instant(1).plus(Duration::from_millis(millis))
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Six nodes; for a while the last one takes `latency`, the others a millisecond. They are judged
/// every 25 ms. Gives when the last one changed.
fn go_on(health: &mut Health, from: u64, until: u64, latency: Duration) -> Vec<u64> {
    let mut changes = Vec::new();
    for now in (from..until).step_by(25) {
        for node in 0..5 {
            health.measured(at(now), NodeId(node), Measure::Read, millis(1));
        }
        health.measured(at(now), SLOW, Measure::Read, latency);
        for node in (0..6).map(NodeId) {
            if health.judge(at(now), node, None) {
                assert_eq!(node, SLOW);
                changes.push(now);
            }
        }
    }
    changes
}

#[test]
fn far_above_the_others_for_a_while_is_slow_and_well_below_for_longer_is_fit() {
    let mut health = Health::new(6);
    assert_eq!(go_on(&mut health, 0, 1000, millis(1)), []);
    let slow = go_on(&mut health, 1000, 6000, millis(100));
    assert_eq!(slow.len(), 1);
    assert!((3000..3500).contains(&slow[0]), "{slow:?}");
    assert_eq!(health.reluctance(at(6000), SLOW), 2);
    let fit = go_on(&mut health, 6000, 30_000, millis(1));
    assert_eq!(fit.len(), 1);
    assert!((16_000..18_000).contains(&fit[0]), "{fit:?}");
    assert_eq!(health.reluctance(at(30_000), SLOW), 0);
}

#[test]
fn what_is_between_the_thresholds_changes_nothing() {
    let mut health = Health::new(6);
    go_on(&mut health, 0, 5000, millis(100));
    assert!(health.is_slow(SLOW));
    // Below what makes slow, above what makes fit.
    assert_eq!(go_on(&mut health, 5000, 60_000, millis(14)), []);
    assert!(health.is_slow(SLOW));
    let mut other = Health::new(6);
    assert_eq!(go_on(&mut other, 0, 60_000, millis(14)), []);
    assert!(!other.is_slow(SLOW));
}

#[test]
fn a_disk_that_is_slow_now_and_then_is_slow_and_does_not_go_to_and_fro() {
    let mut health = Health::new(6);
    let mut changes = Vec::new();
    for turn in 0..60 {
        let latency = if turn % 2 == 0 {
            millis(200)
        } else {
            millis(1)
        };
        changes.extend(go_on(&mut health, turn * 3000, (turn + 1) * 3000, latency));
    }
    assert_eq!(changes.len(), 1, "{changes:?}");
}

#[test]
fn where_all_are_slow_nobody_is_and_one_late_answer_proves_nothing() {
    let mut health = Health::new(6);
    for now in (0..10_000).step_by(25) {
        for node in (0..6).map(NodeId) {
            health.measured(at(now), node, Measure::Append, millis(500));
            assert!(!health.judge(at(now), node, None));
        }
    }
    let mut health = Health::new(6);
    for node in (0..5).map(NodeId) {
        health.measured(at(0), node, Measure::Read, millis(1));
    }
    health.measured(at(0), SLOW, Measure::Read, millis(400));
    // It is avoided, and asked now and then.
    assert_eq!(health.reluctance(at(1), SLOW), 1);
    assert!(health.is_probe_due(at(1000), SLOW) && !health.is_probe_due(at(1000), NodeId(1)));
    health.probed(at(1000), SLOW);
    assert!(!health.is_probe_due(at(1100), SLOW) && health.is_probe_due(at(1300), SLOW));
    for now in (0..70_000).step_by(25) {
        assert!(!health.judge(at(now), SLOW, None), "{now}");
    }
    assert_eq!(health.reluctance(at(70_000), SLOW), 0, "long ago");
}

#[test]
fn a_stuck_request_makes_slow_at_once() {
    let mut health = Health::new(6);
    health.frame_sent(at(0), SLOW, 4096);
    health.frame_sent(at(10), SLOW, 8192);
    let owes = |health: &Health| health.owes_since(SLOW);
    assert_eq!(owes(&health), Some(at(0)));
    let since = owes(&health);
    assert!(!health.judge(at(1990), SLOW, since));
    assert!(health.judge(at(2010), SLOW, since));
    health.frame_acked(at(3000), SLOW, 4096);
    assert_eq!(
        owes(&health),
        Some(at(3000)),
        "it waited behind the first one"
    );
    health.frame_acked(at(3000), SLOW, 8192);
    assert_eq!(owes(&health), None);
    // One acknowledgement too many is of frames that were sent earlier.
    health.frame_acked(at(3000), SLOW, 8192);
    health.frame_sent(at(4000), SLOW, 4096);
    assert_eq!(owes(&health), Some(at(4000)));
    health.frames_restarted(at(5000), SLOW);
    assert_eq!(owes(&health), Some(at(5000)));
    health.frames_dropped(SLOW);
    assert_eq!(owes(&health), None);
}

#[test]
fn many_pages_that_do_not_check_make_doubtful_until_a_scrub() {
    let mut health = Health::new(6);
    let window = limits::DAMAGE_WINDOW.as_millis() as u64;
    for turn in 0..100 {
        let now = turn * window / (limits::DAMAGE_LIMIT as u64 - 2);
        health.damaged(at(now), SLOW);
        assert!(!health.is_doubtful(SLOW), "a bad sector now and then");
    }
    let later = 1_000_000_000;
    for turn in 0..limits::DAMAGE_LIMIT {
        assert!(!health.is_doubtful(SLOW));
        health.damaged(at(later + turn as u64), SLOW);
    }
    assert!(health.is_doubtful(SLOW));
    assert_eq!(health.reluctance(at(later), SLOW), 2);
    health.scrubbed();
    assert!(!health.is_doubtful(SLOW));
}

#[test]
fn who_is_left_behind_again_and_again_rests_longer_each_time() {
    let mut health = Health::new(6);
    let mut now = 0;
    let mut rests = Vec::new();
    for _ in 0..8 {
        health.left_behind(at(now), SLOW);
        let began = now;
        while !health.has_rested(at(now), SLOW, false) {
            now += 1000;
        }
        rests.push((now - began) / 1000);
        now += 5000;
    }
    assert_eq!(rests, [0, 1, 2, 4, 8, 16, 30, 30]);
    now += 200_000;
    health.left_behind(at(now), SLOW);
    assert!(health.has_rested(at(now), SLOW, false));
    assert!(!health.has_rested(at(now + 20_000), SLOW, true));
    assert!(health.has_rested(at(now + 30_000), SLOW, true));
}
