//! The words of a verdict: levels, freshness, layers, states of agents.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What is held and notified. Ordered: red is worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// All is well.
    #[default]
    Green,
    /// Warning.
    Amber,
    /// Critical.
    Red,
}

/// How old the facts behind a level are. Not a level: shown over the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// At most two intervals and a jitter old.
    Fresh,
    /// Older than that: a clock mark, no notice.
    Late,
    /// Older than three intervals and 30 s: grey over the last level.
    Stale,
    /// Selected by a rule, never sampled so far: grey.
    #[default]
    Unknown,
    /// Retired by configuration or by the agent's word: hidden, history kept.
    Gone,
}

/// Which part of the system something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Hosts: CPU, memory, disks, network.
    #[default]
    Machine,
    /// Processes, logs, smoke tests.
    Application,
    /// Transactions, feeds, customers.
    Business,
    /// Application servers, databases, queues.
    Middleware,
}

/// What the collector knows about an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Its stream stands and its heart beats.
    Up,
    /// The stream ended, or the heartbeat stopped, a moment ago: the down clock runs.
    Missing,
    /// The stream ended and did not come back: host answers, agent does not.
    Down,
    /// The heartbeat stopped without an end of stream: host or network is gone.
    Unreachable,
    /// It said goodbye: a planned stop.
    Stopped,
    /// Named in the configuration, never heard of.
    NeverSeen,
    /// Taken away on purpose: hidden, history kept.
    Retired,
}

impl Level {
    /// The word used in files, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            Level::Green => "green",
            Level::Amber => "amber",
            Level::Red => "red",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Freshness {
    /// The word used in files, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            Freshness::Fresh => "fresh",
            Freshness::Late => "late",
            Freshness::Stale => "stale",
            Freshness::Unknown => "unknown",
            Freshness::Gone => "gone",
        }
    }
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Layer {
    /// The word used in files, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            Layer::Machine => "machine",
            Layer::Application => "application",
            Layer::Business => "business",
            Layer::Middleware => "middleware",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl AgentState {
    /// The word used in files, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            AgentState::Up => "up",
            AgentState::Missing => "missing",
            AgentState::Down => "down",
            AgentState::Unreachable => "unreachable",
            AgentState::Stopped => "stopped",
            AgentState::NeverSeen => "never_seen",
            AgentState::Retired => "retired",
        }
    }
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Freshness {
    /// True where the last level must be shown grey: nobody knows.
    pub fn is_grey(self) -> bool {
        matches!(self, Freshness::Stale | Freshness::Unknown)
    }
}
