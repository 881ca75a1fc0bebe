//! A real host's samples through the whole path: packed as an agent does, taken by
//! a lane, sealed, read back bit for bit, at the promised size.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use signalbox_proto::columns::Encoder;
use signalbox_proto::samples::ShapeEntry;
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::chunk::ChunkReader;
use signalbox_tsdb::head::Lane;
use signalbox_tsdb::journal::Record;
use signalbox_tsdb::{Point, SeriesId};
use std::path::Path;

/// `tests/data/node_slice.txt`: the instants, and a value for each series.
fn recording() -> Vec<(i64, Vec<f64>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/node_slice.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows: Vec<(i64, Vec<f64>)> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        let (time, values) = line.split_once(' ').unwrap();
        let value = |(at, text): (usize, &str)| match text {
            "=" => rows.last().unwrap().1[at],
            text => text.parse().unwrap(),
        };
        let values = values.split(' ').enumerate().map(value).collect();
        rows.push((time.parse().unwrap(), values));
    }
    rows
}

fn record(encoder: &mut Encoder, seq: u64, row: &(i64, Vec<f64>)) -> Record {
    let refs: Vec<u32> = (0..).take(row.1.len()).collect();
    let (key, wall) = (seq == 1, UnixMillis(row.0));
    encoder.begin(wall, key);
    encoder.tick(0, wall, &refs, &row.1);
    let columns = encoder.payload().to_vec().into();
    let ids = refs.iter().filter(|_| key).map(|&at| (at, SeriesId(at))).collect();
    let shape = ShapeEntry { shape: 0, check: "node".into(), interval: Millis(1000), refs };
    let shapes = if key { vec![shape] } else { Vec::new() };
    Record { epoch: 1, seq, received: wall, wall, key, refs: ids, shapes, columns }
}

#[test]
fn a_real_recording_is_small_and_comes_back_bit_for_bit() {
    let rows = recording();
    let mut encoder = Encoder::default();
    let mut lane = Lane::new(1);
    let mut n_journal_bytes = 0;
    for (seq, row) in (1..).zip(&rows) {
        let record = record(&mut encoder, seq, row);
        n_journal_bytes += record.encode().len();
        lane.append(&record, |_| {}).unwrap();
    }
    let sealed = lane.seal().unwrap();
    let chunk = sealed.chunk.unwrap();
    assert_eq!((sealed.facts.n_samples, sealed.n_duplicates), (120 * 60, 0));

    let mut reader = ChunkReader::open(&chunk).unwrap();
    for at in 0..60u32 {
        let run = reader.read(SeriesId(at), UnixMillis::MIN, UnixMillis::MAX).unwrap().unwrap();
        let bits = |point: Point| (point.time.0, point.value.to_bits());
        let expected: Vec<_> = rows.iter().map(|(time, row)| (*time, row[at as usize].to_bits())).collect();
        assert_eq!(run.points().map(bits).collect::<Vec<_>>(), expected);
    }
    // Two thirds of these series change each second, against two fifths of a host's.
    assert!(chunk.len() < 120 * 60 * 6 / 5, "{} bytes in the chunk", chunk.len());
    assert!(n_journal_bytes < 120 * 60 * 2, "{n_journal_bytes} bytes in the journal");
}
