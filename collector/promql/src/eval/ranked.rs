//! Aggregations that compare the series of a group with one another, at each
//! step anew: `topk`, `bottomk`, `quantile`, `limitk`, `limit_ratio`, and
//! `count_values`, which makes groups of its own. They hold their input.

use super::rows::{Held, Rows};
use super::{Evaluator, Sink};
use crate::error::Error;
use crate::functions::quantile::{quantile, refused};
use crate::grid::{ABSENT, Grid, Row, is_absent};
use crate::labels::Labels;
use crate::plan::{Aggregate, Aggregation, Grouping, Vector};
use crate::value::show_value;
use signalbox_proto::names::METRIC_NAME;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

impl Evaluator<'_> {
    pub(super) fn ranked(&self, aggregate: &Aggregate, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), Error> {
        let parameter = match aggregate.function.parameter() {
            Some(parameter) => self.scalar(parameter, grid)?,
            None => return Ok(()),
        };
        self.check_parameter(&aggregate.function, &parameter)?;
        let mut rows = Rows::new(self.budget);
        self.vector(&aggregate.inner, grid, &mut |row| rows.push(row.labels.clone(), row.values))?;
        // Ties and limits are decided by labels, not by the order in which the store answers.
        rows.list.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut groups: BTreeMap<Vec<u8>, Vec<&Held>> = BTreeMap::new();
        let mut key = Vec::new();
        for held in &rows.list {
            aggregate.grouping.write_key(&held.labels, &mut key);
            groups.entry(key.clone()).or_default().push(held);
        }
        for (key, members) in groups {
            match &aggregate.function {
                Aggregation::Quantile(_) => {
                    let mut values = self.quantiles(&members, &parameter)?;
                    sink(Row { labels: &Labels::from_key(&key), values: &mut values })?;
                }
                function => self.hand_on_chosen(function, &members, &parameter, sink)?,
            }
        }
        Ok(())
    }

    fn check_parameter(&self, function: &Aggregation, parameter: &[f64]) -> Result<(), Error> {
        match function {
            Aggregation::Quantile(_) => parameter.iter().filter_map(|q| refused(*q)).for_each(|text| self.warn(text)),
            Aggregation::LimitRatio(_) => {
                if parameter.iter().any(|ratio| ratio.is_nan()) {
                    return Err(Error::execution("Ratio value is NaN"));
                }
                for ratio in parameter.iter().filter(|ratio| ratio.abs() > 1.0) {
                    let (shown, capped) = (show_value(*ratio), ratio.signum());
                    self.warn(format!(
                        "PromQL warning: ratio value should be between -1 and 1, got {shown}, capping to {capped}"
                    ));
                }
            }
            _ => {
                // What an i64 cannot hold is no count of series.
                let limit = 2f64.powi(63);
                if let Some(wrong) = parameter.iter().find(|k| k.is_nan() || **k >= limit || **k < -limit) {
                    return Err(Error::execution(if wrong.is_nan() {
                        "Parameter value is NaN".to_owned()
                    } else {
                        format!("Scalar value {} overflows int64", show_value(*wrong))
                    }));
                }
            }
        }
        Ok(())
    }

    fn quantiles(&self, members: &[&Held], q: &[f64]) -> Result<Vec<f64>, Error> {
        let mut sorted = Vec::with_capacity(members.len());
        let mut quantiles = Vec::with_capacity(q.len());
        for (step, q) in q.iter().enumerate() {
            self.budget.check()?;
            sorted.clear();
            sorted.extend(members.iter().map(|held| held.values[step]).filter(|value| !is_absent(*value)));
            quantiles.push(if sorted.is_empty() { ABSENT } else { quantile(*q, &mut sorted) });
        }
        Ok(quantiles)
    }

    /// Hands on the members of a group with the values of the steps at which they
    /// were chosen; at an instant, in the order of the choice.
    fn hand_on_chosen(
        &self,
        function: &Aggregation,
        members: &[&Held],
        parameter: &[f64],
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut chosen: Vec<Vec<f64>> = vec![Vec::new(); members.len()];
        let mut order: Vec<usize> = Vec::new();
        let mut present = Vec::with_capacity(members.len());
        for (step, parameter) in parameter.iter().enumerate() {
            self.budget.check()?;
            present.clear();
            present.extend((0..members.len()).filter(|at| !is_absent(members[*at].values[step])));
            choose(function, *parameter, members, step, &mut present);
            for at in &present {
                if chosen[*at].is_empty() {
                    chosen[*at].resize(members[*at].values.len(), ABSENT);
                    order.push(*at);
                }
                chosen[*at][step] = members[*at].values[step];
            }
        }
        order.into_iter().try_for_each(|at| sink(Row { labels: &members[at].labels, values: &mut chosen[at] }))
    }

    /// `count_values`: how many series have each value, under a label that holds it,
    /// unless `without` takes away that very label.
    pub(super) fn count_values(
        &self,
        label: &str,
        grouping: &Grouping,
        inner: &Vector,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut counts: HashMap<Labels, Vec<f64>> = HashMap::new();
        let taken_away = match grouping {
            Grouping::By(_) => false,
            Grouping::Without(names) => label == METRIC_NAME || names.iter().any(|name| name == label),
        };
        let mut key = Vec::new();
        let mut bytes = 0;
        let counted = self.vector(inner, grid, &mut |row| {
            self.budget.check()?;
            grouping.write_key(row.labels, &mut key);
            let group = Labels::from_key(&key);
            // Values repeat from step to step: the labels are made when they change.
            let mut last: Option<(u64, Labels)> = None;
            for (step, value) in row.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
                let labels = match &last {
                    Some((bits, labels)) if *bits == value.to_bits() => labels.clone(),
                    _ if taken_away => group.clone(),
                    _ => group.with(label, &show_value(*value)),
                };
                last = Some((value.to_bits(), labels.clone()));
                if !counts.contains_key(&labels) {
                    let size = labels.bytes() + size_of::<f64>() * grid.n;
                    bytes += size;
                    self.budget.take(size)?;
                    counts.insert(labels.clone(), vec![ABSENT; grid.n]);
                }
                if let Some(count) = counts.get_mut(&labels).map(|counts| &mut counts[step]) {
                    *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
                }
            }
            Ok(())
        });
        let handed_on =
            counted.and_then(|()| counts.iter_mut().try_for_each(|(labels, values)| sink(Row { labels, values })));
        self.budget.give_back(bytes);
        handed_on
    }
}

/// Leaves the chosen ones of the members that have a value at a step.
fn choose(function: &Aggregation, parameter: f64, members: &[&Held], step: usize, present: &mut Vec<usize>) {
    // Negative counts choose nothing; the cast cuts fractions off.
    let k = parameter.max(0.0) as usize;
    match function {
        Aggregation::Ranked { largest, .. } => {
            let rank = |a: &usize, b: &usize| by_rank(members[*a].values[step], members[*b].values[step], *largest);
            if k == 0 {
                present.clear();
            } else if k < present.len() {
                present.select_nth_unstable_by(k - 1, |a, b| rank(a, b).then(a.cmp(b)));
                present.truncate(k);
            }
            present.sort_by(|a, b| rank(a, b).then(a.cmp(b)));
        }
        Aggregation::LimitK(_) => present.truncate(k),
        Aggregation::LimitRatio(_) => present.retain(|at| is_sampled(&members[*at].labels, parameter.clamp(-1.0, 1.0))),
        Aggregation::Quantile(_) | Aggregation::Fold(_) | Aggregation::CountValues(_) => {}
    }
}

/// The best first, NaN last.
pub(super) fn by_rank(a: f64, b: f64, largest: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let ascending = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if largest { ascending.reverse() } else { ascending }
        }
    }
}

/// Whether a series belongs to a share of all: those of `r` and of `-(1 - r)` complete each other.
fn is_sampled(labels: &Labels, ratio: f64) -> bool {
    let share = labels.fingerprint() as f64 / u64::MAX as f64;
    if ratio >= 0.0 { share < ratio } else { share >= 1.0 + ratio }
}
