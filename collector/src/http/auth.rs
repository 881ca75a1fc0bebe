//! Who asks, and whether they may.
//!
//! ```text
//! identify: Authorization: Bearer  -> API token  \
//!           Unix socket            -> account     } -> Caller, or nobody
//!           cookie                 -> session    /
//! gate:     the route's Access, by authorize(), before the handler sees anything
//! ```
//!
//! Nobody gets the same answer everywhere: 401, or the login for a page. Who is
//! known and may not gets 403 with the same words for every route, before it is
//! looked whether the object exists; an object outside of somebody's scope is
//! answered as one that does not exist. Every refusal is told to the audit.

use crate::http::App;
use crate::http::cookie;
use crate::http::error::Failure;
use crate::http::page::Page;
use crate::http::peer::Peer;
use crate::http::routes::{Access, Kind, is_open, is_page};
use crate::http::secret::{self, Prefix};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use signalbox_access::event::Denial;
use signalbox_access::{AccessAct, Caller, Denied, Principal, authorize};

/// Who asks; in every request that a gate let through.
#[derive(Debug, Clone)]
pub(crate) struct Who(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Who, Failure> {
        parts.extensions.get::<Who>().cloned().ok_or_else(unknown)
    }
}

/// Who asks, on routes that are open.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) peer: Peer,
    pub(crate) caller: Option<Caller>,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visitor, Failure> {
        let caller = parts.extensions.get::<Who>().map(|who| who.0.clone());
        let peer = parts.extensions.get::<Peer>().cloned().ok_or_else(unknown)?;
        Ok(Visitor { peer, caller })
    }
}

/// Somebody, as they showed it.
struct Shown {
    principal: Principal,
    /// They came in by a login link and have no password yet.
    must_set_password: bool,
}

/// The layer before the routes: finds out who asks; who is nobody goes no further
/// than to what is open.
pub(crate) async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return unknown().into_response();
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let shown = recognise(&app, &peer, request.headers());
    let Some(Shown { principal, must_set_password }) = shown else {
        if is_open(&method, &path) {
            return next.run(request).await;
        }
        let nobody = Caller::new(Principal::nobody(), peer.to_string());
        app.denied(&nobody, denial(&method, &path, "nobody is logged in"));
        if request.headers().contains_key(header::AUTHORIZATION) && !is_page(&path) {
            return unauthorized(unknown_token());
        }
        return turn_away(&method, &path, request.uri().query());
    };
    let caller = Caller::new(principal, peer.to_string());
    if must_set_password && !may_without_password(&path) && !is_open(&method, &path) {
        app.denied(&caller, denial(&method, &path, "the user has no password yet"));
        return if is_page(&path) && is_read(&method) {
            Redirect::to("/password").into_response()
        } else {
            let remedy = "open /password in the browser that used the login link";
            Failure::new(StatusCode::FORBIDDEN, "set a password first", remedy).into_response()
        };
    }
    request.extensions_mut().insert(Who(caller));
    next.run(request).await
}

fn may_without_password(path: &str) -> bool {
    matches!(path, "/password" | "/logout" | "/style.css")
}

/// True for what changes nothing.
pub(crate) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// A denial of a whole request.
pub(crate) fn denial(method: &Method, path: &str, why: &str) -> Denial {
    Denial { act: method.to_string(), object: path.to_owned(), why: why.to_owned() }
}

/// The first proof that is given counts: who shows a bad token is nobody, whatever
/// else comes with it.
fn recognise(app: &App, peer: &Peer, headers: &HeaderMap) -> Option<Shown> {
    let (view, now) = (app.handle.access_view(), app.handle.now());
    if headers.contains_key(header::AUTHORIZATION) {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next()?.to_str().ok()?;
        let text = bearer(value).filter(|_| values.next().is_none())?;
        let principal = view.principal_of_token(&secret::hash_of(Prefix::Api, text)?, now)?;
        return Some(Shown { principal, must_set_password: false });
    }
    if let Peer::Local { uid, user } = peer {
        let role = app.door.settings.role_of(*uid, user)?;
        return Some(Shown { principal: Principal::local(user, role), must_set_password: false });
    }
    let session = secret::hash_of(Prefix::None, cookie::session(headers, peer.is_tls())?)?;
    let standing = view.session(&session, now)?;
    if standing.must_touch {
        let caller = Caller::new(standing.principal.clone(), peer.to_string());
        app.handle.tell(caller, AccessAct::TouchSession { session });
    }
    Some(Shown { principal: standing.principal, must_set_password: standing.must_set_password })
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, text) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

/// The layer of one route.
pub(crate) async fn gate(
    State((app, access, kind)): State<(App, Access, Kind)>,
    request: Request,
    next: Next,
) -> Response {
    let who = request.extensions().get::<Who>().cloned();
    let verdict = match (access, &who) {
        (Access::Open, _) | (Access::Identity, Some(_)) => Ok(()),
        (_, None) => return unknown().into_response(),
        (Access::Needs(permission), Some(Who(caller))) => authorize(&caller.principal, permission, None),
        // The handler asks again, for the object.
        (Access::NeedsFor(permission), Some(Who(caller))) => match authorize(&caller.principal, permission, None) {
            Err(Denied::Unscoped(_)) => Ok(()),
            verdict => verdict,
        },
    };
    let (Err(denied), Some(Who(caller))) = (verdict, who) else { return next.run(request).await };
    app.denied(&caller, denial(request.method(), request.uri().path(), &denied.to_string()));
    refused(kind, &caller.principal, denied)
}

/// For all that somebody's role does not allow, the same words; for all that only
/// their scope forbids, others, which name it.
pub(crate) fn forbidden(principal: &Principal, denied: Denied) -> Failure {
    let (error, remedy) = match denied {
        Denied::Permission(_) => (
            "your role does not allow this".to_owned(),
            "signalbox whoami shows what you may do; an admin can change it",
        ),
        Denied::Scope(permission) | Denied::Unscoped(permission) => (
            format!(
                "your role allows this, the scope of {} does not: {permission} is needed beyond {}",
                principal.name, principal.scope
            ),
            "ask somebody without a scope; an admin can change it: signalbox users role NAME ROLE --scope SELECTOR, or --all",
        ),
    };
    Failure::new(StatusCode::FORBIDDEN, error, remedy)
}

fn refused(kind: Kind, principal: &Principal, denied: Denied) -> Response {
    let failure = forbidden(principal, denied);
    match kind {
        Kind::Page => Page::refused(failure).into_response(),
        Kind::Api | Kind::Prometheus | Kind::Plain => failure.into_response(),
    }
}

/// For everybody who is nobody, the same words.
fn unknown() -> Failure {
    let remedy = "signalbox login URL; on the collector's own host the command signalbox needs no login";
    Failure::new(StatusCode::UNAUTHORIZED, "nobody is logged in", remedy)
}

fn turn_away(method: &Method, path: &str, query: Option<&str>) -> Response {
    if is_page(path) && is_read(method) {
        let next = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let to = if next == "/" { "/login".to_owned() } else { format!("/login?{}", cookie::form(&[("next", &next)])) };
        return Redirect::to(&to).into_response();
    }
    unauthorized(unknown())
}

/// For every token that proves nothing, the same words: mistyped, revoked, over.
fn unknown_token() -> Failure {
    let remedy = "copy all of the token again (sba1. and 43 characters); if it was revoked or its time is over, have a new \
                  one made: signalbox tokens create, or signalbox login URL";
    Failure::new(StatusCode::UNAUTHORIZED, "the token is not known", remedy)
}

fn unauthorized(failure: Failure) -> Response {
    let mut response = failure.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_and_other_schemes_are_not() {
        assert_eq!(bearer("Bearer sba1.x"), Some("sba1.x"));
        assert_eq!(bearer("bearer  sba1.x "), Some("sba1.x"));
        assert_eq!(bearer("Basic YTpi"), None);
        assert_eq!(bearer("sba1.x"), None);
    }

    #[test]
    fn pages_lead_to_the_login_and_back_and_all_else_is_401() {
        let to = |path: &str, query| {
            let response = turn_away(&Method::GET, path, query);
            let location = response.headers().get(header::LOCATION).map(|to| to.to_str().unwrap().to_owned());
            (response.status().as_u16(), location.unwrap_or_default())
        };
        assert_eq!(to("/", None), (303, "/login".to_owned()));
        assert_eq!(to("/items", Some("id=a%26b")), (303, "/login?next=%2Fitems%3Fid%3Da%2526b".to_owned()));
        assert_eq!(to("/metrics", None), (401, String::new()));
        assert_eq!(to("/nothing", None), (401, String::new()));
        assert_eq!(turn_away(&Method::POST, "/password", None).status(), 401);
    }
}
