//! Functions of windows: of a selector's samples or of a subquery's.

use super::rows::SAME_LABELSET;
use super::{Evaluator, Sink};
use crate::error::Error;
use crate::functions::over_time::OverTime;
use crate::functions::quantile;
use crate::functions::window::{Frames, WindowFunction, Windowed};
use crate::grid::{ABSENT, Grid, Row, has_any, is_absent};
use crate::labels::Labels;
use crate::limits::SUBQUERY_STEPS_MAX;
use crate::plan::{Range, RangeSource, Scalar, Selector, Vector};
use crate::seam::{Hints, any_stale};
use signalbox_proto::units::Millis;
use std::collections::HashSet;

/// Takes a series' samples, without stale markers, and the bounds of its windows.
type EachSeries<'s> = dyn FnMut(&Labels, &[i64], &[f64], &mut Frames) -> Result<(), Error> + 's;

/// What counters are called.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

impl Evaluator<'_> {
    pub(super) fn window(
        &self,
        function: WindowFunction,
        args: &[Scalar],
        range: &Range,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let args = self.scalars(args, grid)?;
        if function == WindowFunction::OverTime(OverTime::Quantile) {
            args[0].iter().filter_map(|q| quantile::refused(*q)).for_each(|text| self.warn(text));
        }
        let mut scratch = Vec::new();
        let mut values = vec![ABSENT; grid.n];
        // Without its name a series may be the twin of another, unless all had one name.
        let mut seen = (!function.keeps_name() && !range.has_one_name()).then(HashSet::new);
        self.samples(range, grid, Some(function.name()), &mut |labels, times, samples, frames| {
            let mut input = Windowed {
                times,
                values: samples,
                frames,
                steps: *grid,
                args: &args,
                scratch: &mut scratch,
                budget: self.budget,
            };
            function.apply(&mut input, &mut values)?;
            if !has_any(&values) {
                return Ok(());
            }
            if function.expects_counter() {
                self.doubt_counter(labels);
            }
            if function.keeps_name() {
                return sink(Row { labels, values: &mut values });
            }
            let nameless = labels.nameless();
            if let Some(seen) = &mut seen
                && !seen.insert(nameless.clone())
            {
                return Err(Error::execution(SAME_LABELSET));
            }
            sink(Row { labels: &nameless, values: &mut values })
        })
    }

    fn doubt_counter(&self, labels: &Labels) {
        let Some(name) = labels.metric() else { return };
        if !COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            self.inform(format!(
                "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}"
            ));
        }
    }

    /// `absent_over_time`: 1 where no series has a sample in its window.
    pub(super) fn absent_over_time(
        &self,
        labels: &Labels,
        range: &Range,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut values = vec![1.0; grid.n];
        self.samples(range, grid, Some("absent_over_time"), &mut |_, _, _, frames| {
            for (value, _) in values.iter_mut().zip(frames.all()).filter(|(_, (lo, hi))| lo < hi) {
                *value = ABSENT;
            }
            Ok(())
        })?;
        sink(Row { labels, values: &mut values })
    }

    /// Hands over the samples that the windows of a range need, series by series.
    pub(super) fn samples(
        &self,
        range: &Range,
        grid: &Grid,
        function: Option<&str>,
        each: &mut EachSeries<'_>,
    ) -> Result<(), Error> {
        match &range.source {
            RangeSource::Select(selector) => self.selected(selector, range.range_ms, grid, function, each),
            RangeSource::Subquery { inner, step_ms, shift } => {
                let ends = grid.shifted(shift.offset_ms, self.resolve(shift.at));
                let step_ms = step_ms.unwrap_or(self.options.subquery_step.0 as i64);
                self.subquery(inner, range.range_ms, step_ms, ends, each)
            }
        }
    }

    fn selected(
        &self,
        selector: &Selector,
        range_ms: i64,
        grid: &Grid,
        function: Option<&str>,
        each: &mut EachSeries<'_>,
    ) -> Result<(), Error> {
        let ends = grid.shifted(selector.shift.offset_ms, self.resolve(selector.shift.at));
        let mut frames = Frames::new(ends, range_ms);
        let hints = Hints { step: Millis(ends.step.unsigned_abs()), range: Millis(range_ms.unsigned_abs()), function };
        let (mut kept_times, mut kept_values) = (Vec::new(), Vec::new());
        self.columns(selector, &ends, range_ms, hints, &mut |column| {
            let (mut times, mut values) = (column.times, column.values);
            if any_stale(values) {
                keep_present(times, values, &mut kept_times, &mut kept_values);
                (times, values) = (&kept_times, &kept_values);
            }
            frames.set(times);
            each(column.labels, times, values, &mut frames)
        })
    }

    /// Evaluates `inner` at the multiples of the step within the windows.
    fn subquery(
        &self,
        inner: &Vector,
        range_ms: i64,
        step_ms: i64,
        ends: Grid,
        each: &mut EachSeries<'_>,
    ) -> Result<(), Error> {
        let Some(steps) = subquery_grid(ends, range_ms, step_ms) else { return Ok(()) };
        if steps.n > SUBQUERY_STEPS_MAX {
            return Err(Error::execution(format!(
                "subquery has {} steps, over the limit of {SUBQUERY_STEPS_MAX}; shorten its range or lengthen its step",
                steps.n
            )));
        }
        let mut frames = Frames::new(ends, range_ms);
        let all_times: Vec<i64> = (0..steps.n).map(|step| steps.at(step)).collect();
        let (mut times, mut values) = (Vec::new(), Vec::new());
        self.vector(inner, &steps, &mut |row| {
            keep_present(&all_times, row.values, &mut times, &mut values);
            if times.is_empty() {
                return Ok(());
            }
            self.budget.check()?;
            self.budget.count_samples(times.len())?;
            frames.set(&times);
            each(row.labels, &times, &values, &mut frames)
        })
    }
}

impl Range {
    /// Whether all its series surely bear the same metric name, or none.
    pub(super) fn has_one_name(&self) -> bool {
        match &self.source {
            RangeSource::Select(selector) => selector.has_one_name(),
            RangeSource::Subquery { inner, .. } => inner.has_one_name(),
        }
    }
}

/// Absolute multiples of the step in `(first end - range, last end]`; none when there is none.
fn subquery_grid(ends: Grid, range_ms: i64, step_ms: i64) -> Option<Grid> {
    let open = ends.start - range_ms;
    let mut start = step_ms * (open / step_ms);
    if start <= open {
        start += step_ms;
    }
    let last = ends.last();
    (start <= last).then(|| Grid { start, step: step_ms, n: ((last - start) / step_ms) as usize + 1 })
}

/// Copies the samples that are no markers.
fn keep_present(times: &[i64], values: &[f64], kept_times: &mut Vec<i64>, kept_values: &mut Vec<f64>) {
    kept_times.clear();
    kept_values.clear();
    for (time, value) in times.iter().zip(values).filter(|(_, value)| !is_absent(**value)) {
        kept_times.push(*time);
        kept_values.push(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subqueries_step_on_absolute_multiples_and_are_open_on_the_left() {
        let grid = |at, range, step| subquery_grid(Grid::instant(at), range, step);
        assert_eq!(grid(100, 50, 10), Some(Grid { start: 60, step: 10, n: 5 }));
        assert_eq!(grid(105, 50, 10), Some(Grid { start: 60, step: 10, n: 5 }));
        assert_eq!(grid(5, 3, 10), None);
        assert_eq!(grid(5, 20, 10), Some(Grid { start: -10, step: 10, n: 2 }));
    }
}
