//! Labels, their values, series and metadata, from the index.

use super::envelope::{Refusal, Success};
use super::params::Params;
use crate::http::App;
use crate::http::auth::Who;
use crate::http::extract::Segments;
use crate::http::scope::series_in_sight;
use crate::series::{self, Listing, Wanted};
use axum::extract::State;
use serde::Serialize;
use signalbox_access::{Caller, Permission};
use signalbox_proto::names::METRIC_NAME;
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// Parameters of listings, in the address or as a form.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes what Params reads")]
pub(crate) struct ListingParams {
    /// Series that count, `name{label="value"}`; may be given several times, any of them counts.
    #[param(rename = "match[]")]
    matchers: Option<Vec<String>>,
    /// Checked, and has no effect: the index knows all that is stored.
    start: Option<String>,
    /// Checked, and has no effect.
    end: Option<String>,
    /// Entries at most; at most 100000.
    limit: Option<usize>,
}

/// What a metric is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Metadata {
    /// `counter` where the name says so, else `unknown`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Empty: agents send none.
    help: &'static str,
    /// Empty.
    unit: &'static str,
}

impl Params {
    fn wanted(&self, app: &App, caller: Caller) -> Result<Wanted, Refusal> {
        self.time("start")?;
        self.time("end")?;
        let sees = series_in_sight(caller, app.handle.board(), Permission::ReadHistory);
        Ok(Wanted { selectors: self.selectors()?, limit: self.limit("limit")?, sees })
    }
}

fn answered<T: Serialize, U>(listing: Listing<T>, of: impl FnOnce(Vec<T>) -> U) -> Success<U> {
    let n = listing.entries.len();
    let warning = listing.is_cut.then(|| format!("there are more: the answer ends at the limit of {n}"));
    Success::warned(of(listing.entries), warning.into_iter().collect())
}

/// Label names in use.
#[utoipa::path(method(get, post), path = "/api/v1/labels", params(ListingParams), responses(
    (status = 200, description = "names in order", body = Success<Vec<String>>),
    (status = 400, description = "a parameter is malformed", body = Refusal),
))]
pub(crate) async fn labels(
    State(app): State<App>,
    Who(caller): Who,
    params: Params,
) -> Result<Success<Vec<String>>, Refusal> {
    let wanted = params.wanted(&app, caller)?;
    let listing = app.handle.read(move |shared, _| series::names(shared, &wanted)).await?;
    Ok(answered(listing, |names| names))
}

/// Values of a label.
#[utoipa::path(get, path = "/api/v1/label/{name}/values", params(ListingParams), responses(
    (status = 200, description = "values in order", body = Success<Vec<String>>),
    (status = 400, description = "a parameter is malformed", body = Refusal),
))]
pub(crate) async fn values(
    State(app): State<App>,
    Who(caller): Who,
    Segments(name): Segments<String>,
    params: Params,
) -> Result<Success<Vec<String>>, Refusal> {
    let wanted = params.wanted(&app, caller)?;
    let listing = app.handle.read(move |shared, _| series::values(shared, &name, &wanted)).await?;
    Ok(answered(listing, |values| values))
}

/// Label sets of series.
#[utoipa::path(method(get, post), path = "/api/v1/series", params(ListingParams), responses(
    (status = 200, description = "one object of labels for each series", body = Success<Vec<BTreeMap<String, String>>>),
    (status = 400, description = "no `match[]` is given, or a parameter is malformed", body = Refusal),
))]
pub(crate) async fn sets(
    State(app): State<App>,
    Who(caller): Who,
    params: Params,
) -> Result<Success<Vec<BTreeMap<String, String>>>, Refusal> {
    let wanted = params.wanted(&app, caller)?;
    if wanted.selectors.is_empty() {
        return Err(Refusal::parameter("match[]", "it is missing; write for example match[]=up"));
    }
    let read = move |shared: &_, _: &_| {
        let Listing { entries, is_cut } = series::sets(shared, &wanted);
        let object = |labels: signalbox_proto::names::Labels| Vec::from(labels).into_iter().collect();
        Listing { entries: entries.into_iter().map(object).collect(), is_cut }
    };
    Ok(answered(app.handle.read(read).await?, |sets| sets))
}

/// What metrics are: as far as their names say.
#[utoipa::path(get, path = "/api/v1/metadata", params(
    ("metric" = Option<String>, Query, description = "only this one"),
    ("limit" = Option<usize>, Query, description = "metrics at most"),
), responses(
    (status = 200, description = "by name", body = Success<BTreeMap<String, Vec<Metadata>>>),
    (status = 400, description = "a parameter is malformed", body = Refusal),
))]
pub(crate) async fn metadata(
    State(app): State<App>,
    Who(caller): Who,
    params: Params,
) -> Result<Success<BTreeMap<String, Vec<Metadata>>>, Refusal> {
    let mut wanted = params.wanted(&app, caller)?;
    let metric = params.get("metric").map(str::to_owned);
    if metric.is_some() {
        wanted.limit = series::LISTED_MAX;
    }
    let mut listing = app.handle.read(move |shared, _| series::values(shared, METRIC_NAME, &wanted)).await?;
    if let Some(metric) = metric {
        listing.entries.retain(|name| *name == metric);
    }
    Ok(answered(listing, |names| names.into_iter().map(|name| (name.clone(), vec![told_by(&name)])).collect()))
}

fn told_by(name: &str) -> Metadata {
    let is_counter = ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
    Metadata { kind: if is_counter { "counter" } else { "unknown" }, help: "", unit: "" }
}
