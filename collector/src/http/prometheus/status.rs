//! What answers here, and what costs most.

use super::envelope::{Refusal, Success};
use super::params::Params;
use crate::http::App;
use crate::http::auth::Who;
use crate::http::scope::series_in_sight;
use crate::series;
use axum::extract::State;
use serde::Serialize;
use signalbox_access::Permission;
use utoipa::ToSchema;

/// The release of Prometheus whose API and query language this is.
const SPOKEN: &str = "3.5.0";
/// Entries of each kind unless asked for more.
const LIMIT: usize = 10;
/// Entries of each kind at most.
const LIMIT_MAX: usize = 10_000;

/// Which program answers. There is no `features`: Grafana takes what has it for Mimir.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BuildInfo {
    /// The release of Prometheus whose API this is: clients choose by it.
    version: &'static str,
    /// Version of the collector.
    revision: &'static str,
    /// `signalbox`.
    branch: &'static str,
    /// Empty.
    build_user: &'static str,
    /// Empty.
    build_date: &'static str,
    /// Empty: it is not written in Go.
    go_version: &'static str,
}

/// Which program answers.
#[utoipa::path(get, path = "/api/v1/status/buildinfo", responses(
    (status = 200, description = "version of the API that is spoken", body = Success<BuildInfo>),
))]
pub(crate) async fn build_info() -> Success<BuildInfo> {
    Success::new(BuildInfo {
        version: SPOKEN,
        revision: env!("CARGO_PKG_VERSION"),
        branch: "signalbox",
        build_user: "",
        build_date: "",
        go_version: "",
    })
}

/// Something and how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Counted {
    /// What.
    name: String,
    /// How many, or how many bytes.
    value: u64,
}

/// Totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeadStats {
    /// Series that are known.
    num_series: u64,
    /// Distinct pairs of label and value.
    num_label_pairs: u64,
}

/// What costs most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TsdbStatus {
    /// Totals.
    head_stats: HeadStats,
    /// Series by metric.
    series_count_by_metric_name: Vec<Counted>,
    /// Distinct values by label.
    label_value_count_by_label_name: Vec<Counted>,
    /// Bytes of values by label, without interning.
    memory_in_bytes_by_label_name: Vec<Counted>,
    /// Series by `label=value`.
    series_count_by_label_value_pair: Vec<Counted>,
}

/// Cardinality: what series cost most.
#[utoipa::path(get, path = "/api/v1/status/tsdb", params(
    ("limit" = Option<usize>, Query, description = "entries of each kind, 10 if not given, at most 10000"),
), responses(
    (status = 200, description = "the greatest first", body = Success<TsdbStatus>),
    (status = 400, description = "a parameter is malformed", body = Refusal),
))]
pub(crate) async fn tsdb(
    State(app): State<App>,
    Who(caller): Who,
    params: Params,
) -> Result<Success<TsdbStatus>, Refusal> {
    let limit = if params.get("limit").is_some() { params.limit("limit")?.min(LIMIT_MAX) } else { LIMIT };
    let sees = series_in_sight(caller, app.handle.board(), Permission::ReadHistory);
    let most = app.handle.read(move |shared, _| series::cardinality(shared, limit, sees)).await?;
    let counted = |counts: Vec<(String, u64)>| {
        counts.into_iter().map(|(name, value)| Counted { name, value }).collect::<Vec<_>>()
    };
    Ok(Success::new(TsdbStatus {
        head_stats: HeadStats { num_series: most.n_series, num_label_pairs: most.n_pairs },
        series_count_by_metric_name: counted(most.by_metric),
        label_value_count_by_label_name: counted(most.by_label),
        memory_in_bytes_by_label_name: counted(most.bytes_by_label),
        series_count_by_label_value_pair: counted(most.by_pair),
    }))
}
