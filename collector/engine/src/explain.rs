//! The proof of a verdict at an instant, from stored facts alone.
//!
//! The store gives the rows as they were at that instant; an engine restored from
//! them shows what was shown. Nothing is remembered for explanations' sake, and
//! nothing of the present leaks in.

use crate::board;
use crate::decision::Table;
use crate::engine::Engine;
use crate::event::SeriesId;
use crate::rows;
pub use crate::rows::{META_KEY, RestoreError};
use crate::rule::{Judgement, OnMissing, Rule, Ruleset};
use crate::rules::Rules;
use crate::snoozes::in_force;
use crate::state::{Agent, Known, State, TrackKey, Tracked};
use crate::words::{self, clock_time};
use signalbox_proto::api::{Explanation, Item, LedgerLine, Outcome};
use signalbox_proto::metric::Unit;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::status::Level;
use signalbox_proto::units::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thiserror::Error;

/// Which (rule, series) an item id means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Agent of the series.
    pub agent: AgentId,
    /// The series.
    pub series: SeriesId,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Rule id.
    pub rule: String,
}

/// What an explanation is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The instant, collector's clock.
    pub at: UnixMillis,
    /// The item.
    pub item: &'a Located,
    /// The ruleset in force then, parsed from its row ([`ruleset_source`]).
    pub ruleset: Arc<Ruleset>,
    /// Rows as they were then ([`gather`]); more than needed does no harm.
    pub rows: Rows,
    /// Samples of the series up to then, oldest first.
    pub samples: &'a [(UnixMillis, f64)],
}

/// Why there is no explanation.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// A stored row is malformed.
    #[error(transparent)]
    Rows(#[from] RestoreError),
    /// The rules in force then did not judge this series.
    #[error("rule {rule} did not judge {series} at that time")]
    NotJudged {
        /// Rule id.
        rule: String,
        /// Labels of the series.
        series: String,
    },
}

/// How much of a table is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The row of exactly this key.
    Row,
    /// Every row whose key begins so.
    Prefix,
}

/// Rows of a table as the store gives them: key and value.
pub type Found = Vec<(Vec<u8>, Vec<u8>)>;
/// Rows of several tables: table, key and value.
pub type Rows = Vec<(Table, Vec<u8>, Vec<u8>)>;

/// Collects the rows that an explanation of one item is made of, and no others:
/// what an explanation costs does not grow with the number of items.
///
/// # Errors
/// What `read` says, or a [`RestoreError`] for a row that does not decode.
pub fn gather<E: From<RestoreError>>(
    item: &Located,
    mut read: impl FnMut(Table, &[u8], Extent) -> Result<Found, E>,
) -> Result<Rows, E> {
    let mut rows = Vec::new();
    let mut take = |table: Table, key: &[u8], extent: Extent| -> Result<Option<Vec<u8>>, E> {
        let found = read(table, key, extent)?;
        let first = found.first().map(|(_, value)| value.clone());
        rows.extend(found.into_iter().map(|(key, value)| (table, key, value)));
        Ok(first)
    };
    take(Table::Meta, rows::META_KEY, Extent::Row)?;
    let key = item.agent.as_str().as_bytes();
    let agent = take(Table::Agents, key, Extent::Row)?;
    let agent = agent.map(|row| rows::decode::<Agent>(Table::Agents, key, &row)).transpose()?;
    let key = rows::track_key(&TrackKey { series: item.series, rule: item.rule.as_str().into() });
    let track = take(Table::Tracks, &key, Extent::Row)?;
    let track = track.map(|row| rows::decode::<Tracked>(Table::Tracks, &key, &row)).transpose()?;
    let of_agent = agent.and_then(|agent| agent.incident);
    let of_track = track.and_then(|tracked| tracked.incident);
    for number in of_agent.into_iter().chain(of_track).collect::<BTreeSet<_>>() {
        take(Table::Incidents, &rows::number_key(number), Extent::Row)?;
        take(Table::Ledger, &rows::ledger_of(number), Extent::Prefix)?;
    }
    take(Table::Snoozes, &[], Extent::Prefix)?;
    take(Table::Feeds, &rows::feeds_of(&item.agent), Extent::Prefix)?;
    Ok(rows)
}

/// Which agents and rules an item id may mean; more than one only where an agent's
/// or a watch's name holds a rule's.
pub fn readings<'r>(rules: &'r Ruleset, id: &str) -> Vec<(AgentId, &'r Rule)> {
    let agent_of = |entity: &str| {
        let host = entity.strip_prefix("host/");
        let name = host.or_else(|| Some(entity.strip_prefix("process/")?.split_once('/')?.0))?;
        AgentId::parse(name).ok()
    };
    let mut found = Vec::new();
    for rule in &rules.rules {
        let mark = format!(":{}", rule.id);
        for (at, _) in id.match_indices(&mark) {
            let rest = &id[at + mark.len()..];
            if rest.is_empty() || rest.starts_with('{') {
                found.extend(agent_of(&id[..at]).map(|agent| (agent, rule)));
            }
        }
    }
    found
}

/// The id of the item that a rule makes of a series.
pub fn item_id(agent: &AgentId, rule: &Rule, labels: &Labels) -> String {
    words::item_id(&words::entity_of(agent, labels), rule, labels)
}

/// The version of the rules in force, from the rows of an instant.
///
/// # Errors
/// [`RestoreError`] when the row of counters is malformed.
pub fn rules_version(rows: &[(Table, Vec<u8>, Vec<u8>)]) -> Result<Option<String>, RestoreError> {
    let meta = rows.iter().find(|(table, _, _)| *table == Table::Meta);
    meta.map(|(table, key, value)| Ok(rows::decode::<crate::state::Meta>(*table, key, value)?.rules_version))
        .transpose()
}

/// The text of a ruleset, file by file, from its row.
///
/// # Errors
/// [`RestoreError`] when the row is malformed.
pub fn ruleset_source(version: &str, value: &[u8]) -> Result<BTreeMap<String, String>, RestoreError> {
    Ok(rows::decode::<rows::RulesetRow>(Table::Rulesets, version.as_bytes(), value)?.source)
}

/// Explains what an item showed.
///
/// # Errors
/// [`ExplainError`].
pub fn explain(facts: Facts<'_>) -> Result<Explanation, ExplainError> {
    let Facts { at, item: located, ruleset, rows, samples } = facts;
    let engine = Engine::restore(rows.iter().filter(|(table, _, _)| *table != Table::Ledger).cloned())?;
    let mut state = engine.into_state();
    state.rules = Arc::new(Rules::new(Arc::clone(&ruleset)));
    let uses = state.rules.uses(&located.labels);
    let used = uses.iter().find(|used| *used.id == *located.rule).cloned();
    let Some(used) = used else {
        return Err(ExplainError::NotJudged { rule: located.rule.clone(), series: located.labels.to_string() });
    };
    let known =
        Known { agent: located.agent.clone(), labels: Arc::clone(&located.labels), uses: [used.clone()].into() };
    state.series = BTreeMap::from([(located.series, known)]);
    see_samples(&mut state, located.series, samples);
    let item = shown(&state, located, at, samples.last().map(|(_, value)| *value));
    let rules = Arc::clone(&state.rules);
    let (rule, how) = (rules.rule(&used), rules.judgement(&used));
    let ledger = ledger_of(&rows, &item.id, at)?;
    Ok(Explanation {
        at,
        rules_version: ruleset.version.clone(),
        rule: described(rule, how, words::unit_of(&located.labels)),
        override_by: used.over.map(|over| rule.overrides[over].selector.to_string()),
        samples: samples.iter().map(|(at, value)| (at.0, value.is_finite().then_some(*value))).collect(),
        clocks: clocks(&item),
        suppressions: suppressions(&state, &item, at),
        because: because(rule, how, &item, &ledger),
        ledger,
        item,
    })
}

/// The row of a feed is at most a minute behind; the samples say the rest.
fn see_samples(state: &mut State, series: SeriesId, samples: &[(UnixMillis, f64)]) {
    let feed = state.feed_of.get(&series).cloned();
    if let (Some(feed), Some((last, _))) =
        (feed.and_then(|key| state.feeds.get_mut(&key.agent)?.get_mut(&key.check)), samples.last())
    {
        feed.last = feed.last.max(*last);
    }
}

fn shown(state: &State, located: &Located, at: UnixMillis, latest: Option<f64>) -> Item {
    let key = TrackKey { series: located.series, rule: located.rule.as_str().into() };
    let board = board::build(state, at, &|_| latest);
    let items = board.status.entities.into_iter().flat_map(|entity| entity.items);
    // No row: it was selected and never sampled, or hidden. Then all is at its start.
    let empty = || Item {
        entity: words::entity_of(&located.agent, &located.labels),
        rule: key.rule.to_string(),
        metric: located.labels.metric().unwrap_or("").to_owned(),
        labels: words::plain_labels(&located.labels),
        why: "nothing was known about it".to_owned(),
        ..Item::default()
    };
    items.last().unwrap_or_else(empty)
}

fn ledger_of(rows: &[(Table, Vec<u8>, Vec<u8>)], item: &str, at: UnixMillis) -> Result<Vec<LedgerLine>, RestoreError> {
    let mut lines: Vec<LedgerLine> = Vec::new();
    for (table, key, value) in rows.iter().filter(|(table, _, _)| *table == Table::Ledger) {
        let line: LedgerLine = rows::decode(*table, key, value)?;
        if line.item == item && line.at <= at {
            lines.push(line);
        }
    }
    lines.sort_by_key(|line| line.id);
    Ok(lines)
}

fn described(rule: &Rule, how: &Judgement, unit: Unit) -> BTreeMap<String, String> {
    let mut words: BTreeMap<String, String> = BTreeMap::new();
    let mut say = |key: &str, value: String| words.insert(key.to_owned(), value);
    say("id", rule.id.clone());
    say("selector", rule.selector.to_string());
    say("place", format!("{}:{}", rule.file, rule.line));
    for (level, threshold) in [("amber", how.amber), ("red", how.red)] {
        if let Some(threshold) = threshold {
            say(level, words::condition(threshold.bad, unit));
            say(&format!("clear.{level}"), format!("not {}", words::condition(threshold.hold, unit)));
        }
    }
    say("raise_for", format!("amber {}, red {}", how.raise_amber, how.raise_red));
    say("clear_for", format!("amber {}, red {}", how.clear_amber, how.clear_red));
    say("samples", format!("{} of {}", how.k_of_n.0, how.k_of_n.1));
    let missing = match how.on_missing {
        OnMissing::Hold => "hold",
        OnMissing::Amber => "amber",
        OnMissing::Red => "red",
        OnMissing::Ok => "ok",
    };
    say("on_missing", format!("{missing} after {}", how.no_data_for));
    say("incident_from", how.incident_from.to_string());
    words
}

fn clocks(item: &Item) -> Vec<String> {
    let pending = item.pending.map(|pending| {
        if pending.target == item.level {
            // Pinned while it flaps: the values by themselves are on their way there.
            return format!(
                "{} is shown already; the values have called for it since {}",
                pending.target,
                clock_time(pending.since)
            );
        }
        let due = pending.due.map_or_else(|| "paused".to_owned(), |due| format!("held from {}", clock_time(due)));
        format!("towards {} since {}: {due}", pending.target, clock_time(pending.since))
    });
    pending.into_iter().collect()
}

fn suppressions(state: &State, item: &Item, at: UnixMillis) -> Vec<String> {
    let on_item = |id: &u64| state.snoozes.get(id).filter(|snooze| in_force(snooze, at));
    let words = item.snoozes.iter().filter_map(on_item).map(|snooze| {
        let until = clock_time(snooze.until);
        format!("snooze {} on {} by {} until {until}: {}", snooze.id, snooze.scope, snooze.author, snooze.reason)
    });
    words.chain(item.flapping.then(|| "flapping: pinned at its worst level, one notice".to_owned())).collect()
}

fn because(rule: &Rule, how: &Judgement, item: &Item, ledger: &[LedgerLine]) -> Vec<String> {
    let mut chain = vec![format!("rule {} ({}:{}) judges {}", rule.id, rule.file, rule.line, item.metric)];
    chain.push(format!("its last sample gives: {}", item.why));
    chain.push(format!("{} is held since {}, the facts are {}", item.level, clock_time(item.since), item.freshness));
    if item.amber_hidden {
        chain.push("amber is shown as green: the rule has two colours".to_owned());
    }
    if item.level > Level::Green && item.level < how.incident_from {
        chain.push(format!("no incident: they are raised from {}", how.incident_from));
    }
    if let Some(number) = item.incident {
        chain.push(format!("INC-{number} is open for it"));
    }
    if let Some(line) = ledger.last() {
        let outcome = match line.outcome {
            Outcome::Queued => "queued",
            Outcome::Sent => "sent",
            Outcome::Retried => "retried",
            Outcome::Held => "held",
            Outcome::Suppressed => "suppressed",
            Outcome::Dropped => "dropped",
        };
        chain.push(format!("the last notice ({}) was {outcome}: {}", line.transition, line.reason));
    }
    chain
}
