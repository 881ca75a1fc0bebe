//! Which series a selector means over a range: those that live, and the retired ones
//! whose segments the range meets.
//!
//! A series that was silent and spoke again has several ids, and so has one that two
//! owners store: whoever asks sees one series for each set of labels, and merges the
//! points of its parts.

use crate::query::QueryError;
use crate::shared::Shared;
use crate::store::{Family, Store, StoreError, each_of};
use signalbox_proto::selector::Matcher;
use signalbox_proto::units::UnixMillis;
use signalbox_tsdb::format::FormatError;
use signalbox_tsdb::index::LabelSet;
use signalbox_tsdb::index::postings;
use signalbox_tsdb::keys::AgentNo;
use signalbox_tsdb::segment::{Head, Rows, Segment, VisitRow, key};
use signalbox_tsdb::{SeriesId, dictionary};
use std::collections::HashMap;

/// Series whose labels are read while the index is held: the writer waits meanwhile.
/// Those that are retired in between are read from the store.
const HELD_MAX: usize = 1024;

/// Rows of retired series that may be read for each series that may be found: a
/// segment's range is wider than that of its series.
const READ_FOR_ONE: usize = 32;

/// One series as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Its labels, shared with the index.
    pub labels: LabelSet,
    /// Where its points lie.
    pub parts: Vec<(AgentNo, SeriesId)>,
}

/// Rows of retired series in the store.
pub(crate) struct StoreRows<'a>(pub(crate) &'a dyn Store);

impl Rows for StoreRows<'_> {
    type Error = StoreError;

    fn damaged(&self, why: FormatError) -> StoreError {
        StoreError::Failed { what: "read a row of retired series".to_owned(), why: why.to_string() }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(Family::Postings, key)
    }

    fn each(&self, prefix: &[u8], visit: VisitRow<'_, StoreError>) -> Result<(), StoreError> {
        each_of(self.0, Family::Postings, prefix, visit)
    }
}

/// Series that satisfy every condition and may have samples in `[from, to)`, in no
/// order, at most `limit` of them.
///
/// # Errors
/// [`QueryError::TooManySeries`], [`QueryError::Store`].
pub(crate) fn select(
    shared: &Shared,
    matchers: &[Matcher],
    (from, to): (UnixMillis, UnixMillis),
    limit: usize,
) -> Result<Vec<Selected>, QueryError> {
    let mut found = Found { series: Vec::new(), of: HashMap::new(), limit };
    let (ids, segments) = {
        let index = shared.index();
        (index.matching(matchers), overlapping(index.segments(), from, to))
    };
    found.check(ids.len())?;
    let ids: Vec<SeriesId> = ids.iter().map(SeriesId).collect();
    let mut gone = Vec::new();
    for some in ids.chunks(HELD_MAX) {
        let index = shared.index();
        for &id in some {
            match (index.label_set(id), index.owner(id), index.range(id)) {
                (Some(labels), Some(owner), Some((first, _))) if first < to => found.add(labels, (owner, id)),
                (None, ..) => gone.push(id),
                _ => {}
            }
        }
    }
    let rows = StoreRows(&**shared.store());
    for head in segments {
        let ids = postings::select(&Segment { rows: &rows, segment: head.segment }, matchers)?;
        gone.extend(ids.iter().map(SeriesId));
        if gone.len() > limit.saturating_mul(READ_FOR_ONE) {
            return Err(QueryError::TooManySeries { n: gone.len() as u64, limit });
        }
    }
    for id in gone {
        let Some(row) = rows.get(&key::series(id))? else { continue };
        let row = dictionary::decode(&row).map_err(|why| rows.damaged(why))?;
        let overlaps = row.first < to && row.last.is_none_or(|last| last >= from);
        if let (Some(owner), true) = (row.owner, overlaps) {
            found.add(LabelSet::from(&row.labels), (owner, id));
            found.check(found.series.len() as u64)?;
        }
    }
    Ok(found.series)
}

struct Found {
    series: Vec<Selected>,
    of: HashMap<LabelSet, usize>,
    limit: usize,
}

impl Found {
    fn add(&mut self, labels: LabelSet, part: (AgentNo, SeriesId)) {
        let at = *self.of.entry(labels.clone()).or_insert(self.series.len());
        match self.series.get_mut(at) {
            Some(known) => known.parts.push(part),
            None => self.series.push(Selected { labels, parts: vec![part] }),
        }
    }

    fn check(&self, n: u64) -> Result<(), QueryError> {
        let limit = self.limit;
        if n > limit as u64 { Err(QueryError::TooManySeries { n, limit }) } else { Ok(()) }
    }
}

fn overlapping(heads: &[Head], from: UnixMillis, to: UnixMillis) -> Vec<Head> {
    heads.iter().filter(|head| head.overlaps(from, to)).copied().collect()
}
