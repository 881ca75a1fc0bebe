//! Decoding of a lane's payloads: once to take them, again for queries and seals.
//!
//! All three agree on which ticks count: one whose time is not within
//! `[received - 30 d, received + 10 min)` is passed over, here and for ever, so that
//! a clock far off cannot spoil a chunk's time range.

use super::dictionary::{Dictionary, Uses};
use super::{Appended, Lane, LaneError, Segment, TickView};
use crate::SeriesId;
use crate::journal::Record;
use crate::run::{Arrived, Joiner, Run};
use signalbox_proto::columns::{Decoder, Tick, Values};
use signalbox_proto::limits::FUTURE_MAX_MS;
use signalbox_proto::units::UnixMillis;
use std::sync::Arc;

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
fn each_tick(lane: &Lane, mut visit: impl FnMut(&Tick<'_>, UnixMillis, &Values<'_>)) {
    let mut cells = lane.base_cells();
    let mut begin = 0;
    for segment in &lane.segments {
        decode_again(lane, segment, begin, &mut cells, |tick, values| {
            if counts(segment.received, tick.time) {
                visit(tick, segment.received, values);
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

/// The ticks of one shape, as columns.
#[derive(Default)]
struct Rows {
    times: Vec<i64>,
    arrived: Vec<i64>,
    /// One list for each of the shape's places.
    values: Vec<Vec<f64>>,
}

impl Rows {
    /// Shares the instants among the columns; rows that do not ascend are ordered
    /// column by column, and replaced ones counted.
    fn into_runs(self, n_replaced: &mut u64) -> Vec<Run> {
        let Rows { times, arrived, values } = self;
        if times.windows(2).all(|pair| pair[0] < pair[1]) {
            let (times, arrived): (Arc<[i64]>, Arc<[i64]>) = (times.into(), arrived.into());
            let run = |values| Run { times: Arc::clone(&times), arrived: Arrived::Each(Arc::clone(&arrived)), values };
            return values.into_iter().map(run).collect();
        }
        // Later rows of an instant replace earlier ones: the lane is in order of arrival.
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by_key(|&at| times[at]);
        let is_last = |place: usize| order.get(place + 1).is_none_or(|&next| times[next] != times[order[place]]);
        let kept: Vec<usize> = (0..order.len()).filter(|&place| is_last(place)).map(|place| order[place]).collect();
        *n_replaced += ((times.len() - kept.len()) * values.len()) as u64;
        let pick = |from: &[i64]| -> Arc<[i64]> { kept.iter().map(|&at| from[at]).collect() };
        let (times, arrived) = (pick(&times), pick(&arrived));
        let run = |values: Vec<f64>| Run {
            times: Arc::clone(&times),
            arrived: Arrived::Each(Arc::clone(&arrived)),
            values: kept.iter().map(|&at| values[at]).collect(),
        };
        values.into_iter().map(run).collect()
    }
}

/// The points in `[from, to)` of every series that has a place, as runs that are
/// still to be joined: one for each shape that holds the series. Gives the number of
/// points that a later one of the same shape replaced.
pub(super) fn runs(
    lane: &Lane,
    place: impl Fn(SeriesId) -> Option<usize>,
    (from, to): (UnixMillis, UnixMillis),
    out: &mut [Vec<Run>],
) -> u64 {
    let places = Places::of(lane, place);
    if places.0.iter().all(Vec::is_empty) {
        return 0;
    }
    let mut shapes: Vec<Rows> =
        places.0.iter().map(|places| Rows { values: vec![Vec::new(); places.len()], ..Rows::default() }).collect();
    each_tick(lane, |tick, received, values| {
        let places = places.get(tick.shape);
        if places.is_empty() || tick.time < from || tick.time >= to {
            return;
        }
        let rows = &mut shapes[tick.shape as usize];
        rows.times.push(tick.time.0);
        rows.arrived.push(received.0);
        for (&(series_ref, _), column) in places.iter().zip(&mut rows.values) {
            column.push(values.get(series_ref));
        }
    });
    let mut n_replaced = 0;
    for (shape, rows) in (0..).zip(shapes) {
        let runs = rows.into_runs(&mut n_replaced);
        for (&(_, place), run) in places.get(shape).iter().zip(runs).filter(|(_, run)| !run.is_empty()) {
            out[place].push(run);
        }
    }
    n_replaced
}

/// All kept series of the open chunk that have points, ascending by id; and the
/// number of points that a later one replaced.
pub(super) fn columns(lane: &Lane) -> (Vec<(SeriesId, Run)>, u64) {
    let mut ids: Vec<SeriesId> = lane.dictionary.kept().map(|(_, id)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut out = vec![Vec::new(); ids.len()];
    let all = (UnixMillis::MIN, UnixMillis::MAX);
    let n_replaced = runs(lane, |id| ids.binary_search(&id).ok(), all, &mut out);
    let mut joiner = Joiner::default();
    let columns = ids.into_iter().zip(out).filter(|(_, runs)| !runs.is_empty());
    let columns = columns.map(|(id, runs)| (id, joiner.join(runs))).collect();
    (columns, n_replaced + joiner.n_replaced())
}
