//! `and`, `or`, `unless`: which series of one side stay, by what the other side has at each step.

use super::rows::{Merger, SAME_LABELSET};
use super::{Evaluator, Sink};
use crate::error::Error;
use crate::grid::{ABSENT, Grid, Row, is_absent};
use crate::plan::{Matching, SetOp, Vector};
use std::collections::HashMap;

/// For each group of matching labels, the steps at which some series of it has a value.
#[derive(Default)]
struct Presence {
    groups: HashMap<Vec<u8>, Vec<bool>>,
    key: Vec<u8>,
}

impl Presence {
    fn note(&mut self, matching: &Matching, row: &Row<'_>) {
        matching.write_key(row.labels, &mut self.key);
        let steps = match self.groups.get_mut(&self.key) {
            Some(steps) => steps,
            None => self.groups.entry(self.key.clone()).or_insert_with(|| vec![false; row.values.len()]),
        };
        for (there, value) in steps.iter_mut().zip(row.values.iter()) {
            *there |= !is_absent(*value);
        }
    }

    /// Takes away the values of steps at which the group's presence is not `wanted`.
    fn filter(&mut self, matching: &Matching, row: &mut Row<'_>, wanted: bool) {
        matching.write_key(row.labels, &mut self.key);
        match self.groups.get(&self.key) {
            None if wanted => row.values.fill(ABSENT),
            None => {}
            Some(steps) => {
                for (value, _) in row.values.iter_mut().zip(steps).filter(|(_, there)| **there != wanted) {
                    *value = ABSENT;
                }
            }
        }
    }
}

impl Evaluator<'_> {
    pub(super) fn set(
        &self,
        op: SetOp,
        matching: &Matching,
        left: &Vector,
        right: &Vector,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut presence = Presence::default();
        if op == SetOp::Or {
            let mut merger = Merger::new(self.budget, SAME_LABELSET);
            self.vector(left, grid, &mut |row| {
                presence.note(matching, &row);
                merger.push(row.labels.clone(), row.values)
            })?;
            self.vector(right, grid, &mut |mut row| {
                presence.filter(matching, &mut row, false);
                merger.push(row.labels.clone(), row.values)
            })?;
            return merger.drain(sink);
        }
        self.vector(right, grid, &mut |row| {
            presence.note(matching, &row);
            Ok(())
        })?;
        self.vector(left, grid, &mut |mut row| {
            presence.filter(matching, &mut row, op == SetOp::And);
            sink(row)
        })
    }
}
