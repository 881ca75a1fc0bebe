//! How values become levels: the keys that templates, rules and overrides share.
//!
//! Each key is read on its own, raw ones are laid over each other (override over
//! rule over template), and only the whole is checked for contradictions.

use super::condition;
use super::fields::Fields;
use super::node::{At, Located, Node, Value};
use super::report::Report;
use super::scalar::{self, BAD_LEVELS, CLOCK_MAX};
use crate::rule::{Condition, Judgement, OnMissing, Threshold};
use signalbox_proto::status::Level;
use signalbox_proto::units::Millis;

/// Most samples that k-of-n looks back: each series keeps them.
const SAMPLES_MAX: u32 = 1000;
/// Most changes of a flapping rule: each series keeps their times.
const FLAP_CHANGES_MAX: u32 = 100;

const RAISE_AMBER: Millis = Millis::from_secs(60);
const RAISE_RED: Millis = Millis::from_secs(30);
const CLEAR: Millis = Millis::from_secs(120);
const NO_DATA: Millis = Millis::from_mins(5);
const FLAPPING: (u32, Millis) = (6, Millis::from_mins(30));

const ON_MISSING: &[(&str, OnMissing)] =
    &[("hold", OnMissing::Hold), ("amber", OnMissing::Amber), ("red", OnMissing::Red), ("ok", OnMissing::Ok)];
const LEVELS: &[(&str, bool)] = &[("red_amber_green", false), ("red_green", true)];

type Given<T> = Option<Located<T>>;

/// What is written, before defaults. A threshold of none was written `never`.
#[derive(Debug, Clone, Default)]
pub(super) struct RawJudgement {
    pub(super) amber: Given<Option<Condition>>,
    pub(super) red: Given<Option<Condition>>,
    clear_amber: Given<Condition>,
    clear_red: Given<Condition>,
    raise_amber: Given<Millis>,
    raise_red: Given<Millis>,
    stay_amber: Given<Millis>,
    stay_red: Given<Millis>,
    samples: Given<(u32, u32)>,
    pub(super) on_missing: Given<OnMissing>,
    no_data_for: Given<Millis>,
    levels: Given<bool>,
    incident_from: Given<Level>,
    flapping: Given<(u32, Millis)>,
}

impl RawJudgement {
    /// Takes the keys of a judgement; the rest stays in `fields`.
    pub(super) fn read(fields: &mut Fields, report: &mut Report) -> RawJudgement {
        let amber = fields.take("amber").and_then(|node| threshold(node, "amber", report));
        let red = fields.take("red").and_then(|node| threshold(node, "red", report));
        let (clear_amber, clear_red) = per_level(fields.take("clear"), ("clear", "`clear`"), report, set);
        let span = |node: &Node, key: &str, report: &mut Report| scalar::span(node, key, CLOCK_MAX, report);
        let (raise_amber, raise_red) = per_level(fields.take("raise_for"), ("raise_for", "`raise_for`"), report, span);
        let (stay_amber, stay_red) = per_level(fields.take("clear_for"), ("clear_for", "`clear_for`"), report, span);
        RawJudgement {
            amber,
            red,
            clear_amber,
            clear_red,
            raise_amber,
            raise_red,
            stay_amber,
            stay_red,
            samples: fields.take("samples").and_then(|node| samples(node, report)),
            on_missing: fields.take("on_missing").and_then(|node| scalar::word(node, "on_missing", ON_MISSING, report)),
            no_data_for: fields.take("no_data_for").and_then(|node| no_data_for(node, report)),
            levels: fields.take("levels").and_then(|node| scalar::word(node, "levels", LEVELS, report)),
            incident_from: fields
                .take("incident_from")
                .and_then(|node| scalar::word(node, "incident_from", BAD_LEVELS, report)),
            flapping: fields.take("flapping").and_then(|node| flapping(node, report)),
        }
    }

    /// What is written here, and below it what is written there.
    pub(super) fn over(self, base: &RawJudgement) -> RawJudgement {
        RawJudgement {
            amber: self.amber.or(base.amber),
            red: self.red.or(base.red),
            clear_amber: self.clear_amber.or(base.clear_amber),
            clear_red: self.clear_red.or(base.clear_red),
            raise_amber: self.raise_amber.or(base.raise_amber),
            raise_red: self.raise_red.or(base.raise_red),
            stay_amber: self.stay_amber.or(base.stay_amber),
            stay_red: self.stay_red.or(base.stay_red),
            samples: self.samples.or(base.samples),
            on_missing: self.on_missing.or(base.on_missing),
            no_data_for: self.no_data_for.or(base.no_data_for),
            levels: self.levels.or(base.levels),
            incident_from: self.incident_from.or(base.incident_from),
            flapping: self.flapping.or(base.flapping),
        }
    }

    /// Fills in defaults and refuses contradictions; faults that have no place of
    /// their own are reported at `at`.
    pub(super) fn build(&self, at: At, report: &mut Report) -> Judgement {
        // One clear value for both levels is no fault where only one has a threshold.
        let both = self.clear_amber.zip(self.clear_red).is_some_and(|(amber, red)| amber.at == red.at);
        let stray_is_fine = both && (value(self.amber, None).is_some() || value(self.red, None).is_some());
        let amber = with_clear(self.amber, self.clear_amber, "amber", stray_is_fine, report);
        let red = with_clear(self.red, self.clear_red, "red", stray_is_fine, report);
        self.check_levels(amber, red, at, report);
        let (flap_changes, flap_window) = value(self.flapping, FLAPPING);
        Judgement {
            amber,
            red,
            red_green: value(self.levels, false),
            raise_amber: value(self.raise_amber, RAISE_AMBER),
            raise_red: value(self.raise_red, RAISE_RED),
            clear_amber: value(self.stay_amber, CLEAR),
            clear_red: value(self.stay_red, CLEAR),
            k_of_n: value(self.samples, (1, 1)),
            on_missing: value(self.on_missing, OnMissing::Hold),
            no_data_for: value(self.no_data_for, NO_DATA),
            incident_from: value(self.incident_from, Level::Red),
            flap_changes,
            flap_window,
        }
    }

    fn check_levels(&self, amber: Option<Threshold>, red: Option<Threshold>, at: At, report: &mut Report) {
        if let (Some(amber), Some(red)) = (amber, red) {
            // The later of the two: what an override adds stands below what it is laid over.
            let later = |a: At, b: Option<At>| b.map_or(a, |b| a.max(b));
            let here = later(self.red.map_or(at, |red| red.at), self.amber.map(|amber| amber.at));
            if !condition::is_subset(red.bad, amber.bad) {
                report.error(
                    here,
                    "some red values are not amber: the thresholds contradict each other",
                    "make amber the milder one (high is bad: amber below red; low is bad: amber above red), \
                     or write two rules",
                );
            } else if !condition::is_subset(red.hold, amber.hold) {
                report.error(
                    later(self.clear_red.map_or(here, |clear| clear.at), self.clear_amber.map(|clear| clear.at)),
                    "a value good enough for green would not be good enough to leave red",
                    "give `clear` for amber too, at least as far from the threshold as that of red",
                );
            }
        }
        if value(self.levels, false) {
            if let Some(Located { value: Some(_), at }) = self.amber {
                report.error(
                    at,
                    "an amber threshold in a rule with `levels: red_green`",
                    "remove `amber`, or remove `levels: red_green`",
                );
            }
            if let Some(Located { value: Level::Amber, at }) = self.incident_from {
                report.error(
                    at,
                    "`incident_from: amber` in a rule with `levels: red_green`",
                    "write `incident_from: red`",
                );
            }
        }
    }
}

fn value<T: Copy>(given: Given<T>, default: T) -> T {
    given.map_or(default, |given| given.value)
}

/// A threshold with the values that keep the level.
fn with_clear(
    bad: Given<Option<Condition>>,
    clear: Given<Condition>,
    level: &str,
    stray_is_fine: bool,
    report: &mut Report,
) -> Option<Threshold> {
    let bad_at = bad.map(|bad| bad.at);
    match (value(bad, None), clear) {
        (Some(bad), None) => Some(Threshold { bad, hold: bad }),
        (Some(bad), Some(clear)) => {
            if !condition::is_disjoint(clear.value, bad) {
                report.error(
                    bad_at.map_or(clear.at, |bad| bad.max(clear.at)),
                    format!("some values that clear {level} are {level}"),
                    format!(
                        "`clear` names the values good enough to leave {level}, for example `\"< 0.83\"` for \"> 0.85\"; \
                         where a threshold is overridden, give `clear` there too"
                    ),
                );
            }
            Some(Threshold { bad, hold: condition::complement(clear.value) })
        }
        (None, Some(clear)) if bad.is_none() && !stray_is_fine => {
            let message = format!("a clear value for {level}, but no {level} threshold");
            report.error(clear.at, message, format!("add `{level}: …` or remove it"));
            None
        }
        (None, _) => None,
    }
}

fn threshold(node: &Node, key: &str, report: &mut Report) -> Given<Option<Condition>> {
    if matches!(&node.value, Value::Scalar(text) if text.trim() == "never") {
        return Some(Located { value: None, at: node.at });
    }
    set(node, key, report).map(|set| Located { value: Some(set.value), at: set.at })
}

fn set(node: &Node, key: &str, report: &mut Report) -> Given<Condition> {
    match condition::parse(scalar::text(node, key, report)?) {
        Ok(condition) => Some(Located { value: condition, at: node.at }),
        Err(error) => {
            report.error(node.at, format!("`{key}`: {error}"), error.remedy());
            None
        }
    }
}

/// One value for both levels, or a mapping with a value for each.
fn per_level<T: Copy>(
    node: Option<&Node>,
    (key, what): (&'static str, &'static str),
    report: &mut Report,
    read: impl Fn(&Node, &str, &mut Report) -> Given<T>,
) -> (Given<T>, Given<T>) {
    let Some(node) = node else { return (None, None) };
    if !matches!(node.value, Value::Map(_)) {
        let both = read(node, key, report);
        return (both, both);
    }
    let Some(mut fields) = Fields::of(node, what, report) else { return (None, None) };
    let amber = fields.take("amber").and_then(|node| read(node, &format!("{key}.amber"), report));
    let red = fields.take("red").and_then(|node| read(node, &format!("{key}.red"), report));
    fields.finish(report);
    (amber, red)
}

/// `3 of 5`
fn samples(node: &Node, report: &mut Report) -> Given<(u32, u32)> {
    let text = scalar::text(node, "samples", report)?;
    let parsed = text.split_once(" of ").and_then(|(k, n)| Some((k.trim().parse().ok()?, n.trim().parse().ok()?)));
    let Some((k, n)) = parsed else {
        report.error(node.at, format!("`samples: {text}` is not understood"), "write for example `samples: 3 of 5`");
        return None;
    };
    if n > SAMPLES_MAX {
        let message = format!("`samples: {text}` looks back over more than {SAMPLES_MAX} samples");
        report.error(node.at, message, format!("write at most `… of {SAMPLES_MAX}`, or use `raise_for`"));
    } else if k == 0 || k > n {
        let message = format!("`samples: {text}`: {k} of {n} samples can never be met");
        report.error(node.at, message, "the first number must be from 1 to the second");
    } else {
        return Some(Located { value: (k, n), at: node.at });
    }
    None
}

fn no_data_for(node: &Node, report: &mut Report) -> Given<Millis> {
    let span = scalar::span(node, "no_data_for", CLOCK_MAX, report)?;
    if span.value == Millis::ZERO {
        report.error(node.at, "`no_data_for: 0s`: each pause between two samples would count", "write for example 5m");
        return None;
    }
    Some(span)
}

/// `off`, or changes and window.
fn flapping(node: &Node, report: &mut Report) -> Given<(u32, Millis)> {
    if let Value::Scalar(text) = &node.value {
        if text.trim() == "off" {
            return Some(Located { value: (0, FLAPPING.1), at: node.at });
        }
        let remedy = "write `off`, or `{changes: 6, window: 30m}`";
        report.error(node.at, format!("`flapping: {text}` is not understood"), remedy);
        return None;
    }
    let mut fields = Fields::of(node, "`flapping`", report)?;
    let changes = fields.take("changes").and_then(|node| scalar::whole(node, "changes", 2, FLAP_CHANGES_MAX, report));
    let window = fields.take("window").and_then(|node| scalar::span(node, "window", CLOCK_MAX, report));
    fields.finish(report);
    Some(Located { value: (value(changes, FLAPPING.0), value(window, FLAPPING.1)), at: node.at })
}
