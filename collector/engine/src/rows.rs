//! Rows: keys and CBOR values of everything that survives a restart.
//!
//! | table     | key                         | value                      |
//! |-----------|-----------------------------|----------------------------|
//! | meta      | `meta`                      | counters                   |
//! | agents    | agent id                    | agent                      |
//! | tracks    | rule id, 0, series (be u32) | track and its incident     |
//! | incidents | number (be u64)             | incident, without ledger   |
//! | snoozes   | id (be u64)                 | snooze                     |
//! | outbox    | idempotency key             | notice, next attempt       |
//! | ledger    | incident, id (each be u64)  | line                       |
//! | feeds     | agent id, 0, check          | interval, series, last tick|
//! | rulesets  | version                     | when, text file by file    |

use crate::decision::{Row, Table};
use crate::event::SeriesId;
use crate::state::{FeedKey, Incident, TrackKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use signalbox_proto::names::AgentId;
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;
use thiserror::Error;

/// Why rows of a previous life were refused.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// A key that this version did not write.
    #[error("restore {table:?}: key {key:02x?} is malformed")]
    Key {
        /// Which table.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
    /// A value that does not decode.
    #[error("restore {table:?}: value of key {key:02x?} does not decode: {why}")]
    Value {
        /// Which table.
        table: Table,
        /// The key.
        key: Vec<u8>,
        /// What the decoder says.
        why: String,
    },
}

/// A ruleset that was in force once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RulesetRow {
    /// From when.
    pub(crate) at: UnixMillis,
    pub(crate) source: BTreeMap<String, String>,
}

/// The only key of [`Table::Meta`].
pub const META_KEY: &[u8] = b"meta";

/// CBOR with named fields.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("writing to memory cannot fail, and no map key here is unfit");
    bytes
}

/// The value of a row.
pub(crate) fn decode<T: DeserializeOwned>(table: Table, key: &[u8], value: &[u8]) -> Result<T, RestoreError> {
    ciborium::from_reader(value).map_err(|error| RestoreError::Value {
        table,
        key: key.to_vec(),
        why: error.to_string(),
    })
}

/// Numbers in order.
pub(crate) fn number_key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

pub(crate) fn parse_number(table: Table, key: &[u8]) -> Result<u64, RestoreError> {
    let bytes = key.try_into().map_err(|_| RestoreError::Key { table, key: key.to_vec() })?;
    Ok(u64::from_be_bytes(bytes))
}

pub(crate) fn track_key(key: &TrackKey) -> Vec<u8> {
    [key.rule.as_bytes(), &[0], &key.series.0.to_be_bytes()].concat()
}

pub(crate) fn parse_track(key: &[u8]) -> Result<TrackKey, RestoreError> {
    let parse = || {
        let (rule, series) = key.split_at_checked(key.len().checked_sub(4)?)?;
        let rule = std::str::from_utf8(rule.strip_suffix(&[0])?).ok()?;
        Some(TrackKey { rule: rule.into(), series: SeriesId(u32::from_be_bytes(series.try_into().ok()?)) })
    };
    parse().ok_or_else(|| RestoreError::Key { table: Table::Tracks, key: key.to_vec() })
}

pub(crate) fn feed_key(key: &FeedKey) -> Vec<u8> {
    [key.agent.as_str().as_bytes(), &[0], key.check.as_bytes()].concat()
}

/// What the keys of an agent's feeds begin with.
pub(crate) fn feeds_of(agent: &AgentId) -> Vec<u8> {
    [agent.as_str().as_bytes(), &[0]].concat()
}

/// Lines of an incident lie together, in order.
pub(crate) fn ledger_key(incident: u64, line: u64) -> Vec<u8> {
    [number_key(incident), number_key(line)].concat()
}

pub(crate) fn parse_feed(key: &[u8]) -> Result<FeedKey, RestoreError> {
    let parse = || {
        let (agent, check) = std::str::from_utf8(key).ok()?.split_once('\0')?;
        Some(FeedKey { agent: AgentId::parse(agent).ok()?, check: check.into() })
    };
    parse().ok_or_else(|| RestoreError::Key { table: Table::Feeds, key: key.to_vec() })
}

pub(crate) fn parse_agent(key: &[u8]) -> Result<AgentId, RestoreError> {
    let parse = || AgentId::parse(std::str::from_utf8(key).ok()?).ok();
    parse().ok_or_else(|| RestoreError::Key { table: Table::Agents, key: key.to_vec() })
}

/// Number of an incident's row, and when it was over; none: it is open still.
///
/// # Errors
/// [`RestoreError`] when the row is malformed.
pub fn incident_over(key: &[u8], value: &[u8]) -> Result<(u64, Option<UnixMillis>), RestoreError> {
    let number = parse_number(Table::Incidents, key)?;
    let incident: Incident = decode(Table::Incidents, key, value)?;
    let view = &incident.view;
    let over = view.closed.into_iter().chain(view.restored).max().unwrap_or(view.detected);
    Ok((number, (!incident.is_open()).then_some(over)))
}

/// What the keys of an incident's ledger lines begin with.
pub fn ledger_of(incident: u64) -> Vec<u8> {
    number_key(incident)
}

/// Since when a ruleset is kept.
///
/// # Errors
/// [`RestoreError`] when the row is malformed.
pub fn ruleset_since(key: &[u8], value: &[u8]) -> Result<UnixMillis, RestoreError> {
    Ok(decode::<RulesetRow>(Table::Rulesets, key, value)?.at)
}

/// A row that is kept, or removed when there is no value.
pub(crate) fn row<T: Serialize>(table: Table, key: Vec<u8>, value: Option<&T>) -> Row {
    Row { table, key, value: value.map(encode) }
}
