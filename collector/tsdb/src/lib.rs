//! Series, samples and their bytes: everything that the store knows without
//! touching a disk.
//!
//! - [`index`]: labels to series ids and back, postings, selection.
//! - [`dictionary`]: one stored row for each series.
//! - [`journal`]: one stored row for each committed batch of an agent.
//! - [`head`]: the open chunk of one agent's epoch, kept as it came.
//! - [`chunk`]: the sealed, compressed form of the same samples.
//! - [`tier`]: where samples lie as they grow old, and what is known of a row unread.
//! - [`compact`]: many small chunks made few long ones, with roll-ups.
//! - [`run`]: points as columns; several sources made one, each instant once.
//! - [`rollup`]: what a minute or an hour of a series comes to.
//! - [`segment`]: retired series on disk.
//! - [`retention`]: which chunks have to go.
//! - [`keys`]: row keys, ordered for range scans.
//! - [`mod@format`]: what all rows share: version, checksum, errors.
//!
//! No I/O, no clock, no threads: bytes in, values out. Time ranges are
//! half-open, `[from, to)`, throughout. A value is 64 bits that come back as
//! they were given: NaN payloads and -0.0 included.
//!
//! ```text
//! batch -> head::Lane::append -> ticks for the evaluator
//!            |  journal::Record (one row, in the turn's commit)
//!            v  due()
//!          seal -> chunk (one row) + journal::Snapshot (one row, replaces the
//!                  records that the chunk now holds)
//!            v  compact::plan
//!          merge -> long parts and minutes of a window (replace the chunks)
//! ```

pub mod chunk;
pub mod compact;
pub mod dictionary;
pub mod format;
pub mod head;
pub mod index;
pub mod journal;
pub mod keys;
pub mod retention;
pub mod rollup;
pub mod run;
pub mod segment;
pub mod tier;

#[cfg(test)]
mod testing;

use signalbox_proto::units::UnixMillis;

/// A series: given once in the life of a store, from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u32);

impl SeriesId {
    /// Stands in a lane for a series that the collector refused (limit reached):
    /// its columns are decoded, because the others cannot be read without, and
    /// shown and stored nowhere.
    pub const REFUSED: SeriesId = SeriesId(u32::MAX);

    /// True for all but [`SeriesId::REFUSED`].
    pub fn is_kept(self) -> bool {
        self != SeriesId::REFUSED
    }
}

/// One sample of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When.
    pub time: UnixMillis,
    /// What; any bit pattern.
    pub value: f64,
}
