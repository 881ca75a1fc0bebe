//! The file as it is written. Every field is optional; what is written is checked
//! where it stands, so that an error points at line and column.

use super::{Endpoint, INTERVAL_MAX, INTERVAL_MIN, LogFormat, LogLevel, SPOOL_MIN};
use crate::check::DevicePattern;
use crate::check::script::config::RawScript;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_saphyr::Spanned;
use signalbox_proto::names::AgentId;
use signalbox_proto::text::{parse_size, parse_span};
use signalbox_proto::units::{Bytes, Millis};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) agent_id: Option<RawAgentId>,
    pub(super) collector: Option<RawEndpoint>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) interval: Option<Interval>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) spool: RawSpool,
    pub(super) checks: RawChecks,
    pub(super) processes: Vec<Spanned<RawProcess>>,
    pub(super) scripts: Vec<Spanned<RawScript>>,
    pub(super) backfill_samples_per_second: Option<Rate>,
    pub(super) log: RawLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSpool {
    pub(super) max_size: Option<SpoolSize>,
    pub(super) max_age: Option<SpoolAge>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawChecks {
    pub(super) machine: RawMachine,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMachine {
    pub(super) interval: Option<Interval>,
    pub(super) disable: Vec<String>,
    pub(super) intervals: BTreeMap<String, Interval>,
    pub(super) network_ignore: Option<Vec<RawDevice>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) level: Option<LogLevel>,
    pub(super) format: Option<LogFormat>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProcess {
    pub(super) name: String,
    #[serde(rename = "match")]
    pub(super) by: RawMatch,
    pub(super) interval: Option<Interval>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMatch {
    pub(super) name: Option<String>,
    pub(super) pattern: Option<String>,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) unit: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct RawAgentId(pub(super) AgentId);

#[derive(Debug, Clone)]
pub(super) struct RawDevice(pub(super) DevicePattern);

#[derive(Debug, Clone)]
pub(super) struct RawEndpoint(pub(super) Endpoint);

/// Time between two looks: 100 ms to a day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval(pub(super) Millis);

#[derive(Debug, Clone, Copy)]
pub(super) struct SpoolSize(pub(super) Bytes);

#[derive(Debug, Clone, Copy)]
pub(super) struct SpoolAge(pub(super) Millis);

#[derive(Debug, Clone, Copy)]
pub(super) struct Rate(pub(super) u64);

impl<'de> Deserialize<'de> for RawAgentId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        AgentId::parse_own(&String::deserialize(from)?).map(RawAgentId).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for RawDevice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        DevicePattern::parse(&String::deserialize(from)?).map(RawDevice).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for RawEndpoint {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Endpoint::parse(&String::deserialize(from)?).map(RawEndpoint).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let span = parse_span(&String::deserialize(from)?).map_err(D::Error::custom)?;
        if span < INTERVAL_MIN || span > INTERVAL_MAX {
            return Err(D::Error::custom(format!("interval {span} must be {INTERVAL_MIN} to {INTERVAL_MAX}")));
        }
        Ok(Interval(span))
    }
}

impl<'de> Deserialize<'de> for SpoolSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let size = parse_size(&String::deserialize(from)?).map_err(D::Error::custom)?;
        if size < SPOOL_MIN {
            return Err(D::Error::custom(format!("spool size {size} must be at least {SPOOL_MIN}")));
        }
        Ok(SpoolSize(size))
    }
}

impl<'de> Deserialize<'de> for SpoolAge {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let age = parse_span(&String::deserialize(from)?).map_err(D::Error::custom)?;
        if age < Millis::from_mins(1) {
            return Err(D::Error::custom(format!("spool age {age} must be at least 1m")));
        }
        Ok(SpoolAge(age))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let rate = u64::deserialize(from)?;
        if !(1..=1_000_000_000).contains(&rate) {
            return Err(D::Error::custom(format!("rate {rate} must be 1 to 1000000000 samples a second")));
        }
        Ok(Rate(rate))
    }
}
