//! Rows of values become batches. Pure: time and values come as arguments.
//!
//! ```text
//! begin(wall, mono, key) -> row(check …)* -> finish(events) -> Cut { batch, n_samples }
//! ```
//!
//! Within an epoch each series has a ref and each set of series that a check samples
//! together has a shape. Both are declared in the batch that first uses them, and
//! again after every key batch, which starts a spool segment and must be readable
//! alone. Refs and shapes keep their numbers over key batches.

use signalbox_proto::columns::Encoder;
use signalbox_proto::limits::{SAMPLES_PER_BATCH_MAX, SERIES_PER_AGENT_MAX};
use signalbox_proto::names::{AgentId, Labels, NameError};
use signalbox_proto::samples::{AgentEvent, Batch, CheckResult, SeriesEntry, ShapeEntry};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use thiserror::Error;

use crate::check::Layout;

/// A new epoch is due when so many refs were given out: a quarter of what the wire
/// allows, because refs of series that are gone cost memory on both sides.
const REFS_WANT_EPOCH: u32 = 50_000;
/// The same for shapes.
const SHAPES_WANT_EPOCH: u32 = 16_000;

/// Why the row of a check was left out.
#[derive(Debug, Error)]
pub(crate) enum RowError {
    /// Label `host` could not be added.
    #[error("label series of check {check}")]
    Labels {
        /// Which check.
        check: String,
        /// Why.
        source: NameError,
    },
    /// Columns and values differ in number.
    #[error("check {check} gave {n_values} values for {n_series} series")]
    Columns {
        /// Which check.
        check: String,
        /// Length of the row.
        n_values: usize,
        /// Length of the layout.
        n_series: usize,
    },
    /// The agent's series are over the limit.
    #[error("series of check {check} would make {n_series}, over the limit of {SERIES_PER_AGENT_MAX} of an agent")]
    TooManySeries {
        /// Which check.
        check: String,
        /// How many there would be.
        n_series: usize,
    },
    /// The batch is full.
    #[error("values of check {check} would bring the batch over the limit of {SAMPLES_PER_BATCH_MAX} samples")]
    BatchFull {
        /// Which check.
        check: String,
    },
}

/// A finished batch.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) batch: Batch,
    pub(crate) n_samples: u32,
}

/// The current shape of a check.
#[derive(Debug)]
struct Declared {
    check: String,
    generation: u64,
    interval: Millis,
    shape: u32,
    refs: Vec<u32>,
    /// Declared since the last key batch.
    sent: bool,
}

#[derive(Debug, Default)]
struct Open {
    wall: UnixMillis,
    mono: Millis,
    key: bool,
    series: Vec<SeriesEntry>,
    shapes: Vec<ShapeEntry>,
    results: Vec<CheckResult>,
    n_samples: usize,
}

/// Cuts batches. One for the life of the agent.
#[derive(Debug)]
pub(crate) struct Batcher {
    host: AgentId,
    epoch: u64,
    /// Sequence of the last batch.
    seq: u64,
    encoder: Encoder,
    checks: Vec<Declared>,
    /// Ref of each series by a 128-bit hash of its labels: a fiftieth of their size.
    refs: HashMap<u128, u32>,
    /// By ref: declared since the last key batch.
    sent: Vec<bool>,
    n_shapes: u32,
    open: Open,
}

impl Batcher {
    /// Cuts batches of `epoch` for the host `host`.
    pub(crate) fn new(host: AgentId, epoch: u64) -> Batcher {
        Batcher {
            host,
            epoch,
            seq: 0,
            encoder: Encoder::default(),
            checks: Vec::new(),
            refs: HashMap::new(),
            sent: Vec::new(),
            n_shapes: 0,
            open: Open::default(),
        }
    }

    /// Forgets all numbers and counts from 1 again.
    pub(crate) fn begin_epoch(&mut self, epoch: u64) {
        *self = Batcher::new(self.host.clone(), epoch);
    }

    /// Checks were replaced: their generations may repeat and mean another layout.
    pub(crate) fn forget_layouts(&mut self, still_there: impl Fn(&str) -> bool) {
        self.checks.retain(|declared| still_there(&declared.check));
        for declared in &mut self.checks {
            declared.generation = 0;
        }
    }

    /// The epoch being cut.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// True when so many series came and went that a new epoch should begin.
    pub(crate) fn wants_epoch(&self) -> bool {
        self.sent.len() >= REFS_WANT_EPOCH as usize || self.n_shapes >= SHAPES_WANT_EPOCH
    }

    /// Begins a batch.
    pub(crate) fn begin(&mut self, wall: UnixMillis, mono: Millis, key: bool) {
        self.encoder.begin(wall, key);
        self.open = Open { wall, mono, key, ..Open::default() };
        if key {
            self.sent.fill(false);
            for declared in &mut self.checks {
                declared.sent = false;
            }
        }
    }

    /// Adds what a check found at `time`.
    pub(crate) fn row(
        &mut self,
        check: &str,
        interval: Millis,
        layout: &Layout,
        time: UnixMillis,
        values: &[f64],
    ) -> Result<(), RowError> {
        if values.len() != layout.series.len() {
            let (n_values, n_series) = (values.len(), layout.series.len());
            return Err(RowError::Columns { check: check.to_owned(), n_values, n_series });
        }
        if values.is_empty() {
            return Ok(());
        }
        if self.open.n_samples + values.len() > SAMPLES_PER_BATCH_MAX {
            return Err(RowError::BatchFull { check: check.to_owned() });
        }
        let at = self.declare(check, interval, layout)?;
        self.send_dictionary(at, layout)?;
        let declared = &self.checks[at];
        self.encoder.tick(declared.shape, time, &declared.refs, values);
        self.open.n_samples += values.len();
        Ok(())
    }

    /// Index of the check's declaration, brought up to date with its layout.
    fn declare(&mut self, check: &str, interval: Millis, layout: &Layout) -> Result<usize, RowError> {
        let known = self.checks.iter().position(|declared| declared.check == check);
        if let Some(at) = known
            && self.checks[at].generation == layout.generation
            && self.checks[at].interval == interval
        {
            return Ok(at);
        }
        let others: usize = self.checks.iter().filter(|d| d.check != check).map(|d| d.refs.len()).sum();
        let n_series = others + layout.series.len();
        if n_series > SERIES_PER_AGENT_MAX {
            return Err(RowError::TooManySeries { check: check.to_owned(), n_series });
        }
        let refs: Vec<u32> = layout.series.iter().map(|labels| self.ref_of(labels)).collect();
        if let Some(at) = known
            && self.checks[at].refs == refs
            && self.checks[at].interval == interval
        {
            self.checks[at].generation = layout.generation;
            return Ok(at);
        }
        let shape = self.n_shapes;
        self.n_shapes += 1;
        let check = check.to_owned();
        let declared = Declared { check, generation: layout.generation, interval, shape, refs, sent: false };
        Ok(if let Some(at) = known {
            self.checks[at] = declared;
            at
        } else {
            self.checks.push(declared);
            self.checks.len() - 1
        })
    }

    fn ref_of(&mut self, labels: &Labels) -> u32 {
        let next = u32::try_from(self.sent.len()).expect("a new epoch begins long before 2^32 refs");
        let series_ref = *self.refs.entry(fingerprint(labels)).or_insert(next);
        if series_ref == next {
            self.sent.push(false);
        }
        series_ref
    }

    fn send_dictionary(&mut self, at: usize, layout: &Layout) -> Result<(), RowError> {
        let declared = &mut self.checks[at];
        if declared.sent {
            return Ok(());
        }
        for (&series_ref, labels) in declared.refs.iter().zip(&layout.series) {
            if !self.sent[series_ref as usize] {
                let labels = labels
                    .with(&[("host", self.host.as_str())])
                    .map_err(|source| RowError::Labels { check: declared.check.clone(), source })?;
                self.open.series.push(SeriesEntry { series_ref, labels });
                self.sent[series_ref as usize] = true;
            }
        }
        self.open.shapes.push(ShapeEntry {
            shape: declared.shape,
            check: declared.check.clone(),
            interval: declared.interval,
            refs: declared.refs.clone(),
        });
        declared.sent = true;
        Ok(())
    }

    /// Adds what a check that speaks in states found. Each check tells one at most in
    /// a batch, and there are fewer checks than a batch takes results.
    pub(crate) fn result(&mut self, result: CheckResult) {
        self.open.results.push(result);
    }

    /// True when nothing was added since `begin`.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.n_samples == 0 && self.open.series.is_empty() && self.open.results.is_empty()
    }

    /// Ends the batch and gives it its sequence.
    pub(crate) fn finish(&mut self, events: Vec<AgentEvent>) -> Cut {
        let Open { wall, mono, key, series, shapes, results, n_samples } = std::mem::take(&mut self.open);
        self.seq += 1;
        let batch = Batch {
            epoch: self.epoch,
            seq: self.seq,
            wall,
            mono,
            key,
            series,
            shapes,
            columns: bytes::Bytes::copy_from_slice(self.encoder.payload()),
            results,
            events,
        };
        Cut { batch, n_samples: u32::try_from(n_samples).expect("rows stop at the limit of a batch") }
    }
}

/// 128 bits of SipHash: two series of one agent share one with a chance under 2^-90.
fn fingerprint(labels: &Labels) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        labels.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use signalbox_proto::columns::Decoder;
    use std::collections::BTreeMap;

    fn layout(generation: u64, names: &[&str]) -> Layout {
        let series = names.iter().map(|name| Labels::series(name, &[]).unwrap()).collect();
        Layout { generation, series }
    }

    fn batcher() -> Batcher {
        Batcher::new(AgentId::parse("web1").unwrap(), 7)
    }

    fn cut(batcher: &mut Batcher, key: bool, rows: &[(&str, &Layout, &[f64])]) -> Batch {
        batcher.begin(UnixMillis(1000), Millis(5), key);
        for (check, layout, values) in rows {
            batcher.row(check, Millis(1000), layout, UnixMillis(1000), values).unwrap();
        }
        batcher.finish(Vec::new()).batch
    }

    #[test]
    fn a_series_is_declared_once_with_its_host() {
        let mut batcher = batcher();
        let load = layout(1, &["load1", "load5"]);
        let first = cut(&mut batcher, true, &[("load", &load, &[1.0, 2.0])]);
        let second = cut(&mut batcher, false, &[("load", &load, &[1.0, 3.0])]);
        assert_eq!(first.series.len(), 2);
        assert_eq!(first.series[0].labels.get("host"), Some("web1"));
        assert_eq!(first.shapes[0].refs, [0, 1]);
        assert_eq!((second.series.len(), second.shapes.len()), (0, 0));
        assert_eq!((first.seq, second.seq), (1, 2));
    }

    #[test]
    fn a_new_layout_is_a_new_shape_and_known_series_keep_their_ref() {
        let mut batcher = batcher();
        cut(&mut batcher, true, &[("disk", &layout(1, &["a", "b"]), &[1.0, 2.0])]);
        let second = cut(&mut batcher, false, &[("disk", &layout(2, &["b", "c"]), &[1.0, 2.0])]);
        assert_eq!(second.shapes[0].shape, 1);
        assert_eq!(second.shapes[0].refs, [1, 2]);
        assert_eq!(second.series.len(), 1);
        let third = cut(&mut batcher, false, &[("disk", &layout(3, &["b", "c"]), &[1.0, 2.0])]);
        assert_eq!(third.shapes.len(), 0, "the same series under another generation are the same shape");
    }

    #[test]
    fn after_a_key_batch_entries_are_sent_again_before_their_use() {
        let mut batcher = batcher();
        let (a, b) = (layout(1, &["a"]), layout(1, &["b"]));
        cut(&mut batcher, true, &[("a", &a, &[1.0]), ("b", &b, &[1.0])]);
        let key = cut(&mut batcher, true, &[("a", &a, &[1.0])]);
        assert_eq!((key.series.len(), key.shapes.len()), (1, 1));
        let later = cut(&mut batcher, false, &[("b", &b, &[2.0])]);
        assert_eq!((later.series[0].series_ref, later.shapes[0].shape), (1, 1));
    }

    #[test]
    fn a_row_of_the_wrong_length_is_refused_by_name() {
        let mut batcher = batcher();
        batcher.begin(UnixMillis(0), Millis(0), true);
        let error = batcher.row("load", Millis(1000), &layout(1, &["a"]), UnixMillis(0), &[1.0, 2.0]).unwrap_err();
        assert_eq!(error.to_string(), "check load gave 2 values for 1 series");
    }

    #[test]
    fn series_over_the_limit_are_refused_and_others_go_on() {
        let mut batcher = batcher();
        let names: Vec<String> = (0..=SERIES_PER_AGENT_MAX).map(|i| format!("m{i}")).collect();
        let many = layout(1, &names.iter().map(String::as_str).collect::<Vec<_>>());
        batcher.begin(UnixMillis(0), Millis(0), true);
        let values = vec![0.0; names.len()];
        let refused = batcher.row("many", Millis(1000), &many, UnixMillis(0), &values);
        assert!(matches!(refused, Err(RowError::TooManySeries { n_series: 20_001, .. })));
        batcher.row("load", Millis(1000), &layout(1, &["a"]), UnixMillis(0), &[1.0]).unwrap();
        assert_eq!(batcher.finish(Vec::new()).n_samples, 1);
    }

    #[test]
    fn a_result_alone_makes_a_batch_and_is_told_once() {
        let mut batcher = batcher();
        batcher.begin(UnixMillis(0), Millis(0), true);
        assert!(batcher.is_empty());
        let (check, evidence) = ("script:backup".to_owned(), "old".to_owned());
        let state = signalbox_proto::samples::CheckState::Amber;
        let result = CheckResult { check, time: UnixMillis(0), state, evidence, labels: Labels::default() };
        batcher.result(result.clone());
        assert!(!batcher.is_empty());
        assert_eq!(batcher.finish(Vec::new()).batch.results, [result]);
        batcher.begin(UnixMillis(0), Millis(0), false);
        assert!(batcher.is_empty());
    }

    proptest! {
        /// What a collector that knows only the batches since the last key reads is
        /// what was put in, however layouts and keys change.
        #[test]
        fn any_run_of_rows_is_read_back(steps in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec((0usize..3, 0usize..4, 1usize..5, 0.0f64..100.0), 0..4)), 1..20)) {
            let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
            let mut batcher = batcher();
            let (mut decoder, mut series, mut shapes) = (Decoder::default(), BTreeMap::new(), BTreeMap::new());
            let mut generation = 0;
            for (n, (key, rows)) in steps.into_iter().enumerate() {
                let key = key || n == 0;
                batcher.begin(UnixMillis(0), Millis(0), key);
                let mut expected = Vec::new();
                for (check, start, len, value) in rows {
                    generation += 1;
                    let own = &names[start..start + len];
                    let values = vec![value; len];
                    batcher.row(["x", "y", "z"][check], Millis(1000), &layout(generation, own), UnixMillis(0), &values).unwrap();
                    expected.push(own.iter().map(|name| ((*name).to_owned(), value)).collect::<Vec<_>>());
                }
                let batch = batcher.finish(Vec::new()).batch;
                if key { series.clear(); shapes.clear(); }
                series.extend(batch.series.iter().map(|e| (e.series_ref, e.labels.metric().unwrap().to_owned())));
                shapes.extend(batch.shapes.iter().map(|e| (e.shape, e.refs.clone())));
                let mut got = Vec::new();
                decoder.decode(batch.wall, key, &batch.columns, |shape| shapes.get(&shape).map(Vec::as_slice), |tick, values| {
                    got.push(tick.refs.iter().map(|r| (series[r].clone(), values.get(*r))).collect::<Vec<_>>());
                }).unwrap();
                prop_assert_eq!(got, expected);
            }
        }
    }
}
