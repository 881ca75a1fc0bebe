//! Strict reading of mappings: a key that nobody asked for is refused.

use super::node::{At, Located, Node, Value};
use super::report::{Report, suggest};

/// The entries of one mapping, while they are taken one by one.
pub(super) struct Fields<'n> {
    /// What the mapping describes, with its article: "a rule".
    what: &'static str,
    /// Where the mapping begins.
    pub(super) at: At,
    left: Vec<&'n (Located<String>, Node)>,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Opens a mapping; anything else is reported.
    pub(super) fn of(node: &'n Node, what: &'static str, report: &mut Report) -> Option<Fields<'n>> {
        if let Value::Map(entries) = &node.value {
            return Some(Fields { what, at: node.at, left: entries.iter().collect(), known: Vec::new() });
        }
        let message = format!("{what} must be a mapping, found {}", node.value.kind());
        report.error(node.at, message, "write it as `key: value` lines");
        None
    }

    /// The value of a key; from here on the key is known.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        let index = self.left.iter().position(|(name, _)| name.value == key)?;
        Some(&self.left.swap_remove(index).1)
    }

    /// The value of a key that must be there.
    pub(super) fn require(&mut self, key: &'static str, example: &str, report: &mut Report) -> Option<&'n Node> {
        let found = self.take(key);
        if found.is_none() {
            report.error(self.at, format!("{} has no `{key}`", self.what), format!("write for example `{example}`"));
        }
        found
    }

    /// Refuses what is left over.
    pub(super) fn finish(self, report: &mut Report) {
        let mut left = self.left;
        left.sort_by_key(|(name, _)| name.at);
        for (name, _) in left {
            let remedy = match self.known.contains(&name.value.as_str()) {
                true => "keep one of the two".to_owned(),
                false => suggest(&name.value, self.known.iter().copied()),
            };
            report.error(name.at, format!("{} has no key `{}`", self.what, name.value), remedy);
        }
    }

    /// Accepts what is left over: somebody else reads it.
    pub(super) fn ignore_rest(self) {}
}
