//! The sealed chunk: all samples of a lane between two seals, compressed.
//!
//! Series that share their instants share one time column. Each series has a value
//! column of its own, so that one is read without touching the others; a series
//! that does not change has none at all, its value lies in the header.
//!
//! ```text
//! chunk   := 0x43 'C', version 2, header length u32 LE, header,
//!            crc32c u32 LE of all before it, data
//! header  := min time signed, max time - min time, n groups, group*,
//!            n series, series*
//! group   := n points, column, column                its times; when each arrived
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
//! are integers with exponent 0; arrivals too, or a constant where all are one.
//! Version 1 had no arrivals: its points count as arrived at `max time`. Under 32 points, and where it is shorter, deltas
//! take the place of pco.

pub(crate) mod column;
mod encode;
mod read;

pub use encode::ChunkBuilder;
pub use read::{ChunkReader, SeriesInfo};

use signalbox_proto::units::UnixMillis;

/// Points of one series that a chunk may hold: bounds what a reader reserves. A
/// lane of `LANE_MAX_BYTES` holds fewer, at three bytes a tick.
pub const POINTS_PER_SERIES_MAX: usize = 1 << 22;

/// What is in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Oldest sample.
    pub min_time: UnixMillis,
    /// Newest sample.
    pub max_time: UnixMillis,
    /// Series.
    pub n_series: u64,
    /// Samples of all series.
    pub n_samples: u64,
    /// When the last of them arrived.
    pub arrived: UnixMillis,
}

/// Of nothing.
impl Default for Facts {
    fn default() -> Facts {
        let (min_time, max_time, arrived) = (UnixMillis::MAX, UnixMillis::MIN, UnixMillis::MIN);
        Facts { min_time, max_time, n_series: 0, n_samples: 0, arrived }
    }
}

const WHAT: &str = "chunk";
const KIND: u8 = b'C';
const VERSION: u8 = 2;
const VERSION_WITHOUT_ARRIVALS: u8 = 1;
/// Kind, version, header length.
const PREFIX_BYTES: usize = 6;

#[cfg(test)]
mod tests;
