//! The steps of an evaluation and the rows of values at them.

use crate::labels::Labels;
use crate::seam::{STALE_BITS, is_stale};

/// Evaluation times `start, start + step, …`, `n` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub start: i64,
    pub step: i64,
    pub n: usize,
}

impl Grid {
    /// One instant.
    pub(crate) fn instant(at: i64) -> Grid {
        Grid { start: at, step: 0, n: 1 }
    }

    #[inline]
    pub(crate) fn at(&self, step: usize) -> i64 {
        self.start + self.step * step as i64
    }

    pub(crate) fn last(&self) -> i64 {
        self.at(self.n - 1)
    }

    /// Every time, moved to where a selector looks: earlier by its offset, or all at one instant.
    pub(crate) fn shifted(&self, offset_ms: i64, at: Option<i64>) -> Grid {
        match at {
            Some(at) => Grid { start: at - offset_ms, step: 0, n: self.n },
            None => Grid { start: self.start - offset_ms, ..*self },
        }
    }
}

/// No value at a step. The bits of a stale marker, which no computation yields
/// and no selector hands on.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_BITS);

#[inline]
pub(crate) fn is_absent(value: f64) -> bool {
    is_stale(value)
}

/// One series at the steps of a grid, on its way from one operator to the next,
/// which may change the values in place.
pub(crate) struct Row<'r> {
    pub labels: &'r Labels,
    /// One per step; [`ABSENT`] where there is none.
    pub values: &'r mut [f64],
}

/// Changes every value that is there.
#[inline]
pub(crate) fn each(values: &mut [f64], change: impl Fn(f64) -> f64) {
    for value in values.iter_mut().filter(|value| !is_absent(**value)) {
        *value = change(*value);
    }
}

pub(crate) fn has_any(values: &[f64]) -> bool {
    values.iter().any(|value| !is_absent(*value))
}
