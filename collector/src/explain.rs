//! The proof of a verdict: stored facts for the engine, which explains them.
//!
//! Engine rows as they stood at the instant, the rules that were in force then and
//! the samples up to it. Of the running engine only the item's name is used: which
//! series it means, and which rule.

use crate::handle::HandleError;
use crate::query::{QueryLimits, Reader};
use crate::shared::Shared;
use crate::store::{Family, Store, keys};
use crate::writer::intake::HOST;
use crate::writer::restore::{engine_rows, engine_rows_at};
use signalbox_engine::config;
use signalbox_engine::decision::Table;
use signalbox_engine::event::SeriesId;
use signalbox_engine::explain::{Facts, Located, explain, rules_version, ruleset_source};
use signalbox_engine::rule::Ruleset;
use signalbox_proto::api::{Explanation, Finding, RulesReport};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::SeriesId as StoredId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Samples that a proof shows: the last ones up to the instant.
const SAMPLES: usize = 120;
/// How far back they are looked for.
const SAMPLES_SPAN: Millis = Millis::from_mins(60);

type Rows = Vec<(Table, Vec<u8>, Vec<u8>)>;

/// Explains on a blocking thread.
pub(crate) async fn run(shared: Arc<Shared>, item: String, at: Option<UnixMillis>) -> Result<Explanation, HandleError> {
    let task = tokio::task::spawn_blocking(move || {
        let at = at.unwrap_or_else(|| shared.now());
        let located = locate(&shared, &item)?;
        let rows = rows_at(&**shared.store(), at)?;
        let ruleset = rules_of(&**shared.store(), &rows)?;
        let samples = samples(&shared, &located, at)?;
        let facts = Facts { at, item: &located, ruleset, rows, samples: &samples };
        explain(facts).map_err(|error| HandleError::NotFound(error.to_string()))
    });
    task.await.map_err(|error| HandleError::Store(error.to_string()))?
}

fn store_error(error: impl ToString) -> HandleError {
    HandleError::Store(error.to_string())
}

/// The series and rule of an item that the board knows.
fn locate(shared: &Shared, id: &str) -> Result<Located, HandleError> {
    let absent = || HandleError::NotFound(format!("there is no item {id:?}"));
    let board = shared.board();
    let item = board.item(id).ok_or_else(absent)?;
    let pairs: Vec<_> = item.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let labels = Labels::series(&item.metric, &pairs).map_err(|_| absent())?;
    let series = shared.index().get(&labels).ok_or_else(absent)?;
    let agent = labels.get(HOST).and_then(|host| AgentId::parse(host).ok()).ok_or_else(absent)?;
    Ok(Located { agent, series: SeriesId(series.0), labels: Arc::new(labels), rule: item.rule.clone() })
}

/// Rows of verdicts as they stood; those that are only added to carry their instant.
fn rows_at(store: &dyn Store, at: UnixMillis) -> Result<Rows, HandleError> {
    let stood = engine_rows_at(store, at).map_err(store_error)?;
    let stands = engine_rows(store).map_err(store_error)?;
    let timeless = stands.into_iter().filter(|row| matches!(row.table, Table::Ledger | Table::Feeds));
    Ok(stood.into_iter().chain(timeless).filter_map(|row| Some((row.table, row.key, row.value?))).collect())
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
    let task = tokio::task::spawn_blocking(move || {
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
    task.await.unwrap_or_default()
}
