//! Series and proofs, read from the store on blocking threads.

use crate::handle::{QueryError, QueryLimits};
use crate::http::App;
use crate::http::auth::Who;
use crate::http::error::Failure;
use crate::http::extract::Params;
use crate::http::scope::Sight;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use signalbox_access::{Caller, Permission};
use signalbox_proto::api::{ApiError, Explanation, QueryAnswer};
use signalbox_proto::selector::Selector;
use signalbox_proto::units::{Millis, UnixMillis};
use utoipa::IntoParams;

/// The range when nothing is said about its start.
const RANGE_DEFAULT: Millis = Millis::from_mins(15);
/// Points of one series in one answer.
const POINTS_MAX: usize = 11_000;

/// Which series, over which range.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryParams {
    /// `name{label="value"}`, as in PromQL.
    selector: String,
    /// Range start, Unix milliseconds, inclusive; 15 minutes before `to` when not given.
    from: Option<i64>,
    /// Range end, Unix milliseconds, inclusive; now when not given.
    to: Option<i64>,
    /// At most so many points a series, 1 to 11000.
    limit_points: Option<usize>,
}

/// Series over a range.
#[utoipa::path(get, path = "/api/signalbox/v1/query", params(QueryParams), responses(
    (status = 200, description = "every series that matches and has points", body = QueryAnswer),
    (status = 400, description = "a parameter is missing, unknown or malformed", body = ApiError),
    (status = 422, description = "the answer would be over a limit", body = ApiError),
    (status = 503, description = "too many queries are under way", body = ApiError),
))]
pub(crate) async fn query(
    State(app): State<App>,
    Who(caller): Who,
    Params(params): Params<QueryParams>,
) -> Result<Json<QueryAnswer>, Failure> {
    let selector = Selector::parse(&params.selector)
        .map_err(|error| Failure::bad(error.to_string(), "write for example node_load1{host=\"web1\"}"))?;
    let to = params.to.map_or_else(|| app.handle.now(), UnixMillis);
    let from = params.from.map_or_else(|| to - RANGE_DEFAULT, UnixMillis);
    if from > to {
        let error = format!("from {} lies after to {}", from.0, to.0);
        return Err(Failure::bad(error, "give both in Unix milliseconds, the earlier one as from"));
    }
    let points = params.limit_points.unwrap_or(POINTS_MAX);
    if !(1..=POINTS_MAX).contains(&points) {
        let error = format!("limit_points {points} is not between 1 and {POINTS_MAX}");
        let remedy = format!("write limit_points=1 to {POINTS_MAX}; for more points, ask for the range in parts");
        return Err(Failure::bad(error, remedy));
    }
    let limits = limits(points);
    let board = app.handle.board();
    let sight = Sight::new(&caller, &board);
    let answer = app.handle.query(selector, from, to, limits).await;
    if sight.is_whole() {
        return answer.map(Json).map_err(query_failure);
    }
    // What is out of sight is not counted out loud either.
    let mut answer = answer.map_err(|error| match error {
        QueryError::TooManySeries { limit, .. } => {
            query_failure(QueryError::TooManySeries { n: limit as u64 + 1, limit })
        }
        error => query_failure(error),
    })?;
    answer.series.retain(|series| sight.sees_series(Permission::ReadHistory, &series.labels));
    if !answer.warnings.is_empty() {
        answer.warnings = vec!["the answer is not whole: narrow the selector or the range".to_owned()];
    }
    Ok(Json(answer))
}

/// Which verdict, when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainParams {
    /// Item id: `host/web1:filesystem-full{mountpoint="/"}`.
    item: String,
    /// Unix milliseconds; now when not given.
    at: Option<i64>,
}

/// The proof of a verdict at an instant, from stored facts alone.
#[utoipa::path(get, path = "/api/signalbox/v1/explain", params(ExplainParams), responses(
    (status = 200, description = "samples, rule, clocks, suppressions and notices", body = Explanation),
    (status = 400, description = "a parameter is missing, unknown or malformed", body = ApiError),
    (status = 404, description = "there is no such item, or nothing was known about it then", body = ApiError),
))]
pub(crate) async fn explain(
    State(app): State<App>,
    Who(caller): Who,
    Params(params): Params<ExplainParams>,
) -> Result<Json<Explanation>, Failure> {
    explain_for(&app, &caller, params.item, params.at.map(UnixMillis)).await.map(Json)
}

/// The proof, if the item is in this caller's sight.
pub(crate) async fn explain_for(
    app: &App,
    caller: &Caller,
    item: String,
    at: Option<UnixMillis>,
) -> Result<Explanation, Failure> {
    let board = app.handle.board();
    let sight = Sight::new(caller, &board);
    let item = if sight.is_whole() {
        item
    } else {
        let found = sight.find_item(Permission::ReadHistory, &item).map(|found| found.id.clone());
        found.map_err(|absent| app.out_of_sight(caller, Permission::ReadHistory, &item, absent))?
    };
    Ok(app.handle.explain(item, at).await?)
}

/// Shorter than a request may take, so that the answer says what took too long.
const TIMEOUT: Millis = Millis::from_secs(25);

fn limits(max_points: usize) -> QueryLimits {
    QueryLimits { max_points, timeout: TIMEOUT, ..QueryLimits::default() }
}

/// What a refused query means to the one who asked.
fn query_failure(error: QueryError) -> Failure {
    let (status, remedy) = match &error {
        QueryError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "look into the collector's log"),
        QueryError::Busy | QueryError::Gone => (StatusCode::SERVICE_UNAVAILABLE, "try again in a moment"),
        QueryError::TimedOut(_) | QueryError::TooManySeries { .. } | QueryError::TooManySamples { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "narrow the selector or the range")
        }
    };
    Failure::new(status, error.to_string(), remedy)
}
