//! Functions of the samples in a window, computed for all steps of a series at once.
//!
//! The windows of a series depend on its times alone, and the series of a host
//! share theirs: [`Frames`] keeps the bounds (and what the rate family derives
//! from them) and finds out with one comparison of memory that they still hold.

use crate::budget::Budget;
use crate::error::Error;
use crate::functions::over_time::OverTime;
use crate::functions::rate::{self, RateFrame, RateKind};
use crate::functions::regression;
use crate::grid::{ABSENT, Grid};

/// What reads windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowFunction {
    Rate(RateKind),
    Irate,
    Idelta,
    Changes,
    Resets,
    Deriv,
    PredictLinear,
    DoubleExponentialSmoothing,
    OverTime(OverTime),
}

impl WindowFunction {
    /// By the name in a query.
    pub(crate) fn named(name: &str) -> Option<WindowFunction> {
        Some(match name {
            "rate" => WindowFunction::Rate(RateKind::Rate),
            "increase" => WindowFunction::Rate(RateKind::Increase),
            "delta" => WindowFunction::Rate(RateKind::Delta),
            "irate" => WindowFunction::Irate,
            "idelta" => WindowFunction::Idelta,
            "changes" => WindowFunction::Changes,
            "resets" => WindowFunction::Resets,
            "deriv" => WindowFunction::Deriv,
            "predict_linear" => WindowFunction::PredictLinear,
            "double_exponential_smoothing" => WindowFunction::DoubleExponentialSmoothing,
            _ => return OverTime::named(name).map(WindowFunction::OverTime),
        })
    }

    /// For the store's hints.
    pub(crate) fn name(self) -> &'static str {
        match self {
            WindowFunction::Rate(RateKind::Rate) => "rate",
            WindowFunction::Rate(RateKind::Increase) => "increase",
            WindowFunction::Rate(RateKind::Delta) => "delta",
            WindowFunction::Irate => "irate",
            WindowFunction::Idelta => "idelta",
            WindowFunction::Changes => "changes",
            WindowFunction::Resets => "resets",
            WindowFunction::Deriv => "deriv",
            WindowFunction::PredictLinear => "predict_linear",
            WindowFunction::DoubleExponentialSmoothing => "double_exponential_smoothing",
            WindowFunction::OverTime(function) => function.name(),
        }
    }

    pub(crate) fn reads_step_time(self) -> bool {
        self == WindowFunction::PredictLinear
    }

    /// Whether the result is still a reading of the metric, under its name.
    pub(crate) fn keeps_name(self) -> bool {
        matches!(self, WindowFunction::OverTime(OverTime::Last | OverTime::First))
    }

    /// Whether it makes sense of counters only.
    pub(crate) fn expects_counter(self) -> bool {
        matches!(self, WindowFunction::Rate(RateKind::Rate | RateKind::Increase))
    }

    /// Fills `out`, one value per step, [`ABSENT`] where there is no result.
    ///
    /// # Errors
    /// [`Error::Execution`] when an argument is out of its bounds.
    pub(crate) fn apply(self, input: &mut Windowed<'_>, out: &mut [f64]) -> Result<(), Error> {
        match self {
            WindowFunction::Rate(kind) => rate::extrapolated(input, kind, out),
            WindowFunction::Irate => input.each(out, 2, |w| rate::instant(w, true))?,
            WindowFunction::Idelta => input.each(out, 2, |w| rate::instant(w, false))?,
            WindowFunction::Changes => rate::changes(input, out),
            WindowFunction::Resets => rate::resets(input, out),
            WindowFunction::Deriv => {
                input.each(out, 2, |w| Some(regression::linear(w.times, w.values, w.times[0]).slope))?;
            }
            WindowFunction::PredictLinear => input.each(out, 2, |w| {
                let line = regression::linear(w.times, w.values, w.step_time);
                Some(line.slope * w.arg(0) + line.intercept)
            })?,
            WindowFunction::DoubleExponentialSmoothing => regression::smooth(input, out)?,
            WindowFunction::OverTime(function) => function.apply(input, out)?,
        }
        Ok(())
    }
}

/// The samples of one series (no stale markers) and its windows.
pub(crate) struct Windowed<'a> {
    pub times: &'a [i64],
    pub values: &'a [f64],
    pub frames: &'a mut Frames,
    /// The times of the steps, which `@` and `offset` do not move.
    pub steps: Grid,
    /// Scalar arguments, one value per step.
    pub args: &'a [Vec<f64>],
    /// Room to sort in.
    pub scratch: &'a mut Vec<f64>,
    pub budget: &'a Budget<'a>,
}

/// One window of a series; never empty.
pub(crate) struct Window<'a> {
    pub times: &'a [i64],
    pub values: &'a [f64],
    pub step_time: i64,
    pub step: usize,
    args: &'a [Vec<f64>],
}

impl Window<'_> {
    /// A scalar argument at this step.
    #[inline]
    pub(crate) fn arg(&self, n: usize) -> f64 {
        self.args[n][self.step]
    }
}

impl Windowed<'_> {
    /// Calls `of` for every window of at least `n_min` samples.
    ///
    /// # Errors
    /// When the query is told to end: one series may have more work than many.
    pub(crate) fn each(
        &self,
        out: &mut [f64],
        n_min: usize,
        mut of: impl FnMut(Window<'_>) -> Option<f64>,
    ) -> Result<(), Error> {
        let mut n_seen = 0;
        for (step, out) in out.iter_mut().enumerate() {
            let (lo, hi) = self.frames.bounds(step);
            *out = ABSENT;
            if hi - lo >= n_min.max(1) {
                let (times, values) = (&self.times[lo..hi], &self.values[lo..hi]);
                let window = Window { times, values, step_time: self.steps.at(step), step, args: self.args };
                *out = of(window).unwrap_or(ABSENT);
            }
            n_seen += hi - lo;
            if n_seen >= CHECK_EVERY_SAMPLES {
                n_seen = 0;
                self.budget.check()?;
            }
        }
        Ok(())
    }
}

/// Samples that may be looked at between two questions whether to go on: about a millisecond's work.
const CHECK_EVERY_SAMPLES: usize = 1 << 16;

/// The windows `(end - range, end]` of every step, as bounds into a series' samples.
#[derive(Debug)]
pub(crate) struct Frames {
    ends: Grid,
    range_ms: i64,
    times: Vec<i64>,
    bounds: Vec<(u32, u32)>,
    rates: Vec<RateFrame>,
    rates_hold: bool,
}

impl Frames {
    /// Windows that end at the times of `ends`.
    pub(crate) fn new(ends: Grid, range_ms: i64) -> Frames {
        Frames { ends, range_ms, times: Vec::new(), bounds: vec![(0, 0); ends.n], rates: Vec::new(), rates_hold: false }
    }

    /// Finds the bounds for a series' times, unless they are those of the last one.
    pub(crate) fn set(&mut self, times: &[i64]) {
        if self.times == times {
            return;
        }
        self.rates_hold = false;
        self.times.clear();
        self.times.extend_from_slice(times);
        let (mut lo, mut hi) = (0, 0);
        for (step, bounds) in self.bounds.iter_mut().enumerate() {
            let end = self.ends.at(step);
            while hi < times.len() && times[hi] <= end {
                hi += 1;
            }
            while lo < hi && times[lo] <= end - self.range_ms {
                lo += 1;
            }
            *bounds = (lo as u32, hi as u32);
        }
    }

    /// Samples `lo..hi` are in the window of a step.
    #[inline]
    pub(crate) fn bounds(&self, step: usize) -> (usize, usize) {
        let (lo, hi) = self.bounds[step];
        (lo as usize, hi as usize)
    }

    /// The bounds of all steps.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.bounds.iter().map(|(lo, hi)| (*lo as usize, *hi as usize))
    }

    /// What the rate family needs of each window.
    pub(crate) fn rates(&mut self, per_second: bool) -> &[RateFrame] {
        if !self.rates_hold {
            self.rates.clear();
            for (step, (lo, hi)) in self.bounds.iter().enumerate() {
                let times = &self.times[*lo as usize..*hi as usize];
                self.rates.push(RateFrame::new(*lo, times, self.ends.at(step), self.range_ms, per_second));
            }
            self.rates_hold = true;
        }
        &self.rates
    }
}
