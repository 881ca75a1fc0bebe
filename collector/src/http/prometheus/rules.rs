//! Rules and alerts in Prometheus's shape.
//!
//! A rule of ours has two levels; here each is an alerting rule of its own, with the
//! label `severity`. Its `query` gives what is bad by itself; hysteresis, k-of-n,
//! overrides and dependencies stand in the rule's own file and have no place here.
//! An alert is an item at that level (`firing`) or with a clock that runs towards it
//! (`pending`).

use super::envelope::{Refusal, Success};
use super::number::push_value;
use super::params::Params;
use crate::http::App;
use crate::http::auth::Who;
use crate::http::scope::Sight;
use axum::extract::State;
use serde::Serialize;
use signalbox_access::Caller;
use signalbox_engine::board::Board;
use signalbox_engine::config;
use signalbox_engine::rule::{Condition, Rule};
use signalbox_proto::api::Item;
use signalbox_proto::status::Level;
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Every sample is judged; agents sample by the second.
const INTERVAL_SECS: f64 = 1.0;

/// Rules of one file.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    /// The file's name.
    name: String,
    /// The same.
    file: String,
    /// Seconds between evaluations: every sample is judged as it comes.
    interval: f64,
    /// No limit: 0.
    limit: u32,
    /// Not measured for one file: 0.
    evaluation_time: f64,
    /// When the board was drawn.
    last_evaluation: String,
    /// Its rules.
    rules: Vec<AlertingRule>,
}

/// One level of one rule.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertingRule {
    /// `firing`, `pending` or `inactive`: the worst of its alerts.
    state: &'static str,
    /// Rule id.
    name: String,
    /// What is bad, in PromQL.
    query: String,
    /// Seconds until the level is held.
    duration: f64,
    /// Seconds until the level is left.
    keep_firing_for: f64,
    /// `severity`, `owner`, `layer`.
    labels: BTreeMap<String, String>,
    /// `sop`, where the rule has one.
    annotations: BTreeMap<String, String>,
    /// What is at this level or on its way to it.
    alerts: Vec<Alert>,
    /// `ok`; `unknown` while it judges nothing.
    health: &'static str,
    /// Not measured for one rule: 0.
    evaluation_time: f64,
    /// When the board was drawn.
    last_evaluation: String,
    /// `alerting`.
    #[serde(rename = "type")]
    kind: &'static str,
}

/// An item that is bad, or may become so.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    /// `alertname`, `severity`, `entity`, `owner` and those of the series.
    labels: BTreeMap<String, String>,
    /// `summary`: why; `sop`.
    annotations: BTreeMap<String, String>,
    /// `firing` or `pending`.
    state: &'static str,
    /// Since when.
    active_at: String,
    /// Last judged value.
    value: String,
}

/// Data of [`rules`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Groups {
    /// By file.
    groups: Vec<Group>,
}

/// Data of [`alerts`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Alerts {
    /// Worst entities first.
    alerts: Vec<Alert>,
}

/// Rules in force.
#[utoipa::path(get, path = "/api/v1/rules", params(
    ("type" = Option<String>, Query, description = "`alert` or `record`"),
    ("rule_name[]" = Option<Vec<String>>, Query, description = "only these rules"),
    ("file[]" = Option<Vec<String>>, Query, description = "only of these files"),
    ("rule_group[]" = Option<Vec<String>>, Query, description = "only of these groups"),
    ("exclude_alerts" = Option<bool>, Query, description = "leave the alerts out"),
), responses(
    (status = 200, description = "by file", body = Success<Groups>),
    (status = 400, description = "a parameter is malformed", body = Refusal),
))]
pub(crate) async fn rules(
    State(app): State<App>,
    Who(caller): Who,
    params: Params,
) -> Result<Success<Groups>, Refusal> {
    let wanted = Filter::read(&params)?;
    let (files, board) = (app.handle.files(), app.handle.board());
    let read = move |_: &_, _: &_| {
        // They were taken without an error when they came into force.
        let (rules, _) = config::parse(&files);
        groups(&rules.map(|rules| rules.rules).unwrap_or_default(), &Seen::of(&caller, &board), &wanted)
    };
    Ok(Success::new(Groups { groups: app.handle.read(read).await? }))
}

/// What is bad now, or may become so.
#[utoipa::path(get, path = "/api/v1/alerts", responses(
    (status = 200, description = "worst entities first", body = Success<Alerts>),
))]
pub(crate) async fn alerts(State(app): State<App>, Who(caller): Who) -> Success<Alerts> {
    let seen = Seen::of(&caller, &app.handle.board());
    let both = |item| [Level::Red, Level::Amber].into_iter().filter_map(move |level| alert(item, level));
    Success::new(Alerts { alerts: seen.items.iter().flat_map(both).collect() })
}

/// Which rules somebody asks about.
#[derive(Debug, Default)]
struct Filter {
    has_alerting: bool,
    names: Vec<String>,
    files: Vec<String>,
    without_alerts: bool,
}

impl Filter {
    fn read(params: &Params) -> Result<Filter, Refusal> {
        let has_alerting = match params.get("type") {
            None | Some("alert") => true,
            Some("record") => false,
            Some(other) => return Err(Refusal::parameter("type", format!("{other:?} is not alert or record"))),
        };
        let mut files = params.all("file[]");
        files.extend(params.all("rule_group[]"));
        let without_alerts = matches!(params.get("exclude_alerts"), Some("true" | "1"));
        Ok(Filter { has_alerting, names: params.all("rule_name[]"), files, without_alerts })
    }

    fn has(&self, rule: &Rule) -> bool {
        let any = |wanted: &[String], own: &String| wanted.is_empty() || wanted.contains(own);
        self.has_alerting && any(&self.names, &rule.id) && any(&self.files, &rule.file)
    }
}

/// What of the board somebody sees.
struct Seen {
    at: UnixMillis,
    is_whole: bool,
    items: Vec<Item>,
}

impl Seen {
    fn of(caller: &Caller, board: &Board) -> Seen {
        let sight = Sight::new(caller, board);
        let status = sight.status(board.status.clone());
        let items = status.entities.into_iter().flat_map(|entity| entity.items).collect();
        Seen { at: status.at, is_whole: sight.is_whole(), items }
    }
}

fn groups(rules: &[Rule], seen: &Seen, wanted: &Filter) -> Vec<Group> {
    let mut by_rule: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
    for item in &seen.items {
        by_rule.entry(&item.rule).or_default().push(item);
    }
    let mut groups: Vec<Group> = Vec::new();
    for rule in rules.iter().filter(|rule| wanted.has(rule)) {
        let items = by_rule.get(rule.id.as_str()).map_or(&[][..], Vec::as_slice);
        // To whom a rule shows nothing, it says nothing either.
        if items.is_empty() && !seen.is_whole {
            continue;
        }
        let mut levels = [Level::Red, Level::Amber].into_iter().filter_map(|level| one(rule, level, items, seen.at));
        let group = groups.iter().position(|group| group.file == rule.file).unwrap_or_else(|| {
            groups.push(empty(&rule.file, seen.at));
            groups.len() - 1
        });
        groups[group].rules.extend(levels.by_ref().map(|mut rule| {
            if wanted.without_alerts {
                rule.alerts.clear();
            }
            rule
        }));
    }
    groups
}

fn empty(file: &str, at: UnixMillis) -> Group {
    Group {
        name: file.to_owned(),
        file: file.to_owned(),
        interval: INTERVAL_SECS,
        limit: 0,
        evaluation_time: 0.0,
        last_evaluation: rfc3339(at),
        rules: Vec::new(),
    }
}

/// One level of a rule; none where the rule has no such level.
fn one(rule: &Rule, level: Level, items: &[&Item], at: UnixMillis) -> Option<AlertingRule> {
    let how = &rule.base;
    let (threshold, raise, clear) = match level {
        Level::Red => (how.red, how.raise_red, how.clear_red),
        Level::Amber if !how.red_green => (how.amber, how.raise_amber, how.clear_amber),
        _ => return None,
    };
    let alerts: Vec<Alert> = items.iter().filter_map(|item| alert(item, level)).collect();
    let is = |state: &str| alerts.iter().any(|alert| alert.state == state);
    let state = if is("firing") {
        "firing"
    } else if is("pending") {
        "pending"
    } else {
        "inactive"
    };
    let labels = [("severity", level.word()), ("owner", &rule.owner), ("layer", rule.layer.word())];
    Some(AlertingRule {
        state,
        name: rule.id.clone(),
        query: query(&rule.selector.to_string(), threshold?.bad),
        duration: secs(raise),
        keep_firing_for: secs(clear),
        labels: owned(labels),
        annotations: owned([("sop", rule.sop.as_str())]),
        alerts,
        health: if items.is_empty() { "unknown" } else { "ok" },
        evaluation_time: 0.0,
        last_evaluation: rfc3339(at),
        kind: "alerting",
    })
}

/// The item's alert at this level; none while it is neither there nor on its way.
fn alert(item: &Item, level: Level) -> Option<Alert> {
    let pending = item.pending.filter(|pending| pending.target == level && level > item.level);
    let (state, since) = match pending {
        _ if item.level == level => ("firing", item.since),
        Some(pending) => ("pending", pending.since),
        None => return None,
    };
    let own = [
        ("alertname", item.rule.as_str()),
        ("severity", level.word()),
        ("entity", &item.entity),
        ("owner", &item.owner),
        ("layer", item.layer.word()),
    ];
    let mut labels = item.labels.clone();
    labels.extend(owned(own));
    let mut value = String::new();
    push_value(&mut value, item.value.unwrap_or(f64::NAN));
    let annotations = owned([("summary", item.why.as_str()), ("sop", &item.sop)]);
    Some(Alert { labels, annotations, state, active_at: rfc3339(since), value })
}

/// An empty label is no label.
fn owned<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    given.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn query(selector: &str, bad: Condition) -> String {
    let shown = |value: f64| {
        let mut text = String::new();
        push_value(&mut text, value);
        text
    };
    match bad {
        Condition::Above(x) => format!("{selector} > {}", shown(x)),
        Condition::AtLeast(x) => format!("{selector} >= {}", shown(x)),
        Condition::Below(x) => format!("{selector} < {}", shown(x)),
        Condition::AtMost(x) => format!("{selector} <= {}", shown(x)),
        Condition::Outside(low, high) => format!("{selector} < {} or {selector} > {}", shown(low), shown(high)),
        Condition::Inside(low, high) => format!("{selector} >= {} <= {}", shown(low), shown(high)),
    }
}

#[allow(clippy::cast_precision_loss, reason = "spans of configuration are small")]
fn secs(span: Millis) -> f64 {
    span.0 as f64 / 1000.0
}

fn rfc3339(at: UnixMillis) -> String {
    // Out of the calendar's range only for an instant that was never set.
    jiff::Timestamp::from_millisecond(at.0).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::board;
    use signalbox_access::{Principal, Role, Scope};

    const RULES: &str = "
rules:
  - id: filesystem-full
    selector: node_filesystem_avail_bytes
    red: '< 5'
    amber: '< 10'
    sop: https://wiki.example.com/disk
  - id: load-high
    selector: node_load1
    amber: '> 8'
  - id: temperature
    selector: temperature_celsius
    red: '10:30'
";

    fn shown(scope: &[&str], wanted: &Filter) -> Vec<Group> {
        let files = BTreeMap::from([("rules/site.yaml".to_owned(), RULES.to_owned())]);
        let (rules, findings) = config::parse(&files);
        let rules = rules.unwrap_or_else(|| panic!("{findings:?}"));
        let scope: Vec<String> = scope.iter().map(|text| (*text).to_owned()).collect();
        let principal = Principal { scope: Scope::parse(&scope).unwrap(), ..Principal::local("ada", Role::Viewer) };
        groups(&rules.rules, &Seen::of(&Caller::new(principal, "unix:uid=1000"), &board()), wanted)
    }

    fn lines(groups: &[Group]) -> Vec<String> {
        let line = |rule: &AlertingRule| {
            let severity = &rule.labels["severity"];
            format!("{} {severity} {} {} {}", rule.name, rule.state, rule.alerts.len(), rule.query)
        };
        groups.iter().flat_map(|group| &group.rules).map(line).collect()
    }

    #[test]
    fn each_level_is_an_alerting_rule() {
        let all = Filter { has_alerting: true, ..Filter::default() };
        let wanted = [
            "filesystem-full red firing 1 node_filesystem_avail_bytes < 5",
            "filesystem-full amber firing 1 node_filesystem_avail_bytes < 10",
            "load-high amber pending 1 node_load1 > 8",
            "temperature red inactive 0 temperature_celsius < 10 or temperature_celsius > 30",
        ];
        let whole = shown(&[], &all);
        assert_eq!(lines(&whole), wanted);
        assert_eq!(whole.len(), 1);
        let red = &whole[0].rules[0];
        assert_eq!((red.duration, red.keep_firing_for, red.health), (30.0, 120.0, "ok"));
        assert_eq!(red.alerts[0].labels["alertname"], "filesystem-full");
        assert_eq!(red.alerts[0].annotations["sop"], "https://wiki.example.com/sop/disk");
        assert_eq!(red.alerts[0].value, "97");
        assert_eq!(whole[0].rules[3].health, "unknown");
    }

    #[test]
    fn out_of_sight_there_is_neither_alert_nor_rule() {
        let all = Filter { has_alerting: true, ..Filter::default() };
        let dba = shown(&["{owner=\"dba\"}"], &all);
        assert_eq!(lines(&dba)[0], "filesystem-full red inactive 0 node_filesystem_avail_bytes < 5");
        assert_eq!(lines(&dba).len(), 2);
    }

    #[test]
    fn what_is_asked_for_is_shown() {
        let by_name = Filter { has_alerting: true, names: vec!["load-high".to_owned()], ..Filter::default() };
        assert_eq!(lines(&shown(&[], &by_name)).len(), 1);
        assert!(shown(&[], &Filter::default()).is_empty(), "no recording rules");
        let bare = Filter { without_alerts: true, has_alerting: true, ..Filter::default() };
        assert!(shown(&[], &bare)[0].rules.iter().all(|rule| rule.alerts.is_empty()));
        assert_eq!(shown(&[], &bare)[0].rules[0].state, "firing");
    }
}
