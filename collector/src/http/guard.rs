//! What stands before every route: from where one may ask, how long, how many at a
//! time; and what every answer carries.
//!
//! A browser is the way in for strangers who have no password: so every request
//! must name this collector ([`Names`], against DNS rebinding), and no page of
//! another origin may ask for anything; it may only link to a page, which carries
//! nothing back ([`refusal`]). A change of state is JSON, which a foreign form
//! cannot send; the few forms of our own must prove their origin ([`is_own_form`]).
//! The decisions are pure; [`guard`] applies them.

use crate::http::App;
use crate::http::auth::{denial, is_read};
use crate::http::error::Failure;
use crate::http::peer::Peer;
use crate::http::routes::is_page;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::counter;
use reqwest::Url;
use signalbox_access::{Caller, Principal};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// On every answer. Pages load nothing but the collector's own files.
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];
/// On every answer inside TLS: a year.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The outermost layer: refuses, limits, counts, and dresses every answer.
pub(crate) async fn guard(State((app, slots)): State<(App, Slots)>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    let is_tls = peer.as_ref().is_some_and(Peer::is_tls);
    let mut response = admit(&app, &slots, peer.as_ref(), request, next).await;
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    counter!("signalbox_http_requests_total", "status" => response.status().as_str().to_owned()).increment(1);
    response
}

/// Requests under way at the same time, apart by door: strangers on TCP cannot take
/// the places of whoever is on this host.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    tcp: Arc<Semaphore>,
    local: Arc<Semaphore>,
}

impl Slots {
    /// So many by each door.
    pub(crate) fn new(n: usize) -> Slots {
        Slots { tcp: Arc::new(Semaphore::new(n)), local: Arc::new(Semaphore::new(n)) }
    }

    fn of(&self, peer: Option<&Peer>) -> &Semaphore {
        if matches!(peer, Some(Peer::Local { .. })) { &self.local } else { &self.tcp }
    }
}

async fn admit(app: &App, slots: &Slots, peer: Option<&Peer>, request: Request, next: Next) -> Response {
    let settings = &app.door.settings;
    let is_tls = peer.is_some_and(Peer::is_tls);
    let names = Names { known: &app.names(), external: app.door.external.as_ref(), is_tls };
    if let Some(failure) = refusal(&names, request.method(), request.uri(), request.headers()) {
        // Whoever asks has shown nothing that was looked at; the audit has a limit, a log has none.
        let nobody = Caller::new(Principal::nobody(), peer.map(ToString::to_string).unwrap_or_default());
        app.denied(&nobody, denial(request.method(), request.uri().path(), &failure.error));
        tracing::debug!(status = failure.status.as_u16(), error = failure.error, "request refused");
        return failure.into_response();
    }
    let Ok(_slot) = slots.of(peer).try_acquire() else {
        let error = format!("{} requests are under way already", settings.limits.requests);
        return Failure::new(StatusCode::SERVICE_UNAVAILABLE, error, "try again in a moment").into_response();
    };
    let patience = settings.limits.request;
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let error = format!("no answer within {} s", patience.as_secs());
            Failure::new(StatusCode::GATEWAY_TIMEOUT, error, "ask for less, or try again").into_response()
        }
    }
}

/// Under which names this collector is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    /// Names and addresses of its certificate and its configuration, in lower case.
    pub(crate) known: &'a [String],
    /// Where people find the page, when a proxy stands before it.
    pub(crate) external: Option<&'a Url>,
    /// The request came inside TLS.
    pub(crate) is_tls: bool,
}

impl Names<'_> {
    /// True when a `Host` header names this collector. An address needs no list
    /// inside TLS: a name that an attacker points here is never an address.
    fn has(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        let name = name.to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let address: Option<IpAddr> = bare.parse().ok();
        match address {
            Some(ip) if self.is_tls => !ip.is_unspecified(),
            _ => {
                matches!(name.as_str(), "localhost" | "127.0.0.1" | "[::1]")
                    || self.known.iter().any(|known| known == bare)
                    || self.external.and_then(Url::host_str).is_some_and(|external| external == name)
            }
        }
    }

    /// True when an `Origin` header names the same place as `host` does.
    fn is_own(&self, origin: &str, host: &str) -> bool {
        let scheme = if self.is_tls { "https" } else { "http" };
        origin.eq_ignore_ascii_case(&format!("{scheme}://{host}"))
            || self.external.is_some_and(|url| {
                let own = url.origin().ascii_serialization();
                own.eq_ignore_ascii_case(origin)
                    && own.split_once("://").is_some_and(|(_, name)| name.eq_ignore_ascii_case(host))
            })
    }
}

/// The part before the port; none when what follows is no port.
fn without_port(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, rest) = host.split_at(end);
    let is_port = rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (is_port && !name.is_empty()).then_some(name)
}

/// Why a request is refused before any route sees it; none: it may pass.
pub(crate) fn refusal(names: &Names<'_>, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Failure> {
    let forbidden = |error: String, remedy: &str| Some(Failure::new(StatusCode::FORBIDDEN, error, remedy));
    let Some(host) = sole(headers, &header::HOST) else {
        return forbidden("the request names no host, or several".to_owned(), "send one Host header");
    };
    let absolute = uri.authority().map(|authority| authority.as_str());
    if !names.has(host) || absolute.is_some_and(|authority| !names.has(authority)) {
        let remedy = "ask for a name of its certificate, for localhost, 127.0.0.1 or [::1]; name others in tls.names";
        return forbidden(format!("host {host:?} is not this host"), remedy);
    }
    let is_form = *method == Method::POST && FORMS.contains(&uri.path());
    if is_form {
        if !is_own_form(names, host, headers) {
            return forbidden("the form does not come from this collector's own page".to_owned(), "open the page anew");
        }
        return None;
    }
    if headers.contains_key(header::ORIGIN)
        && sole(headers, &header::ORIGIN).is_none_or(|origin| !names.is_own(origin, host))
    {
        return forbidden("the request comes from a page of another origin".to_owned(), "ask from a terminal");
    }
    if headers.contains_key(SEC_FETCH_SITE) {
        let site = sole(headers, &SEC_FETCH_SITE).unwrap_or("");
        if !matches!(site, "same-origin" | "none") && !is_followed_link(method, uri, headers) {
            return forbidden("the request comes from another site".to_owned(), "ask from a terminal");
        }
    }
    if !is_read(method) && is_by_cookie_alone(headers) {
        let remedy = "send Origin or Sec-Fetch-Site as browsers do; tools use an API token in place of a cookie";
        return forbidden(
            "the request changes something by a cookie and does not say from which page".to_owned(),
            remedy,
        );
    }
    None
}

/// A cookie comes along without anybody's doing: what it is to change must say from
/// which page it comes. Browsers always do, and nothing else needs a cookie.
fn is_by_cookie_alone(headers: &HeaderMap) -> bool {
    let is_by_token = headers.contains_key(header::AUTHORIZATION);
    let says_where = headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
    headers.contains_key(header::COOKIE) && !is_by_token && !says_where
}

/// Where pages send forms to: the one change of state that is not JSON.
const FORMS: [&str; 3] = ["/login", "/password", "/logout"];

/// A form must prove that it is ours: by its `Origin`, or, as browsers hide that under
/// our `Referrer-Policy`, by `Sec-Fetch-Site`, which no page can set.
fn is_own_form(names: &Names<'_>, host: &str, headers: &HeaderMap) -> bool {
    let is_same_site = sole(headers, &SEC_FETCH_SITE) == Some("same-origin");
    if headers.contains_key(SEC_FETCH_SITE) && !is_same_site {
        return false;
    }
    match sole(headers, &header::ORIGIN) {
        Some("null") => is_same_site,
        Some(origin) => names.is_own(origin, host),
        None => is_same_site && !headers.contains_key(header::ORIGIN),
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// A person followed a link (from a mail, a wiki) to a page: the whole tab becomes
/// ours and the other site learns nothing.
fn is_followed_link(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    is_read(method)
        && is_page(uri.path())
        && sole(headers, &SEC_FETCH_MODE) == Some("navigate")
        && sole(headers, &SEC_FETCH_DEST) == Some("document")
}

/// The value of a header that is given exactly once, in visible ASCII.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    if values.next().is_some() { None } else { Some(first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Names<'_> = Names { known: &[], external: None, is_tls: false };

    /// `GET /path` or `POST /path`, then `name: value` lines.
    fn check(request: &str, wanted: u16) {
        check_by(&PLAIN, request, wanted);
    }

    fn check_by(names: &Names<'_>, request: &str, wanted: u16) {
        let mut lines = request.split(" | ");
        let (method, uri) = lines.next().unwrap().split_once(' ').unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let refused = refusal(names, &method.parse().unwrap(), &uri.parse().unwrap(), &headers);
        let status = refused.map_or(200, |failure| failure.status.as_u16());
        assert_eq!(status, wanted, "{request}");
    }

    #[test]
    fn only_names_of_this_host_are_answered() {
        for host in ["localhost", "LocalHost:8420", "127.0.0.1", "127.0.0.1:8420", "[::1]", "[::1]:8420"] {
            check(&format!("GET / | host: {host}"), 200);
        }
        for host in [
            "evil.example",
            "evil.example:8420",
            "localhost.evil.example",
            "localhost:8420.evil.example",
            "localhost:",
            "localhost:99999",
            "127.0.0.1.nip.io",
            "127.0.0.2",
            "0.0.0.0",
            "[::]",
            "localhost@evil.example",
            "évil",
        ] {
            let latin1: String = host.chars().filter(char::is_ascii).collect();
            check(&format!("GET / | host: {latin1}"), 403);
        }
        check("GET /", 403);
        check("GET / | host: localhost | host: localhost", 403);
        check("GET http://evil.example/ | host: localhost", 403);
    }

    #[test]
    fn configured_names_and_inside_tls_any_address_are_this_host_too() {
        let known = ["box.example.org".to_owned(), "192.0.2.7".to_owned(), "2001:db8::7".to_owned()];
        let names = Names { known: &known, ..PLAIN };
        for host in ["box.example.org", "BOX.example.org:8440", "192.0.2.7:8440", "[2001:db8::7]:8440", "localhost"] {
            check_by(&names, &format!("GET / | host: {host}"), 200);
        }
        for host in ["box.example.org.evil.example", "192.0.2.8", "xbox.example.org", "[2001:db8::8]"] {
            check_by(&names, &format!("GET / | host: {host}"), 403);
        }
        let inside = Names { is_tls: true, ..names };
        for (host, wanted) in [("192.0.2.8:8440", 200), ("[2001:db8::8]", 200), ("0.0.0.0", 403), ("evil.example", 403)]
        {
            check_by(&inside, &format!("GET / | host: {host}"), wanted);
        }
        check_by(&inside, "POST /api/signalbox/v1/reload | host: 192.0.2.8:8440 | origin: https://192.0.2.8:8440", 200);
        check_by(&inside, "POST /api/signalbox/v1/reload | host: 192.0.2.8:8440 | origin: http://192.0.2.8:8440", 403);
    }

    #[test]
    fn behind_a_proxy_the_external_address_is_an_origin_of_ours() {
        let url = Url::parse("https://box.example.org/").unwrap();
        let names = Names { external: Some(&url), ..PLAIN };
        let post = "POST /api/signalbox/v1/reload | host: box.example.org | origin";
        check_by(&names, &format!("{post}: https://box.example.org"), 200);
        check_by(&names, &format!("{post}: https://evil.example"), 403);
        check_by(&names, "POST /api/signalbox/v1/reload | host: localhost | origin: https://box.example.org", 403);
    }

    #[test]
    fn a_form_must_prove_that_it_is_ours() {
        for path in FORMS {
            let post = format!("POST {path} | host: localhost:8440");
            check(&post, 403);
            check(&format!("{post} | origin: http://localhost:8440"), 200);
            check(&format!("{post} | origin: null | sec-fetch-site: same-origin"), 200);
            check(&format!("{post} | sec-fetch-site: same-origin"), 200);
            for bad in [
                "origin: null",
                "origin: http://evil.example",
                "origin: http://localhost:9999",
                "origin: http://localhost:8440 | sec-fetch-site: cross-site",
                "origin: http://localhost:8440 | origin: http://localhost:8440",
                "origin: null | sec-fetch-site: same-site",
                "sec-fetch-site: none",
                "origin: http://evil.example | sec-fetch-site: same-origin",
            ] {
                check(&format!("{post} | {bad}"), 403);
            }
        }
    }

    #[test]
    fn what_a_cookie_changes_must_say_from_which_page_it_comes() {
        let cookie = "host: localhost | cookie: signalbox_session=x";
        for change in ["POST /api/signalbox/v1/reload", "DELETE /api/signalbox/v1/snoozes/1"] {
            check(&format!("{change} | {cookie}"), 403);
            check(&format!("{change} | {cookie} | origin: http://localhost"), 200);
            check(&format!("{change} | {cookie} | sec-fetch-site: same-origin"), 200);
            check(&format!("{change} | {cookie} | authorization: Bearer sba1.x"), 200);
            check(&format!("{change} | host: localhost"), 200);
        }
        check(&format!("GET /api/signalbox/v1/status | {cookie}"), 200);
    }

    #[test]
    fn a_foreign_origin_is_always_refused() {
        for route in ["GET /", "GET /api/signalbox/v1/status", "POST /api/signalbox/v1/reload"] {
            check(&format!("{route} | host: localhost:8420 | origin: http://localhost:8420"), 200);
            for origin in
                ["http://evil.example", "https://localhost:8420", "http://localhost", "http://localhost:3000", "null"]
            {
                check(&format!("{route} | host: localhost:8420 | origin: {origin}"), 403);
            }
        }
        check("GET / | host: localhost | origin: http://localhost | origin: http://evil.example", 403);
    }

    #[test]
    fn another_site_may_link_to_a_page_and_nothing_else() {
        let link = "sec-fetch-mode: navigate | sec-fetch-dest: document";
        for site in ["cross-site", "same-site"] {
            for page in ["/", "/incidents/17", "/items?id=x", "/login?code=x"] {
                check(&format!("GET {page} | host: localhost | sec-fetch-site: {site} | {link}"), 200);
                check(&format!("POST {page} | host: localhost | sec-fetch-site: {site} | {link}"), 403);
            }
            check(&format!("GET / | host: localhost | sec-fetch-site: {site}"), 403);
            check(
                &format!(
                    "GET / | host: localhost | sec-fetch-site: {site} | sec-fetch-mode: navigate | sec-fetch-dest: iframe"
                ),
                403,
            );
            check(&format!("GET /api/signalbox/v1/status | host: localhost | sec-fetch-site: {site} | {link}"), 403);
            check(&format!("GET /metrics | host: localhost | sec-fetch-site: {site} | {link}"), 403);
        }
        for site in ["same-origin", "none"] {
            check(&format!("POST /api/signalbox/v1/reload | host: localhost | sec-fetch-site: {site}"), 200);
        }
    }
}
