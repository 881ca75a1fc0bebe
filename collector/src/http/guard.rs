//! What stands before every route: who may ask, how long, how many at a time.
//!
//! Until operators have identities the listener is on loopback only. A browser on
//! this host is then the one way in for strangers, so every request must name this
//! host ([`host_is_ours`], against DNS rebinding), and no page of another origin may
//! ask for anything; it may only link to a page, which carries nothing back
//! ([`refusal`]). The decisions are pure; [`guard`] applies them.

use crate::http::error::Failure;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::counter;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Requests under way at the same time.
pub(crate) const REQUESTS_MAX: usize = 64;
/// From the first byte of a request's body to its answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// On every answer. The style is the one thing that a page may load.
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// The outermost layer: refuses, limits, counts, and dresses every answer.
pub(crate) async fn guard(State(slots): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let mut response = admit(&slots, request, next).await;
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    counter!("signalbox_http_requests_total", "status" => response.status().as_str().to_owned()).increment(1);
    response
}

async fn admit(slots: &Semaphore, request: Request, next: Next) -> Response {
    if let Some(failure) = refusal(request.method(), request.uri(), request.headers()) {
        tracing::warn!(status = failure.status.as_u16(), error = failure.error, "request refused");
        return failure.into_response();
    }
    let Ok(_slot) = slots.try_acquire() else {
        let error = format!("{REQUESTS_MAX} requests are under way already");
        return Failure::new(StatusCode::SERVICE_UNAVAILABLE, error, "try again in a moment").into_response();
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let error = format!("no answer within {} s", REQUEST_TIMEOUT.as_secs());
            Failure::new(StatusCode::GATEWAY_TIMEOUT, error, "ask for less, or try again").into_response()
        }
    }
}

/// Why a request is refused before any route sees it; none: it may pass.
pub(crate) fn refusal(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Failure> {
    let forbidden = |error: String, remedy: &str| Some(Failure::new(StatusCode::FORBIDDEN, error, remedy));
    let Some(host) = sole(headers, &header::HOST) else {
        return forbidden("the request names no host, or several".to_owned(), "send one Host header");
    };
    let absolute = uri.authority().map(|authority| authority.as_str());
    if !host_is_ours(host) || absolute.is_some_and(|authority| !host_is_ours(authority)) {
        let remedy = "ask for localhost, 127.0.0.1 or [::1]; behind a proxy, let it set Host";
        return forbidden(format!("host {host:?} is not this host"), remedy);
    }
    if headers.contains_key(header::ORIGIN) {
        let ours = format!("http://{host}");
        if sole(headers, &header::ORIGIN).is_none_or(|origin| !origin.eq_ignore_ascii_case(&ours)) {
            return forbidden("the request comes from a page of another origin".to_owned(), "ask from a terminal");
        }
    }
    if headers.contains_key(SEC_FETCH_SITE) {
        let site = sole(headers, &SEC_FETCH_SITE).unwrap_or("");
        if !matches!(site, "same-origin" | "none") && !is_followed_link(method, uri, headers) {
            return forbidden("the request comes from another site".to_owned(), "ask from a terminal");
        }
    }
    None
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// A person followed a link (from a mail, a wiki) to a page: the whole tab becomes
/// ours and the other site learns nothing.
fn is_followed_link(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let path = uri.path();
    matches!(*method, Method::GET | Method::HEAD)
        && (path == "/" || path == "/items" || path.starts_with("/incidents/"))
        && sole(headers, &SEC_FETCH_MODE) == Some("navigate")
        && sole(headers, &SEC_FETCH_DEST) == Some("document")
}

/// The value of a header that is given exactly once, in visible ASCII.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    if values.next().is_some() { None } else { Some(first) }
}

/// True for `localhost`, `127.0.0.1` and `[::1]`, with or without a port.
fn host_is_ours(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|ours| {
        let Some(head) = host.get(..ours.len()) else { return false };
        let rest = &host[ours.len()..];
        head.eq_ignore_ascii_case(ours)
            && (rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `GET /path` or `POST /path`, then `name: value` lines.
    fn check(request: &str, wanted: u16) {
        let mut lines = request.split(" | ");
        let (method, uri) = lines.next().unwrap().split_once(' ').unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let refused = refusal(&method.parse().unwrap(), &uri.parse().unwrap(), &headers);
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
            for page in ["/", "/incidents/17", "/items?id=x"] {
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
