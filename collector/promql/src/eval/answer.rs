//! From rows to answers: which steps, in which order.

use super::rows::Rows;
use super::{Evaluator, ranked};
use crate::annotations::Annotations;
use crate::budget::Budget;
use crate::error::Error;
use crate::grid::{Grid, is_absent};
use crate::limits::Options;
use crate::plan::{Aggregation, Order, Plan, Range, Vector};
use crate::seam::Select;
use crate::value::{Answer, Point, Sample, Series, Value};
use signalbox_proto::units::UnixMillis;
use std::cell::RefCell;
use std::cmp::Ordering;

/// Bytes of one point of an answer.
const POINT_BYTES: usize = size_of::<Point>();

/// Evaluates at one instant.
pub(crate) fn instant(
    plan: &Plan,
    at: UnixMillis,
    source: &dyn Select,
    budget: &Budget<'_>,
    options: &Options,
) -> Result<Answer, Error> {
    let grid = Grid::instant(at.0);
    let evaluator = Evaluator { source, budget, options, start: at.0, end: at.0, notes: RefCell::default() };
    budget.check()?;
    let value = match plan {
        Plan::Scalar(scalar) => Value::Scalar(Point { time: at, value: evaluator.scalar(scalar, &grid)?[0] }),
        Plan::Text(text) => Value::Text { time: at, text: text.clone() },
        Plan::Range(range) => evaluator.matrix(range, &grid)?,
        Plan::Vector(vector) => evaluator.instant_vector(vector, at)?,
    };
    Ok(answer(value, evaluator.notes))
}

/// Evaluates at every step of a query that ends at `end`, after its last step or at it.
pub(crate) fn range(
    plan: &Plan,
    grid: Grid,
    end: UnixMillis,
    source: &dyn Select,
    budget: &Budget<'_>,
    options: &Options,
) -> Result<Answer, Error> {
    let evaluator = Evaluator { source, budget, options, start: grid.start, end: end.0, notes: RefCell::default() };
    budget.check()?;
    let mut series = Vec::new();
    match plan {
        Plan::Scalar(scalar) => {
            let points = points(&grid, &evaluator.scalar(scalar, &grid)?);
            series.push(Series { labels: crate::labels::Labels::empty(), points });
        }
        Plan::Vector(vector) => evaluator.vector(vector, &grid, &mut |row| {
            let points = points(&grid, row.values);
            if !points.is_empty() {
                budget.take(points.len() * POINT_BYTES + row.labels.bytes())?;
                series.push(Series { labels: row.labels.clone(), points });
            }
            Ok(())
        })?,
        Plan::Range(_) => return Err(not_for_ranges("range vector")),
        Plan::Text(_) => return Err(not_for_ranges("string")),
    }
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(answer(Value::Matrix(series), evaluator.notes))
}

fn not_for_ranges(kind: &str) -> Error {
    Error::BadData(format!("invalid expression type {kind:?} for range query, must be Scalar or instant Vector"))
}

fn answer(value: Value, notes: RefCell<Annotations>) -> Answer {
    Answer { value, annotations: notes.into_inner() }
}

fn points(grid: &Grid, values: &[f64]) -> Vec<Point> {
    let there = values.iter().enumerate().filter(|(_, value)| !is_absent(**value));
    there.map(|(step, value)| Point { time: UnixMillis(grid.at(step)), value: *value }).collect()
}

impl Evaluator<'_> {
    /// A range selector or subquery as it is.
    fn matrix(&self, range: &Range, grid: &Grid) -> Result<Value, Error> {
        let mut series = Vec::new();
        self.samples(range, grid, None, &mut |labels, times, values, frames| {
            let (lo, hi) = frames.bounds(0);
            if lo < hi {
                self.budget.take((hi - lo) * POINT_BYTES + labels.bytes())?;
                let pairs = times[lo..hi].iter().zip(&values[lo..hi]);
                let points = pairs.map(|(time, value)| Point { time: UnixMillis(*time), value: *value }).collect();
                series.push(Series { labels: labels.clone(), points });
            }
            Ok(())
        })?;
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Value::Matrix(series))
    }

    fn instant_vector(&self, vector: &Vector, at: UnixMillis) -> Result<Value, Error> {
        let mut rows = Rows::new(self.budget);
        self.vector(vector, &Grid::instant(at.0), &mut |row| rows.push(row.labels.clone(), row.values))?;
        let sample = |held: &super::rows::Held| Sample {
            labels: held.labels.clone(),
            point: Point { time: at, value: held.values[0] },
        };
        let mut samples: Vec<Sample> = rows.list.iter().map(sample).collect();
        order(vector, &mut samples);
        Ok(Value::Vector(samples))
    }
}

/// By labels, unless the outermost function is about order.
fn order(vector: &Vector, samples: &mut [Sample]) {
    match vector {
        Vector::Invariant(inner) => order(inner, samples),
        Vector::Aggregate(aggregate) if matches!(aggregate.function, Aggregation::Ranked { .. }) => {}
        Vector::Sort { order, .. } => samples.sort_by(|a, b| order.compare(a, b)),
        _ => samples.sort_by(|a, b| a.labels.cmp(&b.labels)),
    }
}

impl Order {
    fn compare(&self, a: &Sample, b: &Sample) -> Ordering {
        match self {
            Order::Value { descending } => {
                ranked::by_rank(a.point.value, b.point.value, *descending).then_with(|| a.labels.cmp(&b.labels))
            }
            Order::Labels { names, descending } => {
                let value = |sample: &Sample, name: &str| sample.labels.get(name).unwrap_or("").to_owned();
                let by_names = names.iter().map(|name| natural(&value(a, name), &value(b, name)));
                let first = by_names.into_iter().find(|order| order.is_ne());
                let ascending = first.unwrap_or_else(|| a.labels.cmp(&b.labels));
                if *descending { ascending.reverse() } else { ascending }
            }
        }
    }
}

/// Texts in natural order: runs of digits compare as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let ([x, ..], [y, ..]) = (a, b) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (left, right) = (digits(&mut a), digits(&mut b));
            let order = left.len().cmp(&right.len()).then_with(|| left.cmp(right));
            if order.is_ne() {
                return order;
            }
        } else if x != y {
            return x.cmp(y);
        } else {
            (a, b) = (&a[1..], &b[1..]);
        }
    }
    a.len().cmp(&b.len())
}

/// Takes a run of digits off; without its leading zeros.
fn digits<'t>(text: &mut &'t [u8]) -> &'t [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (run, rest) = text.split_at(end);
    *text = rest;
    let zeros = run.iter().take_while(|byte| **byte == b'0').count();
    &run[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_compare_as_numbers() {
        let mut hosts = ["web10", "web9", "db", "web010", "web", "web9a"];
        hosts.sort_by(|a, b| natural(a, b));
        assert_eq!(hosts, ["db", "web", "web9", "web9a", "web10", "web010"]);
    }
}
