//! The envelope of every answer: `{"status":"success","data":…}`, or what is wrong.

use crate::handle::HandleError;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What kind of refusal it is, in Prometheus's words; each has its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorType {
    /// 400: a parameter is missing or not understood.
    BadData,
    /// 422: the expression cannot be evaluated, or is over a limit.
    Execution,
    /// 499: the client went away.
    Canceled,
    /// 503: it took too long.
    Timeout,
    /// 503: too much is under way.
    Unavailable,
    /// 500: the collector's own fault.
    Internal,
}

impl ErrorType {
    fn status(self) -> StatusCode {
        match self {
            ErrorType::BadData => StatusCode::BAD_REQUEST,
            ErrorType::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorType::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            ErrorType::Timeout | ErrorType::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorType::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Refusal {
    /// `error`.
    status: &'static str,
    /// What kind of refusal it is.
    #[serde(rename = "errorType")]
    pub(crate) kind: ErrorType,
    /// What is wrong and how to mend it.
    pub(crate) error: String,
}

impl Refusal {
    pub(crate) fn new(kind: ErrorType, error: impl Into<String>) -> Refusal {
        Refusal { status: "error", kind, error: error.into() }
    }

    /// 400: this parameter.
    pub(crate) fn parameter(name: &str, why: impl std::fmt::Display) -> Refusal {
        Refusal::new(ErrorType::BadData, format!("invalid parameter {name:?}: {why}"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let mut response = (status, axum::Json(self)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<HandleError> for Refusal {
    fn from(error: HandleError) -> Refusal {
        let kind = match &error {
            HandleError::Busy | HandleError::Stopping => ErrorType::Unavailable,
            HandleError::Future | HandleError::NotFound(_) | HandleError::NotAllowed | HandleError::TooEarly => {
                ErrorType::BadData
            }
            HandleError::StoreFull | HandleError::Store(_) => ErrorType::Internal,
        };
        Refusal::new(kind, error.to_string())
    }
}

/// A whole answer with its data.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Success<T> {
    /// `success`.
    status: &'static str,
    /// What was asked for.
    data: T,
    /// Why it is not whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl<T> Success<T> {
    pub(crate) fn new(data: T) -> Success<T> {
        Success { status: "success", data, warnings: Vec::new() }
    }

    /// With what somebody must know about it.
    pub(crate) fn warned(data: T, warnings: Vec<String>) -> Success<T> {
        Success { warnings, ..Success::new(data) }
    }
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        axum::Json(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn envelopes_read_as_prometheus_writes_them() {
        assert_eq!(text(&Success::new(["a"])), r#"{"status":"success","data":["a"]}"#);
        let cut = Success::warned(1, vec!["cut".to_owned()]);
        assert_eq!(text(&cut), r#"{"status":"success","data":1,"warnings":["cut"]}"#);
        let refusal = Refusal::parameter("step", "is zero");
        let wanted = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": is zero"}"#;
        assert_eq!(text(&refusal), wanted);
        assert_eq!(refusal.into_response().status(), 400);
        assert_eq!(Refusal::new(ErrorType::Canceled, "").into_response().status(), 499);
        let busy = Refusal::from(HandleError::Busy).into_response();
        assert_eq!((busy.status().as_u16(), busy.headers().contains_key("retry-after")), (503, true));
    }
}
