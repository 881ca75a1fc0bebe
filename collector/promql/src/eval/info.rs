//! `info(v)`: at each step, the labels of the information series that are there.

use super::rows::{Held, Merger, Rows, SAME_LABELSET};
use super::{Evaluator, Sink};
use crate::error::Error;
use crate::functions::info::{IDENTITY, InfoLabels};
use crate::grid::{ABSENT, Grid, is_absent};
use crate::labels::Labels;
use crate::memory::matches;
use crate::plan::{Matching, Selector, Vector};
use std::collections::HashMap;

impl Evaluator<'_> {
    pub(super) fn info(
        &self,
        wanted: &InfoLabels,
        info: &Selector,
        inner: &Vector,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let identity = Matching::On(IDENTITY.map(str::to_owned).to_vec());
        let mut rows = Rows::new(self.budget);
        self.select(info, grid, &mut |row| rows.push(row.labels.clone(), row.values))?;
        let mut key = Vec::new();
        let mut by_identity: HashMap<Vec<u8>, Vec<&Held>> = HashMap::new();
        for held in &rows.list {
            identity.write_key(&held.labels, &mut key);
            by_identity.entry(key.clone()).or_default().push(held);
        }
        let mut merger = Merger::new(self.budget, SAME_LABELSET);
        self.vector(inner, grid, &mut |row| {
            self.budget.check()?;
            identity.write_key(row.labels, &mut key);
            let found = by_identity.get(&key).filter(|_| !key.is_empty() && !matches(&info.matchers, row.labels));
            let Some(found) = found else {
                // Nothing is known of it, or it is information itself.
                let stays = wanted.accept_none() || matches(&info.matchers, row.labels);
                return if stays { merger.push(row.labels.clone(), row.values) } else { Ok(()) };
            };
            for (labels, values) in split_by_info(wanted, row.labels, row.values, found)? {
                merger.push(labels, &values)?;
            }
            Ok(())
        })?;
        merger.drain(sink)
    }
}

/// A series becomes one for each set of information series that it meets on its way.
fn split_by_info(
    wanted: &InfoLabels,
    base: &Labels,
    values: &[f64],
    found: &[&Held],
) -> Result<HashMap<Labels, Vec<f64>>, Error> {
    let mut parts: HashMap<Labels, Vec<f64>> = HashMap::new();
    for (step, value) in values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
        let mut labels = base.clone();
        let mut met: Vec<&Held> = Vec::new();
        for held in found.iter().filter(|held| !is_absent(held.values[step])) {
            if let Some(twin) = met.iter().find(|other| other.labels.metric() == held.labels.metric()) {
                let (first, second) = (&twin.labels, &held.labels);
                return Err(Error::execution(format!("found duplicate series for info metric: [{first}, {second}]")));
            }
            labels = wanted.joined(&labels, &held.labels);
            met.push(held);
        }
        if !met.is_empty() || wanted.accept_none() {
            parts.entry(labels).or_insert_with(|| vec![ABSENT; values.len()])[step] = *value;
        }
    }
    Ok(parts)
}
