//! Retired series on disk: immutable segments of posting lists.
//!
//! A series that is quiet for long leaves memory. Its dictionary row moves to a key
//! of its own; its labels go into the posting lists of a segment, with those of the
//! others that left with it. Segments carry the range of their samples, so that a
//! query opens only those that its range meets; small ones are merged into larger
//! ones; a segment goes when the newest of its samples does.
//!
//! ```text
//! key  := 'h' segment u64 BE                                      head
//!       | 'l' segment u64 BE, name, 0x00, value                   list, of every id: name and value empty
//!       | 's' series id u32 BE                                    dictionary row, retired
//!       | 'x' segment u64 BE                                      empty: its lists have to go
//! head := 0x48 'H', version 1, level u8, first signed ms, last signed ms, n varint, crc32c u32 LE
//! list := 0x4c 'L', version 1, roaring bitmap in its portable form, crc32c u32 LE
//! ```
//!
//! ```text
//! level 0   ▯▯▯▯▯▯▯▯  eight of a level ──▶ one of the next, up to MERGED_MAX series
//! level 1   ▭▭▭
//! ```
//!
//! Dictionary rows keep their place when segments are merged. A merged-away segment
//! loses its head at once and its lists later, after every query that may read them.

mod merge;

pub use merge::{FAN_IN, MERGED_MAX, due};

use crate::SeriesId;
use crate::dictionary;
use crate::format::{self, FormatError, put_signed};
use crate::index::postings::{Source, Visit};
use roaring::RoaringBitmap;
use signalbox_proto::columns::put_varint;
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;

const HEAD: u8 = b'H';
const LIST: u8 = b'L';
const VERSION: u8 = 1;
const HEAD_WHAT: &str = "head of a series segment";
const LIST_WHAT: &str = "list of a series segment";

/// A segment, as it is known without reading its lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number; greater than those of all segments before.
    pub segment: u64,
    /// How often its series were merged.
    pub level: u8,
    /// No sample of its series is older.
    pub first: UnixMillis,
    /// No sample of its series is newer.
    pub last: UnixMillis,
    /// Series in it.
    pub n_series: u64,
}

impl Head {
    /// True when a series of it may have samples in `[from, to)`.
    pub fn overlaps(&self, from: UnixMillis, to: UnixMillis) -> bool {
        self.first < to && self.last >= from
    }

    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut row = format::begin(HEAD, VERSION);
        row.push(self.level);
        put_signed(&mut row, self.first.0);
        put_signed(&mut row, self.last.0);
        put_varint(&mut row, self.n_series);
        format::finish(row)
    }

    /// The head in such a row.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(segment: u64, row: &[u8]) -> Result<Head, FormatError> {
        let (_, mut reader) = format::open(HEAD_WHAT, &[HEAD], VERSION, row)?;
        let level = reader.byte()?;
        let (first, last) = (UnixMillis(reader.signed()?), UnixMillis(reader.signed()?));
        let n_series = reader.varint()?;
        reader.end()?;
        Ok(Head { segment, level, first, last, n_series })
    }
}

/// Where the rows of segments lie.
pub mod key {
    use crate::SeriesId;

    /// Prefix of all heads.
    pub const HEADS: &[u8] = b"h";
    /// Prefix of the dictionary rows of all retired series.
    pub const SERIES: &[u8] = b"s";
    /// Prefix of all segments that lost their heads.
    pub const GONE: &[u8] = b"x";
    const LISTS: u8 = b'l';

    fn numbered(kind: u8, segment: u64) -> Vec<u8> {
        let mut key = vec![kind];
        key.extend_from_slice(&segment.to_be_bytes());
        key
    }

    /// Key of a head.
    pub fn head(segment: u64) -> Vec<u8> {
        numbered(HEADS[0], segment)
    }

    /// Key that says that the lists of a segment have to go.
    pub fn gone(segment: u64) -> Vec<u8> {
        numbered(GONE[0], segment)
    }

    /// The segment of such a key, a head's or a gone one's.
    pub fn parse_segment(key: &[u8]) -> Option<u64> {
        Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
    }

    /// Prefix of all lists of a segment.
    pub fn lists(segment: u64) -> Vec<u8> {
        numbered(LISTS, segment)
    }

    /// Key of the list of a label.
    pub fn list(segment: u64, name: &str, value: &str) -> Vec<u8> {
        let mut key = values(segment, name);
        key.extend_from_slice(value.as_bytes());
        key
    }

    /// Prefix of all lists of a name: no name holds a zero.
    pub fn values(segment: u64, name: &str) -> Vec<u8> {
        let mut key = lists(segment);
        key.extend_from_slice(name.as_bytes());
        key.push(0);
        key
    }

    /// Name and value of a list's key.
    pub fn parse_list(key: &[u8]) -> Option<(&str, &str)> {
        let label = key.get(9..)?;
        let zero = label.iter().position(|byte| *byte == 0)?;
        Some((std::str::from_utf8(&label[..zero]).ok()?, std::str::from_utf8(&label[zero + 1..]).ok()?))
    }

    /// Key of the dictionary row of a retired series.
    pub fn series(id: SeriesId) -> Vec<u8> {
        let mut key = SERIES.to_vec();
        key.extend_from_slice(&id.0.to_be_bytes());
        key
    }

    /// The id in such a key.
    pub fn parse_series(key: &[u8]) -> Option<SeriesId> {
        Some(SeriesId(u32::from_be_bytes(key.strip_prefix(SERIES)?.try_into().ok()?)))
    }
}

fn encode_list(ids: &RoaringBitmap) -> Vec<u8> {
    let mut row = format::begin(LIST, VERSION);
    ids.serialize_into(&mut row).expect("memory takes all that is written to it");
    format::finish(row)
}

/// The ids of a list.
///
/// # Errors
/// [`FormatError`].
pub fn decode_list(row: &[u8]) -> Result<RoaringBitmap, FormatError> {
    let (_, mut reader) = format::open(LIST_WHAT, &[LIST], VERSION, row)?;
    let bytes = reader.take(reader.left())?;
    RoaringBitmap::deserialize_from(bytes).map_err(|_| reader.malformed())
}

/// A row of a segment: (key, value).
pub type Row = (Vec<u8>, Vec<u8>);

/// A segment that is put together in memory.
#[derive(Debug, Default)]
pub struct Builder {
    lists: BTreeMap<(String, String), RoaringBitmap>,
    range: Option<(UnixMillis, UnixMillis)>,
}

impl Builder {
    /// Adds one retired series.
    pub fn add(&mut self, id: SeriesId, row: &dictionary::Row) {
        for (name, value) in row.labels.iter() {
            self.lists.entry((name.to_owned(), value.to_owned())).or_default().insert(id.0);
        }
        self.lists.entry(Default::default()).or_default().insert(id.0);
        self.widen(row.first, row.last.unwrap_or(UnixMillis::MAX));
    }

    /// Adds a whole segment, whose lists follow.
    pub fn widen(&mut self, first: UnixMillis, last: UnixMillis) {
        let (old_first, old_last) = self.range.unwrap_or((first, last));
        self.range = Some((old_first.min(first), old_last.max(last)));
    }

    /// Adds one list of another segment.
    pub fn add_list(&mut self, name: &str, value: &str, ids: RoaringBitmap) {
        *self.lists.entry((name.to_owned(), value.to_owned())).or_default() |= ids;
    }

    /// Its head, and its rows: (key, value), the head's among them. None when empty.
    pub fn build(self, segment: u64, level: u8) -> Option<(Head, Vec<Row>)> {
        let (first, last) = self.range?;
        let n_series = self.lists.get(&Default::default()).map_or(0, RoaringBitmap::len);
        let head = Head { segment, level, first, last, n_series };
        let list = |((name, value), ids): (&(String, String), &RoaringBitmap)| {
            (key::list(segment, name, value), encode_list(ids))
        };
        let mut rows = vec![(key::head(segment), head.encode())];
        rows.extend(self.lists.iter().map(list));
        Some((head, rows))
    }
}

/// What a segment's reader needs of the store.
pub trait Rows {
    /// Why a row cannot be read.
    type Error;

    /// A row that does not decode.
    fn damaged(&self, why: FormatError) -> Self::Error;

    /// One row.
    ///
    /// # Errors
    /// When it cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Visits the rows whose key begins with `prefix`, in key order.
    ///
    /// # Errors
    /// When they cannot be read, or `visit` says so.
    fn each(&self, prefix: &[u8], visit: VisitRow<'_, Self::Error>) -> Result<(), Self::Error>;
}

/// What [`Rows::each`] calls: (key, value).
pub type VisitRow<'a, E> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), E>;

/// A segment whose lists are read as they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a, R> {
    /// Where its rows are.
    pub rows: &'a R,
    /// Its number.
    pub segment: u64,
}

impl<R: Rows> Source for Segment<'_, R> {
    type Error = R::Error;

    fn all(&self) -> Result<RoaringBitmap, R::Error> {
        self.with("", "")
    }

    fn with(&self, name: &str, value: &str) -> Result<RoaringBitmap, R::Error> {
        match self.rows.get(&key::list(self.segment, name, value))? {
            Some(row) => decode_list(&row).map_err(|why| self.rows.damaged(why)),
            None => Ok(RoaringBitmap::new()),
        }
    }

    fn each_value(&self, name: &str, visit: Visit<'_, R::Error>) -> Result<(), R::Error> {
        self.rows.each(&key::values(self.segment, name), &mut |key, row| match key::parse_list(key) {
            Some((_, value)) => visit(value, &|| decode_list(row).map_err(|why| self.rows.damaged(why))),
            None => Err(self.rows.damaged(FormatError::Malformed { what: LIST_WHAT, at: 0 })),
        })
    }
}

impl<R: Rows> Segment<'_, R> {
    /// Visits the label names of a segment, in text order. Passes over their values.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn each_name(&self, visit: &mut dyn FnMut(&str)) -> Result<(), R::Error> {
        let mut last = String::new();
        self.rows.each(&key::lists(self.segment), &mut |key, _| {
            let (name, _) = key::parse_list(key)
                .ok_or_else(|| self.rows.damaged(FormatError::Malformed { what: LIST_WHAT, at: 0 }))?;
            if name != last {
                name.clone_into(&mut last);
                visit(name);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
