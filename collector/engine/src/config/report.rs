//! Findings with their place, the offending line and a remedy.

use super::FINDINGS_MAX;
use super::node::At;
use signalbox_proto::api::Finding;
use signalbox_proto::near::nearest;
use std::collections::BTreeMap;

/// Longest part of a line that is shown, characters.
const SNIPPET_MAX_CHARS: usize = 120;

/// Most known words that a misspelt one is compared with: bounds the time of a
/// check of very large files.
const CANDIDATES_MAX: usize = 2000;

/// Collects what is found, with the files at hand to show the lines.
pub(super) struct Report<'a> {
    files: Vec<(&'a str, Vec<&'a str>)>,
    findings: Vec<Finding>,
    n_over: usize,
    n_errors: usize,
    /// Where a value is used, when that is not where it stands: rules by template.
    pub(super) used_by: Option<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(files: &'a BTreeMap<String, String>) -> Report<'a> {
        let files = files.iter().map(|(name, text)| (name.as_str(), text.lines().collect())).collect();
        Report { files, findings: Vec::new(), n_over: 0, n_errors: 0, used_by: None }
    }

    /// The files are refused.
    pub(super) fn error(&mut self, at: At, message: impl AsRef<str>, remedy: impl Into<String>) {
        self.push(true, at, message.as_ref(), remedy.into());
    }

    /// Worth a look.
    pub(super) fn warn(&mut self, at: At, message: impl AsRef<str>, remedy: impl Into<String>) {
        self.push(false, at, message.as_ref(), remedy.into());
    }

    /// The whole file is refused.
    pub(super) fn whole_file(&mut self, file: usize, message: impl AsRef<str>, remedy: &str) {
        self.error(At { file, line: 0, column: 0 }, message, remedy);
    }

    /// About all files together.
    pub(super) fn general(&mut self, error: bool, message: impl Into<String>, remedy: &str) {
        self.n_errors += usize::from(error);
        let (message, remedy) = (message.into(), remedy.to_owned());
        self.findings.push(Finding { error, file: String::new(), line: 0, column: 0, message, remedy });
    }

    /// An error at a character (from 0) inside a text that stands at `at`: points
    /// into the line when the text stands there as it is.
    pub(super) fn error_inside(&mut self, at: At, text: &str, offset_chars: usize, message: &str, remedy: &str) {
        let mut place = at;
        let line: String = self.line(at).chars().skip(at.column.saturating_sub(1)).collect();
        if let Some(start) = line.find(text) {
            place.column += line[..start].chars().count() + offset_chars;
        }
        self.error(place, message, remedy);
    }

    /// True when another finding would only be counted.
    pub(super) fn is_full(&self) -> bool {
        self.findings.len() >= FINDINGS_MAX
    }

    pub(super) fn file_name(&self, file: usize) -> &'a str {
        self.files.get(file).map_or("", |(name, _)| name)
    }

    /// `rules.yaml:7`, to point from one finding to another place.
    pub(super) fn place(&self, at: At) -> String {
        format!("{}:{}", self.file_name(at.file), at.line)
    }

    pub(super) fn has_errors(&self) -> bool {
        self.n_errors > 0
    }

    /// Errors first, then by file and line.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        if self.n_over > 0 {
            let message = format!("{} more findings are over the limit of {FINDINGS_MAX}", self.n_over);
            self.general(self.n_errors > 0, message, "mend the first ones and check again");
        }
        self.findings.sort_by(|a, b| {
            let key = |f: &Finding| (!f.error, f.file.is_empty(), f.line, f.column);
            (!a.error, a.file.is_empty(), &a.file)
                .cmp(&(!b.error, b.file.is_empty(), &b.file))
                .then(key(a).cmp(&key(b)))
        });
        self.findings
    }

    fn push(&mut self, error: bool, at: At, message: &str, remedy: String) {
        self.n_errors += usize::from(error);
        let used_by = self.used_by.as_ref().map(|user| format!(" ({user})")).unwrap_or_default();
        let message = format!("{message}{used_by}{}", self.snippet(at));
        let file = self.file_name(at.file).to_owned();
        let finding = Finding { error, file, line: at.line, column: at.column, message, remedy };
        if self.findings.contains(&finding) {
            return;
        }
        if self.is_full() {
            self.n_over += 1;
        } else {
            self.findings.push(finding);
        }
    }

    fn line(&self, at: At) -> &'a str {
        let lines = self.files.get(at.file).map(|(_, lines)| lines);
        lines.and_then(|lines| lines.get(at.line.checked_sub(1)?).copied()).unwrap_or("")
    }

    /// The offending line with its number and a mark under the column.
    fn snippet(&self, at: At) -> String {
        let line: String = self.line(at).chars().take(SNIPPET_MAX_CHARS).collect();
        if line.trim().is_empty() {
            return String::new();
        }
        let gutter = " ".repeat(at.line.to_string().len());
        let under = at.column.saturating_sub(1);
        let mark = if under < SNIPPET_MAX_CHARS {
            let space: String = line.chars().chain(std::iter::repeat(' ')).take(under).map(blank).collect();
            format!("\n{gutter} | {space}^")
        } else {
            String::new()
        };
        format!("\n{} | {line}{mark}", at.line)
    }
}

/// Keeps tabs, so that the mark stays under its column.
fn blank(c: char) -> char {
    if c == '\t' { '\t' } else { ' ' }
}

/// "did you mean …?" when a known word is near, else all known words.
pub(super) fn suggest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> String {
    let mut known: Vec<&str> = known.into_iter().take(CANDIDATES_MAX).collect();
    if let Some(near) = nearest(word, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    known.sort_unstable();
    match known.len() {
        0 => "none is defined".to_owned(),
        1..=40 => format!("known here: {}", known.join(", ")),
        n => format!("known here: {} and {} more", known[..40].join(", "), n - 40),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        assert_eq!(suggest("raise_four", ["raise_for", "clear_for"]), "did you mean `raise_for`?");
        assert_eq!(suggest("color", ["red", "amber"]), "known here: amber, red");
    }
}
