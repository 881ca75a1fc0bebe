//! The record of who did what.

use crate::http::App;
use crate::http::api::board::NoParams;
use crate::http::error::Failure;
use crate::http::extract::Params;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use signalbox_proto::api::{ApiError, AuditEntry, AuditVerdict};
use utoipa::IntoParams;

/// Lines in one answer.
const LINES_MAX: usize = 1000;
/// Lines in one answer when nothing is said.
const LINES_DEFAULT: usize = 100;

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditParams {
    /// From this line on; the last ones when not given.
    from: Option<u64>,
    /// At most so many, 1 to 1000; 100 when nothing is said.
    limit: Option<usize>,
}

/// Lines of the record, oldest first.
#[utoipa::path(get, path = "/api/signalbox/v1/audit", params(AuditParams), responses(
    (status = 200, description = "lines", body = Vec<AuditEntry>),
    (status = 400, description = "a parameter is unknown or malformed", body = ApiError),
    (status = 403, description = "your role does not allow this", body = ApiError),
))]
pub(crate) async fn lines(
    State(app): State<App>,
    Params(params): Params<AuditParams>,
) -> Result<Json<Vec<AuditEntry>>, Failure> {
    let limit = params.limit.unwrap_or(LINES_DEFAULT);
    if !(1..=LINES_MAX).contains(&limit) {
        let error = format!("limit {limit} is not between 1 and {LINES_MAX}");
        return Err(Failure::bad(error, "ask for fewer, and go on with from"));
    }
    let head = app.handle.access_view().audit_head().no;
    let from = params.from.unwrap_or_else(|| (head + 1).saturating_sub(limit as u64)).max(1);
    Ok(Json(app.handle.audit(from, limit).await?))
}

/// Whether every line is there, in order and as it was written.
#[utoipa::path(get, path = "/api/signalbox/v1/audit/verify", params(NoParams), responses(
    (status = 200, description = "whole, or what is wrong with which line", body = AuditVerdict),
    (status = 403, description = "your role does not allow this", body = ApiError),
))]
pub(crate) async fn verify(State(app): State<App>, Params(_): Params<NoParams>) -> Result<Json<AuditVerdict>, Failure> {
    Ok(Json(app.handle.verify_audit().await?))
}
