//! Queries: at an instant, over a range, and about their text.

use super::answer::{QueryData, Written, written};
use super::envelope::{ErrorType, Refusal, Success};
use super::params::Params;
use crate::evaluate::{Asked, NoAnswer, When};
use crate::http::App;
use crate::http::auth::Who;
use crate::http::scope::series_in_sight;
use axum::extract::State;
use signalbox_access::{Caller, Permission};
use signalbox_promql::error::Error;
use signalbox_promql::limits::Options;
use signalbox_promql::query::Query;
use signalbox_promql::value::{Answer, Value};
use signalbox_proto::units::{Millis, UnixMillis};
use utoipa::IntoParams;

/// Longest that a query may take: shorter than a request may, so that the answer says
/// what took too long.
const TIMEOUT_MAX: Millis = Millis::from_secs(25);

/// Parameters of queries, in the address or as a form.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes what Params reads")]
pub(crate) struct QueryParams {
    /// In PromQL.
    query: String,
    /// Instant, of `query` only: Unix seconds or RFC 3339; now if not given.
    time: Option<String>,
    /// First instant, of `query_range` only.
    start: Option<String>,
    /// Last instant, of `query_range` only.
    end: Option<String>,
    /// Between two instants, of `query_range` only: seconds or a span.
    step: Option<String>,
    /// Give up after so long: seconds or a span; at most 25 s.
    timeout: Option<String>,
    /// Series at most.
    limit: Option<usize>,
    /// How far back a selector looks for a sample, 5 minutes if not given.
    lookback_delta: Option<String>,
}

/// A query at an instant.
#[utoipa::path(method(get, post), path = "/api/v1/query", params(QueryParams), responses(
    (status = 200, description = "the value then", body = Success<QueryData>),
    (status = 400, description = "a parameter or the query is malformed", body = Refusal),
    (status = 422, description = "it cannot be evaluated, or is over a limit", body = Refusal),
    (status = 503, description = "it took too long, or too much is under way", body = Refusal),
))]
pub(crate) async fn instant(State(app): State<App>, Who(caller): Who, params: Params) -> Result<Written, Refusal> {
    let at = params.time("time")?.unwrap_or_else(|| app.handle.now());
    answer(&app, caller, &params, When::At(at)).await
}

/// A query over a range.
#[utoipa::path(method(get, post), path = "/api/v1/query_range", params(QueryParams), responses(
    (status = 200, description = "the values at each step", body = Success<QueryData>),
    (status = 400, description = "a parameter or the query is malformed", body = Refusal),
    (status = 422, description = "it cannot be evaluated, or is over a limit", body = Refusal),
    (status = 503, description = "it took too long, or too much is under way", body = Refusal),
))]
pub(crate) async fn range(State(app): State<App>, Who(caller): Who, params: Params) -> Result<Written, Refusal> {
    let need = |name: &str| -> Result<UnixMillis, Refusal> {
        params.need(name)?;
        Ok(params.time(name)?.unwrap_or_default())
    };
    let (start, end) = (need("start")?, need("end")?);
    params.need("step")?;
    let step = params.span("step")?.unwrap_or_default();
    answer(&app, caller, &params, When::Steps { start, end, step }).await
}

async fn answer(app: &App, caller: Caller, params: &Params, when: When) -> Result<Written, Refusal> {
    let text = params.need("query")?.to_owned();
    let timeout = params.span("timeout")?.unwrap_or(TIMEOUT_MAX).min(TIMEOUT_MAX);
    let limit = params.limit("limit")?;
    let mut options = Options::default();
    if let Some(lookback) = params.span("lookback_delta")?.filter(|span| *span > Millis::ZERO) {
        options.lookback = lookback;
    }
    let sees = series_in_sight(caller, app.handle.board(), Permission::ReadHistory);
    let mut answer = app.handle.evaluate(Asked { text, when, options, timeout, sees }).await?;
    let cut = cut(&mut answer, limit);
    Ok(written(answer, cut.into_iter().collect()))
}

/// Leaves out what is over the limit, and says so.
fn cut(answer: &mut Answer, limit: usize) -> Option<String> {
    let n = match &mut answer.value {
        Value::Vector(samples) => {
            let n = samples.len();
            samples.truncate(limit);
            n
        }
        Value::Matrix(series) => {
            let n = series.len();
            series.truncate(limit);
            n
        }
        Value::Scalar(_) | Value::Text { .. } => 0,
    };
    (n > limit).then(|| format!("the answer has {n} series and ends at the limit of {limit}"))
}

impl From<NoAnswer> for Refusal {
    fn from(why: NoAnswer) -> Refusal {
        match why {
            NoAnswer::Busy => Refusal::new(ErrorType::Unavailable, "too many queries are under way"),
            NoAnswer::Error(error) => Refusal::from(error),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let kind = match &error {
            Error::BadData(_) => ErrorType::BadData,
            Error::Execution(_) => ErrorType::Execution,
            Error::Timeout => ErrorType::Timeout,
            Error::Canceled => ErrorType::Canceled,
            Error::Internal(_) => ErrorType::Internal,
        };
        Refusal::new(kind, error.to_string())
    }
}

/// Exemplars of a query: there are none.
#[utoipa::path(method(get, post), path = "/api/v1/query_exemplars", params(QueryParams), responses(
    (status = 200, description = "an empty list: exemplars are not stored", body = Success<Vec<String>>),
    (status = 400, description = "a parameter or the query is malformed", body = Refusal),
))]
pub(crate) async fn exemplars(params: Params) -> Result<Success<Vec<String>>, Refusal> {
    Query::parse(params.need("query")?, &Options::default())?;
    params.time("start")?;
    params.time("end")?;
    Ok(Success::new(Vec::new()))
}

/// The text of a query, tidied.
#[utoipa::path(method(get, post), path = "/api/v1/format_query", params(QueryParams), responses(
    (status = 200, description = "the same query", body = Success<String>),
    (status = 400, description = "the query is malformed", body = Refusal),
))]
pub(crate) async fn format(params: Params) -> Result<Success<String>, Refusal> {
    let text = params.need("query")?;
    Query::parse(text, &Options::default())?;
    let tree = promql_parser::parser::parse(text).map_err(|why| Refusal::parameter("query", why))?;
    Ok(Success::new(tree.prettify()))
}
