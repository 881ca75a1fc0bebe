//! What lanes promise.

use super::*;
use crate::Point;
use crate::chunk::ChunkReader;
use crate::journal::Row;
use crate::run::Joiner;
use crate::testing::{Agent, T0, bits};
use proptest::prelude::*;
use signalbox_proto::limits::FUTURE_MAX_MS;
use signalbox_proto::samples::ShapeEntry;

fn take(lane: &mut Lane, record: &Record) -> Appended {
    lane.append(record, |_| {}).unwrap()
}

fn scan(lane: &Lane, series: SeriesId) -> Vec<Point> {
    let mut out = [Vec::new()];
    lane.scan(&[series], UnixMillis::MIN, UnixMillis::MAX, &mut out);
    let [runs] = out;
    Joiner::default().join(runs).points().collect()
}

#[test]
fn ticks_are_shown_once_with_what_changed() {
    let mut agent = Agent::new(3);
    let mut lane = Lane::new(7);
    let mut seen = Vec::new();
    let mut show = |lane: &mut Lane, record: &Record| {
        let visit = |tick: &TickView<'_>| {
            assert_eq!((tick.check(), tick.interval(), tick.refs()), ("cpu", Millis(1000), &[0, 1, 2][..]));
            assert_eq!(tick.samples().count(), 3);
            seen.push((
                tick.time().0 - T0,
                tick.changed().map(|(at, id, value)| (at, id.0, value)).collect::<Vec<_>>(),
            ));
        };
        lane.append(record, visit).unwrap()
    };
    let rows = [(T0, vec![0.0, 1.0, 2.0]), (T0 + 1000, vec![0.0, 1.0, 2.5])];
    let appended = show(&mut lane, &agent.batch(true, &rows));
    assert_eq!(appended, Appended { n_ticks: 2, n_samples: 6, ..Appended::default() });
    show(&mut lane, &agent.batch(false, &[(T0 + 2000, vec![9.0, 1.0, 2.5])]));
    show(&mut lane, &agent.batch(true, &[(T0 + 3000, vec![0.0, 1.0, 2.5])]));
    let whole = |last| vec![(0, 10, 0.0), (1, 11, 1.0), (2, 12, last)];
    assert_eq!(
        seen,
        [(0, whole(2.0)), (1000, vec![(2, 12, 2.5)]), (2000, vec![(0, 10, 9.0)]), (3000, whole(2.5)),],
        "after a key batch unchanged zeros are shown too"
    );
}

#[test]
fn batches_must_follow_each_other_or_stand_alone() {
    let mut agent = Agent::new(1);
    let mut lane = Lane::new(7);
    let row = [(T0, vec![1.0])];
    let first = agent.batch(true, &row);
    take(&mut lane, &first);
    let _lost = agent.batch(false, &row);
    let third = agent.batch(false, &row);
    assert_eq!(lane.append(&third, |_| {}), Err(LaneError::Sequence { last: 1, found: 3 }));
    assert_eq!(lane.append(&first, |_| {}), Err(LaneError::Sequence { last: 1, found: 1 }));
    let key = agent.batch(true, &row);
    take(&mut lane, &key);
    assert_eq!(lane.seq(), 4);
    let other = Record { epoch: 8, seq: 5, ..key };
    assert_eq!(lane.append(&other, |_| {}), Err(LaneError::Epoch { expected: 7, found: 8 }));
}

#[test]
fn a_refused_batch_leaves_the_lane_as_it_was() {
    let mut agent = Agent::new(2);
    let mut lane = Lane::new(7);
    take(&mut lane, &agent.batch(true, &[(T0, vec![1.0, 2.0])]));
    let good = agent.batch(false, &[(T0 + 1000, vec![1.5, 2.5]), (T0 + 2000, vec![1.25, 2.0])]);
    let cut = good.columns.slice(..good.columns.len() - 1);
    let bad = Record { columns: cut, ..good.clone() };
    assert!(matches!(lane.append(&bad, |_| {}), Err(LaneError::Columns { seq: 2, .. })));
    let shape = ShapeEntry { shape: 0, check: "cpu".into(), interval: Millis(1000), refs: vec![1, 0] };
    for (refs, shapes) in [
        (vec![(0, SeriesId(99))], vec![]),
        (vec![(5, SeriesId(99))], vec![shape.clone()]),
        (vec![], vec![ShapeEntry { shape: 1, refs: vec![7], ..shape.clone() }]),
        (vec![], vec![ShapeEntry { shape: 1, refs: vec![1, 1], ..shape.clone() }]),
        (vec![(u32::MAX, SeriesId(1))], vec![]),
        (vec![], vec![ShapeEntry { shape: u32::MAX, ..shape }]),
    ] {
        let bad = Record { refs, shapes, ..good.clone() };
        assert!(matches!(lane.append(&bad, |_| {}), Err(LaneError::Dictionary { seq: 2, .. })));
    }
    assert!(!lane.has(SeriesId(99)));
    take(&mut lane, &good);
    assert_eq!(
        bits(&scan(&lane, Agent::id(0))),
        [(T0, 1f64.to_bits()), (T0 + 1000, 1.5f64.to_bits()), (T0 + 2000, 1.25f64.to_bits())]
    );
    assert_eq!(lane.n_samples(), 6);
    let limits = SealLimits { n_ticks: 4, ..SealLimits::default() };
    assert!(!lane.due(UnixMillis(T0), &limits), "ticks of refused batches do not count");
}

#[test]
fn a_refused_series_is_decoded_and_shown_nowhere() {
    let mut agent = Agent::new(2);
    let mut lane = Lane::new(7);
    let mut record = agent.batch(true, &[(T0, vec![5.0, 6.0])]);
    record.refs[0].1 = SeriesId::REFUSED;
    let mut shown = Vec::new();
    let appended = lane.append(&record, |tick| shown.extend(tick.changed().chain(tick.samples()))).unwrap();
    assert_eq!((appended.n_samples, appended.n_refused), (1, 1));
    assert_eq!(shown, [(1, SeriesId(11), 6.0); 2]);
    assert!(scan(&lane, SeriesId::REFUSED).is_empty() && !lane.has(SeriesId::REFUSED));
    let sealed = lane.seal().unwrap();
    assert_eq!((sealed.series.len(), sealed.facts.n_series, sealed.facts.n_samples), (1, 1, 1));
}

#[test]
fn instants_far_from_the_arrival_are_passed_over_for_ever() {
    let mut agent = Agent::new(1);
    let mut lane = Lane::new(7);
    let times =
        [i64::MIN, T0 - PAST_MAX_MS - 1, T0 - PAST_MAX_MS, T0, T0 + FUTURE_MAX_MS - 1, T0 + FUTURE_MAX_MS, i64::MAX];
    let rows = times.map(|time| (time, vec![1.0]));
    let appended = take(&mut lane, &agent.batch(true, &rows));
    assert_eq!((appended.n_samples, appended.n_outside), (3, 4));
    let kept = [T0 - PAST_MAX_MS, T0, T0 + FUTURE_MAX_MS - 1];
    assert_eq!(scan(&lane, Agent::id(0)).iter().map(|point| point.time.0).collect::<Vec<_>>(), kept);
    let sealed = lane.seal().unwrap();
    assert_eq!((sealed.facts.min_time.0, sealed.facts.max_time.0, sealed.facts.n_samples), (kept[0], kept[2], 3));
}

#[test]
fn a_lane_is_due_by_ticks_bytes_or_age() {
    let mut agent = Agent::new(1);
    let mut lane = Lane::new(7);
    let due = |lane: &Lane, after_ms: i64, limits: SealLimits| lane.due(UnixMillis(T0 + after_ms), &limits);
    let limits = SealLimits { n_ticks: 3, payload: Bytes(1000), span: Millis(5000) };
    assert!(!due(&lane, i64::MAX - T0, limits), "an empty lane is never due");
    take(&mut lane, &agent.batch(true, &[(T0, vec![1.0]), (T0 + 1000, vec![1.0])]));
    assert!(!due(&lane, 4999, limits));
    assert!(due(&lane, 5000, limits));
    assert!(due(&lane, 0, SealLimits { n_ticks: 2, ..limits }));
    assert!(due(&lane, 0, SealLimits { payload: lane.payload(), ..limits }));
    assert!(due(&lane, 0, SealLimits { span: Millis(1000), ..limits }));
    lane.seal().unwrap();
    assert!(!due(&lane, 5000, limits) && lane.is_empty() && lane.seal().is_none());
}

#[test]
fn shapes_not_declared_since_the_last_key_batch_are_forgotten_at_a_seal() {
    let mut agent = Agent::new(2);
    let mut lane = Lane::new(7);
    let old = ShapeEntry { shape: 1, check: "old".into(), interval: Millis(1000), refs: vec![1] };
    let mut first = agent.batch(true, &[(T0, vec![1.0, 2.0])]);
    first.shapes.push(old.clone());
    take(&mut lane, &first);
    assert_eq!(lane.seal().unwrap().snapshot.shapes.len(), 2);
    take(&mut lane, &agent.batch(true, &[(T0 + 1000, vec![1.0, 2.0])]));
    let snapshot = lane.seal().unwrap().snapshot;
    assert!(snapshot.shapes.len() == 1 && !snapshot.shapes.contains(&old));
}

#[test]
fn a_lane_that_is_never_sealed_is_bounded() {
    let mut agent = Agent::new(1);
    let mut lane = Lane::new(7);
    let mut record = agent.batch(true, &[]);
    record.columns = vec![0; LANE_MAX_BYTES + 1].into();
    assert_eq!(lane.append(&record, |_| {}), Err(LaneError::Full { held: 0 }));
}

type Rows = Vec<(i64, Vec<f64>)>;

fn rows() -> impl Strategy<Value = Vec<(bool, bool, Rows)>> {
    let odd = prop_oneof![Just(0.0), Just(-0.0), Just(1.5), Just(f64::NAN), any::<u64>().prop_map(f64::from_bits)];
    let value = prop_oneof![(0i32..50).prop_map(f64::from), (0i32..500).prop_map(|m| f64::from(m) / 10.0), odd];
    let row = (0i64..100_000, proptest::collection::vec(value, 4)).prop_map(|(time, row)| (T0 + time, row));
    proptest::collection::vec((any::<bool>(), any::<bool>(), proptest::collection::vec(row, 0..6)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Seals after some batches, restarts after others: every point must be as if
    /// the lane had lived on, open and sealed together.
    #[test]
    fn sealed_and_restarted_equals_never_sealed(batches in rows()) {
        let mut agent = Agent::new(4);
        let mut plain = Lane::new(7);
        let mut lane = Lane::new(7);
        let mut journal: Vec<Vec<u8>> = Vec::new();
        let mut chunks: Vec<Vec<u8>> = Vec::new();
        for (n, (seal, restart, rows)) in batches.iter().enumerate() {
            let record = agent.batch(n == 0 || n % 5 == 4, rows);
            take(&mut plain, &record);
            take(&mut lane, &record);
            journal.push(record.encode());
            // Sealed in place or, after a split, elsewhere: the same rows either way.
            let twin = lane.sealed();
            let sealed = match (*seal, n % 2) {
                (false, _) => None,
                (true, 0) => lane.seal(),
                (true, _) => lane.split().and_then(|mut part| part.seal()),
            };
            if let Some(sealed) = sealed {
                prop_assert_eq!(Some(&sealed), twin.as_ref());
                chunks.extend(sealed.chunk);
                journal = vec![sealed.snapshot.encode()];
            }
            if *restart {
                lane = restored(&journal);
            }
        }
        prop_assert_eq!(lane.seq(), plain.seq());
        for id in (0..4).map(Agent::id) {
            let mut sources = Vec::new();
            for chunk in &chunks {
                sources.extend(ChunkReader::open(chunk).unwrap().read(id, UnixMillis::MIN, UnixMillis::MAX).unwrap());
            }
            let mut open = [sources];
            lane.scan(&[id], UnixMillis::MIN, UnixMillis::MAX, &mut open);
            let [sources] = open;
            let found: Vec<Point> = Joiner::default().join(sources).points().collect();
            prop_assert_eq!(bits(&found), bits(&scan(&plain, id)));
        }
        let last = |lane: &Lane| lane.last_values().map(|(id, value)| (id, value.to_bits())).collect::<Vec<_>>();
        prop_assert_eq!(last(&lane), last(&plain));
    }
}

proptest! {
    /// Whatever a broken agent sends: taken whole or not at all, and what was taken
    /// can be read and sealed.
    #[test]
    fn any_payload_is_taken_whole_or_not_at_all(
        payload in proptest::collection::vec(any::<u8>(), 0..60), cut in 0usize..40) {
        let mut agent = Agent::new(3);
        let mut lane = Lane::new(7);
        take(&mut lane, &agent.batch(true, &[(T0, vec![1.5, f64::NAN, 0.0])]));
        let good = agent.batch(false, &[(T0 + 1000, vec![2.5, 1.0, 7.0])]);
        let mut columns = good.columns[..cut.min(good.columns.len())].to_vec();
        columns.extend_from_slice(&payload);
        let facts = |lane: &Lane| {
            let points: Vec<_> = (0..3).map(|at| bits(&scan(lane, Agent::id(at)))).collect();
            let last: Vec<_> = lane.last_values().map(|(id, value)| (id, value.to_bits())).collect();
            (points, last, lane.seq(), lane.n_samples(), lane.time_range(), lane.payload())
        };
        let before = facts(&lane);
        if lane.append(&Record { columns: columns.into(), ..good.clone() }, |_| {}).is_err() {
            prop_assert_eq!(facts(&lane), before);
            take(&mut lane, &good);
        }
        let sealed = lane.clone().seal().unwrap();
        prop_assert_eq!(lane.n_samples(), sealed.facts.n_samples + sealed.n_duplicates);
    }
}

fn restored(journal: &[Vec<u8>]) -> Lane {
    let mut lane = Lane::new(7);
    for row in journal {
        match Row::decode(row).unwrap() {
            Row::Snapshot(snapshot) => lane = Lane::restore(&snapshot).unwrap(),
            Row::Record(record) => {
                take(&mut lane, &record);
            }
        }
    }
    lane
}
