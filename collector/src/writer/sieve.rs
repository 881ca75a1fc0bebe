//! Which samples can change a verdict: a comparison each for the rest.
//!
//! For every watched series the engine gives a quiet band. A sample inside it is
//! no event; from a series' first crossing in a turn all its later samples of that
//! turn are, because the band holds for the adopted state only. Series that no
//! rule selects cost nothing at all: each shape has a list of those that are
//! watched, made when its first tick comes.

use roaring::RoaringBitmap;
use signalbox_engine::event::{Band, SampledTick, SeriesId};
use signalbox_engine::track::stale_at;
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::head::TickView;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug, Clone, Copy)]
struct Slot {
    band: Band,
    /// The turn in which it last crossed.
    crossed_in: u64,
    /// Its latest live value; not a number before the first.
    latest: f64,
}

/// Watched columns of one shape.
#[derive(Debug, Clone)]
pub(crate) struct ShapeWatch {
    /// The check that samples it.
    pub(crate) check: Arc<str>,
    /// Time between two samples.
    pub(crate) interval: Millis,
    columns: Box<[Column]>,
    /// Time of its last tick; none before the first.
    last_tick: Option<UnixMillis>,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    series_ref: u32,
    id: SeriesId,
    slot: u32,
}

impl ShapeWatch {
    /// Each series as a check of its own, named by its id.
    pub(crate) fn one_by_one(self) -> impl Iterator<Item = ShapeWatch> {
        let ShapeWatch { check, interval, columns, last_tick } = self;
        columns.into_iter().map(move |column| ShapeWatch {
            check: Arc::from(format!("{check}/{}", column.id.0)),
            interval,
            columns: Box::new([column]),
            last_tick,
        })
    }

    /// Its watched series.
    pub(crate) fn series(&self) -> impl Iterator<Item = SeriesId> {
        self.columns.iter().map(|column| column.id)
    }
}

/// Bands of all watched series, as of the adopted state.
#[derive(Debug, Default)]
pub(crate) struct Sieve {
    /// Slots of watched series.
    watched: HashMap<SeriesId, u32>,
    /// Series that the engine was asked about and does not watch.
    unwatched: RoaringBitmap,
    slots: Vec<Slot>,
    /// Slots of series that left.
    free: Vec<u32>,
    turn: u64,
    /// Every sample of a watched series is an event: what the property test
    /// compares with.
    pub(crate) lets_all_pass: bool,
}

impl Sieve {
    /// A new turn begins.
    pub(crate) fn begin(&mut self, turn: u64) {
        self.turn = turn;
    }

    /// Other rules are in force: nothing is known any more.
    pub(crate) fn reset(&mut self) {
        self.watched.clear();
        self.unwatched.clear();
        self.slots.clear();
        self.free.clear();
    }

    fn slot(&self, id: SeriesId) -> Option<u32> {
        self.watched.get(&id).copied()
    }

    /// The series left memory. No shape has it: it would have been declared.
    pub(crate) fn forget(&mut self, id: SeriesId) {
        self.unwatched.remove(id.0);
        self.free.extend(self.watched.remove(&id));
    }

    /// True when nobody has asked the engine about this series.
    pub(crate) fn is_new(&self, id: SeriesId) -> bool {
        !self.unwatched.contains(id.0) && self.slot(id).is_none()
    }

    /// Notes what the engine said. A watched series has no band before it adopted one.
    pub(crate) fn note(&mut self, id: SeriesId, is_watched: bool) {
        if !is_watched {
            self.unwatched.insert(id.0);
            return;
        }
        let fresh = Slot { band: Band::NONE, crossed_in: 0, latest: f64::NAN };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(fresh);
            u32::try_from(self.slots.len() - 1).expect("series in memory are fewer than 2^32")
        });
        self.slots[slot as usize] = fresh;
        self.watched.insert(id, slot);
    }

    /// The band of a series changed with the adopted state.
    pub(crate) fn set_band(&mut self, id: SeriesId, band: Band) {
        let slot = self.slot(id).and_then(|slot| self.slots.get_mut(slot as usize));
        if let Some(slot) = slot {
            slot.band = band;
        }
    }

    /// The latest live value of a watched series: in a quiet band it moves on though
    /// no verdict does.
    pub(crate) fn latest(&self, id: SeriesId) -> Option<f64> {
        let slot = self.slots.get(self.slot(id)? as usize)?;
        Some(slot.latest).filter(|value| !value.is_nan())
    }

    /// The turn was refused: its values are not kept, so they are not shown.
    pub(crate) fn forget_latest(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.latest = f64::NAN);
    }

    /// How many series are watched.
    pub(crate) fn n_watched(&self) -> usize {
        self.watched.len()
    }

    /// Lists what is watched of a tick's shape. All its series were noted before.
    pub(crate) fn watch(&self, tick: &TickView<'_>) -> ShapeWatch {
        let columns = tick.refs().iter().zip(tick.series()).filter_map(|(&series_ref, id)| {
            let id = SeriesId(id.0);
            let slot = self.slot(id)?;
            Some(Column { series_ref, id, slot })
        });
        ShapeWatch {
            check: Arc::from(tick.check()),
            interval: tick.interval(),
            columns: columns.collect(),
            last_tick: None,
        }
    }

    /// The tick as the engine must see it; none when nothing of it is watched. A
    /// silence ends with an event for every watched series: a band holds only while
    /// its series goes on.
    pub(crate) fn pass(&mut self, tick: &TickView<'_>, watch: &mut ShapeWatch, live: bool) -> Option<SampledTick> {
        let last = watch.last_tick.replace(tick.time());
        let ends_silence = last.is_none_or(|last| tick.time() > stale_at(watch.interval, last));
        if watch.columns.is_empty() {
            return None;
        }
        let mut values = Vec::new();
        for column in &watch.columns {
            let value = tick.value(column.series_ref);
            let slot = &mut self.slots[column.slot as usize];
            if live {
                slot.latest = value;
            }
            let is_event = !live
                || ends_silence
                || self.lets_all_pass
                || slot.crossed_in == self.turn
                || !slot.band.is_quiet(value);
            if is_event {
                slot.crossed_in = self.turn;
                values.push((column.id, value));
            }
        }
        Some(SampledTick { check: Arc::clone(&watch.check), time: tick.time(), values })
    }
}
