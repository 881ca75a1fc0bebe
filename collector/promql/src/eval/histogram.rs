//! Classic histograms: series that differ in `le` alone are the buckets of one.

use super::rows::{Held, Merger, Rows, SAME_LABELSET};
use super::{Evaluator, Sink};
use crate::error::Error;
use crate::functions::histogram::{Bucket, HistogramFunction, LE, fraction, parse_le, quantile};
use crate::functions::quantile::refused;
use crate::grid::{ABSENT, Grid, is_absent};
use crate::labels::Labels;
use crate::plan::{Scalar, Vector};
use signalbox_proto::names::METRIC_NAME;
use std::collections::HashMap;

impl Evaluator<'_> {
    pub(super) fn histogram(
        &self,
        function: HistogramFunction,
        args: &[Scalar],
        inner: &Vector,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let args = self.scalars(args, grid)?;
        if function == HistogramFunction::Quantile {
            args[0].iter().filter_map(|q| refused(*q)).for_each(|text| self.warn(text));
        }
        let mut rows = Rows::new(self.budget);
        self.vector(inner, grid, &mut |row| rows.push(row.labels.clone(), row.values))?;
        let histograms = self.histograms(&rows.list);
        let mut merger = Merger::new(self.budget, SAME_LABELSET);
        let mut values = vec![ABSENT; grid.n];
        let mut buckets = Vec::new();
        for (labels, members) in histograms {
            self.budget.check()?;
            for (step, value) in values.iter_mut().enumerate() {
                buckets.clear();
                let there = members.iter().filter(|(_, held)| !is_absent(held.values[step]));
                buckets.extend(there.map(|(le, held)| Bucket { le: *le, count: held.values[step] }));
                *value = if buckets.is_empty() { ABSENT } else { self.of_buckets(function, &args, step, &mut buckets) };
            }
            merger.push(labels, &values)?;
        }
        merger.drain(sink)
    }

    /// The buckets of each histogram, sorted by their bound.
    fn histograms<'r>(&self, rows: &'r [Held]) -> HashMap<Labels, Vec<(f64, &'r Held)>> {
        let mut histograms: HashMap<Labels, Vec<(f64, &Held)>> = HashMap::new();
        for held in rows {
            let text = held.labels.get(LE).unwrap_or("");
            match parse_le(text).filter(|le| !le.is_nan()) {
                Some(le) => {
                    let labels = held.labels.keep(|name| name != LE.as_bytes() && name != METRIC_NAME.as_bytes());
                    histograms.entry(labels).or_default().push((le, held));
                }
                None => self.warn(format!(
                    "PromQL warning: bucket label \"le\" is missing or has a malformed value of {text:?}{}",
                    held.labels.metric().map(|name| format!(" for metric name {name:?}")).unwrap_or_default()
                )),
            }
        }
        histograms.values_mut().for_each(|members| members.sort_by(|a, b| a.0.total_cmp(&b.0)));
        histograms
    }

    fn of_buckets(
        &self,
        function: HistogramFunction,
        args: &[Vec<f64>],
        step: usize,
        buckets: &mut Vec<Bucket>,
    ) -> f64 {
        match function {
            HistogramFunction::Fraction => fraction(args[0][step], args[1][step], buckets),
            HistogramFunction::Quantile => {
                let (value, forced) = quantile(args[0][step], buckets);
                if forced {
                    self.inform(
                        "PromQL info: input to histogram_quantile needed to be fixed for monotonicity \
                         (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                    );
                }
                value
            }
        }
    }
}
