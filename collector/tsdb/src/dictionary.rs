//! The stored row of one series: its labels.
//!
//! ```text
//! key  := series id u32 BE                        (keys::series)
//! row  := 0x44 'D', version 1, n varint, (name text, value text)*, crc32c u32 LE
//! ```

use crate::format::{self, FormatError};
use signalbox_proto::columns::put_varint;
use signalbox_proto::limits::LABELS_MAX;
use signalbox_proto::names::Labels;

const WHAT: &str = "series dictionary row";
const KIND: u8 = b'D';
const VERSION: u8 = 1;

/// The row of a series.
pub fn encode(labels: &Labels) -> Vec<u8> {
    let mut row = format::begin(KIND, VERSION);
    put_varint(&mut row, labels.len() as u64);
    for (name, value) in labels.iter() {
        format::put_bytes(&mut row, name.as_bytes());
        format::put_bytes(&mut row, value.as_bytes());
    }
    format::finish(row)
}

/// The labels of a row.
///
/// # Errors
/// [`FormatError`]: damaged, newer, or labels that break today's limits.
pub fn decode(row: &[u8]) -> Result<Labels, FormatError> {
    let (_, mut reader) = format::open(WHAT, &[KIND], VERSION, row)?;
    let n = reader.count(LABELS_MAX)?;
    let mut pairs = Vec::with_capacity(n);
    for _ in 0..n {
        let name = reader.text()?.to_owned();
        pairs.push((name, reader.text()?.to_owned()));
    }
    reader.end()?;
    Ok(Labels::new(pairs)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_damage, check_golden};

    fn labels() -> Labels {
        Labels::series("node_filesystem_avail_bytes", &[("host", "wéb-1"), ("mountpoint", "/")]).unwrap()
    }

    #[test]
    fn a_row_comes_back_and_is_written_as_ever() {
        let golden = check_golden("dictionary_v1.bin", &encode(&labels()));
        assert_eq!(decode(&golden), Ok(labels()));
        assert_eq!(decode(&encode(&Labels::default())), Ok(Labels::default()));
    }

    #[test]
    fn a_damaged_row_is_refused() {
        check_damage(&encode(&labels()), decode);
    }

    #[test]
    fn a_row_of_a_newer_program_says_so() {
        let row = format::finish(format::begin(KIND, VERSION + 1));
        assert_eq!(decode(&row), Err(FormatError::Version { what: WHAT, found: 2, known: 1 }));
        let row = format::finish(format::begin(b'X', VERSION));
        assert_eq!(decode(&row), Err(FormatError::Kind { what: WHAT, found: b'X' }));
    }
}
