//! The proof of a verdict: stored facts for the engine, which explains them.
//!
//! Engine rows as they stood at the instant, the rules that were in force then and
//! the samples up to it. Of the running engine only the item's name is used: which
//! series it means, and which rule.

use crate::config::refusal;
use crate::handle::HandleError;
use crate::query::{QueryLimits, Reader};
use crate::shared::Shared;
use crate::store::{Commit, Family, KeyValue, Stats, Store, StoreError, Visit, after_prefix, keys};
use crate::writer::intake::HOST;
use crate::writer::restore::engine_rows_at;
use signalbox_engine::board::Board;
use signalbox_engine::config;
use signalbox_engine::decision::Table;
use signalbox_engine::event::SeriesId;
use signalbox_engine::explain::{Facts, Located, explain, rules_version, ruleset_source};
use signalbox_engine::rule::Ruleset;
use signalbox_proto::api::{Explanation, Finding, Item, RulesReport};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::SeriesId as StoredId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Samples that a proof shows: the last ones up to the instant.
const SAMPLES: usize = 120;
/// How far back they are looked for.
const SAMPLES_SPAN: Millis = Millis::from_mins(60);

type Rows = Vec<(Table, Vec<u8>, Vec<u8>)>;

/// Items that are named when several match.
const CANDIDATES_MAX: usize = 10;

/// How long a proof or a check may wait for its turn, and how long a proof may read.
const TIMEOUT: Millis = Millis::from_secs(30);

/// A place among all that read on blocking threads, queries included.
async fn permit(shared: &Shared) -> Result<OwnedSemaphorePermit, HandleError> {
    let permit = Arc::clone(shared.queries()).acquire_owned();
    let permit = tokio::time::timeout(TIMEOUT.std(), permit).await;
    permit.map_err(|_| HandleError::Busy)?.map_err(|_| HandleError::Busy)
}

/// Reads of the store that end at a deadline, since a blocking thread cannot be
/// stopped from outside.
struct Timed<'a> {
    shared: &'a Shared,
    /// On the monotonic clock.
    deadline: Millis,
}

impl Timed<'_> {
    fn is_over(&self) -> bool {
        self.shared.clock().mono() > self.deadline
    }
}

impl Store for Timed<'_> {
    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        self.shared.store().commit(commit)
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.store().get(family, key)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        let mut is_over = false;
        let mut timed = |key: &[u8], value: &[u8]| {
            is_over = self.is_over();
            if is_over { ControlFlow::Break(()) } else { visit(key, value) }
        };
        self.shared.store().scan(family, from, to, &mut timed)?;
        if is_over {
            let why = format!("it took longer than {TIMEOUT}");
            return Err(StoreError::Failed { what: "read what was known then".to_owned(), why });
        }
        Ok(())
    }

    fn last(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        self.shared.store().last(family, from, to)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.shared.store().reopen()
    }

    fn stats(&self) -> Stats {
        self.shared.store().stats()
    }
}

/// Explains on a blocking thread.
pub(crate) async fn run(shared: Arc<Shared>, item: String, at: Option<UnixMillis>) -> Result<Explanation, HandleError> {
    let permit = permit(&shared).await?;
    let task = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let at = at.unwrap_or_else(|| shared.now());
        let located = locate(&shared, &item)?;
        let store = Timed { shared: &shared, deadline: shared.clock().mono() + TIMEOUT };
        let late = |error| if store.is_over() { HandleError::TimedOut(TIMEOUT) } else { error };
        let rows = rows_at(&store, at).map_err(late)?;
        let ruleset = rules_of(&store, &rows)?;
        let samples = samples(&shared, &located, at)?;
        let facts = Facts { at, item: &located, ruleset, rows, samples: &samples };
        explain(facts).map_err(|error| HandleError::NotFound(error.to_string()))
    });
    task.await.map_err(|error| HandleError::Store(error.to_string()))?
}

fn store_error(error: impl ToString) -> HandleError {
    HandleError::Store(error.to_string())
}

/// The series and rule of an item that the board knows: by its whole id, or by a
/// part that only one has.
fn locate(shared: &Shared, id: &str) -> Result<Located, HandleError> {
    let absent = || HandleError::NotFound(format!("there is no item {id:?}"));
    let board = shared.board();
    let item = match board.item(id) {
        Some(item) => item,
        None => only_one(&board, id)?,
    };
    let pairs: Vec<_> = item.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let labels = Labels::series(&item.metric, &pairs).map_err(|_| absent())?;
    let series = shared.index().get(&labels).ok_or_else(absent)?;
    let agent = labels.get(HOST).and_then(|host| AgentId::parse(host).ok()).ok_or_else(absent)?;
    Ok(Located { agent, series: SeriesId(series.0), labels: Arc::new(labels), rule: item.rule.clone() })
}

/// The item whose id holds this text, or why there is not just one.
fn only_one<'b>(board: &'b Board, part: &str) -> Result<&'b Item, HandleError> {
    let items = board.status.entities.iter().flat_map(|entity| &entity.items);
    let found: Vec<&Item> = items.filter(|item| !part.is_empty() && item.id.contains(part)).collect();
    match found[..] {
        [] => Err(HandleError::NotFound(format!("there is no item {part:?}"))),
        [item] => Ok(item),
        _ => {
            let ids: Vec<&str> = found.iter().take(CANDIDATES_MAX).map(|item| item.id.as_str()).collect();
            let more = if found.len() > ids.len() { ", …" } else { "" };
            let text = format!("{} items match {part:?}: {}{more}", found.len(), ids.join(", "));
            Err(HandleError::NotFound(text))
        }
    }
}

/// Rows of verdicts as they stood; those that are only added to carry their instant.
fn rows_at(store: &dyn Store, at: UnixMillis) -> Result<Rows, HandleError> {
    let stood = engine_rows_at(store, at).map_err(store_error)?;
    let mut rows: Rows = stood.into_iter().filter_map(|row| Some((row.table, row.key, row.value?))).collect();
    for table in [Table::Ledger, Table::Feeds] {
        let prefix = keys::state(table, &[]);
        let mut visit = |key: &[u8], value: &[u8]| {
            rows.push((table, key[prefix.len()..].to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        store.scan(Family::State, &prefix, &after_prefix(&prefix), &mut visit).map_err(store_error)?;
    }
    Ok(rows)
}

/// The rules that were in force when these rows stood.
fn rules_of(store: &dyn Store, rows: &Rows) -> Result<Arc<Ruleset>, HandleError> {
    let nothing = || HandleError::NotFound("nothing is kept of that instant".to_owned());
    let version = rules_version(rows).map_err(store_error)?.ok_or_else(nothing)?;
    let key = keys::state(Table::Rulesets, version.as_bytes());
    let row = store.get(Family::State, &key).map_err(store_error)?.ok_or_else(nothing)?;
    let source = ruleset_source(&version, &row).map_err(store_error)?;
    let (rules, _) = config::parse(&source);
    rules.map(Arc::new).ok_or_else(|| store_error("the rules of that instant are refused by this version"))
}

fn samples(shared: &Shared, item: &Located, at: UnixMillis) -> Result<Vec<(UnixMillis, f64)>, HandleError> {
    let Some(agent) = shared.catalogue().numbers.get(&item.agent).copied() else { return Ok(Vec::new()) };
    let limits = QueryLimits::default();
    let reader = Reader { shared, deadline: shared.clock().mono() + limits.timeout, limits };
    let id = StoredId(item.series.0);
    let points = reader.points(agent, &[id], at - SAMPLES_SPAN, at, &mut 0).map_err(store_error)?;
    let points = points.into_iter().next().unwrap_or_default();
    let skipped = points.len().saturating_sub(SAMPLES);
    Ok(points.into_iter().skip(skipped).map(|point| (point.time, point.value)).collect())
}

/// What files of rules would be found to be, against the series that exist.
pub(crate) async fn check_rules(shared: Arc<Shared>, files: BTreeMap<String, String>) -> RulesReport {
    let permit = match permit(&shared).await {
        Ok(permit) => permit,
        Err(busy) => return RulesReport { findings: vec![refusal(busy)], ..RulesReport::default() },
    };
    let task = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let (rules, mut findings) = config::parse(&files);
        let Some(rules) = rules else { return RulesReport { findings, ..RulesReport::default() } };
        let mut selected = BTreeSet::new();
        for rule in &rules.rules {
            let (ids, n) = shared.index().select(&rule.selector, usize::MAX);
            selected.extend(ids);
            if n == 0 {
                findings.push(Finding {
                    error: false,
                    file: rule.file.clone(),
                    line: rule.line,
                    column: 0,
                    message: format!("rule {}: {} selects no series that exists now", rule.id, rule.selector),
                    remedy: "compare its name and labels with: signalbox query SELECTOR".to_owned(),
                });
            }
        }
        RulesReport { n_rules: rules.rules.len(), n_selected: selected.len(), findings }
    });
    // An empty report would say that all is well.
    task.await.unwrap_or_else(|error| RulesReport { findings: vec![refusal(error)], ..RulesReport::default() })
}
