//! `info(v, {…})`: labels of information series (`target_info` unless told
//! otherwise) joined to the series of `v` that have the same identity.

use crate::labels::Labels;
use signalbox_proto::names::METRIC_NAME;
use signalbox_proto::selector::Matcher;

/// The metric that is read when the query names none.
pub(crate) const DEFAULT_METRIC: &str = "target_info";
/// Labels that say whose information it is.
pub(crate) const IDENTITY: [&str; 2] = ["instance", "job"];

/// Which labels of information series are wanted.
#[derive(Debug)]
pub(crate) struct InfoLabels {
    /// Conditions on labels other than the metric's name; empty: all labels.
    pub matchers: Vec<Matcher>,
}

impl InfoLabels {
    /// A series with the wanted labels of its information that it has not got itself.
    pub(crate) fn joined(&self, base: &Labels, info: &Labels) -> Labels {
        let wanted = |name: &str| {
            name != METRIC_NAME
                && !IDENTITY.contains(&name)
                && base.get(name).is_none()
                && (self.matchers.is_empty() || self.matchers.iter().any(|matcher| matcher.label == name))
        };
        Labels::new(base.iter().chain(info.iter().filter(|(name, _)| wanted(name))))
    }

    /// Whether a series may stay although it has no information: every condition accepts absence.
    pub(crate) fn accept_none(&self) -> bool {
        self.matchers.iter().all(|matcher| matcher.test.accepts(""))
    }
}
