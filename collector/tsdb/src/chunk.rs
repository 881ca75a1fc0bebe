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
