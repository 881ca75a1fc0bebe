//! Names and sentences: item ids, reasons, titles.

use crate::rule::{Condition, Judgement, Rule};
use crate::track::Track;
use minijinja::context;
use signalbox_proto::metric::Unit;
use signalbox_proto::names::{AgentId, Labels, METRIC_NAME};
use signalbox_proto::status::{Freshness, Layer, Level};
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Characters of a title; what is longer is cut.
const TITLE_MAX_CHARS: usize = 200;
/// Whole numbers below are exact.
const WHOLE_MAX: f64 = 1e15;
/// Bytes around a label's name and value: `,="` and `"`.
const LABEL_MARKS: usize = 4;
/// Bytes of a usual sentence about an item.
const WHY_BYTES: usize = 64;
/// The label that makes a series one of a watched process.
const WATCH: &str = "watch";
/// The label that ingest gives every series.
const HOST: &str = "host";

/// The watched process that a series is about, if any.
pub(crate) fn watch_of(labels: &Labels) -> Option<&str> {
    labels.get(WATCH)
}

/// `process/<agent>/<watch>` for series of a watched process, else `host/<agent>`.
pub(crate) fn entity_of(agent: &AgentId, labels: &Labels) -> String {
    match watch_of(labels) {
        Some(watch) => format!("process/{agent}/{watch}"),
        None => format!("host/{agent}"),
    }
}

/// `host/web1:filesystem-full{mountpoint="/"}`: the labels that the entity's name
/// does not say already. The metric is named where a rule judges several.
pub(crate) fn item_id(entity: &str, rule: &Rule, labels: &Labels) -> String {
    let host = entity.split('/').nth(1);
    // A source that writes for many hosts is the host of none of them.
    let implied = |name: &str, value: &str| {
        name == METRIC_NAME || name == WATCH || (name == HOST && host.is_none_or(|host| host == value))
    };
    let metric = if rule.selector.metric().is_none() { labels.metric() } else { None };
    let rest = labels.iter().filter(|(name, value)| !implied(name, value));
    let n_bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len() + LABEL_MARKS).sum();
    let mut id = String::with_capacity(entity.len() + rule.id.len() + n_bytes + 2 * LABEL_MARKS);
    id.extend([entity, ":", &rule.id]);
    let mut before = '{';
    for (name, value) in metric.map(|metric| ("metric", metric)).into_iter().chain(rest) {
        write!(id, "{before}{name}={value:?}").expect("writing to memory cannot fail");
        before = ',';
    }
    if before == ',' {
        id.push('}');
    }
    id
}

/// The unit of a series.
pub(crate) fn unit_of(labels: &Labels) -> Unit {
    labels.metric().map(Unit::of).unwrap_or_default()
}

/// Labels without the metric's name, for people.
pub(crate) fn plain_labels(labels: &Labels) -> BTreeMap<String, String> {
    let mut plain = BTreeMap::new();
    // Not collected: that would sort them in a buffer first, and boards are full of these.
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        plain.insert(name.to_owned(), value.to_owned());
    }
    plain
}

/// `14:03:07 UTC`: within a sentence; tools show whole dates beside it.
pub(crate) fn clock_time(at: UnixMillis) -> String {
    let secs = at.0.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02} UTC", secs / 3600, secs / 60 % 60, secs % 60)
}

/// A value of a metric, with the unit that the metric's name says.
pub(crate) fn measured(value: f64, unit: Unit) -> String {
    unit.show(value, number)
}

/// At most four digits behind the point, none that say nothing.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
        #[allow(clippy::cast_possible_truncation, reason = "whole and small enough")]
        return (value as i64).to_string();
    }
    let text = format!("{value:.4}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `>= 95 %`, `outside 1 to 3`.
pub(crate) fn condition(condition: Condition, unit: Unit) -> String {
    let number = |x| measured(x, unit);
    match condition {
        Condition::Above(x) => format!("> {}", number(x)),
        Condition::AtLeast(x) => format!(">= {}", number(x)),
        Condition::Below(x) => format!("< {}", number(x)),
        Condition::AtMost(x) => format!("<= {}", number(x)),
        Condition::Outside(low, high) => format!("outside {} to {}", number(low), number(high)),
        Condition::Inside(low, high) => format!("inside {} to {}", number(low), number(high)),
    }
}

/// The bad values of a level, in words.
fn threshold(how: &Judgement, level: Level, unit: Unit) -> Option<String> {
    let threshold = match level {
        Level::Green => None,
        Level::Amber => how.amber,
        Level::Red => how.red,
    };
    threshold.map(|threshold| condition(threshold.bad, unit))
}

/// The level that people see: two-colour rules show amber as green.
pub(crate) fn shown(how: &Judgement, level: Level) -> Level {
    if how.red_green && level == Level::Amber { Level::Green } else { level }
}

/// What to compare a value with, at a level: `; amber is >= 80, red is >= 90`.
pub(crate) fn limits(how: &Judgement, level: Level, unit: Unit) -> String {
    match threshold(how, level, unit) {
        Some(limit) => format!("; {level} is {limit}"),
        None => match (threshold(how, Level::Amber, unit), threshold(how, Level::Red, unit)) {
            (Some(amber), Some(red)) => format!("; amber is {amber}, red is {red}"),
            (Some(limit), None) => format!("; amber is {limit}"),
            (None, Some(limit)) => format!("; red is {limit}"),
            (None, None) => String::new(),
        },
    }
}

/// One sentence: value, threshold, clocks.
pub(crate) fn why(track: &Track, how: &Judgement, unit: Unit, freshness: Freshness, seen: UnixMillis) -> String {
    why_within(&limits(how, track.held(), unit), (track.value(), unit), track, how, freshness, seen)
}

/// [`why`], with the words of [`limits`] and the value at hand.
pub(crate) fn why_within(
    limits: &str,
    (value, unit): (Option<f64>, Unit),
    track: &Track,
    how: &Judgement,
    freshness: Freshness,
    seen: UnixMillis,
) -> String {
    if freshness == Freshness::Unknown {
        return "never sampled".to_owned();
    }
    let mut text = String::with_capacity(WHY_BYTES);
    text.push_str(&value.map_or_else(|| "no value".to_owned(), |value| measured(value, unit)));
    text.push_str(limits);
    if track.is_flapping() {
        text.push_str(", flapping: pinned at its worst");
    } else if let Some(pending) = track.pending(how, freshness.is_grey()) {
        let (held, target) = (track.held(), pending.target);
        text.push_str(&format!(", {held} but {target} since {}", clock_time(pending.since)));
        let verb = if target > held { "raises" } else { "clears" };
        match pending.due {
            Some(due) => text.push_str(&format!(", {verb} at {}", clock_time(due))),
            None => text.push_str(", its clock is paused"),
        }
    }
    if freshness.is_grey() {
        text.push_str(&format!(", no sample since {}", clock_time(seen)));
    }
    text
}

/// What a title is made of.
pub(crate) struct TitleFacts<'a> {
    pub(crate) entity: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) level: Level,
    pub(crate) value: Option<f64>,
    pub(crate) owner: &'a str,
    pub(crate) layer: Layer,
}

/// The rule's summary, filled in. A template that fails must not hide an incident:
/// then the rule's id and the reason stand for it.
pub(crate) fn title(rule: &Rule, facts: &TitleFacts<'_>, why: &str) -> String {
    let filled = crate::config::summary::environment().render_str(
        &rule.summary,
        context! {
            entity => facts.entity,
            host => facts.labels.get(HOST),
            labels => facts.labels,
            level => facts.level.word(),
            rule => rule.id.as_str(),
            value => facts.value,
            owner => facts.owner,
            layer => facts.layer.word(),
        },
    );
    let text = match filled {
        Ok(text) if !text.trim().is_empty() => text,
        _ => format!("{} on {}: {why}", rule.id, facts.entity),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TITLE_MAX_CHARS).collect()
}
