//! The `…_over_time` family: one number for the samples of a window.

use crate::error::Error;
use crate::functions::quantile::quantile;
use crate::functions::sliding::fold;
use crate::functions::sum::{Mean, Sum, Variance};
use crate::functions::window::{Window, Windowed};
use crate::grid::ABSENT;

/// Which of the family; `absent_over_time` is none of them: it sees no samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverTime {
    Avg,
    Min,
    Max,
    Sum,
    Count,
    Quantile,
    Stddev,
    Stdvar,
    First,
    Last,
    Present,
    Mad,
    TsOfFirst,
    TsOfLast,
    TsOfMax,
    TsOfMin,
}

const NAMES: [(&str, OverTime); 16] = [
    ("avg_over_time", OverTime::Avg),
    ("min_over_time", OverTime::Min),
    ("max_over_time", OverTime::Max),
    ("sum_over_time", OverTime::Sum),
    ("count_over_time", OverTime::Count),
    ("quantile_over_time", OverTime::Quantile),
    ("stddev_over_time", OverTime::Stddev),
    ("stdvar_over_time", OverTime::Stdvar),
    ("first_over_time", OverTime::First),
    ("last_over_time", OverTime::Last),
    ("present_over_time", OverTime::Present),
    ("mad_over_time", OverTime::Mad),
    ("ts_of_first_over_time", OverTime::TsOfFirst),
    ("ts_of_last_over_time", OverTime::TsOfLast),
    ("ts_of_max_over_time", OverTime::TsOfMax),
    ("ts_of_min_over_time", OverTime::TsOfMin),
];

impl OverTime {
    pub(crate) fn named(name: &str) -> Option<OverTime> {
        NAMES.iter().find(|(own, _)| *own == name).map(|(_, function)| *function)
    }

    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, function)| *function == self).map_or("over_time", |(name, _)| *name)
    }

    /// Fills `out`, one value per step.
    ///
    /// # Errors
    /// When the query is told to end.
    pub(crate) fn apply(self, input: &mut Windowed<'_>, out: &mut [f64]) -> Result<(), Error> {
        match self {
            OverTime::Sum => {
                slide(input, out, |value| Sum { sum: value, lost: 0.0 }, Sum::join, |sum, _| sum.total());
            }
            OverTime::Avg => average(input, out),
            OverTime::Min => slide(input, out, |value| value, smaller, |value, _| value),
            OverTime::Max => slide(input, out, |value| value, larger, |value, _| value),
            OverTime::Count => of_bounds(input, out, |lo, hi| (hi - lo) as f64),
            OverTime::Present => of_bounds(input, out, |_, _| 1.0),
            OverTime::First => of_bounds(input, out, |lo, _| input.values[lo]),
            OverTime::Last => of_bounds(input, out, |_, hi| input.values[hi - 1]),
            OverTime::TsOfFirst => of_bounds(input, out, |lo, _| seconds(input.times[lo])),
            OverTime::TsOfLast => of_bounds(input, out, |_, hi| seconds(input.times[hi - 1])),
            OverTime::TsOfMax => input.each(out, 1, |w| Some(time_of(&w, |value, best| value >= best)))?,
            OverTime::TsOfMin => input.each(out, 1, |w| Some(time_of(&w, |value, best| value <= best)))?,
            OverTime::Stdvar => input.each(out, 1, |w| Some(variance(w.values)))?,
            OverTime::Stddev => input.each(out, 1, |w| Some(variance(w.values).sqrt()))?,
            OverTime::Quantile => {
                let mut sorted = std::mem::take(input.scratch);
                input.each(out, 1, |w| Some(quantile(w.arg(0), refill(&mut sorted, w.values))))?;
                *input.scratch = sorted;
            }
            OverTime::Mad => {
                let mut sorted = std::mem::take(input.scratch);
                input.each(out, 1, |w| Some(median_deviation(refill(&mut sorted, w.values))))?;
                *input.scratch = sorted;
            }
        }
        Ok(())
    }
}

fn seconds(time: i64) -> f64 {
    time as f64 / 1000.0
}

fn of_bounds(input: &Windowed<'_>, out: &mut [f64], of: impl Fn(usize, usize) -> f64) {
    for (out, (lo, hi)) in out.iter_mut().zip(input.frames.all()) {
        *out = if lo < hi { of(lo, hi) } else { ABSENT };
    }
}

fn slide<T: Copy>(
    input: &Windowed<'_>,
    out: &mut [f64],
    lift: impl Fn(f64) -> T,
    join: impl Fn(T, T) -> T,
    value: impl Fn(T, usize) -> f64,
) {
    fold(input.frames, input.values, lift, join, |step, fold| {
        out[step] = fold.map_or(ABSENT, |fold| value(fold, step));
    });
}

fn average(input: &Windowed<'_>, out: &mut [f64]) {
    let sum = |value| Sum { sum: value, lost: 0.0 };
    slide(input, out, sum, Sum::join, |sum, step| {
        let (lo, hi) = input.frames.bounds(step);
        if sum.sum.is_infinite() {
            // The sum may have overflowed where the mean does not.
            let mut mean = Mean::default();
            input.values[lo..hi].iter().for_each(|value| mean.add(*value));
            return mean.value();
        }
        let n = (hi - lo) as f64;
        sum.sum / n + sum.lost / n
    });
}

/// The smaller one; NaN only of two NaN.
pub(crate) fn smaller(a: f64, b: f64) -> f64 {
    if b < a || a.is_nan() { b } else { a }
}

/// The larger one; NaN only of two NaN.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if b > a || a.is_nan() { b } else { a }
}

/// When the last of the best values was.
fn time_of(window: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = (window.values[0], window.times[0]);
    for (value, time) in window.values.iter().zip(window.times) {
        if better(*value, best.0) || best.0.is_nan() {
            best = (*value, *time);
        }
    }
    seconds(best.1)
}

fn variance(values: &[f64]) -> f64 {
    let mut variance = Variance::default();
    values.iter().for_each(|value| variance.add(*value));
    variance.value()
}

fn refill<'s>(scratch: &'s mut Vec<f64>, values: &[f64]) -> &'s mut [f64] {
    scratch.clear();
    scratch.extend_from_slice(values);
    scratch
}

/// The median distance from the median.
fn median_deviation(values: &mut [f64]) -> f64 {
    let median = quantile(0.5, values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    quantile(0.5, values)
}
