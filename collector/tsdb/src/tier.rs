//! Where samples lie as they grow old: which rows, under which keys.
//!
//! ```text
//! fresh    chunks as lanes sealed them: whole agents, minutes long
//!   │ merge: all of a window, in parts of some hundred KiB, series ascending
//!   ▼
//! long     raw samples, 2 h          ──▶ minutes   1 min roll-ups, 2 h, same commit
//!                                         ──▶ hours   1 h roll-ups, 4 d, built when over
//! ```
//!
//! For each row there is a [`Span`] under (tier, the row's key): what retention,
//! merging, queries and statistics need to know without reading the row. Both are
//! written and deleted in one commit.
//!
//! ```text
//! span := 0x46 'F', version 1, bytes, last series id, min time signed,
//!         max time - min time, n series, n samples, arrived signed, crc32c u32 LE
//! ```

use crate::SeriesId;
use crate::chunk::Facts;
use crate::format::{self, FormatError, put_signed};
use signalbox_proto::columns::put_varint;
use signalbox_proto::units::{Bytes, Millis, UnixMillis};

const WHAT: &str = "span row";
const KIND: u8 = b'F';
const VERSION: u8 = 1;

/// Milliseconds of a minute's and an hour's bucket.
pub const MINUTE_MS: i64 = 60_000;
/// See [`MINUTE_MS`].
pub const HOUR_MS: i64 = 60 * MINUTE_MS;

/// A kind of stored rows of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Chunks as lanes sealed them.
    Fresh = 0,
    /// Raw samples of a window.
    Long = 1,
    /// Roll-ups of one minute.
    Minutes = 2,
    /// Roll-ups of one hour.
    Hours = 3,
}

impl Tier {
    /// All of them.
    pub const ALL: [Tier; 4] = [Tier::Fresh, Tier::Long, Tier::Minutes, Tier::Hours];

    /// The tier of a key's first byte.
    pub fn parse(byte: u8) -> Option<Tier> {
        Tier::ALL.into_iter().find(|tier| *tier as u8 == byte)
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Fresh => "fresh",
            Tier::Long => "long",
            Tier::Minutes => "minutes",
            Tier::Hours => "hours",
        }
    }

    /// Milliseconds that one row spans; fresh chunks lie anywhere.
    ///
    /// Two hours: 7,200 points at 1 s, past which columns gain under 2 %, and 480 at
    /// 15 s; what a query of minutes decodes in vain stays under 0.1 ms a series.
    pub const fn window_ms(self) -> i64 {
        match self {
            Tier::Fresh | Tier::Long | Tier::Minutes => 2 * HOUR_MS,
            Tier::Hours => 96 * HOUR_MS,
        }
    }

    /// Length of a roll-up's bucket; none for raw samples.
    pub const fn step_ms(self) -> Option<i64> {
        match self {
            Tier::Fresh | Tier::Long => None,
            Tier::Minutes => Some(MINUTE_MS),
            Tier::Hours => Some(HOUR_MS),
        }
    }

    /// How long its rows are kept unless told otherwise.
    pub const fn age_default(self) -> Millis {
        match self {
            Tier::Fresh | Tier::Long => Millis::from_mins(30 * 24 * 60),
            Tier::Minutes => Millis::from_mins(400 * 24 * 60),
            Tier::Hours => Millis::from_mins(5 * 365 * 24 * 60),
        }
    }

    /// Start of the window that holds `time`.
    pub const fn window_of(self, time: UnixMillis) -> UnixMillis {
        UnixMillis(time.0.saturating_sub(time.0.rem_euclid(self.window_ms())))
    }
}

/// What is known of a row without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The row's length.
    pub size: Bytes,
    /// The greatest series id in it.
    pub last: SeriesId,
    /// Times, counts, arrival; for roll-ups `n_samples` counts buckets.
    pub facts: Facts,
}

impl Span {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Span { size, last, facts } = self;
        let mut row = format::begin(KIND, VERSION);
        put_varint(&mut row, size.0);
        put_varint(&mut row, u64::from(last.0));
        put_signed(&mut row, facts.min_time.0);
        put_varint(&mut row, facts.max_time.0.wrapping_sub(facts.min_time.0).cast_unsigned());
        put_varint(&mut row, facts.n_series);
        put_varint(&mut row, facts.n_samples);
        put_signed(&mut row, facts.arrived.0);
        format::finish(row)
    }

    /// The span in these bytes.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(row: &[u8]) -> Result<Span, FormatError> {
        let (_, mut reader) = format::open(WHAT, &[KIND], VERSION, row)?;
        let (size, last) = (Bytes(reader.varint()?), SeriesId(reader.u32()?));
        let min_time = reader.signed()?;
        let max_time = min_time.checked_add_unsigned(reader.varint()?).ok_or_else(|| reader.malformed())?;
        let (n_series, n_samples) = (reader.varint()?, reader.varint()?);
        let arrived = UnixMillis(reader.signed()?);
        reader.end()?;
        let (min_time, max_time) = (UnixMillis(min_time), UnixMillis(max_time));
        Ok(Span { size, last, facts: Facts { min_time, max_time, n_series, n_samples, arrived } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{T0, check_damage, check_golden};
    use proptest::prelude::*;

    fn span() -> Span {
        let (min_time, max_time, arrived) = (UnixMillis(T0), UnixMillis(T0 + 7_200_000), UnixMillis(T0 + 7_300_000));
        let facts = Facts { min_time, max_time, n_series: 507, n_samples: 3_650_400, arrived };
        Span { size: Bytes(250_000), last: SeriesId(611), facts }
    }

    #[test]
    fn a_span_comes_back_and_is_written_as_ever() {
        let golden = check_golden("span_v1.bin", &span().encode());
        assert_eq!(Span::decode(&golden), Ok(span()));
        check_damage(&span().encode(), Span::decode);
    }

    #[test]
    fn windows_begin_at_multiples_before_1970_too() {
        let hours = |n: i64| UnixMillis(n * HOUR_MS);
        assert_eq!(Tier::Long.window_of(hours(3)), hours(2));
        assert_eq!(Tier::Long.window_of(hours(-1)), hours(-2));
        assert_eq!(Tier::Hours.window_of(hours(97)), hours(96));
    }

    proptest! {
        #[test]
        fn a_body_of_any_bytes_decodes_or_is_refused(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut row = format::begin(KIND, VERSION);
            row.extend_from_slice(&body);
            let _ = Span::decode(&format::finish(row));
        }
    }
}
