//! For machines: is it alive, is it ready, its own numbers.

use crate::http::App;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// `GET /-/healthy`: the process answers. Says nothing else.
pub(crate) async fn healthy() -> &'static str {
    "ok\n"
}

/// `GET /-/ready`: the store was read, the first board is published.
pub(crate) async fn ready(State(app): State<App>) -> Response {
    if app.handle.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "not ready\n").into_response()
    }
}

/// `GET /metrics`: Prometheus's text format.
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.handle.metrics()).into_response()
}
