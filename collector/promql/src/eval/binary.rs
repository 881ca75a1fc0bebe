//! Operators between a vector and a scalar, and between two vectors.
//!
//! Series of both sides are put into groups by the labels that must match, once;
//! the side that may have only one series per group is held, the other streams
//! past it. Whether a pair is allowed is a question of each step.

use super::rows::{Held, Merger, Rows, SAME_LABELSET};
use super::{Evaluator, Sink};
use crate::error::Error;
use crate::grid::{ABSENT, Grid, Row, is_absent};
use crate::labels::Labels;
use crate::plan::{Card, Join, Matching, Op, Vector};
use signalbox_proto::names::METRIC_NAME;
use std::collections::HashMap;

impl Matching {
    /// Writes what must be equal of a series' labels.
    pub(super) fn write_key(&self, labels: &Labels, key: &mut Vec<u8>) {
        key.clear();
        labels.write_kept(key, |name| self.keeps(name));
    }

    /// Whether a label is part of what must be equal; the metric's name only when told so.
    fn keeps(&self, name: &[u8]) -> bool {
        let told = |names: &[String]| names.iter().any(|own| own.as_bytes() == name);
        match self {
            Matching::On(names) => told(names),
            Matching::Ignoring(names) => name != METRIC_NAME.as_bytes() && !told(names),
        }
    }
}

/// The side of a join that may have one series per group and step.
struct OneSide<'a> {
    rows: Rows<'a>,
    groups: HashMap<Vec<u8>, Group>,
    /// Two series of one group, by the step at which both have a value: an
    /// error once the other side has anything there.
    twins: HashMap<usize, (usize, usize)>,
}

#[derive(Default)]
struct Group {
    /// Places of its series.
    members: Vec<usize>,
    /// Which of them has the value of each step, once there are two.
    owners: Vec<Option<usize>>,
    /// Steps at which the other side has had a result, for one-to-one.
    taken: Vec<bool>,
}

impl Evaluator<'_> {
    pub(super) fn with_scalar(&self, node: &Vector, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), Error> {
        let Vector::WithScalar { op, filter, scalar, vector, scalar_left } = node else { return Ok(()) };
        let scalars = self.scalar(scalar, grid)?;
        let change = |row: &mut Row<'_>| {
            for (value, scalar) in row.values.iter_mut().zip(&scalars).filter(|(value, _)| !is_absent(**value)) {
                let (left, right) = if *scalar_left { (*scalar, *value) } else { (*value, *scalar) };
                if !*filter {
                    *value = op.number(left, right);
                } else if !op.holds(left, right) {
                    *value = ABSENT;
                }
            }
        };
        if *filter {
            return self.vector(vector, grid, &mut |mut row| {
                change(&mut row);
                sink(row)
            });
        }
        self.renamed(vector, grid, vector.has_one_name(), sink, &mut |row| {
            change(row);
            row.labels.nameless()
        })
    }

    pub(super) fn join(&self, join: &Join, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), Error> {
        let (many, one) = match join.card {
            Card::OneToMany(_) => (&join.right, &join.left),
            Card::OneToOne | Card::ManyToOne(_) => (&join.left, &join.right),
        };
        let mut side = self.one_side(one, &join.matching, grid)?;
        let clash = match join.card {
            Card::OneToOne => SAME_LABELSET,
            _ => "multiple matches for labels: grouping labels must ensure unique matches",
        };
        let mut merger = Merger::new(self.budget, clash);
        let mut key = Vec::new();
        let mut values = vec![ABSENT; grid.n];
        self.vector(many, grid, &mut |row| {
            self.budget.check()?;
            side.refuse_twins(&row, join)?;
            join.matching.write_key(row.labels, &mut key);
            let Some(group) = side.groups.get_mut(&key) else { return Ok(()) };
            for member in &group.members {
                let held = &side.rows.list[*member];
                combine(join, row.values, &held.values, &mut values);
                if matches!(join.card, Card::OneToOne) {
                    take(&mut group.taken, &values)?;
                }
                merger.push(join.labels(row.labels, &held.labels), &values)?;
            }
            Ok(())
        })?;
        merger.drain(sink)
    }

    fn one_side(&self, one: &Vector, matching: &Matching, grid: &Grid) -> Result<OneSide<'_>, Error> {
        let mut side = OneSide { rows: Rows::new(self.budget), groups: HashMap::new(), twins: HashMap::new() };
        let mut key = Vec::new();
        self.vector(one, grid, &mut |row| {
            let place = side.rows.list.len();
            side.rows.push(row.labels.clone(), row.values)?;
            if side.rows.list.len() == place {
                return Ok(());
            }
            matching.write_key(row.labels, &mut key);
            let group = match side.groups.get_mut(&key) {
                Some(group) => group,
                None => side.groups.entry(key.clone()).or_default(),
            };
            if let [only] = group.members[..] {
                group.owners = side.rows.list[only].values.iter().map(|v| (!is_absent(*v)).then_some(only)).collect();
            }
            if !group.members.is_empty() {
                for (step, owner) in group.owners.iter_mut().enumerate().filter(|(n, _)| !is_absent(row.values[*n])) {
                    match owner {
                        Some(other) => {
                            side.twins.entry(step).or_insert((*other, place));
                        }
                        None => *owner = Some(place),
                    }
                }
            }
            group.members.push(place);
            Ok(())
        })?;
        Ok(side)
    }
}

impl OneSide<'_> {
    /// Two series in a group are wrong at each step where there is something to match.
    fn refuse_twins(&self, row: &Row<'_>, join: &Join) -> Result<(), Error> {
        let met = self.twins.iter().filter(|(step, _)| !is_absent(row.values[**step])).min_by_key(|(step, _)| **step);
        let Some((_, (first, second))) = met else { return Ok(()) };
        let (first, second): (&Held, &Held) = (&self.rows.list[*first], &self.rows.list[*second]);
        let side = if matches!(join.card, Card::OneToMany(_)) { "left" } else { "right" };
        let mut key = Vec::new();
        join.matching.write_key(&first.labels, &mut key);
        Err(Error::execution(format!(
            "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}]\
             ;many-to-many matching not allowed: matching labels must be unique on one side",
            Labels::from_key(&key),
            second.labels,
            first.labels
        )))
    }
}

/// Fills `out` with the results of the steps at which both sides have a value.
fn combine(join: &Join, many: &[f64], one: &[f64], out: &mut [f64]) {
    let swapped = matches!(join.card, Card::OneToMany(_));
    for ((out, many), one) in out.iter_mut().zip(many).zip(one) {
        *out = ABSENT;
        if is_absent(*many) || is_absent(*one) {
            continue;
        }
        let (left, right) = if swapped { (*one, *many) } else { (*many, *one) };
        if !join.filter {
            *out = join.op.number(left, right);
        } else if join.op.holds(left, right) {
            *out = left;
        }
    }
}

/// Marks the steps of a group that have a result; a second one needs `group_left` or `group_right`.
fn take(taken: &mut Vec<bool>, values: &[f64]) -> Result<(), Error> {
    taken.resize(values.len(), false);
    for (taken, _) in taken.iter_mut().zip(values).filter(|(_, value)| !is_absent(**value)) {
        if *taken {
            let why = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
            return Err(Error::execution(why));
        }
        *taken = true;
    }
    Ok(())
}

impl Join {
    /// The labels of a result.
    fn labels(&self, many: &Labels, one: &Labels) -> Labels {
        // What passes a filter is still a reading of its metric.
        let keeps_name = |name: &[u8]| self.filter || name != METRIC_NAME.as_bytes();
        match &self.card {
            Card::OneToOne => match &self.matching {
                Matching::On(_) => many.keep(|name| keeps_name(name) && self.matching.keeps(name)),
                Matching::Ignoring(names) => {
                    many.keep(|name| keeps_name(name) && !names.iter().any(|own| own.as_bytes() == name))
                }
            },
            Card::ManyToOne(include) | Card::OneToMany(include) => {
                let mut labels = many.keep(keeps_name);
                for name in include {
                    labels = labels.with(name, one.get(name).unwrap_or(""));
                }
                labels
            }
        }
    }
}

impl Op {
    /// What the operator is called in a query.
    pub(crate) fn parse(text: &str) -> Option<Op> {
        Some(match text {
            "+" => Op::Add,
            "-" => Op::Sub,
            "*" => Op::Mul,
            "/" => Op::Div,
            "%" => Op::Mod,
            "^" => Op::Pow,
            "atan2" => Op::Atan2,
            "==" => Op::Eq,
            "!=" => Op::Ne,
            ">" => Op::Gt,
            "<" => Op::Lt,
            ">=" => Op::Ge,
            "<=" => Op::Le,
            _ => return None,
        })
    }
}
