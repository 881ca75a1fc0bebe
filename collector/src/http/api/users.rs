//! People who may log in, and tokens of services.

use crate::http::App;
use crate::http::api::board::NoParams;
use crate::http::api::own::{done, new_hash};
use crate::http::auth::Who;
use crate::http::door::link;
use crate::http::error::Failure;
use crate::http::extract::{Body, Empty, Params, Segments};
use crate::http::secret::{self, Fresh, Prefix};
use axum::Json;
use axum::extract::State;
use signalbox_access::event::{Grant, NewApiToken as TokenToMake};
use signalbox_access::limits::LOGIN_LINK_LIFE;
use signalbox_access::{AccessAct, Granted, Permission, Scope};
use signalbox_proto::api::{ApiError, ApiToken, Done, Made, NewApiToken, NewPassword, NewRole, NewUser, User};
use signalbox_proto::text::parse_span;

/// Users by name.
#[utoipa::path(get, path = "/api/signalbox/v1/users", params(NoParams), responses(
    (status = 200, description = "users", body = Vec<User>),
    (status = 403, description = "your role does not allow this", body = ApiError),
))]
pub(crate) async fn users(State(app): State<App>, Params(_): Params<NoParams>) -> Json<Vec<User>> {
    Json(app.handle.access_view().users(app.handle.now()))
}

fn scope(selectors: &[String]) -> Result<Scope, Failure> {
    Scope::parse(selectors).map_err(|error| Failure::bad(error, "write for example {owner=\"payments\"}"))
}

/// A new user, who gets in by a login link.
#[utoipa::path(post, path = "/api/signalbox/v1/users", request_body = NewUser, responses(
    (status = 200, description = "made", body = Done),
    (status = 400, description = "name or scope is malformed", body = ApiError),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 409, description = "there is such a user already", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn add(
    State(app): State<App>,
    Who(caller): Who,
    Body(new): Body<NewUser>,
) -> Result<Json<Done>, Failure> {
    let act = AccessAct::CreateUser { name: new.name, role: new.role, scope: scope(&new.scope)? };
    done(app.access(&caller, act).await?)
}

/// The user cannot get in any more; sessions, tokens and links end.
#[utoipa::path(post, path = "/api/signalbox/v1/users/{name}/disable",
    params(("name" = String, Path, description = "user")), responses(
    (status = 200, description = "disabled", body = Done),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 404, description = "there is no such user", body = ApiError),
    (status = 409, description = "the user is disabled already", body = ApiError),
))]
pub(crate) async fn disable(
    State(app): State<App>,
    Who(caller): Who,
    Segments(user): Segments<String>,
    _: Empty,
) -> Result<Json<Done>, Failure> {
    done(app.access(&caller, AccessAct::DisableUser { user }).await?)
}

/// The user can get in again.
#[utoipa::path(post, path = "/api/signalbox/v1/users/{name}/enable",
    params(("name" = String, Path, description = "user")), responses(
    (status = 200, description = "enabled", body = Done),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 404, description = "there is no such user", body = ApiError),
))]
pub(crate) async fn enable(
    State(app): State<App>,
    Who(caller): Who,
    Segments(user): Segments<String>,
    _: Empty,
) -> Result<Json<Done>, Failure> {
    done(app.access(&caller, AccessAct::EnableUser { user }).await?)
}

/// Another role or scope; the user's sessions end.
#[utoipa::path(post, path = "/api/signalbox/v1/users/{name}/role", request_body = NewRole,
    params(("name" = String, Path, description = "user")), responses(
    (status = 200, description = "changed", body = Done),
    (status = 400, description = "the scope is malformed", body = ApiError),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 404, description = "there is no such user", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn role(
    State(app): State<App>,
    Who(caller): Who,
    Segments(user): Segments<String>,
    Body(new): Body<NewRole>,
) -> Result<Json<Done>, Failure> {
    let scope = new.scope.as_deref().map(scope).transpose()?;
    done(app.access(&caller, AccessAct::SetRole { user, role: new.role, scope }).await?)
}

/// Another user's password.
#[utoipa::path(post, path = "/api/signalbox/v1/users/{name}/password", request_body = NewPassword,
    params(("name" = String, Path, description = "user")), responses(
    (status = 200, description = "changed", body = Done),
    (status = 400, description = "the password is not good enough", body = ApiError),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 404, description = "there is no such user", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn password(
    State(app): State<App>,
    Who(caller): Who,
    Segments(user): Segments<String>,
    Body(new): Body<NewPassword>,
) -> Result<Json<Done>, Failure> {
    if user == caller.principal.name {
        // One's own needs the old one, also for an admin: a session left open must not become an account.
        return Err(Failure::bad("this is your own password", "POST /api/signalbox/v1/password, with the old one"));
    }
    let hash = new_hash(&app, &user, new.new).await?;
    done(app.access(&caller, AccessAct::SetPassword { user, hash, verified: None }).await?)
}

/// A link that lets a user in once, within 15 minutes.
#[utoipa::path(post, path = "/api/signalbox/v1/users/{name}/login-link",
    params(("name" = String, Path, description = "user")), responses(
    (status = 200, description = "the link, told once", body = Made),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 404, description = "there is no such user", body = ApiError),
))]
pub(crate) async fn login_link(
    State(app): State<App>,
    Who(caller): Who,
    Segments(user): Segments<String>,
    _: Empty,
) -> Result<Json<Made>, Failure> {
    let fresh = Fresh::make()?;
    let granted = app.access(&caller, AccessAct::CreateLoginLink { secret: fresh.hash, user: user.clone() }).await?;
    let expires = match granted {
        Granted::Made { expires, .. } => expires,
        _ => app.handle.now() + LOGIN_LINK_LIFE,
    };
    let external = &app.door.settings.external_url;
    Ok(Json(Made { id: user, secret: link(external, &fresh), expires, command: String::new() }))
}

/// API tokens, the newest first, without their secrets.
#[utoipa::path(get, path = "/api/signalbox/v1/tokens", params(NoParams), responses(
    (status = 200, description = "tokens", body = Vec<ApiToken>),
    (status = 403, description = "your role does not allow this", body = ApiError),
))]
pub(crate) async fn tokens(State(app): State<App>, Params(_): Params<NoParams>) -> Json<Vec<ApiToken>> {
    Json(app.handle.access_view().api_tokens())
}

/// A token for a service.
#[utoipa::path(post, path = "/api/signalbox/v1/tokens", request_body = NewApiToken, responses(
    (status = 200, description = "the token, told once", body = Made),
    (status = 400, description = "a field is malformed", body = ApiError),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 415, description = "not application/json", body = ApiError),
))]
pub(crate) async fn new_token(
    State(app): State<App>,
    Who(caller): Who,
    Body(new): Body<NewApiToken>,
) -> Result<Json<Made>, Failure> {
    let (fresh, id) = (Fresh::make()?, secret::id()?);
    let token = TokenToMake {
        id: id.clone(),
        secret: fresh.hash,
        name: new.name.clone(),
        grant: grant(&new)?,
        scope: scope(&new.scope)?,
        life: span(&new.ttl)?,
    };
    let life = token.life;
    let granted = app.access(&caller, AccessAct::CreateApiToken(token)).await?;
    let expires = match granted {
        Granted::Made { expires, .. } => expires,
        _ => app.handle.now() + life,
    };
    Ok(Json(Made { id, secret: fresh.text(Prefix::Api), expires, command: String::new() }))
}

fn grant(new: &NewApiToken) -> Result<Grant, Failure> {
    match (new.role, new.permissions.as_slice()) {
        (Some(role), []) => Ok(Grant::Role(role)),
        (None, [_, ..]) => {
            let parse = |word: &String| word.parse::<Permission>();
            let set = new.permissions.iter().map(parse).collect::<Result<_, String>>();
            set.map(Grant::Permissions).map_err(|error| Failure::bad(error, "take one of these"))
        }
        _ => Err(Failure::bad("a token has either a role or permissions", "give one of \"role\" and \"permissions\"")),
    }
}

/// A span of time in a body.
pub(crate) fn span(text: &str) -> Result<signalbox_proto::units::Millis, Failure> {
    parse_span(text).map_err(|error| Failure::bad(format!("ttl: {error}"), "say for how long: \"ttl\": \"1h\""))
}

/// A token does not count any more.
#[utoipa::path(delete, path = "/api/signalbox/v1/tokens/{id}",
    params(("id" = String, Path, description = "token id")), responses(
    (status = 200, description = "revoked", body = Done),
    (status = 403, description = "your role does not allow this", body = ApiError),
    (status = 404, description = "there is no such token", body = ApiError),
))]
pub(crate) async fn revoke_token(
    State(app): State<App>,
    Who(caller): Who,
    Segments(id): Segments<String>,
    _: Empty,
) -> Result<Json<Done>, Failure> {
    done(app.access(&caller, AccessAct::RevokeApiToken { id }).await?)
}
