//! JSON bodies of `/api/signalbox/v1`: one definition for the collector that
//! serves them and for every tool that reads them.
//!
//! Field names are stable; fields are only ever added. Instants are Unix
//! milliseconds (`…_at`, `at`, `since`), spans are milliseconds (`…_ms`).

use crate::names::AgentId;
use crate::samples::CheckInfo;
use crate::status::{AgentState, Freshness, Layer, Level};
use crate::units::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod access;
mod answer;
mod incident;

pub use access::{
    AgentIdentity, ApiToken, AuditEntry, AuditVerdict, CaReport, CaRoot, JoinToken, Login, Made, NewApiToken,
    NewJoinToken, NewPassword, NewRole, NewUser, PendingAgent, Role, SelfReport, User, WhoAmI,
};
pub use answer::{
    ApiError, Done, Explanation, Finding, NotifyTest, QueryAnswer, RulesReport, RulesToCheck, SeriesPoints,
};
pub use incident::{
    Act, Incident, IncidentAct, IncidentLabel, IncidentState, LedgerLine, NewSnooze, Outcome, Snooze, TimelineEntry,
};

/// `GET /status`: the whole board.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Status {
    /// When this was true.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub at: UnixMillis,
    /// Version of the collector.
    pub version: String,
    /// Worst level of all entities shown; grey items do not count.
    pub level: Level,
    /// Nothing is known to be bad, but something or everything is unknown: the whole
    /// is grey and not green. Missing in answers of older collectors.
    #[serde(default)]
    pub grey: bool,
    /// How many items stand where.
    pub counts: Counts,
    /// Entities, worst first.
    pub entities: Vec<Entity>,
    /// Problems of the collector itself (disk low, notifier failing, clock skew).
    pub problems: Vec<String>,
    /// Selectors that bound what the caller sees; empty: nothing is hidden.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
}

/// Items by what they show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Counts {
    /// Red and not grey.
    pub red: u32,
    /// Amber and not grey.
    pub amber: u32,
    /// Green and not grey.
    pub green: u32,
    /// Stale or never sampled, whatever the last level.
    pub grey: u32,
    /// Amber, shown as green by a two-colour rule.
    pub amber_hidden: u32,
    /// Under a snooze.
    pub snoozed: u32,
}

/// A host, process, application, service … and what it shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Entity {
    /// `host/web1`, `process/web1/nginx`, `application/payments`.
    pub id: String,
    /// The part before the first slash.
    pub kind: String,
    /// Layer.
    pub layer: Layer,
    /// Team that must act; empty when nobody is named.
    pub owner: String,
    /// System that it belongs to; empty when none is named.
    pub system: String,
    /// Entities that this one is rolled up into.
    pub parents: Vec<String>,
    /// Worst-of, or what its groups make of their members.
    pub level: Level,
    /// True when nobody knows: its agent is not up, or all its items are grey.
    pub grey: bool,
    /// Since when the level or greyness is as it is.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub since: UnixMillis,
    /// One sentence: which item or member makes it so.
    pub why: String,
    /// Own items and those of all members below, by what they show.
    pub counts: Counts,
    /// Own items, worst first.
    pub items: Vec<Item>,
}

/// One (rule, series): what it shows, why and since when.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Item {
    /// `host/web1:filesystem-full{mountpoint="/"}`.
    pub id: String,
    /// Entity that it belongs to.
    pub entity: String,
    /// Rule id.
    pub rule: String,
    /// Metric name.
    pub metric: String,
    /// Labels of the series, without `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Held level.
    pub level: Level,
    /// Age of the facts.
    pub freshness: Freshness,
    /// Last judged value; none before the first sample. Not-a-number is null.
    pub value: Option<f64>,
    /// Time of the last sample that the agent is known to have taken.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub value_at: UnixMillis,
    /// Since when the level is held.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub since: UnixMillis,
    /// One sentence: value, threshold, clocks.
    pub why: String,
    /// A level that waits for its clock.
    pub pending: Option<Pending>,
    /// Pinned at its worst because it changes too often.
    pub flapping: bool,
    /// Amber that a two-colour rule shows as green.
    pub amber_hidden: bool,
    /// Number of the open incident.
    pub incident: Option<u64>,
    /// Ids of snoozes in force.
    pub snoozes: Vec<u64>,
    /// Layer.
    pub layer: Layer,
    /// Who must act.
    pub owner: String,
    /// What to do: a link or a text.
    pub sop: String,
}

/// A level that waits for its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Pending {
    /// Where it would go.
    pub target: Level,
    /// When it began to wait.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub since: UnixMillis,
    /// When it will be held if nothing changes; none while the clock is paused.
    #[cfg_attr(feature = "api", schema(value_type = Option<i64>))]
    pub due: Option<UnixMillis>,
}

/// `GET /agents`: one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Agent {
    /// Identity.
    #[cfg_attr(feature = "api", schema(value_type = String))]
    pub id: AgentId,
    /// What the collector knows.
    pub state: AgentState,
    /// Since when.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub since: UnixMillis,
    /// Last word from it, collector's clock.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub last_heard: UnixMillis,
    /// Version it said.
    pub version: String,
    /// Boot id it said.
    pub boot_id: String,
    /// Labels of its host.
    pub labels: BTreeMap<String, String>,
    /// Collector's clock minus the agent's, milliseconds.
    pub clock_offset_ms: i64,
    /// Batches that it keeps unacknowledged, as of its last heartbeat.
    pub n_backlog: u64,
    /// Samples that it reported as lost.
    pub n_dropped: u64,
    /// Checks that it runs.
    #[cfg_attr(feature = "api", schema(value_type = Vec<Object>))]
    pub checks: Vec<CheckInfo>,
    /// Last error of each check that fails now.
    pub failing_checks: BTreeMap<String, String>,
    /// Open incident about this agent.
    pub incident: Option<u64>,
}
