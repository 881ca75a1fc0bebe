//! The rate family: differences over a window, corrected for counter resets and
//! extrapolated to the window's bounds.
//!
//! ```text
//!  (start ........ first ------------- last .... end]
//!         to_start        interval          to_end
//! ```
//!
//! A bound is reached when it is nearer than 1.1 times the mean distance between
//! samples; otherwise half that distance is assumed. A counter is not taken
//! below zero.

use crate::functions::window::{Window, Windowed};
use crate::grid::ABSENT;

/// Which of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateKind {
    Rate,
    Increase,
    Delta,
}

/// A gap to a bound up to this many mean distances is bridged.
const BRIDGED_DISTANCES: f64 = 1.1;

/// More than what rounding can add to a product of two numbers.
const NEAR_ZERO_MARGIN: f64 = 1.000_000_1;

/// What a window's times alone decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateFrame {
    lo: u32,
    /// Zero when the window has fewer than two samples.
    n: u32,
    interval_s: f64,
    to_start_s: f64,
    to_end_s: f64,
    /// The range in seconds, or 1 when the result is not per second.
    per_s: f64,
    factor: f64,
}

impl RateFrame {
    pub(crate) fn new(lo: u32, times: &[i64], end: i64, range_ms: i64, per_second: bool) -> RateFrame {
        let nothing = RateFrame { lo, n: 0, interval_s: 0.0, to_start_s: 0.0, to_end_s: 0.0, per_s: 1.0, factor: 0.0 };
        let [first, .., last] = times else { return nothing };
        let interval_s = (last - first) as f64 / 1000.0;
        let distance_s = interval_s / (times.len() - 1) as f64;
        let bridged = |gap_s: f64| if gap_s >= distance_s * BRIDGED_DISTANCES { distance_s / 2.0 } else { gap_s };
        let mut frame = RateFrame {
            lo,
            n: times.len() as u32,
            interval_s,
            to_start_s: bridged((first - (end - range_ms)) as f64 / 1000.0),
            to_end_s: bridged((end - last) as f64 / 1000.0),
            per_s: if per_second { range_ms as f64 / 1000.0 } else { 1.0 },
            factor: 0.0,
        };
        frame.factor = frame.factor_from(frame.to_start_s);
        frame
    }

    /// From the difference over the interval to the result.
    #[inline]
    fn factor_from(&self, to_start_s: f64) -> f64 {
        (self.interval_s + to_start_s + self.to_end_s) / self.interval_s / self.per_s
    }
}

/// `rate`, `increase`, `delta`.
pub(crate) fn extrapolated(input: &mut Windowed<'_>, kind: RateKind, out: &mut [f64]) {
    let values = input.values;
    let is_counter = kind != RateKind::Delta;
    let resets = if is_counter { reset_positions(values) } else { Vec::new() };
    let frames = input.frames.rates(kind == RateKind::Rate);
    let mut seen = Span::default();
    for (out, frame) in out.iter_mut().zip(frames) {
        if frame.n < 2 {
            *out = ABSENT;
            continue;
        }
        let (lo, hi) = (frame.lo as usize, (frame.lo + frame.n) as usize);
        let first = values[lo];
        let mut result = values[hi - 1] - first;
        if !resets.is_empty() {
            for at in &resets[seen.inside(&resets, lo + 1, hi)] {
                result += values[at - 1];
            }
        }
        let mut factor = frame.factor;
        // Most counters are far above zero: found out without a division, with room for rounding.
        let may_be_near_zero = first * frame.interval_s <= result * frame.to_start_s * NEAR_ZERO_MARGIN;
        if is_counter && result > 0.0 && first >= 0.0 && may_be_near_zero {
            let to_zero_s = frame.interval_s * (first / result);
            if to_zero_s < frame.to_start_s {
                factor = frame.factor_from(to_zero_s);
            }
        }
        *out = result * factor;
    }
}

/// Positions of samples that are smaller than the one before.
fn reset_positions(values: &[f64]) -> Vec<usize> {
    // Folded without an early end, so that it compiles to vector instructions.
    if !values.iter().zip(values.iter().skip(1)).fold(false, |any, (before, after)| any | (after < before)) {
        return Vec::new();
    }
    (1..values.len()).filter(|at| values[*at] < values[*at - 1]).collect()
}

/// Two indices into ascending positions that only move forward.
#[derive(Default)]
struct Span {
    from: usize,
    to: usize,
}

impl Span {
    /// Which positions lie in `lo..hi`; neither bound may move back between calls.
    fn inside(&mut self, positions: &[usize], lo: usize, hi: usize) -> std::ops::Range<usize> {
        while self.to < positions.len() && positions[self.to] < hi {
            self.to += 1;
        }
        while self.from < self.to && positions[self.from] < lo {
            self.from += 1;
        }
        self.from..self.to
    }
}

/// `irate` and `idelta`: the last two samples of the window.
pub(crate) fn instant(window: Window<'_>, is_counter: bool) -> Option<f64> {
    let [.., t0, t1] = window.times else { return None };
    let [.., v0, v1] = window.values else { return None };
    if !is_counter {
        return Some(v1 - v0);
    }
    let increase = if v1 < v0 { *v1 } else { v1 - v0 };
    Some(increase / ((t1 - t0) as f64 / 1000.0))
}

/// `changes`: how often a sample differs from the one before; NaN equals NaN.
pub(crate) fn changes(input: &Windowed<'_>, out: &mut [f64]) {
    count_pairs(input, out, |before, after| after != before && !(after.is_nan() && before.is_nan()));
}

/// `resets`: how often a sample is smaller than the one before.
pub(crate) fn resets(input: &Windowed<'_>, out: &mut [f64]) {
    count_pairs(input, out, |before, after| after < before);
}

/// Pairs of neighbours in each window that satisfy `counts`, from running totals.
fn count_pairs(input: &Windowed<'_>, out: &mut [f64], counts: impl Fn(f64, f64) -> bool) {
    // totals[i]: pairs that end at sample i or before it.
    let mut totals = Vec::with_capacity(input.values.len());
    let mut total = 0u32;
    for (at, value) in input.values.iter().enumerate() {
        total += u32::from(at > 0 && counts(input.values[at - 1], *value));
        totals.push(total);
    }
    for (out, (lo, hi)) in out.iter_mut().zip(input.frames.all()) {
        *out = if lo < hi { f64::from(totals[hi - 1] - totals[lo]) } else { ABSENT };
    }
}
