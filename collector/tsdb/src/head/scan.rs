//! Decoding of a lane's payloads: once to take them, again for queries and seals.
//!
//! All three agree on which ticks count: one whose time is not within
//! `[received - 30 d, received + 10 min)` is passed over, here and for ever, so that
//! a clock far off cannot spoil a chunk's time range.

use super::dictionary::{Dictionary, Uses};
use super::{Appended, Lane, LaneError, Segment, TickView};
use crate::chunk::SeriesColumn;
use crate::journal::Record;
use crate::{Point, SeriesId};
use signalbox_proto::columns::{Decoder, Tick, Values};
use signalbox_proto::limits::FUTURE_MAX_MS;
use signalbox_proto::units::UnixMillis;
use std::collections::HashMap;

/// How far before its arrival a sample may lie, milliseconds: what retention
/// would delete at once is not taken.
pub const PAST_MAX_MS: i64 = 30 * 24 * 3_600_000;

/// What one batch added.
pub(super) struct Span {
    pub(super) min_time: UnixMillis,
    pub(super) max_time: UnixMillis,
    pub(super) n_ticks_max: u64,
    pub(super) appended: Appended,
}

/// True when a tick of a batch that arrived at `received` counts.
fn counts(received: UnixMillis, time: UnixMillis) -> bool {
    time >= received.shifted(-PAST_MAX_MS) && time < received.shifted(FUTURE_MAX_MS)
}

/// Decodes a new batch into `cells` and shows its ticks. After an error, the cells
/// are undefined and `uses` counts as before.
pub(super) fn decode_once(
    record: &Record,
    cells: &mut Decoder,
    dictionary: &Dictionary,
    uses: &mut Uses,
    visit: &mut impl FnMut(&TickView<'_>),
) -> Result<Span, LaneError> {
    let mut span =
        Span { min_time: UnixMillis::MAX, max_time: UnixMillis::MIN, n_ticks_max: 0, appended: Appended::default() };
    let mut noted = Vec::new();
    let refs = |shape: u32| dictionary.shape(shape).map(|shape| &*shape.refs);
    let decoded = cells.decode(record.wall, record.key, &record.columns, refs, |tick, values| {
        let Some(shape) = dictionary.shape(tick.shape) else { return };
        let appended = &mut span.appended;
        if !counts(record.received, tick.time) {
            appended.n_outside += shape.refs.len() as u64;
            return;
        }
        noted.push(tick.shape);
        let whole = uses.note(tick.shape);
        appended.n_ticks += 1;
        appended.n_samples += shape.n_kept;
        appended.n_refused += shape.refs.len() as u64 - shape.n_kept;
        span.min_time = span.min_time.min(tick.time);
        span.max_time = span.max_time.max(tick.time);
        span.n_ticks_max = span.n_ticks_max.max(uses.n_ticks(tick.shape));
        visit(&TickView { tick, values, shape, dictionary, whole });
    });
    decoded.map(|()| span).map_err(|why| {
        uses.forget(&noted);
        LaneError::Columns { seq: record.seq, why }
    })
}

/// Decodes the open chunk again and visits the ticks that count.
fn each_tick(lane: &Lane, mut visit: impl FnMut(&Tick<'_>, &Values<'_>)) {
    let mut cells = lane.base_cells();
    let mut begin = 0;
    for segment in &lane.segments {
        decode_again(lane, segment, begin, &mut cells, |tick, values| {
            if counts(segment.received, tick.time) {
                visit(tick, values);
            }
        });
        begin = segment.end;
    }
}

fn decode_again(
    lane: &Lane,
    segment: &Segment,
    begin: usize,
    cells: &mut Decoder,
    visit: impl FnMut(&Tick<'_>, &Values<'_>),
) {
    let payload = &lane.payloads[begin..segment.end];
    let refs = |shape: u32| lane.dictionary.shape(shape).map(|shape| &*shape.refs);
    let decoded = cells.decode(segment.wall, segment.key, payload, refs, visit);
    decoded.expect("append decoded this payload from the same state");
}

/// The last values, from the base up.
pub(super) fn replay(lane: &Lane) -> Decoder {
    let mut cells = lane.base_cells();
    let mut begin = 0;
    for segment in &lane.segments {
        decode_again(lane, segment, begin, &mut cells, |_, _| {});
        begin = segment.end;
    }
    cells
}

/// For each shape, by its number: (series ref, place in the output).
struct Places(Vec<Vec<(u32, usize)>>);

impl Places {
    fn of(lane: &Lane, place: impl Fn(SeriesId) -> Option<usize>) -> Places {
        let mut places = Vec::new();
        for (number, shape) in lane.dictionary.shapes() {
            places.resize(number as usize, Vec::new());
            let columns = shape.refs.iter().zip(&shape.series);
            places.push(columns.filter_map(|(&series_ref, &id)| Some((series_ref, place(id)?))).collect());
        }
        Places(places)
    }

    fn get(&self, shape: u32) -> &[(u32, usize)] {
        self.0.get(shape as usize).map_or(&[], Vec::as_slice)
    }
}

/// See [`Lane::scan`].
pub(super) fn points(lane: &Lane, series: &[SeriesId], from: UnixMillis, to: UnixMillis, out: &mut [Vec<Point>]) {
    let wanted: HashMap<SeriesId, usize> = series.iter().copied().zip(0..).filter(|(id, _)| id.is_kept()).collect();
    let places = Places::of(lane, |id| wanted.get(&id).copied());
    if places.0.iter().all(Vec::is_empty) {
        return;
    }
    each_tick(lane, |tick, values| {
        if tick.time >= from && tick.time < to {
            for &(series_ref, place) in places.get(tick.shape) {
                out[place].push(Point { time: tick.time, value: values.get(series_ref) });
            }
        }
    });
}

/// All kept series of the open chunk that have points.
pub(super) fn columns(lane: &Lane) -> Vec<SeriesColumn> {
    let mut ids: Vec<SeriesId> = lane.dictionary.kept().map(|(_, id)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    let places = Places::of(lane, |id| ids.binary_search(&id).ok());
    let mut points = vec![Vec::new(); ids.len()];
    each_tick(lane, |tick, values| {
        for &(series_ref, place) in places.get(tick.shape) {
            points[place].push(Point { time: tick.time, value: values.get(series_ref) });
        }
    });
    let columns = ids.into_iter().zip(points).filter(|(_, points)| !points.is_empty());
    columns.map(|(id, points)| SeriesColumn::new(id, points)).collect()
}
