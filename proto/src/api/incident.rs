//! Incidents, their ledger, snoozes, and what operators can do about them.

use crate::status::{Layer, Level};
use crate::units::UnixMillis;
use serde::{Deserialize, Serialize};

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// Raised; nobody has said a word.
    #[default]
    Detected,
    /// Somebody has it.
    Acknowledged,
    /// Green again; may be reopened for 30 minutes.
    Restored,
    /// Labelled and done.
    Closed,
}

/// What an incident was worth, in hindsight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum IncidentLabel {
    /// A real problem.
    Real,
    /// Nothing was wrong.
    False,
    /// Something was wrong, nobody needed to know.
    Noisy,
}

/// `GET /incidents` (without `timeline` and `ledger`) and `GET /incidents/{n}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Incident {
    /// 17 for INC-17.
    pub number: u64,
    /// `INC-17`.
    pub id: String,
    /// Where it stands.
    pub state: IncidentState,
    /// Level now.
    pub level: Level,
    /// Worst level so far.
    pub worst: Level,
    /// One line from the rule's summary.
    pub title: String,
    /// Rule id; `agent` for an agent that is not up.
    pub rule: String,
    /// Entity.
    pub entity: String,
    /// Item id; empty for an agent's incident.
    pub item: String,
    /// Layer.
    pub layer: Layer,
    /// Who must act.
    pub owner: String,
    /// What to do.
    pub sop: String,
    /// First bad sample of the episode.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub first_symptom: UnixMillis,
    /// Level was held: the incident was raised.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub detected: UnixMillis,
    /// First acknowledgement.
    #[cfg_attr(feature = "api", schema(value_type = Option<i64>))]
    pub acknowledged: Option<UnixMillis>,
    /// Who acknowledged.
    pub acknowledged_by: String,
    /// Who has it; empty when nobody.
    pub assignee: String,
    /// Green again.
    #[cfg_attr(feature = "api", schema(value_type = Option<i64>))]
    pub restored: Option<UnixMillis>,
    /// Closed.
    #[cfg_attr(feature = "api", schema(value_type = Option<i64>))]
    pub closed: Option<UnixMillis>,
    /// Its worth.
    pub label: Option<IncidentLabel>,
    /// Why that label.
    pub label_reason: String,
    /// Found in back-filled data, over before anybody could know: paged nobody.
    pub late: bool,
    /// How often it came back within 30 minutes.
    pub n_reopened: u32,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// Every notice sent or not sent, oldest first.
    pub ledger: Vec<LedgerLine>,
}

/// One line of an incident's story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct TimelineEntry {
    /// When, event time.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub at: UnixMillis,
    /// raised, level, acknowledged, assigned, note, restored, reopened, closed …
    pub kind: String,
    /// Person, or `signalbox`.
    pub author: String,
    /// In words.
    pub text: String,
}

/// Why a notice was sent, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct LedgerLine {
    /// Grows by one.
    pub id: u64,
    /// When it was decided.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub at: UnixMillis,
    /// Incident number.
    pub incident: u64,
    /// Item or agent that it is about.
    pub item: String,
    /// raised, worse, better, restored, reopened, test.
    pub transition: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Channel; empty when nobody was to be told.
    pub channel: String,
    /// Idempotency key of the notice; empty when none was made.
    pub key: String,
    /// In words: to whom, by what; or why not.
    pub reason: String,
}

/// What became of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In the outbox.
    Queued,
    /// The channel accepted it.
    Sent,
    /// One attempt failed; another follows.
    Retried,
    /// Waits for another verdict (parent, grace).
    Held,
    /// Somebody said not to be told.
    Suppressed,
    /// Nobody to tell, or given up.
    Dropped,
}

/// `GET /snoozes`: one row; `POST /snoozes` takes [`NewSnooze`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Snooze {
    /// Grows by one.
    pub id: u64,
    /// Item id, entity id (its subtree) or series selector.
    pub scope: String,
    /// Of what the scope covers, only these items; empty: all. Somebody with a scope
    /// of their own snoozes by selector what was in it then, and nothing that comes later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// From when.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub from: UnixMillis,
    /// Until when.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub until: UnixMillis,
    /// Ended early by somebody.
    #[cfg_attr(feature = "api", schema(value_type = Option<i64>))]
    pub ended: Option<UnixMillis>,
}

/// Body of `POST /snoozes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewSnooze {
    /// Item id, entity id (its subtree) or series selector.
    pub scope: String,
    /// For how long, `2h`.
    #[serde(rename = "for")]
    pub span: String,
    /// Why; not empty.
    pub reason: String,
}

/// Body of `POST /incidents/{n}/{ack|assign|note|close}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct IncidentAct {
    /// Words for the timeline; needed for `note`.
    #[serde(default)]
    pub text: String,
    /// `assign`: to whom.
    #[serde(default)]
    pub assignee: String,
    /// `close`: its worth.
    #[serde(default)]
    pub label: Option<IncidentLabel>,
}

/// Body of `POST /agents/{id}/retire` and `DELETE /snoozes/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Why.
    #[serde(default)]
    pub reason: String,
}
