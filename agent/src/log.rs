//! Logs to stderr, as text or JSON. The level can change while the agent runs.

use crate::config::{LogFormat, LogLevel};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Overrules the configured level: error, warn, info, debug.
const LEVEL_VARIABLE: &str = "SIGNALBOX_LOG";

/// Changes the level of what is logged.
pub(crate) struct LogHandle(reload::Handle<LevelFilter, Registry>);

impl LogHandle {
    /// Puts another level in force, unless the environment says which.
    pub(crate) fn set_level(&self, level: LogLevel) {
        if let Err(error) = self.0.reload(filter(level)) {
            tracing::warn!(%error, "change of the log level failed");
        }
    }
}

/// Begins to log.
pub(crate) fn init(level: LogLevel, format: LogFormat) -> LogHandle {
    let (layer, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(layer);
    match format {
        LogFormat::Text => {
            registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false)).init();
        }
        LogFormat::Json => registry.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).init(),
    }
    LogHandle(handle)
}

fn filter(level: LogLevel) -> LevelFilter {
    let told = std::env::var(LEVEL_VARIABLE).ok().and_then(|text| text.parse().ok());
    told.unwrap_or(match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    })
}
