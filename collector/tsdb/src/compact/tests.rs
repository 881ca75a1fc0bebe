//! What merging promises: the same samples, each instant once, the last arrived.

use super::*;
use crate::Point;
use crate::testing::{T0, bits};
use proptest::prelude::*;

const WINDOW: i64 = Tier::Long.window_ms();

fn window() -> UnixMillis {
    Tier::Long.window_of(UnixMillis(T0))
}

/// A chunk of (series, ms after the window's start, value), arrived at `arrived`.
fn chunk(arrived: i64, samples: &[(u32, i64, u64)]) -> Vec<u8> {
    let mut series: BTreeMap<u32, Vec<Point>> = BTreeMap::new();
    for &(id, time, value) in samples {
        let time = window().shifted(time);
        series.entry(id).or_default().push(Point { time, value: f64::from_bits(value) });
    }
    let mut chunk = ChunkBuilder::default();
    series.into_iter().for_each(|(id, points)| chunk.push(SeriesId(id), &Run::of(points, arrived).0));
    chunk.finish()
}

fn merge_fresh(rows: &[Vec<u8>]) -> Merged {
    let fresh: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
    merge(Sources { fresh: &fresh, ..Sources::default() }, window()).unwrap()
}

type Samples = BTreeMap<(u32, i64), u64>;

fn samples<'a>(rows: impl IntoIterator<Item = &'a [u8]>) -> Samples {
    let mut all = Samples::new();
    for row in rows {
        let mut reader = ChunkReader::open(row).unwrap();
        let ids: Vec<SeriesId> = reader.series().map(|one| one.series).collect();
        for id in ids {
            let run = reader.read(id, UnixMillis::MIN, UnixMillis::MAX).unwrap().unwrap();
            for (time, value) in bits(&run.points().collect::<Vec<_>>()) {
                assert_eq!(all.insert((id.0, time - window().0), value), None, "a sample is there twice");
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_sample_is_there_once_and_the_last_arrived_stands(
        sources in proptest::collection::vec(
            proptest::collection::vec((0u32..4, -3i64..WINDOW / 1_000_000 + 3, any::<u64>()), 1..30), 1..6),
        again in any::<bool>(),
    ) {
        let model: Samples = sources.iter().flatten().map(|&(id, at, value)| ((id, at * 1_000_000), value)).collect();
        let scaled = |list: &Vec<(u32, i64, u64)>| list.iter().map(|&(id, at, value)| (id, at * 1_000_000, value)).collect::<Vec<_>>();
        let mut rows: Vec<Vec<u8>> = sources.iter().zip(1..).map(|(list, arrived)| chunk(arrived, &scaled(list))).collect();
        let merged = merge_fresh(&rows);
        let long: Vec<&[u8]> = merged.long.iter().map(|part| &part.row[..]).collect();
        let is_inside = |at: i64| (0..WINDOW).contains(&at);
        let inside: Samples = model.iter().filter(|((_, at), _)| is_inside(*at)).map(|(key, value)| (*key, *value)).collect();
        prop_assert_eq!(samples(long.iter().copied()), inside.clone());
        let n_buckets: u64 = merged.minutes.iter().map(|part| part.span.facts.n_samples).sum();
        prop_assert!(n_buckets <= model.len() as u64);
        for (_, row, span) in &merged.rest {
            prop_assert!(samples([&row[..]]).keys().all(|(_, at)| !is_inside(*at)));
            prop_assert_eq!(span.size.0, row.len() as u64);
        }
        if again {
            // A merge that is done again, or with what came later, gives the same.
            let late = chunk(99, &[(1, 5_000_000, 7)]);
            rows = long.into_iter().map(<[u8]>::to_vec).chain([late]).collect();
            let twice = merge_fresh(&rows);
            let mut expected = inside;
            expected.insert((1, 5_000_000), 7);
            prop_assert_eq!(samples(twice.long.iter().map(|part| &part.row[..])), expected);
        }
    }
}

#[test]
fn stale_markers_and_odd_bits_pass_bit_for_bit() {
    let odd = [0x7ff0_0000_0000_0002u64, 0x7ff8_dead_beef_0001, (-0.0f64).to_bits(), f64::INFINITY.to_bits()];
    let list: Vec<_> = odd.iter().zip(0..).map(|(&bits, at)| (1, at * 1000, bits)).collect();
    let row = chunk(1, &list);
    let merged = merge_fresh(&[row]);
    assert_eq!(samples(merged.long.iter().map(|part| &part.row[..])).into_values().collect::<Vec<_>>(), odd);
}

#[test]
fn minutes_of_samples_that_are_gone_stay_when_late_ones_come() {
    let first = merge_fresh(&[chunk(1, &[(1, 0, 1.0f64.to_bits()), (2, 0, 2.0f64.to_bits())])]);
    let late = chunk(9, &[(1, 1000, 5.0f64.to_bits()), (1, 120_000, 7.0f64.to_bits())]);
    let counts = |long: &[&[u8]]| {
        let minutes: Vec<&[u8]> = first.minutes.iter().map(|part| &part.row[..]).collect();
        let merged = merge(Sources { long, fresh: &[&late], minutes: &minutes }, window()).unwrap();
        let mut reader = RollupReader::open(&merged.minutes[0].row).unwrap();
        [1, 2].map(|id| {
            let buckets = reader.read(SeriesId(id), UnixMillis::MIN, UnixMillis::MAX).unwrap();
            buckets.iter().map(|bucket| bucket.count).collect::<Vec<_>>()
        })
    };
    let expected = [vec![2, 1], vec![1]];
    assert_eq!(counts(&[]), expected, "samples are gone");
    assert_eq!(counts(&[&first.long[0].row]), expected, "samples are there");
}

#[test]
fn a_damaged_source_is_named() {
    let (good, mut bad) = (chunk(1, &[(1, 0, 1)]), chunk(2, &[(1, 1, 1)]));
    bad[8] ^= 1;
    let fresh: [&[u8]; 2] = [&good, &bad];
    assert_eq!(merge(Sources { fresh: &fresh, ..Sources::default() }, window()).unwrap_err().0, 1);
}

fn fresh(n: i64, arrived: i64) -> (Chunk, Span) {
    let (min_time, max_time) = (window().shifted(n * 600_000), window().shifted(n * 600_000 + 599_000));
    let key = Chunk { agent: AgentNo(1), max_time, min_time, epoch: 1, last_seq: n.cast_unsigned() };
    let facts = Facts { min_time, max_time, n_series: 1, n_samples: 1, arrived: window().shifted(arrived) };
    (key, Span { size: Bytes(10), last: SeriesId(1), facts })
}

fn check_plan(fresh: &[(Chunk, Span)], open: &[Open], now: i64, expected: &[(i64, usize)]) {
    let pace = Pace { settle: Millis::from_mins(20), n_chunks: 20 };
    let plans = plan(AgentNo(1), fresh, open, window().shifted(now), pace);
    let facts: Vec<_> = plans.iter().map(|plan| ((plan.window.0 - window().0) / WINDOW, plan.fresh.len())).collect();
    assert_eq!(facts, expected);
}

#[test]
fn a_window_is_merged_when_it_is_over_and_settled() {
    let chunks: Vec<_> = (0..12).map(|n| fresh(n, n * 600_000 + 600_000)).collect();
    let minutes = |n: i64| WINDOW + n * 60_000;
    check_plan(&chunks, &[], minutes(19), &[]);
    check_plan(&chunks, &[], minutes(20), &[(0, 12)]);
    let late: Vec<_> = [chunks.clone(), vec![fresh(3, minutes(15))]].concat();
    check_plan(&late, &[], minutes(34), &[]);
    check_plan(&late, &[], minutes(35), &[(0, 13)]);
}

#[test]
fn many_small_chunks_do_not_wait_for_the_end_of_the_window() {
    let chunks: Vec<_> = (0..20).map(|n| fresh(n % 2, n)).collect();
    check_plan(&chunks[..19], &[], 1000, &[]);
    check_plan(&chunks, &[], 1000, &[(0, 20)]);
}

#[test]
fn a_window_waits_for_open_lanes_that_hold_older_arrivals() {
    let chunks: Vec<_> = (0..12).map(|n| fresh(n, n * 600_000 + 600_000)).collect();
    let at = |ms: i64| window().shifted(ms);
    let open = |arrived: i64| Open { range: (at(1000), at(2000)), arrived: at(arrived) };
    check_plan(&chunks, &[open(WINDOW)], 2 * WINDOW, &[]);
    check_plan(&chunks, &[open(WINDOW + 1)], 2 * WINDOW, &[(0, 12)]);
    let elsewhere = Open { range: (at(WINDOW), at(WINDOW + 5)), arrived: at(0) };
    check_plan(&chunks, &[elsewhere], 2 * WINDOW, &[(0, 12)]);
}
