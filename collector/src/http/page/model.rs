//! What stands on a page, ready to print: pure functions from the board's types.
//! Here is the board and what all pages share; [`detail`] has incident and item.

mod detail;

pub(crate) use detail::{incident, item};

use crate::http::error::Failure;
use crate::notify::when::{age, utc_seconds};
use reqwest::Url;
use serde::Serialize;
use signalbox_access::Caller;
use signalbox_engine::board::Filter;
use signalbox_proto::api::{Agent, Counts, Entity, Incident, Item, Status};
use signalbox_proto::status::{AgentState, Freshness, Layer, Level};
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeSet;

/// Seconds after which the board asks for itself again.
const REFRESH_SECS: u32 = 5;
/// Entities that are not green on one page; the filters lead to the rest.
const ENTITIES_MAX: usize = 200;
/// Items of one entity on the board.
const ITEMS_MAX: usize = 20;
/// Green entities named on one page.
const GREEN_MAX: usize = 500;
/// Rows of agents and of incidents on one page.
const ROWS_MAX: usize = 500;

/// All layers, in the order in which people choose.
const LAYERS: [Layer; 4] = [Layer::Business, Layer::Application, Layer::Middleware, Layer::Machine];

/// The layer of this word.
pub(crate) fn layer(word: &str) -> Option<Layer> {
    LAYERS.into_iter().find(|layer| layer.word() == word)
}

/// A level for the eye: colour, shape and word say the same, so that none is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Badge {
    class: &'static str,
    shape: &'static str,
    word: &'static str,
    /// Grey: the level that was last known.
    last: Option<&'static str>,
}

impl Badge {
    fn of(level: Level, grey: bool) -> Badge {
        let (class, shape) = match level {
            _ if grey => ("grey", "?"),
            Level::Red => ("red", "●"),
            Level::Amber => ("amber", "▲"),
            Level::Green => ("green", "✓"),
        };
        let last = if grey { Some(level.word()) } else { None };
        Badge { class, shape, word: class, last }
    }
}

/// An instant for people: how long ago, and when exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct When {
    age: String,
    utc: String,
}

impl When {
    fn of(at: UnixMillis, now: UnixMillis) -> When {
        When { age: age(now.since(at)), utc: utc_seconds(at) }
    }
}

/// What to do: a link only where it is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Sop {
    text: String,
    is_link: bool,
}

impl Sop {
    fn of(text: &str) -> Sop {
        let is_link = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        Sop { text: text.to_owned(), is_link }
    }
}

/// `path?name=value…`, values escaped.
fn link(path: &str, fields: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://localhost").expect("a constant URL");
    url.query_pairs_mut().extend_pairs(fields);
    format!("{path}?{}", url.query().unwrap_or_default())
}

#[derive(Debug, Serialize)]
struct Count {
    badge: Badge,
    n: u32,
}

#[derive(Debug, Serialize)]
struct ItemRow {
    badge: Badge,
    rule: String,
    labels: String,
    href: String,
    why: String,
    since: When,
    marks: Vec<String>,
    owner: String,
    sop: Sop,
    incident: Option<u64>,
}

impl ItemRow {
    fn of(item: &Item, now: UnixMillis) -> ItemRow {
        let labels: Vec<String> = item.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        ItemRow {
            badge: Badge::of(item.level, item.freshness.is_grey()),
            rule: item.rule.clone(),
            labels: labels.join(" "),
            href: link("/items", &[("id", &item.id)]),
            why: item.why.clone(),
            since: When::of(item.since, now),
            marks: marks(item, now),
            owner: item.owner.clone(),
            sop: Sop::of(&item.sop),
            incident: item.incident,
        }
    }
}

/// What lies over or beside the level, in words.
fn marks(item: &Item, now: UnixMillis) -> Vec<String> {
    let mut marks = Vec::new();
    match item.freshness {
        Freshness::Fresh | Freshness::Gone => {}
        Freshness::Late => marks.push(format!("late: last sample {} ago", age(now.since(item.value_at)))),
        Freshness::Stale => marks.push(format!("no data for {}", age(now.since(item.value_at)))),
        Freshness::Unknown => marks.push("never sampled".to_owned()),
    }
    if let Some(pending) = item.pending.filter(|pending| pending.target != item.level) {
        let verb = if pending.target > item.level { "raises" } else { "clears" };
        let since = format!("{} since {}", pending.target, age(now.since(pending.since)));
        marks.push(match pending.due {
            Some(due) => format!("{since}, {verb} in {}", age(due.since(now))),
            None => format!("{since}, its clock waits for data"),
        });
    }
    if item.flapping {
        marks.push("flapping".to_owned());
    }
    if item.amber_hidden {
        marks.push("amber, hidden by its rule".to_owned());
    }
    if !item.snoozes.is_empty() {
        marks.push("snoozed".to_owned());
    }
    marks
}

#[derive(Debug, Serialize)]
struct EntityRow {
    badge: Badge,
    id: String,
    href: String,
    layer: &'static str,
    owner: String,
    system: String,
    why: String,
    since: When,
    items: Vec<ItemRow>,
    n_items_hidden: usize,
}

impl EntityRow {
    fn of(entity: &Entity, now: UnixMillis) -> EntityRow {
        let notable: Vec<&Item> = entity.items.iter().filter(|item| is_notable(item)).collect();
        EntityRow {
            badge: Badge::of(entity.level, entity.grey),
            id: entity.id.clone(),
            href: link("/", &[("entity", &entity.id)]),
            layer: entity.layer.word(),
            owner: entity.owner.clone(),
            system: entity.system.clone(),
            why: entity.why.clone(),
            since: When::of(entity.since, now),
            n_items_hidden: notable.len().saturating_sub(ITEMS_MAX),
            items: notable.into_iter().take(ITEMS_MAX).map(|item| ItemRow::of(item, now)).collect(),
        }
    }
}

/// Worth a line: anything but plainly green.
fn is_notable(item: &Item) -> bool {
    item.level > Level::Green
        || item.freshness.is_grey()
        || item.pending.is_some()
        || item.flapping
        || item.amber_hidden
}

#[derive(Debug, Serialize)]
struct IncidentRow {
    number: u64,
    id: String,
    badge: Badge,
    state: String,
    title: String,
    entity: String,
    owner: String,
    assignee: String,
    detected: When,
}

impl IncidentRow {
    fn of(incident: &Incident, now: UnixMillis) -> IncidentRow {
        IncidentRow {
            number: incident.number,
            id: incident.id.clone(),
            badge: Badge::of(incident.level, false),
            state: word(incident.state),
            title: incident.title.clone(),
            entity: incident.entity.clone(),
            owner: incident.owner.clone(),
            assignee: incident.assignee.clone(),
            detected: When::of(incident.detected, now),
        }
    }
}

/// The word of the API for a unit variant.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

#[derive(Debug, Serialize)]
struct AgentRow {
    badge: Badge,
    id: String,
    state: &'static str,
    since: When,
    heard: When,
    version: String,
    n_backlog: u64,
    n_dropped: u64,
    failing: Vec<(String, String)>,
    incident: Option<u64>,
}

impl AgentRow {
    fn of(agent: &Agent, now: UnixMillis) -> AgentRow {
        let badge = match agent.state {
            AgentState::Up if agent.failing_checks.is_empty() => Badge::of(Level::Green, false),
            AgentState::Up | AgentState::Missing => Badge::of(Level::Amber, false),
            AgentState::Down | AgentState::Unreachable => Badge::of(Level::Red, false),
            AgentState::Stopped | AgentState::NeverSeen | AgentState::Retired => {
                Badge { last: None, ..Badge::of(Level::Green, true) }
            }
        };
        AgentRow {
            badge,
            id: agent.id.to_string(),
            state: agent.state.word(),
            since: When::of(agent.since, now),
            heard: When::of(agent.last_heard, now),
            version: agent.version.clone(),
            n_backlog: agent.n_backlog,
            n_dropped: agent.n_dropped,
            failing: agent.failing_checks.iter().map(|(name, error)| (name.clone(), error.clone())).collect(),
            incident: agent.incident,
        }
    }
}

/// What the filters offer: what the whole board holds.
#[derive(Debug, Serialize)]
pub(crate) struct Choices {
    owners: BTreeSet<String>,
    systems: BTreeSet<String>,
}

impl Choices {
    pub(crate) fn of(entities: &[Entity]) -> Choices {
        let named = |text: &String| if text.is_empty() { None } else { Some(text.clone()) };
        Choices {
            owners: entities.iter().filter_map(|entity| named(&entity.owner)).collect(),
            systems: entities.iter().filter_map(|entity| named(&entity.system)).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Filters {
    layer: &'static str,
    layers: Vec<&'static str>,
    owner: String,
    system: String,
    entity: String,
    choices: Choices,
    is_set: bool,
}

impl Filters {
    fn of(filter: &Filter, choices: Choices) -> Filters {
        Filters {
            layer: filter.layer.map_or("", Layer::word),
            layers: LAYERS.map(Layer::word).to_vec(),
            owner: filter.owner.clone().unwrap_or_default(),
            system: filter.system.clone().unwrap_or_default(),
            entity: filter.entity.clone().unwrap_or_default(),
            choices,
            is_set: *filter != Filter::default(),
        }
    }
}

/// The board.
#[derive(Debug, Serialize)]
pub(crate) struct BoardPage {
    title: String,
    refresh_secs: u32,
    now: String,
    version: String,
    overall: Badge,
    counts: Vec<Count>,
    n_hidden: u32,
    n_snoozed: u32,
    problems: Vec<String>,
    filters: Filters,
    entities: Vec<EntityRow>,
    n_entities_hidden: usize,
    green: Vec<(String, String)>,
    n_green: usize,
    incidents: Vec<IncidentRow>,
    agents: Vec<AgentRow>,
    /// Who looks at it.
    who: String,
    /// By a session, which can end.
    can_leave: bool,
}

impl BoardPage {
    /// The page as this caller sees it.
    pub(crate) fn seen_by(self, caller: &Caller) -> BoardPage {
        let principal = &caller.principal;
        BoardPage { who: principal.name.clone(), can_leave: principal.session.is_some(), ..self }
    }
}

/// The board as a page; `status` is the part that `filter` left.
pub(crate) fn board<'a>(
    status: &Status,
    agents: &[Agent],
    incidents: impl Iterator<Item = &'a Incident>,
    filter: &Filter,
    choices: Choices,
    now: UnixMillis,
) -> BoardPage {
    let (green, other): (Vec<&Entity>, Vec<&Entity>) = status
        .entities
        .iter()
        .partition(|entity| entity.level == Level::Green && !entity.grey && !entity.items.iter().any(is_notable));
    let mut incidents: Vec<IncidentRow> = incidents.map(|one| IncidentRow::of(one, now)).collect();
    incidents.sort_by_key(|row| std::cmp::Reverse(row.number));
    incidents.truncate(ROWS_MAX);
    // Green is said only where everything is known.
    let n_known = status.counts.red + status.counts.amber + status.counts.green;
    let is_grey = status.level == Level::Green && (n_known == 0 || status.entities.iter().any(|entity| entity.grey));
    BoardPage {
        title: format!("{} - Signalbox", if is_grey { "grey" } else { status.level.word() }),
        refresh_secs: REFRESH_SECS,
        now: utc_seconds(now),
        version: status.version.clone(),
        overall: if is_grey {
            Badge { last: None, ..Badge::of(Level::Green, true) }
        } else {
            Badge::of(status.level, false)
        },
        counts: counts(&status.counts),
        n_hidden: status.counts.amber_hidden,
        n_snoozed: status.counts.snoozed,
        problems: status.problems.clone(),
        filters: Filters::of(filter, choices),
        n_entities_hidden: other.len().saturating_sub(ENTITIES_MAX),
        entities: other.into_iter().take(ENTITIES_MAX).map(|entity| EntityRow::of(entity, now)).collect(),
        n_green: green.len(),
        green: green.iter().take(GREEN_MAX).map(|e| (e.id.clone(), link("/", &[("entity", &e.id)]))).collect(),
        incidents,
        agents: agents.iter().take(ROWS_MAX).map(|agent| AgentRow::of(agent, now)).collect(),
        who: String::new(),
        can_leave: false,
    }
}

fn counts(counts: &Counts) -> Vec<Count> {
    let count = |level, grey, n| Count { badge: Badge { last: None, ..Badge::of(level, grey) }, n };
    vec![
        count(Level::Red, false, counts.red),
        count(Level::Amber, false, counts.amber),
        count(Level::Green, false, counts.green),
        count(Level::Green, true, counts.grey),
    ]
}

/// A refusal as a page.
#[derive(Debug, Serialize)]
pub(crate) struct FailurePage {
    title: String,
    status: String,
    error: String,
    remedy: String,
}

/// A refusal for people.
pub(crate) fn failure(failure: &Failure) -> FailurePage {
    FailurePage {
        title: format!("{} - Signalbox", failure.status),
        status: failure.status.to_string(),
        error: failure.error.clone(),
        remedy: failure.remedy.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_is_grey_and_remembers_the_last_level() {
        let badge = Badge::of(Level::Red, true);
        assert_eq!((badge.class, badge.shape, badge.last), ("grey", "?", Some("red")));
        assert_eq!(Badge::of(Level::Red, false).last, None);
    }

    #[test]
    fn levels_differ_in_shape_and_word_and_not_only_in_colour() {
        let badges = [
            Badge::of(Level::Red, false),
            Badge::of(Level::Amber, false),
            Badge::of(Level::Green, false),
            Badge::of(Level::Green, true),
        ];
        let shapes: BTreeSet<&str> = badges.iter().map(|badge| badge.shape).collect();
        let words: BTreeSet<&str> = badges.iter().map(|badge| badge.word).collect();
        assert_eq!((shapes.len(), words.len()), (4, 4));
    }

    #[test]
    fn only_web_addresses_become_links() {
        assert!(Sop::of("https://wiki.example.com/sop").is_link);
        for text in ["javascript:alert(1)", "data:text/html,x", "call the DBA", "", "//evil.example"] {
            assert!(!Sop::of(text).is_link, "{text}");
        }
    }

    #[test]
    fn links_escape_what_they_carry() {
        assert_eq!(link("/items", &[("id", "a:b{c=\"d&e\"}#")]), "/items?id=a%3Ab%7Bc%3D%22d%26e%22%7D%23");
    }
}
