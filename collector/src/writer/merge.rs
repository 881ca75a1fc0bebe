//! Merging of sealed chunks into long rows and roll-ups, off the writer's thread.
//!
//! One merge at a time: planned from spans, encoded on a blocking thread, committed by
//! the writer in a turn. The commit puts the merged rows and deletes their sources, so a
//! crash anywhere leaves either; until then queries read the sources. After each piece
//! of work it rests three times as long, so that it takes a quarter of a core at most
//! and the sealing thread never waits for it.
//!
//! ```text
//! open lanes, then spans ─▶ compact::plan ─▶ merge ─▶ Message::Merged ─▶ commit
//!                           windows marked due ─▶ hours of minutes ─┘
//! ```

use super::inbox::{Inbox, Message};
use crate::shared::{Problem, Shared};
use crate::store::{Commit, Family, KeyValue, Rows, Store, StoreError, spans};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::SeriesId;
use signalbox_tsdb::compact::{self, Open, Pace, Part as NewPart, Plan, RollupParts};
use signalbox_tsdb::format::FormatError;
use signalbox_tsdb::keys::{AgentNo, Chunk, Part};
use signalbox_tsdb::rollup::{Bucket, RollupReader, coarsen};
use signalbox_tsdb::tier::{HOUR_MS, Span, Tier};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Between two looks at what is due.
pub(crate) const LOOK_EVERY: Millis = Millis::from_secs(30);
/// It rests so many times as long as it worked.
const REST: u64 = 3;
/// Minutes of a window of hours are whole so long after its end.
const HOURS_SETTLE: Millis = Millis::from_mins(6 * 60);
/// Damaged sources that are remembered and left alone until the next start.
const DAMAGED_MAX: usize = 10_000;
/// Bytes of a row of hours.
const HOURS_PART_BYTES: usize = compact::PART_BYTES;

/// Rows in, rows out: what one merge changes.
#[derive(Debug)]
pub struct Merge {
    commit: Commit,
    n_sources: u64,
    n_replaced: u64,
    /// Told once it is durable; dropped when the turn was refused.
    done: Option<oneshot::Sender<()>>,
}

impl Merge {
    /// Its rows into the turn's commit; whoever waits for it is told after that.
    pub(crate) fn into_commit(self, commit: &mut Commit) -> Option<oneshot::Sender<()>> {
        metrics::counter!("signalbox_merges_total").increment(1);
        metrics::counter!("signalbox_merge_bytes_total").increment(self.commit.n_bytes() as u64);
        metrics::counter!("signalbox_chunks_merged_total").increment(self.n_sources);
        metrics::counter!("signalbox_samples_replaced_total").increment(self.n_replaced);
        commit.append(self.commit);
        self.done
    }
}

/// Sources that cannot be read: they stay where they are.
#[derive(Debug, Default)]
pub(crate) struct Held(BTreeSet<Vec<u8>>);

impl Held {
    fn note(&mut self, shared: &Shared, error: &StoreError, key: &[u8]) {
        tracing::error!(%error, "a row of samples cannot be merged and stays as it is");
        metrics::counter!("signalbox_rows_damaged_total", "family" => "samples").increment(1);
        shared.set_problem(Problem::Damage, Some(format!("a row of samples cannot be merged: {error}")));
        if self.0.len() < DAMAGED_MAX {
            self.0.insert(key.to_vec());
        }
    }
}

/// Open and sealing chunks by agent: taken before spans are read, so that what is
/// sealed in between is seen twice and never not at all.
fn open_chunks(shared: &Shared) -> BTreeMap<AgentNo, Vec<Open>> {
    let cells: Vec<_> = {
        let catalogue = shared.catalogue();
        let lanes = catalogue.lanes.iter();
        lanes.flat_map(|(no, lanes)| lanes.values().map(|cell| (*no, Arc::clone(cell)))).collect()
    };
    let mut open: BTreeMap<AgentNo, Vec<Open>> = BTreeMap::new();
    for (no, cell) in cells {
        let state = cell.read();
        for lane in state.sealing.as_deref().into_iter().chain([&state.lane]) {
            if let (Some(range), Some(arrived)) = (lane.time_range(), lane.first_received()) {
                open.entry(no).or_default().push(Open { range, arrived });
            }
        }
    }
    open
}

/// Merges that are due, agents in turn.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn plan(shared: &Shared, held: &Held, now: UnixMillis, pace: Pace) -> Result<Vec<Plan>, StoreError> {
    let open = open_chunks(shared);
    let mut plans = Vec::new();
    let mut of_agent: (AgentNo, Vec<(Chunk, Span)>) = (AgentNo(0), Vec::new());
    let mut outcome = Ok(());
    let mut close = |(agent, fresh): &mut (AgentNo, Vec<(Chunk, Span)>)| {
        let open = open.get(agent).map_or(&[][..], Vec::as_slice);
        plans.extend(compact::plan(*agent, fresh, open, now, pace));
        fresh.clear();
    };
    let mut read = |rows: &dyn Rows| {
        outcome = spans::each(rows, Tier::Fresh, (&[], &[]), |key, span| {
            if let Some(chunk) = Chunk::decode(key).filter(|_| !held.0.contains(key)) {
                if chunk.agent != of_agent.0 {
                    close(&mut of_agent);
                    of_agent.0 = chunk.agent;
                }
                of_agent.1.push((chunk, span));
            }
            ControlFlow::Continue(())
        });
    };
    shared.store().read(&mut read)?;
    close(&mut of_agent);
    outcome.map(|()| plans)
}

/// Why a merge was not made.
enum Failed {
    Store(StoreError),
    /// This source cannot be read.
    Source(Vec<u8>, StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        Failed::Store(error)
    }
}

/// Does one merge. None when a source is gone or damaged.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn merge(shared: &Shared, held: &mut Held, plan: &Plan) -> Result<Option<Merge>, StoreError> {
    match try_merge(&**shared.store(), plan) {
        Ok(merge) => Ok(merge),
        Err(Failed::Store(error)) => Err(error),
        Err(Failed::Source(key, error)) => {
            held.note(shared, &error, &key);
            // Its window cannot be written without it; the sources wait.
            held.0.extend(plan.fresh.iter().map(|chunk| chunk.encode().to_vec()));
            Ok(None)
        }
    }
}

fn try_merge(store: &dyn Store, plan: &Plan) -> Result<Option<Merge>, Failed> {
    let mut read = Ok(None);
    store.read(&mut |rows| read = sources(rows, plan))?;
    let Some(sources) = read? else { return Ok(None) };
    let [long, fresh, minutes] = [&sources.long, &sources.fresh, &sources.minutes]
        .map(|rows| rows.iter().map(|(_, row)| row.as_slice()).collect::<Vec<_>>());
    let given = compact::Sources { long: &long, fresh: &fresh, minutes: &minutes };
    let merged = compact::merge(given, plan.window).map_err(|(at, why)| sources.failed(at, why))?;
    let mut commit = Commit::default();
    let old = [(Tier::Fresh, &sources.fresh), (Tier::Long, &sources.long), (Tier::Minutes, &sources.minutes)];
    for (tier, rows) in old {
        rows.iter().for_each(|(key, _)| spans::delete(&mut commit, tier, key));
    }
    for (tier, parts) in [(Tier::Long, merged.long), (Tier::Minutes, merged.minutes)] {
        put_parts(&mut commit, tier, plan.agent, plan.window, parts);
    }
    for (at, row, span) in merged.rest {
        // Merged rows lie inside their window: what is outside comes from chunks.
        let Some(source) = at.checked_sub(long.len()).and_then(|at| plan.fresh.get(at)) else { continue };
        let (min_time, max_time) = (span.facts.min_time, span.facts.max_time);
        spans::put(&mut commit, Tier::Fresh, &Chunk { min_time, max_time, ..*source }.encode(), row, &span);
    }
    spans::mark_due(&mut commit, plan.agent, Tier::Hours.window_of(plan.window));
    let (n_sources, n_replaced) = (plan.fresh.len() as u64, merged.n_replaced);
    Ok(Some(Merge { commit, n_sources, n_replaced, done: None }))
}

/// Rows of a merge, with their keys.
#[derive(Default)]
struct Sources {
    long: Vec<KeyValue>,
    fresh: Vec<KeyValue>,
    minutes: Vec<KeyValue>,
}

impl Sources {
    fn failed(&self, at: usize, why: impl ToString) -> Failed {
        let of = |family| move |(key, _): &KeyValue| (family, key.clone());
        let long = self.long.iter().map(of(Family::Long));
        let mut all =
            long.chain(self.fresh.iter().map(of(Family::Chunks))).chain(self.minutes.iter().map(of(Family::Minutes)));
        let (family, key) = all.nth(at).unwrap_or((Family::Chunks, Vec::new()));
        let error = StoreError::damaged(family, &key, why);
        Failed::Source(key, error)
    }
}

/// Rows of the window; none when a chunk of the plan is gone.
fn sources(rows: &dyn Rows, plan: &Plan) -> Result<Option<Sources>, StoreError> {
    let range = (plan.window, plan.window.shifted(Tier::Long.window_ms()));
    let mut fresh = Vec::with_capacity(plan.fresh.len());
    for chunk in &plan.fresh {
        let key = chunk.encode().to_vec();
        let Some(row) = rows.get(Family::Chunks, &key)? else { return Ok(None) };
        fresh.push((key, row));
    }
    let long = parts_of(rows, Tier::Long, plan.agent, range)?;
    Ok(Some(Sources { long, fresh, minutes: parts_of(rows, Tier::Minutes, plan.agent, range)? }))
}

/// Rows of a tier in a range, by time.
fn parts_of(
    rows: &dyn Rows,
    tier: Tier,
    agent: AgentNo,
    range: (UnixMillis, UnixMillis),
) -> Result<Vec<KeyValue>, StoreError> {
    let mut found = Vec::new();
    for (part, _) in spans::parts(rows, tier, agent, range)? {
        let key = part.encode().to_vec();
        found.extend(rows.get(Family::of(tier), &key)?.map(|row| (key, row)));
    }
    Ok(found)
}

fn put_parts(commit: &mut Commit, tier: Tier, agent: AgentNo, window: UnixMillis, parts: Vec<NewPart>) {
    for part in parts {
        let key = Part { agent, window, first: part.first };
        spans::put(commit, tier, &key.encode(), part.row, &part.span);
    }
}

/// Windows of hours whose minutes are whole.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn hours_due(store: &dyn Store, now: UnixMillis) -> Result<Vec<(AgentNo, UnixMillis)>, StoreError> {
    let mut due = Vec::new();
    let mut outcome = Ok(());
    store.read(&mut |rows| {
        outcome = spans::each_due(rows, |agent, window| {
            if window.shifted(Tier::Hours.window_ms()) < now - HOURS_SETTLE {
                due.push((agent, window));
            }
        });
    })?;
    outcome.map(|()| due)
}

/// Builds the hours of a window from its minutes; hours whose minutes are gone stay. A
/// damaged row leaves a hole, which is reported.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn hours(shared: &Shared, held: &mut Held, agent: AgentNo, window: UnixMillis) -> Result<Merge, StoreError> {
    let range = (window, window.shifted(Tier::Hours.window_ms()));
    let mut read = Ok((Vec::new(), Vec::new()));
    shared.store().read(&mut |rows| {
        let hours = parts_of(rows, Tier::Hours, agent, range);
        read = hours.and_then(|hours| Ok((hours, parts_of(rows, Tier::Minutes, agent, range)?)));
    })?;
    let (old, sources) = read?;
    let mut buckets: BTreeMap<SeriesId, Vec<Bucket>> = BTreeMap::new();
    for (key, row) in &old {
        let damaged = |why: FormatError| StoreError::damaged(Family::Hours, key, why);
        each_series(row, range, |id, hours| buckets.entry(id).or_default().extend(hours))
            .unwrap_or_else(|why| held.note(shared, &damaged(why), key));
    }
    let mut minutes: BTreeMap<SeriesId, Vec<Bucket>> = BTreeMap::new();
    for (key, row) in &sources {
        let damaged = |why: FormatError| StoreError::damaged(Family::Minutes, key, why);
        each_series(row, range, |id, more| minutes.entry(id).or_default().extend(coarsen(more, HOUR_MS)))
            .unwrap_or_else(|why| held.note(shared, &damaged(why), key));
    }
    for (id, minutes) in minutes {
        let hours = buckets.entry(id).or_default();
        // Windows of minutes are whole hours.
        let first = minutes.first().map_or(range.1, |first| first.start);
        hours.retain(|hour| hour.start < first);
        hours.extend(minutes);
    }
    let mut parts = RollupParts::new(HOUR_MS, HOURS_PART_BYTES);
    buckets.iter().for_each(|(id, hours)| parts.push(*id, hours));
    let mut commit = Commit::default();
    old.iter().for_each(|(key, _)| spans::delete(&mut commit, Tier::Hours, key));
    put_parts(&mut commit, Tier::Hours, agent, window, parts.finish());
    spans::clear_due(&mut commit, agent, window);
    Ok(Merge { commit, n_sources: 0, n_replaced: 0, done: None })
}

/// Visits the series of a row of roll-ups, until one cannot be read.
fn each_series(
    row: &[u8],
    range: (UnixMillis, UnixMillis),
    mut visit: impl FnMut(SeriesId, Vec<Bucket>),
) -> Result<(), FormatError> {
    let mut reader = RollupReader::open(row)?;
    let ids: Vec<SeriesId> = reader.series().collect();
    for id in ids {
        let buckets = reader.read(id, range.0, range.1)?;
        visit(id, buckets);
    }
    Ok(())
}

/// Looks, merges, rests, for ever.
pub(crate) async fn run(shared: Arc<Shared>, inbox: Inbox) {
    let mut held = Held::default();
    loop {
        tokio::time::sleep(LOOK_EVERY.std()).await;
        let outcome = round(&shared, &inbox, held).await;
        let Some(kept) = outcome else { return };
        held = kept;
    }
}

/// Everything that is due now; none when the collector ends.
async fn round(shared: &Arc<Shared>, inbox: &Inbox, held: Held) -> Option<Held> {
    let (now, looker) = (shared.now(), Arc::clone(shared));
    let looked = tokio::task::spawn_blocking(move || {
        let plans = plan(&looker, &held, now, Pace::default());
        let hours = hours_due(&**looker.store(), now);
        (held, plans.and_then(|plans| Ok((plans, hours?))))
    });
    let (mut held, due) = looked.await.ok()?;
    let (plans, windows) = match due {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(%error, "merging could not read the store, tries again later");
            return Some(held);
        }
    };
    metrics::gauge!("signalbox_merges_due").set(plans.len() as f64);
    let merges = plans.into_iter().map(Work::Merge);
    for work in merges.chain(windows.into_iter().map(|(agent, window)| Work::Hours(agent, window))) {
        let begun = shared.clock().mono();
        let worker = Arc::clone(shared);
        let worked = tokio::task::spawn_blocking(move || {
            let merge = match &work {
                Work::Merge(plan) => merge(&worker, &mut held, plan),
                Work::Hours(agent, window) => hours(&worker, &mut held, *agent, *window).map(Some),
            };
            (held, merge)
        });
        let (kept, merge) = worked.await.ok()?;
        held = kept;
        match merge {
            Ok(Some(mut merge)) => {
                let (done, committed) = oneshot::channel();
                merge.done = Some(done);
                inbox.send(Message::Merged(merge)).await.ok()?;
                // A refused turn drops it: planned again at the next look.
                let _refused_or_not = committed.await;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "merging could not read the store, tries again later");
                return Some(held);
            }
        }
        let worked = shared.clock().mono().0.saturating_sub(begun.0);
        tokio::time::sleep(Millis(worked.saturating_mul(REST)).std()).await;
    }
    Some(held)
}

/// One piece of work.
#[derive(Debug)]
enum Work {
    Merge(Plan),
    Hours(AgentNo, UnixMillis),
}

#[cfg(test)]
mod tests;
