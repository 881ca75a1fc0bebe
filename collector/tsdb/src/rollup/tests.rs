//! What roll-ups promise: the answers that the samples would give.

use super::*;
use crate::SeriesId;
use crate::testing::{T0, check_golden};
use proptest::prelude::*;

const MINUTE: i64 = 60_000;

fn points(list: &[(i64, f64)]) -> Vec<Point> {
    list.iter().map(|&(time, value)| Point { time: UnixMillis(time), value }).collect()
}

/// `last - first + values before drops`, over samples: what Prometheus extrapolates from.
fn raw_increase(points: &[Point]) -> f64 {
    let values: Vec<f64> = points.iter().map(|point| point.value).filter(|value| !is_stale(*value)).collect();
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return 0.0 };
    last - first + values.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]).sum::<f64>()
}

fn close_to(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

fn encode(series: &[(u32, Vec<Bucket>)], step: i64) -> Vec<u8> {
    let mut row = RollupBuilder::new(step);
    series.iter().for_each(|(id, buckets)| row.push(SeriesId(*id), buckets));
    row.finish()
}

/// Bit patterns compare as they are.
fn bits(bucket: &Bucket) -> (i64, i64, i64, u64, [u64; 6], bool) {
    let Bucket { start, first_time, last_time, count, first, last, min, max, sum, correction, ended } = *bucket;
    let values = [first, last, min, max, sum, correction].map(f64::to_bits);
    (start.0, first_time.0, last_time.0, count, values, ended)
}

fn all_bits(buckets: &[Bucket]) -> Vec<(i64, i64, i64, u64, [u64; 6], bool)> {
    buckets.iter().map(bits).collect()
}

fn check_rows(series: &[(u32, Vec<Bucket>)], row: &[u8]) {
    let mut reader = RollupReader::open(row).unwrap();
    for (id, buckets) in series {
        let read = reader.read(SeriesId(*id), UnixMillis::MIN, UnixMillis::MAX).unwrap();
        assert_eq!(all_bits(&read), all_bits(buckets));
    }
}

fn sample() -> Vec<(u32, Vec<Bucket>)> {
    #[allow(clippy::cast_precision_loss)]
    let series =
        |value: fn(i64) -> f64| roll(points(&(0..300).map(|i| (T0 + i * 1000, value(i))).collect::<Vec<_>>()), MINUTE);
    #[allow(clippy::cast_precision_loss)]
    let list: [fn(i64) -> f64; 4] = [
        |_| 1.0,
        |i| (i % 100) as f64 * 0.5,
        |i| ((i * 7919 % 1013) as f64).sqrt(),
        |i| if i > 100 { STALE } else { f64::NAN },
    ];
    (3u32..).step_by(5).zip(list.map(series)).collect()
}

#[test]
fn rows_come_back_and_are_written_as_ever() {
    let golden = check_golden("rollup_v1.bin", &encode(&sample(), MINUTE));
    check_rows(&sample(), &golden);
    let mut reader = RollupReader::open(&golden).unwrap();
    assert_eq!((reader.step(), reader.series().collect::<Vec<_>>()), (MINUTE, [3, 8, 13, 18].map(SeriesId).to_vec()));
    let from = UnixMillis(start_of(T0, MINUTE) + MINUTE);
    assert_eq!(reader.read(SeriesId(3), from, from.shifted(1)).unwrap().len(), 1);
    assert_eq!(reader.read(SeriesId(4), UnixMillis::MIN, UnixMillis::MAX), Ok(Vec::new()));
}

#[test]
fn a_counter_costs_what_it_must() {
    let constant = encode(&sample()[..1], MINUTE).len();
    let mut two = sample()[..1].to_vec();
    two.push((9, two[0].1.clone()));
    assert!(encode(&two, MINUTE).len() - constant <= 28, "{} bytes", encode(&two, MINUTE).len() - constant);
}

#[test]
fn stale_markers_are_no_values_and_end_a_bucket() {
    let buckets =
        roll(points(&[(0, 5.0), (1, STALE), (MINUTE, STALE), (2 * MINUTE, STALE), (2 * MINUTE + 1, 2.0)]), MINUTE);
    let facts: Vec<_> = buckets.iter().map(|bucket| (bucket.count, bucket.ended, bucket.last.to_bits())).collect();
    assert_eq!(facts, [(1, true, 5f64.to_bits()), (0, true, STALE.to_bits()), (1, false, 2f64.to_bits())]);
    assert!(close_to(increase(&buckets), 2.0), "the counter began again");
}

#[test]
fn no_flipped_bit_and_no_cut_gives_another_header() {
    let row = encode(&sample(), MINUTE);
    for end in 0..row.len() {
        assert!(RollupReader::open(&row[..end]).is_err(), "cut at {end}");
    }
    let mut damaged = row.clone();
    for bit in (0..row.len() * 8).step_by(7) {
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(mut reader) = RollupReader::open(&damaged) {
            for (id, buckets) in sample() {
                if let Ok(read) = reader.read(SeriesId(id), UnixMillis::MIN, UnixMillis::MAX) {
                    assert_eq!(all_bits(&read), all_bits(&buckets));
                }
            }
        }
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
}

fn any_points() -> impl Strategy<Value = Vec<Point>> {
    let value = prop_oneof![
        6 => (0i64..1000).prop_map(|n| n as f64 / 4.0),
        2 => -1e6..1e6f64,
        1 => Just(STALE),
        1 => Just(0.0),
    ];
    proptest::collection::btree_map(-20i64 * MINUTE..200 * MINUTE, value, 0..120)
        .prop_map(|map| map.into_iter().map(|(time, value)| Point { time: UnixMillis(time), value }).collect())
}

proptest! {
    #[test]
    fn aligned_windows_answer_as_the_samples_do(points in any_points(), from in -20i64..60, minutes in 1i64..140) {
        let buckets = roll(points.iter().copied(), MINUTE);
        let (from, to) = (from * MINUTE, (from + minutes) * MINUTE);
        let raw: Vec<Point> = points.into_iter().filter(|point| point.time.0 >= from && point.time.0 < to).collect();
        let within: Vec<Bucket> = buckets.into_iter().filter(|one| one.start.0 >= from && one.start.0 < to).collect();
        prop_assert!(close_to(increase(&within), raw_increase(&raw)));
        let values: Vec<f64> = raw.iter().map(|point| point.value).filter(|value| !is_stale(*value)).collect();
        prop_assert_eq!(within.iter().map(|one| one.count).sum::<u64>(), values.len() as u64);
        prop_assert!(close_to(within.iter().map(|one| one.sum).sum(), values.iter().sum()));
        let live = || within.iter().filter(|one| one.count > 0);
        prop_assert_eq!(live().map(|one| one.min).reduce(f64::min), values.iter().copied().reduce(f64::min));
        prop_assert_eq!(live().map(|one| one.max).reduce(f64::max), values.iter().copied().reduce(f64::max));
        prop_assert_eq!(live().next_back().map(|one| one.last), values.last().copied());
        prop_assert_eq!(within.last().map(|one| one.ended), raw.last().map(|point| is_stale(point.value)));
    }

    #[test]
    fn hours_of_minutes_are_hours_of_samples(points in any_points()) {
        let hour = 60 * MINUTE;
        let (twice, once) = (coarsen(roll(points.iter().copied(), MINUTE), hour), roll(points, hour));
        prop_assert_eq!(twice.len(), once.len());
        for (a, b) in twice.iter().zip(&once) {
            prop_assert!(close_to(a.sum, b.sum) && close_to(a.correction, b.correction));
            let plain = |one: &Bucket| bits(&Bucket { sum: 0.0, correction: 0.0, ..*one });
            if a.count > 0 {
                prop_assert_eq!(plain(a), plain(b));
            }
        }
    }

    #[test]
    fn rows_of_any_points_come_back(lists in proptest::collection::vec(any_points(), 0..4)) {
        let series: Vec<_> = (1..).zip(lists).map(|(id, points)| (id, roll(points, MINUTE))).collect();
        check_rows(&series, &encode(&series, MINUTE));
    }

    #[test]
    fn a_header_of_any_bytes_opens_or_is_refused(header in proptest::collection::vec(any::<u8>(), 0..80), data in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut row = vec![b'U', 1, 1];
        row.extend_from_slice(&u32::try_from(header.len()).unwrap().to_le_bytes());
        row.extend_from_slice(&header);
        row.extend_from_slice(&crc32c::crc32c(&row).to_le_bytes());
        row.extend_from_slice(&data);
        if let Ok(mut reader) = RollupReader::open(&row) {
            let ids: Vec<_> = reader.series().collect();
            for id in ids {
                let _ = reader.read(id, UnixMillis::MIN, UnixMillis::MAX);
            }
        }
    }
}
