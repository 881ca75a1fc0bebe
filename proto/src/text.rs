//! Durations and sizes as people write them in files and flags, bytes as hexadecimal,
//! and which characters may not be shown as they are.
//!
//! A number without a unit is refused: nobody should have to guess.

use crate::units::{Bytes, Millis};
use thiserror::Error;

/// Why a duration or size was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Nothing was written.
    #[error("empty; write for example {example}")]
    Empty {
        /// A right one.
        example: &'static str,
    },
    /// A number stands alone.
    #[error("{text:?} has no unit; write for example {example}")]
    NoUnit {
        /// What was written.
        text: String,
        /// A right one.
        example: &'static str,
    },
    /// Not understood.
    #[error("{text:?} is not understood; write for example {example}")]
    Unknown {
        /// What was written.
        text: String,
        /// A right one.
        example: &'static str,
    },
    /// More than a u64 of milliseconds or bytes.
    #[error("{text:?} is too large")]
    TooLarge {
        /// What was written.
        text: String,
    },
}

const SPAN_UNITS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Lower-case hexadecimal, two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// True for characters that a terminal obeys, or that hide or reorder others: text
/// from elsewhere shows them escaped.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Parses `250ms`, `30s`, `1h30m`, `0s`; units ms, s, m, h, d, w.
///
/// # Errors
/// [`UnitError`] when empty, without a unit, not understood or too large.
pub fn parse_span(text: &str) -> Result<Millis, UnitError> {
    parse(text, SPAN_UNITS, "30s or 1h30m").map(Millis)
}

/// Parses `64KiB`, `512MiB`, `10GB`; units B, KiB … TiB, kB … TB.
///
/// # Errors
/// [`UnitError`] when empty, without a unit, not understood or too large.
pub fn parse_size(text: &str) -> Result<Bytes, UnitError> {
    parse(text, SIZE_UNITS, "512MiB").map(Bytes)
}

fn parse(text: &str, units: &[(&str, u64)], example: &'static str) -> Result<u64, UnitError> {
    let unknown = || UnitError::Unknown { text: text.to_owned(), example };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(UnitError::Empty { example });
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return Err(unknown());
        }
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        if unit.is_empty() {
            return Err(if tail.is_empty() { UnitError::NoUnit { text: text.to_owned(), example } } else { unknown() });
        }
        let scale = units.iter().find(|(name, _)| *name == unit).ok_or_else(unknown)?.1;
        let too_large = || UnitError::TooLarge { text: text.to_owned() };
        let number: u64 = number.parse().map_err(|_| too_large())?;
        total = number.checked_mul(scale).and_then(|part| total.checked_add(part)).ok_or_else(too_large)?;
        rest = tail;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_parse() {
        assert_eq!(parse_span("1h30m"), Ok(Millis(5_400_000)));
        assert_eq!(parse_span("250ms"), Ok(Millis(250)));
        assert_eq!(parse_span("0s"), Ok(Millis(0)));
        assert_eq!(parse_size("512MiB"), Ok(Bytes::from_mib(512)));
    }

    #[test]
    fn a_bare_number_names_the_remedy() {
        let error = parse_span("30").unwrap_err().to_string();
        assert_eq!(error, "\"30\" has no unit; write for example 30s or 1h30m");
    }

    #[test]
    fn nonsense_and_overflow_are_refused() {
        assert!(matches!(parse_span("abc"), Err(UnitError::Unknown { .. })));
        assert!(matches!(parse_span("1.5s"), Err(UnitError::Unknown { .. })));
        assert!(matches!(parse_span("99999999999999999999w"), Err(UnitError::TooLarge { .. })));
        assert!(matches!(parse_size("9999999999TiB"), Err(UnitError::TooLarge { .. })));
    }
}
