//! Instant selectors: the latest sample within the look-back, at every step.

use super::{Evaluator, Sink};
use crate::error::Error;
use crate::functions::window::Frames;
use crate::grid::{ABSENT, Grid, Row, has_any, is_absent};
use crate::plan::Selector;
use crate::seam::{Column, Hints, Wanted};
use signalbox_proto::units::{Millis, UnixMillis};

/// Takes a column, the windows of the look-back, and where the values of the steps go.
type EachColumn<'s> = dyn FnMut(Column<'_>, &Frames, &mut [f64]) -> Result<(), Error> + 's;

impl Evaluator<'_> {
    pub(super) fn select(&self, selector: &Selector, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.latest(selector, grid, &mut |column, frames, values| {
            for (value, (lo, hi)) in values.iter_mut().zip(frames.all()) {
                // A stale marker has the bits of ABSENT: it ends the series by itself.
                *value = if lo < hi { column.values[hi - 1] } else { ABSENT };
            }
            if has_any(values) { sink(Row { labels: column.labels, values }) } else { Ok(()) }
        })
    }

    /// `timestamp(selector)`: when the latest sample was taken, in seconds.
    pub(super) fn timestamps(&self, selector: &Selector, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.latest(selector, grid, &mut |column, frames, values| {
            for (value, (lo, hi)) in values.iter_mut().zip(frames.all()) {
                let there = lo < hi && !is_absent(column.values[hi - 1]);
                *value = if there { column.times[hi - 1] as f64 / 1000.0 } else { ABSENT };
            }
            sink(Row { labels: &column.labels.nameless(), values })
        })
    }

    fn latest(&self, selector: &Selector, grid: &Grid, each: &mut EachColumn<'_>) -> Result<(), Error> {
        let ends = grid.shifted(selector.shift.offset_ms, self.resolve(selector.shift.at));
        let lookback_ms = self.options.lookback.0 as i64;
        let mut frames = Frames::new(ends, lookback_ms);
        let mut values = vec![ABSENT; grid.n];
        let hints = Hints { step: Millis(ends.step.unsigned_abs()), range: Millis::ZERO, function: None };
        self.columns(selector, &ends, lookback_ms, hints, &mut |column| {
            frames.set(column.times);
            each(column, &frames, &mut values)
        })
    }

    /// Asks the store for the samples of windows that end at the times of `ends`.
    pub(super) fn columns(
        &self,
        selector: &Selector,
        ends: &Grid,
        range_ms: i64,
        hints: Hints<'_>,
        each: &mut dyn FnMut(Column<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let wanted = Wanted {
            matchers: &selector.matchers,
            after: UnixMillis(ends.start - range_ms),
            until: UnixMillis(ends.last()),
            hints,
        };
        let selected = self.source.select(&wanted, self.budget, &mut |column| {
            self.budget.check()?;
            self.budget.count_samples(column.times.len())?;
            if column.times.len() != column.values.len() {
                let (n_times, n_values) = (column.times.len(), column.values.len());
                return Err(Error::Internal(format!(
                    "store: {n_times} times and {n_values} values of {}",
                    column.labels
                )));
            }
            each(column)
        })?;
        selected.warnings.into_iter().for_each(|text| self.warn(text));
        selected.infos.into_iter().for_each(|text| self.inform(text));
        Ok(())
    }
}
