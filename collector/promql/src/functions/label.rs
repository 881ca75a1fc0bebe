//! `label_replace` and `label_join`: new labels from old ones.

use crate::labels::Labels;
use regex::Regex;

/// What is done to a label set.
#[derive(Debug)]
pub(crate) enum Relabel {
    Replace { target: String, replacement: String, source: String, regex: Regex },
    Join { target: String, separator: String, sources: Vec<String> },
}

impl Relabel {
    /// The new label set.
    pub(crate) fn apply(&self, labels: &Labels) -> Labels {
        match self {
            Relabel::Replace { target, replacement, source, regex } => {
                let Some(found) = regex.captures(labels.get(source).unwrap_or("")) else { return labels.clone() };
                let mut value = String::new();
                found.expand(replacement, &mut value);
                labels.with(target, &value)
            }
            Relabel::Join { target, separator, sources } => {
                let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or("")).collect();
                labels.with(target, &values.join(separator))
            }
        }
    }
}
