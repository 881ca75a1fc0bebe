//! What can happen. Time enters only here, as stamps.

use crate::rule::Ruleset;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::{AgentEvent, CheckInfo, CheckResult};
use signalbox_proto::units::{Millis, UnixMillis};
use std::sync::Arc;

/// Id of a series in the store's dictionary: dense, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SeriesId(pub u32);

/// An event and the collector's wall clock when it was received. Stamps of a list
/// of events never go back.
#[derive(Debug, Clone)]
pub struct Stamped {
    /// When it was received.
    pub at: UnixMillis,
    /// What happened.
    pub event: Event,
}

/// Everything that can change a verdict.
#[derive(Debug, Clone)]
pub enum Event {
    /// The collector began, or noticed that it was paused: freshness and down
    /// clocks wait for the agents' reconnect cap.
    CollectorStarted,
    /// The collector takes no samples from now on, or takes them again: silence is
    /// nobody's fault meanwhile, nor until agents had time to send. Sent at each
    /// change, and again after `CollectorStarted` while it is paused still.
    IngestPaused {
        /// True when it begins, false when it ends.
        paused: bool,
    },
    /// Time passed and nothing else need have happened.
    Tick,
    /// These rules, entities and routes are in force from here on.
    Rules(Arc<Ruleset>),
    /// An agent's stream stands.
    AgentConnected(AgentHello),
    /// An agent's stream says that it lives.
    AgentHeartbeat {
        /// Who.
        agent: AgentId,
        /// Its wall clock when it sent this.
        wall: UnixMillis,
        /// Batches that it keeps unacknowledged.
        n_backlog: u64,
    },
    /// An agent's stream ended; `goodbye` is its reason when the end was planned.
    AgentDisconnected {
        /// Who.
        agent: AgentId,
        /// Reason of a planned stop.
        goodbye: Option<String>,
    },
    /// Another machine used an agent's identity while that agent streamed, and was refused.
    StreamRefused {
        /// Whose name it used.
        agent: AgentId,
        /// Why it was refused.
        why: String,
    },
    /// A series that at least one rule in force selects exists for an agent. Sent
    /// once a series, again after every `Rules`, and at start for stored series.
    SeriesKnown {
        /// Whose.
        agent: AgentId,
        /// Which.
        series: SeriesId,
        /// Its labels, `__name__` and `host` included.
        labels: Arc<Labels>,
    },
    /// These series left memory: nothing will be said of them again, and their items
    /// are hidden already. See [`Engine::lets_go`](crate::engine::Engine::lets_go).
    SeriesForgotten {
        /// Which.
        series: Arc<[SeriesId]>,
    },
    /// The watched series that a check samples from now on; those of the same
    /// check that are not listed any more are gone by the agent's word.
    CheckLayout {
        /// Whose.
        agent: AgentId,
        /// Name of the check.
        check: Arc<str>,
        /// Time between two samples.
        interval: Millis,
        /// Watched series of its newest shape.
        series: Arc<[SeriesId]>,
    },
    /// Ticks of one batch, in order.
    Samples {
        /// Whose.
        agent: AgentId,
        /// False: back-fill of an older epoch, behind the live lane.
        live: bool,
        /// What was sampled.
        ticks: Vec<SampledTick>,
    },
    /// A check that speaks in states spoke.
    Result {
        /// Whose.
        agent: AgentId,
        /// What it found.
        result: CheckResult,
    },
    /// Something happened to an agent.
    Agent {
        /// Whose.
        agent: AgentId,
        /// What.
        event: AgentEvent,
    },
    /// An operator acts.
    Command(Command),
    /// A notifier tried to deliver.
    Delivery {
        /// Idempotency key of the notice.
        key: String,
        /// What came of it.
        outcome: DeliveryOutcome,
    },
}

/// Facts of a connecting agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentHello {
    /// Who.
    pub agent: AgentId,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Version.
    pub version: String,
    /// Labels of the host.
    pub labels: Labels,
    /// Checks that it runs.
    pub checks: Vec<CheckInfo>,
    /// Its wall clock when it sent its Hello.
    pub wall: UnixMillis,
}

/// One instant at which one check sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledTick {
    /// Name of the check.
    pub check: Arc<str>,
    /// When, agent's clock.
    pub time: UnixMillis,
    /// Watched series whose value left its quiet [`Band`] (all watched series of
    /// the check when `live` is false). Series of the check that are not listed
    /// were sampled too and lie inside their bands.
    pub values: Vec<(SeriesId, f64)>,
}

/// Values for which, in a track's present state, no level and no clock can
/// change: `low <= v && v <= high`. Not-a-number is never quiet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Inclusive.
    pub low: f64,
    /// Inclusive.
    pub high: f64,
}

impl Band {
    /// Every sample is an event.
    pub const NONE: Band = Band { low: f64::INFINITY, high: f64::NEG_INFINITY };
    /// No number is an event: nothing selects this series.
    pub const ALL: Band = Band { low: f64::NEG_INFINITY, high: f64::INFINITY };

    /// True when this value cannot change anything.
    pub fn is_quiet(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// What an operator can do.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Who acts.
    pub author: String,
    /// What.
    pub act: Act,
}

/// The acts of a [`Command`].
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// I have it.
    Acknowledge {
        /// Incident number.
        incident: u64,
        /// Words for the timeline, may be empty.
        text: String,
    },
    /// Somebody has it.
    Assign {
        /// Incident number.
        incident: u64,
        /// To whom.
        assignee: String,
        /// Words for the timeline, may be empty.
        text: String,
    },
    /// Words for the timeline.
    Note {
        /// Incident number.
        incident: u64,
        /// The words, not empty.
        text: String,
    },
    /// Labelled and done. Only a restored (or late) incident can be closed as
    /// real; one labelled false or noisy can be closed while it is bad.
    Close {
        /// Incident number.
        incident: u64,
        /// Its worth.
        label: signalbox_proto::api::IncidentLabel,
        /// Why.
        text: String,
    },
    /// Tell nobody about what is in scope.
    Snooze {
        /// Item id, entity id (its subtree) or series selector.
        scope: String,
        /// Of that, only these items; empty: all.
        only: Vec<String>,
        /// For how long.
        span: Millis,
        /// Why, not empty.
        reason: String,
    },
    /// End a snooze early.
    EndSnooze {
        /// Which.
        id: u64,
        /// Why.
        reason: String,
    },
    /// The host was taken away.
    RetireAgent {
        /// Which.
        agent: AgentId,
        /// Why.
        reason: String,
    },
}

/// What came of one attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The channel accepted it.
    Accepted {
        /// What the server said.
        answer: String,
    },
    /// It did not, or nobody knows: try again later.
    Failed {
        /// Why.
        error: String,
    },
    /// It never will (unknown recipient, refused body).
    Refused {
        /// Why.
        error: String,
    },
}
