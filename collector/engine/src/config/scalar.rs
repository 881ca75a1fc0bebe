//! Reading of single values: text, words of a fixed set, spans, numbers, lists.

use super::node::{Located, Node, Value};
use super::report::{Report, suggest};
use signalbox_proto::status::{Layer, Level};
use signalbox_proto::text::parse_span;
use signalbox_proto::units::Millis;

/// Longest clock of a rule.
pub(super) const CLOCK_MAX: Millis = Millis(24 * 3_600_000);

/// Layers by their word.
pub(super) const LAYERS: &[(&str, Layer)] = &[
    ("machine", Layer::Machine),
    ("application", Layer::Application),
    ("business", Layer::Business),
    ("middleware", Layer::Middleware),
];

/// Levels that something can begin at.
pub(super) const BAD_LEVELS: &[(&str, Level)] = &[("amber", Level::Amber), ("red", Level::Red)];

/// A single value that is not empty.
pub(super) fn text<'n>(node: &'n Node, key: &str, report: &mut Report) -> Option<&'n str> {
    match &node.value {
        Value::Scalar(text) if !text.trim().is_empty() => return Some(text),
        Value::Scalar(_) | Value::Null => {
            report.error(node.at, format!("`{key}` is empty"), "give it a value or remove the key");
        }
        Value::Map(_) if key != "sop" => {
            let message = format!("`{key}` must be a single value, found a mapping");
            report.error(node.at, message, "quote text that begins with { or holds \": \"");
        }
        other => {
            let message = format!("`{key}` must be a single value, found {}", other.kind());
            report.error(node.at, message, "write one value; quote text that begins with { or [");
        }
    }
    None
}

/// As [`text`], owned and with its place.
pub(super) fn located(node: &Node, key: &str, report: &mut Report) -> Option<Located<String>> {
    text(node, key, report).map(|text| Located { value: text.trim().to_owned(), at: node.at })
}

/// One of a fixed set of words.
pub(super) fn word<T: Copy>(node: &Node, key: &str, words: &[(&str, T)], report: &mut Report) -> Option<Located<T>> {
    let found = text(node, key, report)?.trim();
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == found) {
        return Some(Located { value: *value, at: node.at });
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let message = format!("`{key}: {found}` is none of {}", all.join(", "));
    report.error(node.at, message, suggest(found, all));
    None
}

/// A span with its unit, at most `max`.
pub(super) fn span(node: &Node, key: &str, max: Millis, report: &mut Report) -> Option<Located<Millis>> {
    match parse_span(text(node, key, report)?) {
        Ok(span) if span > max => {
            let message = format!("`{key}`: {span} is over the limit of {max}");
            report.error(node.at, message, format!("write at most {max}"));
            None
        }
        Ok(span) => Some(Located { value: span, at: node.at }),
        Err(error) => {
            report.error(node.at, format!("`{key}`: {error}"), "use the units ms, s, m, h, d, w");
            None
        }
    }
}

/// A whole number from `min` to `max`.
pub(super) fn whole(node: &Node, key: &str, min: u32, max: u32, report: &mut Report) -> Option<Located<u32>> {
    let found = text(node, key, report)?;
    match found.trim().parse::<u32>() {
        Ok(value) if (min..=max).contains(&value) => Some(Located { value, at: node.at }),
        _ => {
            let message = format!("`{key}: {found}` is not a whole number from {min} to {max}");
            report.error(node.at, message, format!("write for example `{key}: {min}`"));
            None
        }
    }
}

/// The items of a list; nothing is an empty list.
pub(super) fn list<'n>(node: &'n Node, key: &str, report: &mut Report) -> Vec<&'n Node> {
    match &node.value {
        Value::List(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        other => {
            let message = format!("`{key}` must be a list, found {}", other.kind());
            report.error(node.at, message, "begin each item with \"- \"");
            Vec::new()
        }
    }
}

/// A list of texts.
pub(super) fn texts(node: &Node, key: &str, report: &mut Report) -> Vec<Located<String>> {
    list(node, key, report).into_iter().filter_map(|item| located(item, key, report)).collect()
}
