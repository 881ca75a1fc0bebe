//! A twin of an agent for the tests: packs rows of values into records.

use crate::journal::Record;
use crate::{Point, SeriesId};
use signalbox_proto::columns::Encoder;
use signalbox_proto::samples::ShapeEntry;
use signalbox_proto::units::{Millis, UnixMillis};

/// An instant that looks like one.
pub(crate) const T0: i64 = 1_790_000_000_000;

/// One agent's epoch of `n` series, all in shape 0; ids are 10, 11, 12 …
pub(crate) struct Agent {
    pub(crate) n: u32,
    seq: u64,
    encoder: Encoder,
}

impl Agent {
    pub(crate) fn new(n: u32) -> Agent {
        Agent { n, seq: 0, encoder: Encoder::default() }
    }

    pub(crate) fn id(series_ref: u32) -> SeriesId {
        SeriesId(series_ref + 10)
    }

    /// The next batch: rows of (time, one value for each series).
    pub(crate) fn batch(&mut self, key: bool, rows: &[(i64, Vec<f64>)]) -> Record {
        self.seq += 1;
        let refs: Vec<u32> = (0..self.n).collect();
        let wall = UnixMillis(T0);
        self.encoder.begin(wall, key);
        for (time, values) in rows {
            self.encoder.tick(0, UnixMillis(*time), &refs, values);
        }
        let declares = key || self.seq == 1;
        let shape = ShapeEntry { shape: 0, check: "cpu".into(), interval: Millis(1000), refs: refs.clone() };
        Record {
            epoch: 7,
            seq: self.seq,
            received: UnixMillis(T0),
            wall,
            key,
            refs: if declares { refs.iter().map(|&r| (r, Agent::id(r))).collect() } else { Vec::new() },
            shapes: if declares { vec![shape] } else { Vec::new() },
            columns: self.encoder.payload().to_vec().into(),
        }
    }
}

/// Points as bits, which compare as they are.
pub(crate) fn bits(points: &[Point]) -> Vec<(i64, u64)> {
    points.iter().map(|point| (point.time.0, point.value.to_bits())).collect()
}

fn golden_path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// A file of `testdata/`, of this version or one before.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    std::fs::read(golden_path(name)).unwrap()
}

/// Compares with a file of `testdata/`; `UPDATE_GOLDEN=1` writes it anew.
pub(crate) fn check_golden(name: &str, written: &[u8]) -> Vec<u8> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden_path(name), written).unwrap();
    }
    let golden = golden(name);
    assert!(golden == written, "today's code writes other bytes than {name}");
    golden
}

/// Tries every cut and every flipped bit of `row`: none may be accepted.
pub(crate) fn check_damage<T>(row: &[u8], decode: impl Fn(&[u8]) -> Result<T, crate::format::FormatError>) {
    assert!(decode(row).is_ok());
    for end in 0..row.len() {
        assert!(decode(&row[..end]).is_err(), "cut at {end}");
    }
    let mut damaged = row.to_vec();
    for bit in 0..row.len() * 8 {
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&damaged).is_err(), "flipped bit {bit}");
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
}
