//! A YAML file as a tree in which every key and value knows its place.

use super::report::Report;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// Deepest nesting: rules need five; bounds recursion.
const DEPTH_MAX: usize = 24;

/// What mends nearly every fault of syntax.
const SYNTAX_REMEDY: &str =
    "mend the indentation, or quote text that begins with one of > @ { [ * & ! % ` or holds \": \"";

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// Index of the file, in order of names.
    pub(super) file: usize,
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
}

/// A value and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: At,
}

/// One value of the tree.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: At,
}

/// Numbers and truth values are kept as text: each key knows how to read its own.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(Located<String>, Node)>),
}

impl Value {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Reads one file; a fault of its syntax is reported.
pub(super) fn read(file: usize, text: &str, report: &mut Report) -> Option<Node> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
    };
    if !text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        return Some(Node { value: Value::Null, at: At { file, line: 1, column: 1 } });
    }
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Some(place(raw, file)),
        Err(error) => {
            let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            let first = text.lines().next().unwrap_or("not understood");
            let fault = first.rsplit_once(" at line ").map_or(first, |(fault, _)| fault);
            let place = error.location().map_or(At { file, line: 0, column: 0 }, |location| at(file, location));
            let remedy = match fault.contains("limits breached") {
                true => "nest less deeply, and use fewer aliases",
                false => SYNTAX_REMEDY,
            };
            report.error(place, format!("not valid YAML: {fault}"), remedy);
            None
        }
    }
}

fn at(file: usize, location: serde_saphyr::Location) -> At {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    At { file, line: number(location.line()), column: number(location.column()) }
}

fn place(raw: Spanned<Raw>, file: usize) -> Node {
    let here = at(file, raw.referenced);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Scalar(text) => Value::Scalar(text),
        Raw::List(items) => Value::List(items.into_iter().map(|item| place(item, file)).collect()),
        Raw::Map(entries) => Value::Map(entries.into_iter().map(|(key, value)| entry(key, value, file)).collect()),
    };
    Node { value, at: here }
}

fn entry(key: Spanned<String>, value: Spanned<Raw>, file: usize) -> (Located<String>, Node) {
    (Located { at: at(file, key.referenced), value: key.value }, place(value, file))
}

enum Raw {
    Null,
    Scalar(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Raw, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}
