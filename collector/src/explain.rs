//! The proof of a verdict: stored facts for the engine, which explains them.
//!
//! The rules that were in force at the instant say which series the item's id means;
//! engine rows as they stood then and the samples up to it are the facts. Only the
//! rows of this item are read, each by its key.

use crate::config::refusal;
use crate::handle::HandleError;
use crate::query::{QueryLimits, Reader};
use crate::reading::{Asked, read};
use crate::selection::select;
use crate::series::Sees;
use crate::shared::Shared;
use crate::store::{Family, Store, StoreError, each_of, keys};
use crate::writer::EXPLAINED;
use crate::writer::intake::HOST;
use signalbox_engine::board::Board;
use signalbox_engine::config;
use signalbox_engine::decision::Table;
use signalbox_engine::event::SeriesId;
use signalbox_engine::explain::{
    Extent, Facts, Found, Located, META_KEY, RestoreError, Rows, explain, gather, item_id, readings, rules_version,
    ruleset_source,
};
use signalbox_engine::rule::Ruleset;
use signalbox_proto::api::{Explanation, Finding, Item, RulesReport};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::SeriesId as StoredId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Samples that a proof shows: the last ones up to the instant.
const SAMPLES: usize = 120;
/// How far back they are looked for.
const SAMPLES_SPAN: Millis = Millis::from_mins(60);

/// How long before the instant a series may have had its last sample: what its rules
/// made of its silence is proven too.
const SERIES_SPAN: Millis = Millis::from_mins(30 * 24 * 60);

/// Items that are named when several match.
const CANDIDATES_MAX: usize = 10;

/// How long a proof or a check may wait for its turn.
const TIMEOUT: Millis = Millis::from_secs(30);

/// Explains on a blocking thread.
pub(crate) async fn run(shared: Arc<Shared>, item: String, at: Option<UnixMillis>) -> Result<Explanation, HandleError> {
    read(&shared, TIMEOUT, move |shared, _| prove(shared, &item, at)).await?
}

/// The proof, from the store.
pub(crate) fn prove(shared: &Shared, item: &str, at: Option<UnixMillis>) -> Result<Explanation, HandleError> {
    let now = shared.now();
    let at = at.unwrap_or(now);
    if at > now {
        return Err(HandleError::Future);
    }
    let past = Past { store: &**shared.store(), at };
    let ruleset = past.rules()?;
    let located = locate(shared, &ruleset, item, at)?;
    let rows = gather(&located, |table, key, extent| past.read(table, key, extent))?;
    let samples = samples(shared, &located, at)?;
    let facts = Facts { at, item: &located, ruleset, rows, samples: &samples };
    explain(facts).map_err(|error| HandleError::NotFound(error.to_string()))
}

impl From<RestoreError> for HandleError {
    fn from(error: RestoreError) -> HandleError {
        store_error(error)
    }
}

fn store_error(error: impl ToString) -> HandleError {
    HandleError::Store(error.to_string())
}

/// The series and rule of an item: by its whole id, whether the board shows it now
/// or not, or by a part that only one item of the board has.
fn locate(shared: &Shared, rules: &Ruleset, id: &str, at: UnixMillis) -> Result<Located, HandleError> {
    if let Some(located) = exact(shared, rules, id, at)? {
        return Ok(located);
    }
    let board = shared.board();
    let whole = &only_one(&board, id)?.id;
    exact(shared, rules, whole, at)?
        .ok_or_else(|| HandleError::NotFound(format!("the rules that were in force then had no item {whole:?}")))
}

/// The stored series that a rule makes this item of, be it retired since.
fn exact(shared: &Shared, rules: &Ruleset, id: &str, at: UnixMillis) -> Result<Option<Located>, HandleError> {
    let range = (at - SERIES_SPAN, at.shifted(1));
    for (agent, rule) in readings(rules, id) {
        let owner = shared.catalogue().numbers.get(&agent).copied();
        // What agents sample carries their name; what others send keeps its labels.
        for selector in [rule.selector.narrowed(HOST, agent.as_str()), rule.selector.clone()] {
            for series in select(shared, selector.matchers(), range, usize::MAX).map_err(store_error)? {
                // Of several parts the last one: the series that spoke again.
                let own = series.parts.iter().filter(|part| Some(part.0) == owner);
                let Some((_, last)) = own.max_by_key(|part| part.1) else { continue };
                let labels = series.labels.to_labels();
                if item_id(&agent, rule, &labels) == id {
                    let (labels, rule, series) = (Arc::new(labels), rule.id.clone(), SeriesId(last.0));
                    return Ok(Some(Located { agent, series, labels, rule }));
                }
            }
        }
    }
    Ok(None)
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

/// The store as it stood at an instant.
struct Past<'a> {
    store: &'a dyn Store,
    at: UnixMillis,
}

impl Past<'_> {
    /// Rows of a table. Verdicts have versions; lines of the ledger carry their own
    /// instant, and a feed's row says only which check samples a series.
    fn read(&self, table: Table, key: &[u8], extent: Extent) -> Result<Found, HandleError> {
        if !EXPLAINED.contains(&table) {
            return self.standing(table, key);
        }
        match extent {
            Extent::Row => {
                let (from, to) = (keys::history_of(table, key), keys::history(table, key, self.at.shifted(1)));
                let version = self.store.last(Family::History, &from, &to).map_err(store_error)?;
                Ok(version
                    .and_then(|(_, row)| Some((key.to_vec(), keys::present(&row)?.to_vec())))
                    .into_iter()
                    .collect())
            }
            Extent::Prefix => self.versions(table, key),
        }
    }

    fn standing(&self, table: Table, prefix: &[u8]) -> Result<Found, HandleError> {
        let mut rows = Found::new();
        each_of(self.store, Family::State, &keys::state(table, prefix), |key, value| {
            rows.push((key[1..].to_vec(), value.to_vec()));
            Ok::<(), StoreError>(())
        })
        .map_err(store_error)?;
        Ok(rows)
    }

    /// The version in force of every row of a small table.
    fn versions(&self, table: Table, prefix: &[u8]) -> Result<Found, HandleError> {
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        each_of(self.store, Family::History, &[table as u8], |key, value| {
            if let Some((row, from)) = keys::parse_history(key)
                && from <= self.at
                && let Some(own) = keys::row_key(row).filter(|own| own.starts_with(prefix))
            {
                rows.insert(own.to_vec(), value.to_vec());
            }
            Ok::<(), StoreError>(())
        })
        .map_err(store_error)?;
        Ok(rows.into_iter().filter_map(|(key, row)| Some((key, keys::present(&row)?.to_vec()))).collect())
    }

    /// The rules that were in force.
    fn rules(&self) -> Result<Arc<Ruleset>, HandleError> {
        let nothing = || HandleError::TooEarly;
        let meta = self.read(Table::Meta, META_KEY, Extent::Row)?.into_iter();
        let meta: Rows = meta.map(|(key, value)| (Table::Meta, key, value)).collect();
        let version = rules_version(&meta).map_err(store_error)?.ok_or_else(nothing)?;
        let key = keys::state(Table::Rulesets, version.as_bytes());
        let row = self.store.get(Family::State, &key).map_err(store_error)?.ok_or_else(nothing)?;
        let source = ruleset_source(&version, &row).map_err(store_error)?;
        let (rules, _) = config::parse(&source);
        rules.map(Arc::new).ok_or_else(|| store_error("the rules of that instant are refused by this version"))
    }
}

fn samples(shared: &Shared, item: &Located, at: UnixMillis) -> Result<Vec<(UnixMillis, f64)>, HandleError> {
    let Some(agent) = shared.catalogue().numbers.get(&item.agent).copied() else { return Ok(Vec::new()) };
    let limits = QueryLimits::default();
    let (deadline, waiting) = (shared.clock().mono() + limits.timeout, Asked::default());
    let reader = Reader { shared, deadline, limits, waiting: &waiting };
    let id = StoredId(item.series.0);
    let points = reader.points(agent, &[id], at - SAMPLES_SPAN, at, &mut 0).map_err(store_error)?;
    let points = points.into_iter().next().unwrap_or_default();
    let skipped = points.len().saturating_sub(SAMPLES);
    Ok(points.into_iter().skip(skipped).map(|point| (point.time, point.value)).collect())
}

/// What files of rules would be found to be, against the series that exist and are in
/// sight: what they select must not tell of others.
pub(crate) async fn check_rules(shared: Arc<Shared>, files: BTreeMap<String, String>, sees: Sees) -> RulesReport {
    let task = read(&shared, TIMEOUT, move |shared, _| {
        let (rules, mut findings) = config::parse(&files);
        let Some(rules) = rules else { return RulesReport { findings, ..RulesReport::default() } };
        let mut selected = BTreeSet::new();
        for rule in &rules.rules {
            let (mut ids, _) = shared.index().select(&rule.selector, usize::MAX);
            if let Some(sees) = &sees {
                // The index is asked one by one: the writer waits for none of it.
                ids.retain(|id| shared.index().labels(*id).is_some_and(|labels| sees(&labels)));
            }
            let is_none = ids.is_empty();
            selected.extend(ids);
            if is_none {
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
