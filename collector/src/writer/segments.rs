//! Upkeep of the segments of retired series, planned off the writer's thread: small
//! ones are merged, those whose samples are gone are deleted.
//!
//! A merged-away segment loses its head in the commit that brings its successor. Its
//! lists stay for a round, because a query that began before may be reading them.

use super::inbox::{Inbox, Message};
use super::intake::Intake;
use crate::selection::StoreRows;
use crate::shared::Shared;
use crate::store::{Family, KeyValue, Store, StoreError, after_prefix, each_of, spans};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::SeriesId;
use signalbox_tsdb::index::SeriesIndex;
use signalbox_tsdb::index::postings::Source;
use signalbox_tsdb::segment::{self, Builder, Head, Segment, decode_list, key};
use std::sync::Arc;

/// Between two rounds: longer than a query may take.
const ROUND: Millis = Millis::from_mins(1);

/// A change of segments, planned.
#[derive(Debug, PartialEq, Eq)]
pub struct SegmentChange {
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// These become one.
    Merged { from: Vec<u64>, head: Head, rows: Vec<KeyValue> },
    /// No sample of this one is left.
    Expired { segment: u64, series: Vec<SeriesId> },
    /// Lists of merged-away segments.
    Erased(Vec<u64>),
}

impl SegmentChange {
    /// Segments that lose their heads.
    pub(super) fn gone(&self) -> Vec<u64> {
        match &self.kind {
            Kind::Merged { from, .. } => from.clone(),
            Kind::Expired { segment, .. } => vec![*segment],
            Kind::Erased(_) => Vec::new(),
        }
    }

    /// The segment that comes.
    pub(super) fn head(&self) -> Option<Head> {
        match &self.kind {
            Kind::Merged { head, .. } => Some(*head),
            Kind::Expired { .. } | Kind::Erased(_) => None,
        }
    }

    /// Its rows, unless it was planned over segments that are no more.
    pub(super) fn into_commit(mut self, index: &SeriesIndex, out: &mut Intake) {
        let stands = |segment: &u64| index.segments().iter().any(|head| head.segment == *segment);
        let taken: Vec<u64> = out.segments.iter().flat_map(SegmentChange::gone).collect();
        if !self.gone().iter().all(|segment| stands(segment) && !taken.contains(segment)) {
            return;
        }
        let commit = &mut out.commit;
        let erase = |commit: &mut crate::store::Commit, segment: u64| {
            let lists = key::lists(segment);
            let end = after_prefix(&lists);
            commit.delete_range(Family::Postings, lists, end);
        };
        match &mut self.kind {
            Kind::Merged { from, rows, .. } => {
                for segment in from {
                    commit.delete(Family::Postings, key::head(*segment));
                    commit.put(Family::Postings, key::gone(*segment), []);
                }
                for (key, row) in rows.drain(..) {
                    commit.put(Family::Postings, key, row);
                }
                metrics::counter!("signalbox_series_segments_merged_total").increment(1);
            }
            Kind::Expired { segment, series } => {
                commit.delete(Family::Postings, key::head(*segment));
                erase(commit, *segment);
                for id in series.drain(..) {
                    commit.delete(Family::Postings, key::series(id));
                }
            }
            Kind::Erased(segments) => {
                for segment in segments {
                    erase(commit, *segment);
                    commit.delete(Family::Postings, key::gone(*segment));
                }
            }
        }
        out.segments.push(self);
    }
}

/// The next thing to do; none when all is as it should be. No age keeps samples
/// before `oldest`; lists of `erasable` have no reader left.
///
/// What is too old may lie there yet, in a row that could not be deleted or before the
/// first sweep after a long stop: a series goes after its last row, so that whatever is
/// stored has a name, and no id is given again while samples lie under it.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(crate) fn plan(
    shared: &Shared,
    oldest: UnixMillis,
    erasable: &mut Vec<u64>,
) -> Result<Option<SegmentChange>, StoreError> {
    let store = &**shared.store();
    let heads = shared.index().segments().to_vec();
    if !erasable.is_empty() {
        return Ok(Some(SegmentChange { kind: Kind::Erased(std::mem::take(erasable)) }));
    }
    // Spans are read only when something may go.
    let has_old = heads.iter().any(|head| head.last < oldest);
    let oldest = if has_old { spans::oldest(store)?.min(oldest) } else { oldest };
    if let Some(old) = heads.iter().find(|head| head.last < oldest) {
        let rows = StoreRows(store);
        let series = Segment { rows: &rows, segment: old.segment }.all()?.iter().map(SeriesId).collect();
        return Ok(Some(SegmentChange { kind: Kind::Expired { segment: old.segment, series } }));
    }
    let Some((from, level)) = segment::due(&heads) else { return Ok(None) };
    let merged = merge(store, &from)?.build(shared.next_segment(), level);
    let from = from.iter().map(|head| head.segment).collect();
    Ok(merged.map(|(head, rows)| SegmentChange { kind: Kind::Merged { from, head, rows } }))
}

fn merge(store: &dyn Store, from: &[Head]) -> Result<Builder, StoreError> {
    let mut merged = Builder::default();
    for head in from {
        merged.widen(head.first, head.last);
        each_of(store, Family::Postings, &key::lists(head.segment), |key, row| {
            let damaged = || StoreError::damaged(Family::Postings, key, "not a list of a segment");
            let (name, value) = key::parse_list(key).ok_or_else(damaged)?;
            merged.add_list(name, value, decode_list(row).map_err(|_| damaged())?);
            Ok::<(), StoreError>(())
        })?;
    }
    Ok(merged)
}

/// Merged-away segments whose lists lie there yet.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(crate) fn gone(store: &dyn Store) -> Result<Vec<u64>, StoreError> {
    let mut gone = Vec::new();
    each_of(store, Family::Postings, key::GONE, |key, _| {
        gone.extend(key::parse_segment(key));
        Ok::<(), StoreError>(())
    })?;
    Ok(gone)
}

/// Plans on a blocking thread and hands the changes to the writer, one after the
/// other; no sample of any tier is kept longer than `age`.
pub(crate) async fn run(shared: Arc<Shared>, inbox: Inbox, age: Millis) {
    /// The writer takes a change in this time, mostly; a second plan of the same is
    /// passed over.
    const STEP: Millis = Millis(1000);
    let mut erasable = Vec::new();
    loop {
        tokio::time::sleep(ROUND.std()).await;
        loop {
            let (of, mut ready) = (Arc::clone(&shared), std::mem::take(&mut erasable));
            let planned = tokio::task::spawn_blocking(move || plan(&of, of.now() - age, &mut ready)).await;
            match planned {
                Ok(Ok(Some(change))) => {
                    if inbox.send(Message::Segments(change)).await.is_err() {
                        return;
                    }
                }
                Ok(Ok(None)) => break,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "segments of retired series could not be read, tries again later");
                    break;
                }
                Err(_) => return,
            }
            tokio::time::sleep(STEP.std()).await;
        }
        let of = Arc::clone(&shared);
        if let Ok(Ok(found)) = tokio::task::spawn_blocking(move || gone(&**of.store())).await {
            erasable = found;
        }
    }
}
