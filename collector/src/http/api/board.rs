//! Present state: every answer is one look at one board.

use crate::http::App;
use crate::http::auth::Who;
use crate::http::error::Failure;
use crate::http::extract::{Params, Segments};
use crate::http::filter::{StateFilter, StatusFilter};
use crate::http::scope::Sight;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use signalbox_access::{Caller, Permission};
use signalbox_engine::board::{Board, Filter};
use signalbox_proto::api::{Agent, ApiError, Incident, Snooze, Status};
use utoipa::IntoParams;

/// Incidents in one answer.
const INCIDENTS_MAX: usize = 1000;
/// Incidents in one answer when nothing is said.
const INCIDENTS_DEFAULT: usize = 100;

/// The board: what is red, amber, green and grey, worst first, and why.
#[utoipa::path(get, path = "/api/signalbox/v1/status", params(StatusFilter), responses(
    (status = 200, description = "the board, or the part that was asked for", body = Status),
    (status = 400, description = "a parameter is unknown or malformed", body = ApiError),
))]
pub(crate) async fn status(
    State(app): State<App>,
    Who(caller): Who,
    Params(filter): Params<StatusFilter>,
) -> Json<Status> {
    Json(current(&app, &caller, &app.handle.board(), &filter.into()))
}

/// The board's part with the collector's own problems, as this caller sees it.
pub(crate) fn current(app: &App, caller: &Caller, board: &Board, filter: &Filter) -> Status {
    let mut status = board.status_of(filter);
    status.problems.extend(app.handle.problems());
    Sight::new(caller, board).status(status)
}

/// Agents: who is up, who is not, and since when.
#[utoipa::path(get, path = "/api/signalbox/v1/agents", params(NoParams), responses(
    (status = 200, description = "agents, worst first", body = Vec<Agent>),
    (status = 400, description = "a parameter is unknown", body = ApiError),
))]
pub(crate) async fn agents(State(app): State<App>, Who(caller): Who, Params(_): Params<NoParams>) -> Json<Vec<Agent>> {
    Json(Sight::new(&caller, &app.handle.board()).agents())
}

/// For routes without parameters: a misplaced one is named.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// Which incidents.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncidentParams {
    /// Where they stand; open when nothing is said.
    #[serde(default)]
    #[param(inline)]
    state: StateFilter,
    /// At most so many, 1 to 1000; 100 when nothing is said.
    limit: Option<usize>,
}

/// Incidents, newest first, without timeline and ledger.
#[utoipa::path(get, path = "/api/signalbox/v1/incidents", params(IncidentParams), responses(
    (status = 200, description = "incidents", body = Vec<Incident>),
    (status = 400, description = "a parameter is unknown or malformed", body = ApiError),
))]
pub(crate) async fn incidents(
    State(app): State<App>,
    Who(caller): Who,
    Params(params): Params<IncidentParams>,
) -> Result<Json<Vec<Incident>>, Failure> {
    let limit = params.limit.unwrap_or(INCIDENTS_DEFAULT);
    if !(1..=INCIDENTS_MAX).contains(&limit) {
        let error = format!("limit {limit} is not between 1 and {INCIDENTS_MAX}");
        return Err(Failure::bad(error, "ask for fewer, or by state"));
    }
    let board = app.handle.board();
    let sight = Sight::new(&caller, &board);
    let is_wanted = |one: &&Incident| params.state.accepts(one) && sight.sees_incident(Permission::ReadIncidents, one);
    let mut wanted: Vec<&Incident> = board.incidents.iter().filter(is_wanted).collect();
    wanted.sort_by_key(|incident| std::cmp::Reverse(incident.number));
    let short = |incident: &Incident| Incident { timeline: Vec::new(), ledger: Vec::new(), ..incident.clone() };
    Ok(Json(wanted.into_iter().take(limit).map(short).collect()))
}

/// One incident with its timeline and every notice sent or not sent.
#[utoipa::path(get, path = "/api/signalbox/v1/incidents/{n}", params(("n" = u64, Path, description = "17 for INC-17")), responses(
    (status = 200, description = "the incident", body = Incident),
    (status = 404, description = "there is no such incident", body = ApiError),
))]
pub(crate) async fn incident(
    State(app): State<App>,
    Who(caller): Who,
    Segments(number): Segments<u64>,
    Params(_): Params<NoParams>,
) -> Result<Json<Incident>, Failure> {
    find(&app, &caller, Permission::ReadIncidents, number).map(Json)
}

/// The incident of this number, if it is in sight.
pub(crate) fn find(app: &App, caller: &Caller, permission: Permission, number: u64) -> Result<Incident, Failure> {
    let board = app.handle.board();
    let sight = Sight::new(caller, &board);
    let found = board.incident(number).filter(|incident| sight.sees_incident(permission, incident));
    let absent = || Failure::absent(format!("there is no incident INC-{number}"), "signalbox incidents lists them");
    found.cloned().ok_or_else(|| app.out_of_sight(caller, permission, &format!("INC-{number}"), absent()))
}

/// Which snoozes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnoozeParams {
    /// True: also those that are over.
    #[serde(default)]
    all: bool,
}

/// Snoozes: who asked not to be told about what, why and until when.
#[utoipa::path(get, path = "/api/signalbox/v1/snoozes", params(SnoozeParams), responses(
    (status = 200, description = "snoozes, newest first", body = Vec<Snooze>),
    (status = 400, description = "a parameter is unknown or malformed", body = ApiError),
))]
pub(crate) async fn snoozes(
    State(app): State<App>,
    Who(caller): Who,
    Params(params): Params<SnoozeParams>,
) -> Json<Vec<Snooze>> {
    let now = app.handle.now();
    let board = app.handle.board();
    let sight = Sight::new(&caller, &board);
    let in_force = |snooze: &&Snooze| params.all || (snooze.ended.is_none() && snooze.until > now);
    let in_sight = |snooze: &&Snooze| sight.sees_snooze(Permission::ReadIncidents, snooze);
    let mut wanted: Vec<Snooze> = board.snoozes.iter().filter(in_force).filter(in_sight).cloned().collect();
    wanted.sort_by_key(|snooze| std::cmp::Reverse(snooze.id));
    Json(wanted)
}
