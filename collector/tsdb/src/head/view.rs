//! One tick as the caller of `Lane::append` sees it.

use super::dictionary::{Dictionary, Shape};
use crate::SeriesId;
use signalbox_proto::columns::{Tick, Values};
use signalbox_proto::units::{Millis, UnixMillis};

/// One instant of one shape: which series, what changed, all values.
#[derive(Debug, Clone, Copy)]
pub struct TickView<'a> {
    pub(super) tick: &'a Tick<'a>,
    pub(super) values: &'a Values<'a>,
    pub(super) shape: &'a Shape,
    pub(super) dictionary: &'a Dictionary,
    pub(super) whole: bool,
}

impl<'a> TickView<'a> {
    /// The check that sampled.
    pub fn check(&self) -> &'a str {
        &self.shape.check
    }

    /// The shape's number within the epoch.
    pub fn shape(&self) -> u32 {
        self.tick.shape
    }

    /// Time between two ticks of the check.
    pub fn interval(&self) -> Millis {
        self.shape.interval
    }

    /// When.
    pub fn time(&self) -> UnixMillis {
        self.tick.time
    }

    /// Series refs in column order.
    pub fn refs(&self) -> &'a [u32] {
        &self.shape.refs
    }

    /// Series in column order, [`SeriesId::REFUSED`] among them where the collector
    /// took a series not.
    pub fn series(&self) -> &'a [SeriesId] {
        &self.shape.series
    }

    /// The value of a series at this instant, by ref.
    pub fn value(&self, series_ref: u32) -> f64 {
        self.values.get(series_ref)
    }

    /// True when all columns count as changed: the shape's first tick since a key
    /// batch or a restart, when "unchanged" has nothing to refer to.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Every kept series of the tick: (ref, id, value).
    pub fn samples(&self) -> impl Iterator<Item = (u32, SeriesId, f64)> + 'a {
        let values = *self.values;
        let columns = self.shape.refs.iter().zip(&self.shape.series);
        let columns = columns.map(move |(&series_ref, &id)| (series_ref, id, values.get(series_ref)));
        columns.filter(|(_, id, _)| id.is_kept())
    }

    /// Kept series whose value differs from their last one, bit for bit; all of
    /// them when the tick [`is_whole`](Self::is_whole): (ref, id, value).
    pub fn changed(&self) -> impl Iterator<Item = (u32, SeriesId, f64)> + 'a {
        let dictionary = self.dictionary;
        let deltas = if self.whole { &[] } else { self.tick.changed };
        let deltas = deltas.iter().map(move |&(series_ref, value)| (series_ref, dictionary.id(series_ref), value));
        let all = self.whole.then(|| self.samples());
        deltas.filter(|(_, id, _)| id.is_kept()).chain(all.into_iter().flatten())
    }
}
