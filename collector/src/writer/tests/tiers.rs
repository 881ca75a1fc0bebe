//! Series that come and go while their samples grow old: every tier names its series.

use super::super::retention::{self, Retention};
use super::super::{merge, segments};
use super::retire::{found, rest, round, short_lived};
use super::*;
use crate::storage::verify::verify;
use crate::store::spans;
use signalbox_proto::units::Bytes;
use signalbox_tsdb::compact::Pace;
use signalbox_tsdb::retention::Limits;
use signalbox_tsdb::tier::Tier;
use std::ops::ControlFlow;

const DAY: Millis = Millis::from_mins(24 * 60);
/// No age takes anything.
const EVER: Millis = Millis::from_mins(100 * 365 * 24 * 60);

/// Does everything that merging finds due.
fn merge_all(rig: &mut Rig) {
    let mut held = merge::Held::default();
    for plan in merge::plan(&rig.shared, &held, rig.at, Pace::default()).unwrap() {
        let merged = merge::merge(&rig.shared, &mut held, &plan).unwrap().unwrap();
        rig.turn(vec![Message::Merged(merged)]);
    }
    for (agent, window) in merge::hours_due(&*rig.store, rig.at).unwrap() {
        let built = merge::hours(&rig.shared, &mut held, agent, window).unwrap();
        rig.turn(vec![Message::Merged(built)]);
    }
}

/// One sweep; ages of raw samples, minutes and hours.
pub(super) fn sweep(rig: &mut Rig, ages: [Millis; 3]) {
    let [raw, minutes, hours] = ages.map(|age| Limits { age, size: Bytes(u64::MAX) });
    let key = AuditKey::new([7; 32]);
    let swept = retention::sweep(&*rig.store, rig.at, Retention { raw, minutes, hours }, &key, 1000).unwrap();
    rig.turn(vec![Message::Swept(swept)]);
}

fn n_rows(rig: &Rig) -> [usize; 4] {
    Tier::ALL.map(|tier| {
        let mut n = 0;
        let mut count = |_: &[u8], _| {
            n += 1;
            ControlFlow::Continue(())
        };
        let mut outcome = Ok(());
        rig.store.read(&mut |rows| outcome = spans::each(rows, tier, (&[], &[]), &mut count)).unwrap();
        outcome.unwrap();
        n
    })
}

/// Upkeep of segments where no age keeps what is older than now.
fn keep_segments(rig: &mut Rig) {
    while let Some(change) = segments::plan(&rig.shared, rig.at, &mut Vec::new()).unwrap() {
        rig.turn(vec![Message::Segments(change)]);
    }
}

/// The same is found now and after a restart, and no row lacks another.
fn check(rig: &Rig, wanted: &[(String, Vec<i64>)]) {
    assert_eq!(found(rig, "c"), wanted);
    assert_eq!(found(&Rig::over(Arc::new(rig.store.copy()), rig.at), "c"), wanted);
    assert_eq!(verify(&*rig.store, |_, _| {}).unwrap().faults, []);
}

#[test]
fn retired_series_are_found_in_every_tier_and_go_with_the_last() {
    let (mut rig, mut agent) = short_lived();
    let mut wanted: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    // The first of them comes back at the end, under new ids.
    for n in [0, 1, 2, 3, 0] {
        let message = round(&mut agent, rig.at, n);
        rig.turn(vec![message]);
        for place in 0..2 {
            wanted.entry(format!("{n}-{place}")).or_default().push(rig.at.0);
        }
        rest(&mut rig, 50);
    }
    rest(&mut rig, 240);
    let wanted: Vec<_> = wanted.into_iter().collect();
    let n_live = rig.shared.index().len();
    check(&rig, &wanted);
    merge_all(&mut rig);
    let [fresh, long, minutes, _] = n_rows(&rig);
    assert!(fresh == 0 && long > 1 && minutes == long, "{:?}", n_rows(&rig));
    check(&rig, &wanted);
    rig.pass(i64::try_from(5 * DAY.0).unwrap());
    rest(&mut rig, 1);
    merge_all(&mut rig);
    assert_eq!(n_rows(&rig)[3], 2, "the hours of two windows are built");
    assert_eq!(rig.shared.index().len(), n_live, "merging makes nobody live again");
    for ages in [[DAY, EVER, EVER], [DAY, DAY, EVER]] {
        sweep(&mut rig, ages);
        keep_segments(&mut rig);
        check(&rig, &wanted);
    }
    assert_eq!(n_rows(&rig)[..3], [0; 3], "hours alone are left");
    assert!(!rig.shared.index().segments().is_empty(), "which name their series");
    sweep(&mut rig, [DAY; 3]);
    keep_segments(&mut rig);
    assert!(rig.shared.index().segments().is_empty());
    check(&rig, &[]);
}

#[test]
fn no_tier_keeps_longer_than_the_longest_age_and_its_row() {
    let limits = |days: u64| Limits { age: Millis(days * DAY.0), size: Bytes(u64::MAX) };
    let keep = |raw, minutes, hours| Retention { raw: limits(raw), minutes: limits(minutes), hours: limits(hours) };
    let two_hours = Millis::from_mins(120);
    assert_eq!(keep(1, 2, 30).longest(), Millis(34 * DAY.0));
    assert_eq!(keep(9, 7, 4).longest(), Millis(9 * DAY.0 + two_hours.0));
    assert_eq!(keep(1, 90, 4).longest(), Millis(90 * DAY.0 + two_hours.0));
}
