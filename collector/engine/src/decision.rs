//! What a decision consists of: rows to keep, notices to send, answers to give.
//!
//! The store keeps rows without knowing what they mean: a table, a key, bytes.
//! Values are CBOR maps with named fields, so that fields can be added.

use serde::{Deserialize, Serialize};
use signalbox_proto::api::LedgerLine;
use signalbox_proto::status::{Layer, Level};
use signalbox_proto::units::UnixMillis;
use thiserror::Error;

/// Kinds of rows. The discriminant is part of the disk format: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Counters: next incident, snooze and ledger numbers.
    Meta = 1,
    /// Agents by id.
    Agents = 2,
    /// Tracks by rule id and series.
    Tracks = 3,
    /// Incidents by number, big endian.
    Incidents = 4,
    /// Snoozes by id, big endian.
    Snoozes = 5,
    /// Notices by idempotency key.
    Outbox = 6,
    /// Ledger lines by incident and id, both big endian. Only ever added.
    Ledger = 7,
    // 8 held the acts of operators before there was an audit chain.
    /// Checks' feeds by agent and check: interval, series, freshness.
    Feeds = 9,
    /// Rulesets by version: the text that was in force, for explanations.
    Rulesets = 10,
}

/// One row to keep; `value` none removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which table.
    pub table: Table,
    /// Key within the table; order matters for scans.
    pub key: Vec<u8>,
    /// CBOR.
    pub value: Option<Vec<u8>>,
}

/// Something to tell somebody, with all that the text needs: a notifier looks
/// nothing up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Idempotency key: the same over restarts and retries.
    pub key: String,
    /// Channel by name.
    pub channel: String,
    /// raised, worse, better, restored, reopened, test.
    pub transition: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// When it was decided.
    pub at: UnixMillis,
    /// `INC-17`.
    pub incident: String,
    /// 17.
    pub incident_number: u64,
    /// Level now.
    pub level: Level,
    /// Level before.
    pub was: Level,
    /// One line from the rule's summary.
    pub title: String,
    /// One sentence: value, threshold, since when.
    pub why: String,
    /// Rule id.
    pub rule: String,
    /// Entity id.
    pub entity: String,
    /// Item id; empty for an agent's incident.
    pub item: String,
    /// Layer.
    pub layer: Layer,
    /// Who must act.
    pub owner: String,
    /// What to do.
    pub sop: String,
    /// Last judged value.
    pub value: Option<f64>,
    /// Labels of the series, sorted, without `__name__`.
    pub labels: Vec<(String, String)>,
    /// First bad sample.
    pub first_symptom: UnixMillis,
    /// When the incident was raised.
    pub detected: UnixMillis,
    /// Green again.
    pub restored: Option<UnixMillis>,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandError {
    /// There is no such incident, snooze or agent.
    #[error("there is no {0}")]
    NotFound(String),
    /// Its present state does not allow this.
    #[error("{0}")]
    Conflict(String),
    /// A field is empty or malformed.
    #[error("{0}")]
    Invalid(String),
}

/// The answer to one command, in the order in which commands came.
pub type Answer = Result<signalbox_proto::api::Done, CommandError>;

/// What is written beside the rows for people: the ledger lines of one decision.
pub type Lines = Vec<LedgerLine>;
