//! Rules, entities and routes in the form that the program trusts.
//!
//! [`crate::config`] makes them from files and refuses what is wrong; nothing
//! behind it checks again.

use signalbox_proto::selector::{Pattern, Selector};
use signalbox_proto::status::{Layer, Level};
use signalbox_proto::units::Millis;
use std::collections::BTreeMap;

/// Everything that configuration says about verdicts.
#[derive(Debug, Clone, Default)]
pub struct Ruleset {
    /// Hash of the text: names this very set in explanations.
    pub version: String,
    /// The text, file by file, for explanations.
    pub source: BTreeMap<String, String>,
    /// Rules in file order; ids are unique.
    pub rules: Vec<Rule>,
    /// Entities named in configuration; ids are unique, dependencies acyclic.
    pub entities: Vec<EntityDef>,
    /// Who is told, in order; all that match are told.
    pub routes: Vec<Route>,
    /// Names of the channels that routes may use.
    pub channels: Vec<String>,
    /// Clocks of agents.
    pub agents: AgentClocks,
}

/// One threshold rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Unique, stable: state is kept by it. `[a-z0-9-]+`.
    pub id: String,
    /// Series that it judges.
    pub selector: Selector,
    /// What applies where no override matches.
    pub base: Judgement,
    /// By selector; the last that matches wins, whole.
    pub overrides: Vec<Override>,
    /// Layer of what it judges, unless the entity says otherwise.
    pub layer: Layer,
    /// Who must act, unless the entity says otherwise; may be empty.
    pub owner: String,
    /// minijinja: title of the incident.
    pub summary: String,
    /// What to do: link or text; may be empty.
    pub sop: String,
    /// Where it stands.
    pub file: String,
    /// Line in `file`, from 1.
    pub line: usize,
}

/// How values become levels. Complete: defaults are filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// When amber; none: never.
    pub amber: Option<Threshold>,
    /// When red; none: never.
    pub red: Option<Threshold>,
    /// Two colours only: amber is computed, shown as green and counted.
    pub red_green: bool,
    /// Amber is held after this long (default 60 s).
    pub raise_amber: Millis,
    /// Red is held after this long (default 30 s).
    pub raise_red: Millis,
    /// Amber is left after this long (default 120 s).
    pub clear_amber: Millis,
    /// Red is left after this long (default 120 s).
    pub clear_red: Millis,
    /// The level met by at least `k` of the last `n` samples; (1, 1) when not set.
    pub k_of_n: (u32, u32),
    /// What silence means.
    pub on_missing: OnMissing,
    /// How long a silence must be (default 5 min).
    pub no_data_for: Millis,
    /// Level from which an incident is raised: red, or amber if the rule says so.
    pub incident_from: Level,
    /// Changes to or from green in the window that make it flapping (default 6); 0: never.
    pub flap_changes: u32,
    /// The window (default 30 min).
    pub flap_window: Millis,
}

/// Replaces a rule's judgement where it matches.
#[derive(Debug, Clone)]
pub struct Override {
    /// Where.
    pub selector: Selector,
    /// The whole judgement there: the rule's, with the override's keys laid over.
    pub judgement: Judgement,
}

/// A set of bad values, and a set of values good enough to clear.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Bad values.
    pub bad: Condition,
    /// The level is left only for values that are *not* in here. A superset of
    /// `bad`; equal to it when the rule names no clear value.
    pub hold: Condition,
}

/// A set of numbers. Not-a-number is in none of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition {
    /// `> x`
    Above(f64),
    /// `>= x`
    AtLeast(f64),
    /// `< x`
    Below(f64),
    /// `<= x`
    AtMost(f64),
    /// Nagios `start:end`: outside the closed range.
    Outside(f64, f64),
    /// Nagios `@start:end`: inside the closed range.
    Inside(f64, f64),
}

impl Condition {
    /// True when the set holds this value.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Condition::Above(x) => value > x,
            Condition::AtLeast(x) => value >= x,
            Condition::Below(x) => value < x,
            Condition::AtMost(x) => value <= x,
            Condition::Outside(low, high) => value < low || value > high,
            Condition::Inside(low, high) => low <= value && value <= high,
        }
    }
}

/// What silence of a series means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissing {
    /// Grey over the last level, never clears.
    #[default]
    Hold,
    /// Amber after `no_data_for`.
    Amber,
    /// Red after `no_data_for`.
    Red,
    /// Green after `no_data_for`: only for sparse event counters, never a default.
    Ok,
}

/// An entity named in configuration.
#[derive(Debug, Clone)]
pub struct EntityDef {
    /// `application/payments`; also `host/web1`, to give a host an owner.
    pub id: String,
    /// Layer.
    pub layer: Layer,
    /// Who must act; empty: the rule's owner.
    pub owner: String,
    /// System; empty: none.
    pub system: String,
    /// Hosts whose labels match belong to it, each as a worst-of member.
    pub hosts: Vec<LabelMatch>,
    /// What it needs.
    pub needs: Vec<Need>,
}

/// One condition on a label of a host.
#[derive(Debug, Clone)]
pub struct LabelMatch {
    /// Label name.
    pub label: String,
    /// What its value must be.
    pub pattern: Pattern,
}

/// What an entity depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Its level is at least as bad as this member's.
    All(Vec<String>),
    /// Red only when fewer than `k` members are not red; amber when any is.
    /// Any-of is k = 1.
    AtLeast {
        /// How many must stand.
        k: usize,
        /// Of which.
        members: Vec<String>,
    },
}

/// Who is told about what.
#[derive(Debug, Clone)]
pub struct Route {
    /// Channel name.
    pub channel: String,
    /// Owners to tell about; empty: all.
    pub owners: Vec<String>,
    /// Layers to tell about; empty: all.
    pub layers: Vec<Layer>,
    /// Only levels at least this bad (default amber: whatever raises an incident).
    pub from: Level,
}

/// Clocks of agents, in the collector's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentClocks {
    /// From the end of a stream to down (default 10 s).
    pub down_after: Millis,
    /// Silence of a stream that stands until it counts as unreachable (3 heartbeats, 30 s).
    pub unreachable_after: Millis,
    /// After the collector's start no such clock runs for this long (default 20 s).
    pub start_grace: Millis,
    /// An agent that is not up for this long is retired by itself; none: never.
    pub retire_after: Option<Millis>,
    /// A planned stop that lasts longer than this is down after all (default 1 h).
    pub stopped_max: Millis,
    /// Lost together (default 20 and over 20 % within 30 s): one incident.
    pub mass_loss_agents: usize,
}

impl Default for AgentClocks {
    fn default() -> Self {
        AgentClocks {
            down_after: Millis::from_secs(10),
            unreachable_after: Millis::from_secs(30),
            start_grace: Millis::from_secs(20),
            retire_after: None,
            stopped_max: Millis::from_mins(60),
            mass_loss_agents: 20,
        }
    }
}
