//! What chunks promise.

use super::*;
use crate::format::FormatError;
use crate::run::Run;
use crate::testing::{T0, bits, check_golden, golden};
use crate::{Point, SeriesId};
use proptest::prelude::*;

type Column = (SeriesId, Run);

const ARRIVED: i64 = T0 + 400_000;

fn column(series: u32, points: impl IntoIterator<Item = (i64, f64)>) -> Column {
    let point = |(time, value)| Point { time: UnixMillis(time), value };
    (SeriesId(series), Run::of(points.into_iter().map(point), ARRIVED).0)
}

fn encode(columns: &[Column]) -> Vec<u8> {
    let mut chunk = ChunkBuilder::default();
    columns.iter().for_each(|(id, run)| chunk.push(*id, run));
    chunk.finish()
}

fn read_all(reader: &mut ChunkReader<'_>, series: SeriesId) -> Result<Option<Run>, FormatError> {
    reader.read(series, UnixMillis::MIN, UnixMillis::MAX)
}

fn run_bits(run: &Run) -> Vec<(i64, u64)> {
    bits(&run.points().collect::<Vec<_>>())
}

fn check(columns: &[Column]) {
    let chunk = encode(columns);
    let mut reader = ChunkReader::open(&chunk).unwrap();
    assert_eq!(reader.series().count(), columns.len());
    for (id, run) in columns {
        let read = read_all(&mut reader, *id).unwrap().unwrap();
        assert_eq!(run_bits(&read), run_bits(run));
        assert_eq!(read.arrived, run.arrived);
    }
}

/// Every codec, long and short, two time columns.
fn sample() -> Vec<Column> {
    let times = |n: i64| (0..n).map(|i| T0 + i * 1000 + i % 3);
    #[allow(clippy::cast_precision_loss)]
    let noise = |i: i64| ((i * 7919) % 1013) as f64;
    vec![
        column(3, times(300).map(|time| (time, 42.5))),
        column(4, times(300).map(|time| (time, f64::NAN))),
        column(7, times(300).zip(0..).map(|(time, i)| (time, noise(i) / 100.0))),
        column(9, times(300).zip(0..).map(|(time, i)| (time, noise(i).sqrt() * 1e-3))),
        column(1000, times(5).zip(0..).map(|(time, i)| (time, noise(i)))),
        column(1001, times(5).zip(0..).map(|(time, i)| (time, noise(i).sqrt() * -0.0))),
        column(1002, times(5).zip(0..).map(|(time, i)| (time, (noise(i) + 2.0).sqrt()))),
    ]
}

#[test]
fn every_codec_comes_back_and_is_written_as_ever() {
    check(&sample());
    check_golden("chunk_v2.bin", &encode(&sample()));
    for version in ["chunk_v1.bin", "chunk_v2.bin"] {
        let golden = golden(version);
        let mut reader = ChunkReader::open(&golden).unwrap();
        for (id, run) in sample() {
            assert_eq!(run_bits(&read_all(&mut reader, id).unwrap().unwrap()), run_bits(&run), "{version}");
        }
        assert_eq!(reader.time_range(), (UnixMillis(T0), UnixMillis(T0 + 299_002)));
        assert_eq!(reader.n_samples(), 4 * 300 + 3 * 5);
        let arrived = if version == "chunk_v1.bin" { T0 + 299_002 } else { ARRIVED };
        assert_eq!(reader.facts().unwrap().arrived, UnixMillis(arrived));
    }
}

#[test]
fn arrivals_come_back() {
    let mut run = column(1, (0..100).map(|i| (T0 + i * 1000, 1.0))).1;
    run.arrived = crate::run::Arrived::Each((0..100).map(|i| T0 + i * 1000 + i % 7).collect());
    check(&[(SeriesId(1), run.clone()), column(2, (0..100).map(|i| (T0 + i * 1000, 2.0)))]);
    run.arrived = crate::run::Arrived::At(i64::MIN);
    check(&[(SeriesId(1), run)]);
}

#[test]
fn a_range_is_half_open_and_an_unknown_series_is_empty() {
    let chunk = encode(&sample());
    let mut reader = ChunkReader::open(&chunk).unwrap();
    let run = reader.read(SeriesId(7), UnixMillis(T0 + 1001), UnixMillis(T0 + 3000)).unwrap().unwrap();
    assert_eq!(run.times.iter().map(|time| time - T0).collect::<Vec<_>>(), [1001, 2002]);
    let other = reader.read(SeriesId(9), UnixMillis(T0 + 1001), UnixMillis(T0 + 3000)).unwrap().unwrap();
    assert!(std::sync::Arc::ptr_eq(&run.times, &other.times), "series that were sampled together share instants");
    assert_eq!(reader.read(SeriesId(8), UnixMillis::MIN, UnixMillis::MAX), Ok(None));
    assert_eq!(reader.read(SeriesId(7), UnixMillis(T0 + 5), UnixMillis(T0 + 6)), Ok(None));
}

#[test]
fn series_of_a_shape_share_one_time_column() {
    let n_bytes = |n: u32| {
        encode(&(0..n).map(|id| column(id, (0..300).map(|i| (i * 977 % 7 + i * 1000, 1.0)))).collect::<Vec<_>>()).len()
    };
    assert!(n_bytes(500) - n_bytes(1) <= 499 * 5, "a constant series takes at most five bytes");
}

#[test]
fn nothing_makes_an_empty_chunk() {
    let chunk = encode(&[]);
    assert_eq!(ChunkReader::open(&chunk).unwrap().series().count(), 0);
}

/// A damaged chunk gives an error or the right values, never others.
fn check_damaged(damaged: &[u8], whole: &[Column]) {
    let Ok(mut reader) = ChunkReader::open(damaged) else { return };
    for (id, run) in whole {
        if let Ok(Some(read)) = read_all(&mut reader, *id) {
            assert_eq!(run_bits(&read), run_bits(run));
        }
    }
}

#[test]
fn no_flipped_bit_and_no_cut_gives_a_wrong_value() {
    let whole = sample();
    let chunk = encode(&whole);
    for end in 0..chunk.len() {
        assert!(ChunkReader::open(&chunk[..end]).is_err(), "cut at {end}");
    }
    let mut damaged = chunk.clone();
    for bit in (0..chunk.len() * 8).step_by(5) {
        damaged[bit / 8] ^= 1 << (bit % 8);
        check_damaged(&damaged, &whole);
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bits_come_back(lists in proptest::collection::vec(
        proptest::collection::btree_map(any::<i64>(), any::<u64>(), 1..80), 1..6)) {
        let columns: Vec<_> = (0..).step_by(3).zip(lists).map(|(id, list)| {
            column(id, list.into_iter().map(|(time, bits)| (time, f64::from_bits(bits))))
        }).collect();
        check(&columns);
    }

    #[test]
    fn decimals_come_back(start in 0i64..1 << 42, values in proptest::collection::vec(
        (-1_000_000i64..1_000_000, 0i32..16), 1..400)) {
        #[allow(clippy::cast_precision_loss)]
        let value = |(mantissa, exponent)| mantissa as f64 / 10f64.powi(exponent);
        check(&[column(1, (start..).step_by(1000).zip(values.into_iter().map(value)))]);
    }

    #[test]
    fn a_header_of_any_bytes_opens_or_is_refused(
        header in proptest::collection::vec(any::<u8>(), 0..60), data in proptest::collection::vec(any::<u8>(), 0..60)) {
        let chunk = super::encode::assemble(&header, &data);
        if let Ok(mut reader) = ChunkReader::open(&chunk) {
            let ids: Vec<_> = reader.series().map(|one| one.series).collect();
            for id in ids {
                let _ = read_all(&mut reader, id);
            }
        }
    }
}
