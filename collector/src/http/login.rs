//! The login of browsers: forms without JavaScript.
//!
//! ```text
//! GET /login            name and password           POST /login -> session, 303 to where one wanted to go
//! GET /login?code=…     one button                  POST /login -> session, 303 to /password
//! GET /password         old (or none after a link)  POST /password -> 303 to /
//! POST /logout          ends the session
//! ```
//!
//! A link is used by the POST alone: what looks at links before people do (mail
//! filters, previews) does not burn it. The guard has checked that a form is ours.
//! Every login makes a new session; one that was shown ends.

use crate::http::App;
use crate::http::api::own::{change_own, verify};
use crate::http::auth::{Visitor, Who};
use crate::http::cookie;
use crate::http::door::wrong_login;
use crate::http::error::Failure;
use crate::http::extract::Params;
use crate::http::page::Page;
use crate::http::peer::Peer;
use crate::http::routes::is_page;
use crate::http::secret::{self, Fresh, Prefix};
use crate::http::throttle::Tried;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use signalbox_access::event::Denial;
use signalbox_access::{AccessAct, Caller, Granted, Principal, PrincipalKind};
use signalbox_proto::api::NewPassword;

/// Bytes of a form.
const FORM_MAX_BYTES: usize = 16 * 1024;

/// A form of our own page.
pub(crate) struct Form<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Form<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Form<T>, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = kind.split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let error = format!("content type {kind:?} is not that of a form");
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error, "send the form of this page"));
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|refused| Failure::bad(refused.body_text(), "send the form of this page"))?;
        if bytes.len() > FORM_MAX_BYTES {
            let error = format!("the form is over the limit of {FORM_MAX_BYTES} bytes");
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send the form of this page"));
        }
        // The text of the error would repeat what was sent, passwords included.
        let form = serde_urlencoded::from_bytes(&bytes);
        form.map(Form).map_err(|_| Failure::bad("the form is not understood", "open the page anew"))
    }
}

/// Where to go afterwards, and the code of a link.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginQuery {
    #[serde(default)]
    next: String,
    #[serde(default)]
    code: String,
}

/// What stands on the login.
#[derive(Debug, Serialize)]
struct LoginPage<'a> {
    title: &'static str,
    /// A link was followed: one button, no fields.
    code: &'a str,
    next: &'a str,
    name: &'a str,
    error: &'a str,
    remedy: &'a str,
}

/// `GET /login`.
pub(crate) async fn form(query: Result<Params<LoginQuery>, Failure>) -> Page {
    match query {
        Ok(Params(LoginQuery { next, code })) => login_page(&code, safe(&next), "", None),
        Err(failure) => Page::refused(failure),
    }
}

fn login_page(code: &str, next: &str, name: &str, failure: Option<&Failure>) -> Page {
    let (error, remedy) = failure.map_or(("", ""), |failure| (&failure.error, &failure.remedy));
    let page = LoginPage { title: "Log in - Signalbox", code, next, name, error, remedy };
    let status = failure.map_or(StatusCode::OK, |failure| failure.status);
    Page::of(status, "login.html", &page)
}

/// What the login's form sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    next: String,
}

/// `POST /login`: by password, or by the code of a link.
pub(crate) async fn enter(
    State(app): State<App>,
    visitor: Visitor,
    form: Result<Form<LoginForm>, Failure>,
) -> Response {
    let form = match form {
        Ok(Form(form)) => form,
        Err(failure) => return Page::refused(failure).into_response(),
    };
    let LoginForm { name, password, code, next } = form;
    let entered = if code.is_empty() {
        by_password(&app, &visitor.peer, name.clone(), password).await
    } else {
        by_link(&app, &visitor.peer, &code).await
    };
    let (secret, must_set_password) = match entered {
        Ok(entered) => entered,
        // A link that failed will not work at the next try either: the form for a password follows.
        Err(failure) => return login_page("", safe(&next), &name, Some(&failure)).into_response(),
    };
    end_old(&app, &visitor).await;
    let to = if must_set_password { "/password" } else { safe(&next) };
    let is_tls = visitor.peer.is_tls();
    ([(header::SET_COOKIE, cookie::begin(&secret.text(Prefix::None), is_tls))], Redirect::to(to)).into_response()
}

async fn by_password(app: &App, peer: &Peer, user: String, password: String) -> Result<(Fresh, bool), Failure> {
    let verified = verify(app, peer, &user, password).await?;
    let fresh = Fresh::make()?;
    let nobody = Caller::new(Principal::nobody(), peer.to_string());
    app.access(&nobody, AccessAct::Login { user, verified, session: fresh.hash }).await?;
    Ok((fresh, false))
}

/// Codes cannot be guessed; the throttle keeps the audit short.
async fn by_link(app: &App, peer: &Peer, code: &str) -> Result<(Fresh, bool), Failure> {
    let (address, now) = (peer.throttle_key(), app.door.settings.clock.mono());
    let nobody = Caller::new(Principal::nobody(), peer.to_string());
    let denial = |why: &str| Denial { act: "log in by link".to_owned(), object: String::new(), why: why.to_owned() };
    if let Err(wait) = app.door.throttle.begin(Tried::Link, &address, now) {
        metrics::counter!("signalbox_http_logins_throttled_total").increment(1);
        app.denied(&nobody, denial("too many logins failed"));
        return Err(Failure::too_soon("too many logins failed", wait, "wait, and ask for a new link if need be"));
    }
    let Some(secret) = secret::hash_of(Prefix::None, code) else {
        app.denied(&nobody, denial("this is no code"));
        return Err(wrong_login());
    };
    let fresh = Fresh::make()?;
    let granted = app.access(&nobody, AccessAct::UseLoginLink { secret, session: fresh.hash }).await;
    // Whatever the tables say: whoever has no link learns nothing of why.
    let granted = granted.map_err(|failure| if failure.status.is_server_error() { failure } else { wrong_login() })?;
    app.door.throttle.succeeded(Tried::Link, &address, now);
    // Whoever needs a link has no password, or has forgotten it.
    Ok((fresh, matches!(granted, Granted::Session { .. })))
}

/// A login replaces the session that the browser had.
async fn end_old(app: &App, visitor: &Visitor) {
    let Some(caller) = &visitor.caller else { return };
    if let Some(session) = caller.principal.session
        && let Err(failure) = app.access(caller, AccessAct::EndSession { session }).await
    {
        tracing::warn!(error = failure.error, "the session before a login was not ended");
    }
}

/// A path of ours to go to; the board for anything else.
fn safe(next: &str) -> &str {
    let path = next.split(['?', '#']).next().unwrap_or_default();
    let is_ours = is_page(path) && !next.contains(['\\', '\r', '\n']) && path != "/login" && !path.contains("//");
    if is_ours { next } else { "/" }
}

/// What stands on the page of a password.
#[derive(Debug, Serialize)]
struct PasswordPage<'a> {
    title: &'static str,
    user: &'a str,
    error: &'a str,
    remedy: &'a str,
}

fn password_page(user: &str, failure: Option<&Failure>) -> Page {
    let (error, remedy) = failure.map_or(("", ""), |failure| (&failure.error, &failure.remedy));
    let page = PasswordPage { title: "Password - Signalbox", user, error, remedy };
    Page::of(failure.map_or(StatusCode::OK, |failure| failure.status), "password.html", &page)
}

/// `GET /password`.
pub(crate) async fn password_form(Who(caller): Who) -> Page {
    password_page(&caller.principal.name, None)
}

/// What that form sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordForm {
    #[serde(default)]
    old: String,
    new: String,
    again: String,
    /// For password managers; what counts is who is logged in.
    #[serde(default, rename = "name")]
    _name: String,
}

/// `POST /password`.
pub(crate) async fn set_password(
    State(app): State<App>,
    visitor: Visitor,
    Who(caller): Who,
    form: Result<Form<PasswordForm>, Failure>,
) -> Response {
    let user = caller.principal.name.clone();
    let changed = async {
        let Form(PasswordForm { old, new, again, .. }) = form?;
        if new != again {
            return Err(Failure::bad("the two new passwords differ", "write it twice"));
        }
        change_own(&app, &visitor.peer, &caller, NewPassword { old, new }).await
    };
    match changed.await {
        Ok(_) => Redirect::to("/").into_response(),
        Err(failure) => password_page(&user, Some(&failure)).into_response(),
    }
}

/// `POST /logout`.
pub(crate) async fn leave(State(app): State<App>, visitor: Visitor, Who(caller): Who) -> Response {
    if let Some(session) = caller.principal.session
        && let Err(failure) = app.access(&caller, AccessAct::EndSession { session }).await
    {
        return Page::refused(failure).into_response();
    }
    // Whoever comes by the socket is known by the kernel and stays known.
    let to = if caller.principal.kind == PrincipalKind::User { "/login" } else { "/" };
    ([(header::SET_COOKIE, cookie::end(visitor.peer.is_tls()))], Redirect::to(to)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_login_only_our_own_pages_are_gone_to() {
        for ours in ["/", "/incidents/17", "/items?id=a%2Fb", "/?owner=dba"] {
            assert_eq!(safe(ours), ours);
        }
        for bad in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/login?code=x",
            "/logout",
            "/api/signalbox/v1/status",
            "/incidents//evil.example",
            "javascript:alert(1)",
            "/items?id=a\r\nset-cookie: x",
        ] {
            assert_eq!(safe(bad), "/", "{bad}");
        }
    }
}
