//! Series over a range. Runs on blocking threads, a bounded number at a time.
//!
//! Raw samples serve wherever they are; where retention took them, roll-ups do, and
//! the answer says so.

mod read;

use crate::reading::{Asked, NotRead, read};
use crate::select::by_owner;
use crate::selection::select;
use crate::shared::Shared;
use crate::store::StoreError;
use signalbox_proto::api::{QueryAnswer, SeriesPoints};
use signalbox_proto::selector::Selector;
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::keys::AgentNo;
use signalbox_tsdb::rollup::{Bucket, start_of};
use signalbox_tsdb::run::{Joiner, Run};
use signalbox_tsdb::tier::{HOUR_MS, MINUTE_MS, Tier};
use signalbox_tsdb::{Point, SeriesId};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

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

/// Tiers that served where raw samples are gone, each up to when.
#[derive(Debug, Default)]
pub(crate) struct Rolled(BTreeMap<Tier, UnixMillis>);

impl Rolled {
    /// What whoever asked is told.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(tier, until)| {
            let step = if *tier == Tier::Hours { "1 h" } else { "1 m" };
            format!("answered from {step} roll-ups before {}: raw samples are gone", until.0)
        })
    }
}

/// What roll-ups say where raw samples are gone.
struct Older {
    /// Which tiers served, each up to when.
    served: BTreeMap<Tier, UnixMillis>,
    /// Of each series.
    points: Vec<Vec<Point>>,
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
    let mut rolled = Rolled::default();
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); found.len()];
    for (agent, parts) in by_owner(&found) {
        let (places, ids): (Vec<usize>, Vec<SeriesId>) = parts.into_iter().unzip();
        let sources = reader.sources(agent, &ids, (from, to), &mut n_read, &mut rolled)?;
        for (place, sources) in places.into_iter().zip(sources) {
            runs[place].extend(sources);
        }
    }
    let mut joiner = Joiner::default();
    for (series, runs) in found.into_iter().zip(runs) {
        // Its parts follow each other, as a rule: a series that was silent for long.
        let run = joiner.join(runs);
        if run.is_empty() {
            continue;
        }
        let step = run.len().div_ceil(limits.max_points.max(1));
        n_thinned += usize::from(step > 1);
        // From the end, so that the newest point is always there.
        let mut kept: Vec<_> = run.points().rev().step_by(step).map(|point| json_point(&point)).collect();
        kept.reverse();
        let labels = series.labels.pairs().iter().map(|(name, value)| (name.to_string(), value.to_string()));
        answer.series.push(SeriesPoints { labels: labels.collect(), points: kept });
    }
    answer.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    answer.warnings.extend(rolled.texts());
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
        // The tsdb's ranges are half-open.
        let runs = self.columns(agent, ids, (from, to.shifted(1)), n_read)?;
        Ok(runs.iter().map(|run| run.points().collect()).collect())
    }

    /// All that is there of each of the agent's series in `[from, to]`: samples, and
    /// before them what roll-ups keep. Of both at one instant the sample stands.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) fn sources(
        &self,
        agent: AgentNo,
        ids: &[SeriesId],
        (from, to): (UnixMillis, UnixMillis),
        n_read: &mut usize,
        rolled: &mut Rolled,
    ) -> Result<Vec<Vec<Run>>, QueryError> {
        let samples = self.columns(agent, ids, (from, to.shifted(1)), n_read)?;
        let older = self.older_points(agent, ids, (from, to), n_read)?;
        for (tier, until) in older.served {
            let latest = rolled.0.entry(tier).or_insert(until);
            *latest = until.max(*latest);
        }
        let both = samples.into_iter().zip(older.points);
        let sources =
            both.map(
                |(samples, older)| {
                    if older.is_empty() { vec![samples] } else { vec![Run::of(older, i64::MIN).0, samples] }
                },
            );
        Ok(sources.collect())
    }

    /// Where raw samples are gone: the last value of each minute, and of each hour where
    /// minutes are gone too; with the tiers and up to when each of them served.
    fn older_points(
        &self,
        agent: AgentNo,
        ids: &[SeriesId],
        (from, to): (UnixMillis, UnixMillis),
        n_read: &mut usize,
    ) -> Result<Older, QueryError> {
        let mut served = BTreeMap::new();
        let mut points: Vec<Vec<Point>> = vec![Vec::new(); ids.len()];
        // Samples begin within a minute that is served whole by them.
        let until = UnixMillis(start_of(self.raw_from(agent, to)?.0, MINUTE_MS)).min(to);
        let minutes = self.minutes_from(agent)?.unwrap_or(until).min(until);
        for (step, end) in [(HOUR_MS, UnixMillis(start_of(minutes.0, HOUR_MS))), (MINUTE_MS, until)] {
            let begin = if step == HOUR_MS { from } else { from.max(UnixMillis(start_of(minutes.0, HOUR_MS))) };
            if begin >= end {
                continue;
            }
            let range = (UnixMillis(start_of(begin.0, step)), end);
            let buckets = self.buckets(agent, ids, range, step, true, n_read)?;
            served.extend(buckets.tier.map(|tier| (tier, end)));
            for (points, buckets) in points.iter_mut().zip(&buckets.series) {
                let last = |bucket: &Bucket| Point { time: bucket.last_time, value: bucket.last };
                points.extend(buckets.iter().map(last).filter(|point| point.time >= from));
            }
        }
        Ok(Older { served, points })
    }

    fn check_samples(&self, n_read: usize) -> Result<(), QueryError> {
        let limit = self.limits.max_samples;
        if n_read > limit { Err(QueryError::TooManySamples { limit }) } else { Ok(()) }
    }
}
