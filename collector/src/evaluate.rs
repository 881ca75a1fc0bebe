//! Queries in PromQL: evaluated on a blocking thread, within limits, as long as somebody waits.

use crate::query::{QueryLimits, Reader};
use crate::reading::{NotRead, read};
use crate::select::Stored;
use crate::series::Sees;
use crate::shared::Shared;
use signalbox_promql::budget::{Budget, Stop};
use signalbox_promql::error::Error;
use signalbox_promql::limits::Options;
use signalbox_promql::query::Query;
use signalbox_promql::value::Answer;
use signalbox_proto::units::{Millis, UnixMillis};
use std::sync::Arc;

/// When a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At one instant.
    At(UnixMillis),
    /// At `start`, `start + step` … up to `end`.
    Steps {
        /// The first.
        start: UnixMillis,
        /// The last is not later.
        end: UnixMillis,
        /// Between two.
        step: Millis,
    },
}

impl When {
    fn kind(self) -> &'static str {
        match self {
            When::At(_) => "instant",
            When::Steps { .. } => "range",
        }
    }
}

/// A query of somebody.
pub(crate) struct Asked {
    /// In PromQL.
    pub(crate) text: String,
    pub(crate) when: When,
    pub(crate) options: Options,
    /// How long it may take, waiting for its turn included.
    pub(crate) timeout: Millis,
    /// What of the store they may read.
    pub(crate) sees: Sees,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Too many queries are under way.
    Busy,
    /// The evaluator's word.
    Error(Error),
}

/// Evaluates a query.
///
/// # Errors
/// [`NoAnswer`].
pub(crate) async fn evaluate(shared: &Arc<Shared>, asked: Asked) -> Result<Answer, NoAnswer> {
    let (kind, begun) = (asked.when.kind(), shared.clock().mono());
    let deadline = begun + asked.timeout;
    // What cannot be evaluated needs no place among those that can.
    let query = Query::parse(&asked.text, &asked.options).map_err(NoAnswer::Error);
    let answer = match query {
        Ok(query) => {
            let timeout = asked.timeout;
            let reading = read(shared, timeout, move |shared, waiting| {
                let stop = || {
                    let is_late = shared.clock().mono() > deadline;
                    if waiting.is_gone() { Some(Stop::Canceled) } else { is_late.then_some(Stop::Timeout) }
                };
                let budget = Budget::new(&asked.options, &stop);
                let limits = limits(&asked.options, timeout);
                let stored = Stored { reader: Reader { shared, deadline, limits, waiting }, sees: &asked.sees };
                let answer = match asked.when {
                    When::At(at) => query.instant(at, &stored, &budget),
                    When::Steps { start, end, step } => query.range(start, end, step, &stored, &budget),
                };
                metrics::counter!("signalbox_promql_samples_total").increment(budget.n_samples());
                answer
            });
            match reading.await {
                Ok(answer) => answer.map_err(NoAnswer::Error),
                Err(NotRead::Busy) => Err(NoAnswer::Busy),
                Err(NotRead::Broken(why)) => Err(NoAnswer::Error(Error::Internal(why))),
            }
        }
        Err(refused) => Err(refused),
    };
    #[allow(clippy::cast_precision_loss, reason = "a query's milliseconds")]
    let seconds = shared.clock().mono().0.saturating_sub(begun.0) as f64 / 1000.0;
    metrics::histogram!("signalbox_promql_seconds", "kind" => kind).record(seconds);
    let outcome = match &answer {
        Ok(_) => "success",
        Err(NoAnswer::Busy) => "busy",
        Err(NoAnswer::Error(error)) => error.class(),
    };
    metrics::counter!("signalbox_promql_queries_total", "kind" => kind, "outcome" => outcome).increment(1);
    answer
}

fn limits(options: &Options, timeout: Millis) -> QueryLimits {
    let max_samples = usize::try_from(options.samples_max).unwrap_or(usize::MAX);
    QueryLimits { max_samples, timeout, ..QueryLimits::default() }
}
