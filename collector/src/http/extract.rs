//! Strict reading of requests: what is not understood is refused, never ignored.

use crate::http::error::Failure;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

/// Query parameters. `T` denies unknown fields, so that a misspelt one is named.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Params(params)),
            Err(refused) => {
                let text = refused.body_text();
                let error = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                let remedy = "GET /api/signalbox/v1/openapi.json lists the parameters of every route";
                Err(Failure::bad(format!("query of {}: {error}", parts.uri.path()), remedy))
            }
        }
    }
}

/// The variable parts of the path.
pub(crate) struct Segments<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Segments(segments)),
            Err(refused) => {
                let error = format!("path {}: {}", parts.uri.path(), refused.body_text());
                Err(Failure::bad(error, "incidents and snoozes are numbers: INC-17 is 17"))
            }
        }
    }
}

/// A JSON body, content type included: a form of some other site cannot send that.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        if !is_json(request.headers()) {
            return Err(not_json(request.headers()));
        }
        let bytes = read(request, state).await?;
        serde_json::from_slice(&bytes).map(Body).map_err(|error| {
            // serde_json ends its message with "at line 3 column 7".
            Failure::bad(format!("body: {error}"), "send JSON as /api/signalbox/v1/openapi.json describes it")
        })
    }
}

/// A change of state that needs no words: no body, and no content type but JSON's.
pub(crate) struct Empty;

impl<S: Send + Sync> FromRequest<S> for Empty {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        if request.headers().contains_key(header::CONTENT_TYPE) && !is_json(request.headers()) {
            return Err(not_json(request.headers()));
        }
        let path = request.uri().path().to_owned();
        let bytes = read(request, state).await?;
        if bytes.trim_ascii().is_empty() || bytes.trim_ascii() == b"{}" {
            return Ok(Empty);
        }
        Err(Failure::bad(format!("{path} takes no body"), "send none"))
    }
}

/// Bytes that a body may have; in every request, for whoever must name the limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimit(pub(crate) usize);

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    let limit = request.extensions().get::<BodyLimit>().map_or(0, |limit| limit.0);
    Bytes::from_request(request, state).await.map_err(|refused| {
        if refused.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let error = format!("body is over the limit of {limit} bytes");
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send less at a time")
        } else {
            Failure::bad(format!("body: {}", refused.body_text()), "send the whole body")
        }
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn not_json(headers: &HeaderMap) -> Failure {
    let error = match headers.get(header::CONTENT_TYPE) {
        Some(other) => format!("content type {other:?} is not application/json"),
        None => "there is no content type".to_owned(),
    };
    Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error, "send content-type: application/json")
}
