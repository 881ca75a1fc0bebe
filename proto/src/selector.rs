//! `name{label="value",other=~"re.*"}`: PromQL's series selector.
//!
//! The subset is exact: what parses here means in PromQL what it means here.
//! Matching is on whole values, as in Prometheus.

use crate::names::{Labels, METRIC_NAME, is_metric_name};
use regex::Regex;
use std::fmt;
use thiserror::Error;

/// Compiled size of one regular expression, bytes: bounds memory and time.
const REGEX_SIZE_MAX_BYTES: usize = 1024 * 1024;

/// Why a selector was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// Text that does not fit the grammar.
    #[error("selector {text:?}: expected {expected} at character {at}")]
    Syntax {
        /// The whole selector.
        text: String,
        /// What would have been right.
        expected: &'static str,
        /// Where, from 1.
        at: usize,
    },
    /// A regular expression that does not compile or is too large.
    #[error("selector: regular expression {pattern:?}: {why}")]
    Pattern {
        /// The expression.
        pattern: String,
        /// What its compiler says.
        why: String,
    },
    /// It would select every series there is.
    #[error("selector {0:?} selects everything; name a metric or a label value")]
    Everything(String),
}

/// A checked series selector.
#[derive(Debug, Clone)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

/// One condition on one label.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// Label name; `__name__` for the metric.
    pub label: String,
    /// The condition.
    pub test: Test,
}

/// What a label's value must satisfy; an absent label has the value "".
#[derive(Debug, Clone)]
pub enum Test {
    /// `=`
    Is(String),
    /// `!=`
    IsNot(String),
    /// `=~`, anchored at both ends.
    Matches(Pattern),
    /// `!~`, anchored at both ends.
    MatchesNot(Pattern),
}

/// An anchored regular expression that remembers how it was written.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles, anchored at both ends.
    ///
    /// # Errors
    /// [`SelectorError::Pattern`].
    pub fn new(source: &str) -> Result<Pattern, SelectorError> {
        let build = |text: &str| regex::RegexBuilder::new(text).size_limit(REGEX_SIZE_MAX_BYTES).build();
        // The bare source first: `a)|(b` must not come to life inside the anchors.
        let built = build(source).and_then(|_| build(&format!("^(?s:{source})$")));
        match built {
            Ok(regex) => Ok(Pattern { source: source.to_owned(), regex }),
            Err(why) => Err(SelectorError::Pattern { pattern: source.to_owned(), why: why.to_string() }),
        }
    }

    /// True when the whole text matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl Selector {
    /// Parses and checks.
    ///
    /// # Errors
    /// [`SelectorError`].
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        let mut parser = Parser { text, at: 0 };
        let matchers = parser.selector()?;
        let selector = Selector { matchers };
        let narrow = |matcher: &Matcher| !matcher.test.accepts("");
        if !selector.matchers.iter().any(narrow) {
            return Err(SelectorError::Everything(text.to_owned()));
        }
        Ok(selector)
    }

    /// True when these labels satisfy every condition.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.test.accepts(labels.get(&matcher.label).unwrap_or("")))
    }

    /// The same selector with one more condition: the label has this value.
    #[must_use]
    pub fn narrowed(&self, label: &str, value: &str) -> Selector {
        let mut matchers = self.matchers.clone();
        matchers.push(Matcher { label: label.to_owned(), test: Test::Is(value.to_owned()) });
        Selector { matchers }
    }

    /// The conditions.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// The metric's name, when the selector demands exactly one.
    pub fn metric(&self) -> Option<&str> {
        self.matchers.iter().find_map(|matcher| match &matcher.test {
            Test::Is(name) if matcher.label == METRIC_NAME => Some(name.as_str()),
            _ => None,
        })
    }
}

impl Test {
    /// True when a label of this value passes.
    pub fn accepts(&self, value: &str) -> bool {
        match self {
            Test::Is(wanted) => value == wanted,
            Test::IsNot(unwanted) => value != unwanted,
            Test::Matches(pattern) => pattern.is_match(value),
            Test::MatchesNot(pattern) => !pattern.is_match(value),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric().unwrap_or(""))?;
        let named = |matcher: &&Matcher| !(matcher.label == METRIC_NAME && matches!(matcher.test, Test::Is(_)));
        let rest: Vec<String> = self.matchers.iter().filter(named).map(ToString::to_string).collect();
        if rest.is_empty() { Ok(()) } else { write!(f, "{{{}}}", rest.join(",")) }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op, value) = match &self.test {
            Test::Is(value) => ("=", value),
            Test::IsNot(value) => ("!=", value),
            Test::Matches(pattern) => ("=~", &pattern.source),
            Test::MatchesNot(pattern) => ("!~", &pattern.source),
        };
        write!(f, "{}{op}{value:?}", self.label)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<Vec<Matcher>, SelectorError> {
        self.space();
        let mut matchers = Vec::new();
        let name = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
        if !name.is_empty() {
            if !is_metric_name(name) {
                return Err(self.expected("a metric name"));
            }
            matchers.push(Matcher { label: METRIC_NAME.to_owned(), test: Test::Is(name.to_owned()) });
        }
        self.space();
        if self.eat("{") {
            self.space();
            while !self.eat("}") {
                matchers.push(self.matcher()?);
                self.space();
                if !self.eat(",") {
                    self.space();
                    if self.eat("}") {
                        break;
                    }
                    return Err(self.expected("\",\" or \"}\""));
                }
                self.space();
            }
        }
        self.space();
        if self.at < self.text.len() || matchers.is_empty() {
            return Err(self.expected("name{label=\"value\"} and nothing after it"));
        }
        Ok(matchers)
    }

    fn matcher(&mut self) -> Result<Matcher, SelectorError> {
        let label = self.word(|c| c.is_ascii_alphanumeric() || c == '_').to_owned();
        if label.is_empty() || label.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.expected("a label name"));
        }
        self.space();
        let op = ["=~", "!~", "!=", "="].into_iter().find(|op| self.eat(op));
        let op = op.ok_or_else(|| self.expected("one of = != =~ !~"))?;
        self.space();
        let value = self.quoted()?;
        let test = match op {
            "=" => Test::Is(value),
            "!=" => Test::IsNot(value),
            "=~" => Test::Matches(Pattern::new(&value)?),
            _ => Test::MatchesNot(Pattern::new(&value)?),
        };
        Ok(Matcher { label, test })
    }

    fn quoted(&mut self) -> Result<String, SelectorError> {
        let quote = ["\"", "'"].into_iter().find(|quote| self.eat(quote));
        let quote = quote.and_then(|quote| quote.chars().next()).ok_or_else(|| self.expected("a quoted value"))?;
        let mut value = String::new();
        while let Some(c) = self.next() {
            match c {
                _ if c == quote => return Ok(value),
                '\\' => match self.next() {
                    Some('n') => value.push('\n'),
                    Some('t') => value.push('\t'),
                    Some(c @ ('\\' | '"' | '\'')) => value.push(c),
                    _ => return Err(self.expected("one of \\\\ \\\" \\' \\n \\t")),
                },
                c => value.push(c),
            }
        }
        Err(self.expected("a closing quote"))
    }

    fn word(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn space(&mut self) {
        self.word(char::is_whitespace);
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn next(&mut self) -> Option<char> {
        let c = self.text[self.at..].chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn expected(&self, expected: &'static str) -> SelectorError {
        let at = self.text[..self.at].chars().count() + 1;
        SelectorError::Syntax { text: self.text.to_owned(), expected, at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, metric: &str, labels: &[(&str, &str)]) -> bool {
        Selector::parse(selector).unwrap().matches(&Labels::series(metric, labels).unwrap())
    }

    #[test]
    fn selectors_match_as_in_prometheus() {
        assert!(matches("up", "up", &[]));
        assert!(!matches("up", "down", &[]));
        assert!(matches(r#"up{job="a",zone!="x"}"#, "up", &[("job", "a")]));
        assert!(matches(r#"{__name__=~"node_.*", host="a"}"#, "node_load1", &[("host", "a")]));
        assert!(!matches(r#"up{job=~"a"}"#, "up", &[("job", "ab")]), "patterns are anchored");
        assert!(matches(r#"up{job!~"a|b"}"#, "up", &[("job", "c")]));
        assert!(matches("up { job = 'a b' , }", "up", &[("job", "a b")]));
    }

    #[test]
    fn faults_say_where() {
        let error = |text| Selector::parse(text).unwrap_err().to_string();
        assert_eq!(error("up{job}"), r#"selector "up{job}": expected one of = != =~ !~ at character 7"#);
        assert_eq!(error("up{job=\"a"), r#"selector "up{job=\"a": expected a closing quote at character 10"#);
        assert!(error("up{job=~\"(\"}").contains("regular expression \"(\""));
        assert!(error("{a!=\"b\"}").contains("selects everything"));
        assert!(error("").contains("expected name{label"));
        assert!(error("up > 3").contains("nothing after it"));
    }

    #[test]
    fn a_selector_prints_what_it_means() {
        let shown = Selector::parse("up{ b='c', a=~\"x.*\" }").unwrap().to_string();
        assert_eq!(shown, r#"up{b="c",a=~"x.*"}"#);
    }
}
