//! All that the engine knows, as tables.
//!
//! Rows of the tables marked *kept* survive a restart; the rest is built again
//! from rows, rules and the facts that the writer repeats at start.

use crate::decision::Notice;
use crate::due::Deadlines;
use crate::event::SeriesId;
use crate::limits::LimitsMet;
use crate::rules::Rules;
use crate::track::Track;
use crate::watermarks::AgentFeeds;
use serde::{Deserialize, Serialize};
use signalbox_proto::api;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::CheckInfo;
use signalbox_proto::status::{AgentState, Level};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every table.
#[derive(Debug, Default, Clone)]
pub(crate) struct State {
    /// Counters (kept).
    pub(crate) meta: Meta,
    /// Rules in force.
    pub(crate) rules: Arc<Rules>,
    /// Agents (kept).
    pub(crate) agents: BTreeMap<AgentId, Agent>,
    /// Signs of life since the agents' rows were kept.
    pub(crate) heard: BTreeMap<AgentId, Heard>,
    /// When the latest result of each check of an agent was found, agent's clock.
    pub(crate) result_times: BTreeMap<AgentId, BTreeMap<String, UnixMillis>>,
    /// Feeds (kept, watermarks at most a minute behind).
    pub(crate) feeds: BTreeMap<AgentId, AgentFeeds>,
    /// Which feed samples a series.
    pub(crate) feed_of: BTreeMap<SeriesId, FeedKey>,
    /// Watched series.
    pub(crate) series: BTreeMap<SeriesId, Known>,
    /// Tracks (kept).
    pub(crate) tracks: BTreeMap<TrackKey, Tracked>,
    /// Incidents: open ones and the most recent (kept, all of them).
    pub(crate) incidents: BTreeMap<u64, Incident>,
    /// Ledger lines of those incidents (kept, all of them).
    pub(crate) ledgers: BTreeMap<u64, Vec<api::LedgerLine>>,
    /// Snoozes in force and lately ended (kept, all of them).
    pub(crate) snoozes: BTreeMap<u64, api::Snooze>,
    /// Notices that no channel has accepted so far (kept).
    pub(crate) outbox: BTreeMap<String, Pending>,
    /// Their keys, line by line.
    pub(crate) lines: BTreeMap<Place, String>,
    /// When time alone may change something.
    pub(crate) due: Deadlines,
}

/// Counters and clocks of the collector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Meta {
    /// The last incident's number.
    pub(crate) incidents: u64,
    /// The last snooze's id.
    pub(crate) snoozes: u64,
    /// The last ledger line's id.
    pub(crate) ledger: u64,
    /// Version of the rules in force.
    pub(crate) rules_version: String,
    /// When the collector began to listen: at its start, after a pause.
    pub(crate) started_at: UnixMillis,
    /// Until when no down clock runs.
    pub(crate) grace_until: UnixMillis,
    /// No samples are taken: no down clock runs.
    pub(crate) ingest_paused: bool,
    /// The open incident about agents lost together.
    pub(crate) mass_loss: Option<u64>,
    /// Limits that were met.
    pub(crate) limits: LimitsMet,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Agent {
    pub(crate) state: AgentState,
    pub(crate) since: UnixMillis,
    /// Since when it is up; kept while it is missing for a moment.
    pub(crate) up_since: UnixMillis,
    /// Last word before the loss; down clocks count from here.
    pub(crate) lost_since: UnixMillis,
    pub(crate) last_heard: UnixMillis,
    /// A stream stands.
    pub(crate) connected: bool,
    pub(crate) version: String,
    pub(crate) boot_id: String,
    pub(crate) labels: Labels,
    pub(crate) checks: Vec<CheckInfo>,
    /// Collector's clock minus the agent's, ms.
    pub(crate) offset_ms: i64,
    /// A different offset, seen once: believed when it is seen again.
    pub(crate) offset_rumour_ms: Option<i64>,
    pub(crate) n_dropped: u64,
    pub(crate) failing_checks: BTreeMap<String, String>,
    /// Latest results that are not green, by check and labels: state and evidence.
    pub(crate) bad_results: BTreeMap<String, String>,
    /// The last configuration that it refused, in its words; empty when it took it.
    pub(crate) config_error: String,
    /// Latest incident about it, open or not.
    pub(crate) incident: Option<u64>,
    /// Latest incident about its clock, open or not.
    pub(crate) skew: Option<u64>,
    /// Latest incident about two machines with its identity, open or not.
    pub(crate) twice: Option<u64>,
    /// When another machine last used it, a minute late at most; before the incident,
    /// when that began.
    pub(crate) twice_at: UnixMillis,
}

impl Default for Agent {
    fn default() -> Self {
        Agent {
            state: AgentState::NeverSeen,
            since: UnixMillis(0),
            up_since: UnixMillis(0),
            lost_since: UnixMillis(0),
            last_heard: UnixMillis(0),
            connected: false,
            version: String::new(),
            boot_id: String::new(),
            labels: Labels::default(),
            checks: Vec::new(),
            offset_ms: 0,
            offset_rumour_ms: None,
            n_dropped: 0,
            failing_checks: BTreeMap::new(),
            bad_results: BTreeMap::new(),
            config_error: String::new(),
            incident: None,
            skew: None,
            twice: None,
            twice_at: UnixMillis(0),
        }
    }
}

impl Agent {
    /// A verdict says that it is not there: its items are grey, their clocks paused.
    pub(crate) fn is_lost(&self) -> bool {
        !matches!(self.state, AgentState::Up | AgentState::Missing)
    }
}

/// Signs of life, not kept at each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) last: UnixMillis,
    pub(crate) n_backlog: u64,
}

/// Names a feed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FeedKey {
    pub(crate) agent: AgentId,
    pub(crate) check: Arc<str>,
}

/// What one check of an agent samples, and when it last did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Feed {
    pub(crate) interval: Millis,
    /// Watched series of its newest shape.
    pub(crate) series: Arc<[SeriesId]>,
    /// Latest tick, agent's clock.
    pub(crate) last: UnixMillis,
    /// `last` when the row was kept.
    #[serde(skip)]
    pub(crate) saved: UnixMillis,
    /// Its deadline, collector's clock.
    #[serde(skip)]
    pub(crate) armed: Option<UnixMillis>,
}

impl Default for Feed {
    fn default() -> Self {
        let never = UnixMillis::MIN;
        Feed { interval: Millis::from_secs(1), series: Arc::new([]), last: never, saved: never, armed: None }
    }
}

/// A watched series.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) agent: AgentId,
    pub(crate) labels: Arc<Labels>,
    /// Rules that judge it.
    pub(crate) uses: Arc<[Use]>,
}

/// One rule as it applies to one series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Use {
    /// Position in the ruleset.
    pub(crate) rule: usize,
    /// Position of the override that applies, if any.
    pub(crate) over: Option<usize>,
    /// Rule id.
    pub(crate) id: Arc<str>,
}

/// Names a track; those of a series lie together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct TrackKey {
    pub(crate) series: SeriesId,
    pub(crate) rule: Arc<str>,
}

/// A track and what hangs on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tracked {
    pub(crate) agent: AgentId,
    pub(crate) track: Track,
    /// The judgement that the track was last judged by.
    #[serde(default)]
    pub(crate) judgement: u64,
    /// Latest incident about it, open or not.
    #[serde(default)]
    pub(crate) incident: Option<u64>,
    /// Gone by the agent's word, or with the agent: hidden.
    #[serde(default)]
    pub(crate) gone: bool,
}

impl Tracked {
    /// The last judged number; a series may begin with not-a-number, which is none.
    pub(crate) fn value(&self) -> Option<f64> {
        self.track.value().filter(|value| !value.is_nan())
    }
}

/// What an incident is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Subject {
    /// An item.
    Track(TrackKey),
    /// An agent that is not up.
    Agent(AgentId),
    /// An agent's clock.
    Clock(AgentId),
    /// An agent's identity, used by two machines.
    Identity(AgentId),
    /// Agents lost together.
    MassLoss,
}

/// An incident and what notices need to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Incident {
    pub(crate) subject: Subject,
    /// As operators see it; its ledger lies in a table of its own.
    pub(crate) view: api::Incident,
    /// Counts transitions that could tell somebody: part of the idempotency keys.
    pub(crate) n_transitions: u64,
    /// The transition that a snooze kept quiet: told when the snooze ends.
    #[serde(default)]
    pub(crate) untold: Option<String>,
    /// Channels that heard that it is bad, and not that it is over.
    #[serde(default)]
    pub(crate) told: BTreeSet<String>,
    /// Level before the last transition.
    pub(crate) was: Level,
    pub(crate) why: String,
    pub(crate) value: Option<f64>,
    pub(crate) labels: Vec<(String, String)>,
    /// Agents of a mass loss that are not back.
    #[serde(default)]
    pub(crate) members: BTreeSet<AgentId>,
}

impl Incident {
    /// Bad until now, and nobody closed it.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.view.state, api::IncidentState::Detected | api::IncidentState::Acknowledged)
    }
}

/// A notice that no channel has accepted so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) notice: Notice,
    /// Which of its incident's transitions it tells.
    #[serde(default)]
    pub(crate) nth: u64,
    /// When to try again; none while a notifier has it, or while it waits for its turn.
    pub(crate) retry_at: Option<UnixMillis>,
}

impl Pending {
    /// Where it stands.
    pub(crate) fn place(&self) -> Place {
        let Notice { incident_number, channel, .. } = &self.notice;
        Place { incident: *incident_number, channel: channel.clone(), nth: self.nth }
    }
}

/// A place in a line of notices: each incident has one at each channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) incident: u64,
    pub(crate) channel: String,
    pub(crate) nth: u64,
}

impl Place {
    /// In the same line.
    pub(crate) fn is_same_line(&self, other: &Place) -> bool {
        (self.incident, &self.channel) == (other.incident, &other.channel)
    }
}
