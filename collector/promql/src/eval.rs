//! Evaluation: operators hand rows to one another, one series at a time and all
//! its steps at once.
//!
//! ```text
//! Select ── column ──▶ selector | window ── row ──▶ element | with scalar ── row ──▶ fold (one state per group)
//!                                                                          └──────▶ join, ranked: hold rows
//! ```
//!
//! A row's buffer belongs to whoever made it and is used again for the next
//! series. Only what must see several series at a time holds rows, and the
//! budget pays for them.

mod aggregate;
mod answer;
mod binary;
mod call;
mod histogram;
mod info;
mod ranked;
mod rows;
mod selector;
mod set;
mod window;

pub(crate) use answer::{instant, range};

use crate::annotations::Annotations;
use crate::budget::Budget;
use crate::error::Error;
use crate::grid::{ABSENT, Grid, Row, is_absent};
use crate::limits::Options;
use crate::plan::{At, Scalar, Vector};
use crate::seam::Select;
use std::cell::RefCell;

/// Where rows go.
type Sink<'s> = dyn FnMut(Row<'_>) -> Result<(), Error> + 's;

/// One evaluation of a query.
struct Evaluator<'a> {
    source: &'a dyn Select,
    budget: &'a Budget<'a>,
    options: &'a Options,
    /// The query's own times, for `@ start()` and `@ end()`: its end need not be a step.
    start: i64,
    end: i64,
    notes: RefCell<Annotations>,
}

impl Evaluator<'_> {
    /// Evaluates a vector; rows come in no particular order and may be empty.
    fn vector(&self, node: &Vector, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), Error> {
        match node {
            Vector::Select(selector) => self.select(selector, grid, sink),
            Vector::Timestamp(selector) => self.timestamps(selector, grid, sink),
            Vector::Of(scalar) => {
                let mut values = self.scalar(scalar, grid)?;
                sink(Row { labels: &crate::labels::Labels::empty(), values: &mut values })
            }
            Vector::Window { function, args, range } => self.window(*function, args, range, grid, sink),
            Vector::AbsentOverTime { labels, range } => self.absent_over_time(labels, range, grid, sink),
            Vector::Element { function, args, inner } => self.element(*function, args, inner, grid, sink),
            Vector::Relabel { relabel, inner } => self.relabel(relabel, inner, grid, sink),
            Vector::Absent { labels, inner } => self.absent(labels, inner, grid, sink),
            Vector::Sort { inner, .. } => self.vector(inner, grid, sink),
            Vector::Histogram { function, args, inner } => self.histogram(*function, args, inner, grid, sink),
            Vector::Info { labels, info, inner } => self.info(labels, info, inner, grid, sink),
            Vector::Aggregate(aggregate) => self.aggregate(aggregate, grid, sink),
            Vector::WithScalar { .. } => self.with_scalar(node, grid, sink),
            Vector::Join(join) => self.join(join, grid, sink),
            Vector::Set { op, matching, left, right } => self.set(*op, matching, left, right, grid, sink),
            Vector::Invariant(inner) => self.invariant(inner, grid, sink),
        }
    }

    /// Evaluates a scalar: one value per step, never [`ABSENT`].
    fn scalar(&self, node: &Scalar, grid: &Grid) -> Result<Vec<f64>, Error> {
        match node {
            Scalar::Number(value) => Ok(vec![*value; grid.n]),
            Scalar::Time => Ok((0..grid.n).map(|step| grid.at(step) as f64 / 1000.0).collect()),
            Scalar::Of(vector) => self.only_value(vector, grid),
            Scalar::Negated(inner) => {
                let mut values = self.scalar(inner, grid)?;
                values.iter_mut().for_each(|value| *value = -*value);
                Ok(values)
            }
            Scalar::Binary { op, left, right } => {
                let mut values = self.scalar(left, grid)?;
                for (left, right) in values.iter_mut().zip(self.scalar(right, grid)?) {
                    *left = op.number(*left, right);
                }
                Ok(values)
            }
        }
    }

    fn scalars(&self, nodes: &[Scalar], grid: &Grid) -> Result<Vec<Vec<f64>>, Error> {
        nodes.iter().map(|node| self.scalar(node, grid)).collect()
    }

    /// `scalar(v)`: the value where the vector has exactly one, NaN elsewhere.
    fn only_value(&self, vector: &Vector, grid: &Grid) -> Result<Vec<f64>, Error> {
        let mut values = vec![f64::NAN; grid.n];
        let mut counts = vec![0u8; grid.n];
        self.vector(vector, grid, &mut |row| {
            for (step, value) in row.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
                counts[step] = counts[step].saturating_add(1);
                values[step] = if counts[step] == 1 { *value } else { f64::NAN };
            }
            Ok(())
        })?;
        Ok(values)
    }

    /// Evaluates once and repeats the values at every step.
    fn invariant(&self, inner: &Vector, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), Error> {
        let mut values = vec![ABSENT; grid.n];
        self.vector(inner, &Grid::instant(grid.start), &mut |row| {
            values.fill(row.values[0]);
            sink(Row { labels: row.labels, values: &mut values })
        })
    }

    /// The instant of an `@` modifier.
    fn resolve(&self, at: Option<At>) -> Option<i64> {
        at.map(|at| match at {
            At::Start => self.start,
            At::End => self.end,
            At::Time(time) => time,
        })
    }

    fn warn(&self, text: impl Into<String>) {
        self.notes.borrow_mut().warn(text);
    }

    fn inform(&self, text: impl Into<String>) {
        self.notes.borrow_mut().inform(text);
    }
}
