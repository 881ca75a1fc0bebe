//! Every route that exists, in one table; the document is compared with it.

use crate::http::error::Failure;
use crate::http::extract::BODY_MAX_BYTES;
use crate::http::guard::{REQUESTS_MAX, guard};
use crate::http::{API_ROOT, App, api, openapi, page, probes};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Routes of the API below [`API_ROOT`].
pub(crate) fn api_routes() -> Vec<(Method, &'static str, MethodRouter<App>)> {
    vec![
        (Method::GET, "/status", get(api::board::status)),
        (Method::GET, "/agents", get(api::board::agents)),
        (Method::POST, "/agents/{id}/retire", post(api::acts::retire)),
        (Method::GET, "/incidents", get(api::board::incidents)),
        (Method::GET, "/incidents/{n}", get(api::board::incident)),
        (Method::POST, "/incidents/{n}/ack", post(api::acts::acknowledge)),
        (Method::POST, "/incidents/{n}/assign", post(api::acts::assign)),
        (Method::POST, "/incidents/{n}/note", post(api::acts::note)),
        (Method::POST, "/incidents/{n}/close", post(api::acts::close)),
        (Method::GET, "/snoozes", get(api::board::snoozes)),
        (Method::POST, "/snoozes", post(api::acts::snooze)),
        (Method::DELETE, "/snoozes/{id}", delete(api::acts::end_snooze)),
        (Method::GET, "/query", get(api::history::query)),
        (Method::GET, "/explain", get(api::history::explain)),
        (Method::POST, "/rules/check", post(api::config::check_rules)),
        (Method::POST, "/reload", post(api::config::reload)),
        (Method::POST, "/notify/test/{channel}", post(api::config::test_channel)),
        (Method::GET, "/notify/channels", get(api::config::channels)),
        (Method::GET, "/openapi.json", get(openapi::document)),
    ]
}

/// All routes behind the guard.
pub fn router(app: App) -> Router {
    let slots = Arc::new(Semaphore::new(REQUESTS_MAX));
    let api = api_routes().into_iter().fold(Router::new(), |router, (_, path, handler)| router.route(path, handler));
    Router::new()
        .nest(API_ROOT, api)
        .route("/", get(page::board))
        .route("/incidents/{n}", get(page::incident))
        .route("/items", get(page::item))
        .route("/style.css", get(page::style))
        .route("/-/healthy", get(probes::healthy))
        .route("/-/ready", get(probes::ready))
        .route("/metrics", get(probes::metrics))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn_with_state(slots, guard))
        .with_state(app)
}

async fn no_route(uri: Uri) -> Failure {
    let path = uri.path();
    let under = |root: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    let ours = format!("this collector's API is {API_ROOT}");
    if under("/api/v1") {
        Failure::absent(format!("{path}: /api/v1 is kept free for Prometheus's API, which is not served yet"), ours)
    } else if under("/api/v2") {
        Failure::absent(format!("{path}: /api/v2 is kept free for Alertmanager's API, which is not served yet"), ours)
    } else {
        Failure::absent(format!("there is nothing at {path}"), format!("{ours}; {API_ROOT}/openapi.json lists it"))
    }
}

async fn no_method(method: Method, uri: Uri) -> Failure {
    let error = format!("{} cannot be asked with {method}", uri.path());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, error, format!("{API_ROOT}/openapi.json lists the methods"))
}
