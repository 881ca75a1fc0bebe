//! Functions of whole vectors: elementwise, relabelling, absence; and which
//! vectors stay free of twins when the metric's name goes.

use super::rows::{Merger, SAME_LABELSET};
use super::{Evaluator, Sink};
use crate::error::Error;
use crate::functions::element::Element;
use crate::functions::label::Relabel;
use crate::grid::{ABSENT, Grid, Row, is_absent};
use crate::labels::Labels;
use crate::plan::{Aggregation, Grouping, Scalar, Selector, SetOp, Vector};
use signalbox_proto::names::METRIC_NAME;
use signalbox_proto::selector::Test;

impl Evaluator<'_> {
    pub(super) fn element(
        &self,
        function: Element,
        args: &[Scalar],
        inner: &Vector,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let args = self.scalars(args, grid)?;
        self.renamed(inner, grid, inner.has_one_name(), sink, &mut |row| {
            function.apply(grid, &args, row.values);
            row.labels.nameless()
        })
    }

    pub(super) fn relabel(
        &self,
        relabel: &Relabel,
        inner: &Vector,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        self.renamed(inner, grid, false, sink, &mut |row| relabel.apply(row.labels))
    }

    /// Hands on every row of `inner` under new labels. Unless they are `distinct`
    /// by themselves, rows that come to bear the same labels are merged.
    pub(super) fn renamed(
        &self,
        inner: &Vector,
        grid: &Grid,
        distinct: bool,
        sink: &mut Sink<'_>,
        change: &mut dyn FnMut(&mut Row<'_>) -> Labels,
    ) -> Result<(), Error> {
        if distinct {
            return self.vector(inner, grid, &mut |mut row| {
                let labels = change(&mut row);
                sink(Row { labels: &labels, values: row.values })
            });
        }
        let mut merger = Merger::new(self.budget, SAME_LABELSET);
        self.vector(inner, grid, &mut |mut row| {
            let labels = change(&mut row);
            merger.push(labels, row.values)
        })?;
        merger.drain(sink)
    }

    /// `absent`: 1 where the vector has nothing.
    pub(super) fn absent(
        &self,
        labels: &Labels,
        inner: &Vector,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut values = vec![1.0; grid.n];
        self.vector(inner, grid, &mut |row| {
            for (value, _) in values.iter_mut().zip(row.values.iter()).filter(|(_, there)| !is_absent(**there)) {
                *value = ABSENT;
            }
            Ok(())
        })?;
        sink(Row { labels, values: &mut values })
    }
}

impl Selector {
    /// Whether every series it selects bears the same name.
    pub(super) fn has_one_name(&self) -> bool {
        self.matchers.iter().any(|matcher| matcher.label == METRIC_NAME && matches!(matcher.test, Test::Is(_)))
    }
}

impl Vector {
    /// Whether its rows surely stay distinct when their metric name is taken
    /// away: then nothing has to be held to look for twins.
    pub(super) fn has_one_name(&self) -> bool {
        match self {
            Vector::Select(selector) => selector.has_one_name(),
            Vector::Timestamp(selector) => selector.has_one_name(),
            Vector::Window { function, range, .. } => !function.keeps_name() || range.has_one_name(),
            Vector::Of(_)
            | Vector::AbsentOverTime { .. }
            | Vector::Absent { .. }
            | Vector::Element { .. }
            | Vector::Histogram { .. } => true,
            Vector::Relabel { .. } | Vector::Info { .. } | Vector::Join(_) => false,
            Vector::Sort { inner, .. } | Vector::Invariant(inner) => inner.has_one_name(),
            Vector::Aggregate(aggregate) => match (&aggregate.function, &aggregate.grouping) {
                (Aggregation::Ranked { .. } | Aggregation::LimitK(_) | Aggregation::LimitRatio(_), _) => {
                    aggregate.inner.has_one_name()
                }
                (Aggregation::CountValues(label), _) if label == METRIC_NAME => false,
                (_, Grouping::By(names)) => !names.iter().any(|name| name == METRIC_NAME),
                (_, Grouping::Without(_)) => true,
            },
            Vector::WithScalar { filter, vector, .. } => !filter || vector.has_one_name(),
            Vector::Set { op, left, .. } => *op != SetOp::Or && left.has_one_name(),
        }
    }
}
