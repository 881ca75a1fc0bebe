//! What to do, with the item's own names in it: `du -xh {{ labels.mountpoint }}`.
//!
//! Every item of every board has one, and a board is drawn each second: so names are
//! replaced and nothing else is, no filters and no conditions, as titles have them.

use crate::rule::Rule;
use signalbox_proto::names::Labels;

/// What may stand between braces.
pub(crate) const NAMES: &str = "labels.NAME, entity, host, rule";
/// The label that ingest gives every series.
const HOST: &str = "host";

/// A piece of a text.
enum Part<'t> {
    Words(&'t str),
    Name(&'t str),
}

/// The text's pieces; braces that do not close are words.
fn parts(mut rest: &str) -> impl Iterator<Item = Part<'_>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let named = |text: &'_ str| text.strip_prefix("{{").and_then(|text| text.split_once("}}")).is_some();
        if named(rest)
            && let Some((name, after)) = rest[2..].split_once("}}")
        {
            rest = after;
            return Some(Part::Name(name.trim()));
        }
        // A pair that does not close is passed over.
        let end = rest.char_indices().skip(1).map(|(at, _)| at).find(|at| rest[*at..].starts_with("{{"));
        let (words, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(Part::Words(words))
    })
}

/// The rule's text for one item. A label that is missing is written as its name, so
/// that a command line does not silently do something else.
pub(crate) fn of_item(rule: &Rule, entity: &str, labels: &Labels) -> String {
    if !rule.sop.contains("{{") {
        return rule.sop.clone();
    }
    let mut text = String::with_capacity(rule.sop.len());
    for part in parts(&rule.sop) {
        match part {
            Part::Words(words) => text.push_str(words),
            Part::Name("entity") => text.push_str(entity),
            Part::Name("rule") => text.push_str(&rule.id),
            Part::Name(HOST) => text.push_str(labels.get(HOST).unwrap_or("HOST")),
            Part::Name(name) => {
                let label = name.strip_prefix("labels.").unwrap_or(name);
                text.push_str(labels.get(label).unwrap_or(label));
            }
        }
    }
    text
}

/// The first name that no item has, if there is one.
pub(crate) fn unknown_name(text: &str) -> Option<&str> {
    parts(text).find_map(|part| match part {
        Part::Name("entity" | "rule" | HOST) | Part::Words(_) => None,
        Part::Name(name) => name.strip_prefix("labels.").is_none_or(str::is_empty).then_some(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let names = parts(text).map(|part| match part {
            Part::Words(words) => words.to_owned(),
            Part::Name(name) => format!("<{name}>"),
        });
        names.collect()
    }

    #[test]
    fn names_between_braces_are_found_and_braces_that_do_not_close_are_words() {
        for (text, wanted) in [
            ("du -xh {{ labels.mountpoint }} | sort", "du -xh <labels.mountpoint> | sort"),
            ("{{host}}{{entity}}", "<host><entity>"),
            ("awk '{ print $1 }' ü{{ x", "awk '{ print $1 }' ü{{ x"),
            ("{{", "{{"),
            ("{{{ rule }}", "<{ rule>"),
        ] {
            assert_eq!(filled(text), wanted);
        }
    }

    #[test]
    fn a_name_that_no_item_has_is_found() {
        assert_eq!(unknown_name("{{ labels.x }} {{ host }} {{ mountpoint }}"), Some("mountpoint"));
        assert_eq!(unknown_name("{{ labels. }}"), Some("labels."));
        assert_eq!(unknown_name("{{ labels.x }} {{ entity }} {{ rule }} { x }"), None);
    }
}
