//! Identities and label sets: parsed once, trusted ever after.

use crate::limits::{AGENT_ID_MAX_BYTES, LABEL_NAME_MAX_BYTES, LABEL_VALUE_MAX_BYTES, LABELS_MAX};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";
/// Under this id stands what the collector says of itself; no agent may bear it.
pub const COLLECTOR_ID: &str = "collector";

/// Why a name or label set was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Agent id is empty, too long, has other characters, or a dot at an end.
    #[error(
        "agent id {0:?} must be 1 to {AGENT_ID_MAX_BYTES} of A-Z a-z 0-9 . _ - and neither begin nor end with a dot; \
         write for example web-1.example.org"
    )]
    AgentId(String),
    /// Agent id that the collector has.
    #[error("agent id {COLLECTOR_ID:?} is the collector's own; choose another, for example the host's name")]
    Reserved,
    /// Label name is empty, too long or malformed.
    #[error("label name {0:?} must match [a-zA-Z_][a-zA-Z0-9_]* and be at most {LABEL_NAME_MAX_BYTES} bytes")]
    LabelName(String),
    /// Label value is too long.
    #[error("label {name}: value of {len} bytes is over the limit of {LABEL_VALUE_MAX_BYTES}")]
    LabelValue {
        /// Which label.
        name: String,
        /// Its length in bytes.
        len: usize,
    },
    /// Too many labels.
    #[error("{0} labels are over the limit of {LABELS_MAX}")]
    TooMany(usize),
    /// The same label twice.
    #[error("label {0} is given twice")]
    Twice(String),
    /// No metric name, or a malformed one.
    #[error("metric name {0:?} must match [a-zA-Z_:][a-zA-Z0-9_:]*")]
    MetricName(String),
}

/// Who an agent is: 1 to 128 of `A-Z a-z 0-9 . _ -`, no dot at either end, so that it
/// is no `..` in a path. Compared byte by byte: `Web1` is not `web1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentId(String);

impl AgentId {
    /// Parses and checks.
    ///
    /// # Errors
    /// [`NameError::AgentId`].
    pub fn parse(text: &str) -> Result<AgentId, NameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let is_dotted = text.starts_with('.') || text.ends_with('.');
        if text.is_empty() || text.len() > AGENT_ID_MAX_BYTES || !text.chars().all(allowed) || is_dotted {
            return Err(NameError::AgentId(text.to_owned()));
        }
        Ok(AgentId(text.to_owned()))
    }

    /// As [`AgentId::parse`], and refuses the id that no agent may bear.
    ///
    /// # Errors
    /// [`NameError::AgentId`], [`NameError::Reserved`].
    pub fn parse_own(text: &str) -> Result<AgentId, NameError> {
        if text == COLLECTOR_ID { Err(NameError::Reserved) } else { AgentId::parse(text) }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AgentId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        AgentId::parse(&text)
    }
}

impl From<AgentId> for String {
    fn from(id: AgentId) -> String {
        id.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A checked label set, sorted by name, each name once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(String, String)>", into = "Vec<(String, String)>")]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// Sorts and checks names, values and count. An empty value means absent,
    /// as in Prometheus: such a label is left out.
    ///
    /// # Errors
    /// [`NameError`], the first that was met.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Labels, NameError> {
        let mut pairs: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        if pairs.len() > LABELS_MAX {
            return Err(NameError::TooMany(pairs.len()));
        }
        pairs.sort();
        for (name, value) in &pairs {
            check_label_name(name)?;
            if value.len() > LABEL_VALUE_MAX_BYTES {
                return Err(NameError::LabelValue { name: name.clone(), len: value.len() });
            }
            if name == METRIC_NAME && !is_metric_name(value) {
                return Err(NameError::MetricName(value.clone()));
            }
        }
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(NameError::Twice(pair[0].0.clone()));
        }
        Ok(Labels(pairs))
    }

    /// A series' labels: `name` and the rest.
    ///
    /// # Errors
    /// As [`Labels::new`], and [`NameError::MetricName`].
    pub fn series(name: &str, rest: &[(&str, &str)]) -> Result<Labels, NameError> {
        if !is_metric_name(name) {
            return Err(NameError::MetricName(name.to_owned()));
        }
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Labels::new(rest.iter().map(own).chain([(METRIC_NAME.to_owned(), name.to_owned())]))
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(own, _)| own.as_str().cmp(name)).ok()?;
        Some(self.0[at].1.as_str())
    }

    /// The metric's name, if these are a series' labels.
    pub fn metric(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// All pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These labels with `others` laid over them.
    ///
    /// # Errors
    /// As [`Labels::new`].
    pub fn with(&self, others: &[(&str, &str)]) -> Result<Labels, NameError> {
        let kept = self.0.iter().filter(|(name, _)| others.iter().all(|(other, _)| other != name)).cloned();
        let new = others.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Labels::new(kept.chain(new))
    }
}

impl TryFrom<Vec<(String, String)>> for Labels {
    type Error = NameError;
    fn try_from(pairs: Vec<(String, String)>) -> Result<Self, NameError> {
        Labels::new(pairs)
    }
}

impl From<Labels> for Vec<(String, String)> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

/// `name{label="value", …}`, values escaped; just `{…}` without a metric name.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric().unwrap_or(""))?;
        let mut rest = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        if rest.peek().is_none() {
            return if self.metric().is_some() { Ok(()) } else { f.write_str("{}") };
        }
        f.write_str("{")?;
        while let Some((name, value)) = rest.next() {
            write!(f, "{name}={value:?}")?;
            if rest.peek().is_some() {
                f.write_str(",")?;
            }
        }
        f.write_str("}")
    }
}

fn check_label_name(name: &str) -> Result<(), NameError> {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !first || name.len() > LABEL_NAME_MAX_BYTES || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(NameError::LabelName(name.to_owned()));
    }
    Ok(())
}

/// True for `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_metric_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '_' | ':'))
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_shown_as_prometheus_does() {
        let labels = Labels::series("node_load1", &[("zone", "b"), ("host", "we\"b")]).unwrap();
        assert_eq!(labels.to_string(), r#"node_load1{host="we\"b",zone="b"}"#);
        assert_eq!(labels.get("zone"), Some("b"));
        assert_eq!(labels.metric(), Some("node_load1"));
    }

    #[test]
    fn limits_hold_at_the_limit_and_break_one_over() {
        let pairs = |n: usize| (0..n).map(|i| (format!("l{i}"), "v".to_owned())).collect::<Vec<_>>();
        assert!(Labels::new(pairs(LABELS_MAX)).is_ok());
        assert_eq!(Labels::new(pairs(LABELS_MAX + 1)), Err(NameError::TooMany(LABELS_MAX + 1)));
        let value = |n: usize| Labels::new([("a".to_owned(), "x".repeat(n))]);
        assert!(value(LABEL_VALUE_MAX_BYTES).is_ok());
        assert!(value(LABEL_VALUE_MAX_BYTES + 1).is_err());
        let name = |n: usize| Labels::new([("x".repeat(n), "v".to_owned())]);
        assert!(name(LABEL_NAME_MAX_BYTES).is_ok());
        assert!(name(LABEL_NAME_MAX_BYTES + 1).is_err());
        assert!(AgentId::parse(&"a".repeat(AGENT_ID_MAX_BYTES)).is_ok());
        assert!(AgentId::parse(&"a".repeat(AGENT_ID_MAX_BYTES + 1)).is_err());
    }

    #[test]
    fn twice_and_malformed_are_refused() {
        let twice = [("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        assert_eq!(Labels::new(twice), Err(NameError::Twice("a".to_owned())));
        assert!(Labels::new([("1a".to_owned(), "1".to_owned())]).is_err());
        assert!(Labels::series("a-b", &[]).is_err());
        for text in ["web 1", "", ".", "..", ".web1", "web1."] {
            assert!(AgentId::parse(text).is_err(), "{text:?}");
        }
        assert!(AgentId::parse("..").unwrap_err().to_string().contains("neither begin nor end with a dot"));
        assert!(AgentId::parse("web1.example..org").is_ok());
        assert_eq!(AgentId::parse_own("collector"), Err(NameError::Reserved));
    }
}
