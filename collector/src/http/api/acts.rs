//! What operators do. Each act becomes one command; its answer comes after the
//! commit that holds it, so what was answered survives any crash.

use crate::http::App;
use crate::http::api::board::find;
use crate::http::auth::Who;
use crate::http::error::Failure;
use crate::http::extract::{Body, Segments};
use crate::http::scope::Sight;
use axum::Json;
use axum::extract::State;
use signalbox_access::{Caller, Permission};
use signalbox_engine::decision::CommandError;
use signalbox_engine::event::Act;
use signalbox_proto::api::{self, ApiError, Done, IncidentAct, NewSnooze};
use signalbox_proto::names::AgentId;
use signalbox_proto::selector::Selector;
use signalbox_proto::text::parse_span;

/// Characters of a name of a person or team.
const NAME_MAX_CHARS: usize = 128;
/// Characters of a note, a reason or a scope.
const TEXT_MAX_CHARS: usize = 4096;

/// Items that one snooze of a scoped user lists.
const SNOOZED_ITEMS_MAX: usize = 500;

/// What somebody does, in their own name.
async fn command(app: &App, caller: Caller, act: Act) -> Result<Json<Done>, Failure> {
    let asked = act.clone();
    let answer = app.handle.command(caller, act).await?;
    answer.map(Json).map_err(|error| {
        let remedy = remedy(&asked, &error);
        let mut failure = Failure::from(error);
        failure.remedy = remedy;
        failure
    })
}

/// Refuses to act on an incident that is out of sight as on one that does not exist.
fn in_reach(app: &App, caller: &Caller, number: u64) -> Result<(), Failure> {
    if Sight::new(caller, &app.handle.board()).is_whole() {
        // The engine knows every incident, also those that the board shows no more.
        return Ok(());
    }
    find(app, caller, Permission::ActIncidents, number).map(|_| ())
}

/// How to mend what the engine refused: each act has its own cure.
fn remedy(act: &Act, error: &CommandError) -> String {
    use CommandError::{Conflict, Invalid, NotFound};
    let number = match act {
        Act::Acknowledge { incident, .. }
        | Act::Assign { incident, .. }
        | Act::Note { incident, .. }
        | Act::Close { incident, .. } => *incident,
        Act::Snooze { .. } | Act::EndSnooze { .. } | Act::RetireAgent { .. } => 0,
    };
    match (act, error) {
        (Act::RetireAgent { .. }, NotFound(_)) => "signalbox agents lists them".to_owned(),
        (Act::RetireAgent { agent, .. }, Conflict(_)) => {
            format!("stop the agent on {agent} for good, then retire it; signalbox agents shows its state")
        }
        (Act::EndSnooze { .. }, NotFound(_) | Conflict(_)) => "signalbox snooze list shows those in force".to_owned(),
        (Act::Snooze { .. }, Conflict(_)) => "signalbox snooze list, then signalbox snooze end ID".to_owned(),
        (Act::Snooze { .. }, _) => {
            "name an item or entity as signalbox status prints it, or series: {host=\"web1\"}; and a span like 2h"
                .to_owned()
        }
        (Act::Close { .. }, Conflict(_)) => {
            format!("signalbox incidents show {number}; what is still bad closes as noisy or false only")
        }
        (Act::Close { .. }, Invalid(_)) => "say why it was noisy or false: \"text\": \"nightly job\"".to_owned(),
        (_, NotFound(_)) => "signalbox incidents list --state all shows their numbers".to_owned(),
        (_, Conflict(_)) => format!("signalbox incidents show {number} tells where it stands and who has it"),
        (_, Invalid(_)) => "mend what it names and send it again".to_owned(),
    }
}

/// A name: something, on one line, not endless.
fn name(field: &str, value: &str) -> Result<String, Failure> {
    let value = value.trim();
    if value.is_empty() || value.chars().any(char::is_control) || value.chars().count() > NAME_MAX_CHARS {
        let error = format!("{field} must be 1 to {NAME_MAX_CHARS} characters on one line");
        return Err(Failure::bad(error, format!("say who: \"{field}\": \"ada\"")));
    }
    Ok(value.to_owned())
}

/// Words: not endless; empty only where `needed` is false.
fn words(field: &str, value: String, needed: bool) -> Result<String, Failure> {
    if needed && value.trim().is_empty() {
        let example = match field {
            "scope" => "say about what: \"scope\": \"host/web1\"",
            "reason" => "say why, for those who come after: \"reason\": \"disk is being replaced\"",
            _ => "write the line: \"text\": \"called the DBA\"",
        };
        return Err(Failure::bad(format!("{field} is empty"), example));
    }
    if value.chars().count() > TEXT_MAX_CHARS {
        let error = format!("{field} is over the limit of {TEXT_MAX_CHARS} characters");
        return Err(Failure::bad(error, "say it shorter, link to the rest"));
    }
    Ok(value)
}

/// The host was taken away: its agent is hidden, its incident closed, its history kept.
#[utoipa::path(post, path = "/api/signalbox/v1/agents/{id}/retire", request_body = api::Act,
    params(("id" = String, Path, description = "agent id")), responses(
    (status = 200, description = "retired", body = Done),
    (status = 404, description = "there is no such agent", body = ApiError),
    (status = 409, description = "its state does not allow this", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn retire(
    State(app): State<App>,
    Who(caller): Who,
    Segments(id): Segments<String>,
    Body(act): Body<api::Act>,
) -> Result<Json<Done>, Failure> {
    let agent = AgentId::parse(&id).map_err(|error| Failure::bad(error.to_string(), "signalbox agents lists them"))?;
    let reason = words("reason", act.reason, false)?;
    let board = app.handle.board();
    let sight = Sight::new(&caller, &board);
    let is_seen = board.agents.iter().any(|one| one.id == agent && sight.sees_agent(Permission::RetireAgents, one));
    if !sight.is_whole() && !is_seen {
        let absent = Failure::absent(format!("there is no agent {agent}"), "signalbox agents lists them");
        return Err(app.out_of_sight(&caller, Permission::RetireAgents, &format!("agent:{agent}"), absent));
    }
    command(&app, caller, Act::RetireAgent { agent, reason }).await
}

/// Acknowledge: I have it. Stops escalation, not updates.
#[utoipa::path(post, path = "/api/signalbox/v1/incidents/{n}/ack", request_body = IncidentAct,
    params(("n" = u64, Path, description = "17 for INC-17")), responses(
    (status = 200, description = "acknowledged", body = Done),
    (status = 404, description = "there is no such incident", body = ApiError),
    (status = 409, description = "its state does not allow this", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Who(caller): Who,
    Segments(incident): Segments<u64>,
    Body(act): Body<IncidentAct>,
) -> Result<Json<Done>, Failure> {
    in_reach(&app, &caller, incident)?;
    only(&act, "ack", false, false)?;
    let text = words("text", act.text, false)?;
    command(&app, caller, Act::Acknowledge { incident, text }).await
}

/// Assign: somebody has it.
#[utoipa::path(post, path = "/api/signalbox/v1/incidents/{n}/assign", request_body = IncidentAct,
    params(("n" = u64, Path, description = "17 for INC-17")), responses(
    (status = 200, description = "assigned", body = Done),
    (status = 400, description = "assignee is missing", body = ApiError),
    (status = 404, description = "there is no such incident", body = ApiError),
    (status = 409, description = "its state does not allow this", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn assign(
    State(app): State<App>,
    Who(caller): Who,
    Segments(incident): Segments<u64>,
    Body(act): Body<IncidentAct>,
) -> Result<Json<Done>, Failure> {
    in_reach(&app, &caller, incident)?;
    only(&act, "assign", true, false)?;
    let (assignee, text) = (name("assignee", &act.assignee)?, words("text", act.text, false)?);
    command(&app, caller, Act::Assign { incident, assignee, text }).await
}

/// Note: words for the timeline.
#[utoipa::path(post, path = "/api/signalbox/v1/incidents/{n}/note", request_body = IncidentAct,
    params(("n" = u64, Path, description = "17 for INC-17")), responses(
    (status = 200, description = "noted", body = Done),
    (status = 400, description = "text is missing", body = ApiError),
    (status = 404, description = "there is no such incident", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn note(
    State(app): State<App>,
    Who(caller): Who,
    Segments(incident): Segments<u64>,
    Body(act): Body<IncidentAct>,
) -> Result<Json<Done>, Failure> {
    in_reach(&app, &caller, incident)?;
    only(&act, "note", false, false)?;
    let text = words("text", act.text, true)?;
    command(&app, caller, Act::Note { incident, text }).await
}

/// Close: labelled and done.
#[utoipa::path(post, path = "/api/signalbox/v1/incidents/{n}/close", request_body = IncidentAct,
    params(("n" = u64, Path, description = "17 for INC-17")), responses(
    (status = 200, description = "closed", body = Done),
    (status = 400, description = "label is missing", body = ApiError),
    (status = 404, description = "there is no such incident", body = ApiError),
    (status = 409, description = "it is still bad and was not labelled false or noisy", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn close(
    State(app): State<App>,
    Who(caller): Who,
    Segments(incident): Segments<u64>,
    Body(act): Body<IncidentAct>,
) -> Result<Json<Done>, Failure> {
    in_reach(&app, &caller, incident)?;
    only(&act, "close", false, true)?;
    let Some(label) = act.label else {
        return Err(Failure::bad("label is missing", "say \"label\": \"real\", \"false\" or \"noisy\""));
    };
    let text = words("text", act.text, false)?;
    command(&app, caller, Act::Close { incident, label, text }).await
}

/// A field that the act does not use is a mistake, not decoration.
fn only(act: &IncidentAct, verb: &str, assignee: bool, label: bool) -> Result<(), Failure> {
    let stray = match act {
        IncidentAct { assignee: given, .. } if !assignee && !given.is_empty() => "assignee",
        IncidentAct { label: Some(_), .. } if !label => "label",
        _ => return Ok(()),
    };
    Err(Failure::bad(format!("{verb} takes no {stray}"), "leave it out, or act with another verb"))
}

/// Snooze: tell nobody about what is in scope, until a time.
#[utoipa::path(post, path = "/api/signalbox/v1/snoozes", request_body = NewSnooze, responses(
    (status = 200, description = "snoozed; id is the snooze's", body = Done),
    (status = 400, description = "scope, span or reason is missing or malformed", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn snooze(
    State(app): State<App>,
    Who(caller): Who,
    Body(new): Body<NewSnooze>,
) -> Result<Json<Done>, Failure> {
    let span = parse_span(&new.span)
        .map_err(|error| Failure::bad(format!("for: {error}"), "say for how long: \"for\": \"2h\""))?;
    let (scope, reason) = (words("scope", new.scope, true)?, words("reason", new.reason, true)?);
    let board = app.handle.board();
    let sight = Sight::new(&caller, &board);
    let only = match part_in_reach(&sight, &scope) {
        Ok(only) => only,
        Err(refused) => return Err(app.out_of_sight(&caller, Permission::Snooze, &scope, refused)),
    };
    command(&app, caller, Act::Snooze { scope, only, span, reason }).await
}

/// The items that a snooze is bound to; none: all of what it names is in reach, now and
/// later. A selector may match anything tomorrow, so whoever has a scope snoozes by it
/// the items that it matches within that scope today.
fn part_in_reach(sight: &Sight<'_>, scope: &str) -> Result<Vec<String>, Failure> {
    if sight.is_whole() || sight.covers(Permission::Snooze, scope) {
        return Ok(Vec::new());
    }
    let selector = Selector::parse(scope).ok();
    let items = selector.map(|selector| sight.items_of(Permission::Snooze, &selector)).unwrap_or_default();
    if items.is_empty() {
        let error = format!("{scope:?} names nothing that lies wholly within your scope, {}", sight.scope());
        let remedy = "name an item, an entity of which everything below is in your scope, or a selector of items in it; \
                      signalbox status --all lists what you see";
        return Err(Failure::absent(error, remedy));
    }
    if items.len() > SNOOZED_ITEMS_MAX {
        let error =
            format!("{scope:?} matches {} items of your scope, over the limit of {SNOOZED_ITEMS_MAX}", items.len());
        return Err(Failure::bad(error, "name an entity, or a narrower selector"));
    }
    Ok(items.into_iter().map(|item| item.id.clone()).collect())
}

/// End a snooze early.
#[utoipa::path(delete, path = "/api/signalbox/v1/snoozes/{id}", request_body = api::Act,
    params(("id" = u64, Path, description = "snooze id")), responses(
    (status = 200, description = "ended", body = Done),
    (status = 404, description = "there is no such snooze", body = ApiError),
    (status = 409, description = "it is over already", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn end_snooze(
    State(app): State<App>,
    Who(caller): Who,
    Segments(id): Segments<u64>,
    Body(act): Body<api::Act>,
) -> Result<Json<Done>, Failure> {
    let reason = words("reason", act.reason, false)?;
    let board = app.handle.board();
    let sight = Sight::new(&caller, &board);
    let is_seen = board.snoozes.iter().any(|one| one.id == id && sight.sees_snooze(Permission::Snooze, one));
    if !sight.is_whole() && !is_seen {
        let absent = Failure::absent(format!("there is no snooze {id}"), "signalbox snooze list lists them");
        return Err(app.out_of_sight(&caller, Permission::Snooze, &format!("snooze:{id}"), absent));
    }
    command(&app, caller, Act::EndSnooze { id, reason }).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_access::{Principal, Role, Scope};
    use signalbox_proto::units::Millis;

    #[test]
    fn each_act_names_its_own_cure() {
        let agent = AgentId::parse("web1").unwrap();
        let retire = Act::RetireAgent { agent, reason: String::new() };
        let snooze = Act::Snooze { scope: "x".to_owned(), only: Vec::new(), span: Millis(1), reason: "r".to_owned() };
        let end = Act::EndSnooze { id: 3, reason: String::new() };
        let ack = Act::Acknowledge { incident: 17, text: String::new() };
        let close = Act::Close { incident: 17, label: api::IncidentLabel::Noisy, text: String::new() };
        let words = String::new;
        for (act, error, wanted) in [
            (&retire, CommandError::NotFound(words()), "signalbox agents lists"),
            (&retire, CommandError::Conflict(words()), "stop the agent on web1"),
            (&snooze, CommandError::Invalid(words()), "item or entity as signalbox status prints it"),
            (&snooze, CommandError::Conflict(words()), "snooze end ID"),
            (&end, CommandError::NotFound(words()), "snooze list"),
            (&ack, CommandError::NotFound(words()), "incidents list --state all"),
            (&ack, CommandError::Conflict(words()), "incidents show 17"),
            (&close, CommandError::Invalid(words()), "say why it was noisy"),
            (&close, CommandError::Conflict(words()), "closes as noisy or false"),
        ] {
            let said = remedy(act, &error);
            assert!(said.contains(wanted), "{act:?} {error:?}: {said}");
        }
    }

    #[test]
    fn a_selector_of_a_scoped_user_snoozes_the_items_of_the_scope_and_nothing_that_comes_later() {
        let board = crate::http::testing::board();
        let part = |scope: &[&str], what: &str| {
            let scope: Vec<String> = scope.iter().map(|text| (*text).to_owned()).collect();
            let scope = Scope::parse(&scope).unwrap();
            let principal = Principal { scope, ..Principal::local("ada", Role::Operator) };
            let caller = Caller::new(principal, "unix:uid=1000");
            part_in_reach(&Sight::new(&caller, &board), what)
        };
        let dba: &[&str] = &["{owner=\"dba\"}"];
        let disks = "node_filesystem_avail_bytes{mountpoint=\"/\"}";
        assert_eq!(part(dba, disks).unwrap(), ["host/db1:filesystem-full{mountpoint=\"/\"}"]);
        assert_eq!(part(&[], disks).unwrap(), [""; 0], "whoever sees all snoozes what comes later, too");
        assert_eq!(part(dba, "host/db1").unwrap(), [""; 0]);
        for outside in ["host/web1", "node_load1", "{evil=~\".+\"}", "host/nothing"] {
            let failure = part(dba, outside).unwrap_err();
            assert_eq!(failure.status, 404, "{outside}");
            assert!(failure.error.contains("your scope, {owner=\"dba\"}"), "{failure:?}");
        }
    }
}
