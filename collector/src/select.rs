//! The store as the query evaluator asks for it: series that live and retired ones,
//! columns from open lanes and sealed chunks, owner by owner.
//!
//! A series may have several parts (two senders of one Prometheus, a series that came
//! back under a new id): their samples are merged before it is handed over.

use crate::query::{QueryError, Reader, Rolled};
use crate::selection::{self, Selected};
use crate::series::Sees;
use signalbox_promql::budget::Budget;
use signalbox_promql::error::Error;
use signalbox_promql::labels::Labels;
use signalbox_promql::seam::{Column, Select, Selected as Said, Wanted};
use signalbox_tsdb::SeriesId;
use signalbox_tsdb::keys::AgentNo;
use signalbox_tsdb::run::{Joiner, Run};
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
        let labels: Vec<Labels> = series.iter().map(labels_of).collect();
        let mut parts = Parts::of(&series);
        let (mut joiner, mut rolled, mut n_read) = (Joiner::default(), Rolled::default(), 0);
        for (owner, own) in by_owner(&series) {
            budget.check()?;
            let ids: Vec<SeriesId> = own.iter().map(|(_, id)| *id).collect();
            let range = (wanted.after.shifted(1), wanted.until);
            let sources = self.reader.sources(owner, &ids, range, &mut n_read, &mut rolled).map_err(error_of)?;
            let n_bytes = sources.iter().flatten().map(Run::len).sum::<usize>() * size_of::<f64>();
            budget.take(n_bytes)?;
            for ((place, _), sources) in own.iter().zip(sources) {
                let Some(sources) = parts.whole(*place, sources) else { continue };
                let run = joiner.join(sources);
                if !run.is_empty() {
                    take(Column { labels: &labels[*place], times: &run.times, values: &run.values })?;
                }
            }
            budget.give_back(n_bytes);
        }
        Ok(Said { infos: rolled.texts().collect(), ..Said::default() })
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

/// Series that come in several parts, by place: parts still to come, and what the
/// others hold.
struct Parts {
    open: HashMap<usize, (usize, Vec<Run>)>,
}

impl Parts {
    fn of(series: &[Selected]) -> Parts {
        let several = series.iter().enumerate().filter(|(_, own)| own.parts.len() > 1);
        Parts { open: several.map(|(place, own)| (place, (own.parts.len(), Vec::new()))).collect() }
    }

    /// What all parts of a series hold, once the last of them is there.
    fn whole(&mut self, place: usize, part: Vec<Run>) -> Option<Vec<Run>> {
        let Some((n_left, parts)) = self.open.get_mut(&place) else { return Some(part) };
        parts.extend(part);
        *n_left -= 1;
        (*n_left == 0).then(|| std::mem::take(parts))
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
