//! What the operator wants: read, checked once, then trusted.
//!
//! [`raw`] mirrors the file, [`load`] reads files and folders, and this module holds
//! the form that the program sees. An empty or missing file is valid: the machine
//! layer needs no configuration. A key that is not known is refused.

mod endpoint;
mod fault;
mod load;
mod raw;

pub(crate) use endpoint::Endpoint;
pub(crate) use load::{ConfigError, load};

use crate::check::DevicePattern;
use crate::check::script::ScriptSpec;
use crate::spool::Limits;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Bytes, Millis};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Where the configuration lies when nothing else is said.
pub(crate) const DEFAULT_FILE: &str = "/etc/signalbox/agent.yaml";
const DEFAULT_COLLECTOR: &str = "/var/lib/signalbox/collector/agent.sock";
const DEFAULT_DATA_DIR: &str = "/var/lib/signalbox-agent";
const DEFAULT_INTERVAL: Millis = Millis(1000);
const DEFAULT_SPOOL: Limits = Limits { max_size: Bytes::from_mib(512), max_age: Millis(24 * 3_600_000) };
const DEFAULT_BACKFILL: u64 = 100_000;

/// Shortest time between two looks of a check.
pub(crate) const INTERVAL_MIN: Millis = Millis(100);
/// Longest time between two looks of a check.
pub(crate) const INTERVAL_MAX: Millis = Millis(86_400_000);
/// Smallest spool: a few segments.
pub(crate) const SPOOL_MIN: Bytes = Bytes::from_mib(4);

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    /// Somebody must act, or data was lost.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What the agent does.
    Info,
    /// How it does it.
    Debug,
}

/// In which form is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The machine layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    /// For checks that have no interval of their own.
    pub(crate) interval: Millis,
    /// Checks that are off.
    pub(crate) disable: BTreeSet<String>,
    /// Checks that look at another pace.
    pub(crate) intervals: BTreeMap<String, Millis>,
    /// Network devices that are left out.
    pub(crate) network_ignore: Vec<DevicePattern>,
}

/// How a process is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProcessMatch {
    /// By the kernel's name of it.
    Name(String),
    /// By a regular expression over its command line.
    Pattern(String),
    /// By a file that holds its process id.
    PidFile(PathBuf),
    /// By its systemd unit (cgroup).
    Unit(String),
}

/// A process that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its name in labels; unique.
    pub(crate) name: String,
    /// How it is found.
    pub(crate) by: ProcessMatch,
    /// Time between two looks.
    pub(crate) interval: Millis,
}

/// The configuration that is in force.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) agent_id: AgentId,
    pub(crate) collector: Endpoint,
    pub(crate) labels: Labels,
    pub(crate) data_dir: PathBuf,
    pub(crate) spool: Limits,
    pub(crate) machine: Machine,
    pub(crate) processes: Vec<Process>,
    pub(crate) scripts: Vec<ScriptSpec>,
    pub(crate) backfill_samples_per_second: u64,
    pub(crate) log_level: LogLevel,
    pub(crate) log_format: LogFormat,
}

/// What the command line says; it overrules the files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) agent_id: Option<AgentId>,
    pub(crate) collector: Option<Endpoint>,
    pub(crate) data_dir: Option<PathBuf>,
    /// A join is going on: the identity that is there may be another agent's.
    pub(crate) joining: bool,
}

impl Config {
    /// The first setting that a reload cannot change, if the two differ in one.
    pub(crate) fn needs_restart(&self, new: &Config) -> Option<&'static str> {
        if self.agent_id != new.agent_id {
            return Some("agent_id");
        }
        if self.data_dir != new.data_dir {
            return Some("data_dir");
        }
        (self.log_format != new.log_format).then_some("log.format")
    }
}

#[cfg(test)]
mod tests;
