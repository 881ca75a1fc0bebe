//! The stored row of one series: whose lanes hold its samples, since when, and its
//! labels.
//!
//! ```text
//! key  := series id u32 BE                        (keys::series)
//! row  := 0x44 'D', version 2, owner u32 varint, first signed ms, end,
//!         n varint, (name text, value text)*, crc32c u32 LE
//! end  := 0x00                                    the series is in memory
//!       | 0x01, last signed ms                    it was retired: no sample is newer
//! ```
//!
//! No sample is older than `first`. Version 1 had labels alone: there the owner is
//! the agent that the label `host` names, and nothing is known of the times.

use crate::format::{self, FormatError, put_signed};
use crate::keys::AgentNo;
use signalbox_proto::columns::put_varint;
use signalbox_proto::limits::LABELS_MAX;
use signalbox_proto::names::Labels;
use signalbox_proto::units::UnixMillis;

const WHAT: &str = "series dictionary row";
const KIND: u8 = b'D';
const VERSION: u8 = 2;
const ALIVE: u8 = 0;
const RETIRED: u8 = 1;

/// One series as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The agent whose lanes and chunks hold its samples; none in rows of version 1.
    pub owner: Option<AgentNo>,
    /// No sample is older.
    pub first: UnixMillis,
    /// No sample is newer; none while it is in memory.
    pub last: Option<UnixMillis>,
    /// Its labels.
    pub labels: Labels,
}

impl Row {
    /// The row's bytes; none when its owner is not known.
    pub fn encode(&self) -> Option<Vec<u8>> {
        Some(encode(self.owner?, self.first, self.last, &self.labels))
    }
}

/// The row of a series.
pub fn encode(owner: AgentNo, first: UnixMillis, last: Option<UnixMillis>, labels: &Labels) -> Vec<u8> {
    let mut row = format::begin(KIND, VERSION);
    put_varint(&mut row, u64::from(owner.0));
    put_signed(&mut row, first.0);
    match last {
        None => row.push(ALIVE),
        Some(last) => {
            row.push(RETIRED);
            put_signed(&mut row, last.0);
        }
    }
    put_varint(&mut row, labels.len() as u64);
    for (name, value) in labels.iter() {
        format::put_bytes(&mut row, name.as_bytes());
        format::put_bytes(&mut row, value.as_bytes());
    }
    format::finish(row)
}

/// The series of a row.
///
/// # Errors
/// [`FormatError`]: damaged, newer, or labels that break today's limits.
pub fn decode(row: &[u8]) -> Result<Row, FormatError> {
    let (_, mut reader) = format::open(WHAT, &[KIND], VERSION, row)?;
    let (mut owner, mut first, mut last) = (None, UnixMillis::MIN, None);
    if row[1] > 1 {
        owner = Some(AgentNo(reader.u32()?));
        first = UnixMillis(reader.signed()?);
        last = match reader.byte()? {
            ALIVE => None,
            RETIRED => Some(UnixMillis(reader.signed()?)),
            _ => return Err(reader.malformed()),
        };
    }
    let n = reader.count(LABELS_MAX)?;
    let mut pairs = Vec::with_capacity(n);
    for _ in 0..n {
        let name = reader.text()?.to_owned();
        pairs.push((name, reader.text()?.to_owned()));
    }
    reader.end()?;
    Ok(Row { owner, first, last, labels: Labels::new(pairs)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{T0, check_damage, check_golden, golden};

    fn labels() -> Labels {
        Labels::series("node_filesystem_avail_bytes", &[("host", "wéb-1"), ("mountpoint", "/")]).unwrap()
    }

    fn check(name: &str, last: Option<UnixMillis>) {
        let row = Row { owner: Some(AgentNo(300)), first: UnixMillis(T0), last, labels: labels() };
        let golden = check_golden(name, &encode(AgentNo(300), row.first, row.last, &row.labels));
        assert_eq!(decode(&golden), Ok(row));
    }

    #[test]
    fn a_row_comes_back_and_is_written_as_ever() {
        check("dictionary_v2.bin", None);
        check("dictionary_v2_retired.bin", Some(UnixMillis(T0 + 3_600_000)));
    }

    #[test]
    fn a_row_of_the_first_version_is_read_as_ever() {
        let row = Row { owner: None, first: UnixMillis::MIN, last: None, labels: labels() };
        assert_eq!(decode(&golden("dictionary_v1.bin")), Ok(row));
    }

    #[test]
    fn a_damaged_row_is_refused() {
        check_damage(&encode(AgentNo(7), UnixMillis(T0), None, &labels()), decode);
    }

    #[test]
    fn a_row_of_a_newer_program_says_so() {
        let row = format::finish(format::begin(KIND, VERSION + 1));
        assert_eq!(decode(&row), Err(FormatError::Version { what: WHAT, found: 3, known: 2 }));
        let row = format::finish(format::begin(b'X', VERSION));
        assert_eq!(decode(&row), Err(FormatError::Kind { what: WHAT, found: b'X' }));
    }
}
