//! Series over a range: sealed chunks and open lanes, merged.
//!
//! Runs on blocking threads, a bounded number at a time. Lanes are copied under
//! their lock and read without it, chunks are read from the store; lanes first, so
//! that a chunk sealed in between is seen twice and never not at all.

use crate::reading::{Asked, NotRead, read};
use crate::select::by_owner;
use crate::selection::select;
use crate::shared::Shared;
use crate::store::{Family, StoreError, after_prefix, each};
use signalbox_proto::api::{QueryAnswer, SeriesPoints};
use signalbox_proto::selector::Selector;
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::chunk::ChunkReader;
use signalbox_tsdb::keys::{AgentNo, Chunk};
use signalbox_tsdb::merge::{merge, order};
use signalbox_tsdb::{Point, SeriesId};
use std::sync::Arc;
use thiserror::Error;

/// Series that are looked for in a lane before it is copied.
const LOOKED_FOR_MAX: usize = 16;

/// How much one answer may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// Points of one series; a longer one is thinned evenly, with a warning.
    pub max_points: usize,
    /// Series that the selector may mean.
    pub max_series: usize,
    /// Samples that may be read, before thinning.
    pub max_samples: usize,
    /// How long it may take.
    pub timeout: Millis,
}

impl Default for QueryLimits {
    fn default() -> Self {
        QueryLimits { max_points: 11_000, max_series: 30_000, max_samples: 50_000_000, timeout: Millis::from_secs(30) }
    }
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QueryError {
    /// Too many queries are under way.
    #[error("too many queries are under way")]
    Busy,
    /// It took longer than it may.
    #[error("the query took longer than {0}")]
    TimedOut(Millis),
    /// The selector means too much.
    #[error("the selector means {n} series, over the limit of {limit}")]
    TooManySeries {
        /// How many.
        n: u64,
        /// How many it may mean.
        limit: usize,
    },
    /// The range holds too much.
    #[error("the query reads over {limit} samples")]
    TooManySamples {
        /// How many it may read.
        limit: usize,
    },
    /// Nobody waits for the answer any more.
    #[error("nobody waits for the answer")]
    Gone,
    /// The store could not be read.
    #[error("{0}")]
    Store(String),
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> QueryError {
        QueryError::Store(error.to_string())
    }
}

/// Answers on a blocking thread, `from` and `to` inclusive.
pub(crate) async fn run(
    shared: Arc<Shared>,
    selector: Selector,
    from: UnixMillis,
    to: UnixMillis,
    limits: QueryLimits,
) -> Result<QueryAnswer, QueryError> {
    let deadline = shared.clock().mono() + limits.timeout;
    metrics::counter!("signalbox_queries_total").increment(1);
    let reading = read(&shared, limits.timeout, move |shared, waiting| {
        answer(&Reader { shared, deadline, limits, waiting }, &selector, from, to)
    });
    reading.await.map_err(|error| match error {
        NotRead::Busy => QueryError::Busy,
        NotRead::Broken(why) => QueryError::Store(why),
    })?
}

/// One query under way.
pub(crate) struct Reader<'a> {
    pub(crate) shared: &'a Shared,
    /// On the monotonic clock.
    pub(crate) deadline: Millis,
    pub(crate) limits: QueryLimits,
    /// Whoever asked.
    pub(crate) waiting: &'a Asked,
}

pub(crate) fn answer(
    reader: &Reader<'_>,
    selector: &Selector,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<QueryAnswer, QueryError> {
    let limits = reader.limits;
    // The selection's ranges are half-open.
    let found = select(reader.shared, selector.matchers(), (from, to.shifted(1)), limits.max_series)?;
    let mut answer = QueryAnswer { from, to, ..QueryAnswer::default() };
    let mut n_read = 0;
    let mut n_thinned = 0usize;
    let mut points: Vec<Vec<Point>> = vec![Vec::new(); found.len()];
    for (agent, parts) in by_owner(&found) {
        let (places, ids): (Vec<usize>, Vec<SeriesId>) = parts.into_iter().unzip();
        for (place, part) in places.into_iter().zip(reader.points(agent, &ids, from, to, &mut n_read)?) {
            points[place].extend(part);
        }
    }
    for (series, mut points) in found.into_iter().zip(points) {
        if points.is_empty() {
            continue;
        }
        // Its parts follow each other, as a rule: a series that was silent for long.
        order(&mut points, 0);
        let step = points.len().div_ceil(limits.max_points.max(1));
        n_thinned += usize::from(step > 1);
        // From the end, so that the newest point is always there.
        let mut kept: Vec<_> = points.iter().rev().step_by(step).map(json_point).collect();
        kept.reverse();
        let labels = series.labels.pairs().iter().map(|(name, value)| (name.to_string(), value.to_string()));
        answer.series.push(SeriesPoints { labels: labels.collect(), points: kept });
    }
    answer.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    if n_thinned > 0 {
        let text = format!("{n_thinned} series have over {} points in the range and were thinned", limits.max_points);
        answer.warnings.push(text);
    }
    Ok(answer)
}

/// A value that JSON cannot write is null.
pub(crate) fn json_point(point: &Point) -> (i64, Option<f64>) {
    (point.time.0, Some(point.value).filter(|value| value.is_finite()))
}

impl Reader<'_> {
    fn check_time(&self) -> Result<(), QueryError> {
        if self.waiting.is_gone() {
            return Err(QueryError::Gone);
        }
        if self.shared.clock().mono() > self.deadline {
            return Err(QueryError::TimedOut(self.limits.timeout));
        }
        Ok(())
    }

    /// Points of each of the agent's series in `[from, to]`, in time order, each once.
    pub(crate) fn points(
        &self,
        agent: AgentNo,
        ids: &[SeriesId],
        from: UnixMillis,
        to: UnixMillis,
        n_read: &mut usize,
    ) -> Result<Vec<Vec<Point>>, QueryError> {
        self.check_time()?;
        // The tsdb's ranges are half-open.
        let end = to.shifted(1);
        let mut open: Vec<Vec<Point>> = vec![Vec::new(); ids.len()];
        let cells: Vec<_> = {
            let catalogue = self.shared.catalogue();
            catalogue.lanes.get(&agent).into_iter().flat_map(|lanes| lanes.values().cloned()).collect()
        };
        for cell in cells {
            let (sealing, lane) = {
                let state = cell.read();
                let overlaps = state.lane.time_range().is_some_and(|(min, max)| min < end && max >= from);
                // A copy costs more than a look for a few series, of which one lane of many has any.
                let is_wanted = overlaps && (ids.len() > LOOKED_FOR_MAX || ids.iter().any(|id| state.lane.has(*id)));
                (state.sealing.clone(), is_wanted.then(|| state.lane.clone()))
            };
            if let Some(part) = sealing {
                part.scan(ids, from, end, &mut open);
            }
            if let Some(lane) = lane {
                lane.scan(ids, from, end, &mut open);
            }
        }
        let mut sealed = self.chunk_points(agent, ids, from, end, n_read)?;
        for (sealed, open) in sealed.iter_mut().zip(open) {
            let mut all = Vec::with_capacity(sealed.len() + open.len());
            merge(vec![std::mem::take(sealed), open], &mut all);
            *sealed = all;
        }
        *n_read += sealed.iter().map(Vec::len).sum::<usize>();
        self.check_samples(*n_read)?;
        Ok(sealed)
    }

    fn check_samples(&self, n_read: usize) -> Result<(), QueryError> {
        let limit = self.limits.max_samples;
        if n_read > limit { Err(QueryError::TooManySamples { limit }) } else { Ok(()) }
    }

    fn chunk_points(
        &self,
        agent: AgentNo,
        ids: &[SeriesId],
        from: UnixMillis,
        end: UnixMillis,
        n_read: &usize,
    ) -> Result<Vec<Vec<Point>>, QueryError> {
        let mut points: Vec<Vec<Point>> = vec![Vec::new(); ids.len()];
        let first = Chunk::seek(agent, from).encode();
        let last = after_prefix(&agent.0.to_be_bytes());
        each(&**self.shared.store(), Family::Chunks, (&first, &last), |key, row| {
            if !Chunk::decode(key).is_some_and(|chunk| chunk.overlaps(from, end)) {
                return Ok(());
            }
            self.read_chunk(row, ids, from, end, &mut points)?;
            self.check_time()?;
            self.check_samples(n_read + points.iter().map(Vec::len).sum::<usize>())
        })?;
        Ok(points)
    }

    fn read_chunk(
        &self,
        row: &[u8],
        ids: &[SeriesId],
        from: UnixMillis,
        end: UnixMillis,
        points: &mut [Vec<Point>],
    ) -> Result<(), QueryError> {
        let damaged = |why: &dyn std::fmt::Display| QueryError::Store(format!("read a chunk: {why}"));
        let mut chunk = ChunkReader::open(row).map_err(|why| damaged(&why))?;
        for (id, points) in ids.iter().zip(points) {
            chunk.read(*id, from, end, points).map_err(|why| damaged(&why))?;
        }
        Ok(())
    }
}
