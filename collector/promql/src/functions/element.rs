//! Functions of each value of a vector alone. The result is another quantity: the metric's name goes.

use crate::functions::calendar::Part;
use crate::functions::math::{clamp, round};
use crate::grid::{ABSENT, Grid, each, is_absent};

/// What is done to each value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Element {
    Negate,
    Math(fn(f64) -> f64),
    Calendar(Part),
    /// Bounds are arguments.
    Clamp,
    ClampMin,
    ClampMax,
    /// The step, if any, is an argument.
    Round,
    /// `timestamp` of a computed vector: the time of the step.
    StepTime,
}

impl Element {
    pub(crate) fn reads_step_time(self) -> bool {
        matches!(self, Element::StepTime)
    }

    /// Changes the values in place; `args` hold one value per step.
    pub(crate) fn apply(self, steps: &Grid, args: &[Vec<f64>], values: &mut [f64]) {
        match self {
            Element::Negate => each(values, |value| -value),
            Element::Math(function) => each(values, function),
            Element::Calendar(part) => each(values, |seconds| part.of(seconds)),
            Element::Clamp => indexed(values, |step, value| {
                let (min, max) = (args[0][step], args[1][step]);
                // Bounds the wrong way round leave nothing.
                if max < min { ABSENT } else { clamp(value, min, max) }
            }),
            Element::ClampMin => indexed(values, |step, value| clamp(value, args[0][step], f64::INFINITY)),
            Element::ClampMax => indexed(values, |step, value| clamp(value, f64::NEG_INFINITY, args[0][step])),
            Element::Round => indexed(values, |step, value| round(value, args.first().map_or(1.0, |to| to[step]))),
            Element::StepTime => indexed(values, |step, _| steps.at(step) as f64 / 1000.0),
        }
    }
}

fn indexed(values: &mut [f64], change: impl Fn(usize, f64) -> f64) {
    for (step, value) in values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
        *value = change(step, *value);
    }
}
