//! Rules and channels: check, reload, test.

use crate::http::App;
use crate::http::api::board::NoParams;
use crate::http::auth::Who;
use crate::http::error::Failure;
use crate::http::extract::{Body, Empty, Params, Segments};
use crate::http::scope::series_in_sight;
use axum::Json;
use axum::extract::State;
use signalbox_access::Permission;
use signalbox_access::event::Record;
use signalbox_proto::api::{ApiError, Done, NotifyTest, RulesReport, RulesToCheck};

/// What a set of rule files would be found to be, against the series that exist
/// now. Changes nothing.
#[utoipa::path(post, path = "/api/signalbox/v1/rules/check", request_body = RulesToCheck, responses(
    (status = 200, description = "findings, errors first; no error means that the files would be taken", body = RulesReport),
    (status = 400, description = "the body is malformed", body = ApiError),
    (status = 413, description = "the files are over 1 MiB together", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn check_rules(
    State(app): State<App>,
    Who(caller): Who,
    Body(rules): Body<RulesToCheck>,
) -> Json<RulesReport> {
    let sees = series_in_sight(caller, app.handle.board(), Permission::CheckRules);
    Json(app.handle.check_rules(rules.files, sees).await)
}

/// Read rules, entities, routes and channels again; on any error the old ones stay
/// in force.
#[utoipa::path(post, path = "/api/signalbox/v1/reload", responses(
    (status = 200, description = "in force", body = Done),
    (status = 415, description = "a content type other than application/json", body = ApiError),
    (status = 422, description = "the files are refused, with what is wrong where", body = ApiError),
))]
pub(crate) async fn reload(State(app): State<App>, Who(caller): Who, _: Empty) -> Result<Json<Done>, Failure> {
    let record = |after: String, result: String| {
        let (act, object) = ("reload".to_owned(), "configuration".to_owned());
        Record { act, object, after, result, ..Record::default() }
    };
    // On record before it is done: whoever hangs up meanwhile leaves no answer, and a reload all the same.
    app.record(&caller, record(String::new(), "begins".to_owned())).await?;
    let outcome = app.handle.reload().await.map_err(|findings| Failure::findings(&findings));
    let (after, result) = match &outcome {
        Ok(version) => (version.clone(), "done".to_owned()),
        Err(failure) => (String::new(), format!("refused: {}", failure.error)),
    };
    app.record(&caller, record(after, result)).await?;
    Ok(Json(Done { done: format!("rules version {} is in force", outcome?), id: None }))
}

/// Send a marked message by a channel, the way that any notice takes.
#[utoipa::path(post, path = "/api/signalbox/v1/notify/test/{channel}",
    params(("channel" = String, Path, description = "channel name")), responses(
    (status = 200, description = "what the server said, accepted or not", body = NotifyTest),
    (status = 404, description = "there is no such channel", body = ApiError),
    (status = 415, description = "a content type other than application/json", body = ApiError),
))]
pub(crate) async fn test_channel(
    State(app): State<App>,
    Who(caller): Who,
    Segments(channel): Segments<String>,
    _: Empty,
) -> Result<Json<NotifyTest>, Failure> {
    let known = app.notifiers.names();
    if known.contains(&channel) {
        let record = |result: String| {
            let (act, object) = ("test channel".to_owned(), format!("channel:{channel}"));
            Record { act, object, result, ..Record::default() }
        };
        // It goes to real people: on record before it does, and again with what came of it.
        app.record(&caller, record("begins".to_owned())).await?;
        let test = app.notifiers.test(&channel).await;
        let result = test.as_ref().map_or_else(|| "there is no such channel any more".to_owned(), outcome);
        app.record(&caller, record(result)).await?;
        if let Some(test) = test {
            return Ok(Json(test));
        }
    }
    let remedy = match known.as_slice() {
        [] => "no configuration file names a channel".to_owned(),
        names => format!("there are {}", names.join(", ")),
    };
    Err(Failure::absent(format!("there is no channel {channel}"), remedy))
}

/// A test's end, for the audit.
fn outcome(test: &NotifyTest) -> String {
    let word = if test.accepted { "accepted" } else { "not accepted" };
    format!("{word}: {}", test.answer)
}

/// Names of the channels in force.
#[utoipa::path(get, path = "/api/signalbox/v1/notify/channels", responses(
    (status = 200, description = "names, sorted", body = Vec<String>),
    (status = 400, description = "a parameter is unknown", body = ApiError),
))]
pub(crate) async fn channels(State(app): State<App>, Params(_): Params<NoParams>) -> Json<Vec<String>> {
    Json(app.notifiers.names())
}
