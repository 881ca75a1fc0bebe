//! A store in memory: the twin of the real one for tests, examples and what-if.

use crate::budget::Budget;
use crate::error::Error;
use crate::labels::Labels;
use crate::seam::{Column, Select, Selected, Wanted};
use signalbox_proto::selector::Matcher;
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;

/// Series in memory, sorted by labels.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    series: BTreeMap<Labels, Samples>,
}

#[derive(Debug, Clone, Default)]
struct Samples {
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Memory {
    /// Adds a sample. Of two at one time the last stays.
    pub fn push(&mut self, labels: &Labels, time: UnixMillis, value: f64) {
        if !self.series.contains_key(labels) {
            self.series.insert(labels.clone(), Samples::default());
        }
        let Some(samples) = self.series.get_mut(labels) else { return };
        match samples.times.binary_search(&time.0) {
            Ok(at) => samples.values[at] = value,
            Err(at) => {
                samples.times.insert(at, time.0);
                samples.values.insert(at, value);
            }
        }
    }
}

/// True when labels satisfy every matcher; an absent label has the value "".
pub fn matches(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.test.accepts(labels.get(&matcher.label).unwrap_or("")))
}

impl Select for Memory {
    fn select(
        &self,
        wanted: &Wanted<'_>,
        budget: &Budget<'_>,
        take: &mut dyn FnMut(Column<'_>) -> Result<(), Error>,
    ) -> Result<Selected, Error> {
        for (labels, samples) in &self.series {
            budget.check()?;
            let from = samples.times.partition_point(|time| *time <= wanted.after.0);
            let to = samples.times.partition_point(|time| *time <= wanted.until.0);
            if from < to && matches(wanted.matchers, labels) {
                take(Column { labels, times: &samples.times[from..to], values: &samples.values[from..to] })?;
            }
        }
        Ok(Selected::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Options;
    use crate::seam::Hints;
    use signalbox_proto::selector::Selector;

    #[test]
    fn windows_are_open_on_the_left_and_closed_on_the_right() {
        let mut memory = Memory::default();
        let labels = Labels::new([("__name__", "up"), ("host", "a")]);
        for (time, value) in [(30, 3.0), (10, 1.0), (20, 9.0), (20, 2.0)] {
            memory.push(&labels, UnixMillis(time), value);
        }
        let selector = Selector::parse(r#"up{host=~"a|b"}"#).unwrap();
        let options = Options::default();
        let budget = Budget::new(&options, &|| None);
        let wanted = Wanted {
            matchers: selector.matchers(),
            after: UnixMillis(10),
            until: UnixMillis(30),
            hints: Hints::default(),
        };
        let mut seen = Vec::new();
        memory
            .select(&wanted, &budget, &mut |column| {
                seen.push((column.labels.clone(), column.times.to_vec(), column.values.to_vec()));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [(labels, vec![20, 30], vec![2.0, 3.0])]);
    }
}
