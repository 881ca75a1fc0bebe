//! Refusals: every answer of the API that is not 2xx is an [`ApiError`] that says
//! what, where and how to mend it.

use crate::handle::HandleError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use signalbox_engine::decision::CommandError;
use signalbox_proto::api::{ApiError, Finding};
use signalbox_proto::units::Millis;

/// Seconds after which a busy collector may be asked again.
const RETRY_AFTER_SECS: u64 = 1;

/// A status and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) remedy: String,
    /// When to come back; none: [`RETRY_AFTER_SECS`] where that makes sense.
    retry_after_secs: Option<u64>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>, remedy: impl Into<String>) -> Failure {
        Failure { status, error: error.into(), remedy: remedy.into(), retry_after_secs: None }
    }

    /// 429: not before `wait` is over.
    pub(crate) fn too_soon(error: &str, wait: Millis, remedy: &str) -> Failure {
        let secs = wait.0.div_ceil(1000);
        let error = format!("{error}; try again in {secs} s");
        Failure { retry_after_secs: Some(secs), ..Failure::new(StatusCode::TOO_MANY_REQUESTS, error, remedy) }
    }

    /// 400: the request cannot be understood or asks for what cannot be.
    pub(crate) fn bad(error: impl Into<String>, remedy: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, error, remedy)
    }

    /// 404.
    pub(crate) fn absent(error: impl Into<String>, remedy: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, error, remedy)
    }

    /// 422: the collector's own files are refused; the old ones stay in force.
    pub(crate) fn findings(findings: &[Finding]) -> Failure {
        let line = |f: &Finding| {
            // The lines after the first show the place: what to do stands before them.
            let (message, snippet) = f.message.split_once('\n').unwrap_or((&f.message, ""));
            let remedy = if f.remedy.is_empty() { String::new() } else { format!(" ({})", f.remedy) };
            let end = if snippet.is_empty() { "" } else { "\n" };
            format!("{}{message}{remedy}{end}{snippet}", f.place())
        };
        let lines: Vec<String> = findings.iter().filter(|f| f.error).map(line).collect();
        let remedy = "mend the files and reload again; what was in force stays in force";
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, lines.join("\n"), remedy)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let busy = matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let body = Json(ApiError { error: self.error, remedy: self.remedy });
        let mut response = (self.status, body).into_response();
        if busy {
            let secs = self.retry_after_secs.unwrap_or(RETRY_AFTER_SECS);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}

impl From<HandleError> for Failure {
    fn from(error: HandleError) -> Failure {
        let (status, remedy) = match &error {
            HandleError::Future => (StatusCode::BAD_REQUEST, "leave the instant out for now"),
            HandleError::NotAllowed => (StatusCode::FORBIDDEN, "log in again"),
            HandleError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "try again in a moment"),
            HandleError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "try again when the collector is back"),
            HandleError::StoreFull => (StatusCode::INSUFFICIENT_STORAGE, "free space on the collector's volume"),
            HandleError::TooEarly => (
                StatusCode::NOT_FOUND,
                "give a later instant, or none; signalbox status --all shows since when items are judged",
            ),
            HandleError::NotFound(_) => (StatusCode::NOT_FOUND, "signalbox status lists what there is"),
            HandleError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "look into the collector's log"),
        };
        Failure::new(status, error.to_string(), remedy)
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Failure {
        let (status, remedy) = match &error {
            CommandError::NotFound(_) => {
                (StatusCode::NOT_FOUND, "signalbox status, incidents and agents list what there is")
            }
            CommandError::Conflict(_) => (StatusCode::CONFLICT, "look at its present state first"),
            CommandError::Invalid(_) => (StatusCode::BAD_REQUEST, "mend the field and send it again"),
        };
        Failure::new(status, error.to_string(), remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_their_place_and_leave_warnings_out() {
        let finding = |error, line| Finding {
            error,
            file: "rules/a.yaml".to_owned(),
            line,
            column: 3,
            message: "unknown key".to_owned(),
            remedy: "remove it".to_owned(),
        };
        let failure = Failure::findings(&[finding(true, 7), finding(false, 9)]);
        assert_eq!(failure.error, "rules/a.yaml:7:3: unknown key (remove it)");
        let shown = Finding { message: "unknown key\n7 | rde: x\n  | ^".to_owned(), ..finding(true, 7) };
        assert_eq!(Failure::findings(&[shown]).error, "rules/a.yaml:7:3: unknown key (remove it)\n7 | rde: x\n  | ^");
    }

    #[test]
    fn busy_says_when_to_come_back() {
        let response = Failure::from(HandleError::Busy).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
