//! The tables of docs/semantics.md, cell by cell, and the laws of the quiet band.

use super::*;
use crate::judge::tests::{conditions, high_is_bad};
use crate::rule::Threshold;
use proptest::prelude::*;

const SECOND: Millis = Millis::from_secs(1);

/// Red after 30 s, amber after 60 s, clear after 120 s: the defaults.
fn defaults() -> Judgement {
    Judgement {
        raise_amber: Millis::from_secs(60),
        raise_red: Millis::from_secs(30),
        clear_amber: Millis::from_secs(120),
        clear_red: Millis::from_secs(120),
        flap_changes: 6,
        ..high_is_bad()
    }
}

fn secs(s: i64) -> UnixMillis {
    UnixMillis(1_000_000 + s * 1000)
}

/// Feeds one value a second over half-open spans; gives the level changes in seconds.
fn levels(how: &Judgement, spans: &[(i64, i64, f64)]) -> Vec<(i64, Level)> {
    let (mut track, mut out) = (Track::new(), Vec::new());
    for &(from, to, value) in spans {
        for s in from..to {
            track.sample(how, SECOND, secs(s - 1), secs(s), value, &mut out);
        }
    }
    only_levels(&out)
}

fn only_levels(changes: &[Change]) -> Vec<(i64, Level)> {
    let level = |change: &Change| match change.kind {
        ChangeKind::Level { to, .. } | ChangeKind::NoData { to, .. } => Some(((change.at.0 - 1_000_000) / 1000, to)),
        _ => None,
    };
    changes.iter().filter_map(level).collect()
}

#[test]
fn red_is_held_after_its_own_clock_and_left_after_clear_for() {
    let got = levels(&defaults(), &[(0, 10, 0.0), (10, 60, 95.0), (60, 300, 0.0)]);
    assert_eq!(got, [(40, Level::Red), (180, Level::Green)]);
}

#[test]
fn amber_time_already_served_counts_while_red_still_waits() {
    let how = Judgement { raise_red: Millis::from_secs(300), ..defaults() };
    let got = levels(&how, &[(0, 1, 0.0), (1, 40, 82.0), (40, 400, 95.0)]);
    assert_eq!(got, [(61, Level::Amber), (340, Level::Red)]);
}

#[test]
fn a_dip_under_the_target_drops_the_clock() {
    let got = levels(&defaults(), &[(0, 20, 95.0), (20, 21, 0.0), (21, 45, 95.0), (45, 50, 0.0)]);
    assert_eq!(got, []);
}

#[test]
fn coming_back_bad_cancels_the_clock_down() {
    let got = levels(&defaults(), &[(0, 40, 95.0), (40, 150, 0.0), (150, 155, 95.0), (155, 300, 0.0)]);
    assert_eq!(got, [(30, Level::Red), (275, Level::Green)]);
}

#[test]
fn from_red_over_amber_values_to_amber() {
    let got = levels(&defaults(), &[(0, 40, 95.0), (40, 200, 82.0)]);
    assert_eq!(got, [(30, Level::Red), (160, Level::Amber)]);
}

#[test]
fn k_of_n_raises_on_the_kth_bad_of_the_last_n() {
    let how = Judgement { k_of_n: (3, 5), ..high_is_bad() };
    let got = levels(&how, &[(0, 2, 95.0), (2, 4, 0.0), (4, 5, 95.0), (5, 20, 0.0)]);
    assert_eq!(got, [(4, Level::Red), (5, Level::Green)]);
    let got = levels(&how, &[(0, 2, 95.0), (2, 5, 0.0), (5, 7, 95.0), (7, 20, 0.0)]);
    assert_eq!(got, [], "never three of five");
}

#[test]
fn a_short_silence_pauses_the_clock_up_and_a_long_one_drops_it() {
    let run = |resume: i64| {
        let (mut track, mut out) = (Track::new(), Vec::new());
        for s in (0..=20).chain(resume..resume + 40) {
            let seen = if s == resume { 20 } else { s - 1 };
            track.sample(&defaults(), SECOND, secs(seen), secs(s), 95.0, &mut out);
        }
        only_levels(&out)
    };
    // 20 s of 30 were served, then 30 s until stale, which count as fresh: 50 s.
    assert_eq!(run(100), [(100, Level::Red)]);
    let (mut track, mut out) = (Track::new(), Vec::new());
    let slow = Judgement { raise_red: Millis::from_secs(60), ..defaults() };
    for s in (0..=20).chain(100..140) {
        let seen = if s == 100 { 20 } else { s - 1 };
        track.sample(&slow, SECOND, secs(seen), secs(s), 95.0, &mut out);
    }
    assert_eq!(only_levels(&out), [(110, Level::Red)], "50 s served before, 50 s stood still, 10 s more");
    assert_eq!(run(300), [(330, Level::Red)], "dropped, so 30 s from the return");
}

#[test]
fn nothing_clears_by_silence() {
    let (mut track, mut out) = (Track::new(), Vec::new());
    for s in 0..40 {
        track.sample(&defaults(), SECOND, secs(s - 1), secs(s), 95.0, &mut out);
    }
    track.sample(&defaults(), SECOND, secs(39), secs(40), 0.0, &mut out);
    track.advance(&defaults(), SECOND, secs(40), secs(100_000), &mut out);
    assert_eq!(only_levels(&out), [(30, Level::Red)]);
    assert_eq!(track.freshness(SECOND, secs(40), secs(100_000)), Freshness::Stale);
    assert_eq!(track.held(), Level::Red);
}

#[test]
fn on_missing_speaks_after_no_data_for_and_once() {
    for (on_missing, expected) in [
        (OnMissing::Hold, vec![]),
        (OnMissing::Amber, vec![(336, Level::Amber)]),
        (OnMissing::Red, vec![(336, Level::Red)]),
    ] {
        let how = Judgement { on_missing, ..defaults() };
        let (mut track, mut out) = (Track::new(), Vec::new());
        track.sample(&how, SECOND, secs(-1), secs(0), 0.0, &mut out);
        for s in 1..400 {
            track.advance(&how, SECOND, secs(6), secs(s), &mut out);
        }
        assert_eq!(only_levels(&out), expected);
        let due = track.due(&how, SECOND, secs(6));
        assert_eq!(due, None, "it has spoken, or has nothing to say");
        for s in 400..600 {
            track.sample(&how, SECOND, secs(s - 1), secs(s), 0.0, &mut out);
        }
        assert_eq!(track.held(), Level::Green, "data came back good for clear_for");
    }
}

#[test]
fn on_missing_ok_clears_a_sparse_counter() {
    let how = Judgement { on_missing: OnMissing::Ok, ..defaults() };
    let (mut track, mut out) = (Track::new(), Vec::new());
    for s in 0..40 {
        track.sample(&how, SECOND, secs(s - 1), secs(s), 95.0, &mut out);
    }
    track.advance(&how, SECOND, secs(39), secs(39 + 30 + 300), &mut out);
    assert_eq!(only_levels(&out), [(30, Level::Red), (369, Level::Green)]);
}

#[test]
fn freshness_is_late_after_two_intervals_and_stale_after_three_or_30_s() {
    let (mut track, mut out) = (Track::new(), Vec::new());
    assert_eq!(track.freshness(SECOND, UnixMillis::MIN, secs(0)), Freshness::Unknown);
    track.sample(&defaults(), SECOND, secs(-1), secs(0), 0.0, &mut out);
    let at = |ms| track.freshness(SECOND, secs(0), UnixMillis(secs(0).0 + ms));
    assert_eq!(
        [at(2_500), at(2_501), at(30_000), at(30_001)],
        [Freshness::Fresh, Freshness::Late, Freshness::Late, Freshness::Stale]
    );
    let minute = track.freshness(Millis::from_mins(1), secs(0), secs(181));
    assert_eq!(minute, Freshness::Stale);
}

#[test]
fn not_a_number_is_silence_and_never_green() {
    let (mut track, mut out) = (Track::new(), Vec::new());
    for s in 0..40 {
        track.sample(&defaults(), SECOND, secs(s - 1), secs(s), 95.0, &mut out);
    }
    for s in 40..60 {
        track.sample(&defaults(), SECOND, secs(s - 1), secs(s), f64::NAN, &mut out);
    }
    assert_eq!(only_levels(&out), [(30, Level::Red)]);
    assert_eq!(track.freshness(SECOND, secs(59), secs(60)), Freshness::Stale);
    assert!(!track.band(&defaults()).is_quiet(95.0), "the first number after it is judged");
}

#[test]
fn six_changes_in_the_window_pin_the_worst_level_until_a_quiet_window() {
    let how = Judgement { flap_changes: 6, ..high_is_bad() };
    let (mut track, mut out) = (Track::new(), Vec::new());
    let mut s = 0;
    for _ in 0..5 {
        for value in [95.0, 0.0] {
            track.sample(&how, SECOND, secs(s - 1), secs(s), value, &mut out);
            s += 1;
        }
    }
    let began = out.iter().filter(|change| change.kind == ChangeKind::FlappingBegan).count();
    assert_eq!(began, 1);
    assert_eq!(only_levels(&out).len(), 5, "the sixth change is not shown");
    assert_eq!(track.held(), Level::Red);
    assert_eq!(track.due(&how, SECOND, secs(9)), Some(secs(9 + 1800)));
    track.advance(&how, SECOND, secs(1808), secs(1808), &mut out);
    assert!(track.is_flapping());
    track.advance(&how, SECOND, secs(1809), secs(1809), &mut out);
    assert!(!track.is_flapping());
    assert_eq!(track.held(), Level::Green);
    assert_eq!(only_levels(&out).last(), Some(&(1809, Level::Green)));
}

#[test]
fn an_episode_that_began_and_ended_in_the_silence_is_told_late() {
    let (mut track, mut out) = (Track::new(), Vec::new());
    track.sample(&defaults(), SECOND, secs(-1), secs(0), 0.0, &mut out);
    track.sample(&defaults(), SECOND, secs(0), secs(1000), 0.0, &mut out);
    for s in 1..1000 {
        let value = if (100..200).contains(&s) { 95.0 } else { 0.0 };
        track.backfill(&defaults(), SECOND, secs(s), value, &mut out);
    }
    let kind = ChangeKind::LateEpisode { first_symptom: secs(100), raised: secs(130), worst: Level::Red };
    assert_eq!(out, [Change { at: secs(320), kind }]);
    assert_eq!(track.held(), Level::Green);
}

#[test]
fn an_episode_that_goes_on_after_the_silence_is_the_live_tracks_own() {
    let (mut track, mut out) = (Track::new(), Vec::new());
    track.sample(&defaults(), SECOND, secs(-1), secs(0), 0.0, &mut out);
    track.sample(&defaults(), SECOND, secs(0), secs(1000), 95.0, &mut out);
    for s in 1..1000 {
        track.backfill(&defaults(), SECOND, secs(s), 95.0, &mut out);
    }
    assert_eq!(out, []);
}

#[test]
fn an_edited_rule_is_judged_again_from_the_held_level() {
    let (mut track, mut out) = (Track::new(), Vec::new());
    track.sample(&high_is_bad(), SECOND, secs(-1), secs(0), 75.0, &mut out);
    let bad = crate::rule::Condition::AtLeast(75.0);
    let edited = Judgement { red: Some(Threshold { bad, hold: bad }), amber: None, ..high_is_bad() };
    assert!(track.band(&high_is_bad()).is_quiet(75.0));
    track.rejudge(&edited);
    assert!(!track.band(&edited).is_quiet(75.0), "the next sample must be judged");
    track.sample(&edited, SECOND, secs(0), secs(1), 75.0, &mut out);
    assert_eq!(only_levels(&out), [(1, Level::Red)]);
}

#[test]
fn a_stepped_clock_moves_what_runs_and_raises_nothing() {
    let (mut track, mut out) = (Track::new(), Vec::new());
    track.sample(&defaults(), SECOND, secs(-1), secs(0), 95.0, &mut out);
    track.shift(3_600_000);
    for s in 3601..3630 {
        track.sample(&defaults(), SECOND, secs(s - 1), secs(s), 95.0, &mut out);
    }
    assert_eq!(out, []);
    track.sample(&defaults(), SECOND, secs(3629), secs(3630), 95.0, &mut out);
    assert_eq!(only_levels(&out), [(3630, Level::Red)]);
}

fn judgements() -> impl Strategy<Value = Judgement> {
    let spans = (0u64..6, 0u64..6, 0u64..6, 0u64..6);
    let thresholds = (proptest::option::of(conditions()), proptest::option::of(conditions()));
    (spans, thresholds, 1u32..4, 1u32..5, 0u32..5).prop_map(|(spans, thresholds, k, n, flap_changes)| {
        let same = |bad| Threshold { bad, hold: bad };
        Judgement {
            amber: thresholds.0.map(same),
            red: thresholds.1.map(same),
            raise_amber: Millis::from_secs(spans.0),
            raise_red: Millis::from_secs(spans.1),
            clear_amber: Millis::from_secs(spans.2),
            clear_red: Millis::from_secs(spans.3),
            k_of_n: (k.min(n), n),
            flap_changes,
            flap_window: Millis::from_secs(20),
            ..high_is_bad()
        }
    })
}

/// Seconds to the next sample and its value; 6 stands for not-a-number.
fn series() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let step = prop_oneof![30 => Just(1i64), 1 => 2i64..400];
    let value = prop_oneof![20 => (-6i8..6).prop_map(f64::from), 1 => Just(f64::NAN)];
    proptest::collection::vec((step, value), 1..120)
}

proptest! {
    /// Judging every sample and judging only those outside their band is the same.
    #[test]
    fn quiet_samples_change_nothing(how in judgements(), series in series()) {
        let (mut all, mut sieved) = (Track::new(), Track::new());
        let (mut out_all, mut out_sieved) = (Vec::new(), Vec::new());
        let (mut at, mut seen) = (secs(0), UnixMillis::MIN);
        for (step, value) in series {
            at = at + Millis::from_secs(step.unsigned_abs());
            all.sample(&how, SECOND, seen, at, value, &mut out_all);
            let after_silence = at > stale_at(SECOND, seen);
            if after_silence || !sieved.band(&how).is_quiet(value) {
                sieved.sample(&how, SECOND, seen, at, value, &mut out_sieved);
            }
            seen = at;
            all.advance(&how, SECOND, seen, at, &mut out_all);
            sieved.advance(&how, SECOND, seen, at, &mut out_sieved);
            prop_assert_eq!(&out_all, &out_sieved);
        }
        prop_assert_eq!((all.held(), all.since()), (sieved.held(), sieved.since()));
    }

    /// A restart between any two samples changes nothing.
    #[test]
    fn a_stored_track_goes_on_as_if_nothing_happened(how in judgements(), series in series()) {
        let (mut kept, mut stored) = (Track::new(), Track::new());
        let (mut out_kept, mut out_stored) = (Vec::new(), Vec::new());
        let (mut at, mut seen) = (secs(0), UnixMillis::MIN);
        for (step, value) in series {
            at = at + Millis::from_secs(step.unsigned_abs());
            kept.sample(&how, SECOND, seen, at, value, &mut out_kept);
            stored.sample(&how, SECOND, seen, at, value, &mut out_stored);
            let mut bytes = Vec::new();
            ciborium::into_writer(&stored, &mut bytes).unwrap();
            stored = ciborium::from_reader(&bytes[..]).unwrap();
            seen = at;
        }
        prop_assert_eq!(out_kept, out_stored);
    }
}
