//! The journal: what a lane needs to stand as it stood before a restart.
//!
//! A lane is one epoch of one agent. Each committed batch leaves one row; when
//! the lane's chunk is sealed, a snapshot row takes the place of the records that
//! the chunk now holds.
//!
//! ```text
//! key      := agent no u32 BE, epoch u64 BE, seq u64 BE      (keys::Journal)
//! record   := 0x52 'R', version 1, epoch, seq, received, wall, flags u8 (1 = key),
//!             refs, shapes, columns bytes, crc32c u32 LE
//! snapshot := 0x53 'S', version 1, epoch, seq, refs, shapes, state bytes, crc32c
//! refs     := n, (ref - previous ref signed, id + 1 - previous signed)*
//!                                              a refused series has id + 1 = 0
//! shapes   := n, (shape, check text, interval ms, n, (ref - previous ref signed)*)*
//! ```
//!
//! Instants are signed, other numbers unsigned varints. `columns` is the payload
//! as the agent packed it; `state` is `columns::Decoder::save`.

use crate::SeriesId;
use crate::format::{self, FormatError, Reader, put_bytes, put_signed};
use bytes::Bytes;
use signalbox_proto::columns::put_varint;
use signalbox_proto::limits::{REFS_PER_EPOCH_MAX, SHAPES_PER_EPOCH_MAX};
use signalbox_proto::samples::ShapeEntry;
use signalbox_proto::units::{Millis, UnixMillis};

const WHAT: &str = "journal row";
const RECORD: u8 = b'R';
const SNAPSHOT: u8 = b'S';
const VERSION: u8 = 1;
const FLAG_KEY: u8 = 1;

/// One committed batch, with its dictionary in the collector's ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The agent's epoch.
    pub epoch: u64,
    /// 1, 2, 3 … within the epoch.
    pub seq: u64,
    /// The collector's wall clock when the batch arrived.
    pub received: UnixMillis,
    /// The agent's wall clock at the cut; columns count from here.
    pub wall: UnixMillis,
    /// Columns are absolute.
    pub key: bool,
    /// Entries of the batch: (series ref, id), [`SeriesId::REFUSED`] for a series
    /// that the collector does not take.
    pub refs: Vec<(u32, SeriesId)>,
    /// Shapes of the batch.
    pub shapes: Vec<ShapeEntry>,
    /// The payload, untouched.
    pub columns: Bytes,
}

/// A lane just after its chunk was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The agent's epoch.
    pub epoch: u64,
    /// Last batch that is in the sealed chunk; the row's key.
    pub seq: u64,
    /// All refs of the lane.
    pub refs: Vec<(u32, SeriesId)>,
    /// All shapes of the lane that later batches may use.
    pub shapes: Vec<ShapeEntry>,
    /// The last values, as `columns::Decoder::save` writes them.
    pub state: Bytes,
}

/// What lies under a journal key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A committed batch.
    Record(Record),
    /// The start of a lane after a seal.
    Snapshot(Snapshot),
}

impl Record {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut row = format::begin(RECORD, VERSION);
        row.reserve(self.columns.len() + self.refs.len() * 4 + 64);
        put_varint(&mut row, self.epoch);
        put_varint(&mut row, self.seq);
        put_signed(&mut row, self.received.0);
        put_signed(&mut row, self.wall.0);
        row.push(if self.key { FLAG_KEY } else { 0 });
        put_refs(&mut row, &self.refs);
        put_shapes(&mut row, &self.shapes);
        put_bytes(&mut row, &self.columns);
        format::finish(row)
    }
}

impl Snapshot {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut row = format::begin(SNAPSHOT, VERSION);
        put_varint(&mut row, self.epoch);
        put_varint(&mut row, self.seq);
        put_refs(&mut row, &self.refs);
        put_shapes(&mut row, &self.shapes);
        put_bytes(&mut row, &self.state);
        format::finish(row)
    }
}

impl Row {
    /// Reads a journal row.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(row: &[u8]) -> Result<Row, FormatError> {
        let (kind, mut reader) = format::open(WHAT, &[RECORD, SNAPSHOT], VERSION, row)?;
        let (epoch, seq) = (reader.varint()?, reader.varint()?);
        let row = if kind == SNAPSHOT {
            let (refs, shapes) = (take_refs(&mut reader)?, take_shapes(&mut reader)?);
            Row::Snapshot(Snapshot { epoch, seq, refs, shapes, state: Bytes::copy_from_slice(reader.bytes()?) })
        } else {
            let (received, wall) = (UnixMillis(reader.signed()?), UnixMillis(reader.signed()?));
            let flags = reader.byte()?;
            if flags & !FLAG_KEY != 0 {
                return Err(reader.malformed());
            }
            let (refs, shapes) = (take_refs(&mut reader)?, take_shapes(&mut reader)?);
            let columns = Bytes::copy_from_slice(reader.bytes()?);
            Row::Record(Record { epoch, seq, received, wall, key: flags == FLAG_KEY, refs, shapes, columns })
        };
        reader.end()?;
        Ok(row)
    }
}

fn put_refs(row: &mut Vec<u8>, refs: &[(u32, SeriesId)]) {
    put_varint(row, refs.len() as u64);
    let (mut last_ref, mut last_id) = (0, 0);
    for &(series_ref, id) in refs {
        let id = if id.is_kept() { i64::from(id.0) + 1 } else { 0 };
        put_signed(row, i64::from(series_ref) - last_ref);
        put_signed(row, id - last_id);
        (last_ref, last_id) = (i64::from(series_ref), id);
    }
}

fn take_refs(reader: &mut Reader<'_>) -> Result<Vec<(u32, SeriesId)>, FormatError> {
    let n = reader.count(REFS_PER_EPOCH_MAX)?;
    let mut refs = Vec::with_capacity(n);
    let (mut last_ref, mut last_id) = (0i64, 0i64);
    for _ in 0..n {
        let series_ref = take_step(reader, &mut last_ref)?;
        let id = match take_step(reader, &mut last_id)? {
            0 => SeriesId::REFUSED,
            stored => SeriesId(stored - 1),
        };
        refs.push((series_ref, id));
    }
    Ok(refs)
}

fn put_shapes(row: &mut Vec<u8>, shapes: &[ShapeEntry]) {
    put_varint(row, shapes.len() as u64);
    for shape in shapes {
        put_varint(row, u64::from(shape.shape));
        put_bytes(row, shape.check.as_bytes());
        put_varint(row, shape.interval.0);
        put_varint(row, shape.refs.len() as u64);
        let mut last = 0;
        for &series_ref in &shape.refs {
            put_signed(row, i64::from(series_ref) - last);
            last = i64::from(series_ref);
        }
    }
}

fn take_shapes(reader: &mut Reader<'_>) -> Result<Vec<ShapeEntry>, FormatError> {
    let n = reader.count(SHAPES_PER_EPOCH_MAX)?;
    let mut shapes = Vec::new();
    for _ in 0..n {
        let shape = reader.u32()?;
        let check = reader.text()?.to_owned();
        let interval = Millis(reader.varint()?);
        let n_refs = reader.count_left()?;
        let mut last = 0;
        let refs = (0..n_refs).map(|_| take_step(reader, &mut last)).collect::<Result<_, _>>()?;
        shapes.push(ShapeEntry { shape, check, interval, refs });
    }
    Ok(shapes)
}

/// The next of numbers that are written as differences.
fn take_step(reader: &mut Reader<'_>, last: &mut i64) -> Result<u32, FormatError> {
    let next = last.checked_add(reader.signed()?).and_then(|next| u32::try_from(next).ok());
    let next = next.ok_or_else(|| reader.malformed())?;
    *last = i64::from(next);
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Agent, T0, check_damage, check_golden};
    use proptest::prelude::*;

    fn record() -> Record {
        let mut record = Agent::new(3).batch(true, &[(T0 + 1, vec![1.5, -0.0, 7.0]), (T0 + 1001, vec![2.5, 0.1, 7.0])]);
        record.refs.push((9, SeriesId::REFUSED));
        record
    }

    fn snapshot() -> Snapshot {
        let Record { epoch, seq, refs, shapes, .. } = record();
        Snapshot { epoch, seq, refs, shapes, state: Bytes::from_static(&[1, 1, 4]) }
    }

    #[test]
    fn rows_come_back_and_are_written_as_ever() {
        let golden = check_golden("journal_record_v1.bin", &record().encode());
        assert_eq!(Row::decode(&golden), Ok(Row::Record(record())));
        let golden = check_golden("journal_snapshot_v1.bin", &snapshot().encode());
        assert_eq!(Row::decode(&golden), Ok(Row::Snapshot(snapshot())));
    }

    #[test]
    fn damaged_rows_are_refused() {
        check_damage(&record().encode(), Row::decode);
        check_damage(&snapshot().encode(), Row::decode);
    }

    proptest! {
        #[test]
        fn any_record_comes_back(
            (epoch, seq, received, wall, key) in any::<(u64, u64, i64, i64, bool)>(),
            refs in proptest::collection::vec((any::<u32>(), any::<u32>().prop_map(SeriesId)), 0..20),
            shapes in proptest::collection::vec(
                (any::<u32>(), "[a-z]{0,9}", any::<u64>(), proptest::collection::vec(any::<u32>(), 0..9)), 0..4),
            columns in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let shape = |(shape, check, interval, refs)| ShapeEntry { shape, check, interval: Millis(interval), refs };
            let shapes = shapes.into_iter().map(shape).collect();
            let (received, wall) = (UnixMillis(received), UnixMillis(wall));
            let record = Record { epoch, seq, received, wall, key, refs, shapes, columns: columns.into() };
            prop_assert_eq!(Row::decode(&record.encode()), Ok(Row::Record(record)));
        }

        #[test]
        fn a_body_of_any_bytes_decodes_or_is_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for kind in [RECORD, SNAPSHOT] {
                let mut row = format::begin(kind, VERSION);
                row.extend_from_slice(&body);
                let _ = Row::decode(&format::finish(row));
            }
        }
    }
}
