//! Aggregations that fold one series after the other into one state per group:
//! nothing of the series is held. Each series is put into its group once, not
//! once per step.

use super::{Evaluator, Sink};
use crate::error::Error;
use crate::functions::over_time::{larger, smaller};
use crate::functions::sum::{Mean, Variance, two_sum};
use crate::grid::{ABSENT, Grid, Row, has_any, is_absent};
use crate::labels::Labels;
use crate::plan::{Aggregate, Aggregation, Fold, Grouping, Vector};
use signalbox_proto::names::METRIC_NAME;
use std::collections::HashMap;

impl Grouping {
    /// Writes the labels that name a series' group.
    pub(super) fn write_key(&self, labels: &Labels, key: &mut Vec<u8>) {
        key.clear();
        match self {
            Grouping::By(names) if names.is_empty() => {}
            Grouping::By(names) => labels.write_kept(key, |name| names.iter().any(|own| own.as_bytes() == name)),
            Grouping::Without(names) => {
                labels.write_kept(key, |name| {
                    name != METRIC_NAME.as_bytes() && !names.iter().any(|own| own.as_bytes() == name)
                });
            }
        }
    }
}

/// The state of one group, one element per step.
enum State {
    Sum { sums: Vec<f64>, lost: Vec<f64>, there: Vec<u64> },
    Avg(Vec<Mean>),
    Count(Vec<f64>),
    Best { values: Vec<f64>, better: fn(f64, f64) -> f64 },
    Group(Vec<f64>),
    Variance { states: Vec<(Variance, bool)>, root: bool },
}

/// Bytes of state per step and group, at most.
const STATE_BYTES: usize = size_of::<(Variance, bool)>();

impl State {
    fn new(fold: Fold, n: usize) -> State {
        match fold {
            // Minus zero is what nothing changes: -0 + x is x, for -0 too.
            Fold::Sum => State::Sum { sums: vec![-0.0; n], lost: vec![0.0; n], there: vec![0; n] },
            Fold::Avg => State::Avg(vec![Mean::default(); n]),
            Fold::Count => State::Count(vec![0.0; n]),
            Fold::Min => State::Best { values: vec![ABSENT; n], better: smaller },
            Fold::Max => State::Best { values: vec![ABSENT; n], better: larger },
            Fold::Group => State::Group(vec![ABSENT; n]),
            Fold::Stddev | Fold::Stdvar => {
                State::Variance { states: vec![(Variance::default(), false); n], root: fold == Fold::Stddev }
            }
        }
    }

    fn add(&mut self, values: &[f64]) {
        let present = |value: &f64| !is_absent(*value);
        match self {
            State::Sum { sums, lost, there } => add_to_sums(sums, lost, there, values),
            State::Avg(means) => {
                means
                    .iter_mut()
                    .zip(values)
                    .filter(|(_, value)| present(value))
                    .for_each(|(mean, value)| mean.add(*value));
            }
            State::Count(counts) => {
                counts.iter_mut().zip(values).for_each(|(count, value)| *count += f64::from(u8::from(present(value))));
            }
            State::Best { values: best, better } => {
                for (best, value) in best.iter_mut().zip(values).filter(|(_, value)| present(value)) {
                    *best = if is_absent(*best) { *value } else { better(*best, *value) };
                }
            }
            State::Group(ones) => {
                ones.iter_mut().zip(values).filter(|(_, value)| present(value)).for_each(|(one, _)| *one = 1.0);
            }
            State::Variance { states, .. } => {
                for ((state, there), value) in states.iter_mut().zip(values).filter(|(_, value)| present(value)) {
                    state.add(*value);
                    *there = true;
                }
            }
        }
    }

    /// One value per step.
    fn finish(self) -> Vec<f64> {
        let if_some = |there: bool, value: f64| if there { value } else { ABSENT };
        match self {
            State::Sum { sums, lost, there } => {
                let total =
                    |((sum, lost), there)| if_some(there != 0, if f64::is_infinite(sum) { sum } else { sum + lost });
                sums.into_iter().zip(lost).zip(there).map(total).collect()
            }
            State::Avg(means) => means.into_iter().map(|mean| if_some(mean.has_any(), mean.value())).collect(),
            State::Count(counts) => counts.into_iter().map(|count| if_some(count > 0.0, count)).collect(),
            State::Best { values, .. } | State::Group(values) => values,
            State::Variance { states, root } => states
                .into_iter()
                .map(|(state, there)| if_some(there, if root { state.value().sqrt() } else { state.value() }))
                .collect(),
        }
    }
}

/// Adds a row to compensated sums: no branch, so that it compiles to vector instructions.
fn add_to_sums(sums: &mut [f64], lost: &mut [f64], there: &mut [u64], values: &[f64]) {
    for (((sum, lost), there), value) in sums.iter_mut().zip(lost).zip(there).zip(values) {
        let present = !is_absent(*value);
        let (next, error) = two_sum(*sum, if present { *value } else { -0.0 });
        *sum = next;
        *lost += error;
        *there |= u64::from(present);
    }
}

impl Evaluator<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), Error> {
        let Aggregate { function, grouping, inner } = aggregate;
        match function {
            Aggregation::Fold(fold) => self.fold(*fold, grouping, inner, grid, sink),
            Aggregation::CountValues(label) => self.count_values(label, grouping, inner, grid, sink),
            Aggregation::Quantile(_)
            | Aggregation::Ranked { .. }
            | Aggregation::LimitK(_)
            | Aggregation::LimitRatio(_) => self.ranked(aggregate, grid, sink),
        }
    }

    fn fold(
        &self,
        fold: Fold,
        grouping: &Grouping,
        inner: &Vector,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut groups: HashMap<Vec<u8>, State> = HashMap::new();
        let mut key = Vec::new();
        let mut bytes = 0;
        let folded = self.vector(inner, grid, &mut |row| {
            grouping.write_key(row.labels, &mut key);
            let state = match groups.get_mut(&key) {
                Some(state) => state,
                None if !has_any(row.values) => return Ok(()),
                None => {
                    bytes += STATE_BYTES * grid.n;
                    self.budget.take(STATE_BYTES * grid.n)?;
                    groups.entry(key.clone()).or_insert_with(|| State::new(fold, grid.n))
                }
            };
            state.add(row.values);
            Ok(())
        });
        let handed_on = folded.and_then(|()| {
            groups
                .into_iter()
                .try_for_each(|(key, state)| sink(Row { labels: &Labels::from_key(&key), values: &mut state.finish() }))
        });
        self.budget.give_back(bytes);
        handed_on
    }
}
