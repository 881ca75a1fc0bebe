//! What stands before the grammar: hostile or unlucky texts are refused while
//! they are still text, so that nothing behind has to survive them.
//!
//! One pass over the characters finds strings, comments, words and brackets. It
//! bounds size and nesting (the grammar's tree is walked recursively), compiles
//! regular expressions under a limit, checks plain numbers where a duration
//! stands, and writes raw strings as quoted ones, which the grammar's lexer
//! reads wrongly.

use crate::error::Error;
use crate::limits::{DEPTH_MAX, PATTERNS_MAX, SPAN_MAX, TEXT_MAX_BYTES, TOKENS_MAX};
use promql_parser::util::unquote_string;
use signalbox_proto::selector::Pattern;

/// The text for the grammar.
///
/// # Errors
/// [`Error::BadData`].
pub(super) fn admit(text: &str) -> Result<String, Error> {
    if text.len() > TEXT_MAX_BYTES {
        let n = text.len();
        return Err(Error::parse(format!("{n} bytes of text are over the limit of {TEXT_MAX_BYTES}")));
    }
    let mut guard = Guard { rest: text, out: String::with_capacity(text.len()), ..Guard::default() };
    while guard.token()? {}
    guard.leave_level();
    if guard.deepest > DEPTH_MAX {
        return Err(too_deep());
    }
    Ok(guard.out)
}

/// Says more where the grammar's word is not enough.
pub(super) fn hint(why: String) -> String {
    if why.contains("'holt_winters'") {
        return format!("{why}: it is called double_exponential_smoothing since Prometheus 3");
    }
    why
}

fn too_deep() -> Error {
    Error::parse(format!("operators and parentheses are nested deeper than the limit of {DEPTH_MAX}"))
}

#[derive(Default)]
struct Guard<'a> {
    rest: &'a str,
    out: String,
    n_tokens: usize,
    n_patterns: usize,
    /// Operators of the open levels, and the depth of the deepest closed one within each.
    levels: Vec<Level>,
    level: Level,
    deepest: usize,
    /// What came before decides what a number or a string is.
    before: Before,
    in_brackets: bool,
}

#[derive(Default, Clone, Copy)]
struct Level {
    n_operators: usize,
    deepest: usize,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Before {
    #[default]
    Other,
    /// A duration comes next.
    Duration,
    /// A regular expression comes next.
    Pattern,
}

impl<'a> Guard<'a> {
    /// Takes one token; false at the end.
    fn token(&mut self) -> Result<bool, Error> {
        let Some(c) = self.rest.chars().next() else { return Ok(false) };
        if c.is_ascii_whitespace() {
            self.keep(1);
            return Ok(true);
        }
        self.n_tokens += 1;
        if self.n_tokens > TOKENS_MAX {
            return Err(Error::parse(format!("more than the limit of {TOKENS_MAX} words and signs")));
        }
        let before = std::mem::take(&mut self.before);
        match c {
            '#' => {
                let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
                // A comment is as good as a space, and what follows it as what precedes it.
                self.out.push(' ');
                self.rest = &self.rest[end..];
                self.before = before;
            }
            '"' | '\'' | '`' => self.string(c, before)?,
            _ if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':') => self.word(before)?,
            _ => self.sign(c, before)?,
        }
        Ok(true)
    }

    fn keep(&mut self, n_bytes: usize) -> &'a str {
        let (token, rest) = self.rest.split_at(n_bytes);
        self.out.push_str(token);
        self.rest = rest;
        token
    }

    fn sign(&mut self, c: char, before: Before) -> Result<(), Error> {
        match c {
            '(' => {
                self.levels.push(std::mem::take(&mut self.level));
                if self.levels.len() > DEPTH_MAX {
                    return Err(too_deep());
                }
            }
            ')' => self.leave_level(),
            ',' => {
                self.level.deepest = self.level.deepest.max(self.level.n_operators);
                self.level.n_operators = 0;
            }
            '[' => (self.in_brackets, self.before) = (true, Before::Duration),
            ']' => self.in_brackets = false,
            '+' | '-' if before == Before::Duration => self.before = before,
            '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '@' => self.level.n_operators += 1,
            '=' | '!' => {
                self.level.n_operators += 1;
                if self.rest[1..].starts_with('~') {
                    self.before = Before::Pattern;
                    self.keep(1);
                }
            }
            _ => {}
        }
        let next = self.rest.chars().next().map_or(0, char::len_utf8);
        self.keep(next);
        Ok(())
    }

    /// A closed level is as deep as its operators and what is nested in it.
    fn leave_level(&mut self) {
        let depth = self.level.n_operators + self.level.deepest + 1;
        self.level = self.levels.pop().unwrap_or_default();
        self.level.deepest = self.level.deepest.max(depth);
        self.deepest = self.deepest.max(depth);
    }

    fn word(&mut self, before: Before) -> Result<(), Error> {
        let more = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':');
        let mut end = self.rest.find(|c| !more(c)).unwrap_or(self.rest.len());
        if self.in_brackets {
            // `[5m:1m]` is three tokens.
            match self.rest[..end].find(':') {
                Some(0) => {
                    self.keep(1);
                    self.before = Before::Duration;
                    return Ok(());
                }
                Some(colon) => end = colon,
                None => {}
            }
        }
        let word = self.keep(end);
        if before == Before::Duration {
            check_duration(word)?;
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            check_units(word)?;
        }
        match word.to_ascii_lowercase().as_str() {
            "offset" => {
                self.before = Before::Duration;
                self.level.n_operators += 1;
            }
            "and" | "or" | "unless" | "atan2" => self.level.n_operators += 1,
            _ => {}
        }
        Ok(())
    }

    fn string(&mut self, quote: char, before: Before) -> Result<(), Error> {
        let (mut escaped, mut cut) = (false, false);
        let end = self.rest[1..].find(|c: char| {
            let ends = c == quote && !escaped;
            // The grammar's crate cuts a letter in two that is escaped and not ASCII.
            cut |= escaped && !c.is_ascii();
            escaped = c == '\\' && !escaped && quote != '`';
            ends
        });
        let end = end.ok_or_else(|| Error::parse(format!("unterminated quoted string {quote}")))? + 2;
        let (literal, rest) = self.rest.split_at(end);
        self.rest = rest;
        if cut {
            return Err(Error::parse(format!("string {literal}: unknown escape sequence")));
        }
        let text = unquote_string(literal).map_err(|why| Error::parse(format!("string {literal}: {why}")))?;
        if before == Before::Pattern {
            self.n_patterns += 1;
            if self.n_patterns > PATTERNS_MAX {
                return Err(Error::parse(format!("more than the limit of {PATTERNS_MAX} regular expressions")));
            }
            Pattern::new(&text).map_err(Error::parse)?;
        }
        if quote == '`' {
            // Only these must be escaped between double quotes.
            self.out.push('"');
            for c in text.chars() {
                match c {
                    '"' => self.out.push_str("\\\""),
                    '\\' => self.out.push_str("\\\\"),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        } else {
            self.out.push_str(literal);
        }
        Ok(())
    }
}

/// A plain number where a duration stands is seconds; the grammar panics beyond what it can hold.
fn check_duration(word: &str) -> Result<(), Error> {
    let seconds_max = SPAN_MAX.0 as f64 / 1000.0;
    match word.parse::<f64>() {
        Ok(seconds) if !(0.0..=seconds_max).contains(&seconds) => {
            Err(Error::parse(format!("duration {word:?} out of range")))
        }
        _ => Ok(()),
    }
}

/// The grammar takes a part of a duration that overflows for zero.
fn check_units(word: &str) -> Result<(), Error> {
    const DIGITS_MAX: usize = 9;
    let is_duration = word.ends_with(['s', 'm', 'h', 'd', 'w', 'y']) && word.chars().all(|c| c.is_ascii_alphanumeric());
    let long = word.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > DIGITS_MAX);
    if is_duration && long && !word.starts_with("0x") {
        return Err(Error::parse(format!("duration {word:?} out of range")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
