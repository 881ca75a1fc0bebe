//! Trends: least squares (`deriv`, `predict_linear`) and double exponential smoothing.

use crate::error::Error;
use crate::functions::sum::Sum;
use crate::functions::window::Windowed;

/// `value = slope * seconds + intercept`.
pub(crate) struct Line {
    pub slope: f64,
    pub intercept: f64,
}

/// Least squares over samples; seconds count from `origin`. At least one sample.
pub(crate) fn linear(times: &[i64], values: &[f64], origin: i64) -> Line {
    let first = values[0];
    if values.iter().skip(1).all(|value| *value == first) {
        // No slope can be seen, and dividing would only add noise.
        let nothing = first.is_infinite();
        return if nothing {
            Line { slope: f64::NAN, intercept: f64::NAN }
        } else {
            Line { slope: 0.0, intercept: first }
        };
    }
    let (mut x, mut y, mut xy, mut xx) = (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (time, value) in times.iter().zip(values) {
        let seconds = (time - origin) as f64 / 1000.0;
        x.add(seconds);
        y.add(*value);
        xy.add(seconds * value);
        xx.add(seconds * seconds);
    }
    let n = values.len() as f64;
    let covariance = xy.total() - x.total() * y.total() / n;
    let variance = xx.total() - x.total() * x.total() / n;
    let slope = covariance / variance;
    Line { slope, intercept: y.total() / n - slope * x.total() / n }
}

/// `double_exponential_smoothing`: arguments are the smoothing and the trend factor.
///
/// # Errors
/// [`Error::Execution`] for a factor outside (0, 1) where a window has samples.
pub(crate) fn smooth(input: &mut Windowed<'_>, out: &mut [f64]) -> Result<(), Error> {
    for (step, _) in input.frames.all().enumerate().filter(|(_, (lo, hi))| lo < hi) {
        for (n, what) in ["smoothing", "trend"].into_iter().enumerate() {
            let factor = input.args[n][step];
            if factor <= 0.0 || factor >= 1.0 {
                return Err(Error::execution(format!(
                    "invalid {what} factor. Expected: 0 < {what} factor < 1, got: {factor}"
                )));
            }
        }
    }
    input.each(out, 2, |window| {
        let (smoothing, trending) = (window.arg(0), window.arg(1));
        let mut before = 0.0;
        let mut smoothed = window.values[0];
        let mut trend = window.values[1] - window.values[0];
        for (at, value) in window.values.iter().enumerate().skip(1) {
            if at > 1 {
                trend = trending * (smoothed - before) + (1.0 - trending) * trend;
            }
            let next = smoothing * value + (1.0 - smoothing) * (smoothed + trend);
            (before, smoothed) = (smoothed, next);
        }
        Some(smoothed)
    })
}
