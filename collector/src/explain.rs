//! The proof of a verdict, rebuilt from stored facts alone.
//!
//! Engine rows as they stood at the instant, the rules that were in force then, and
//! the samples up to it go into an engine of their own, which shows the item as the
//! board showed it. Nothing here reads what the running engine holds in memory.

use crate::handle::HandleError;
use crate::query::{QueryLimits, Reader, json_point};
use crate::shared::Shared;
use crate::store::{Family, Store, after_prefix, keys};
use crate::writer::intake::HOST;
use crate::writer::restore::{engine_rows, engine_rows_at};
use serde::Deserialize;
use signalbox_engine::board::Board;
use signalbox_engine::config;
use signalbox_engine::decision::{Row, Table};
use signalbox_engine::engine::Engine;
use signalbox_engine::event::{Event, SeriesId, Stamped};
use signalbox_engine::rule::{Judgement, Ruleset, Threshold};
use signalbox_proto::api::{Explanation, Item, LedgerLine, RulesReport};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::status::Freshness;
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::Point;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Samples that a proof shows: up to the instant.
const SAMPLES: usize = 60;
/// How far back they are looked for.
const SAMPLES_SPAN: Millis = Millis::from_mins(60);
/// Ledger lines that a proof shows, the newest.
const LEDGER: usize = 50;

/// What the engine keeps of a ruleset.
#[derive(Debug, Deserialize)]
struct StoredRules {
    source: BTreeMap<String, String>,
}

/// What of the engine's counters is needed here.
#[derive(Debug, Default, Deserialize)]
struct StoredMeta {
    rules_version: String,
}

/// Explains on a blocking thread.
pub(crate) async fn run(
    shared: Arc<Shared>,
    item: String,
    at: Option<UnixMillis>,
) -> Result<Explanation, HandleError> {
    let task = tokio::task::spawn_blocking(move || {
        let at = at.unwrap_or_else(|| shared.now());
        Past::read(&shared, at)?.explain(&item)
    });
    task.await.map_err(|error| HandleError::Store(error.to_string()))?
}

fn store_error(error: impl ToString) -> HandleError {
    HandleError::Store(error.to_string())
}

/// Everything that was known at an instant.
struct Past<'a> {
    shared: &'a Shared,
    at: UnixMillis,
    rules: Arc<Ruleset>,
    board: Board,
}

impl Past<'_> {
    fn read(shared: &Shared, at: UnixMillis) -> Result<Past<'_>, HandleError> {
        let store = &**shared.store();
        let mut rows = engine_rows_at(store, at).map_err(store_error)?;
        // What samples each series is not kept as it stood; it hardly ever changes.
        let feeds = engine_rows(store).map_err(store_error)?;
        rows.extend(feeds.into_iter().filter(|row| row.table == Table::Feeds));
        let rules = rules_of(store, &rows)?;
        let triples = rows.into_iter().filter_map(|row| Some((row.table, row.key, row.value?)));
        let mut engine = Engine::restore(triples).map_err(store_error)?;
        let stamped = |event| Stamped { at, event };
        engine.adopt(engine.decide(&[stamped(Event::Rules(Arc::clone(&rules)))]));
        let mut known = Vec::new();
        let index = shared.index();
        for id in index.ids() {
            let agent = index.label(id, HOST).and_then(|host| AgentId::parse(host).ok());
            let (Some(agent), Some(labels)) = (agent, index.labels(id)) else { continue };
            if engine.selects(&labels) {
                let (series, labels) = (SeriesId(id.0), Arc::new(labels));
                known.push(stamped(Event::SeriesKnown { agent, series, labels }));
            }
        }
        drop(index);
        engine.adopt(engine.decide(&known));
        let board = engine.board(at);
        Ok(Past { shared, at, rules, board })
    }

    fn explain(&self, id: &str) -> Result<Explanation, HandleError> {
        let absent = || HandleError::NotFound(format!("nothing was known about {id:?} at {}", self.at.0));
        let item = self.board.item(id).ok_or_else(absent)?;
        let labels = item.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::series(&item.metric, &labels.collect::<Vec<_>>()).map_err(|_| absent())?;
        let samples = self.samples(&labels)?;
        let item = with_age(item.clone(), &samples, self.at);
        let (rule, override_by) = self.rule(&item, &labels);
        let ledger = ledger(&**self.shared.store(), id, self.at)?;
        Ok(Explanation {
            at: self.at,
            rules_version: self.rules.version.clone(),
            rule,
            override_by,
            samples: samples.iter().map(json_point).collect(),
            clocks: clocks(&item),
            suppressions: self.suppressions(&item),
            because: because(&item, &ledger),
            ledger,
            item,
        })
    }

    fn samples(&self, labels: &Labels) -> Result<Vec<Point>, HandleError> {
        let shared = self.shared;
        let Some(id) = shared.index().get(labels) else { return Ok(Vec::new()) };
        let host = labels.get(HOST).and_then(|host| AgentId::parse(host).ok());
        let agent = host.and_then(|host| shared.catalogue().numbers.get(&host).copied());
        let Some(agent) = agent else { return Ok(Vec::new()) };
        let limits = QueryLimits::default();
        let reader = Reader { shared, deadline: shared.clock().mono() + limits.timeout, limits };
        let points = reader.points(agent, &[id], self.at - SAMPLES_SPAN, self.at, &mut 0).map_err(store_error)?;
        let mut points = points.into_iter().next().unwrap_or_default();
        points.drain(..points.len().saturating_sub(SAMPLES));
        Ok(points)
    }

    /// The rule as it applied, and the override that changed it.
    fn rule(&self, item: &Item, labels: &Labels) -> (BTreeMap<String, String>, Option<String>) {
        let Some(rule) = self.rules.rules.iter().find(|rule| rule.id == item.rule) else { return Default::default() };
        let over = rule.overrides.iter().rev().find(|over| over.selector.matches(labels));
        let mut facts = facts(over.map_or(&rule.base, |over| &over.judgement));
        facts.insert("selector".to_owned(), rule.selector.to_string());
        facts.insert("file".to_owned(), format!("{}:{}", rule.file, rule.line));
        (facts, over.map(|over| over.selector.to_string()))
    }

    fn suppressions(&self, item: &Item) -> Vec<String> {
        let in_force = self.board.snoozes.iter().filter(|snooze| item.snoozes.contains(&snooze.id));
        let mut lines: Vec<String> = in_force
            .map(|snooze| {
                let (id, scope, author, reason) = (snooze.id, &snooze.scope, &snooze.author, &snooze.reason);
                format!("snooze {id} on {scope} by {author} until {}: {reason}", snooze.until.0)
            })
            .collect();
        if item.flapping {
            lines.push("flapping: the level is pinned at its worst, one notice only".to_owned());
        }
        lines
    }
}

/// The rules that were in force when these rows stood.
fn rules_of(store: &dyn Store, rows: &[Row]) -> Result<Arc<Ruleset>, HandleError> {
    let meta = rows.iter().find(|row| row.table == Table::Meta).and_then(|row| row.value.as_deref());
    let nothing = || HandleError::NotFound("nothing is kept of that instant".to_owned());
    let meta: StoredMeta = ciborium::from_reader(meta.ok_or_else(nothing)?).map_err(store_error)?;
    let key = keys::state(Table::Rulesets, meta.rules_version.as_bytes());
    let row = store.get(Family::State, &key).map_err(store_error)?.ok_or_else(nothing)?;
    let stored: StoredRules = ciborium::from_reader(row.as_slice()).map_err(store_error)?;
    let (rules, _) = config::parse(&stored.source);
    rules.map(Arc::new).ok_or_else(|| store_error("the rules of that instant are refused by this version"))
}

/// Freshness and value as the samples up to the instant say.
fn with_age(mut item: Item, samples: &[Point], at: UnixMillis) -> Item {
    let Some(last) = samples.last() else {
        item.freshness = Freshness::Unknown;
        return item;
    };
    let mut steps: Vec<u64> = samples.windows(2).map(|pair| pair[1].time.since(pair[0].time).0).collect();
    steps.sort_unstable();
    let interval = steps.get(steps.len() / 2).copied().unwrap_or(1000);
    let age = at.since(last.time).0;
    item.freshness = if age > (3 * interval).max(30_000) {
        Freshness::Stale
    } else if age > 2 * interval + interval / 2 {
        Freshness::Late
    } else {
        Freshness::Fresh
    };
    item.value = Some(last.value).filter(|value| value.is_finite());
    item.value_at = last.time;
    item
}

fn facts(judgement: &Judgement) -> BTreeMap<String, String> {
    let threshold = |threshold: &Threshold| format!("{:?}, held while {:?}", threshold.bad, threshold.hold);
    let Judgement { amber, red, raise_amber, raise_red, clear_amber, clear_red, k_of_n, .. } = judgement;
    let mut facts: BTreeMap<&str, String> = BTreeMap::from([
        ("raise_for", format!("amber {raise_amber}, red {raise_red}")),
        ("clear_for", format!("amber {clear_amber}, red {clear_red}")),
        ("k_of_n", format!("{} of {}", k_of_n.0, k_of_n.1)),
        ("on_missing", format!("{:?} after {}", judgement.on_missing, judgement.no_data_for).to_lowercase()),
        ("incident_from", judgement.incident_from.to_string()),
    ]);
    facts.extend(amber.as_ref().map(|amber| ("amber", threshold(amber))));
    facts.extend(red.as_ref().map(|red| ("red", threshold(red))));
    facts.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

fn clocks(item: &Item) -> Vec<String> {
    let pending = item.pending.iter().map(|pending| {
        let until = pending.due.map_or("paused".to_owned(), |due| format!("held at {}", due.0));
        format!("{} waits since {}, {until}", pending.target, pending.since.0)
    });
    pending.collect()
}

fn because(item: &Item, ledger: &[LedgerLine]) -> Vec<String> {
    let mut lines = vec![item.why.clone()];
    lines.push(format!("{} is held since {}, its facts are {}", item.level, item.since.0, item.freshness));
    lines.extend(item.incident.map(|number| format!("INC-{number} is open about it")));
    lines.extend(ledger.last().map(|line| format!("last word about a notice: {} ({})", line.reason, line.transition)));
    lines
}

/// Ledger lines about an item up to an instant, oldest first.
fn ledger(store: &dyn Store, item: &str, at: UnixMillis) -> Result<Vec<LedgerLine>, HandleError> {
    let prefix = keys::state(Table::Ledger, &[]);
    let mut lines = std::collections::VecDeque::with_capacity(LEDGER);
    let mut visit = |_: &[u8], row: &[u8]| {
        // A line that does not decode is damage, counted at the start.
        let line: Option<LedgerLine> = ciborium::from_reader(row).ok();
        if let Some(line) = line.filter(|line| line.item == item && line.at <= at) {
            if lines.len() == LEDGER {
                lines.pop_front();
            }
            lines.push_back(line);
        }
        ControlFlow::Continue(())
    };
    store.scan(Family::State, &prefix, &after_prefix(&prefix), &mut visit).map_err(store_error)?;
    Ok(lines.into())
}

/// What files of rules would be found to be, against the series that exist.
pub(crate) async fn check_rules(shared: Arc<Shared>, files: BTreeMap<String, String>) -> RulesReport {
    let task = tokio::task::spawn_blocking(move || {
        let (rules, mut findings) = config::parse(&files);
        let Some(rules) = rules else { return RulesReport { findings, ..RulesReport::default() } };
        let mut n_selected = std::collections::BTreeSet::new();
        for rule in &rules.rules {
            let (ids, n) = shared.index().select(&rule.selector, usize::MAX);
            n_selected.extend(ids);
            if n == 0 {
                findings.push(signalbox_proto::api::Finding {
                    error: false,
                    file: rule.file.clone(),
                    line: rule.line,
                    column: 0,
                    message: format!("rule {}: {} selects no series that exists now", rule.id, rule.selector),
                    remedy: "check the metric's name and labels with: signalbox query SELECTOR".to_owned(),
                });
            }
        }
        RulesReport { n_rules: rules.rules.len(), n_selected: n_selected.len(), findings }
    });
    task.await.unwrap_or_default()
}
