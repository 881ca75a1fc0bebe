//! Agents' identities: join tokens, approval, revocation, the certificate authority.

use crate::http::App;
use crate::http::api::board::NoParams;
use crate::http::api::own::done;
use crate::http::api::users::span;
use crate::http::auth::Who;
use crate::http::error::Failure;
use crate::http::extract::{Body, Empty, Params, Segments};
use crate::http::secret::{self, Fresh};
use crate::tls::{Tls, TlsError};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use signalbox_access::event::{NewJoinToken as TokenToMake, Record};
use signalbox_access::{AccessAct, Caller, Granted, IpNet, KeyFingerprint};
use signalbox_proto::api::{
    self, AgentIdentity, ApiError, CaReport, Done, JoinToken, Made, NewJoinToken, PendingAgent,
};
use signalbox_proto::join::{self, Fingerprint};
use signalbox_proto::names::{AgentId, Labels};
use std::sync::Arc;

/// Join tokens, the newest first, without their secrets.
#[utoipa::path(get, path = "/api/signalbox/v1/join-tokens", params(NoParams), responses(
    (status = 200, description = "tokens", body = Vec<JoinToken>),
    (status = 403, description = "your role does not allow this", body = ApiError),
))]
pub(crate) async fn join_tokens(State(app): State<App>, Params(_): Params<NoParams>) -> Json<Vec<JoinToken>> {
    Json(app.handle.access_view().join_tokens())
}

/// A token with which agents join.
#[utoipa::path(post, path = "/api/signalbox/v1/join-tokens", request_body = NewJoinToken, responses(
    (status = 200, description = "the token, told once, and the command to run with it", body = Made),
    (status = 400, description = "a field is malformed", body = ApiError),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 409, description = "there are too many", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn new_join_token(
    State(app): State<App>,
    Who(caller): Who,
    Body(new): Body<NewJoinToken>,
) -> Result<Json<Made>, Failure> {
    let (fresh, id) = (Fresh::make()?, secret::id()?);
    let settings = &app.door.settings;
    let token = join::JoinToken::new(&id, fresh.bytes, settings.tls.pin());
    let token = token.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), ""))?;
    let make = to_make(&id, &fresh, &new)?;
    let life = make.life;
    let granted = app.access(&caller, AccessAct::CreateJoinToken(make)).await?;
    let expires = match granted {
        Granted::Made { expires, .. } => expires,
        _ => app.handle.now() + life,
    };
    let command = format!("signalbox-agent join {}", settings.agents_address);
    Ok(Json(Made { id, secret: token.reveal().to_string(), expires, command }))
}

fn to_make(id: &str, fresh: &Fresh, new: &NewJoinToken) -> Result<TokenToMake, Failure> {
    let cidr = |text: &String| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse().map(|ip: std::net::IpAddr| IpNet::from(ip)));
        network.map_err(|_| Failure::bad(format!("{text:?} is no network"), "write for example 192.0.2.0/24"))
    };
    let labels = Labels::new(new.labels.clone()).map_err(|error| Failure::bad(error.to_string(), "mend the label"))?;
    let agent = new.agent.as_deref().map(AgentId::parse_own).transpose();
    Ok(TokenToMake {
        id: id.to_owned(),
        secret: fresh.hash,
        life: span(&new.ttl)?,
        uses: new.uses,
        labels,
        cidrs: new.cidrs.iter().map(cidr).collect::<Result<_, _>>()?,
        agent: agent.map_err(|error| Failure::bad(error.to_string(), "mend the agent's id"))?,
    })
}

/// Nobody joins with it any more.
#[utoipa::path(delete, path = "/api/signalbox/v1/join-tokens/{id}",
    params(("id" = String, Path, description = "token id")), responses(
    (status = 200, description = "revoked", body = Done),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 404, description = "there is no such token", body = ApiError),
))]
pub(crate) async fn revoke_join_token(
    State(app): State<App>,
    Who(caller): Who,
    Segments(id): Segments<String>,
    _: Empty,
) -> Result<Json<Done>, Failure> {
    done(app.access(&caller, AccessAct::RevokeJoinToken { id }).await?)
}

/// Agents that asked to join without a token, the oldest first.
#[utoipa::path(get, path = "/api/signalbox/v1/agents/pending", params(NoParams), responses(
    (status = 200, description = "agents that wait", body = Vec<PendingAgent>),
    (status = 403, description = "your role does not allow this", body = ApiError),
))]
pub(crate) async fn pending(State(app): State<App>, Params(_): Params<NoParams>) -> Json<Vec<PendingAgent>> {
    Json(app.handle.access_view().pending(app.handle.now()))
}

fn key(text: &str) -> Result<KeyFingerprint, Failure> {
    let fingerprint = Fingerprint::parse(text);
    let remedy = "signalbox agents pending lists what waits";
    fingerprint.map(KeyFingerprint::from).map_err(|error| Failure::bad(error.to_string(), remedy))
}

/// Let a waiting agent in.
#[utoipa::path(post, path = "/api/signalbox/v1/agents/pending/{fingerprint}/approve",
    params(("fingerprint" = String, Path, description = "SHA-256 of its key, 64 hex digits")), responses(
    (status = 200, description = "approved", body = Done),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 404, description = "no agent with this key waits", body = ApiError),
    (status = 409, description = "its name is taken", body = ApiError),
))]
pub(crate) async fn approve(
    State(app): State<App>,
    Who(caller): Who,
    Segments(fingerprint): Segments<String>,
    _: Empty,
) -> Result<Json<Done>, Failure> {
    done(app.access(&caller, AccessAct::Approve { key: key(&fingerprint)?, labels: None }).await?)
}

/// Do not let it in.
#[utoipa::path(post, path = "/api/signalbox/v1/agents/pending/{fingerprint}/reject",
    params(("fingerprint" = String, Path, description = "SHA-256 of its key, 64 hex digits")), responses(
    (status = 200, description = "rejected", body = Done),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 404, description = "no agent with this key waits", body = ApiError),
))]
pub(crate) async fn reject(
    State(app): State<App>,
    Who(caller): Who,
    Segments(fingerprint): Segments<String>,
    _: Empty,
) -> Result<Json<Done>, Failure> {
    done(app.access(&caller, AccessAct::Reject { key: key(&fingerprint)? }).await?)
}

/// Every key that is remembered, by agent.
#[utoipa::path(get, path = "/api/signalbox/v1/agents/keys", params(NoParams), responses(
    (status = 200, description = "keys", body = Vec<AgentIdentity>),
    (status = 403, description = "your role does not allow this", body = ApiError),
))]
pub(crate) async fn keys(State(app): State<App>, Params(_): Params<NoParams>) -> Json<Vec<AgentIdentity>> {
    Json(app.handle.access_view().identities())
}

/// None of an agent's keys counts any more; its streams are cut.
#[utoipa::path(post, path = "/api/signalbox/v1/agents/{id}/revoke", request_body = api::Act,
    params(("id" = String, Path, description = "agent id")), responses(
    (status = 200, description = "revoked", body = Done),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 404, description = "no such agent has an identity", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Who(caller): Who,
    Segments(id): Segments<String>,
    Body(act): Body<api::Act>,
) -> Result<Json<Done>, Failure> {
    let agent = AgentId::parse(&id).map_err(|error| Failure::bad(error.to_string(), "signalbox agents keys"))?;
    let refused = app.access(&caller, AccessAct::RevokeAgent { agent, reason: act.reason }).await;
    match refused {
        // What is out of somebody's scope does not exist for them.
        Err(failure) if failure.status == StatusCode::FORBIDDEN => {
            Err(Failure::from(signalbox_access::Refused::NotFound(format!("identity of an agent {id}"))))
        }
        other => done(other?),
    }
}

/// The certificate authority: its certificates are no secret.
#[utoipa::path(get, path = "/api/signalbox/v1/ca", params(NoParams), responses(
    (status = 200, description = "certificates", body = CaReport),
    (status = 403, description = "your role does not allow this", body = ApiError),
))]
pub(crate) async fn ca(State(app): State<App>, Params(_): Params<NoParams>) -> Json<CaReport> {
    Json(app.door.settings.tls.report())
}

/// A new root issues from now on; the old one is trusted until agents have renewed.
#[utoipa::path(post, path = "/api/signalbox/v1/ca/rotate", responses(
    (status = 200, description = "a new root issues", body = Done),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 409, description = "the root is the site's, or a rotation is under way", body = ApiError),
))]
pub(crate) async fn rotate_ca(State(app): State<App>, Who(caller): Who, _: Empty) -> Result<Json<Done>, Failure> {
    let pin = turn_ca(&app, &caller, "rotate ca", Tls::rotate_ca).await?;
    let done = format!("a new root issues ({pin}); the old one is trusted for 90 days, or until signalbox ca drop");
    Ok(Json(Done { done, id: None }))
}

/// The old root of a rotation is trusted no more; agents that know it alone must join anew.
#[utoipa::path(post, path = "/api/signalbox/v1/ca/drop", responses(
    (status = 200, description = "one root is left", body = Done),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 409, description = "there is no old root", body = ApiError),
))]
pub(crate) async fn drop_ca(State(app): State<App>, Who(caller): Who, _: Empty) -> Result<Json<Done>, Failure> {
    let pin = turn_ca(&app, &caller, "drop old ca", Tls::drop_old_ca).await?;
    let done = format!("the old root is dropped, {pin} stays; agents that know the old one alone must join anew");
    Ok(Json(Done { done, id: None }))
}

/// Changes the roots; on record before it is done, and again with what came of it.
/// Gives the pin of the root that signs then.
async fn turn_ca(
    app: &App,
    caller: &Caller,
    act: &str,
    turn: fn(&Tls) -> Result<Fingerprint, TlsError>,
) -> Result<String, Failure> {
    let tls = Arc::clone(&app.door.settings.tls);
    let before = tls.pin().base64();
    let record = |result: &str, after: String| Record {
        act: act.to_owned(),
        object: "ca".to_owned(),
        before: before.clone(),
        after,
        result: result.to_owned(),
    };
    app.record(caller, record("begins", String::new())).await?;
    let turned = tokio::task::spawn_blocking(move || turn(&tls)).await;
    let turned = turned.map_err(|error| error.to_string()).and_then(|done| done.map_err(|error| error.to_string()));
    match turned {
        Ok(pin) => {
            app.record(caller, record("done", pin.base64())).await?;
            Ok(pin.base64())
        }
        Err(error) => {
            app.record(caller, record(&error, String::new())).await?;
            Err(Failure::new(StatusCode::CONFLICT, error, "signalbox ca show shows where it stands"))
        }
    }
}
