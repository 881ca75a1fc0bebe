//! What an answer says besides its numbers: warnings and infos, each once.

use crate::limits::ANNOTATIONS_MAX;
use std::collections::BTreeSet;

/// Warnings and infos, each text once, at most [`ANNOTATIONS_MAX`] of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    warnings: Kept,
    infos: Kept,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kept {
    texts: BTreeSet<String>,
    n_omitted: usize,
}

impl Annotations {
    /// The answer may not be what was meant.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.warnings.add(text.into());
    }

    /// The answer is right, and this is worth knowing.
    pub fn inform(&mut self, text: impl Into<String>) {
        self.infos.add(text.into());
    }

    /// All warnings, sorted; the last says how many were left out.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.shown("warning")
    }

    /// All infos, sorted; the last says how many were left out.
    pub fn infos(&self) -> Vec<String> {
        self.infos.shown("info")
    }
}

impl Kept {
    fn add(&mut self, text: String) {
        if self.texts.len() < ANNOTATIONS_MAX {
            self.texts.insert(text);
        } else if !self.texts.contains(&text) {
            self.n_omitted += 1;
        }
    }

    fn shown(&self, kind: &str) -> Vec<String> {
        let mut shown: Vec<String> = self.texts.iter().cloned().collect();
        if self.n_omitted > 0 {
            shown.push(format!("{} more {kind} annotations omitted", self.n_omitted));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_kept_once_and_the_rest_is_counted() {
        let mut annotations = Annotations::default();
        annotations.warn("a");
        annotations.warn("a");
        assert_eq!(annotations.warnings(), ["a"]);
        for n in 0..ANNOTATIONS_MAX + 3 {
            annotations.inform(format!("{n:03}"));
        }
        let infos = annotations.infos();
        assert_eq!(infos.len(), ANNOTATIONS_MAX + 1);
        assert_eq!(infos.last().map(String::as_str), Some("3 more info annotations omitted"));
    }
}
