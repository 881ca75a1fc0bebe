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
    /// How many items stand where.
    pub counts: Counts,
    /// Entities, worst first.
    pub entities: Vec<Entity>,
    /// Problems of the collector itself (disk low, notifier failing, clock skew).
    pub problems: Vec<String>,
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
    /// Who; the operating system's user for the CLI.
    pub author: String,
}

/// Body of `POST /incidents/{n}/{ack|assign|note|close}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct IncidentAct {
    /// Who acts.
    pub author: String,
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
    /// Who acts.
    pub author: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `GET /query`: series over a range.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct QueryAnswer {
    /// Range start, inclusive.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub from: UnixMillis,
    /// Range end, inclusive.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub to: UnixMillis,
    /// Every series that the selector matches and that has points in the range.
    pub series: Vec<SeriesPoints>,
    /// Why the answer is not whole (a limit was met), empty when it is.
    pub warnings: Vec<String>,
}

/// One series of a [`QueryAnswer`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct SeriesPoints {
    /// Labels, `__name__` included.
    pub labels: BTreeMap<String, String>,
    /// (Unix milliseconds, value) in time order; a value JSON cannot write is null.
    pub points: Vec<(i64, Option<f64>)>,
}

/// `GET /explain`: the proof of a verdict at an instant, from stored facts alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// The instant.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub at: UnixMillis,
    /// What the item showed then.
    pub item: Item,
    /// Version (hash) of the rules in force then.
    pub rules_version: String,
    /// The rule as it applied to this item: thresholds, clocks, on_missing.
    pub rule: BTreeMap<String, String>,
    /// Which override changed the rule for this item, if any.
    pub override_by: Option<String>,
    /// Samples up to the instant, oldest first.
    pub samples: Vec<(i64, Option<f64>)>,
    /// Clocks that ran: what, since when, until when.
    pub clocks: Vec<String>,
    /// Suppressions in force.
    pub suppressions: Vec<String>,
    /// Notices about this item up to the instant, newest last.
    pub ledger: Vec<LedgerLine>,
    /// The chain of reasons, one sentence each.
    pub because: Vec<String>,
}

/// Body of `POST /rules/check`: files by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RulesToCheck {
    /// File name and text.
    pub files: BTreeMap<String, String>,
}

/// Answer of `POST /rules/check`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct RulesReport {
    /// Rules that were read.
    pub n_rules: usize,
    /// Series that exist now and that some rule selects.
    pub n_selected: usize,
    /// What was found; errors first.
    pub findings: Vec<Finding>,
}

/// One finding about configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Finding {
    /// True: the files are refused.
    pub error: bool,
    /// Which file; empty when it is about all of them.
    pub file: String,
    /// From 1; 0 when it is about the whole file.
    pub line: usize,
    /// From 1; 0 when it is about the whole line.
    pub column: usize,
    /// What is wrong, with the offending lines where there are any.
    pub message: String,
    /// How to mend it.
    pub remedy: String,
}

/// Answer of `POST /notify/test/{channel}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct NotifyTest {
    /// Channel.
    pub channel: String,
    /// True: the server accepted the marked message.
    pub accepted: bool,
    /// What the server said, or why it could not be asked.
    pub answer: String,
    /// How long it took.
    pub took_ms: u64,
}

/// What an act changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Done {
    /// In words.
    pub done: String,
    /// Id of what was made, if something was.
    pub id: Option<u64>,
}

/// Body of every answer that is not 2xx.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct ApiError {
    /// What is wrong.
    pub error: String,
    /// How to mend it; may be empty.
    #[serde(default)]
    pub remedy: String,
}
