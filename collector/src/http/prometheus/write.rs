//! `POST /api/v1/write`: remote write 1.0, as Prometheus and vmagent send it.
//!
//! Senders never send again what got a 4xx, and back off and send again at 429 and
//! 5xx. So what can never be taken is 400 once the rest of the request is durable.

use super::params::parse_duration;
use crate::http::App;
use crate::http::auth::Who;
use crate::http::error::Failure;
use crate::http::extract::Params;
use crate::remote::{self, WriteError};
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use signalbox_access::Caller;
use signalbox_proto::api::ApiError;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::Millis;
use utoipa::IntoParams;

/// The source of whoever says none and has no token of a service.
const UNNAMED: &str = "remote-write";
/// Longest time between two samples of a series that a source may say.
const INTERVAL_MAX: Millis = Millis::from_mins(24 * 60);

/// Who writes, and how often.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriteParams {
    /// Name of the source, as it stands on the board; the name of the token if not given.
    source: Option<String>,
    /// Time between two samples of a series, `15s`: what is silent for three of them is
    /// stale to rules. A minute if not given.
    interval: Option<String>,
}

/// Samples of a source; answered once they are durable.
#[utoipa::path(post, path = "/api/v1/write", params(WriteParams),
    request_body(content = Vec<u8>, content_type = "application/x-protobuf",
        description = "prometheus.WriteRequest in a snappy block, at most 8 MiB, 32 MiB unpacked"),
    responses(
        (status = 204, description = "durable"),
        (status = 400, description = "malformed, or some samples can never be taken: the others are durable", body = ApiError),
        (status = 409, description = "the source's name belongs to an agent", body = ApiError),
        (status = 413, description = "over a limit", body = ApiError),
        (status = 415, description = "neither remote write 1.0 nor snappy", body = ApiError),
        (status = 503, description = "send it again after Retry-After", body = ApiError),
    ))]
pub(crate) async fn write(
    State(app): State<App>,
    Who(caller): Who,
    Params(params): Params<WriteParams>,
    request: Request,
) -> Result<StatusCode, Failure> {
    check_kind(request.headers())?;
    let source = source(&params, &caller)?;
    let interval = interval(&params)?;
    let body = to_bytes(request.into_body(), remote::BODY_MAX_BYTES).await.map_err(|_| {
        let error = format!("the body broke off, or is over the limit of {} bytes", remote::BODY_MAX_BYTES);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "set max_samples_per_send to 10000 or less")
    })?;
    let written = app.handle.write(source.clone(), interval, body).await.map_err(failure)?;
    metrics::counter!("signalbox_remote_write_samples_total").increment(written.n_samples);
    let Some(why) = written.refused.why else { return Ok(StatusCode::NO_CONTENT) };
    metrics::counter!("signalbox_remote_write_refused_total").increment(written.refused.n);
    let error =
        format!("{} samples of {source} were refused, {} are stored: {why}", written.refused.n, written.n_samples);
    Err(Failure::bad(error, "drop or rename such series at the sender: write_relabel_configs"))
}

/// A foreign page cannot send this type, and a newer protocol says so here.
fn check_kind(headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok()).unwrap_or("");
    let (kind, encoding) = (text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING));
    let is_first = kind.eq_ignore_ascii_case("application/x-protobuf")
        || kind.replace(' ', "").eq_ignore_ascii_case("application/x-protobuf;proto=prometheus.WriteRequest");
    let wrong = |error: String| {
        let remedy = "send remote write 1.0: content-type application/x-protobuf, content-encoding snappy";
        Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error, remedy))
    };
    match (is_first, encoding) {
        (false, _) => wrong(format!("content type {kind:?} is not that of remote write 1.0")),
        (true, "snappy" | "") => Ok(()),
        (true, other) => wrong(format!("content encoding {other:?} is not snappy")),
    }
}

fn source(params: &WriteParams, caller: &Caller) -> Result<AgentId, Failure> {
    let remedy = "name the source in the address: /api/v1/write?source=NAME";
    if let Some(name) = &params.source {
        return AgentId::parse(name).map_err(|why| Failure::bad(format!("source: {why}"), remedy));
    }
    // A service's token is `token:NAME`; whoever else writes tries it out.
    let own = caller.principal.name.strip_prefix("token:").unwrap_or(UNNAMED);
    AgentId::parse(own).map_err(|why| Failure::bad(format!("name of the token: {why}"), remedy))
}

fn interval(params: &WriteParams) -> Result<Millis, Failure> {
    let Some(text) = &params.interval else { return Ok(remote::INTERVAL) };
    let interval = parse_duration(text).filter(|span| *span > Millis::ZERO && *span <= INTERVAL_MAX);
    interval.ok_or_else(|| Failure::bad(format!("interval {text:?} is not within 1ms to 24h"), "write interval=15s"))
}

fn failure(error: WriteError) -> Failure {
    let (status, remedy) = match &error {
        WriteError::Packed(_) | WriteError::Malformed(_) => (StatusCode::BAD_REQUEST, "send remote write 1.0"),
        WriteError::Source(_) => (StatusCode::CONFLICT, "give the source a name of its own: ?source=NAME"),
        WriteError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "set max_samples_per_send to 10000 or less"),
        WriteError::NoSpace => (StatusCode::SERVICE_UNAVAILABLE, "free space on the collector's volume"),
        WriteError::Later(_) => (StatusCode::SERVICE_UNAVAILABLE, "send it again in a moment"),
    };
    Failure::new(status, error.to_string(), remedy)
}
