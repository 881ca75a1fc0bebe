//! One YAML file, refused with file, line, column and remedy, or trusted.
//!
//! Rules, entities, routes and channels are in the `*.yaml` files of `rules_dir`;
//! the engine and the notifier read those, together, and again at each reload.

use doors::{RawDoors, RawLocalAgents, RawTls};
use limits::{RawAgents, RawOperators};
use serde::Deserialize;
use signalbox_access::limits::AUDIT_LINES_MAX;
use signalbox_proto::api::Finding;
use signalbox_proto::text::{parse_size, parse_span};
use signalbox_proto::units::{Bytes, Millis};
use signalbox_tsdb::tier::Tier;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use thiserror::Error;

mod doors;
mod limits;

pub use doors::Doors;

/// A configuration file is at most this long, bytes.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Files that `rules_dir` may hold.
const FILES_MAX: usize = 1024;

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("read {path}: {why}")]
    Read {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The folder of rules could not be read.
    #[error("read rules_dir {path}: {why}")]
    RulesDir {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// It is too large.
    #[error("read {path}: {n_bytes} bytes are over the limit of {FILE_MAX_BYTES}")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its length.
        n_bytes: u64,
    },
    /// Too many files.
    #[error("read {path}: over {FILES_MAX} files")]
    TooMany {
        /// Which folder.
        path: PathBuf,
    },
    /// It is not what it must be; the text has line, column and snippet.
    #[error("{path}: {why}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong and where.
        why: String,
    },
    /// A value that parses and cannot be used.
    #[error("{path}: {key}: {why}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// What is wrong and how to mend it.
        why: String,
    },
}

impl ConfigError {
    /// As a finding, with the remedy.
    pub fn finding(&self) -> Finding {
        let remedy = match self {
            ConfigError::RulesDir { .. } => {
                "make the folder, let the collector's user read it, or name another: rules_dir in the configuration, --rules"
            }
            ConfigError::Read { .. } => "let the collector's user read it, or take it away",
            ConfigError::TooLarge { .. } => "split it",
            ConfigError::TooMany { .. } => "join some",
            ConfigError::Malformed { .. } | ConfigError::Value { .. } => "",
        };
        Finding { remedy: remedy.to_owned(), ..refusal(self) }
    }
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    listen_http: Option<String>,
    listen_grpc: Option<String>,
    agent_socket: Option<PathBuf>,
    operator_socket: Option<PathBuf>,
    tls: RawTls,
    local_agents: RawLocalAgents,
    local_operators: BTreeMap<String, String>,
    external_url: Option<String>,
    data_dir: Option<PathBuf>,
    rules_dir: Option<PathBuf>,
    memory: Option<String>,
    min_free: Option<String>,
    commit_interval: Option<String>,
    retention: RawRetention,
    limits: RawLimits,
    log: RawLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRetention {
    raw: Option<String>,
    audit_lines: Option<u64>,
    max_bytes: Option<String>,
    minutes: Option<String>,
    minutes_max_bytes: Option<String>,
    hours: Option<String>,
    hours_max_bytes: Option<String>,
}

/// Well over the age at which an open chunk is sealed: a seal says when its series
/// were last heard of.
const QUIET_MIN: Millis = Millis::from_mins(30);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    series: Option<u32>,
    series_quiet: Option<String>,
    inbox: Option<String>,
    agents: RawAgents,
    operators: RawOperators,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLog {
    level: Option<String>,
    format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What the program trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How agents and operators come in.
    pub doors: Doors,
    /// Where people find the page, for links in notices.
    pub external_url: String,
    /// Everything that must survive.
    pub data_dir: PathBuf,
    /// Folder of rules, entities, routes and channels; none: no rules.
    pub rules_dir: Option<PathBuf>,
    /// For the store's caches and write buffers.
    pub memory: Bytes,
    /// Ingest waits when less is free; none: the greater of 512 MiB and 5 %.
    pub min_free: Option<Bytes>,
    /// A group commit gathers at most this long.
    pub commit_interval: Millis,
    /// Lines of the audit that are kept.
    pub audit_lines: u64,
    /// How long and how much of each tier is kept.
    pub retention: Retention,
    /// Series that the collector takes.
    pub series_max: u32,
    /// A series of which nothing was heard for so long leaves memory.
    pub series_quiet: Millis,
    /// Batches that wait for the writer, together.
    pub inbox_max: Bytes,
    /// tracing's filter: `info`, `debug`, `signalbox_collector=debug` …
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// How long and how much of a tier is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Older samples go.
    pub age: Millis,
    /// They take at most this; none: no limit, for raw samples half of the volume.
    pub max_bytes: Option<Bytes>,
}

/// How long and how much of each tier is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Raw samples.
    pub raw: Keep,
    /// Roll-ups of one minute.
    pub minutes: Keep,
    /// Roll-ups of one hour.
    pub hours: Keep,
}

/// Flags that win over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--rules`
    pub rules_dir: Option<PathBuf>,
    /// `--http`
    pub listen_http: Option<SocketAddr>,
    /// `--grpc`
    pub listen_grpc: Option<SocketAddr>,
}

impl Config {
    /// Reads and checks a file; relative paths count from its folder.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path, flags: &Overrides) -> Result<Config, ConfigError> {
        Config::parse(path, &read_text(path)?, flags)
    }

    fn parse(path: &Path, text: &str, flags: &Overrides) -> Result<Config, ConfigError> {
        let raw = if text.trim().is_empty() { Ok(Raw::default()) } else { serde_saphyr::from_str::<Raw>(text) };
        let raw = raw.map_err(|why| ConfigError::Malformed { path: path.to_owned(), why: why.to_string() })?;
        let check = Check { path };
        let folder = path.parent().unwrap_or(Path::new("."));
        let data_dir = flags.data_dir.clone().or_else(|| raw.data_dir.map(|dir| folder.join(dir)));
        let data_dir = data_dir.unwrap_or_else(|| PathBuf::from("/var/lib/signalbox/collector"));
        let doors = RawDoors {
            listen_http: raw.listen_http,
            listen_grpc: raw.listen_grpc,
            agent_socket: raw.agent_socket,
            operator_socket: raw.operator_socket,
            tls: raw.tls,
            local_agents: raw.local_agents,
            local_operators: raw.local_operators,
            agents: raw.limits.agents,
            operators: raw.limits.operators,
        };
        let doors = Doors::check(doors, flags, folder, &data_dir, &check)?;
        Ok(Config {
            external_url: raw.external_url.unwrap_or_else(|| doors.page()),
            doors,
            data_dir,
            rules_dir: flags.rules_dir.clone().or_else(|| raw.rules_dir.map(|dir| folder.join(dir))),
            memory: check.size("memory", raw.memory.as_deref(), 16)?.unwrap_or(Bytes::from_mib(256)),
            min_free: check.size("min_free", raw.min_free.as_deref(), 0)?,
            commit_interval: check
                .span("commit_interval", raw.commit_interval.as_deref(), Millis(0), Millis(1000))?
                .unwrap_or(Millis(5)),
            audit_lines: check.number(
                "retention.audit_lines",
                raw.retention.audit_lines,
                AUDIT_LINES_MAX,
                1_000,
                100_000_000,
            )?,
            retention: check.retention(&raw.retention)?,
            series_max: raw.limits.series.unwrap_or(signalbox_tsdb::index::SERIES_DEFAULT_MAX),
            series_quiet: check
                .span("limits.series_quiet", raw.limits.series_quiet.as_deref(), QUIET_MIN, Millis(u64::MAX))?
                .unwrap_or(crate::writer::QUIET_DEFAULT),
            inbox_max: check.size("limits.inbox", raw.limits.inbox.as_deref(), 8)?.unwrap_or(Bytes::from_mib(64)),
            log_level: check.log_level(raw.log.level)?,
            log_format: raw.log.format,
        })
    }

    /// Texts of `rules_dir` by file name.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read_rules(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(dir) = &self.rules_dir else { return Ok(BTreeMap::new()) };
        let failed = |why| ConfigError::RulesDir { path: dir.clone(), why };
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
            if !is_yaml || name.starts_with('.') {
                continue;
            }
            if files.len() >= FILES_MAX {
                return Err(ConfigError::TooMany { path: dir.clone() });
            }
            files.insert(name.to_owned(), read_text(&path)?);
        }
        Ok(files)
    }
}

/// A finding about all files: they are refused for this reason.
pub fn refusal(why: impl ToString) -> Finding {
    let (file, remedy) = (String::new(), String::new());
    Finding { error: true, file, line: 0, column: 0, message: why.to_string(), remedy }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let failed = |why| ConfigError::Read { path: path.to_owned(), why };
    let n_bytes = std::fs::metadata(path).map_err(failed)?.len();
    if n_bytes > FILE_MAX_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), n_bytes });
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// Turns texts into values and says which key is wrong.
struct Check<'a> {
    path: &'a Path,
}

impl Check<'_> {
    fn refuse(&self, key: &'static str, why: impl ToString) -> ConfigError {
        ConfigError::Value { path: self.path.to_owned(), key, why: why.to_string() }
    }

    fn retention(&self, raw: &RawRetention) -> Result<Retention, ConfigError> {
        let keep = |tier: Tier, keys: [&'static str; 2], age: &Option<String>, size: &Option<String>| {
            let age = self.span(keys[0], age.as_deref(), Millis::from_mins(60), Millis(u64::MAX))?;
            let max_bytes = self.size(keys[1], size.as_deref(), 16)?;
            Ok::<_, ConfigError>(Keep { age: age.unwrap_or(tier.age_default()), max_bytes })
        };
        let keys = ["retention.minutes", "retention.minutes_max_bytes"];
        let minutes = keep(Tier::Minutes, keys, &raw.minutes, &raw.minutes_max_bytes)?;
        let keys = ["retention.hours", "retention.hours_max_bytes"];
        let hours = keep(Tier::Hours, keys, &raw.hours, &raw.hours_max_bytes)?;
        let raw = keep(Tier::Long, ["retention.raw", "retention.max_bytes"], &raw.raw, &raw.max_bytes)?;
        // Hours are made of minutes, four days of them at a time.
        let least = Millis::from_mins(5 * 24 * 60);
        if minutes.age < least {
            let why = format!("{} is under the {least} of minutes that hours are made of", minutes.age);
            return Err(self.refuse("retention.minutes", why));
        }
        Ok(Retention { raw, minutes, hours })
    }

    fn log_level(&self, text: Option<String>) -> Result<String, ConfigError> {
        let text = text.unwrap_or_else(|| "info".to_owned());
        // The filter takes any bare word for the name of a target, and so a mistyped
        // level for one that logs nothing.
        let is_level = |word: &str| word.parse::<tracing::level_filters::LevelFilter>().is_ok();
        let stray = text.split(',').map(str::trim).find(|word| !word.contains(['=', '[']) && !is_level(word));
        let filter = tracing_subscriber::EnvFilter::builder().parse(&text);
        match (stray, filter) {
            (Some(word), _) => Err(self.refuse(
                "log.level",
                format!("{word:?} is no level; write error, warn, info, debug or trace, or target=level"),
            )),
            (None, Err(error)) => Err(self.refuse("log.level", format!("{text:?}: {error}"))),
            (None, Ok(_)) => Ok(text),
        }
    }

    fn size(&self, key: &'static str, text: Option<&str>, min_mib: u64) -> Result<Option<Bytes>, ConfigError> {
        let Some(text) = text else { return Ok(None) };
        let size = parse_size(text).map_err(|why| self.refuse(key, why))?;
        if size < Bytes::from_mib(min_mib) {
            return Err(self.refuse(key, format!("{text} is under the least that works, {min_mib}MiB")));
        }
        Ok(Some(size))
    }

    fn span(
        &self,
        key: &'static str,
        text: Option<&str>,
        min: Millis,
        max: Millis,
    ) -> Result<Option<Millis>, ConfigError> {
        let Some(text) = text else { return Ok(None) };
        let span = parse_span(text).map_err(|why| self.refuse(key, why))?;
        if span < min || span > max {
            return Err(self.refuse(key, format!("{text} is not between {min} and {max}")));
        }
        Ok(Some(span))
    }
}

#[cfg(test)]
mod tests;
