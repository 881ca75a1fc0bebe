//! Keys of the families that the collector itself lays out; those of series,
//! journal and chunks are in [`signalbox_tsdb::keys`].
//!
//! ```text
//! meta     := "turn"                                  value u64 LE
//!           | "a" agent no u32 BE                     value CBOR, the agent's id
//!           | "m" agent no u32 BE, epoch u64 BE       value u64 LE, high-water mark
//! state    := table u8, key
//! history  := table u8, length u16 BE, key, at i64 BE with its sign flipped
//!                                                     value: 1 then the row, or 0 when it was removed
//! access   := table u8, key                           value CBOR, see signalbox_access::rows
//! audit    := number u64 BE                           value CBOR, see signalbox_access::audit
//! ```

use signalbox_access::rows::Table as AccessTable;
use signalbox_engine::decision::Table;
use signalbox_proto::units::UnixMillis;
use signalbox_tsdb::keys::AgentNo;

/// Key of the number of the last turn.
pub const TURN: &[u8] = b"turn";
const AGENT: u8 = b'a';
const MARK: u8 = b'm';
const SIGN: u64 = 1 << 63;
const REMOVED: u8 = 0;
const STANDS: u8 = 1;

/// Prefix of all agents' rows.
pub const AGENTS: &[u8] = &[AGENT];
/// Prefix of all marks.
pub const MARKS: &[u8] = &[MARK];

/// Key of an agent's row.
pub fn agent(no: AgentNo) -> Vec<u8> {
    let mut key = vec![AGENT];
    key.extend_from_slice(&no.0.to_be_bytes());
    key
}

/// The number in such a key.
pub fn parse_agent(key: &[u8]) -> Option<AgentNo> {
    let no = key.strip_prefix(&[AGENT])?;
    Some(AgentNo(u32::from_be_bytes(no.try_into().ok()?)))
}

/// Key of an agent's high-water mark in one epoch.
pub fn mark(no: AgentNo, epoch: u64) -> Vec<u8> {
    let mut key = vec![MARK];
    key.extend_from_slice(&no.0.to_be_bytes());
    key.extend_from_slice(&epoch.to_be_bytes());
    key
}

/// Whose mark such a key is, and of which epoch.
pub fn parse_mark(key: &[u8]) -> Option<(AgentNo, u64)> {
    let (no, epoch) = key.strip_prefix(&[MARK])?.split_at_checked(4)?;
    Some((AgentNo(u32::from_be_bytes(no.try_into().ok()?)), u64::from_be_bytes(epoch.try_into().ok()?)))
}

/// Key of an engine row as it stands.
pub fn state(table: Table, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(table as u8);
    out.extend_from_slice(key);
    out
}

/// Prefix of all versions of an engine row.
pub fn history_of(table: Table, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(11 + key.len());
    out.push(table as u8);
    let len = u16::try_from(key.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(key);
    out
}

/// Key of the version of an engine row that holds from `at` on.
pub fn history(table: Table, key: &[u8], at: UnixMillis) -> Vec<u8> {
    let mut out = history_of(table, key);
    out.extend_from_slice(&(at.0.cast_unsigned() ^ SIGN).to_be_bytes());
    out
}

/// The version of a row: the row as it stands from now on, or none when it is removed.
pub fn version(row: Option<&[u8]>) -> Vec<u8> {
    match row {
        Some(row) => [&[STANDS], row].concat(),
        None => vec![REMOVED],
    }
}

/// The row of a version; none when it was removed.
pub fn present(version: &[u8]) -> Option<&[u8]> {
    version.strip_prefix(&[STANDS])
}

/// Row (table byte, length and key together) and instant of such a key.
pub fn parse_history(key: &[u8]) -> Option<(&[u8], UnixMillis)> {
    let (row, at) = key.split_at_checked(key.len().checked_sub(8)?)?;
    let at = u64::from_be_bytes(at.try_into().ok()?) ^ SIGN;
    Some((row, UnixMillis(at.cast_signed())))
}

/// The engine's own key in the row part of a history key.
pub fn row_key(row: &[u8]) -> Option<&[u8]> {
    row.get(3..)
}

/// Key of a row of identities and rights.
pub fn access(table: AccessTable, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(table as u8);
    out.extend_from_slice(key);
    out
}

/// Table and own key of such a row.
pub fn parse_access(key: &[u8]) -> Option<(AccessTable, &[u8])> {
    let (table, own) = key.split_first()?;
    Some((AccessTable::parse(*table)?, own))
}

/// Key of a line of the audit.
pub fn audit(no: u64) -> Vec<u8> {
    no.to_be_bytes().to_vec()
}

/// The number in such a key.
pub fn parse_audit(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// Acts of operators as an older version kept them, without a chain. They stay where
/// they are and nobody reads them.
pub const OLD_AUDIT: u8 = 8;

/// The table of a discriminant.
pub fn parse_table(byte: u8) -> Option<Table> {
    const TABLES: [Table; 9] = [
        Table::Meta,
        Table::Agents,
        Table::Tracks,
        Table::Incidents,
        Table::Snoozes,
        Table::Outbox,
        Table::Ledger,
        Table::Feeds,
        Table::Rulesets,
    ];
    TABLES.into_iter().find(|table| *table as u8 == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back() {
        assert_eq!(parse_agent(&agent(AgentNo(7))), Some(AgentNo(7)));
        assert_eq!(parse_mark(&mark(AgentNo(7), 9)), Some((AgentNo(7), 9)));
        assert_eq!(parse_mark(b"m123"), None);
        assert_eq!(parse_audit(&audit(7)), Some(7));
        assert_eq!(parse_access(&access(AccessTable::Users, b"ada")), Some((AccessTable::Users, b"ada".as_slice())));
        assert_eq!(parse_access(b""), None);
        for at in [UnixMillis::MIN, UnixMillis(-1), UnixMillis(0), UnixMillis::MAX] {
            let key = history(Table::Tracks, b"key", at);
            let (row, found) = parse_history(&key).unwrap();
            assert_eq!((row_key(row).unwrap(), found), (b"key".as_slice(), at));
            assert_eq!(parse_table(row[0]), Some(Table::Tracks));
        }
    }

    #[test]
    fn versions_of_a_row_sort_by_time_and_apart_from_longer_keys() {
        let early = history(Table::Tracks, b"k", UnixMillis(-5));
        let late = history(Table::Tracks, b"k", UnixMillis(5));
        let other = history(Table::Tracks, b"kk", UnixMillis(-9));
        assert!(early < late && late < other);
    }
}
