//! The sealed chunk: all samples of a lane between two seals, compressed.
//!
//! Series that share their instants share one time column. Each series has a value
//! column of its own, so that one is read without touching the others; a series
//! that does not change has none at all, its value lies in the header.
//!
//! ```text
//! chunk   := 0x43 'C', version 1, header length u32 LE, header,
//!            crc32c u32 LE of all before it, data
//! header  := min time signed, max time - min time, n groups, group*,
//!            n series, series*
//! group   := n points, column                        its time column
//! series  := id - previous id, group, column         ids ascend
//! column  := codec u8, then by codec & 15:
//!            0 constant, decimal   mantissa signed; exponent = codec >> 4
//!            1 constant, raw       8 bytes LE
//!            2 integers, deltas    length, crc32c u32 LE; bytes in data
//!            3 integers, pco       the same
//!            4 raw                 the same; 8 bytes LE each
//!            5 f64, pco            the same
//! data    := the columns' bytes, in the order of the header
//! ```
//!
//! Values are integers when one exponent (codec >> 4) gives back each bit for bit
//! as `mantissa / 10^exponent`, as in `signalbox_proto::columns`. Deltas are signed
//! varints, of first order for values and of second order for times. Time columns
//! are integers with exponent 0. Under 32 points, and where it is shorter, deltas
//! take the place of pco.

mod column;
mod encode;
mod read;

pub use encode::{SeriesColumn, encode};
pub use read::{ChunkReader, SeriesInfo};

/// Points of one series that a chunk may hold: bounds what a reader reserves. A
/// lane of `LANE_MAX_BYTES` holds fewer, at three bytes a tick.
pub const POINTS_PER_SERIES_MAX: usize = 1 << 22;

const WHAT: &str = "chunk";
const KIND: u8 = b'C';
const VERSION: u8 = 1;
/// Kind, version, header length.
const PREFIX_BYTES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::FormatError;
    use crate::testing::{T0, bits, check_golden};
    use crate::{Point, SeriesId};
    use proptest::prelude::*;
    use signalbox_proto::units::UnixMillis;

    fn column(series: u32, points: impl IntoIterator<Item = (i64, f64)>) -> SeriesColumn {
        let point = |(time, value)| Point { time: UnixMillis(time), value };
        SeriesColumn::new(SeriesId(series), points.into_iter().map(point).collect())
    }

    fn read_all(reader: &mut ChunkReader<'_>, series: SeriesId) -> Result<Vec<(i64, u64)>, FormatError> {
        let mut points = Vec::new();
        reader.read(series, UnixMillis::MIN, UnixMillis::MAX, &mut points)?;
        Ok(bits(&points))
    }

    fn check(columns: &[SeriesColumn]) {
        let chunk = encode(columns);
        let mut reader = ChunkReader::open(&chunk).unwrap();
        assert_eq!(reader.series().count(), columns.len());
        for column in columns {
            assert_eq!(read_all(&mut reader, column.series()), Ok(bits(column.points())));
        }
    }

    /// Every codec, long and short, two time columns.
    fn sample() -> Vec<SeriesColumn> {
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
        let golden = check_golden("chunk_v1.bin", &encode(&sample()));
        let mut reader = ChunkReader::open(&golden).unwrap();
        for column in sample() {
            assert_eq!(read_all(&mut reader, column.series()), Ok(bits(column.points())));
        }
        assert_eq!(reader.time_range(), (UnixMillis(T0), UnixMillis(T0 + 299_002)));
        assert_eq!(reader.n_samples(), 4 * 300 + 3 * 5);
    }

    #[test]
    fn a_range_is_half_open_and_an_unknown_series_is_empty() {
        let chunk = encode(&sample());
        let mut reader = ChunkReader::open(&chunk).unwrap();
        let mut points = Vec::new();
        reader.read(SeriesId(7), UnixMillis(T0 + 1001), UnixMillis(T0 + 3000), &mut points).unwrap();
        assert_eq!(points.iter().map(|point| point.time.0 - T0).collect::<Vec<_>>(), [1001, 2002]);
        reader.read(SeriesId(8), UnixMillis::MIN, UnixMillis::MAX, &mut points).unwrap();
        reader.read(SeriesId(7), UnixMillis(T0 + 5), UnixMillis(T0 + 6), &mut points).unwrap();
        assert_eq!(points.len(), 2);
    }

    #[test]
    fn of_equal_instants_the_last_stays_and_the_rest_is_counted() {
        let column = column(1, [(5, 1.0), (3, 2.0), (5, 3.0)]);
        assert_eq!(column.n_duplicates(), 1);
        assert_eq!(bits(column.points()), [(3, 2f64.to_bits()), (5, 3f64.to_bits())]);
    }

    #[test]
    fn series_of_a_shape_share_one_time_column() {
        let n_bytes = |n: u32| {
            encode(&(0..n).map(|id| column(id, (0..300).map(|i| (i * 977 % 7 + i * 1000, 1.0)))).collect::<Vec<_>>())
                .len()
        };
        assert!(n_bytes(500) - n_bytes(1) <= 499 * 5, "a constant series takes at most five bytes");
    }

    #[test]
    fn nothing_makes_an_empty_chunk() {
        let chunk = encode(&[]);
        assert_eq!(ChunkReader::open(&chunk).unwrap().series().count(), 0);
    }

    /// A damaged chunk gives an error or the right values, never others.
    fn check_damaged(damaged: &[u8], whole: &[SeriesColumn]) {
        let Ok(mut reader) = ChunkReader::open(damaged) else { return };
        for column in whole {
            if let Ok(points) = read_all(&mut reader, column.series()) {
                assert_eq!(points, bits(column.points()));
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
}
