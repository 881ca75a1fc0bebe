//! What merging promises of the store: every sample stays, once, whatever is cut off.

use super::*;
use crate::query::{QueryLimits, Reader};
use crate::reading::Asked;
use crate::store::memory::MemoryStore;
use crate::telemetry::Telemetry;
use proptest::prelude::*;
use signalbox_proto::clock::ManualClock;
use signalbox_proto::units::Bytes;
use signalbox_tsdb::Point;
use signalbox_tsdb::chunk::ChunkBuilder;
use signalbox_tsdb::rollup::roll;
use signalbox_tsdb::run::Run;
use signalbox_tsdb::tier::MINUTE_MS;
use std::sync::LazyLock;

const NO: AgentNo = AgentNo(3);
const WINDOW: i64 = Tier::Long.window_ms();
/// A window's start.
const T0: i64 = 248_000 * WINDOW;
const IDS: [SeriesId; 3] = [SeriesId(1), SeriesId(2), SeriesId(7)];

/// (place of the series, seconds after T0, value).
type Sample = (usize, i64, f64);
type Model = BTreeMap<(usize, i64), u64>;

fn shared(store: MemoryStore) -> Shared {
    Shared::new(Arc::new(ManualClock::at(UnixMillis(T0))), Arc::new(store), Telemetry::default())
}

/// What a seal commits.
fn seal(commit: &mut Commit, n: u64, samples: &[Sample]) {
    let arrived = T0 + 10 * WINDOW + n.cast_signed();
    let mut chunk = ChunkBuilder::default();
    for (place, id) in IDS.into_iter().enumerate() {
        let own = samples.iter().filter(|sample| sample.0 == place);
        let points = own.map(|&(_, at, value)| Point { time: UnixMillis(T0 + at * 1000), value });
        chunk.push(id, &Run::of(points, arrived).0);
    }
    let (Some(facts), Some(last)) = (chunk.facts(), chunk.last()) else { return };
    let row = chunk.finish();
    let span = Span { size: Bytes(row.len() as u64), last, facts };
    let (min_time, max_time) = (facts.min_time, facts.max_time);
    spans::put(
        commit,
        Tier::Fresh,
        &Chunk { agent: NO, max_time, min_time, epoch: 1, last_seq: n }.encode(),
        row,
        &span,
    );
}

static SOMEBODY: LazyLock<Asked> = LazyLock::new(Asked::default);

fn reader(shared: &Shared) -> Reader<'_> {
    Reader { shared, deadline: Millis(u64::MAX), limits: QueryLimits::default(), waiting: &SOMEBODY }
}

fn found(shared: &Shared) -> Model {
    let all = (UnixMillis(T0 - 100 * WINDOW), UnixMillis(T0 + 100 * WINDOW));
    let runs = reader(shared).columns(NO, &IDS, all, &mut 0).unwrap();
    let of = |(place, run): (usize, &Run)| {
        run.points().map(move |point| ((place, (point.time.0 - T0) / 1000), point.value.to_bits())).collect::<Vec<_>>()
    };
    runs.iter().enumerate().flat_map(of).collect()
}

fn merge_all(shared: &Shared, pace: Pace, n_max: usize) {
    let mut held = Held::default();
    for _ in 0..n_max {
        let plans = plan(shared, &held, UnixMillis(T0 + 200 * WINDOW), pace).unwrap();
        let Some(plan) = plans.first() else { return };
        let merge = merge(shared, &mut held, plan).unwrap().unwrap();
        let mut commit = Commit::default();
        merge.into_commit(&mut commit);
        shared.store().commit(&commit).unwrap();
    }
}

fn samples() -> impl Strategy<Value = Vec<Vec<Sample>>> {
    let sample = (0..IDS.len(), -8000i64..20_000, (0i64..500).prop_map(|n| n as f64 / 8.0));
    proptest::collection::vec(proptest::collection::vec(sample, 1..25), 1..8)
}

/// Minutes from roll-ups wherever there are some against minutes of the samples.
fn check_minutes(shared: &Shared, model: &Model) {
    let (from, to) = (UnixMillis(T0 - 10 * WINDOW), UnixMillis(T0 + 10 * WINDOW));
    for step in [MINUTE_MS, HOUR_MS] {
        let buckets = reader(shared).buckets(NO, &IDS, (from, to), step, true, &mut 0).unwrap();
        for (place, buckets) in buckets.series.iter().enumerate() {
            let own = model.range((place, i64::MIN)..(place + 1, i64::MIN));
            let points =
                own.map(|((_, at), bits)| Point { time: UnixMillis(T0 + at * 1000), value: f64::from_bits(*bits) });
            let expected = roll(points, step);
            // Values are eighths: sums are exact.
            assert_eq!(*buckets, expected, "buckets of {step} ms");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Killed after any commit and started again: seals and merges in any mixture.
    #[test]
    fn every_sample_is_there_once_after_any_prefix_of_commits(sealed in samples(), merges in proptest::collection::vec(0usize..3, 8)) {
        let store = MemoryStore::default();
        let mut model = Model::new();
        let mut shared = shared(store.copy());
        for (n, (list, n_merges)) in (0u64..).zip(sealed.iter().zip(merges)) {
            let mut commit = Commit::default();
            seal(&mut commit, n, list);
            shared.store().commit(&commit).unwrap();
            model.extend(list.iter().map(|&(place, at, value)| ((place, at), value.to_bits())));
            let pace = Pace { settle: Millis(0), n_chunks: 1 };
            merge_all(&shared, pace, n_merges);
            prop_assert_eq!(found(&shared), model.clone());
            // A restart knows what is in the store, and nothing else.
            let rows = MemoryStore::default();
            let mut all = Commit::default();
            for family in Family::ALL {
                let mut copy = |key: &[u8], value: &[u8]| {
                    all.put(family, key, value);
                    ControlFlow::Continue(())
                };
                shared.store().scan(family, &[], &[], &mut copy).unwrap();
            }
            rows.commit(&all).unwrap();
            shared = self::shared(rows);
            prop_assert_eq!(found(&shared), model.clone());
            check_minutes(&shared, &model);
        }
        merge_all(&shared, Pace { settle: Millis(0), n_chunks: 1 }, 100);
        prop_assert_eq!(found(&shared), model.clone());
        let due = hours_due(&**shared.store(), UnixMillis(T0 + 200 * WINDOW)).unwrap();
        for (agent, window) in due {
            let mut commit = Commit::default();
            hours(&shared, &mut Held::default(), agent, window).unwrap().into_commit(&mut commit);
            shared.store().commit(&commit).unwrap();
        }
        prop_assert!(hours_due(&**shared.store(), UnixMillis::MAX).unwrap().is_empty());
        check_minutes(&shared, &model);
    }
}

#[test]
fn a_damaged_chunk_stays_and_does_not_stop_the_others() {
    let store = MemoryStore::default();
    let mut commit = Commit::default();
    seal(&mut commit, 1, &[(0, 5, 1.0)]);
    seal(&mut commit, 2, &[(0, 9000, 2.0)]);
    let key = commit.changes().iter().find_map(|change| match change {
        crate::store::Change::Put(Family::Chunks, key, _) => Some(key.clone()),
        _ => None,
    });
    commit.put(Family::Chunks, key.unwrap(), b"damaged".as_slice());
    store.commit(&commit).unwrap();
    let (shared, mut held) = (shared(store), Held::default());
    let plans = plan(&shared, &held, UnixMillis(T0 + 200 * WINDOW), Pace::default()).unwrap();
    assert_eq!(plans.len(), 2);
    assert!(merge(&shared, &mut held, &plans[0]).unwrap().is_none());
    assert!(merge(&shared, &mut held, &plans[1]).unwrap().is_some());
    let again = plan(&shared, &held, UnixMillis(T0 + 200 * WINDOW), Pace::default()).unwrap();
    assert_eq!(again, plans[1..]);
    assert_eq!(shared.problems().len(), 1);
}

#[test]
fn where_samples_are_gone_minutes_answer() {
    let store = MemoryStore::default();
    let mut commit = Commit::default();
    let list: Vec<Sample> = (0..7000).map(|at| (0, at, 1.0)).collect();
    seal(&mut commit, 1, &list);
    store.commit(&commit).unwrap();
    let shared = shared(store);
    merge_all(&shared, Pace::default(), 9);
    let range = (UnixMillis(T0), UnixMillis(T0 + WINDOW));
    let raw = reader(&shared).buckets(NO, &IDS, range, MINUTE_MS, false, &mut 0).unwrap();
    assert_eq!((raw.tier, raw.series[0].len()), (None, 117));
    let mut commit = Commit::default();
    shared
        .store()
        .read(&mut |rows| {
            for (part, _) in spans::parts(rows, Tier::Long, NO, range).unwrap() {
                spans::delete(&mut commit, Tier::Long, &part.encode());
            }
        })
        .unwrap();
    shared.store().commit(&commit).unwrap();
    let rolled = reader(&shared).buckets(NO, &IDS, range, MINUTE_MS, false, &mut 0).unwrap();
    assert_eq!((rolled.tier, &rolled.series), (Some(Tier::Minutes), &raw.series));
    assert!(found(&shared).is_empty());
}
