//! Rows that are held, paid for from the budget, and what happens when two of
//! them come to bear the same labels.

use crate::budget::Budget;
use crate::error::Error;
use crate::grid::{Row, has_any, is_absent};
use crate::labels::Labels;
use std::collections::HashMap;

/// Bytes that holding a row costs besides its labels and values: bookkeeping of vectors and maps.
const ROW_OVERHEAD_BYTES: usize = 96;

/// A row that is held.
pub(super) struct Held {
    pub labels: Labels,
    pub values: Vec<f64>,
}

/// Rows that are held; gives their memory back to the budget when it goes.
pub(super) struct Rows<'a> {
    pub list: Vec<Held>,
    budget: &'a Budget<'a>,
    bytes: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(budget: &'a Budget<'a>) -> Rows<'a> {
        Rows { list: Vec::new(), budget, bytes: 0 }
    }

    /// Holds a copy. A row without any value is not worth it.
    pub(super) fn push(&mut self, labels: Labels, values: &[f64]) -> Result<(), Error> {
        if !has_any(values) {
            return Ok(());
        }
        let bytes = labels.bytes() + size_of_val(values) + ROW_OVERHEAD_BYTES;
        self.bytes += bytes;
        self.budget.take(bytes)?;
        self.list.push(Held { labels, values: values.to_vec() });
        Ok(())
    }

    /// Hands every row on.
    pub(super) fn drain(&mut self, sink: &mut super::Sink<'_>) -> Result<(), Error> {
        for held in &mut self.list {
            sink(Row { labels: &held.labels, values: &mut held.values })?;
        }
        Ok(())
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// Held rows, one per label set: two with the same labels become one, unless
/// both have a value at the same step.
pub(super) struct Merger<'a> {
    rows: Rows<'a>,
    places: HashMap<Labels, usize>,
    clash: &'static str,
}

/// What is said when a vector would have two elements with the same labels.
pub(super) const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";

impl<'a> Merger<'a> {
    /// `clash` is the error when two rows meet at a step.
    pub(super) fn new(budget: &'a Budget<'a>, clash: &'static str) -> Merger<'a> {
        Merger { rows: Rows::new(budget), places: HashMap::new(), clash }
    }

    pub(super) fn push(&mut self, labels: Labels, values: &[f64]) -> Result<(), Error> {
        if !has_any(values) {
            return Ok(());
        }
        let Some(place) = self.places.get(&labels) else {
            self.places.insert(labels.clone(), self.rows.list.len());
            return self.rows.push(labels, values);
        };
        for (held, value) in self.rows.list[*place].values.iter_mut().zip(values) {
            match (is_absent(*held), is_absent(*value)) {
                (_, true) => {}
                (true, false) => *held = *value,
                (false, false) => return Err(Error::execution(self.clash)),
            }
        }
        Ok(())
    }

    pub(super) fn drain(mut self, sink: &mut super::Sink<'_>) -> Result<(), Error> {
        self.rows.drain(sink)
    }
}
