//! Labels of a selected series, shared with the index.

use std::sync::Arc;

/// Name and value of each label, sorted by name. A copy is a pointer; no text is
/// copied from the index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSet(Arc<[(Arc<str>, Arc<str>)]>);

impl LabelSet {
    pub(crate) fn of(pairs: impl Iterator<Item = (Arc<str>, Arc<str>)>) -> LabelSet {
        LabelSet(pairs.collect())
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        let at = self.0.binary_search_by(|(own, _)| (**own).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// All pairs, sorted by name.
    pub fn pairs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0
    }
}

impl From<&signalbox_proto::names::Labels> for LabelSet {
    fn from(labels: &signalbox_proto::names::Labels) -> LabelSet {
        LabelSet::of(labels.iter().map(|(name, value)| (Arc::from(name), Arc::from(value))))
    }
}
