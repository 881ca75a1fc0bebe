//! What is the same at every step is evaluated once: everything whose selectors
//! all carry `@`, unless it asks for the time of the step.

use crate::plan::{Aggregation, Plan, Range, RangeSource, Scalar, Vector};
use std::mem;

/// Wraps the topmost invariant vectors of a plan.
pub(crate) fn wrap(plan: &mut Plan) {
    match plan {
        Plan::Scalar(scalar) => wrap_scalar(scalar),
        Plan::Vector(vector) => wrap_vector(vector),
        Plan::Range(range) => wrap_range(range),
        Plan::Text(_) => {}
    }
}

fn wrap_scalar(scalar: &mut Scalar) {
    match scalar {
        Scalar::Number(_) | Scalar::Time => {}
        Scalar::Of(vector) => wrap_vector(vector),
        Scalar::Negated(inner) => wrap_scalar(inner),
        Scalar::Binary { left, right, .. } => {
            wrap_scalar(left);
            wrap_scalar(right);
        }
    }
}

fn wrap_range(range: &mut Range) {
    if let RangeSource::Subquery { inner, .. } = &mut range.source {
        wrap_vector(inner);
    }
}

fn wrap_vector(vector: &mut Vector) {
    if is_invariant(vector) {
        let whole = mem::replace(vector, Vector::Of(Scalar::Time));
        *vector = Vector::Invariant(Box::new(whole));
        return;
    }
    match vector {
        Vector::Select(_) | Vector::Timestamp(_) | Vector::Invariant(_) => {}
        Vector::Of(scalar) => wrap_scalar(scalar),
        Vector::Window { args, range, .. } => {
            args.iter_mut().for_each(wrap_scalar);
            wrap_range(range);
        }
        Vector::AbsentOverTime { range, .. } => wrap_range(range),
        Vector::Element { args, inner, .. } | Vector::Histogram { args, inner, .. } => {
            args.iter_mut().for_each(wrap_scalar);
            wrap_vector(inner);
        }
        Vector::Relabel { inner, .. }
        | Vector::Absent { inner, .. }
        | Vector::Sort { inner, .. }
        | Vector::Info { inner, .. } => wrap_vector(inner),
        Vector::Aggregate(aggregate) => {
            if let Some(parameter) = aggregate.function.parameter_mut() {
                wrap_scalar(parameter);
            }
            wrap_vector(&mut aggregate.inner);
        }
        Vector::WithScalar { scalar, vector, .. } => {
            wrap_scalar(scalar);
            wrap_vector(vector);
        }
        Vector::Join(join) => {
            wrap_vector(&mut join.left);
            wrap_vector(&mut join.right);
        }
        Vector::Set { left, right, .. } => {
            wrap_vector(left);
            wrap_vector(right);
        }
    }
}

fn scalar_is_invariant(scalar: &Scalar) -> bool {
    match scalar {
        Scalar::Number(_) => true,
        Scalar::Time => false,
        Scalar::Of(vector) => is_invariant(vector),
        Scalar::Negated(inner) => scalar_is_invariant(inner),
        Scalar::Binary { left, right, .. } => scalar_is_invariant(left) && scalar_is_invariant(right),
    }
}

fn range_is_invariant(range: &Range) -> bool {
    match &range.source {
        RangeSource::Select(selector) => selector.shift.at.is_some(),
        RangeSource::Subquery { shift, .. } => shift.at.is_some(),
    }
}

fn is_invariant(vector: &Vector) -> bool {
    let all = |args: &[Scalar]| args.iter().all(scalar_is_invariant);
    match vector {
        Vector::Select(selector) | Vector::Timestamp(selector) => selector.shift.at.is_some(),
        Vector::Of(scalar) => scalar_is_invariant(scalar),
        Vector::Window { function, args, range } => {
            !function.reads_step_time() && all(args) && range_is_invariant(range)
        }
        Vector::AbsentOverTime { range, .. } => range_is_invariant(range),
        Vector::Element { function, args, inner } => !function.reads_step_time() && all(args) && is_invariant(inner),
        Vector::Histogram { args, inner, .. } => all(args) && is_invariant(inner),
        Vector::Relabel { inner, .. } | Vector::Absent { inner, .. } | Vector::Sort { inner, .. } => {
            is_invariant(inner)
        }
        Vector::Info { info, inner, .. } => info.shift.at.is_some() && is_invariant(inner),
        Vector::Aggregate(aggregate) => {
            aggregate.function.parameter().is_none_or(scalar_is_invariant) && is_invariant(&aggregate.inner)
        }
        Vector::WithScalar { scalar, vector, .. } => scalar_is_invariant(scalar) && is_invariant(vector),
        Vector::Join(join) => is_invariant(&join.left) && is_invariant(&join.right),
        Vector::Set { left, right, .. } => is_invariant(left) && is_invariant(right),
        Vector::Invariant(_) => true,
    }
}

impl Aggregation {
    /// The parameter, for those that take a number.
    pub(crate) fn parameter(&self) -> Option<&Scalar> {
        match self {
            Aggregation::Fold(_) | Aggregation::CountValues(_) => None,
            Aggregation::Quantile(parameter)
            | Aggregation::Ranked { k: parameter, .. }
            | Aggregation::LimitK(parameter)
            | Aggregation::LimitRatio(parameter) => Some(parameter),
        }
    }

    fn parameter_mut(&mut self) -> Option<&mut Scalar> {
        match self {
            Aggregation::Fold(_) | Aggregation::CountValues(_) => None,
            Aggregation::Quantile(parameter)
            | Aggregation::Ranked { k: parameter, .. }
            | Aggregation::LimitK(parameter)
            | Aggregation::LimitRatio(parameter) => Some(parameter),
        }
    }
}
