//! Merging: all of an agent's samples in a window, as few long rows and roll-ups.
//!
//! Rows go in, rows come out; what a source has outside the window comes back as a
//! shorter source. Series are taken one after another, so memory holds the packed
//! rows and one series' points.
//!
//! A merged row says of all its points that they arrived when the last of them did.
//! That is exact for whatever comes later, so a window is merged only while no open
//! lane holds older arrivals for it: [`Plan`] sees to that.

use crate::SeriesId;
use crate::chunk::{ChunkBuilder, ChunkReader, Facts};
use crate::format::FormatError;
use crate::keys::{AgentNo, Chunk};
use crate::rollup::{self, Bucket, RollupBuilder, RollupReader};
use crate::run::{Arrived, Joiner, Run};
use crate::tier::{MINUTE_MS, Span, Tier};
use signalbox_proto::units::{Bytes, Millis, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};

/// A part ends with the series that takes it past this. What a query for one series
/// reads in vain; and a part's own time column is under 1 % of it.
pub const PART_BYTES: usize = 256 * 1024;
/// Fresh chunks that one merge takes at most, by number and bytes; the rest waits for
/// the next one.
pub const SOURCES_MAX: usize = 96;
/// See [`SOURCES_MAX`].
pub const SOURCE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// A row to write, keyed by window and first series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its first series.
    pub first: SeriesId,
    /// The row.
    pub row: Vec<u8>,
    /// What to write beside it.
    pub span: Span,
}

/// What a merge makes.
#[derive(Debug, Default)]
pub struct Merged {
    /// Raw samples of the window, series ascending.
    pub long: Vec<Part>,
    /// Their roll-ups of one minute.
    pub minutes: Vec<Part>,
    /// By source: what lies outside the window, with its span.
    pub rest: Vec<(usize, Vec<u8>, Span)>,
    /// Samples that a later one of the same instant replaced.
    pub n_replaced: u64,
}

/// What a merge reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sources<'a> {
    /// The window's merged chunks.
    pub long: &'a [&'a [u8]],
    /// Of samples that arrived together the one of the later chunk stands.
    pub fresh: &'a [&'a [u8]],
    /// The window's minutes: kept for series whose samples retention took before.
    pub minutes: &'a [&'a [u8]],
}

/// Merges what the chunks have in `[from, from + window)`.
///
/// # Errors
/// The number of the source that cannot be read, long, fresh and minutes counted
/// through, and why.
pub fn merge(rows: Sources<'_>, from: UnixMillis) -> Result<Merged, (usize, FormatError)> {
    let to = from.shifted(Tier::Long.window_ms());
    let mut readers = Vec::with_capacity(rows.long.len() + rows.fresh.len());
    let (mut ids, mut newest) = (BTreeSet::new(), i64::MIN);
    for (at, source) in rows.long.iter().chain(rows.fresh).enumerate() {
        let mut reader = ChunkReader::open(source).map_err(|why| (at, why))?;
        newest = newest.max(reader.facts().map_err(|why| (at, why))?.arrived.0);
        ids.extend(reader.series().map(|one| one.series));
        readers.push(reader);
    }
    let mut old = Vec::with_capacity(rows.minutes.len());
    for (at, row) in (readers.len()..).zip(rows.minutes) {
        let reader = RollupReader::open(row).map_err(|why| (at, why))?;
        ids.extend(reader.series());
        old.push((at, reader));
    }
    let mut joiner = Joiner::default();
    let (mut long, mut minutes) = (LongParts::default(), RollupParts::new(MINUTE_MS, PART_BYTES));
    for id in ids {
        let mut runs: Vec<Run> = Vec::new();
        for (at, reader) in readers.iter_mut().enumerate() {
            runs.extend(reader.read(id, from, to).map_err(|why| (at, why))?);
        }
        let mut run = joiner.join(runs);
        let mut buckets = rollup::roll(run.points(), MINUTE_MS);
        if !readers[..rows.long.len()].iter().any(|reader| reader.has(id)) {
            for (at, reader) in &mut old {
                buckets = rollup::unite(reader.read(id, from, to).map_err(|why| (*at, why))?, buckets);
            }
        }
        minutes.push(id, &buckets);
        run.arrived = Arrived::At(newest);
        long.push(id, &run);
    }
    let mut rest = Vec::new();
    for (at, reader) in readers.iter_mut().enumerate() {
        rest.extend(outside(reader, from, to).map_err(|why| (at, why))?.map(|(row, span)| (at, row, span)));
    }
    Ok(Merged { long: long.finish(), minutes: minutes.finish(), rest, n_replaced: joiner.n_replaced() })
}

/// What a chunk has outside `[from, to)`.
fn outside(
    reader: &mut ChunkReader<'_>,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<Option<(Vec<u8>, Span)>, FormatError> {
    let (min, max) = reader.time_range();
    if min >= from && max < to {
        return Ok(None);
    }
    let mut chunk = ChunkBuilder::default();
    let mut joiner = Joiner::default();
    let ids: Vec<SeriesId> = reader.series().map(|one| one.series).collect();
    for id in ids {
        let mut runs = Vec::new();
        runs.extend(reader.read(id, UnixMillis::MIN, from)?);
        runs.extend(reader.read(id, to, UnixMillis::MAX)?);
        chunk.push(id, &joiner.join(runs));
    }
    Ok(chunk.facts().map(|facts| span_of(chunk, facts)))
}

/// The row of a chunk, and its span.
fn span_of(chunk: ChunkBuilder, facts: Facts) -> (Vec<u8>, Span) {
    let last = chunk.last().unwrap_or(SeriesId(0));
    let row = chunk.finish();
    let size = Bytes(row.len() as u64);
    (row, Span { size, last, facts })
}

/// Chunks cut by size.
#[derive(Default)]
struct LongParts {
    done: Vec<Part>,
    open: Option<(SeriesId, ChunkBuilder)>,
}

impl LongParts {
    fn push(&mut self, id: SeriesId, run: &Run) {
        let (_, chunk) = self.open.get_or_insert_with(|| (id, ChunkBuilder::default()));
        chunk.push(id, run);
        if chunk.n_bytes() >= PART_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let Some((first, chunk)) = self.open.take() else { return };
        let Some(facts) = chunk.facts() else { return };
        let (row, span) = span_of(chunk, facts);
        self.done.push(Part { first, row, span });
    }

    fn finish(mut self) -> Vec<Part> {
        self.cut();
        self.done
    }
}

/// Rows of buckets cut by size.
#[derive(Debug)]
pub struct RollupParts {
    step: i64,
    bytes_max: usize,
    done: Vec<Part>,
    open: Option<(SeriesId, RollupBuilder, Span)>,
}

impl RollupParts {
    /// Rows of buckets of `step` milliseconds, each ended by the series that takes it
    /// past `bytes_max`.
    pub fn new(step: i64, bytes_max: usize) -> RollupParts {
        RollupParts { step, bytes_max, done: Vec::new(), open: None }
    }

    /// Adds a series; ids ascend.
    pub fn push(&mut self, id: SeriesId, buckets: &[Bucket]) {
        let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else { return };
        let empty = || (id, RollupBuilder::new(self.step), Span { size: Bytes(0), last: id, facts: Facts::default() });
        let (_, row, span) = self.open.get_or_insert_with(empty);
        row.push(id, buckets);
        span.last = id;
        let facts = &mut span.facts;
        facts.min_time = facts.min_time.min(first.start);
        // The range of a bucket is its whole step.
        facts.max_time = facts.max_time.max(last.start.shifted(self.step - 1));
        (facts.n_series, facts.n_samples) = row.counts();
        if row.n_bytes() >= self.bytes_max {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let Some((first, row, mut span)) = self.open.take() else { return };
        let row = row.finish();
        span.size = Bytes(row.len() as u64);
        span.facts.arrived = span.facts.max_time;
        self.done.push(Part { first, row, span });
    }

    /// The rows.
    pub fn finish(mut self) -> Vec<Part> {
        self.cut();
        self.done
    }
}

/// When a window's fresh chunks are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// So long after its end, and after the last arrival for it.
    pub settle: Millis,
    /// Or as soon as it has so many: each is a row that every query reads.
    pub n_chunks: usize,
}

impl Default for Pace {
    /// Lanes are sealed within 15 min, so that after 20 the window is whole.
    fn default() -> Pace {
        Pace { settle: Millis::from_mins(20), n_chunks: 48 }
    }
}

/// One merge to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Whose.
    pub agent: AgentNo,
    /// Start of the window.
    pub window: UnixMillis,
    /// Fresh chunks to take, in the order in which ties are decided.
    pub fresh: Vec<Chunk>,
}

/// Samples that are not in a row yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Their times.
    pub range: (UnixMillis, UnixMillis),
    /// When the oldest arrived.
    pub arrived: UnixMillis,
}

/// Merges that are due for one agent's fresh chunks, oldest window first.
pub fn plan(agent: AgentNo, fresh: &[(Chunk, Span)], open: &[Open], now: UnixMillis, pace: Pace) -> Vec<Plan> {
    let mut windows: BTreeMap<UnixMillis, Vec<&(Chunk, Span)>> = BTreeMap::new();
    for one in fresh {
        let ends = (Tier::Long.window_of(one.0.min_time), Tier::Long.window_of(one.0.max_time));
        // What lies between, if a source is that long, is met when its rest is looked at.
        windows.entry(ends.0).or_default().push(one);
        if ends.1 != ends.0 {
            windows.entry(ends.1).or_default().push(one);
        }
    }
    let length = Tier::Long.window_ms();
    let due = |(window, sources): (UnixMillis, Vec<&(Chunk, Span)>)| {
        let end = window.shifted(length);
        let newest = sources.iter().map(|one| one.1.facts.arrived).max()?;
        let is_settled = now.since(end.max(newest)) >= pace.settle && now > end.max(newest);
        if !is_settled && sources.len() < pace.n_chunks {
            return None;
        }
        let mut order: Vec<&(Chunk, Span)> = sources;
        order.sort_by_key(|one| (one.1.facts.arrived, one.0.epoch, one.0.last_seq));
        let mut n_bytes = 0;
        let fits = |one: &&&(Chunk, Span)| {
            n_bytes += one.1.size.0;
            n_bytes <= SOURCE_BYTES_MAX || n_bytes == one.1.size.0
        };
        let taken: Vec<_> = order.iter().take(SOURCES_MAX).take_while(fits).collect();
        let newest = taken.iter().map(|one| one.1.facts.arrived).max()?;
        let holds_older = |lane: &Open| lane.range.0 < end && lane.range.1 >= window && lane.arrived <= newest;
        // What stays behind arrived later, or it would decide ties wrongly.
        if open.iter().any(holds_older) {
            return None;
        }
        let fresh = taken.into_iter().map(|one| one.0).collect();
        Some(Plan { agent, window, fresh })
    };
    windows.into_iter().filter_map(due).collect()
}

#[cfg(test)]
mod tests;
