//! What agents tell, in domain form: checked, unit-typed, free of wire types.

use crate::names::{AgentId, Labels};
use crate::units::{Millis, UnixMillis};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Who is calling, and what it still keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// Stable identity of the agent.
    pub agent: AgentId,
    /// The kernel's boot id: a fact for people.
    pub boot_id: String,
    /// Version of the agent.
    pub version: String,
    /// Labels of the host.
    pub labels: Labels,
    /// Optional abilities by name.
    pub capabilities: Vec<String>,
    /// Epochs whose batches the agent keeps, oldest first.
    pub epochs: Vec<u64>,
    /// The agent's wall clock when it sent this.
    pub wall: UnixMillis,
    /// Checks that the agent runs.
    pub checks: Vec<CheckInfo>,
}

/// One check of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckInfo {
    /// Unique within the agent.
    pub name: String,
    /// Time between two samples.
    pub interval: Millis,
}

/// A series of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesEntry {
    /// Dense from 0 within the epoch.
    pub series_ref: u32,
    /// Labels, metric name included.
    pub labels: Labels,
}

/// A set of series that are always sampled together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeEntry {
    /// Dense from 0 within the epoch.
    pub shape: u32,
    /// The check that samples it; its newest shape is the current one.
    pub check: String,
    /// Time between two samples.
    pub interval: Millis,
    /// Series refs in column order.
    pub refs: Vec<u32>,
}

/// The unit of sending, keeping and acknowledging.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Greater for every new epoch of an agent.
    pub epoch: u64,
    /// 1, 2, 3 … within the epoch.
    pub seq: u64,
    /// Agent's wall clock at the cut; [`crate::columns`] count from here.
    pub wall: UnixMillis,
    /// Agent's monotonic clock at the cut.
    pub mono: Millis,
    /// Columns are absolute, and the dictionary that they use is sent again.
    pub key: bool,
    /// Series first used here (since the last key batch).
    pub series: Vec<SeriesEntry>,
    /// Shapes first used here (since the last key batch).
    pub shapes: Vec<ShapeEntry>,
    /// Packed value columns.
    pub columns: Bytes,
    /// What checks that speak in states found.
    pub results: Vec<CheckResult>,
    /// What happened to the agent.
    pub events: Vec<AgentEvent>,
}

/// The state that a check reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// All is well.
    Green,
    /// Warning.
    Amber,
    /// Critical.
    Red,
    /// The check could not tell.
    Unknown,
}

/// What a check that speaks in states found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Name of the check.
    pub check: String,
    /// When it looked.
    pub time: UnixMillis,
    /// What it says.
    pub state: CheckState,
    /// Why, at most 4096 bytes.
    pub evidence: String,
    /// What the result is about.
    pub labels: Labels,
}

/// Something that happened to an agent, or that it saw happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentEvent {
    /// When, on the agent's clock.
    pub time: UnixMillis,
    /// What.
    pub kind: AgentEventKind,
}

/// The kinds of [`AgentEvent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AgentEventKind {
    /// The agent's process began.
    Started {
        /// Version of the agent.
        version: String,
    },
    /// SIGHUP was answered.
    ConfigReloaded {
        /// Why the new configuration was refused; none when it is in force.
        error: Option<String>,
    },
    /// Samples that were taken and will never arrive.
    SamplesDropped {
        /// How many.
        n_samples: u64,
        /// The first of them.
        from: UnixMillis,
        /// The last of them.
        to: UnixMillis,
        /// spool_full, spool_corrupt …
        reason: String,
    },
    /// A span in which nothing was sampled.
    Gap {
        /// Last sample before.
        from: UnixMillis,
        /// First sample after.
        to: UnixMillis,
        /// Why.
        reason: String,
    },
    /// The wall clock moved against the monotonic clock.
    ClockStepped {
        /// By how much, milliseconds, positive when it jumped ahead.
        step_ms: i64,
    },
    /// A check did not finish or could not read.
    CheckFailed {
        /// Name of the check.
        check: String,
        /// What went wrong.
        error: String,
    },
}
