//! Answers to questions: queries, explanations, checks of rules and channels.

use super::{Item, LedgerLine};
use crate::units::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

impl Finding {
    /// `rules/a.yaml:7:3: `, as much of it as is known; empty when it is about no file.
    pub fn place(&self) -> String {
        match (self.file.as_str(), self.line) {
            ("", _) => String::new(),
            (file, 0) => format!("{file}: "),
            (file, line) => format!("{file}:{line}:{}: ", self.column),
        }
    }
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
