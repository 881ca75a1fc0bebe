//! The store as the query evaluator asks for it: series that live and retired ones,
//! columns from open lanes and sealed chunks, owner by owner.
//!
//! A series may have several parts (two senders of one Prometheus, a series that came
//! back under a new id): their samples are merged before it is handed over.

use crate::query::{QueryError, Reader};
use crate::selection::{self, Selected};
use crate::series::Sees;
use signalbox_promql::budget::Budget;
use signalbox_promql::error::Error;
use signalbox_promql::labels::Labels;
use signalbox_promql::seam::{Column, Select, Selected as Said, Wanted};
use signalbox_tsdb::keys::AgentNo;
use signalbox_tsdb::{Point, SeriesId};
use std::collections::{BTreeMap, HashMap};

/// What one caller may read of the store.
pub(crate) struct Stored<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) sees: &'a Sees,
}

impl Select for Stored<'_> {
    fn select(
        &self,
        wanted: &Wanted<'_>,
        budget: &Budget<'_>,
        take: &mut dyn FnMut(Column<'_>) -> Result<(), Error>,
    ) -> Result<Said, Error> {
        budget.check()?;
        let series = self.series(wanted).map_err(error_of)?;
        let labels: Vec<Labels> = series.iter().map(|own| labels_of(own)).collect();
        let mut parts = Parts::of(&series);
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let mut n_read = 0;
        for (owner, own) in by_owner(&series) {
            budget.check()?;
            let ids: Vec<SeriesId> = own.iter().map(|(_, id)| *id).collect();
            let (from, to) = (wanted.after.shifted(1), wanted.until);
            let columns = self.reader.points(owner, &ids, from, to, &mut n_read).map_err(error_of)?;
            let n_bytes = columns.iter().map(Vec::len).sum::<usize>() * size_of::<Point>();
            budget.take(n_bytes)?;
            for ((place, _), points) in own.iter().zip(columns) {
                let Some(points) = parts.whole(*place, points).filter(|points| !points.is_empty()) else { continue };
                (times.clear(), values.clear());
                times.extend(points.iter().map(|point| point.time.0));
                values.extend(points.iter().map(|point| point.value));
                take(Column { labels: &labels[*place], times: &times, values: &values })?;
            }
            budget.give_back(n_bytes);
        }
        Ok(Said::default())
    }
}

impl Stored<'_> {
    fn series(&self, wanted: &Wanted<'_>) -> Result<Vec<Selected>, QueryError> {
        let range = (wanted.after.shifted(1), wanted.until.shifted(1));
        let limit = self.reader.limits.max_series;
        let mut series = selection::select(self.reader.shared, wanted.matchers, range, limit)?;
        if let Some(sees) = self.sees {
            series.retain(|own| sees(&own.labels.to_labels()));
        }
        Ok(series)
    }
}

fn labels_of(series: &Selected) -> Labels {
    Labels::sorted(series.labels.pairs().iter().map(|(name, value)| (&**name, &**value)))
}

/// Parts of all series by whose chunks hold them: (place of the series, id).
pub(crate) fn by_owner(series: &[Selected]) -> BTreeMap<AgentNo, Vec<(usize, SeriesId)>> {
    let mut owned: BTreeMap<AgentNo, Vec<(usize, SeriesId)>> = BTreeMap::new();
    for (place, own) in series.iter().enumerate() {
        for &(owner, id) in &own.parts {
            owned.entry(owner).or_default().push((place, id));
        }
    }
    owned
}

/// Series that come in several parts, by place: parts still to come, and the points of
/// those that came.
struct Parts {
    open: HashMap<usize, (usize, Vec<Vec<Point>>)>,
}

impl Parts {
    fn of(series: &[Selected]) -> Parts {
        let several = series.iter().enumerate().filter(|(_, own)| own.parts.len() > 1);
        Parts { open: several.map(|(place, own)| (place, (own.parts.len(), Vec::new()))).collect() }
    }

    /// The points of a series once all its parts are there.
    fn whole(&mut self, place: usize, points: Vec<Point>) -> Option<Vec<Point>> {
        let Some((n_left, parts)) = self.open.get_mut(&place) else { return Some(points) };
        parts.push(points);
        *n_left -= 1;
        if *n_left > 0 {
            return None;
        }
        let mut whole = Vec::new();
        signalbox_tsdb::merge::merge(std::mem::take(parts), &mut whole);
        Some(whole)
    }
}

fn error_of(error: QueryError) -> Error {
    match error {
        QueryError::TimedOut(_) | QueryError::Busy => Error::Timeout,
        QueryError::Gone => Error::Canceled,
        QueryError::TooManySeries { .. } | QueryError::TooManySamples { .. } => Error::Execution(error.to_string()),
        QueryError::Store(why) => Error::Internal(why),
    }
}
