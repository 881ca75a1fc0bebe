//! Who asks: log in, log out, one's own password; and how the collector is.

use crate::http::App;
use crate::http::api::board::NoParams;
use crate::http::auth::{Visitor, Who};
use crate::http::door::wrong_login;
use crate::http::error::Failure;
use crate::http::extract::{Body, Empty, Params};
use crate::http::password::weakness;
use crate::http::peer::Peer;
use crate::http::secret::{self, Fresh, Prefix};
use crate::http::throttle::Tried;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use signalbox_access::event::{Denial, NewUserToken, PasswordHash};
use signalbox_access::{AccessAct, Caller, Granted, Principal, PrincipalKind};
use signalbox_proto::api::{ApiError, Done, Login, Made, NewPassword, SelfReport, WhoAmI};
use signalbox_proto::units::Millis;

/// A login of a tool lasts this long.
const LOGIN_TOKEN_LIFE: Millis = Millis::from_mins(90 * 24 * 60);
/// Bytes of the purpose of a token.
const PURPOSE_MAX_BYTES: usize = 64;

/// Who asks, as the collector sees it.
#[utoipa::path(get, path = "/api/signalbox/v1/whoami", params(NoParams), responses(
    (status = 200, description = "name, role, permissions, scope", body = WhoAmI),
    (status = 401, description = "nobody is logged in", body = ApiError),
))]
pub(crate) async fn whoami(Who(caller): Who, Params(_): Params<NoParams>) -> Json<WhoAmI> {
    let Caller { principal, from } = caller;
    let mut permissions: Vec<String> = principal.permissions.iter().map(|one| one.word().to_owned()).collect();
    permissions.sort();
    Json(WhoAmI {
        name: principal.name,
        kind: principal.kind.word().to_owned(),
        role: principal.role,
        permissions,
        scope: principal.scope.selectors(),
        from,
    })
}

/// A name and a password for an API token of that user, good for 90 days.
#[utoipa::path(post, path = "/api/signalbox/v1/login", request_body = Login, responses(
    (status = 200, description = "the token, told once", body = Made),
    (status = 401, description = "name or password is wrong", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
    (status = 429, description = "too many logins failed; Retry-After says when to come back", body = ApiError),
))]
pub(crate) async fn login(
    State(app): State<App>,
    visitor: Visitor,
    Body(login): Body<Login>,
) -> Result<Json<Made>, Failure> {
    let verified = verify(&app, &visitor.peer, &login.name, login.password).await?;
    let fresh = Fresh::make()?;
    let id = secret::id()?;
    let purpose: String = login.purpose.chars().filter(|c| c.is_ascii_graphic()).take(PURPOSE_MAX_BYTES).collect();
    let token = NewUserToken {
        user: login.name,
        verified,
        id: id.clone(),
        secret: fresh.hash,
        purpose: if purpose.is_empty() { "login".to_owned() } else { purpose },
        life: LOGIN_TOKEN_LIFE,
    };
    let nobody = Caller::new(Principal::nobody(), visitor.peer.to_string());
    let granted = app.access(&nobody, AccessAct::LoginToken(token)).await?;
    let expires = match granted {
        Granted::Made { expires, .. } => expires,
        _ => app.handle.now() + LOGIN_TOKEN_LIFE,
    };
    Ok(Json(Made { id, secret: fresh.text(Prefix::Api), expires, command: String::new() }))
}

/// The hash that a password was found to be right against. The same refusal, after
/// the same work, whatever was wrong.
pub(crate) async fn verify(app: &App, peer: &Peer, name: &str, password: String) -> Result<PasswordHash, Failure> {
    let (address, now) = (peer.throttle_key(), app.door.settings.clock.mono());
    let nobody = Caller::new(Principal::nobody(), peer.to_string());
    let denial = |why: &str| Denial { act: "log in".to_owned(), object: format!("user:{name}"), why: why.to_owned() };
    if let Err(wait) = app.door.throttle.begin(Tried::User(name), &address, now) {
        metrics::counter!("signalbox_http_logins_throttled_total").increment(1);
        app.denied(&nobody, denial("too many logins failed"));
        return Err(Failure::too_soon("too many logins failed", wait, "wait, or use a login link"));
    }
    let credential = app.handle.access_view().credential(name);
    let is_disabled = credential.as_ref().is_some_and(|credential| credential.disabled);
    let kept = credential.and_then(|credential| credential.password);
    let is_right = app.door.passwords.verify(kept.as_ref().map(|hash| hash.0.clone()), password).await;
    let is_right = is_right.map_err(broken)?;
    match kept {
        Some(kept) if is_right && !is_disabled => {
            app.door.throttle.succeeded(Tried::User(name), &address, now);
            Ok(kept)
        }
        _ => {
            metrics::counter!("signalbox_http_logins_failed_total").increment(1);
            app.denied(&nobody, denial("name or password is wrong"));
            Err(wrong_login())
        }
    }
}

fn broken(error: impl ToString) -> Failure {
    let error = error.to_string();
    tracing::error!(error, "a password could not be computed");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error, "look into the collector's log")
}

/// A good new password as it is kept.
pub(crate) async fn new_hash(app: &App, user: &str, password: String) -> Result<PasswordHash, Failure> {
    if let Some(why) = weakness(&password, user) {
        return Err(Failure::bad(why, "take several words that do not belong together"));
    }
    app.door.passwords.hash(password).await.map(PasswordHash).map_err(broken)
}

/// The session or the token that asks is refused from now on.
#[utoipa::path(post, path = "/api/signalbox/v1/logout", responses(
    (status = 200, description = "logged out", body = Done),
    (status = 401, description = "nobody is logged in", body = ApiError),
    (status = 409, description = "whoever comes by the Unix socket cannot log out", body = ApiError),
))]
pub(crate) async fn logout(
    State(app): State<App>,
    Who(caller): Who,
    headers: HeaderMap,
    _: Empty,
) -> Result<Json<Done>, Failure> {
    let act = match caller.principal.session {
        Some(session) => AccessAct::EndSession { session },
        None => AccessAct::RevokeApiToken { id: token_id(&app, &headers)? },
    };
    done(app.access(&caller, act).await?)
}

/// The public id of the token that asks.
fn token_id(app: &App, headers: &HeaderMap) -> Result<String, Failure> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value: &HeaderValue| value.to_str().ok());
    let text = value.and_then(|value| value.split_once(' ')).map(|(_, text)| text.trim());
    let hash = text.and_then(|text| secret::hash_of(Prefix::Api, text));
    hash.and_then(|hash| app.handle.access_view().token_id(&hash)).ok_or_else(|| {
        let error = "there is no session and no token to end";
        Failure::new(StatusCode::CONFLICT, error, "the kernel knows you on this socket; nothing is to be done")
    })
}

/// One's own password; ends the other sessions.
#[utoipa::path(post, path = "/api/signalbox/v1/password", request_body = NewPassword, responses(
    (status = 200, description = "changed", body = Done),
    (status = 400, description = "the new password is not good enough", body = ApiError),
    (status = 401, description = "the old password is wrong", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn password(
    State(app): State<App>,
    visitor: Visitor,
    Who(caller): Who,
    Body(new): Body<NewPassword>,
) -> Result<Json<Done>, Failure> {
    change_own(&app, &visitor.peer, &caller, new).await.map(|done| Json(Done { done, id: None }))
}

/// Sets the caller's own password, by the old one where there is one to be shown.
pub(crate) async fn change_own(app: &App, peer: &Peer, caller: &Caller, new: NewPassword) -> Result<String, Failure> {
    let user = caller.principal.name.clone();
    if caller.principal.kind != PrincipalKind::User {
        let error = format!("{user} is no user and has no password");
        return Err(Failure::bad(error, "signalbox users passwd NAME sets a user's"));
    }
    // Without the old one it is allowed where a login link was used just now: the tables know.
    let verified = if new.old.is_empty() { None } else { Some(verify(app, peer, &user, new.old).await?) };
    let hash = new_hash(app, &user, new.new).await?;
    let granted = app.access(caller, AccessAct::SetPassword { user, hash, verified }).await?;
    Ok(words(granted))
}

/// What was done, in words.
pub(crate) fn words(granted: Granted) -> String {
    match granted {
        Granted::Done(done) | Granted::Made { done, .. } => done,
        Granted::Identity { agent, .. } => format!("agent {agent} has an identity"),
        Granted::Waiting { .. } => "waits for approval".to_owned(),
        Granted::Session { user, .. } => format!("{user} is logged in"),
        Granted::Nothing => "nothing had to be done".to_owned(),
    }
}

/// As an answer.
pub(crate) fn done(granted: Granted) -> Result<Json<Done>, Failure> {
    Ok(Json(Done { done: words(granted), id: None }))
}

/// What the collector finds out about itself, for `signalbox doctor`.
#[utoipa::path(get, path = "/api/signalbox/v1/doctor", params(NoParams), responses(
    (status = 200, description = "clock, disk, certificate, problems", body = SelfReport),
    (status = 401, description = "nobody is logged in", body = ApiError),
))]
pub(crate) async fn doctor(State(app): State<App>, Who(caller): Who, Params(_): Params<NoParams>) -> Json<SelfReport> {
    let settings = &app.door.settings;
    let board = app.handle.board();
    let status = crate::http::api::board::current(&app, &caller, &board, &signalbox_engine::board::Filter::default());
    let volume = rustix::fs::statvfs(&settings.data_dir).ok();
    let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
    Json(SelfReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: app.handle.now(),
        ready: app.handle.is_ready(),
        data_dir: settings.data_dir.display().to_string(),
        free_bytes: volume.as_ref().map_or(0, |volume| bytes(volume.f_bavail, volume.f_frsize)),
        volume_bytes: volume.as_ref().map_or(0, |volume| bytes(volume.f_blocks, volume.f_frsize)),
        certificate_not_after: Some(settings.tls.report().server_not_after),
        http_tls: settings.http_tls,
        problems: status.problems,
    })
}
