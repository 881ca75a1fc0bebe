//! Labels of a selected series, shared with the index.

use signalbox_proto::names::Labels;
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

    /// The same labels on their own.
    pub fn to_labels(&self) -> Labels {
        let labels = Labels::new(self.0.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        labels.expect("made of checked labels alone")
    }

    /// All pairs, sorted by name.
    pub fn pairs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0
    }
}

impl From<&Labels> for LabelSet {
    fn from(labels: &Labels) -> LabelSet {
        LabelSet::of(labels.iter().map(|(name, value)| (Arc::from(name), Arc::from(value))))
    }
}
