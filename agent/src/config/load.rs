//! Reads the file and `conf.d/*.yaml` beside it, and makes one checked [`Config`].
//!
//! Lists are appended and maps joined; a scalar that two files give is an error that
//! names both, because neither is more right than the other.

use super::fault;
use super::raw::{RawConfig, RawProcess};
use super::{
    Config, DEFAULT_BACKFILL, DEFAULT_COLLECTOR, DEFAULT_DATA_DIR, DEFAULT_FILE, DEFAULT_INTERVAL, DEFAULT_SPOOL,
    Endpoint, LogFormat, LogLevel, Machine, Overrides, Process, ProcessMatch,
};
use crate::check::script::ScriptSpec;
use crate::check::script::config::{self as script, RawScript, SCRIPTS_MAX};
use crate::check::{DevicePattern, Pattern};
use crate::identity::Folder;
use crate::spool::Limits;
use serde_saphyr::Spanned;
use signalbox_proto::names::{AgentId, Labels, NameError};
use signalbox_proto::units::Millis;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The folder beside the file whose files are merged into it.
const FOLDER: &str = "conf.d";
/// A configuration file is not larger than this.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// A file could not be read.
    #[error("read configuration {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be; the text has line, column, snippet, remedy.
    #[error("{path}:{text}")]
    Refused {
        /// Which.
        path: PathBuf,
        /// Where in it, and why.
        text: String,
    },
    /// Two files give the same setting.
    #[error("{key} is set in {first} and in {second}; remove one of them")]
    Conflict {
        /// Which setting.
        key: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Labels of the host are not good.
    #[error("labels in {path}")]
    Labels {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: NameError,
    },
    /// The host's name is no agent id.
    #[error("the host's name is no agent id; set agent_id in {path}")]
    Hostname {
        /// Where to set it.
        path: PathBuf,
        /// Why not.
        source: NameError,
    },
    /// The configuration and the identity name two agents.
    #[error(
        "agent_id is {configured} in {path}, and the identity in {dir} is of {joined}; \
         write agent_id: {joined}, or join anew: signalbox-agent join --replace COLLECTOR TOKEN"
    )]
    OtherAgent {
        /// Where it is configured.
        path: PathBuf,
        /// What is configured.
        configured: AgentId,
        /// Where the identity lies.
        dir: PathBuf,
        /// Whose it is.
        joined: AgentId,
    },
    /// A check that is named does not exist.
    #[error("checks.machine names {name:?}, which is no machine check; there are {known}")]
    UnknownCheck {
        /// What was written.
        name: String,
        /// What may be written.
        known: String,
    },
    /// More checks than a collector takes of one agent.
    #[error(
        "{n} checks are configured, the limit is {limit}: remove processes, \
         or watch several by one match (pattern, unit), which counts its instances"
    )]
    TooManyChecks {
        /// How many there would be.
        n: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// Reads the configuration: the default file may be missing, a named one may not.
pub(crate) fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let main = file.unwrap_or(Path::new(DEFAULT_FILE));
    let mut merged = Merged::default();
    match read(main) {
        Ok(text) => merged.add(main, parse(main, &text)?)?,
        Err(ConfigError::Read { source, .. }) if file.is_none() && source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for path in folder(main)? {
        let text = read(&path)?;
        merged.add(&path, parse(&path, &text)?)?;
    }
    merged.trusted(main, overrides)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > FILE_MAX_BYTES {
        let text = format!(" {size} bytes are over the limit of {FILE_MAX_BYTES}");
        return Err(ConfigError::Refused { path: path.to_owned(), text });
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn folder(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let dir = main.with_file_name(FOLDER);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ConfigError::Read { path: dir, source }),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| ConfigError::Read { path: dir.clone(), source })?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn parse(path: &Path, text: &str) -> Result<RawConfig, ConfigError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim() == "---") {
        return Ok(RawConfig::default());
    }
    serde_saphyr::from_str(text)
        .map_err(|error| ConfigError::Refused { path: path.to_owned(), text: fault::tell(text, &error) })
}

/// Settings of all files, each with the file it came from.
#[derive(Default)]
struct Merged {
    raw: RawConfig,
    origin: BTreeMap<String, PathBuf>,
    processes: Vec<(PathBuf, Spanned<RawProcess>)>,
    scripts: Vec<(PathBuf, Spanned<RawScript>)>,
}

impl Merged {
    fn add(&mut self, path: &Path, from: RawConfig) -> Result<(), ConfigError> {
        let Merged { raw, origin, processes, scripts } = self;
        let mut at = Origin { path, origin };
        at.scalar("agent_id", &mut raw.agent_id, from.agent_id)?;
        at.scalar("collector", &mut raw.collector, from.collector)?;
        at.scalar("interval", &mut raw.interval, from.interval)?;
        at.scalar("data_dir", &mut raw.data_dir, from.data_dir)?;
        at.scalar("spool.max_size", &mut raw.spool.max_size, from.spool.max_size)?;
        at.scalar("spool.max_age", &mut raw.spool.max_age, from.spool.max_age)?;
        at.scalar("log.level", &mut raw.log.level, from.log.level)?;
        at.scalar("log.format", &mut raw.log.format, from.log.format)?;
        let backfill = from.backfill_samples_per_second;
        at.scalar("backfill_samples_per_second", &mut raw.backfill_samples_per_second, backfill)?;
        at.map("labels", &mut raw.labels, from.labels)?;
        let machine = from.checks.machine;
        at.scalar("checks.machine.interval", &mut raw.checks.machine.interval, machine.interval)?;
        at.map("checks.machine.intervals", &mut raw.checks.machine.intervals, machine.intervals)?;
        raw.checks.machine.disable.extend(machine.disable);
        if let Some(own) = machine.network_ignore {
            raw.checks.machine.network_ignore.get_or_insert_default().extend(own);
        }
        processes.extend(from.processes.into_iter().map(|process| (path.to_owned(), process)));
        scripts.extend(from.scripts.into_iter().map(|script| (path.to_owned(), script)));
        Ok(())
    }

    fn trusted(self, main: &Path, overrides: &Overrides) -> Result<Config, ConfigError> {
        let RawConfig { agent_id, collector, labels, interval, data_dir, spool, checks, log, .. } = self.raw;
        let data_dir = overrides.data_dir.clone().or(data_dir).unwrap_or_else(|| DEFAULT_DATA_DIR.into());
        let collector = overrides.collector.clone().or(collector.map(|endpoint| endpoint.0));
        let collector = collector.unwrap_or_else(|| Endpoint::Unix(DEFAULT_COLLECTOR.into()));
        let identity = Folder::of(&data_dir);
        let joined = identity.agent().filter(|_| !overrides.joining && matches!(collector, Endpoint::Tls { .. }));
        let agent_id = match (overrides.agent_id.clone().or(agent_id.map(|id| id.0)), joined) {
            (Some(configured), Some(joined)) if configured != joined => {
                let path = self.origin.get("agent_id").map_or(main, PathBuf::as_path).to_owned();
                return Err(ConfigError::OtherAgent { path, configured, dir: identity.path().to_owned(), joined });
            }
            (Some(id), _) | (None, Some(id)) => id,
            (None, None) => hostname().map_err(|source| ConfigError::Hostname { path: main.to_owned(), source })?,
        };
        let origin = self.origin.get("labels").map_or(main, PathBuf::as_path);
        let labels = Labels::new(labels).map_err(|source| ConfigError::Labels { path: origin.to_owned(), source })?;
        let interval = interval.map_or(DEFAULT_INTERVAL, |own| own.0);
        let intervals = checks.machine.intervals.into_iter().map(|(name, own)| (name, own.0)).collect();
        Ok(Config {
            agent_id,
            collector,
            labels,
            data_dir,
            spool: Limits {
                max_size: spool.max_size.map_or(DEFAULT_SPOOL.max_size, |own| own.0),
                max_age: spool.max_age.map_or(DEFAULT_SPOOL.max_age, |own| own.0),
            },
            machine: Machine {
                interval: checks.machine.interval.map_or(interval, |own| own.0),
                disable: checks.machine.disable.into_iter().collect(),
                intervals,
                network_ignore: match checks.machine.network_ignore {
                    Some(own) => own.into_iter().map(|device| device.0).collect(),
                    None => DevicePattern::defaults(),
                },
            },
            processes: processes(self.processes, interval)?,
            scripts: scripts(self.scripts)?,
            backfill_samples_per_second: self.raw.backfill_samples_per_second.map_or(DEFAULT_BACKFILL, |own| own.0),
            log_level: log.level.unwrap_or(LogLevel::Info),
            log_format: log.format.unwrap_or(LogFormat::Text),
        })
    }
}

/// Where settings come from while one file is added.
struct Origin<'a> {
    path: &'a Path,
    origin: &'a mut BTreeMap<String, PathBuf>,
}

impl Origin<'_> {
    fn scalar<T>(&mut self, key: &str, into: &mut Option<T>, from: Option<T>) -> Result<(), ConfigError> {
        if from.is_some() {
            self.claim(key)?;
            *into = from;
        }
        Ok(())
    }

    fn map<T>(
        &mut self,
        key: &str,
        into: &mut BTreeMap<String, T>,
        from: BTreeMap<String, T>,
    ) -> Result<(), ConfigError> {
        for (name, value) in from {
            self.claim(&format!("{key}.{name}"))?;
            into.insert(name, value);
        }
        Ok(())
    }

    fn claim(&mut self, key: &str) -> Result<(), ConfigError> {
        match self.origin.insert(key.to_owned(), self.path.to_owned()) {
            None => Ok(()),
            Some(first) => Err(ConfigError::Conflict { key: key.to_owned(), first, second: self.path.to_owned() }),
        }
    }
}

fn processes(raw: Vec<(PathBuf, Spanned<RawProcess>)>, interval: Millis) -> Result<Vec<Process>, ConfigError> {
    let mut processes: Vec<Process> = Vec::new();
    for (path, Spanned { value, referenced, .. }) in raw {
        let refuse = |what: String| {
            let text = format!("{}:{}: {what}", referenced.line(), referenced.column());
            Err(ConfigError::Refused { path: path.clone(), text })
        };
        let RawProcess { name, by, interval: own } = value;
        if name.is_empty() || name.len() > 128 {
            return refuse(format!("process name {name:?} must have 1 to 128 bytes"));
        }
        if processes.iter().any(|process| process.name == name) {
            return refuse(format!("process {name:?} is given twice; give each a name of its own"));
        }
        let mut ways = [
            by.name.map(ProcessMatch::Name),
            by.pattern.map(ProcessMatch::Pattern),
            by.pid_file.map(ProcessMatch::PidFile),
            by.unit.map(ProcessMatch::Unit),
        ]
        .into_iter()
        .flatten();
        let (Some(by), None) = (ways.next(), ways.next()) else {
            return refuse(format!("process {name:?} needs exactly one of match.name, pattern, pid_file, unit"));
        };
        if let ProcessMatch::Pattern(text) = &by
            && let Err(why) = Pattern::command(text)
        {
            return refuse(format!("process {name:?}: match.pattern {text:?} is no regular expression: {why}"));
        }
        processes.push(Process { name, by, interval: own.map_or(interval, |own| own.0) });
    }
    Ok(processes)
}

fn scripts(raw: Vec<(PathBuf, Spanned<RawScript>)>) -> Result<Vec<ScriptSpec>, ConfigError> {
    let own_uid = rustix::process::geteuid().as_raw();
    let mut scripts: Vec<ScriptSpec> = Vec::new();
    for (path, Spanned { value, referenced, .. }) in raw {
        let checked = script::trusted(value, &path, own_uid).and_then(|spec| match &spec.name {
            name if scripts.iter().any(|script| script.name == *name) => {
                Err(format!("script {name:?} is given twice; give each a name of its own"))
            }
            _ if scripts.len() == SCRIPTS_MAX => Err(format!("more than {SCRIPTS_MAX} scripts; remove some")),
            _ => Ok(spec),
        });
        let text = |what: String| format!("{}:{}: {what}", referenced.line(), referenced.column());
        scripts.push(checked.map_err(|what| ConfigError::Refused { path, text: text(what) })?);
    }
    Ok(scripts)
}

fn hostname() -> Result<AgentId, NameError> {
    default_id(&rustix::system::uname().nodename().to_string_lossy())
}

/// Host names know no case and agent ids do: one host must not become two when
/// somebody writes its name anew.
pub(super) fn default_id(hostname: &str) -> Result<AgentId, NameError> {
    AgentId::parse_own(&hostname.to_ascii_lowercase())
}
